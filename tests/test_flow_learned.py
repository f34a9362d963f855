"""Learned flow on pictures of any size: answers in pixels of the picture, and one for what is no number."""

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import models  # noqa: E402
from flow import learned, load_estimator, model  # noqa: E402
from flow.export import to_onnx  # noqa: E402
from flow.learned import LearnedEstimator, load_learned, working_size  # noqa: E402
from flow.model import Predictions, build  # noqa: E402
from flow.reduced import grey_of, resize  # noqa: E402
from flow.search import dense_search  # noqa: E402

AREA = 64 * 96  # pixels that the networks here see at most


class Simple(nn.Module):
    """Says (4, -2) everywhere, and no number where a picture is black."""

    channels, multiple = 1, 16

    def forward(self, before, after):
        mean = F.avg_pool2d(torch.minimum(before, after), 4)
        nothing = mean.log() * 0.0  # 0; no number where the mean is 0
        return Predictions((torch.cat((nothing + 4.0, nothing - 2.0), dim=1),), mean * 0.0)


class Bright(nn.Module):
    """Says of each 4 x 4 pixels how bright they are, 0 to 255, as x of the motion; the second picture's as y."""

    channels, multiple = 1, 16

    def forward(self, before, after):
        return Predictions((torch.cat([F.avg_pool2d(one * 255.0, 4) for one in (before, after)], dim=1),))


class Adding(nn.Module):
    """Adds (4, -2) to a search everywhere, and no number where a picture is black."""

    channels, multiple, search = 1, 16, "fast"

    def mend(self, before, after, searched):
        mean = F.avg_pool2d(torch.minimum(before, after), 8)
        nothing = mean.log() * 0.0 + searched[:, :1] * 0.0  # 0; no number where the mean is 0
        return [], torch.cat((nothing + 4.0, nothing - 2.0), dim=1), mean * 0.0, mean


