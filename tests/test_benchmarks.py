"""What the benchmarks convert and judge; no data set is needed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import blind_sort
from benchmarks.accuracy import ROWS, Absent, Bench, Row, Wanted, as_json, as_text, measure
from benchmarks.calibration import convert, convert_file
from benchmarks.detector_recall import matched_ious
from benchmarks.peer_inputs import input_size
from tracker.config import read_calibration


def as_matrix(values: np.ndarray) -> dict:
    dims = [{"size": side, "name": name} for side, name in zip(values.shape, ("rows", "cols"), strict=True)]
    return {"shape": {"dims": dims}, "type": "DOUBLE_TYPE", "doubles": values.reshape(-1).tolist()}


def other_layout() -> dict:
    cos, sin = math.cos(0.5), math.sin(0.5)
    world_to_camera = np.array([[cos, -sin, 0, 1.0], [sin, cos, 0, 2.0], [0, 0, 1, 3.0], [0, 0, 0, 1]]).round(
        4
    )
    return {
        "intrinsic": as_matrix(np.array([[1000.0, 0, 640], [0, 1000, 360], [0, 0, 1]])),
        "distortion": as_matrix(np.array([[-0.2, 0.1, 0, 0, 0.01]])),
        "extrinsic": [{"from": "1000", "tf": as_matrix(world_to_camera)}],
    }


def test_another_layout_becomes_a_calibration_that_we_read(tmp_path: Path):
    source = tmp_path / "calib.json"
    source.write_text(json.dumps(other_layout()))
    found = read_calibration(convert_file(source, tmp_path / "ours"))
    R = np.array(found["R"])
    assert np.abs(R @ R.T - np.eye(3)).max() < 1e-12  # exact again, although the file had four digits
    assert R[1, 0] == pytest.approx(math.sin(0.5), abs=1e-4)
    assert found["t"] == [1, 2, 3] and found["K"][0] == [1000, 0, 640]
    assert found["distortion"] == [-0.2, 0.1, 0, 0, 0.01]


def test_a_layout_without_its_parts_is_refused():
    with pytest.raises(ValueError, match="expected layout"):
        convert({"intrinsic": {}})


def test_the_input_is_shaped_like_the_frame():
    assert input_size(640, 480) == (416, 576)
    assert input_size(1920, 1080) == (384, 672)


def test_a_row_says_what_it_missed():
    row = Row("x", {"IDF1": 94.0, "merges": 1.0}, {"IDF1": Wanted(95, True), "merges": Wanted(2, False)})
    assert row.missed == ["IDF1"]
    assert "IDF1 94.0 (wanted >= 95, MISSED)" in as_text(row) and "merges 1.0 (wanted <= 2)" in as_text(row)
    nothing = Row("y", {"IDF1": math.nan}, {"IDF1": Wanted(95, True)})
    assert nothing.missed == ["IDF1"]
    told = json.loads(json.dumps(as_json([row, nothing]), allow_nan=False))
    assert told["schema_version"] == 1 and told["rows"][1]["figures"]["IDF1"] is None


def test_absent_data_is_said_and_left_out(tmp_path: Path):
    row = measure("usc_plaza", ROWS["usc_plaza"], Bench(tmp_path, tmp_path / "work"))
    assert row.figures == {} and str(tmp_path / "mtmc" / "usc_plaza") in row.note
    with pytest.raises(Absent, match="THROUGHLINE_DATA"):
        Bench(None, tmp_path).folder("mot")


# --- detectors


def test_found_boxes_are_counted_with_their_overlap():
    truth = np.array([[0.0, 0, 10, 10], [100, 0, 110, 10]])
    boxes = np.array([[0.0, 0, 10, 8], [0, 0, 10, 10], [104, 0, 114, 10]])  # IoU .8 and 1; 60 / 140
    assert matched_ious(truth, boxes).tolist() == [1, 0]
    assert matched_ious(truth, np.zeros((0, 4))).tolist() == [0, 0]
    assert matched_ious(np.zeros((0, 4)), boxes).tolist() == []


# --- the blind sort


def picture_of(grey: int, height_px: int = 200, width_px: int = 100) -> np.ndarray:
    return np.full((height_px, width_px, 3), grey, np.uint8)


def test_a_person_at_the_edge_is_not_cut_out():
    rng = np.random.default_rng(0)
    assert blind_sort.cut_out(picture_of(0), np.array([0.0, 20, 40, 120]), rng) is None
    person = blind_sort.cut_out(picture_of(0), np.array([30.0, 40, 70, 140]), rng)
    assert person is not None
    assert 96 <= person.shape[0] <= 112  # 100 px, 2 % less to 6 % more at either end


def test_both_kinds_come_in_the_same_sizes_and_the_sheet_does_not_tell(tmp_path: Path):
    def source(kind: str, grey: int) -> blind_sort.Source:
        return lambda rng, height_px: blind_sort.Thumbnail(
            picture_of(grey, height_px, 40), kind, "here", str(rng.integers(100))
        )

    real, rendered = source(blind_sort.REAL, 250), source(blind_sort.RENDERED, 5)
    blind_sort.make([rendered], [real], tmp_path, each=5, seed=3)
    lines = (tmp_path / "key.csv").read_text().splitlines()[1:]
    kinds = [line.split(",")[1] for line in lines]
    assert sorted(kinds) == [blind_sort.REAL] * 5 + [blind_sort.RENDERED] * 5 and kinds != sorted(kinds)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    H, W = blind_sort.CELL_PX
    assert sheet.shape == (2 * H, 8 * W, 3)  # ten places in rows of eight
    for number, kind in enumerate(kinds):
        row, column = divmod(number, 8)
        assert (
            sheet[row * H + 30, column * W + W // 2].tolist() == [250 if kind == blind_sort.REAL else 5] * 3
        )


def test_a_source_that_has_nobody_so_large_is_said():
    with pytest.raises(ValueError, match="90 px"):
        blind_sort.draw([lambda rng, height_px: None], [90], np.random.default_rng(0))


def test_nobody_is_shown_twice():
    numbers = iter([1, 1, 1, 2])
    thumbnails = blind_sort.draw(
        [lambda rng, height_px: blind_sort.Thumbnail(picture_of(0), "real", "here", str(next(numbers)))],
        [70, 80],
        np.random.default_rng(0),
    )
    assert [one.person for one in thumbnails] == ["1", "2"]


def test_the_blind_sort_is_scored(tmp_path: Path):
    answers = tmp_path / "answers.txt"
    answers.write_text("number, kind\n1 real\n2, rendered: the shoes\n 3: real\n4 rendered\n9 real\n")
    key = {1: "real", 2: "rendered", 3: "rendered", 4: "rendered", 5: "real"}
    figures = blind_sort.score(key, blind_sort.read_answers(answers))
    assert figures["judged"] == 4 and figures["right %"] == 75
    assert (
        figures["rendered called real %"] == pytest.approx(100 / 3) and figures["real called real %"] == 100
    )
    assert figures["p"] == pytest.approx((4 + 1) / 16)  # three or four of four right
    answers.write_text("1 real\n1 rendered\n")
    with pytest.raises(ValueError, match="twice"):
        blind_sort.read_answers(answers)
