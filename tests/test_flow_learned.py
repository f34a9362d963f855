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
from flow.learned import LearnedEstimator, disagreement, load_learned, working_size  # noqa: E402
from flow.model import Predictions, build  # noqa: E402
from flow.reduced import grey_of, resize  # noqa: E402
from flow.search import dense_search  # noqa: E402

AREA = 64 * 96  # pixels that the networks here see at most
SEARCH_AREA = 128 * 192  # and their searches


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
            graph = to_onnx(of(name).eval(), name=name, area=AREA)
            for one in graph.metadata_props:
                if one.key == "search_area" and one.value:
                    one.value = f"{SEARCH_AREA}"
            path.write_bytes(graph.SerializeToString())
        return str(path)

    return get


@pytest.fixture
def described(shelf, tmp_path):
    """A network's file whose description of itself says something else: its path."""
    import onnx

    def copy(name, **said):
        graph = onnx.load(shelf(name))
        for one in graph.metadata_props:
            one.value = said.pop(one.key, one.value)
        assert not said
        onnx.save(graph, str(tmp_path / "said.onnx"))
        return str(tmp_path / "said.onnx")

    return copy


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


def searched_by_hand(search, before, after):
    """Dense inverse search of the copies made for it, in their px, and px of the picture to one of them (x, y)."""
    height, width = before.shape[:2]
    size = working_size(width, height, area=SEARCH_AREA, multiple=8)[:2]
    found = dense_search(search)(*(resize(grey_of(one), size) for one in (before, after)))
    return found, np.array([width / size[0], height / size[1]], np.float32)


def near(height, width):
    """A picture, and the same one 2 px further to the right and 1 px down."""
    world = texture(height + 1, width + 2)
    return world[1:, 2:].copy(), world[:-1, :-2].copy()


@pytest.fixture
def all_counts(monkeypatch):
    """Whatever a network adds counts, and pictures are not asked."""
    monkeypatch.setattr(learned, "LEAST_GAIN", -1e6)


# Its own size to network and search; sides that need something put around them; half as large to the network, to
# both, and not quite half as large; too small to be searched.
@pytest.mark.parametrize(
    "size",
    [(64, 96), (50, 70), (33, 65), (128, 192), (256, 384), (150, 40), (300, 401), (1, 1), (3, 50)],
)
@pytest.mark.parametrize(("name", "search"), [("silent tiny", "quick"), ("silent base", "fine")])
def test_a_network_with_nothing_to_add_is_the_search(estimator, name, search, size):
    said, (before, after) = estimator(name), near(*size)
    found, factor = searched_by_hand(search, before, after)
    flow = said.between(said.reduce(before), said.reduce(after))
    # ONNX Runtime's sigmoid never says 0, but 1e-8 of how far the other flow is away.
    assert flow.field == pytest.approx(found * factor, abs=1e-4)
    assert flow.field.shape == found.shape and flow.trust.shape == found.shape[:2]
    assert flow.scale == pytest.approx(max(factor))
    assert flow.trust == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-5)
    field, trust = said.estimate_checked(before, after)
    assert field.shape == (*size, 2) and trust.shape == size and np.isfinite(field).all()
    if min(factor) == 1.0:  # nothing was made smaller: each pixel has its own
        assert field == pytest.approx(found, abs=1e-4)
    small, scale = said.estimate_small(before, after)
    assert scale == flow.scale and small * scale == pytest.approx(flow.field, abs=1e-4)


@pytest.mark.parametrize("size", [(64, 96), (128, 192)])
def test_what_was_searched_is_not_nothing(estimator, size):
    """The test above would hold of zeros, too."""
    field = estimator("silent tiny").estimate(*near(*size))
    assert np.median(field[16:-16, 16:-16], axis=(0, 1)) == pytest.approx([2.0, 1.0], abs=0.3)


@pytest.mark.parametrize("size", [(64, 96), (50, 70), (128, 192), (256, 384), (300, 401)])
def test_what_is_added_is_in_pixels_of_what_the_network_sees(estimator, size, all_counts):
    said, pair = estimator("adding"), near(*size)
    found, factor = searched_by_hand("fast", *pair)
    flow = said.between(*(said.reduce(one) for one in pair))
    width, height, _ = working_size(size[1], size[0], area=AREA, multiple=16)
    added = np.array([4.0 * size[1] / width, -2.0 * size[0] / height])
    assert flow.field == pytest.approx(found * factor + added, abs=1e-4)
    assert (flow.trust == 0.5).all()


