"""The exported graph against the network it was made from, and what refuses a graph that is another."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

from torch import nn  # noqa: E402  # after the checks

import reid.export  # noqa: E402
from reid.datasets import Pictures  # noqa: E402
from reid.efficientnet import Convolution, InvertedResidual  # noqa: E402
from reid.embedder import load_embedder  # noqa: E402
from reid.export import export, load_checkpoint, session_rows, to_onnx  # noqa: E402
from reid.model import ReidNet, build, pooling  # noqa: E402
from reid.parity import LIMITS, ParityError, ParityReport, check  # noqa: E402
from reid.quantise import FLOAT_CONVOLUTIONS, to_half, to_int8  # noqa: E402
from reid.recipe import Recipe  # noqa: E402
from reid.train import embed_all  # noqa: E402

SIZE = (128, 64)


class TinyEncoder(nn.Module):
    """A part of each kind that the networks have, in small."""

    width = 16

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 8, size=3, stride=4)
        self.forget = nn.InstanceNorm2d(8, affine=True)
        self.blocks = nn.Sequential(
            InvertedResidual(8, 8, size=3, stride=1, expansion=2),
            InvertedResidual(8, 12, size=5, stride=2, expansion=2),
            InvertedResidual(12, 12, size=3, stride=1, expansion=2),
        )
        self.head = Convolution(12, 16, size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.forget(self.stem(x))))


def with_own_statistics(network: ReidNet) -> ReidNet:
    """Nothing that an export could forget is at its neutral value."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.InstanceNorm2d) and part.weight is not None:
            nn.init.uniform_(part.weight, 0.8, 2.0)
            nn.init.uniform_(part.bias, -0.5, 0.5)
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.2, 0.2)
            nn.init.uniform_(part.running_var, 0.3, 1.0)
    return network.eval()


def tiny(network: str = "lite", *, dim: int = 12, pool: str = "body") -> ReidNet:
    torch.manual_seed(3)
    return with_own_statistics(ReidNet(encoder=TinyEncoder(), pool=pooling(pool), dim=dim))


def people(count: int, *, cameras: int = 1) -> Pictures:
    """Persons in clothes of their own, each seen by every camera in a light of its own."""
    rng = np.random.default_rng(5)
    crops, ids, seen = [], [], []
    for person in range(count):
        top, legs = rng.integers(30, 220, (2, 3))
        for camera in range(1, cameras + 1):
            picture = rng.integers(90, 120, (*SIZE, 3)).astype(np.uint8)
            cv2.rectangle(picture, (14, 24), (50, 66), top.tolist(), -1)
            cv2.rectangle(picture, (18, 66), (46, 126), legs.tolist(), -1)
            crops.append(cv2.convertScaleAbs(picture, alpha=1.0, beta=4.0 * camera))
            ids.append(person)
            seen.append(camera)
    return Pictures(np.stack(crops).astype(np.uint8), np.array(ids), np.array(seen))


