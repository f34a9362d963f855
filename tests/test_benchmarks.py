"""What the benchmarks convert and judge; no data set is needed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import Absent, Bench, Row, Wanted, as_json, as_text, measure
from benchmarks.calibration import convert, convert_file
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
    row = measure("usc_plaza", Bench(tmp_path, tmp_path / "work"))
    assert row.figures == {} and str(tmp_path / "mtmc" / "usc_plaza") in row.note
    with pytest.raises(Absent, match="THROUGHLINE_DATA"):
        Bench(None, tmp_path).folder("mot")