@pytest.mark.parametrize("size", [(16, 16), (9, 40), (1, 1)])
def test_what_is_too_small_to_be_searched_is_mended_from_no_motion(estimator, size, all_counts):
    """A network whose sides may be smaller than any search's: the pictures are seen as 16 x 16 or 16 x 48."""
    field, trust = estimator("adding").estimate_checked(*near(*size))
    assert field == pytest.approx(np.broadcast_to([4.0, -2.0], field.shape), abs=1e-6)
    assert (trust == 0.5).all() and field.shape == (*size, 2)


def test_where_the_network_says_no_number_the_search_stands_and_is_not_trusted(estimator, all_counts):
    said, (before, after) = estimator("adding"), near(64, 96)
    before[:, 48:] = 0  # there the network says nothing that is a number
    found, _ = searched_by_hand("fast", before, after)
    field, trust = said.estimate_checked(before, after)
    assert np.isfinite(field).all() and np.isfinite(trust).all()
    # Between the middles of cells of 8 px, 44 and 52, the one goes over into the other.
    assert field[:, :44] == pytest.approx(found[:, :44] + [4.0, -2.0], abs=1e-4)
    assert field[:, 52:] == pytest.approx(found[:, 52:], abs=1e-4)
    assert (trust[:, :44] == 0.5).all() and not trust[:, 52:].any()


@pytest.mark.parametrize("name", ["tiny", "base"])
@pytest.mark.parametrize("times", [1, 2])
def test_search_and_graph_together_are_the_network(estimator, name, times, all_counts):
    """The search sees the picture as it is, the network a copy ``times`` smaller: 96 x 64."""
    said, pair = estimator(name), near(64 * times, 96 * times)
    torch.manual_seed(0)
    net = build(name).eval()
    copies = [resize(grey_of(one) if name == "tiny" else one, (96, 64)).reshape(64, 96, -1) for one in pair]
    maps = [torch.from_numpy(one).permute(2, 0, 1)[None] / 255.0 for one in copies]
    found = torch.from_numpy(searched_by_hand(net.search, *pair)[0]).permute(2, 0, 1)[None]
    with torch.no_grad():
        _, added, trust, _ = net.mend(*maps, F.avg_pool2d(found, 8 * times) / times)
        by_itself = net(*maps)

    def spread(cells):
        for factor in (8.0, float(times)):
            cells = F.interpolate(cells, scale_factor=factor, mode="bilinear")
        return cells[0].permute(1, 2, 0).numpy()

    flow = said.between(*(said.reduce(one) for one in pair))
    assert np.abs(spread(added)).mean() > 0.01
    assert flow.field == pytest.approx(found[0].permute(1, 2, 0).numpy() + spread(added) * times, abs=2e-3)
    assert flow.trust == pytest.approx(spread(trust.sigmoid())[..., 0], abs=1e-4)
    if times == 1:  # search and network see the same, as in training
        assert flow.field == pytest.approx(by_itself.flows[-1][0].permute(1, 2, 0).numpy(), abs=2e-3)


@pytest.mark.parametrize(
    ("size", "cells", "shown"),
    [
        ((64, 96), (8, 12), [8.0, -6.0]),
        ((50, 70), (8, 10), [8.0, -6.0]),  # 64 x 80 with what is put around
        ((128, 192), (8, 12), [4.0, -3.0]),
        ((256, 384), (8, 12), [4.0, -3.0]),  # half as large to the search, a quarter to the network
    ],
)
def test_the_network_is_given_the_search_in_its_own_pixels(estimator, monkeypatch, size, cells, shown):
    said, given = estimator("adding"), []
    monkeypatch.setattr(said, "_search", lambda before, _: always(before.shape, 8.0, -6.0))
    monkeypatch.setattr(
        said, "_run", lambda opened, feed, real=said._run: given.append(feed) or real(opened, feed)
    )
    said.estimate(*near(*size))
    (feed,) = given
    assert feed["searched"].shape == (1, *cells, 2) and feed["searched"].dtype == np.float32
    assert feed["searched"] == pytest.approx(np.broadcast_to(shown, (1, *cells, 2)), abs=1e-5)


# --- the copy that is searched


@pytest.mark.parametrize(
    "size", [(64, 96), (50, 70), (128, 192), (129, 193), (1080, 1920), (1000, 90), (1, 1)]
)
def test_a_search_sees_a_grey_copy_of_its_own_area_and_nothing_around_it(estimator, size):
    picture = texture(*size)
    for name in ("silent tiny", "silent base"):
        fine = estimator(name).reduce(picture).fine
        width, height, _ = working_size(size[1], size[0], area=SEARCH_AREA, multiple=8)
        assert fine.ndim == 2 and fine.size <= SEARCH_AREA
        assert np.array_equal(fine, resize(grey_of(picture), (width, height)))
    assert estimator("right").reduce(picture).fine is None  # nothing is searched