def silenced(network):
    """Its gate closed, and nothing to say."""
    with torch.no_grad():
        network.fine.say.weight.zero_()
        network.fine.say.bias.copy_(torch.tensor([0.0, 0.0, 2.0, -200.0]))
    return network


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Networks as files, made when first asked for: paths by name."""
    folder = tmp_path_factory.mktemp("shelf")

    def of(name):
        torch.manual_seed(0)
        match name:
            case "tiny" | "base":
                return build(name)
            case "silent tiny" | "silent base":
                return silenced(build(name.split()[1]))
            case "adding":
                return Adding()
            case "right":
                return Simple()
            case "bright":
                return Bright()

    def get(name):
        path = folder / f"{name}.onnx"
        if not path.exists():
            path.write_bytes(to_onnx(of(name).eval(), name=name, area=AREA).SerializeToString())
        return str(path)

    return get


@pytest.fixture
def estimator(shelf):
    return lambda name: load_learned(shelf(name), device="cpu")


def texture(height, width, seed=0):
    """Blobs of 4 px, (H, W, 3) BGR, nowhere black."""
    coarse = (
        np.random.default_rng(seed).integers(40, 256, (height // 4 + 2, width // 4 + 2, 3)).astype(np.uint8)
    )
    return cv2.resize(coarse, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)[:height, :width].copy()


# --- any picture


@pytest.mark.parametrize(
    "size", [(1, 1), (3, 50), (16, 16), (17, 15), (64, 96), (65, 97), (150, 40), (300, 400)]
)
def test_pictures_of_any_size_have_an_answer_of_that_size(estimator, size):
    said = estimator("tiny")
    field, trust = said.estimate_checked(texture(*size), texture(*size, seed=1))
    assert field.shape == (*size, 2) and trust.shape == size
    assert field.dtype == trust.dtype == np.float32
    assert np.isfinite(field).all() and trust.min() >= 0.0 and trust.max() <= 1.0
    assert np.array_equal(said.estimate(texture(*size), texture(*size, seed=1)), field)


# 200 x 100 is made 96 x 48: 4 px there are 8 1/3 here. What is smaller than the area is not made larger.
@pytest.mark.parametrize(
    ("size", "factor"),
    [((1, 1), 1.0), ((10, 20), 1.0), ((64, 96), 1.0), ((128, 192), 2.0), ((100, 200), 100 / 48)],
)
def test_motion_is_in_pixels_of_the_picture(estimator, size, factor):
    picture = texture(*size)
    said = estimator("right")
    field, trust = said.estimate_checked(picture, picture)
    assert np.abs(field - np.array([4.0, -2.0]) * factor).max() < 1e-4
    assert trust.min() == trust.max() == 0.5  # a logit of 0
    small, scale = said.estimate_small(picture, picture)
    assert small * scale == pytest.approx(
        np.broadcast_to([4.0 * factor, -2.0 * factor], small.shape), rel=1e-5
    )
    assert scale == pytest.approx(4 * factor)


@pytest.mark.parametrize("size", [(64, 96), (50, 70), (128, 192), (150, 200)])
def test_what_is_seen_at_a_place_is_said_at_that_place(estimator, size):
    """A ramp, told by a network that says how bright it is: between the middles of its cells it is the ramp itself."""
    height, width = size
    ramp = np.linspace(20, 220, width, dtype=np.float32)
    across = np.broadcast_to(np.rint(ramp), size).astype(np.uint8)
    down = np.broadcast_to(np.linspace(20, 220, height).round()[:, None], size).astype(np.uint8)
    scale = working_size(width, height, area=AREA, multiple=16)[2]
    field = estimator("bright").estimate(across, down) * scale
    margin = int(4 / scale) + 1  # of a cell and what was put around it
    inner = (slice(margin, -margin), slice(margin, -margin))
    # Levels are whole, and a picture's sides are made whole numbers of pixels: half a level and 1 % of 255.
    assert np.abs(field[..., 0] - across)[inner].max() < 3.0
    assert np.abs(field[..., 1] - down)[inner].max() < 3.0


def test_where_something_was_put_around_a_picture_no_answer_is_given(estimator):
    said = estimator("bright")
    reduced = said.reduce(texture(18, 37))
    assert reduced.picture.shape == (32, 48) and reduced.inner == (37, 18) and reduced.scale == 1.0
    # Its last row and column are repeated, which adds no edge to be followed.
    assert (reduced.picture[:18, 37:] == reduced.picture[:18, 36:37]).all()
    assert (reduced.picture[18:] == reduced.picture[17]).all()
    flow = said.between(reduced, reduced)
    assert flow.field.shape == (5, 10, 2) and flow.trust.shape == (5, 10)  # 18 / 4 and 37 / 4, rounded up
    assert flow.scale == 4.0


# --- a search, mended


def searched_at_working_size(said, search, before, after):
    """Dense inverse search of the copies that the network sees, without what was put around them, in their px."""
    copies = [said.reduce(one) for one in (before, after)]
    width, height = copies[0].inner
    return dense_search(search)(*(grey_of(one.picture) for one in copies))[:height, :width]


def near(height, width):
    """A picture, and the same one 2 px further to the right and 1 px down."""
    world = texture(height + 1, width + 2)
    return world[1:, 2:].copy(), world[:-1, :-2].copy()


# Its own size, sides that need something put around them, and made half and not quite half as large.
@pytest.mark.parametrize(
    "size", [(64, 96), (50, 70), (33, 65), (128, 192), (150, 40), (100, 200), (1, 1), (3, 50)]
)
@pytest.mark.parametrize(("name", "search"), [("silent tiny", "fast"), ("silent base", "medium")])
def test_a_network_with_nothing_to_add_is_the_search(estimator, name, search, size):
    said, (before, after) = estimator(name), near(*size)
    found = searched_at_working_size(said, search, before, after)
    flow = said.between(said.reduce(before), said.reduce(after))
    high, wide = found.shape[:2]
    factor = np.array([size[1] / wide, size[0] / high], np.float32)
    # ONNX Runtime's sigmoid never says 0, but 1e-8 of how far the other flow is away.
    assert flow.field == pytest.approx(found * factor, abs=1e-4)
    assert flow.field.shape == (high, wide, 2) and flow.trust.shape == (high, wide)
    assert flow.scale == pytest.approx(max(factor))
    assert flow.trust == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-5)
    field, trust = said.estimate_checked(before, after)
    assert field.shape == (*size, 2) and trust.shape == size and np.isfinite(field).all()
    if min(factor) == 1.0:  # nothing was made smaller: each pixel has its own
        assert field == pytest.approx(found, abs=1e-4)
    small, scale = said.estimate_small(before, after)
    assert scale == flow.scale and small * scale == pytest.approx(flow.field, abs=1e-4)


def test_what_was_searched_is_not_nothing(estimator):
    """The test above would hold of zeros, too."""
    field = estimator("silent tiny").estimate(*near(64, 96))
    assert np.median(field[16:-16, 16:-16], axis=(0, 1)) == pytest.approx([2.0, 1.0], abs=0.3)


@pytest.mark.parametrize("size", [(64, 96), (50, 70), (128, 192)])
def test_what_is_added_is_in_pixels_of_what_the_network_sees(estimator, size):
    said, pair = estimator("adding"), near(*size)
    found = searched_at_working_size(said, "fast", *pair)
    factor = size[0] / found.shape[0]
    flow = said.between(*(said.reduce(one) for one in pair))
    assert flow.field == pytest.approx((found + [4.0, -2.0]) * factor, abs=1e-4)
    assert (flow.trust == 0.5).all()


@pytest.mark.parametrize("size", [(16, 16), (9, 40), (1, 1)])
def test_what_is_too_small_to_be_searched_is_mended_from_no_motion(estimator, size):
    """A network whose sides may be smaller than any search's: the pictures are seen as 16 x 16 or 16 x 48."""
    field, trust = estimator("adding").estimate_checked(*near(*size))
    assert (field == [4.0, -2.0]).all() and (trust == 0.5).all() and field.shape == (*size, 2)


