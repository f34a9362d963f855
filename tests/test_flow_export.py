"""The graph that is written is the network that was trained, or nothing is written."""

from dataclasses import asdict

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")

from torch import nn  # noqa: E402

from flow import export as exporting  # noqa: E402
from flow import pairs as drawing  # noqa: E402
from flow.export import (  # noqa: E402
    AREAS,
    Parity,
    ParityError,
    Running,
    check_pairs,
    export,
    parity,
    searched_of,
    to_onnx,
)
from flow.model import Predictions, build, search_flow  # noqa: E402
from flow.pairs import Pair  # noqa: E402
from flow.recipe import RECIPES, Recipe  # noqa: E402

WIDTHS = {"tiny": 1.0, "base": 1.0, "flownets": 1 / 16, "flownetc": 1 / 16}
CHANNELS = {"tiny": 1, "base": 3, "flownets": 3, "flownetc": 3}
SEARCHES = {"tiny": "quick", "base": "fine", "flownets": "", "flownetc": ""}


@pytest.fixture(autouse=True)
def noise_for_pairs(monkeypatch):
    """Drawing scenes takes seconds; noise and the same noise 3 px further serve here."""

    def noise(rng, height, width):
        world = rng.integers(0, 256, (height, width + 3, 3)).astype(np.uint8)
        nothing = np.zeros((height, width), np.uint8)
        flow = np.zeros((height, width, 2), np.float32)
        return Pair(world[:, 3:], world[:, :-3], flow, nothing.astype(bool), nothing)

    monkeypatch.setattr(drawing, "draw_pair", noise)


def network(name, seed=0):
    """With weights of chance, statistics as after some training, and last layers that say something."""
    torch.manual_seed(seed)
    net = build(name, width=WIDTHS[name])
    with torch.no_grad():
        for part_name, part in net.named_modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0.0, 0.1)
                part.running_var.uniform_(0.5, 2.0)
            if part_name.endswith("say"):
                part.weight *= 10.0
                part.bias.normal_()
    return net.eval()


