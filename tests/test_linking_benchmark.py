"""The linking benchmark on made-up people: what it reads, how it worsens boxes, what it says of tracks and links."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.accuracy import Absent, as_text, measure
from benchmarks.linking import (
    HIDDEN_HEIGHT,
    ROWS,
    WILDTRACK,
    Linking,
    Scene,
    Sightings,
    View,
    biased,
    dropped,
    feet_hidden,
    idf1_of,
    linked,
    moved,
    noisy,
    plain_ids,
    read_wildtrack,
    scene_figures,
    site_of,
    tracked,
)
from tracker.build import build_linker
from tracker.core.boxes import foot_points

SIZE = (1920, 1080)
K = np.array([[1000.0, 0, 960], [0, 1000, 540], [0, 0, 1]])


def looking(yaw_deg: float) -> View:
    """A camera 4 m up, 10 m from the origin, that looks at it from a side."""
    yaw, pitch = np.radians(yaw_deg), np.arctan2(4.0, 10.0)
    place = np.array([-10 * np.sin(yaw), -10 * np.cos(yaw), 4.0])
    ahead = np.array([np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.cos(yaw), -np.sin(yaw), 0.0])
    R = np.stack((right, np.cross(ahead, right), ahead))
    return View(K, R, -R @ place)


def crowd(people: int = 3, frames: int = 12) -> Scene:
    """Two cameras at a right angle; people walk along x, 2 m apart, 0.6 m from frame to frame."""
    views = {"C1": looking(0), "C2": looking(90)}
    rows, boxes = [], []
    for n, view in enumerate(views.values()):
        for frame in range(1, frames + 1):
            for person in range(people):
                at = np.array([[0.6 * (frame - frames / 2), 2.0 * (person - 1)]])
                (x, y), tall = view.project(at)[0], 150.0
                rows.append((frame, n, 10 + person))
                boxes.append((x - 25, y - tall, x + 25, y))
    table = np.array(rows, np.int64)
    return Scene(views, Sightings(table[:, 0], table[:, 1], table[:, 2], np.array(boxes)), 2.0, SIZE)


# ---- what is read --------------------------------------------------------------------------------------------


def write_wildtrack(folder: Path) -> None:
    """Two frames: person 7 in views 0 and 6, then in view 0 alone."""
    nowhere = {"xmin": -1, "ymin": -1, "xmax": -1, "ymax": -1}
    box = {"xmin": 100, "ymin": 200, "xmax": 150, "ymax": 360}
    with tarfile.open(folder / "annotations_positions.tar.xz", "w:xz") as tar:
        for name, views in (("00000000", {0: box, 6: box}), ("00000005", {0: box})):
            people = [
                {
                    "personID": 7,
                    "positionID": 0,
                    "views": [{"viewNum": n, **views.get(n, nowhere)} for n in range(7)],
                }
            ]
            data = json.dumps(people).encode()
            info = tarfile.TarInfo(f"annotations_positions/{name}.json")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    view = looking(30)
    for kind in ("intrinsic_zero", "extrinsic"):
        (folder / "calibrations" / kind).mkdir(parents=True)
    for name in WILDTRACK:
        storage = cv2.FileStorage(
            str(folder / "calibrations" / "intrinsic_zero" / f"intr_{name}.xml"), cv2.FILE_STORAGE_WRITE
        )
        storage.write("camera_matrix", K)
        storage.release()
        turn = " ".join(map(str, cv2.Rodrigues(view.R)[0].ravel()))
        way = " ".join(map(str, 100 * view.t))
        (folder / "calibrations" / "extrinsic" / f"extr_{name}.xml").write_text(
            f'<?xml version="1.0"?>\n<opencv_storage><rvec>{turn}</rvec><tvec>{way}</tvec></opencv_storage>\n'
        )


def test_the_annotation_is_read(tmp_path: Path):
    write_wildtrack(tmp_path)
    scene = read_wildtrack(tmp_path)
    assert list(scene.views) == ["C1", "C2", "C3", "C4", "C5", "C6", "C7"]
    assert scene.seen.frames.tolist() == [1, 1, 2] and scene.seen.cameras.tolist() == [0, 6, 0]
    assert scene.seen.persons.tolist() == [7, 7, 7] and scene.seen.boxes[0].tolist() == [100, 200, 150, 360]
    assert pytest.approx(looking(30).R) == scene.views["C3"].R and scene.views["C3"].t == pytest.approx(
        looking(30).t
    )
    boxes = scene.boxes()
    assert boxes["C1"].boxes[0].tolist() == [100, 200, 50, 160] and len(boxes["C2"]) == 0


def test_absent_data_is_said(tmp_path: Path):
    (tmp_path / "mtmc" / "wildtrack").mkdir(parents=True)
    for name in ("wildtrack_clean", "usc_plaza"):
        row = measure(name, ROWS[name], Linking(tmp_path, tmp_path / "work", relink=True))
        assert not row.figures and "left out" in as_text(row)
    with pytest.raises(Absent, match="annotations"):
        read_wildtrack(tmp_path / "mtmc" / "wildtrack")


# ---- noise ---------------------------------------------------------------------------------------------------


def test_boxes_move_with_their_feet():
    scene = crowd()
    off = np.tile([0.3, -0.4], (len(scene.seen), 1))
    there = moved(scene, off)
    assert there.feet_m() - scene.feet_m() == pytest.approx(off, abs=1e-6)
    sides = [boxes[:, 2:] - boxes[:, :2] for boxes in (scene.seen.boxes, there.seen.boxes)]
    assert sides[0] == pytest.approx(sides[1])


def test_a_camera_is_off_by_one_bias():
    scene = crowd()
    off = biased(scene, np.random.default_rng(0)).feet_m() - scene.feet_m()
    for n in range(2):
        own = off[scene.seen.cameras == n]
        assert np.ptp(own, axis=0) == pytest.approx(0, abs=1e-6)
        assert np.hypot(*own[0]) == pytest.approx(0.2)
    assert not np.allclose(off[0], off[-1])


def test_noise_drops_and_moves_as_often_and_as_far_as_it_says():
    scene, kept, off = crowd(), 0, []
    for seed in range(30):
        worse = noisy(scene, np.random.default_rng(seed))
        same = dropped(scene, 0.3, np.random.default_rng(seed))  # the same draw
        kept += len(worse.seen)
        off.append(worse.feet_m() - same.feet_m())
    assert kept / (30 * len(scene.seen)) == pytest.approx(0.7, abs=0.03)
    assert np.concatenate(off).std(axis=0) == pytest.approx([0.1, 0.1], rel=0.1)


def test_feet_are_hidden_for_a_span_of_a_person_in_a_camera():
    scene = crowd(people=20, frames=60)
    hidden = feet_hidden(scene, 0.3, np.random.default_rng(0))
    before, after = scene.seen.boxes, hidden.seen.boxes
    assert np.array_equal(before[:, :3], after[:, :3])
    cut = (before[:, 3] - after[:, 3]) / (before[:, 3] - before[:, 1])
    spans = {}
    for camera, person, frame, share in zip(
        scene.seen.cameras, scene.seen.persons, scene.seen.frames, cut.round(6), strict=True
    ):
        spans.setdefault((camera, person, (frame - 1) // 6), set()).add(share)  # 3 s are six frames
    assert all(len(shares) == 1 for shares in spans.values())
    shares = np.array([next(iter(shares)) for shares in spans.values()])
    assert (shares > 0).mean() == pytest.approx(0.3, abs=0.05)
    assert ((shares == 0) | ((shares >= HIDDEN_HEIGHT[0]) & (shares <= HIDDEN_HEIGHT[1]))).all()


# ---- tracks and links ----------------------------------------------------------------------------------------


def test_the_plain_baseline_joins_what_is_near():
    scene = crowd()
    ids = plain_ids(scene)
    assert (
        len({(person, i) for person, i in zip(scene.seen.persons.tolist(), ids.tolist(), strict=True)}) == 3
    )
    assert idf1_of(scene.boxes(), scene.boxes(ids)) == 100
    # Off by 2 m against each other, each camera's people become their own.
    off = np.where(scene.seen.cameras[:, None] == 1, [2.0 + 0.9, 1.0], 0.0)
    assert idf1_of(scene.boxes(), scene.boxes(plain_ids(moved(scene, off)))) < 60


def test_tracks_by_truth_and_by_the_linker():
    scene = crowd()
    site = site_of(scene)
    told = linked(tracked(scene, site), build_linker(site), fill_gaps_s=0.0)
    truth = scene.boxes()
    assert idf1_of(truth, told.by_truth(truth)) == 100
    assert len(told.keys) == 6  # three people in two cameras
    final = told.final()
    for camera_id, boxes in final.items():
        assert len(boxes) == 36 and np.abs(foot_points(boxes.boxes)).max() < 5000, camera_id
    # Nobody is linked where there is no linker; what could be reached is told all the same.
    silent = linked(tracked(scene, site), None, fill_gaps_s=0.0)
    assert idf1_of(truth, silent.final()) == 0 and idf1_of(truth, silent.by_truth(truth)) == 100


def test_the_figures_of_a_scene(tmp_path: Path):
    figures = scene_figures(crowd(), "clean", 0, Linking(None, tmp_path, tracks_only=True))
    assert figures["one camera IDF1"] == 100 and figures["one camera switches"] == 0
    assert figures["IDF1 linked by truth"] == 100 and figures["plain IDF1"] == 100
    assert figures["tracklets"] == 6 and figures["tracklets a visit"] == 1
    assert figures["boxes tracked %"] == 100 and figures["tracklets on two people"] == 0