def test_where_the_network_says_no_number_the_search_stands_and_is_not_trusted(estimator):
    said, (before, after) = estimator("adding"), near(64, 96)
    before[:, 48:] = 0  # there the network says nothing that is a number
    found = searched_at_working_size(said, "fast", before, after)
    field, trust = said.estimate_checked(before, after)
    assert np.isfinite(field).all() and np.isfinite(trust).all()
    # Between the middles of cells of 8 px, 44 and 52, the one goes over into the other.
    assert field[:, :44] == pytest.approx(found[:, :44] + [4.0, -2.0], abs=1e-4)
    assert field[:, 52:] == pytest.approx(found[:, 52:], abs=1e-4)
    assert (trust[:, :44] == 0.5).all() and not trust[:, 52:].any()


@pytest.mark.parametrize("name", ["tiny", "base"])
@pytest.mark.parametrize("size", [(64, 96), (128, 192)])
def test_search_and_graph_together_are_the_network(estimator, name, size):
    said, pair = estimator(name), near(*size)
    torch.manual_seed(0)
    net = build(name).eval()
    copies = [resize(grey_of(one) if name == "tiny" else one, (96, 64)).reshape(64, 96, -1) for one in pair]
    with torch.no_grad():
        wanted = net(*(torch.from_numpy(one).permute(2, 0, 1)[None] / 255.0 for one in copies))
    flow = said.between(*(said.reduce(one) for one in pair))
    assert flow.field / (size[0] / 64) == pytest.approx(
        wanted.flows[-1][0].permute(1, 2, 0).numpy(), abs=2e-3
    )
    trust = F.interpolate(wanted.trust.sigmoid(), scale_factor=8.0, mode="bilinear")[0, 0]
    assert flow.trust == pytest.approx(trust.numpy(), abs=1e-4)


def test_cells_are_as_large_to_the_estimator_as_to_the_network():
    assert learned.MENDED_CELL == model.MENDED_CELL == 8


# --- pictures, again


def test_a_picture_is_reduced_once_and_used_twice(estimator):
    said = estimator("tiny")
    pictures = [texture(70, 110, seed) for seed in range(3)]
    first, second, third = (said.reduce(picture) for picture in pictures)
    for (one, other), (before, after) in (
        ((first, second), pictures[:2]),
        ((second, third), pictures[1:]),
    ):
        small, scale = said.estimate_small(before, after)
        flow = said.between(one, other)
        assert np.array_equal(flow.field / np.float32(flow.scale), small) and flow.scale == scale


def test_grey_pictures_and_colour_pictures_give_the_same(estimator):
    pair = texture(48, 64), texture(48, 64, seed=1)
    greys = [cv2.cvtColor(one, cv2.COLOR_BGR2GRAY) for one in pair]
    said = estimator("tiny")
    field = said.estimate(*pair)
    assert np.array_equal(said.estimate(*greys), field)
    assert np.array_equal(said.estimate(*(one[..., None] for one in greys)), field)
    colours = [cv2.cvtColor(one, cv2.COLOR_GRAY2BGR) for one in greys]
    said = estimator("base")
    assert np.array_equal(said.estimate(*greys), said.estimate(*colours))
    assert not np.array_equal(said.estimate(*pair), said.estimate(*colours))  # it sees colours


def test_two_estimators_share_nothing_and_repeat_themselves(estimator):
    pair = texture(48, 64), texture(48, 64, seed=1)
    one, other = estimator("tiny"), estimator("tiny")
    field = one.estimate(*pair)
    other.estimate(texture(40, 90), texture(40, 90, seed=2))
    assert np.array_equal(other.estimate(*pair), field) and np.array_equal(one.estimate(*pair), field)


