"""Network detectors on pictures and tensors worked by hand, and recorded detections."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import models
from tracker.io.detectors import (
    OnnxDetector,
    decode_end2end,
    decode_nanodet,
    decode_yolox,
    fit_into,
    input_size,
    load_detector,
    load_recorded,
    without_overlaps,
)


def iou(a: NDArray, b: NDArray) -> NDArray:
    """(N, M) for boxes (N, 4) and (M, 4)."""
    both = np.prod(
        np.clip(
            np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2]), 0, None
        ),
        2,
    )
    areas = np.prod(a[:, 2:] - a[:, :2], 1)[:, None] + np.prod(b[:, 2:] - b[:, :2], 1)[None]
    return both / (areas - both)


# The picture the network sees -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ((360, 640), (384, 640)),
        ((1080, 1920), (384, 640)),
        ((728, 1288), (384, 640)),
        # 4:3 in 416x576 shows 554x416 pixels; 384x640 would show 512x384, 448x544 544x408.
        ((480, 640), (416, 576)),
        ((640, 360), (640, 384)),
        ((10, 10_000), (32, 7680)),
    ],
)
def test_the_input_has_the_frames_shape(frame: tuple[int, int], expected: tuple[int, int]) -> None:
    assert input_size(*frame) == expected


def test_of_equal_inputs_the_smallest_is_taken() -> None:
    # Six cells allow 32x96 and 64x96, and a 1:3 frame is as large in both.
    assert input_size(32, 96, 6 * 32 * 32) == (32, 96)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 40))
def test_no_allowed_input_shows_the_frame_larger(height: int, width: int, cells: int) -> None:
    area = cells * 32 * 32
    H, W = input_size(height, width, area)
    assert H % 32 == W % 32 == 0 and area >= H * W
    sides = [(h * 32, w * 32) for h in range(1, cells + 1) for w in range(1, cells // h + 1)]
    best = max(min(h / height, w / width) for h, w in sides)
    assert min(H / height, W / width) == pytest.approx(best, rel=1e-3, abs=1e-6)


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.booleans(),
    st.integers(0, 1000),
)
def test_boxes_find_their_way_back(
    frame: tuple[int, int], cells: tuple[int, int], is_stretched: bool, seed: int
) -> None:
    h, w = frame
    size = (cells[0] * 32, cells[1] * 32)
    picture, fit = fit_into(np.zeros((h, w, 3), np.uint8), size, pad=114, is_stretched=is_stretched)
    assert picture.shape == (*size, 3) and picture.dtype == np.uint8
    boxes = np.random.default_rng(seed).uniform(0, 1, (5, 4)) * [w, h, w, h]
    there = boxes * ([fit.scale_x, fit.scale_y] * 2)
    np.testing.assert_allclose(fit.to_frame(there), boxes, atol=1e-2)


def test_a_frame_lies_in_the_corner_and_the_rest_is_grey() -> None:
    # 100x50 in 64x64: scale 0.64, so 64x32 pixels of picture and 32 rows of padding.
    image = np.full((50, 100, 3), 255, np.uint8)
    picture, fit = fit_into(image, (64, 64), pad=114)
    assert (picture[:32] == 255).all() and (picture[32:] == 114).all()
    assert (fit.scale_x, fit.scale_y) == (0.64, 0.64)
    # A box that reaches into the padding is cut at the frame's edge.
    np.testing.assert_allclose(fit.to_frame(np.array([[-5, 16, 32, 60]])), [[0, 25, 50, 50]])


# The networks' answers --------------------------------------------------------------------------------------------


def test_yolox_cells_become_boxes() -> None:
    # A 32x64 input has 4x8 cells of 8 px, 2x4 of 16 and 1x2 of 32: 32 + 8 + 2 rows.
    raw = np.zeros((1, 42, 7), np.float32)
    raw[0, 8 + 3, :] = [0.5, 0.25, np.log(2), np.log(4), 0.8, 0.1, 0.5]  # stride 8, column 3, row 1
    raw[0, 32 + 8 + 1, :] = [0, 0, 0, 0, 0.5, 1.0, 0.0]  # stride 32, column 1, row 0
    ((boxes, scores),) = decode_yolox({"output": raw}, (32, 64), person=1)
    # Centre (3.5, 1.25) * 8 = (28, 10), size 2 * 8 by 4 * 8.
    np.testing.assert_allclose(boxes[11], [28 - 8, 10 - 16, 28 + 8, 10 + 16], rtol=1e-6)
    assert scores[11] == pytest.approx(0.8 * 0.5)
    # Centre (1, 0) * 32, size 32 by 32.
    np.testing.assert_allclose(boxes[41], [16, -16, 48, 16], rtol=1e-6)
    assert decode_yolox({"output": raw}, (32, 64), person=0)[0][1][41] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="has 84 rows"):
        decode_yolox({"output": raw}, (64, 64), person=0)


def test_nanodet_takes_one_class_or_the_persons_column() -> None:
    boxes = np.arange(8, dtype=np.float32).reshape(1, 2, 4)
    one = decode_nanodet({"boxes": boxes, "scores": np.array([[0.2, 0.7]])}, (32, 32), person=0)
    many = decode_nanodet({"boxes": boxes, "scores": np.array([[[0, 0.2], [0, 0.7]]])}, (32, 32), person=1)
    for ((found, scores),) in (one, many):
        np.testing.assert_array_equal(found, boxes[0])
        np.testing.assert_array_equal(scores, [0.2, 0.7])


def test_end2end_keeps_the_persons_rows() -> None:
    outputs = {
        "labels": np.array([[0, 7, 0]]),
        "boxes": np.arange(12, dtype=np.float32).reshape(1, 3, 4),
        "scores": np.array([[0.9, 0.8, 0.3]], np.float32),
    }
    ((boxes, scores),) = decode_end2end(outputs, (640, 640), person=0)
    np.testing.assert_array_equal(boxes, [[0, 1, 2, 3], [8, 9, 10, 11]])
    np.testing.assert_allclose(scores, [0.9, 0.3])


def test_end2end_without_scores_reads_shares_and_logits() -> None:
    outputs = {
        "dets": np.array([[[0.5, 0.25, 0.5, 0.1]]], np.float32),
        "labels": np.array([[[-9.0, np.log(3.0)]]], np.float32),  # sigmoid(ln 3) = 3/4
    }
    ((boxes, scores),) = decode_end2end(outputs, (100, 200), person=1)
    # Centre (100, 25), size 100 by 10.
    np.testing.assert_allclose(boxes, [[50, 20, 150, 30]], rtol=1e-5)
    np.testing.assert_allclose(scores, [0.75], rtol=1e-6)


def test_the_weaker_of_two_overlapping_boxes_goes() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [0, 4, 10, 14], [50, 50, 60, 60]], np.float32)
    scores = np.array([0.5, 0.9, 0.4, 0.1], np.float32)
    # IoU of the first two is 80/100; of the second and third 40/140, of the first and third 60/140.
    assert without_overlaps(boxes, scores, 0.6).tolist() == [1, 2, 3]
    assert without_overlaps(boxes, scores, 0.85).tolist() == [1, 0, 2, 3]
    assert without_overlaps(boxes, scores, 0.25).tolist() == [1, 3]


# Small networks of each family ------------------------------------------------------------------------------------


def save_graph(
    path: Path,
    nodes: list[Any],
    inputs: list[Any],
    outputs: dict[str, tuple[int, list[Any]]],
    **constants: NDArray,
) -> str:
    graph = helper.make_graph(
        nodes,
        "made_for_a_test",
        inputs,
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return str(path)


@pytest.fixture
def yolox(tmp_path: Path) -> str:
    """A network of YOLOX's form whose objectness is the blue of a cell, whose boxes are two cells wide."""
    nodes, flats = [], []
    for stride in (8, 16, 32):
        nodes += [
            helper.make_node(
                "AveragePool", ["images"], [f"p{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2
            ),
            helper.make_node("Reshape", [f"p{stride}", "flat"], [f"f{stride}"]),
        ]
        flats.append(f"f{stride}")
    nodes += [
        helper.make_node("Concat", flats, ["cells"], axis=2),
        helper.make_node("Transpose", ["cells"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["rows", "mix"], ["mixed"]),
        helper.make_node("Add", ["mixed", "bias"], ["output"]),
    ]
    mix = np.zeros((3, 6), np.float32)
    mix[0, 4] = 1 / 255  # the first channel of BGR is the objectness
    bias = np.array([0.5, 0.5, np.log(2), np.log(2), 0, 1], np.float32)
    return save_graph(
        tmp_path / "yolox_like.onnx",
        nodes,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        {"output": (TensorProto.FLOAT, [1, 84, 6])},
        flat=np.array([1, 3, -1], np.int64),
        mix=mix,
        bias=bias,
    )


def test_a_yolox_file_runs_in_the_frames_shape(yolox: str) -> None:
    detector = load_detector(yolox, device="cpu", min_score=0.5, area_px=96 * 128)
    image = np.zeros((96, 128, 3), np.uint8)
    image[40:48, 72:80, 0] = 255  # one blue cell of stride 8: column 9, row 5
    red = np.zeros_like(image)
    red[..., 2] = 255
    found, nothing = detector.detect([image, red])
    # Centre (9.5, 5.5) * 8 = (76, 44), 16 px wide; the 16 px cell around it is only a quarter blue.
    np.testing.assert_allclose(found.boxes, [[68, 36, 84, 52]], rtol=1e-5)
    np.testing.assert_allclose(found.scores, [1.0])
    assert found.classes.tolist() == [0] and len(nothing) == 0
    # Twice as large a frame is the same picture to the network.
    (twice,) = detector.detect([cv2.resize(image, (256, 192), interpolation=cv2.INTER_NEAREST)])
    np.testing.assert_allclose(twice.boxes, found.boxes * 2, rtol=1e-5)
    Path(yolox).with_suffix(".toml").write_text("kind = 'detector'")  # a card that does not say the family
    (again,) = load_detector(yolox, device="cpu", min_score=0.5, area_px=96 * 128).detect([image])
    np.testing.assert_array_equal(again.boxes, found.boxes)
    assert detector.name == "yolox_like" and detector.model_hash == models.sha256_of(Path(yolox))


def test_boxes_are_cut_at_the_frames_edge(yolox: str) -> None:
    image = np.zeros((96, 128, 3), np.uint8)
    image[:8, 120:, 0] = 255  # the upper right corner; centre (124, 4), 16 px wide
    (found,) = load_detector(yolox, device="cpu", min_score=0.5, area_px=96 * 128).detect([image])
    np.testing.assert_allclose(found.boxes, [[116, 0, 128, 12]], rtol=1e-5)


@pytest.fixture
def end2end(tmp_path: Path) -> str:
    """A network of D-FINE's form: boxes at fixed shares of the size asked for, its second score the mean of red."""
    nodes = [
        helper.make_node("Cast", ["orig_target_sizes"], ["sizes"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["sizes", "sizes"], ["limits"], axis=1),
        helper.make_node("Unsqueeze", ["limits", "one"], ["limits3"]),
        helper.make_node("Mul", ["shares", "limits3"], ["boxes"]),
        helper.make_node("ReduceMean", ["images"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Slice", ["means", "zero", "one", "one"], ["red"]),
        helper.make_node("Mul", ["red", "weights"], ["weighted"]),
        helper.make_node("Add", ["weighted", "base"], ["scores"]),
        helper.make_node("Slice", ["orig_target_sizes", "zero", "one", "one"], ["widths"]),
        helper.make_node("Div", ["widths", "widths"], ["ones"]),  # one a picture
        helper.make_node("Mul", ["ones", "label_row"], ["labels"]),
    ]
    return save_graph(
        tmp_path / "dfine_like.onnx",
        nodes,
        [
            helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 32, 64]),
            helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, ["n", 2]),
        ],
        {
            "labels": (TensorProto.INT64, ["n", 3]),
            "boxes": (TensorProto.FLOAT, ["n", 3, 4]),
            "scores": (TensorProto.FLOAT, ["n", 3]),
        },
        one=np.array([1], np.int64),
        zero=np.array([0], np.int64),
        shares=np.array([[[0, 0, 0.5, 0.5], [0.25, 0.5, 0.5, 1], [0, 0, 1, 1]]], np.float32),
        weights=np.array([[0, 1, 0]], np.float32),
        base=np.array([[0.4, 0, 0.9]], np.float32),
        label_row=np.array([[0, 0, 5]], np.int64),
    )


def test_an_end2end_file_sees_red_first_and_stretched(end2end: str) -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[..., 2] = 204  # red in BGR; 204 / 255 = 0.8
    blue = np.zeros((50, 50, 3), np.uint8)
    blue[..., 0] = 255
    red_found, blue_found = load_detector(end2end, device="cpu").detect([image, blue])
    # Label 5 is no person. Shares of a stretched input are shares of the frame.
    np.testing.assert_allclose(red_found.scores, [0.8, 0.4], rtol=1e-5)
    np.testing.assert_allclose(red_found.boxes, [[50, 50, 100, 100], [0, 0, 100, 50]], rtol=1e-5)
    np.testing.assert_allclose(blue_found.boxes, [[0, 0, 25, 25]], rtol=1e-5)


def test_a_card_tells_what_the_file_cannot(end2end: str) -> None:
    card = Path(end2end).with_suffix(".toml")
    look = "channels = 'bgr'\nmean = [0.5, 0, 0]\nstd = [2, 1, 1]"
    card.write_text(f"kind = 'detector'\n[details]\ndecode = 'end2end'\nperson = 5\n{look}")
    (found,) = load_detector(end2end, device="cpu").detect([np.full((64, 64, 3), 255, np.uint8)])
    np.testing.assert_allclose(found.boxes, [[0, 0, 64, 64]])
    card.write_text(f"kind = 'detector'\n[details]\n{look}")
    (found,) = load_detector(end2end, device="cpu").detect([np.full((64, 64, 3), 255, np.uint8)])
    np.testing.assert_allclose(found.scores, [0.4, 0.25], rtol=1e-5)  # (1 - 0.5) / 2
    for detail, says in (
        ("decode = 'guess'", "decode must be one of nanodet, yolox, end2end, not 'guess'"),
        ("meen = 3", "unknown detail 'meen': did you mean mean"),
        ("std = [1, 0, 1]", "std must be three positive numbers"),
        ("size = [100, 100]", "size must be height and width in multiples of 32"),
        ("person = -1", "person must be a label's number"),
    ):
        card.write_text(f"kind = 'detector'\n[details]\n{detail}")
        with pytest.raises(models.ModelError, match=says):
            load_detector(end2end, device="cpu")
    card.write_text("kind = 'flow'")
    with pytest.raises(models.ModelError, match="is of the kind flow: name a detector"):
        load_detector(end2end, device="cpu")


def test_a_model_that_is_no_detector_says_what_to_do(tmp_path: Path) -> None:
    path = save_graph(
        tmp_path / "odd.onnx",
        [helper.make_node("Neg", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        {"y": (TensorProto.FLOAT, [1, 3, 8, 8])},
    )
    with pytest.raises(models.ModelError, match=r"write a card odd\.toml beside it"):
        load_detector(path, device="cpu")


# The shipped detector ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector() -> OnnxDetector:
    return load_detector(device="cpu")


@pytest.fixture(scope="module")
def court() -> NDArray[np.uint8]:
    """The 60th frame of the demo's first clip."""
    video = cv2.VideoCapture(str(resources.files("tracker.demo") / "court.mp4"))
    for _ in range(60):
        is_read, image = video.read()
    video.release()
    assert is_read
    return np.asarray(image, np.uint8)


def truth_of_court(frame: int) -> NDArray:
    """Boxes of people of whom at least 60 % can be seen."""
    rows = np.loadtxt(str(resources.files("tracker.demo") / "truth" / "court.txt"), delimiter=",")
    rows = rows[(rows[:, 0] == frame) & (rows[:, 6] == 1) & (rows[:, 8] >= 0.6)]
    return np.concatenate((rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]), axis=1)


def test_the_shipped_detector_finds_the_people_of_the_demo(
    detector: OnnxDetector, court: NDArray[np.uint8]
) -> None:
    (found,) = detector.detect([court])
    truth = truth_of_court(60)
    assert len(truth) >= 3
    sure = found.where(found.scores >= 0.25)
    assert (iou(truth, sure.boxes).max(axis=1) >= 0.6).all()
    assert len(sure) <= len(truth) + 2
    assert (found.scores >= 0.1).all() and (np.diff(found.scores) <= 0).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (found.boxes >= 0).all() and (found.boxes <= [640, 360, 640, 360]).all()


def test_both_forms_of_the_detector_see_the_same(detector: OnnxDetector, court: NDArray[np.uint8]) -> None:
    (rounded,) = detector.detect([court])
    (exact,) = load_detector("nanodet_g_person_fp32", device="cpu").detect([court])
    sure = exact.where(exact.scores >= 0.4)
    assert len(sure) >= 3
    overlap = iou(sure.boxes, rounded.boxes)
    # Somebody 22 px wide is among them: an edge that rounding moves by 2 px each costs a sixth of the overlap.
    assert (overlap.max(axis=1) > 0.7).all() and overlap.max(axis=1).mean() > 0.85
    np.testing.assert_allclose(rounded.scores[overlap.argmax(axis=1)], sure.scores, atol=0.15)


def test_pictures_are_answered_one_by_one(detector: OnnxDetector, court: NDArray[np.uint8]) -> None:
    half = np.ascontiguousarray(court[:, :320])
    together = detector.detect([court, half, court])
    for answer, image in zip(together, (court, half, court), strict=True):
        (alone,) = detector.detect([image])
        np.testing.assert_array_equal(answer.boxes, alone.boxes)
        np.testing.assert_array_equal(answer.scores, alone.scores)
    assert detector.detect([]) == []


def test_the_graph_takes_pictures_in_batches(court: NDArray[np.uint8]) -> None:
    session = models.open_model(models.DEFAULT_DETECTOR, device="cpu").session
    picture, _ = fit_into(court, (384, 640), pad=114)
    pictures = np.stack((np.zeros_like(picture), picture))
    boxes, scores = session.run(None, {"images": pictures})
    alone_boxes, alone_scores = session.run(None, {"images": pictures[1:]})
    assert boxes.shape == (
        2,
        384 * 640 // 64 * 21 // 16,
        4,
    )  # a cell in 8x8, a quarter more in 16x16, a 16th in 32x32
    np.testing.assert_allclose(boxes[1:], alone_boxes, atol=1e-3)
    np.testing.assert_allclose(scores[1:], alone_scores, atol=1e-5)


def test_a_view_of_a_picture_is_a_picture(detector: OnnxDetector, court: NDArray[np.uint8]) -> None:
    view = court[::-1, ::-1]
    assert not view.flags.c_contiguous
    (found,) = detector.detect([view])
    (expected,) = detector.detect([view.copy()])
    np.testing.assert_array_equal(found.boxes, expected.boxes)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 300, 3), (300, 2, 3), (31, 33, 3)])
