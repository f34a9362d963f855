"""Crops to embeddings: shapes, buckets, refusals, and what the shipped model promises."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import models
from reid.calibrate import PairCalibration
from reid.embedder import BUCKETS, OnnxEmbedder, batch_sizes, load_embedder
from reid.pictures import HEIGHT, WIDTH, to_input

onnx = pytest.importorskip("onnx")

BLUE, GREEN, RED = np.eye(3, dtype=np.float32)
SHIPPED = Path(models.__file__).parent / "research.onnx"


def plain(height: int, width: int, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.full((height, width, 3), colour, np.uint8)


def mean_colour_model(
    path: Path,
    *,
    name: str = "crops",
    kind: int | None = None,
    sides: tuple[int | str, int | str] = (HEIGHT, WIDTH),
    says: Mapping[str, str] | None = None,
) -> Path:
    """An embedder that anybody can check by hand: the mean colour of the crop, as a unit row (B, G, R)."""
    h = onnx.helper
    kind = onnx.TensorProto.UINT8 if kind is None else kind
    graph = h.make_graph(
        [
            h.make_node("Cast", [name], ["f"], to=onnx.TensorProto.FLOAT),
            h.make_node("ReduceMean", ["f"], ["m"], axes=[1, 2], keepdims=0),
            h.make_node("LpNormalization", ["m"], ["embeddings"], axis=1, p=2),
        ],
        "mean_colour",
        [h.make_tensor_value_info(name, kind, ["N", *sides, 3])],
        [h.make_tensor_value_info("embeddings", onnx.TensorProto.FLOAT, ["N", 3])],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)])
    model.ir_version = 8
    h.set_model_props(model, dict(says or {}))
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> OnnxEmbedder:
    return load_embedder(str(mean_colour_model(tmp_path_factory.mktemp("model") / "tiny.onnx")), device="cpu")


@pytest.fixture(scope="module")
def shipped() -> OnnxEmbedder:
    return load_embedder(device="cpu")


def test_rows_belong_to_their_crops_whatever_their_size(tiny: OnnxEmbedder) -> None:
    found = tiny.embed([plain(300, 90, (200, 0, 0)), plain(17, 5, (0, 9, 0)), plain(128, 64, (0, 30, 40))])
    assert found == pytest.approx(np.stack([BLUE, GREEN, 0.6 * GREEN + 0.8 * RED]), abs=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("count", [1, 2, 3, 5, 31, 32, 33, 65])
def test_every_number_of_crops_gives_as_many_rows(tiny: OnnxEmbedder, count: int) -> None:
    crops = [plain(128, 64, (i + 1, 100, 255 - i)) for i in range(count)]
    found = tiny.embed(crops)
    expected = np.array([[i + 1, 100, 255 - i] for i in range(count)], np.float32)
    assert found == pytest.approx(expected / np.linalg.norm(expected, axis=1, keepdims=True), abs=1e-5)


def test_batches_have_few_sizes() -> None:
    assert batch_sizes(71, padded=True) == [32, 32, 8]  # 7 are left, and one row is padding
    assert batch_sizes(71, padded=False) == [32, 32, 4, 2, 1]  # no row is wasted
    for count in range(130):
        for padded in (False, True):
            sizes = batch_sizes(count, padded=padded)
            assert set(sizes) <= set(BUCKETS)
            assert sum(sizes[:-1]) < max(count, 1)  # no batch is padding alone
            assert sum(sizes) >= count if padded else sum(sizes) == count


def test_padding_is_cut_off_again(tiny: OnnxEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    crops = [plain(9, 9, (i + 1, 0, 5)) for i in range(37)]
    plainly = tiny.embed(crops)
    monkeypatch.setattr(tiny, "_padded", True)
    assert tiny.embed(crops).shape == (37, 3)
    assert tiny.embed(crops) == pytest.approx(plainly)


def test_no_crops_give_no_rows(tiny: OnnxEmbedder) -> None:
    assert tiny.embed([]).shape == (0, 3)


@pytest.mark.parametrize(
    ("crop", "words"),
    [
        (np.zeros((0, 5, 3), np.uint8), "crop 1 of 2: a crop of 5x0 pixels has no area"),
        (np.zeros((5, 0, 3), np.uint8), "no area"),
        (np.zeros((5, 5), np.uint8), r"\(h, w, 3\) uint8 BGR"),
        (np.zeros((5, 5, 4), np.uint8), r"\(h, w, 3\) uint8 BGR"),
        (np.zeros((5, 5, 3), np.float32), "uint8"),
    ],
)
def test_a_crop_that_is_none_is_refused(tiny: OnnxEmbedder, crop: NDArray[np.generic], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny.embed([plain(4, 4, (1, 2, 3)), crop])  # type: ignore[list-item]


def test_views_into_a_frame_are_crops_too(tiny: OnnxEmbedder) -> None:
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[100:300, 50:150] = (0, 0, 77)
    frame.flags.writeable = False
    assert tiny.embed([frame[100:300, 50:150]]) == pytest.approx(RED[None], abs=1e-5)


def test_shrinking_averages_instead_of_dropping_pixels() -> None:
    stripes = np.zeros((512, 256, 3), np.uint8)
    stripes[:, ::2] = 200  # every second column: single samples would be 0 or 200
    assert np.abs(to_input(stripes).astype(int) - 100).max() <= 1
    assert np.array_equal(to_input(plain(128, 64, (1, 2, 3))), plain(128, 64, (1, 2, 3)))


def test_a_graph_that_takes_any_size_gets_the_size_it_was_trained_on(tmp_path: Path) -> None:
    """Crops of different sizes are one batch, whether or not the graph would resize them itself."""
    free = load_embedder(str(mean_colour_model(tmp_path / "free.onnx", sides=("H", "W"))), device="cpu")
    assert free.size == (HEIGHT, WIDTH)
    said = {"height": "32", "width": "16"}
    small = load_embedder(
        str(mean_colour_model(tmp_path / "small.onnx", sides=("H", "W"), says=said)), device="cpu"
    )
    fixed = load_embedder(str(mean_colour_model(tmp_path / "fixed.onnx", sides=(32, 16))), device="cpu")
    assert small.size == fixed.size == (32, 16)
    for embedder in (free, small, fixed):
        found = embedder.embed([plain(300, 90, (200, 0, 0)), plain(17, 5, (0, 9, 0))])
        assert found == pytest.approx(np.stack([BLUE, GREEN]), abs=1e-5)


def test_the_card_tells_what_a_distance_of_two_crops_means(tmp_path: Path) -> None:
    path = mean_colour_model(tmp_path / "tiny.onnx")
    assert load_embedder(str(path), device="cpu").pair_calibration is None
    said = PairCalibration(distance=[0.2, 0.6], probability=[0.9, 0.1], thresholds={0.01: 0.3})
    card = tmp_path / "tiny.toml"
    card.write_text('kind = "embedder"\n' + said.card())
    found = load_embedder(str(path), device="cpu").pair_calibration
    assert found is not None
    assert found.probability(0.4) == pytest.approx(0.5)  # half-way between the knots
    card.write_text('kind = "embedder"\n[details.pair_calibration]\ndistance = [0.2]\n')
    with pytest.raises(ValueError, match="card of the model tiny: pair_calibration needs"):
        load_embedder(str(path), device="cpu")


def test_what_an_embedder_says_of_itself(tmp_path: Path) -> None:
    path = mean_colour_model(tmp_path / "tiny.onnx")
    embedder = load_embedder(str(path), device="cpu", threads=2)
    assert embedder.dim == 3
    assert embedder.name == "tiny"
    assert embedder.providers == ["CPUExecutionProvider"]
    assert embedder.model_hash == models.find(str(path)).sha256


def test_the_card_tells_what_a_distance_means(tmp_path: Path) -> None:
    path = mean_colour_model(tmp_path / "tiny.onnx")
    assert load_embedder(str(path), device="cpu").calibration is None
    card = tmp_path / "tiny.toml"
    card.write_text('kind = "embedder"\n[details]\ncalibration = { offset = 3.0, slope = -6 }\n')
    calibration = load_embedder(str(path), device="cpu").calibration
    assert calibration is not None
    assert calibration.probability(0.5) == pytest.approx(0.5)
    card.write_text('kind = "embedder"\n[details]\ncalibration = 3.0\n')
    with pytest.raises(ValueError, match="card of the model tiny needs calibration"):
        load_embedder(str(path), device="cpu")


def test_a_model_that_is_no_embedder_is_refused(tmp_path: Path) -> None:
    for number, path in enumerate(
        (
            mean_colour_model(tmp_path / "other_name.onnx", name="images"),
            mean_colour_model(tmp_path / "other_type.onnx", kind=onnx.TensorProto.FLOAT),
        )
    ):
        with pytest.raises(ValueError, match="is not an embedder") as refusal:
            load_embedder(str(path), device="cpu")
        assert path.name in str(refusal.value), number
    with pytest.raises(models.ModelError, match="no model"):
        load_embedder("reserch", device="cpu")


def person(top: tuple[int, int, int], legs: tuple[int, int, int], shade: float = 1.0) -> NDArray[np.uint8]:
    """A drawn pedestrian on a grey street, 160x80."""
    picture = np.full((160, 80, 3), 130, np.uint8)
    cv2.circle(picture, (40, 20), 12, (120, 150, 190), -1)
    cv2.rectangle(picture, (22, 34), (58, 90), top, -1)
    cv2.rectangle(picture, (26, 90), (38, 155), legs, -1)
    cv2.rectangle(picture, (42, 90), (54, 155), legs, -1)
    return np.clip(picture * shade, 0, 255).astype(np.uint8)


def test_the_shipped_model_gives_unit_rows_that_do_not_depend_on_company(shipped: OnnxEmbedder) -> None:
    rng = np.random.default_rng(0)
    crops = [
        rng.integers(0, 256, (int(h), int(w), 3), dtype=np.uint8) for h, w in rng.integers(20, 200, (5, 2))
    ]
    together = shipped.embed(crops)
    assert together.shape == (5, shipped.dim)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(5), abs=1e-4)
    alone = np.concatenate([shipped.embed([crop]) for crop in crops])
    assert alone == pytest.approx(together, abs=1e-4)
    assert shipped.embed([]).shape == (0, shipped.dim)


def test_the_shipped_model_sees_clothes_rather_than_light(shipped: OnnxEmbedder) -> None:
    red, dark_red, green = shipped.embed(
        [
            person((40, 40, 200), (60, 40, 30)),
            person((40, 40, 200), (60, 40, 30), shade=0.8),
            person((60, 160, 50), (200, 200, 200)),
        ]
    )
    assert red @ dark_red > 0.8
    assert 1.0 - red @ green > 3.0 * (1.0 - red @ dark_red)


def test_the_shipped_model_is_small_and_has_a_true_card(shipped: OnnxEmbedder) -> None:
    assert SHIPPED.stat().st_size < 8_000_000
    assert models.verify("research") == "ok"
    card = models.card("research")
    assert card.kind == "embedder"
    assert card.sha256 == shipped.model_hash
    assert "research" in card.data_terms


@pytest.mark.parametrize(
    ("what", "unwanted"),
    [
        ("from reid import load_embedder", {"torch", "onnxruntime", "onnx", "tracker"}),
        ("from reid.gallery import Gallery", {"torch", "onnxruntime", "onnx", "tracker", "cv2", "models"}),
    ],
)
def test_importing_loads_no_more_than_is_needed(what: str, unwanted: set[str]) -> None:
    code = f"{what}; import sys; print(sorted({unwanted!r} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    import reid

    for name in reid.__all__:
        assert getattr(reid, name).__module__.startswith("reid.")
    with pytest.raises(AttributeError, match="no attribute 'load_embeder'"):
        reid.load_embeder  # noqa: B018