def test_pictures_may_be_views_and_stay_as_they_are(estimator):
    before, after = texture(96, 128), texture(96, 128, seed=1)
    views = before[::2, ::-2], after[::2, ::-2]
    copies = [view.copy() for view in views]
    said = estimator("tiny")
    assert np.array_equal(said.estimate(*views), said.estimate(*copies))
    assert all(np.array_equal(view, copy) for view, copy in zip(views, copies))


# --- what is not a pair of pictures


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (np.zeros((24, 32, 3), np.uint8), np.zeros((32, 24, 3), np.uint8), "one size, not 32x24 and 24x32"),
        # The same size for the network, with what is put around them.
        (np.zeros((30, 32), np.uint8), np.zeros((31, 32), np.uint8), "one size, not 32x30 and 32x31"),
        (np.zeros((24, 32)), np.zeros((24, 32)), "of float64"),
        (np.zeros((24, 32, 4), np.uint8), np.zeros((24, 32, 4), np.uint8), r"not \(24, 32, 4\)"),
        (np.zeros((0, 32, 3), np.uint8), np.zeros((0, 32, 3), np.uint8), r"not \(0, 32, 3\)"),
        (np.zeros(24, np.uint8), np.zeros(24, np.uint8), r"not \(24,\)"),
    ],
)
def test_what_is_no_pair_of_pictures_is_refused(estimator, before, after, said):
    for call in ("estimate", "estimate_checked", "estimate_small"):
        with pytest.raises(ValueError, match=said):
            getattr(estimator("right"), call)(before, after)


def test_what_is_no_number_is_no_motion_and_no_trust(estimator):
    picture = texture(64, 96)
    picture[:, 48:] = 0  # there the network says nothing that is a number
    field, trust = estimator("right").estimate_checked(picture, picture)
    assert np.isfinite(field).all() and np.isfinite(trust).all()
    assert (field[:, :44] == [4.0, -2.0]).all() and (trust[:, :44] == 0.5).all()
    assert not field[:, 52:].any()
    small = estimator("right")
    flow = small.between(small.reduce(picture), small.reduce(picture))
    assert not flow.field[:, 12:].any() and not flow.trust[:, 12:].any()  # 48 / 4 cells
    assert (flow.trust[:, :12] == 0.5).all()


@pytest.mark.parametrize("name", ["tiny", "base"])
def test_cuts_and_black_pictures_have_an_answer(estimator, name):
    picture, black, white = (
        texture(48, 64),
        np.zeros((48, 64, 3), np.uint8),
        np.full((48, 64, 3), 255, np.uint8),
    )
    said = estimator(name)
    for before, after in (
        (picture, black),
        (black, picture),
        (black, black),
        (black, white),
        (white, picture),
    ):
        field, trust = said.estimate_checked(before, after)
        assert field.shape == (48, 64, 2) and np.isfinite(field).all()
        assert trust.shape == (48, 64) and trust.min() >= 0.0 and trust.max() <= 1.0
        assert np.abs(field).max() < 2 * 64  # nobody is said to have gone twice across


# --- how small a picture is made


