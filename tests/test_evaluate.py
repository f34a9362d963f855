"""Scores of hand-made tracks, each with its arithmetic, and parity with TrackEval on random ones."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tracker.errors import UserError
from tracker.evaluate import (
    Boxes,
    CrossCameraScores,
    FrameRange,
    box_inside,
    box_iou,
    camera_files,
    evaluate,
    mot_steps,
    prepare,
    read_mot,
    score_across,
    score_cameras,
)

Row = tuple[float, ...]  # frame, id, left, top, width, height, score


def walk(person: int, first: int, end: int, x: float) -> list[Row]:
    """Somebody stands at x for frames first .. end - 1, in a box of 10 x 20."""
    return [(frame, person, x, 0, 10, 20, 1) for frame in range(first, end)]


def columns(rows: Sequence[Row]) -> Boxes:
    table = np.array(rows, float).reshape(len(rows), 7)
    whole = table[:, :2].astype(np.int64)
    return Boxes(whole[:, 0], whole[:, 1], table[:, 2:6], table[:, 6], np.full(len(rows), np.nan))


def score(
    truth: dict[str, list[Row]],
    tracks: dict[str, list[Row]],
    *,
    partial: bool = False,
    ignore: dict[str, list[Row]] | None = None,
    frames: FrameRange | None = None,
    gap_frames: int = 5,
) -> CrossCameraScores:
    steps, notes = prepare(
        {camera_id: columns(rows) for camera_id, rows in truth.items()},
        {camera_id: columns(rows) for camera_id, rows in tracks.items()},
        partial=partial,
        ignore={camera_id: columns(rows) for camera_id, rows in (ignore or {}).items()},
        frames=frames,
    )
    return score_across(steps, notes, gap_frames=gap_frames)


# Two people, in camera a for frames 1-10 and in camera b for frames 21-30: 40 boxes, 2 hand-overs.
TRUTH = {"a": walk(1, 1, 11, 0) + walk(2, 1, 11, 100), "b": walk(1, 21, 31, 0) + walk(2, 21, 31, 100)}


def renamed(rows: Sequence[Row], names: dict[int, int]) -> list[Row]:
    return [(frame, names[int(person)], *rest) for frame, person, *rest in rows]


def test_the_truth_scores_full_marks():
    found = score(TRUTH, TRUTH)
    for share in (found.idf1, found.idp, found.idr, found.hota, found.det_a, found.ass_a, found.loc_a):
        assert share == pytest.approx(1)
    assert (found.hand_overs, found.hand_over_recall, found.pair_f1) == (2, 1, 1)
    assert (found.ids, found.merged_ids, found.false_merge_rate) == (2, 0, 0)


def test_without_links_half_of_the_boxes_carry_the_right_identity():
    found = score(TRUTH, {"a": TRUTH["a"], "b": renamed(TRUTH["b"], {1: 11, 2: 12})})
    assert found.idf1 == pytest.approx(2 * 20 / (40 + 40))
    # Each matched box: 10 boxes share its person and its id, 10 more are the person's under another id.
    assert found.ass_a == pytest.approx(10 / (10 + 10))
    assert found.hota == pytest.approx(math.sqrt(1 * 0.5))
    assert found.hand_over_recall == 0
    assert (found.ids, found.fragments_per_person) == (4, 2)
    assert found.pair_recall == 0 and math.isnan(found.pair_precision)


def test_swapped_identities_are_two_false_merges():
    found = score(TRUTH, {"a": TRUTH["a"], "b": renamed(TRUTH["b"], {1: 2, 2: 1})})
    assert found.idf1 == pytest.approx(0.5)
    assert found.ass_a == pytest.approx(
        10 / (10 + 10 + 10)
    )  # 10 of the person elsewhere, 10 of the id elsewhere
    assert found.false_merge_rate == 1
    assert (found.merged_ids, found.fragments_per_person) == (2, 2)


def test_somebody_missing_costs_recall_alone():
    found = score(TRUTH, {"a": TRUTH["a"], "b": walk(1, 21, 31, 0)})
    assert (found.idp, found.idr) == (1, 30 / 40)
    assert found.idf1 == pytest.approx(2 * 30 / (40 + 30))
    assert found.idf1_limit == pytest.approx(2 * 30 / (40 + 30))
    assert (found.hand_over_recall, found.hand_over_recall_seen) == (1 / 2, 1 / 1)


def test_boxes_on_nobody_are_wrong_unless_the_truth_is_partial_or_ignores_them():
    tracks = {"a": TRUTH["a"] + walk(9, 1, 11, 300), "b": TRUTH["b"]}
    found = score(TRUTH, tracks)
    assert (found.idp, found.idr, found.det_a) == (40 / 50, 1, pytest.approx(40 / 50))
    assert score(TRUTH, tracks, partial=True).idf1 == 1
    assert score(TRUTH, tracks, ignore={"a": [(0, 0, 290, -5, 40, 40, 0)]}).idf1 == 1
    # The region counts in frames 1 to 4 only: 6 of the 10 boxes stay wrong.
    some = [(frame, 0, 290, -5, 40, 40, 0) for frame in range(1, 5)]
    assert score(TRUTH, tracks, ignore={"a": some}).idp == pytest.approx(40 / 46)


def test_an_unscored_truth_row_is_an_ignore_region():
    truth = {"a": TRUTH["a"] + [(*row[:6], 0) for row in walk(3, 1, 11, 300)], "b": TRUTH["b"]}
    found = score(truth, {"a": TRUTH["a"] + walk(9, 1, 11, 300), "b": TRUTH["b"]})
    assert (found.idf1, found.persons) == (1, 2)
    assert found.notes["track boxes in ignore regions"] == 10


def test_partial_truth_keeps_a_second_box_on_somebody_wrong():
    doubled = [(frame, 9, x + 1, *rest) for frame, _, x, *rest in walk(1, 1, 11, 0)]
    found = score(TRUTH, {"a": TRUTH["a"] + doubled + walk(8, 50, 60, 0), "b": TRUTH["b"]}, partial=True)
    assert found.idp == 40 / 50
    assert found.notes["track boxes on unlabelled frames"] == 10
    assert found.notes["of these, boxes whose id is also on a labelled person"] == 0


def test_partial_truth_tells_boxes_of_a_known_id_on_somebody_unlabelled():
    truth = {"a": walk(1, 1, 11, 0), "b": walk(2, 11, 21, 0)}
    found = score(truth, {"a": truth["a"], "b": truth["b"] + walk(1, 11, 16, 400)}, partial=True)
    assert found.notes["of these, boxes whose id is also on a labelled person"] == 5
    assert found.idf1 == 1


@pytest.mark.parametrize(("shift", "expected"), [(3.2, 1.0), (3.5, 0.0)])
def test_a_box_counts_from_an_overlap_of_one_half(shift: float, expected: float):
    # Shifted by s, boxes of width 10 overlap by (10 - s) / (10 + s): .515 and .481.
    moved = {camera: [(f, i, x + shift, *rest) for f, i, x, *rest in rows] for camera, rows in TRUTH.items()}
    assert score(TRUTH, moved).idf1 == expected


def test_one_id_on_two_people_is_a_merge():
    tracks = {"a": renamed(walk(1, 1, 11, 0), {1: 7}), "b": renamed(walk(2, 21, 31, 100), {2: 7})}
    found = score(TRUTH, tracks)
    assert found.idf1 == pytest.approx(2 * 10 / (40 + 20))
    assert (found.merged_ids, found.false_merge_rate) == (1, 1)


def test_the_second_box_of_an_id_in_one_frame_is_wrong():
    found = score(TRUTH, {"a": TRUTH["a"] + walk(1, 1, 11, 300), "b": TRUTH["b"]})
    assert found.idp == 40 / 50
    assert found.notes["id twice in one camera's frame"] == 10
    assert found.ids == 2


def test_coming_back_after_the_gap_is_a_reentry():
    truth = {"a": walk(1, 1, 11, 0) + walk(1, 61, 71, 0)}
    tracks = {"a": walk(1, 1, 11, 0) + walk(2, 61, 71, 0)}
    found = score(truth, tracks, gap_frames=30)
    assert (found.reentries, found.reentry_recall, found.hand_overs) == (1, 0, 0)
    assert score(truth, tracks, gap_frames=60).reentries == 0
    assert found.id_switches == 1


def test_overlapping_views_hand_over_from_the_camera_that_saw_the_person_last():
    truth = {"a": walk(1, 1, 21, 0), "b": walk(1, 5, 31, 0), "c": walk(1, 25, 41, 0)}
    found = score(truth, truth)
    assert found.by_cameras == {"a>b": (1, 1), "b>c": (1, 1)}


def test_views_that_gain_a_person_at_once_are_judged_over_the_whole_stay():
    truth = {"a": walk(1, 1, 40, 0), "b": walk(1, 1, 40, 0)}
    late = {camera: rows[1:] for camera, rows in truth.items()}
    found = score(truth, late)
    assert (found.hand_overs, found.hand_overs_kept) == (1, 1)


def test_only_the_asked_frames_are_scored():
    found = score(TRUTH, {"a": TRUTH["a"], "b": []}, frames=FrameRange(1, 10))
    assert (found.idf1, found.truth_boxes) == (1, 20)
    assert score(TRUTH, TRUTH, frames=FrameRange(1, 10, 3)).truth_boxes == 2 * 4  # frames 1, 4, 7, 10


def test_nothing_at_all_has_an_answer():
    found = score({"a": []}, {})
    assert (found.idf1, found.persons, found.hand_overs) == (0, 0, 0)
    assert math.isnan(found.hand_over_recall) and math.isnan(found.fragments_per_person)


def test_tracks_of_a_camera_without_truth_are_refused():
    with pytest.raises(UserError, match="without truth: b"):
        score({"a": []}, {"b": []})


def test_a_truth_with_one_id_twice_is_refused():
    with pytest.raises(UserError, match="one id twice in frame 1"):
        score({"a": walk(1, 1, 2, 0) + walk(1, 1, 2, 50)}, {})


def test_boxes_without_area_overlap_nothing():
    flat, whole = np.array([[0.0, 0, 0, 0]]), np.array([[0.0, 0, 10, 10]])
    assert box_iou(flat, flat).tolist() == [[0]]
    assert box_inside(flat, whole).tolist() == [[0]]
    assert box_iou(np.zeros((0, 4)), whole).shape == (0, 1)


# --- files


def write(path: Path, rows: Sequence[Sequence[float]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(f"{value:g}" for value in row) + "\n" for row in rows))
    return path


def test_mot_text_is_read_with_and_without_its_last_columns(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("# a comment\n1,7,1.5,2,3,4\n\n2 8 1 2 3 4 0.5 1 -1\n")
    found = read_mot(path)
    assert found.frames.tolist() == [1, 2] and found.ids.tolist() == [7, 8]
    assert found.boxes.tolist() == [[1.5, 2, 3, 4], [1, 2, 3, 4]]
    assert found.scores.tolist() == [1, 0.5]
    assert math.isnan(found.classes[0]) and found.classes[1] == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1,2,3\n", "a.txt:1: 3 values"),
        ("1,2,3,4,x,6\n", "a.txt:1: a value is no number"),
        ("1,2,nan,4,5,6", "finite"),
    ],
)
def test_a_wrong_row_is_named_with_its_place(tmp_path: Path, text: str, sentence: str):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_mot(tmp_path / "a.txt")


def test_a_missing_file_is_said(tmp_path: Path):
    with pytest.raises(UserError, match="no such file"):
        read_mot(tmp_path / "a.txt")


def test_truth_is_found_under_every_convention(tmp_path: Path):
    write(tmp_path / "plain" / "hall.txt", [])
    (tmp_path / "plain" / "README.txt").write_text("not a camera")
    write(tmp_path / "marked" / "gt_hall.txt", [])
    write(tmp_path / "marked" / "handover_gt_yard.txt", [])
    write(tmp_path / "marked" / "other.txt", [])
    write(tmp_path / "mot" / "one" / "gt" / "gt.txt", [])
    assert list(camera_files([tmp_path / "plain"])) == ["hall"]
    assert set(camera_files([tmp_path / "marked"])) == {"hall", "yard"}
    assert list(camera_files([tmp_path / "mot"])) == ["one"]
    assert list(camera_files([tmp_path / "mot" / "one"])) == ["one"]
    assert list(camera_files([tmp_path / "plain" / "hall.txt"])) == ["hall"]
    with pytest.raises(UserError, match="has another file"):
        camera_files([tmp_path / "plain", tmp_path / "marked"])
    with pytest.raises(UserError, match="no such folder"):
        camera_files([tmp_path / "nowhere"])


# --- per camera, against TrackEval's own reading of the same files


def random_camera(rng: np.random.Generator, *, with_classes: bool) -> tuple[list[Row], list[Row]]:
    truth, tracks = [], []
    for person in range(1, 9):
        kind = int(rng.choice([1, 1, 2, 7, 8, 12, 3])) if with_classes else -1
        flag = int(rng.random() < 0.85)
        x, speed = rng.uniform(0, 400), rng.uniform(-3, 3)
        for frame in range(int(rng.integers(1, 15)), int(rng.integers(25, 40))):
            truth.append((frame, person, x + speed * frame, 10, 20, 40, flag, kind))
            if rng.random() < 0.8:
                i = person + 20 * int(frame > 20 and rng.random() < 0.5)
                tracks.append(
                    (frame, i, x + speed * frame + rng.normal(0, 3), 10 + rng.normal(0, 3), 20, 40, 0.9)
                )
    return truth, tracks


@pytest.mark.parametrize("with_classes", [False, True])
def test_per_camera_scores_are_those_of_trackeval(tmp_path: Path, with_classes: bool):
    trackeval = pytest.importorskip("trackeval")
    rng = np.random.default_rng(5)
    cameras = {name: random_camera(rng, with_classes=with_classes) for name in ("one", "two")}
    for name, (truth, tracks) in cameras.items():
        write(
            tmp_path / "gt" / name / "gt" / "gt.txt",
            [(*row[:7], row[7] if with_classes else 1, 1) for row in truth],
        )
        write(tmp_path / "tracks" / f"{name}.txt", tracks)
        write(tmp_path / "trackers" / "ours" / "data" / f"{name}.txt", [(*row, -1, -1, -1) for row in tracks])
        if not with_classes:
            write(tmp_path / "mot" / name / "gt" / "gt.txt", [(*row, 1) for row in truth])
    metrics = trackeval.metrics
    quiet = {"THRESHOLD": 0.5, "PRINT_CONFIG": False}
    theirs = {"hota": metrics.HOTA(), "clear": metrics.CLEAR(quiet), "identity": metrics.Identity(quiet)}
    raw = {}
    for name, (truth, _) in cameras.items():
        data = trackeval.datasets.MotChallenge2DBox(
            {
                "GT_FOLDER": str(tmp_path / "gt"),
                "TRACKERS_FOLDER": str(tmp_path / "trackers"),
                "BENCHMARK": "MOT17" if with_classes else "MOT15",
                "SKIP_SPLIT_FOL": True,
                "SEQ_INFO": {name: int(max(row[0] for row in truth))},
                "TRACKERS_TO_EVAL": ["ours"],
                "PRINT_CONFIG": False,
            }
        )
        prepared = data.get_preprocessed_seq_data(data.get_raw_seq_data("ours", name), "pedestrian")
        raw[name] = {key: metric.eval_sequence(prepared) for key, metric in theirs.items()}
    ours = evaluate(
        camera_files([tmp_path / ("gt" if with_classes else "mot")]), camera_files([tmp_path / "tracks"])
    )
    combined = {
        key: metric.combine_sequences({name: found[key] for name, found in raw.items()})
        for key, metric in theirs.items()
    }
    assert ours.combined is not None
    for mine, found in [*((ours.cameras[name], raw[name]) for name in raw), (ours.combined, combined)]:
        assert mine.hota == pytest.approx(found["hota"]["HOTA"].mean(), abs=1e-9)
        assert mine.ass_a == pytest.approx(found["hota"]["AssA"].mean(), abs=1e-9)
        assert mine.idf1 == pytest.approx(found["identity"]["IDF1"], abs=1e-9)
        assert mine.mota == pytest.approx(found["clear"]["MOTA"], abs=1e-9)
        assert mine.id_switches == found["clear"]["IDSW"]
        assert mine.false_positives == found["clear"]["CLR_FP"]


@pytest.mark.parametrize("seed", range(4))
def test_cross_camera_idf1_and_hota_are_those_of_trackeval(seed: int):
    trackeval = pytest.importorskip("trackeval")
    rng = np.random.default_rng(seed)
    truth, tracks = {}, {}
    for camera_id in "abc":
        people, said = random_camera(rng, with_classes=False)
        truth[camera_id] = columns([(*row[:6], 1) for row in people])
        tracks[camera_id] = columns(said)
    steps, notes = prepare(truth, tracks)
    persons = sorted({int(p) for step in steps for p in step.persons})
    ids = sorted({int(i) for step in steps for i in step.ids})
    data = {
        "gt_ids": [np.searchsorted(persons, step.persons) for step in steps],
        "tracker_ids": [np.searchsorted(ids, step.ids) for step in steps],
        "similarity_scores": [step.iou for step in steps],
        "num_gt_ids": len(persons),
        "num_tracker_ids": len(ids),
        "num_gt_dets": sum(len(step.persons) for step in steps),
        "num_tracker_dets": sum(len(step.ids) for step in steps),
        "num_timesteps": len(steps),
    }
    hota = trackeval.metrics.HOTA().eval_sequence(data)
    identity = trackeval.metrics.Identity({"THRESHOLD": 0.5, "PRINT_CONFIG": False}).eval_sequence(data)
    found = score_across(steps, notes)
    assert found.idf1 == pytest.approx(identity["IDF1"], abs=1e-9)
    assert found.hota == pytest.approx(hota["HOTA"].mean(), abs=1e-9)
    assert found.det_a == pytest.approx(hota["DetA"].mean(), abs=1e-9)
    assert found.ass_a == pytest.approx(hota["AssA"].mean(), abs=1e-9)
    assert found.loc_a == pytest.approx(hota["LocA"].mean(), abs=1e-9)


def test_a_missing_trackeval_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    monkeypatch.setitem(sys.modules, "trackeval", None)
    with pytest.raises(UserError, match=r"throughline\[eval\]"):
        score_cameras({"a": []})


def test_boxes_after_the_sequence_do_not_count():
    truth, tracks = columns(walk(1, 1, 11, 0)), columns(walk(1, 1, 21, 0))
    assert sum(len(step.ids) for step in mot_steps(truth, tracks, 10)) == 10