@pytest.mark.parametrize(
    ("area", "shape"),
    [
        (192 * 128, (128, 192)),
        (96 * 64, (64, 96)),
        (64 * 48, (43, 64)),  # 2 : 3 of 64 is 42.7, in 48; 72 x 48 would be too much
    ],
)
def test_the_area_of_the_search_is_what_the_file_says(described, area, shape):
    said = load_learned(described("silent tiny", search_area=f"{area}"), device="cpu")
    pair = near(128, 192)
    reduced = [said.reduce(one) for one in pair]
    assert reduced[0].fine.shape == shape and reduced[0].picture.shape == (64, 96)
    flow = said.between(*reduced)
    assert flow.field.shape == (*shape, 2) and flow.trust.shape == shape
    inside = flow.field[12:-12, 12:-12]
    assert np.median(inside, axis=(0, 1)) == pytest.approx([2.0, 1.0], abs=0.4)  # in pixels of the picture


# --- what is added, where pictures agree the better for it


def always(shape, x, y):
    return np.full((*shape, 2), (x, y), np.float32)


def sigmoid(value):
    return 1.0 / (1.0 + np.exp(-value))


def saying(monkeypatch, said, *, found, added, trust=0.75):
    """An estimator that searched ``found`` everywhere, with a network that adds (h, w, 2) cells."""
    monkeypatch.setattr(said, "_search", lambda before, _: always(before.shape, *found))
    monkeypatch.setattr(said, "_run", lambda *_: (added.copy(), np.full(added.shape[:2], trust, np.float32)))
    return said


# Two levels brighter with every px to the right, and moved by 3: what is looked up d px further is 2 d brighter.
@pytest.mark.parametrize("times", [1, 2])  # how much smaller the network's copy is
@pytest.mark.parametrize(
    ("found", "added", "gain"),
    [
        (0.0, 3.0, 6.0),  # right: from 6 levels apart to 0
        (0.0, 1.0, 2.0),  # the least that counts by half
        (0.0, 6.0, 0.0),  # as wrong on the other side
        (0.0, -1.0, -2.0),
        (0.0, -20.0, -40.0),
        (1.0, 2.0, 4.0),  # right with what was found already
        (3.0, 1.0, -2.0),  # away from what was right
        (-17.0, 20.0, 40.0),
    ],
)
def test_what_is_added_counts_by_how_much_better_pictures_agree(
    estimator, monkeypatch, times, found, added, gain
):
    height, width = 64 * times, 96 * times
    ramp = np.arange(width) * 2 // times
    before, after = (np.broadcast_to(ramp + more, (height, width)).astype(np.uint8) for more in (6, 0))
    said = saying(
        monkeypatch, estimator("adding"), found=(found * times, 5.0), added=always((8, 12), added, 4.0)
    )
    field, trust = said.estimate_checked(before, after)
    inside = field[:, 26 * times : -26 * times]  # nothing is looked up beyond the picture
    weight = sigmoid(gain - 2.0)
    assert inside[..., 0] == pytest.approx((found + added * weight) * times, abs=0.02)
    assert inside[..., 1] == pytest.approx(5.0 + 4.0 * weight * times, abs=0.02)
    assert trust == pytest.approx(0.75)  # the network's own


def test_what_helps_is_added_where_it_helps_and_not_where_it_harms(estimator, monkeypatch):
    before, after = near(64, 96)  # moved by (2, 1)
    added = always((8, 12), 2.0, 1.0)
    added[:, 6:] *= -1.0
    said = saying(monkeypatch, estimator("adding"), found=(0.0, 0.0), added=added)
    field = said.estimate(before, after)
    right, wrong = field[8:-8, 8:36], field[8:-8, 60:-8]
    assert right == pytest.approx(np.broadcast_to([2.0, 1.0], right.shape), abs=0.25)
    assert np.median(right, axis=(0, 1)) == pytest.approx([2.0, 1.0], abs=0.01)
    assert np.linalg.norm(wrong, axis=2).mean() < 0.1 * np.hypot(2.0, 1.0)


def test_what_pictures_cannot_tell_hardly_counts(estimator, monkeypatch):
    """A wall of one grey agrees with itself wherever it went; so do pictures beyond any likeness."""
    wall = np.full((64, 96), 128, np.uint8)
    said = saying(monkeypatch, estimator("adding"), found=(1.0, 0.0), added=always((8, 12), 10.0, -4.0))
    for after in (wall, wall - 128, wall + 127):
        field = said.estimate(wall, after)
        assert field == pytest.approx(
            always((64, 96), 1.0 + 10.0 * sigmoid(-2.0), -4.0 * sigmoid(-2.0)), abs=1e-4
        )