def both_sides(count: int) -> tuple[Pictures, Pictures]:
    everything = people(count, cameras=2)
    return everything.where(everything.cameras == 1), everything.where(everything.cameras == 2)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint as `reid.train` writes it, of the tiny network."""
    monkeypatch.setattr(reid.export, "build", tiny)
    weights = tiny().state_dict()
    recipe = asdict(replace(Recipe(), dim=12))
    torch.save({"recipe": recipe, "network": {}, "average": weights}, tmp_path / "c.pt")
    return tmp_path / "c.pt"


def rows_of(model: object) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    return session_rows(model.SerializeToString())  # type: ignore[attr-defined]


# --- the graph


@pytest.mark.parametrize(
    "make",
    [
        tiny,
        lambda: tiny(pool="gem"),
        lambda: tiny(pool="maximum"),
        lambda: tiny(pool="average"),
        lambda: with_own_statistics(build("lite_small", dim=32)),
        lambda: with_own_statistics(build("osnet_x0_25_ain", dim=32, pool="gem3")),
    ],
    ids=["tiny", "gem", "maximum", "average", "lite_small", "osnet_ain"],
)
def test_parity_with_the_network(make: Callable[[], ReidNet]) -> None:
    network, crops = make(), people(33).crops[:5]
    rows = rows_of(to_onnx(network))(crops)
    right = embed_all(network, crops, SIZE)
    assert rows.shape == (5, network.dim) and rows.dtype == np.float32
    assert np.abs(rows - right).max() < 1e-5
    assert np.abs(right[1:] - right[0]).max() > 1e-3  # the network does tell these crops apart


def test_the_network_is_left_as_it_was() -> None:
    network = tiny().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    to_onnx(network)
    assert network.training and isinstance(network.neck, nn.BatchNorm1d)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_same_network_gives_the_same_bytes() -> None:
    first, second = (to_onnx(tiny()).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_what_the_graph_holds_and_says() -> None:
    model = to_onnx(tiny(), name="lite")
    operators = [node.op_type for node in model.graph.node]
    assert operators[:3] == ["Resize", "Transpose", "Cast"]
    assert not {"BatchNormalization", "Constant"} & set(operators)
    assert model.producer_name == "throughline"
    assert {one.key: one.value for one in model.metadata_props} == {
        "network": "lite",
        "precision": "fp32",
        "height": "128",
        "width": "64",
    }


def test_crops_of_any_size_are_resized_inside() -> None:
    """One level of 255 apart from resizing beforehand, averaging both times: the rows point the same way."""
    rows = rows_of(to_onnx(tiny()))
    for height, width in ((256, 128), (300, 90), (60, 30), (200, 40)):
        crops = np.stack([cv2.resize(crop, (width, height)) for crop in people(4).crops])
        how = cv2.INTER_AREA if height > 128 and width > 64 else cv2.INTER_LINEAR
        beforehand = np.stack([cv2.resize(crop, (64, 128), interpolation=how) for crop in crops])
        assert (rows(crops) * rows(beforehand)).sum(axis=1).min() > 0.995


def test_a_black_and_a_plain_crop_have_unit_rows() -> None:
    """A picture without any contrast has no spread to divide by."""
    crops = np.stack([np.full((128, 64, 3), value, np.uint8) for value in (0, 127, 255)])
    assert np.linalg.norm(rows_of(to_onnx(tiny()))(crops), axis=1) == pytest.approx(1.0, abs=1e-5)


def test_half_precision_halves_the_network_and_nothing_else() -> None:
    model = to_onnx(tiny())
    half = to_half(model)
    crops = people(8).crops
    assert np.abs(rows_of(half)(crops) - rows_of(model)(crops)).max() < 1e-2
    assert half.graph.input == model.graph.input and half.graph.output == model.graph.output
    kinds = {one.name: one.data_type for one in half.graph.initializer}
    for node in half.graph.node:
        wanted = {"Conv": onnx.TensorProto.FLOAT16, "InstanceNormalization": onnx.TensorProto.FLOAT}
        if node.op_type in wanted:
            assert kinds[node.input[1]] == wanted[node.op_type]
    assert {one.key: one.value for one in half.metadata_props}["precision"] == "fp16"
    assert to_half(model).SerializeToString(deterministic=True) == half.SerializeToString(deterministic=True)


def test_eight_bits_keep_first_layers_and_pooling_in_float() -> None:
    model = to_onnx(tiny())
    crops = people(32).crops
    small = to_int8(model, crops)
    assert (rows_of(small)(crops) * rows_of(model)(crops)).sum(axis=1).mean() > 0.95
    before = [node.op_type for node in model.graph.node].count("Conv")
    eight = [one for one in small.graph.initializer if one.data_type == onnx.TensorProto.INT8]
    weights = [
        np.abs(onnx.numpy_helper.to_array(one).astype(int)).max() for one in eight if len(one.dims) > 1
    ]
    assert len(weights) == before - FLOAT_CONVOLUTIONS + 1  # and the projection
    assert max(weights) <= 64  # 7 bits
    assert to_int8(model, crops).SerializeToString() == small.SerializeToString()
    with pytest.raises(ValueError, match="at least 16 crops, not 15"):
        to_int8(model, crops[:15])


# --- the check


def mean_colour(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows = crops.mean(axis=(1, 2), dtype=np.float64) + 1.0
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def of_the_batch(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As some exports do: what only holds for one crop is taken over all."""
    return np.repeat(mean_colour(crops).mean(axis=0, keepdims=True), len(crops), axis=0)