def test_tiny_pictures_are_looked_at(detector: OnnxDetector, shape: tuple[int, int, int]) -> None:
    (found,) = detector.detect([np.full(shape, 90, np.uint8)])
    h, w = shape[:2]
    assert (found.boxes <= [w, h, w, h]).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((48, 64, 3), np.float32),
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((0, 64, 3), np.uint8),
    ],
    ids=["float", "grey", "alpha", "empty"],
)
def test_what_is_no_picture_is_a_value_error(detector: OnnxDetector, image: NDArray) -> None:
    with pytest.raises(ValueError, match="picture 1 has shape"):
        detector.detect([np.zeros((48, 64, 3), np.uint8), image])


# Recorded detections ----------------------------------------------------------------------------------------------


def columns(**changed: Any) -> dict[str, Any]:
    """Three boxes in frames 3, 1 and 3, the last one without area."""
    return {
        "frame": np.array([3, 1, 3], np.int32),
        "box": np.array([[0, 0, 10, 20], [5, 5, 6, 7], [4, 4, 4, 9]], np.float32),
        "score": np.array([0.5, 1.0, 0.9], np.float32),
        **changed,
    }


def test_recorded_boxes_come_by_frame(tmp_path: Path) -> None:
    path = tmp_path / "boxes.npz"
    emb = np.array([[3, 4], [0, 0], [1, 0]], np.float16)
    np.savez(path, **columns(emb=emb, width=64, height=48, fps=12.5, length=7, name="hall"))
    recorded = load_recorded(path)
    assert (recorded.width, recorded.height, recorded.fps, recorded.length) == (64, 48, 12.5, 7)
    assert recorded.dropped == 1 and recorded.last_frame == 7
    third = recorded.detections(3)
    np.testing.assert_array_equal(third.boxes, [[0, 0, 10, 20]])
    assert third.embedded.tolist() == [0]
    np.testing.assert_allclose(third.embeddings, [[0.6, 0.8]], rtol=1e-6)  # (3, 4) / 5
    first = recorded.detections(1)
    assert len(first) == 1 and len(first.embedded) == 0  # an embedding of zeros has no direction
    for empty in (0, 2, 8):
        assert len(recorded.detections(empty)) == 0