@pytest.mark.parametrize("far", [1e4, 1e9, -1e9])
def test_a_network_gone_wild_has_a_finite_answer(estimator, monkeypatch, far):
    said = saying(monkeypatch, estimator("adding"), found=(0.0, 0.0), added=always((8, 12), far, far))
    field = said.estimate(*near(64, 96))
    assert np.isfinite(field).all()


# --- how pictures disagree


def box(rows, columns, level):
    expected = np.zeros((24, 30), np.float32)
    expected[rows, columns] = level
    return expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        # One px 98 levels off, of 7 x 7: 2 levels, wherever it is at most 3 px away.
        ((0.0, 0.0), box(slice(7, 14), slice(12, 19), 2.0)),
        ((2.0, 0.0), box(slice(7, 14), slice(10, 17), 2.0)),  # seen by who looks 2 px to the right
        ((0.0, -3.0), box(slice(10, 17), slice(12, 19), 2.0)),
        # Half of it each to two neighbours.
        (
            (0.5, 0.0),
            box(slice(7, 14), slice(11, 18), 1.0) + box(slice(7, 14), slice(12, 19), 1.0),
        ),
    ],
)
@pytest.mark.parametrize("darker", [False, True])
def test_disagreement_by_hand(field, expected, darker):
    before, after = np.full((2, 24, 30), 100, np.uint8)
    after[10, 15] = 2 if darker else 198
    said = disagreement(before, after, always((24, 30), *field))
    assert said.dtype == np.float32 and said == pytest.approx(expected, abs=1e-5)


def test_beyond_a_picture_its_border_is_seen():
    before, after = np.zeros((2, 24, 30), np.uint8)
    after[:, -1], after[:, 0] = 50, 30
    assert disagreement(before, after, always((24, 30), 100.0, 0.0)) == pytest.approx(50.0)
    assert disagreement(before, after, always((24, 30), -100.0, 60.0)) == pytest.approx(30.0)


def test_each_pixel_is_looked_up_where_its_own_motion_leads():
    before, after = near(64, 96)
    field = always((64, 96), 2.0, 1.0)
    field[:, 48:] = 0.0
    said = disagreement(*(grey_of(one) for one in (before, after)), field)
    assert not said[:-4, 3:45].any() and said[:, 51:].mean() > 10.0


# --- displacements at another size


def test_displacements_are_scaled_by_each_side():
    field = np.arange(12.0).reshape(2, 3, 2)
    kept = field.copy()
    said = learned._scaled(field, (10, 20), (5, 60))
    assert said.dtype == np.float32 and said.tolist() == [
        [[0.0, 3.0], [1.0, 9.0], [2.0, 15.0]],
        [[3.0, 21.0], [4.0, 27.0], [5.0, 33.0]],
    ]
    assert np.array_equal(field, kept)
    same = learned._scaled(field, (10, 20), (10, 20))
    assert same.dtype == np.float32 and np.array_equal(same, kept)


def test_a_view_is_scaled_as_its_copy():
    field = np.random.default_rng(0).normal(size=(8, 9, 2)).astype(np.float32)
    view = field[::2, ::-1]
    assert learned._scaled(view, (7, 3), (21, 6)) == pytest.approx(view * [3.0, 2.0], rel=1e-6)


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
@pytest.mark.parametrize("spoilt", ["metadata", "number", "search", "search area", "input", "output"])
def test_a_model_that_lacks_a_part_is_refused(shelf, tmp_path, spoilt, name):
    import onnx

    model = onnx.load(shelf(name))
    match spoilt:
        case "metadata":
            del model.metadata_props[:]
        case "number":
            next(one for one in model.metadata_props if one.key == "area").value = "large"
        case "search area":
            next(one for one in model.metadata_props if one.key == "search_area").value = "large"
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


def test_a_network_that_mends_but_does_not_say_how_much_is_searched_is_refused(shelf, tmp_path):
    """It used to search copies of 8 x 6 px."""
    import onnx

    model = onnx.load(shelf("adding"))
    kept = [one for one in model.metadata_props if one.key != "search_area"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, str(tmp_path / "net.onnx"))
    with pytest.raises(ValueError, match=SENTENCE):
        load_estimator(str(tmp_path / "net.onnx"), device="cpu")


def test_a_search_that_nobody_knows_is_refused(described):
    with pytest.raises(ValueError, match="no preset 'slow'; choose ultrafast, fast, medium, quick, fine"):
        load_estimator(described("adding", search="slow"), device="cpu")


def test_a_file_that_is_gone_or_no_model_is_one_sentence(tmp_path):
    with pytest.raises(models.ModelError, match=r"gone\.onnx"):
        load_estimator(str(tmp_path / "gone.onnx"), device="cpu")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(models.ModelError, match=r"text\.onnx cannot be opened"):
        load_estimator(str(tmp_path / "text.onnx"), device="cpu")