def failures_of(exported: Callable[[NDArray[np.uint8]], NDArray[np.float32]], precision: str = "fp32") -> str:
    return "; ".join(check(mean_colour, exported, people(32).crops, precision=precision).failures)


def test_a_faithful_export_has_no_failure() -> None:
    assert failures_of(mean_colour) == ""


def test_each_way_of_going_wrong_is_named() -> None:
    assert "at batch 1 rows differ" in failures_of(lambda crops: mean_colour(255 - crops))
    assert "rows miss unit length by 1" in failures_of(lambda crops: 2.0 * mean_colour(crops))
    assert "rows depend on their company" in failures_of(of_the_batch)
    assert "at batch 1 " not in failures_of(of_the_batch)
    nothing = failures_of(lambda crops: np.full((len(crops), 3), np.nan, np.float32))
    assert "at batch 7 rows differ by nan" in nothing and "unit length by nan" in nothing


def test_rows_that_are_no_numbers_in_one_batch_alone_are_found() -> None:
    """The largest of 0 and NaN is 0 in Python's eyes; with 8 bits no other limit saw it."""

    def of_seven(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        return mean_colour(crops) * np.float32(np.nan if len(crops) == 7 else 1.0)

    assert "rows depend on their company in the batch by nan" in failures_of(of_seven, "int8")


def test_eight_bits_are_judged_by_a_test() -> None:
    assert failures_of(mean_colour, "int8") == "int8 is judged by a test, and none was given"
    report = check(mean_colour, mean_colour, people(32).crops, precision="int8", test=both_sides(12))
    assert report.failures == () and report.scores == report.exported_scores
    assert report.scores == (100.0, 100.0)  # colours tell twelve persons apart
    same = check(mean_colour, of_the_batch, people(32).crops, precision="int8", test=both_sides(12))
    assert "mAP falls from 100.00" in same.failures[-1]


def test_a_point_of_map_is_the_limit_for_eight_bits() -> None:
    report = ParityReport(
        precision="int8",
        differences={1: 0.05},
        cosine=0.98,
        company=0.0,
        length=0.0,
        resized=1.0,
        scores=(50.0, 40.0),
        exported_scores=(45.0, 39.1),  # rank-1 hangs on single queries; mAP decides
    )
    assert report.failures == ()
    worse = replace(report, exported_scores=(50.0, 38.9))
    assert worse.failures == ("mAP falls from 40.00 to 38.90, over 1 points",)
    assert "mAP 40.00 -> 38.90" in str(worse)


def test_too_few_crops_prove_nothing() -> None:
    with pytest.raises(ValueError, match="at least 32 crops, not 31"):
        check(mean_colour, mean_colour, people(31).crops, precision="fp32")


# --- from a checkpoint to a file


@pytest.mark.parametrize("precision", LIMITS)
def test_a_checkpoint_becomes_an_embedder(checkpoint: Path, tmp_path: Path, precision: str) -> None:
    out, crops = tmp_path / "out.onnx", people(40).crops
    query = people(8)
    # The same pictures again, as by another camera: whatever tells crops apart at all finds them.
    gallery = Pictures(query.crops, query.ids, query.cameras + 1)
    report = export(checkpoint, out, precision=precision, crops=crops, test=(query, gallery))
    assert report.failures == () and set(report.differences) == {1, 2, 7, 32}
    assert report.exported_scores == (100.0, 100.0)
    embedder = load_embedder(str(out), device="cpu")
    assert (embedder.dim, embedder.size) == (12, SIZE)
    assert (embedder.embed(list(crops)) * embed_all(tiny(), crops, SIZE)).sum(axis=1).min() > 0.9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.pt", "out.onnx"]


def test_a_network_of_another_picture_size(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = torch.load(checkpoint, weights_only=True)
    state["recipe"] |= {"height": 64, "width": 32}
    torch.save(state, checkpoint)
    export(checkpoint, tmp_path / "out.onnx", crops=people(32).crops)
    embedder = load_embedder(str(tmp_path / "out.onnx"), device="cpu")
    assert embedder.size == (64, 32)
    small = np.stack([cv2.resize(c, (32, 64), interpolation=cv2.INTER_AREA) for c in people(3).crops])
    assert np.abs(embedder.embed(list(small)) - embed_all(tiny(), small, (64, 32))).max() < 1e-5


def test_a_model_that_fails_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels scaled twice: nothing crashes, and every row is wrong."""

    def twice(network: ReidNet, **said: object) -> object:
        with monkeypatch.context() as patch:
            patch.setattr(reid.export, "normalise", lambda crops: crops / 58.0 / 58.0)
            return to_onnx(network, **said)  # type: ignore[arg-type]

    monkeypatch.setattr(reid.export, "to_onnx", twice)
    with pytest.raises(ParityError, match="the export was refused: at batch 1 rows differ") as refusal:
        export(checkpoint, tmp_path / "out.onnx", crops=people(32).crops)
    assert refusal.value.report.cosine < 0.999
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def test_a_checkpoint_gives_its_averaged_network(checkpoint: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)
    state["average"]["projection.bias"].fill_(0.25)
    torch.save(state, checkpoint)
    network, recipe = load_checkpoint(checkpoint)
    assert network.projection.bias.eq(0.25).all()
    assert not network.training
    assert recipe == replace(Recipe(), dim=12)


def test_what_is_no_checkpoint_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    whole = checkpoint.read_bytes()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_checkpoint(tmp_path / "nowhere.pt")
    for name, data in (("text", b"no zip at all"), ("cut", whole[: len(whole) // 2]), ("empty", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=name):
            load_checkpoint(tmp_path / name)
    torch.save({"state_dict": {}}, tmp_path / "foreign")
    with pytest.raises(ValueError, match="foreign"):
        load_checkpoint(tmp_path / "foreign")


def test_a_checkpoint_of_another_network_is_refused(checkpoint: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)
    for recipe, average, words in (
        ({"dim": 24}, state["average"], "does not hold the weights of lite: .*size mismatch"),
        ({}, {}, "does not hold the weights of lite: .*[Mm]issing"),
        ({}, [1, 2], "does not hold the weights of lite"),
        ({"colour": "red"}, state["average"], "no recipe has a 'colour'"),
    ):
        torch.save(state | {"recipe": state["recipe"] | recipe, "average": average}, checkpoint)
        with pytest.raises(ValueError, match=words):
            load_checkpoint(checkpoint)


def test_an_unknown_network_is_refused(tmp_path: Path) -> None:
    recipe = asdict(replace(Recipe(), network="resnet"))
    torch.save({"recipe": recipe, "network": {}, "average": {}}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="c.pt: no network is called 'resnet'"):
        load_checkpoint(tmp_path / "c.pt")


def test_bad_wishes_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no precision is called 'int4'"):
        export(checkpoint, tmp_path / "o.onnx", precision="int4", crops=people(32).crops)
    with pytest.raises(ValueError, match="at least 32 crops, not 3"):
        export(checkpoint, tmp_path / "o.onnx", crops=people(3).crops)
    with pytest.raises(ValueError, match="none were given"):
        export(checkpoint, tmp_path / "o.onnx", crops=people(3).crops[:0])
    with pytest.raises(
        ValueError, match="it ends in .onnx"
    ):  # else it was written, and could not be opened by name
        export(checkpoint, tmp_path / "model", crops=people(32).crops)
    with pytest.raises(FileNotFoundError, match="there is no folder"):  # else this came after all the work
        export(checkpoint, tmp_path / "no" / "o.onnx", crops=people(32).crops)
    assert not (tmp_path / "o.onnx").exists()