def test_recorded_boxes_without_embeddings_or_facts(tmp_path: Path) -> None:
    path = tmp_path / "boxes.npz"
    np.savez(path, **columns())
    recorded = load_recorded(str(path))
    assert (recorded.width, recorded.fps, recorded.last_frame) == (None, None, 3)
    assert recorded.detections(3).embeddings.shape == (0, 0)


def test_a_mot_text_is_read(tmp_path: Path) -> None:
    path = tmp_path / "det.txt"
    path.write_text("2,-1,10,20,30,40,0.5,-1,-1,-1\n\n1 -1 1 2 3 4 0.25\n1,-1,1,2,0,4,1\n")
    recorded = load_recorded(path)
    np.testing.assert_allclose(recorded.detections(2).boxes, [[10, 20, 40, 60]])
    np.testing.assert_allclose(recorded.detections(1).scores, [0.25])
    assert (recorded.dropped, recorded.last_frame) == (1, 2)
    path.write_text("")
    assert load_recorded(path).last_frame == 0


def test_scores_that_are_no_shares_must_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "det.txt"
    path.write_text("1,-1,1,2,3,4,37.5\n")
    with pytest.raises(ValueError, match=r"outside \[0, 1\], such as 37.5: .*--recorded-score 1.0"):
        load_recorded(path)
    assert load_recorded(path, recorded_score=1.0).detections(1).scores.tolist() == [1.0]
    with pytest.raises(ValueError, match="must be in"):
        load_recorded(path, recorded_score=2.0)
    np.savez(tmp_path / "nan.npz", **columns(score=np.array([0.5, np.nan, 0.2])))
    with pytest.raises(ValueError, match="such as nan"):
        load_recorded(tmp_path / "nan.npz")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"box": np.zeros((3, 3))}, "'box' has shape"),
        ({"box": np.zeros((2, 4))}, "'box' has 2 rows, 'frame' has 3"),
        ({"score": np.array(["a", "b", "c"])}, "'score' has shape"),
        ({"emb": np.zeros(3)}, "'emb' has shape"),
        ({"emb": np.zeros((2, 4))}, "'emb' has 2 rows"),
        ({"frame": np.array([0, 1, 2])}, "frames are numbered from 1"),
        ({"fps": 0.0}, "'fps' must be one positive number"),
        ({"width": np.array([1, 2])}, "'width' must be one positive number"),
        ({"frame": np.array([None, 1, 2])}, "not a readable .npz"),
    ],
)
def test_a_wrong_npz_is_one_sentence(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    path = tmp_path / "boxes.npz"
    np.savez(path, **columns(**changed))
    with pytest.raises(ValueError, match=says) as caught:
        load_recorded(path)
    assert str(path) in str(caught.value)


def test_other_files_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no recorded detections at"):
        load_recorded(tmp_path / "none.npz")
    for name, content, says in (
        ("a.npz", b"not a zip", "not a readable .npz"),
        ("b.npz", b"", "not a readable .npz"),
        ("c.txt", b"\xff\xfe\x00", "neither an .npz nor"),
        ("d.txt", b"1,-1,1,2,3,4,0.5\nframe,id\n", "line 2: 'frame,id' is not a row of numbers"),
        ("e.txt", b"1,-1,1,2,3,4\n", "line 1 has 6 numbers"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=says):
            load_recorded(tmp_path / name)
    np.savez(tmp_path / "f.npz", frame=np.array([1]))
    with pytest.raises(ValueError, match="has no array 'box'"):
        load_recorded(tmp_path / "f.npz")