def covered(width, height, multiple):
    return -(-width // multiple) * multiple * (-(-height // multiple) * multiple)


SIZES = [
    (1, 1),
    (96, 64),
    (97, 64),
    (320, 192),
    (1920, 1080),
    (1080, 1920),
    (3000, 40),
    (17, 5000),
    (101, 103),
]


@pytest.mark.parametrize("multiple", [16, 32, 64])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_copy_is_never_larger_and_fits_the_area(width, height, multiple):
    area = 320 * 192
    w, h, scale = working_size(width, height, area=area, multiple=multiple)
    assert 1 <= w <= width and 1 <= h <= height and 0.0 < scale <= 1.0
    assert covered(w, h, multiple) <= area
    assert abs(w - width * scale) <= 0.5 and abs(h - height * scale) <= 0.5 or 1 in (w, h)  # its own aspect


@pytest.mark.parametrize("multiple", [16, 32, 64])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_no_larger_copy_would_fit(width, height, multiple):
    """Against three thousand scales, tried one after the other."""
    area = 320 * 192
    scale = working_size(width, height, area=area, multiple=multiple)[2]
    tried = np.linspace(1.0, 0.001, 3000)
    fits = [s for s in tried if covered(max(1, int(width * s)), max(1, int(height * s)), multiple) <= area]
    # Sides are rounded to whole pixels, which gains or loses one of them.
    assert scale >= fits[0] - 1.0 / min(max(width * fits[0], 16), max(height * fits[0], 16))


def test_working_sizes_by_hand():
    assert working_size(96, 64, area=96 * 64, multiple=16) == (96, 64, 1.0)
    assert working_size(90, 60, area=96 * 64, multiple=16) == (90, 60, 1.0)  # 96 x 64 with what is put around
    assert working_size(192, 128, area=96 * 64, multiple=16) == (96, 64, 0.5)
    # Of 640 x 480, 112 x 84 would need 112 x 96, and 96 x 72 needs 96 x 80; 85.3 x 64 needs 96 x 64.
    assert working_size(640, 480, area=96 * 64, multiple=16) == (85, 64, 64 / 480)


def test_an_area_smaller_than_can_be_gives_the_least_and_enlarges_nothing():
    """A picture smaller than the multiple used to be enlarged to it."""
    assert working_size(10, 8, area=100, multiple=16) == (10, 8, 1.0)
    assert working_size(320, 160, area=100, multiple=16) == (16, 8, 16 / 320)


# --- the model


def test_sessions_are_bounded_and_made_again(estimator, monkeypatch):
    monkeypatch.setattr(learned, "MOST_SIZES", 2)
    opened = []
    monkeypatch.setattr(
        models,
        "open_model",
        lambda *said, real=models.open_model, **more: opened.append(said) or real(*said, **more),
    )
    said = estimator("right")
    opened.clear()
    pictures = [texture(16 * n, 32) for n in (1, 2, 3)]
    fields = [said.estimate(one, one) for one in pictures]
    assert len(opened) == 3 and len(said._sessions) == 2
    assert np.array_equal(said.estimate(pictures[2], pictures[2]), fields[2]) and len(opened) == 3
    assert np.array_equal(said.estimate(pictures[0], pictures[0]), fields[0]) and len(opened) == 4
    assert len(said._sessions) == 2


def test_sizes_that_the_network_sees_alike_share_a_session(estimator):
    said = estimator("right")
    for size in ((17, 33), (32, 48), (30, 40)):  # all 32 x 48 with what is put around
        said.estimate(texture(*size), texture(*size))
    assert len(said._sessions) == 1


def test_a_network_is_loaded_by_its_path_and_says_what_it_is(shelf):
    said = load_estimator(shelf("right"), device="cpu")
    assert isinstance(said, LearnedEstimator)
    assert said.name == "right" and said.providers == ["CPUExecutionProvider"]
    assert said.model_hash == models.sha256_of(models.find(shelf("right")).path)


SENTENCE = "is not a network for flow: it needs inputs before and after, outputs flow and trust, and its size"


def test_another_model_is_refused():
    with pytest.raises(ValueError, match=SENTENCE):
        LearnedEstimator(models.open_model(models.DEFAULT_DETECTOR, device="cpu"))


@pytest.mark.parametrize("name", ["right", "adding"])
@pytest.mark.parametrize("spoilt", ["metadata", "number", "search", "input", "output"])
def test_a_model_that_lacks_a_part_is_refused(shelf, tmp_path, spoilt, name):
    import onnx

    model = onnx.load(shelf(name))
    match spoilt:
        case "metadata":
            del model.metadata_props[:]
        case "number":
            next(one for one in model.metadata_props if one.key == "area").value = "large"
        case "search":  # one that it has no input for, or none for the input that it has
            one = next(one for one in model.metadata_props if one.key == "search")
            one.value = "" if one.value else "fast"
        case "input" | "output":
            ends = model.graph.input if spoilt == "input" else model.graph.output
            for node in model.graph.node:
                for names in (node.input, node.output):
                    names[:] = ["other" if name == ends[0].name else name for name in names]
            ends[0].name = "other"
    onnx.save(model, str(tmp_path / "net.onnx"))
    with pytest.raises(ValueError, match=SENTENCE):
        load_estimator(str(tmp_path / "net.onnx"), device="cpu")


def test_a_search_that_nobody_knows_is_refused(shelf, tmp_path):
    import onnx

    model = onnx.load(shelf("adding"))
    next(one for one in model.metadata_props if one.key == "search").value = "slow"
    onnx.save(model, str(tmp_path / "net.onnx"))
    with pytest.raises(ValueError, match="no preset 'slow'; choose ultrafast, fast, medium"):
        load_estimator(str(tmp_path / "net.onnx"), device="cpu")


def test_a_file_that_is_gone_or_no_model_is_one_sentence(tmp_path):
    with pytest.raises(models.ModelError, match=r"gone\.onnx"):
        load_estimator(str(tmp_path / "gone.onnx"), device="cpu")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(models.ModelError, match=r"text\.onnx cannot be opened"):
        load_estimator(str(tmp_path / "text.onnx"), device="cpu")