def checkpoint(folder, name, seed=0):
    weights = network(name, seed).state_dict()
    recipe = asdict(Recipe(network=name, width=WIDTHS[name]))
    torch.save({"recipe": recipe, "network": weights, "average": weights}, folder / f"{name}.pt")
    return folder / f"{name}.pt"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A checkpoint of each network and the file exported of it, made when first asked for."""
    folder, made = tmp_path_factory.mktemp("shelf"), {}

    def get(name):
        if name not in made:
            path = checkpoint(folder, name)
            made[name] = (path, folder / f"{name}.onnx", export(path, folder / f"{name}.onnx"))
        return made[name]

    return get


def session_of(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def bytes_of(rng, count, height, width, channels):
    return [rng.integers(0, 256, (count, height, width, channels)).astype(np.uint8) for _ in range(2)]


# --- the same network


@pytest.mark.parametrize("name", WIDTHS)
def test_the_graph_is_the_network_at_any_size_and_number(shelf, name):
    _, written, said = shelf(name)
    assert said.pairs == 3 and said.flow_px <= exporting.LIMIT_PX and said.trust <= exporting.LIMIT_TRUST
    net, rng = network(name), np.random.default_rng(1)
    m = net.multiple
    pairs = [
        tuple(bytes_of(rng, *shape, CHANNELS[name])) for shape in [(1, m, 2 * m), (2, 3 * m, m), (1, m, m)]
    ]
    found = parity(net, written.read_bytes(), pairs)
    assert found.pairs == 3
    # Flows of some ten px, summed in another order: far below what anybody could see.
    assert found.flow_px < 2e-3 and found.trust < 1e-4


@pytest.mark.parametrize("name", ["tiny", "flownets"])
def test_the_same_checkpoint_gives_the_same_bytes(shelf, name, tmp_path):
    path, written, _ = shelf(name)
    export(path, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == written.read_bytes()


@pytest.mark.parametrize("name", WIDTHS)
def test_what_the_file_says_of_itself(shelf, name):
    model = onnx.load(str(shelf(name)[1]))
    said = {one.key: one.value for one in model.metadata_props}
    multiple, area = (64, exporting.LARGEST_AREA) if name.startswith("flownet") else (32, AREAS[name])
    assert said == {
        "network": name,
        "channels": f"{CHANNELS[name]}",
        "multiple": f"{multiple}",
        "area": f"{area}",
        "search": SEARCHES[name],
        "search_area": "" if name.startswith("flownet") else f"{512 * 384}",
    }
    assert (model.ir_version, model.producer_name) == (exporting.IR_VERSION, "throughline")
    assert [(one.domain, one.version) for one in model.opset_import] == [("", exporting.OPSET)]
    assert {node.domain for node in model.graph.node} == {""}


@pytest.mark.parametrize("name", WIDTHS)
def test_inputs_are_bytes_and_outputs_are_columns(shelf, name):
    session, searches = session_of(shelf(name)[1]), SEARCHES[name] != ""
    ends = [(one.name, one.type, one.shape) for one in (*session.get_inputs(), *session.get_outputs())]
    assert ends == [
        ("before", "tensor(uint8)", ["N", "H", "W", CHANNELS[name]]),
        ("after", "tensor(uint8)", ["N", "H", "W", CHANNELS[name]]),
        *([("searched", "tensor(float)", ["N", "h", "w", 2])] if searches else []),
        ("flow", "tensor(float)", ["N", "h", "w", 2]),
        ("trust", "tensor(float)", ["N", "h", "w"]),
    ]
    feed = dict(zip(("before", "after"), bytes_of(np.random.default_rng(0), 2, 64, 128, CHANNELS[name])))
    if searches:
        feed["searched"] = np.random.default_rng(1).normal(0.0, 5.0, (2, 8, 16, 2)).astype(np.float32)
    flow, trust = session.run(["flow", "trust"], feed)
    # Cells of 8 px where a search is mended, of 4 px where there is none.
    sides = (2, 8, 16) if searches else (2, 16, 32)
    assert flow.shape == (*sides, 2) and trust.shape == sides
    if searches:
        assert 0.0 <= trust.min() < trust.max() <= 1.0
    else:
        assert (trust == 1.0).all()  # a FlowNet has no opinion


@pytest.mark.parametrize("name", ["tiny", "base"])
def test_the_graph_says_what_is_to_be_added_to_what_it_is_given(shelf, name):
    """Given the search's cells, what it adds, spread over the pixels, makes the search the network's own flow."""
    net = network(name)
    pair = bytes_of(np.random.default_rng(2), 2, 64, 96, CHANNELS[name])
    feed = {"before": pair[0], "after": pair[1]} | searched_of(net, *pair)
    added, trust = session_of(shelf(name)[1]).run(["flow", "trust"], feed)
    maps = [torch.from_numpy(one).permute(0, 3, 1, 2) / 255.0 for one in pair]
    found = search_flow(*maps, net.search)
    with torch.no_grad():
        said = net(*maps)
    cells = torch.from_numpy(added).permute(0, 3, 1, 2)
    whole = found + nn.functional.interpolate(cells, scale_factor=8.0, mode="bilinear")
    assert (whole - said.flows[-1]).abs().max() < 2e-3 and np.abs(added).mean() > 0.1
    assert np.abs(trust - said.trust.sigmoid()[:, 0].numpy()).max() < 1e-4
    # Another flow given is another one mended.
    other = session_of(shelf(name)[1]).run(["flow"], feed | {"searched": feed["searched"] + np.float32(9.0)})[
        0
    ]
    assert np.abs(other - added).mean() > 0.1


def test_what_a_search_says_is_given_as_means_of_its_cells():
    net = network("tiny")
    pair = bytes_of(np.random.default_rng(3), 2, 32, 64, 1)
    (name, cells), *others = searched_of(net, *pair).items()
    assert name == "searched" and not others and cells.shape == (2, 4, 8, 2) and cells.dtype == np.float32
    found = search_flow(*(torch.from_numpy(one).permute(0, 3, 1, 2) / 255.0 for one in pair), "quick").numpy()
    # The second pair's cell in row 1 and column 2: rows 8 to 15, columns 16 to 23.
    assert cells[1, 1, 2] == pytest.approx(found[1, :, 8:16, 16:24].mean(axis=(1, 2)), abs=1e-4)
    assert searched_of(network("flownets"), *bytes_of(np.random.default_rng(3), 1, 64, 64, 3)) == {}


def test_an_area_of_ones_own_is_written_down(shelf, tmp_path):
    export(shelf("flownets")[0], tmp_path / "net.onnx", area=4096)
    model = onnx.load(str(tmp_path / "net.onnx"))
    assert {one.key: one.value for one in model.metadata_props}["area"] == "4096"


def test_a_network_of_another_name_searches_what_it_sees_itself():
    model = to_onnx(network("tiny"), name="mine", area=12288)
    said = {one.key: one.value for one in model.metadata_props}
    assert (said["network"], said["area"], said["search"], said["search_area"]) == (
        "mine",
        "12288",
        "quick",
        "12288",
    )


def test_a_search_sees_at_least_what_its_network_sees():
    assert set(exporting.SEARCH_AREAS) == {name for name, search in SEARCHES.items() if search}
    assert all(area >= AREAS[name] for name, area in exporting.SEARCH_AREAS.items())


# --- the pictures inside


class Told(nn.Module):
    """Says the mean of each 4 x 4 of ``before`` as x, of ``after`` as y."""

    channels, multiple = 1, 16

    def __init__(self, trust=None):
        super().__init__()
        self.trust = trust

    def forward(self, before, after):
        means = [nn.functional.avg_pool2d(one, 4) for one in (before, after)]
        trust = None if self.trust is None else means[0] * 0.0 + self.trust
        return Predictions((torch.cat(means, dim=1),), trust)


def test_bytes_become_numbers_from_0_to_1_inside():
    before, after = (torch.full((1, 16, 32, 1), level, dtype=torch.uint8) for level in (255, 51))
    flow, trust = Running(Told())(before, after)
    assert flow.shape == (1, 4, 8, 2) and trust.shape == (1, 4, 8)
    assert flow[0, 0, 0].tolist() == pytest.approx([1.0, 0.2])
    assert trust.min() == trust.max() == 1.0  # who has no opinion is trusted


def test_logits_become_a_trust():
    picture = torch.zeros((1, 16, 16, 1), dtype=torch.uint8)
    assert Running(Told(trust=2.0))(picture, picture)[1].max().item() == pytest.approx(1 / (1 + np.exp(-2.0)))


@pytest.mark.parametrize(("channels", "multiple"), [(1, 16), (1, 32), (3, 32), (3, 64)])
def test_pairs_to_check_with_fit_the_network(channels, multiple):
    pairs = check_pairs(channels, multiple, np.random.default_rng(0))
    assert len({before.shape[1:3] for before, _ in pairs}) == len(pairs) == 3  # of several sizes
    assert max(len(before) for before, _ in pairs) > 1  # and numbers
    for before, after in pairs:
        assert before.shape == after.shape and before.dtype == after.dtype == np.uint8
        assert before.shape[1] % multiple == before.shape[2] % multiple == 0 and before.shape[3] == channels
        assert not np.array_equal(before, after)


# --- what differs is not written


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"what was there")
    return path


def test_a_graph_of_another_network_is_refused(old, monkeypatch):
    path = checkpoint(old.parent, "flownets")
    another = to_onnx(network("flownets", seed=1), name="flownets", area=4096)
    monkeypatch.setattr(exporting, "to_onnx", lambda *_, **__: another)
    with pytest.raises(
        ParityError, match=r"the graph is .* px and a trust of .* from the network: not written"
    ):
        export(path, old)
    assert old.read_bytes() == b"what was there"
    assert sorted(one.name for one in old.parent.iterdir()) == ["flownets.pt", "net.onnx"]


@pytest.mark.parametrize(
    "found",
    [
        Parity(0.021, 0.0, 3),
        Parity(0.0, 0.0021, 3),
        Parity(float("nan"), 0.0, 3),
        Parity(0.0, float("nan"), 3),
    ],
)
def test_flow_and_trust_have_their_limits(shelf, old, monkeypatch, found):
    monkeypatch.setattr(exporting, "parity", lambda *_: found)
    with pytest.raises(ParityError):
        export(shelf("flownets")[0], old)
    assert old.read_bytes() == b"what was there"


def test_what_is_no_number_is_never_the_same():
    """A network that had diverged used to pass: the larger one of 0 and NaN is 0, for Python."""
    net = Told(trust=0.0).eval()
    graph = to_onnx(net, name="told", area=4096).SerializeToString()
    picture = np.zeros((1, 16, 16, 1), np.uint8)
    assert parity(net, graph, [(picture, picture)]) == Parity(0.0, 0.0, 1)
    net.trust = float("nan")
    found = parity(net, graph, [(picture, picture)] * 2)
    assert found.flow_px == 0.0 and np.isnan(found.trust)


def test_the_farthest_of_all_pairs_counts():
    graph = to_onnx(Told().eval(), name="told", area=4096).SerializeToString()

    class Off(Told):
        def forward(self, before, after):
            said = super().forward(before, after)
            return Predictions((said.flows[0] + before.mean(),))

    pairs = [tuple(np.full((1, 16, 16, 1), level, np.uint8) for _ in range(2)) for level in (51, 204, 102)]
    assert parity(Off().eval(), graph, pairs).flow_px == pytest.approx(204 / 255, abs=1e-6)


def test_mistakes_are_told_in_one_sentence(shelf, tmp_path):
    path = shelf("flownets")[0]
    with pytest.raises(ValueError, match="net.pt is no name for a model: it ends in .onnx"):
        export(path, tmp_path / "net.pt")
    with pytest.raises(FileNotFoundError, match="there is no folder .*gone for net.onnx"):
        export(path, tmp_path / "gone" / "net.onnx")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        export(tmp_path / "gone.pt", tmp_path / "net.onnx")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        export(tmp_path / "text.pt", tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_every_network_with_a_recipe_can_be_exported():
    assert set(WIDTHS) == set(RECIPES) and set(AREAS) <= set(RECIPES)
