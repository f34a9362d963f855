"""Recorded footage end to end: recorded boxes and small painted pictures, without any network."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.scenes import S, at, blurred, look, person_box, random_visits
from tracker import build
from tracker import process as processing
from tracker.config import FlowSettings, Site, from_values
from tracker.core.ledger import Ledger
from tracker.core.pipeline import Answers
from tracker.errors import UserError
from tracker.io.tape import TapeReader
from tracker.process import SPOOL, finished, process, read_answers, start_times, write_answers
from tracker.types import Appeared, Detections, Sighting, Split, TrackKey

RESULTS = ("tracks", "tracks_as_published", "events.jsonl", "identities.json")


def site(cameras: dict[str, Any], **parts: Any) -> Site:
    plain = {"detector": {"kind": "recorded"}, "embedder": {"kind": "none"}, "flow": {"kind": "none"}}
    return from_values({"cameras": cameras, **plain, **parts}, source="test")


def recording(path: Path, rows: Sequence[tuple[int, NDArray, NDArray | None]], **more: Any) -> str:
    """An npz of (frame from 1, box, look)."""
    columns: dict[str, Any] = {
        "frame": np.array([r[0] for r in rows]),
        "box": np.array([r[1] for r in rows]),
        "score": np.full(len(rows), 0.9),
        "width": 1000,
        "height": 600,
        "fps": 10.0,
        **more,
    }
    if rows and rows[0][2] is not None:
        columns["emb"] = np.stack([r[2] for r in rows])  # type: ignore[misc]
    np.savez(path, **columns)
    return str(path)


def walk(
    frames: Sequence[int], person: int = 0, x: float = 100, speed: float = 15, look_at: bool = True
) -> list[tuple[int, NDArray, NDArray | None]]:
    """One person, ``speed`` pixels further right with every frame."""
    rng = np.random.default_rng(person)
    return [(n, person_box(x + speed * n), blurred(look(person), rng) if look_at else None) for n in frames]


def tracks_of(out: Path, camera: str, folder: str = "tracks") -> list[list[float]]:
    text = (out / folder / f"{camera}.txt").read_text(encoding="ascii")
    return [[float(v) for v in line.split(",")] for line in text.splitlines()]


def events_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def bytes_of(out: Path) -> dict[str, bytes]:
    files = [
        p
        for name in RESULTS
        for p in sorted((out / name).rglob("*") if (out / name).is_dir() else [out / name])
    ]
    return {str(p.relative_to(out)): p.read_bytes() for p in files}


# ---- recorded boxes ------------------------------------------------------------------------------------------


def test_one_walk_seen_by_two_cameras_one_after_the_other(tmp_path):
    a = recording(tmp_path / "a.npz", walk(range(1, 41), look_at=True), length=100)
    b = recording(tmp_path / "b.npz", walk(range(61, 101), x=-900), length=100)
    summary = process(site({"a": a, "b": b}), tmp_path / "out")
    assert (summary.identities, summary.frames) == (1, {"a": 100, "b": 100})
    assert summary.starts == "together"
    in_a, in_b = tracks_of(tmp_path / "out", "a"), tracks_of(tmp_path / "out", "b")
    # Final tracks hold the first frames too, though the track was tentative then.
    assert [row[0] for row in in_a] == list(range(1, 41))
    assert [row[0] for row in in_b] == list(range(61, 101))
    assert {row[1] for row in in_a + in_b} == {1}
    # frame, id, x, y, w, h, score, -1, -1, -1: at frame 1 the person of 200 px stands at x = 115, feet at 400.
    assert in_a[0] == [1, 1, 115 - 40, 200, 80, 200, 0.9, -1, -1, -1]


def test_a_kept_tape_tells_the_same_events_again(tmp_path):
    a = recording(tmp_path / "a.npz", walk(range(1, 31)))
    b = recording(tmp_path / "b.npz", walk(range(11, 41), x=-200))
    keeping = site({"a": a, "b": b}, store={"keep_tapes": True})
    for _ in range(2):  # a second run writes its own
        process(keeping, tmp_path / "out")
    tape = tmp_path / "out" / processing.TAPE
    assert tape.stat().st_mode & 0o077 == 0
    linker = build.build_linker(keeping)
    again = [e for message in TapeReader(tape) for e in linker.step(message)]
    told = events_of(tmp_path / "out")
    assert [type(e).__name__.lower() for e in again] == [e["type"].replace("_", "") for e in told]
    process(site({"a": a, "b": b}), tmp_path / "out")
    assert not tape.exists()


def test_the_files_of_a_run(tmp_path):
    a = recording(tmp_path / "a.npz", walk(range(1, 31)))
    out = tmp_path / "out"
    process(site({"a": a}), out)
    assert sorted(p.name for p in out.iterdir()) == [
        "events.jsonl",
        "identities.json",
        "run.json",
        "site_model.json",
        "tracks",
        "tracks_as_published",
    ]
    events = events_of(out)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert {e["epoch"] for e in events} == {0}
    assert events[0]["type"] == "appeared" and events[-1]["type"] == "left"
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert run["frames"]["a"] == {"read": 30, "processed": 30, "detected": 30, "corrupt": 0, "dropped": 0}
    assert (run["schema_version"], run["identities"], run["events"]) == (1, 1, len(events))
    assert run["models"] == {} and run["settings"]["cameras"]["a"]["url"] == a
    [person] = json.loads((out / "identities.json").read_text(encoding="utf-8"))["identities"]
    assert run["unsure"] == 0
    assert person == {
        "global_id": 1,
        "unsure": False,
        "visits": [
            {
                "camera_id": "a",
                "t_first_ns": 0,
                "t_last_ns": at(2.9),
                "first_frame": 1,
                "last_frame": 30,
                "boxes": 30,
            }
        ],
    }


def test_what_was_published_starts_when_the_track_was_confirmed(tmp_path):
    a = recording(tmp_path / "a.npz", walk(range(1, 31)))
    process(site({"a": a}), tmp_path / "out")
    published = tracks_of(tmp_path / "out", "a", "tracks_as_published")
    # 0.2 s at 10 frames a second: frames 1 and 2 were tentative.
    assert [row[0] for row in published] == list(range(3, 31))


def test_a_site_number_is_part_of_every_identity(tmp_path):
    a = recording(tmp_path / "a.npz", walk(range(1, 21)))
    process(site({"a": a}, number=3), tmp_path / "out")
    assert {row[1] for row in tracks_of(tmp_path / "out", "a")} == {(3 << 48) + 1}


def busy(folder: Path, seed: int) -> Site:
    """Four people going to and fro between two recorded cameras."""
    rng = np.random.default_rng(seed)
    visits = random_visits(rng, people=4, rounds=2)
    cameras = {}
    for camera in ("a", "b"):
        rows = []
        for n in range(200):
            for v in visits:
                box = v.box(n / 10) if v.camera == camera else None
                if box is not None and box[2] - box[0] > 10:
                    rows.append((n + 1, box + rng.normal(0, 1, 4), blurred(look(v.person), rng)))
        cameras[camera] = recording(folder / f"{camera}.npz", rows, length=200)
    return site(cameras)


def test_the_same_files_give_the_same_bytes(tmp_path):
    one = busy(tmp_path, 1)
    process(one, tmp_path / "x")
    process(one, tmp_path / "y")
    assert bytes_of(tmp_path / "x") == bytes_of(tmp_path / "y")
    assert len(bytes_of(tmp_path / "x")["events.jsonl"]) > 1000


def test_final_tracks_have_every_identity_once_a_frame_and_only_known_ones(tmp_path):
    out = tmp_path / "out"
    process(busy(tmp_path, 2), out)
    known = {p["global_id"] for p in json.loads((out / "identities.json").read_text())["identities"]}
    for camera in ("a", "b"):
        at_once = [(row[0], row[1]) for row in tracks_of(out, camera)]
        assert len(set(at_once)) == len(at_once)
        assert at_once == sorted(at_once)
        assert {identity for _, identity in at_once} <= known


def test_cameras_are_taken_by_capture_time(tmp_path):
    out = tmp_path / "out"
    process(busy(tmp_path, 3), out)
    events = events_of(out)
    times = [e["t_ns"] for e in events]
    assert times == sorted(times)
    # Not one camera after the other: both are spoken of all along.
    where = [e["track"]["camera_id"] for e in events if "track" in e]
    assert "".join(where).count("ab") + "".join(where).count("ba") > 1


def test_no_detections_at_all(tmp_path):
    a = recording(tmp_path / "a.npz", [], length=20, box=np.zeros((0, 4)))
    summary = process(site({"a": a}), tmp_path / "out")
    assert (summary.identities, summary.frames) == (0, {"a": 20})
    assert tracks_of(tmp_path / "out", "a") == []


def test_from_and_to_are_seconds_from_the_earliest_camera(tmp_path):
    a = recording(tmp_path / "a.npz", walk(range(1, 101), speed=5))
    b = recording(tmp_path / "b.npz", walk(range(1, 101), 1, speed=5))
    two = site({"a": a, "b": {"url": b, "start": 2.0}})
    summary = process(two, tmp_path / "out", from_s=3.0, to_s=5.0)
    # a plays its seconds 3 to 5, b, which starts 2 s later, its seconds 1 to 3.
    assert summary.frames == {"a": 20, "b": 20} and summary.starts == "as given"
    assert {row[0] for row in tracks_of(tmp_path / "out", "a")} == set(range(31, 51))
    assert {row[0] for row in tracks_of(tmp_path / "out", "b")} == set(range(11, 31))


def test_a_camera_that_starts_later_is_linked_at_its_own_time(tmp_path):
    a = recording(tmp_path / "a.npz", walk(range(1, 41)))
    b = recording(tmp_path / "b.npz", walk(range(1, 41), x=0))
    process(site({"a": a, "b": {"url": b, "start": 6.0}}), tmp_path / "out")
    [over] = [e for e in events_of(tmp_path / "out") if e["type"] == "handed_over"]
    assert (over["from_camera"], over["to_camera"]) == ("a", "b")
    assert over["gap_s"] == pytest.approx(6.0 - 3.9)


def test_short_gaps_are_filled_and_long_ones_are_not(tmp_path):
    frames = [*range(1, 21), *range(26, 41), *range(61, 81)]  # 5 frames are missing, then 20
    a = recording(tmp_path / "a.npz", walk(frames, speed=5))
    process(site({"a": a}, process={"fill_gaps_s": 1.0}), tmp_path / "out")
    rows = tracks_of(tmp_path / "out", "a")
    assert [row[0] for row in rows] == [*range(1, 41), *range(61, 81)]
    # Half way between frame 20 (200 px) and frame 26 (230 px) the person is at 215, the box is 80 wide.
    assert rows[22][:3] == [23, 1, pytest.approx(215 - 40)]
    process(site({"a": a}, process={"fill_gaps_s": 0.0}), tmp_path / "none")
    assert [row[0] for row in tracks_of(tmp_path / "none", "a")] == frames


# ---- results, worked by hand ---------------------------------------------------------------------------------


def spooled(*rows: tuple[int, int, float, float]) -> NDArray[np.void]:
    """(frame, number, x, score) at 10 frames a second."""
    out = np.zeros(len(rows), SPOOL)
    for n, (frame, number, x, score) in enumerate(rows):
        out[n] = (frame, number, (x, 0, x + 10, 20), score, frame * S // 10)
    return out


def test_of_two_boxes_of_one_identity_in_one_frame_the_surer_stays():
    rows = spooled((1, 1, 0, 0.5), (1, 2, 50, 0.8), (2, 1, 3, 0.9))
    final = finished(rows, np.array([7, 7, 7]), 0.0)
    assert [(int(r["frame"]), g, float(r["box"][0])) for r, g in final] == [(1, 7, 50.0), (2, 7, 3.0)]


def test_gaps_are_interpolated_for_each_identity_on_its_own():
    rows = spooled((1, 1, 0, 0.9), (2, 2, 100, 0.9), (3, 1, 20, 0.5), (4, 2, 120, 0.9))
    final = finished(rows, np.array([7, 8, 7, 8]), 1.0)
    assert [(int(r["frame"]), g, float(r["box"][0]), round(float(r["score"]), 2)) for r, g in final] == [
        (1, 7, 0.0, 0.9),
        (2, 7, 10.0, 0.5),
        (2, 8, 100.0, 0.9),
        (3, 7, 20.0, 0.5),
        (3, 8, 110.0, 0.9),
        (4, 8, 120.0, 0.9),
    ]
    assert [int(r["t_ns"]) for r, _ in final] == [
        S // 10,
        2 * S // 10,
        2 * S // 10,
        3 * S // 10,
        3 * S // 10,
        4 * S // 10,
    ]


def test_visits_are_cut_where_somebody_was_away(tmp_path):
    a = recording(tmp_path / "a.npz", walk([*range(1, 31), *range(131, 161)], speed=2))
    process(site({"a": a}, link={"return_log_odds": 5.0}), tmp_path / "out")
    people = json.loads((tmp_path / "out" / "identities.json").read_text())["identities"]
    spans = [(v["first_frame"], v["last_frame"], v["boxes"]) for p in people for v in p["visits"]]
    assert spans == [(1, 30, 30), (131, 160, 30)]  # 10 s apart


# ---- when recordings start -----------------------------------------------------------------------------------


def starts(**cameras: Any) -> tuple[dict[str, int], str]:
    return start_times(site({c: {"url": f"{c}.npz", "start": start} for c, start in cameras.items()}))


def test_recordings_without_a_start_begin_together():
    assert starts(a=None, b=None) == ({"a": 0, "b": 0}, "together")


def test_offsets_are_seconds_after_the_earliest():
    assert starts(a=None, b=2.4) == ({"a": 0, "b": at(2.4)}, "as given")
    assert starts(a=None, b=-1.5)[0] == {"a": at(1.5), "b": 0}


@pytest.mark.parametrize("fraction", ["", ".25", ".5", ".75", ".999999"])
def test_an_iso_time_is_taken_to_the_microsecond(fraction):
    """A time in the second half of a second used to be taken for one a second later."""
    found, how = starts(a=f"1970-01-01T00:01:00{fraction}+00:00")
    assert found == {"a": 60 * S + round(float(f"0{fraction or '.0'}") * 1e6) * 1000} and how == "as given"


def test_a_time_without_a_zone_is_utc():
    found, _ = starts(a="2024-05-01T12:00:00", b="2024-05-01T14:00:01+02:00")
    assert found["b"] - found["a"] == S


def test_times_and_seconds_cannot_be_mixed():
    """Seconds beside ISO times used to be seconds since 1970: decades apart."""
    with pytest.raises(UserError, match="start"):
        starts(a="2024-05-01T12:00:00", b=2.0)
    with pytest.raises(UserError, match="missing: b"):
        starts(a="2024-05-01T12:00:00", b=None)


def test_a_start_that_is_no_time():
    with pytest.raises(UserError, match=r"cameras\.a\.start: 'noon'"):
        starts(a="noon")


# ---- mistakes ------------------------------------------------------------------------------------------------


def test_o_on_a_file_is_said(tmp_path):
    a = recording(tmp_path / "a.npz", walk(range(1, 11)))
    there = tmp_path / "file"
    there.write_text("keep me")
    with pytest.raises(UserError, match="is a file; -o needs a folder"):
        process(site({"a": a}), there)
    with pytest.raises(UserError, match="cannot be written"):
        process(site({"a": a}), there / "below")
    assert there.read_text() == "keep me"


def test_a_recording_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"cameras\.a: .*no recorded detections"):
        process(site({"a": str(tmp_path / "no.npz")}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_live_camera_is_for_live(tmp_path):
    with pytest.raises(UserError, match="live") as error:
        process(site({"a": "rtsp://me:secret@host/x"}), tmp_path / "out")
    assert "secret" not in str(error.value)


def test_recorded_as_the_detector_needs_recorded_detections(tmp_path):
    """There used to be a run in which nobody was ever seen."""
    given = recording(tmp_path / "a.npz", [(1, person_box(300), None)])
    clip = paint(tmp_path / "b", 1, frames=2)
    mixed = site({"a": given, "b": {"url": clip, "fps": 10}}, detector={"kind": "recorded"})
    with pytest.raises(UserError, match=r"detector: .* for b;"):
        process(mixed, tmp_path / "out")
    assert process(site({"a": given}, detector={"kind": "recorded"}), tmp_path / "out").frames == {"a": 1}


def test_boxes_without_a_rate_need_one(tmp_path):
    path = tmp_path / "det.txt"
    path.write_text("1,-1,10,20,30,60,0.9,-1,-1,-1\n")
    with pytest.raises(UserError, match=r"cameras\.a: .*fps"):
        process(site({"a": str(path)}), tmp_path / "out")
    assert process(site({"a": {"url": str(path), "fps": 5}}), tmp_path / "out").frames == {"a": 1}


# ---- pictures ------------------------------------------------------------------------------------------------

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))  # BGR, one a person
SMALL = (320, 240)


class Eyes:
    """A detector of coloured rectangles, which may fail at one picture."""

    name, model_hash, providers = "eyes", "e" * 64, ("CPU",)

    def __init__(self, fail_at: int | None = None) -> None:
        self.fail_at, self.seen = fail_at, 0

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [self._find(image) for image in images]

    def _find(self, image: NDArray[np.uint8]) -> Detections:
        self.seen += 1
        if self.fail_at is not None and self.seen > self.fail_at:
            raise RuntimeError("pulled the plug")
        boxes = []
        for colour in COLOURS:
            here = (np.abs(image.astype(int) - colour) < 60).all(axis=2)
            if here.sum() > 20:
                y, x = np.nonzero(here)
                boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
        return Detections.of(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9))


class Colours:
    """An embedder: the mean colour of a crop."""

    name, model_hash, providers = "colours", "c" * 64, ("CPU",)

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        rows = np.array([c.reshape(-1, 3).mean(axis=0) for c in crops], np.float32).reshape(-1, 3)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def paint(folder: Path, seed: int, frames: int = 24) -> str:
    """A folder of pictures: three people on a grey wall, one of them walking out of the picture and back."""
    rng = np.random.default_rng(seed)
    wall = cv2.resize(rng.integers(60, 120, (30, 40, 3), np.uint8), SMALL)
    folder.mkdir()
    for n in range(frames):
        image = wall.copy()
        for k, colour in enumerate(COLOURS):
            x = int(40 + 90 * k + (-6 if k == 0 else 3) * n + 8 * seed)
            x1, x2 = np.clip([x, x + 28], 0, SMALL[0])
            image[60 + 20 * k : 150 + 20 * k, x1:x2] = colour
        assert cv2.imwrite(str(folder / f"{n:04d}.png"), image)
    return str(folder)


@pytest.fixture
def painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Two cameras of pictures; networks are stand-ins, optical flow is real."""
    monkeypatch.setattr(processing, "build_detector", lambda settings: Eyes())
    monkeypatch.setattr(processing, "build_embedder", lambda settings: Colours())
    cameras = {c: {"url": paint(tmp_path / c, n), "fps": 10} for n, c in enumerate("ab")}
    return site(cameras, flow={"kind": "dis"})


def test_pictures_go_through_detector_flow_and_embedder(painted, tmp_path):
    told = []
    summary = process(painted, tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    assert summary.frames == {"a": 24, "b": 24}
    assert told[-1] == (48, 48) and [d for d, _ in told] == sorted(d for d, _ in told)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["models"]["detector"] == {"name": "eyes", "sha256": "e" * 64, "providers": ["CPU"]}
    assert run["models"]["embedder"]["name"] == "colours"
    assert {"detect", "embed", "flow", "track", "link"} <= set(run["stages_s"])
    # The second and third person walk to the right from 90 and 130 px on, the first one out of the picture.
    rows = tracks_of(tmp_path / "out", "a")
    assert len({row[1] for row in rows}) == 3
    by_id = {g: [row for row in rows if row[1] == g] for g in {row[1] for row in rows}}
    assert sorted(len(r) for r in by_id.values())[-2:] == [24, 24]


def test_an_interrupted_run_goes_on_to_the_same_bytes(painted, tmp_path, monkeypatch):
    """Resuming used to know nothing of the pictures' size for what was done before, and so of their edges."""
    process(painted, tmp_path / "whole")
    for fail_at in (4, 30, 45):
        out = tmp_path / f"cut{fail_at}"
        monkeypatch.setattr(processing, "build_detector", lambda settings, n=fail_at: Eyes(n))
        with pytest.raises(RuntimeError, match="pulled the plug"):
            process(painted, out)
        assert (out / "events.jsonl").exists() and not (out / "run.json").exists()
        again = Eyes()
        monkeypatch.setattr(processing, "build_detector", lambda settings, eyes=again: eyes)
        process(painted, out, resume=True)
        assert again.seen < 48  # what was done is not done again
        assert bytes_of(out) == bytes_of(tmp_path / "whole")
        assert not (out / ".spool").exists()


def keyframed(painted: Site, carry: str, **more: Any) -> Site:
    """Camera a is looked at in every fifth frame, b in every one."""
    cameras = {c: {"url": s.url, "fps": 10} for c, s in painted.cameras.items()}
    cameras["a"]["keyframes"] = {"every": 5, "carry": carry, **more}
    return site(cameras, flow={"kind": "dis"})


@pytest.mark.parametrize(
    ("carry", "more"), [("step", {}), ("gap", {}), ("keys", {}), ("gap", {"adaptive": True})]
)
def test_a_run_cut_between_two_keyframes_goes_on_to_the_same_bytes(
    painted, tmp_path, monkeypatch, carry, more
):
    two = keyframed(painted, carry, **more)
    eyes = Eyes()
    monkeypatch.setattr(processing, "build_detector", lambda settings: eyes)
    process(two, tmp_path / "whole")
    run = json.loads((tmp_path / "whole" / "run.json").read_text())
    looks = run["frames"]["a"]["detected"]
    assert looks == 5 if not more else 5 < looks < 24  # frames 0, 5, 10, 15, 20
    assert run["frames"]["b"]["detected"] == 24 and eyes.seen == looks + 24
    assert run["flow"] == {"a": {"kind": "dis", "carry": carry}, "b": {"kind": "dis", "carry": "step"}}
    assert run["settings"]["cameras"]["a"]["keyframes"]["every"] == 5
    # Fixed keyframes: the 5th picture that is seen is b's frame 3, the 10th its frame 7, the 21st its frame 16.
    for fail_at in (4, 9, 20):
        out = tmp_path / f"cut{fail_at}"
        monkeypatch.setattr(processing, "build_detector", lambda settings, n=fail_at: Eyes(n))
        with pytest.raises(RuntimeError, match="pulled the plug"):
            process(two, out)
        monkeypatch.setattr(processing, "build_detector", lambda settings: Eyes())
        process(two, out, resume=True)
        assert bytes_of(out) == bytes_of(tmp_path / "whole")


def test_a_cameras_own_settings_reach_its_flow_and_its_looks(painted, tmp_path):
    cameras = {c: {"url": s.url, "fps": 10} for c, s in painted.cameras.items()}
    cameras["a"] |= {"flow": {"kind": "none"}, "keyframes": {"every": 5}}
    summary = process(site(cameras, flow={"kind": "dis"}), tmp_path / "out")
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [run["frames"][c]["detected"] for c in "ab"] == [5, 24]
    assert run["flow"] == {"a": {"kind": "none", "carry": "step"}, "b": {"kind": "dis", "carry": "step"}}
    assert set(run["models"]) == {"detector", "embedder"}
    # Whom nobody looks at is told all the same: the two who stay in the picture, in every frame.
    assert summary.identities == 3
    for camera in "ab":
        lengths = [sum(row[1] == g for row in tracks_of(tmp_path / "out", camera)) for g in (1, 2, 3)]
        assert sorted(lengths)[-2:] == [24, 24]


def test_run_json_names_the_network_that_estimated_flow(painted, tmp_path, monkeypatch):
    class Network(Watching):
        name, model_hash, providers = "flow_tiny", "f" * 64, ("CPU",)

    network = Network()
    monkeypatch.setattr(processing, "build_flows", lambda site: dict.fromkeys(site.cameras, network))
    learned = painted.model_copy(update={"flow": painted.flow.model_copy(update={"kind": "tiny"})})
    process(learned, tmp_path / "out", to_s=0.3)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["flow"]["a"] == {"kind": "tiny", "carry": "step"}
    assert run["models"]["flow_tiny"] == {"name": "flow_tiny", "sha256": "f" * 64, "providers": ["CPU"]}


class Watching:
    """No flow at all, but it remembers which picture came before which."""

    def __init__(self) -> None:
        self.pairs: set[tuple[int, int]] = set()

    def reduce(self, image: NDArray[np.uint8]) -> int:
        return hash(image.tobytes())

    def between(self, before: int, after: int) -> None:
        self.pairs.add((before, after))


@pytest.mark.skipif(os.name == "nt", reason="rights are not modes there")
def test_what_an_interrupted_run_leaves_is_for_nobody_else(painted, tmp_path, monkeypatch):
    """The spool holds embeddings, and the locations with their passwords; anybody could read it."""
    before = os.umask(0o022)
    try:
        interrupted(painted, tmp_path / "out", monkeypatch)
    finally:
        os.umask(before)
    spool = tmp_path / "out" / ".spool"
    assert spool.stat().st_mode & 0o777 == 0o700
    assert (spool / "answers").stat().st_mode & 0o777 == 0o600


def test_flow_goes_on_from_the_last_picture_that_was_done(painted, tmp_path, monkeypatch):
    whole, resumed, eyes = Watching(), Watching(), Eyes()
    monkeypatch.setattr(processing, "build_flows", lambda site: dict.fromkeys(site.cameras, whole))
    process(painted, tmp_path / "whole")
    assert len(whole.pairs) == 2 * 23
    interrupted(painted, tmp_path / "out", monkeypatch)
    monkeypatch.setattr(processing, "build_detector", lambda settings: eyes)
    monkeypatch.setattr(processing, "build_flows", lambda site: dict.fromkeys(site.cameras, resumed))
    process(painted, tmp_path / "out", resume=True)
    # Every frame that was left had a picture before it, the first ones too.
    assert len(resumed.pairs) == eyes.seen < 48
    assert resumed.pairs < whole.pairs


def interrupted(painted: Site, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing, "build_detector", lambda settings: Eyes(20))
    with pytest.raises(RuntimeError):
        process(painted, out)
    monkeypatch.setattr(processing, "build_detector", lambda settings: Eyes())


def test_a_run_cut_in_the_middle_of_a_write_goes_on(painted, tmp_path, monkeypatch):
    process(painted, tmp_path / "whole")
    interrupted(painted, tmp_path / "out", monkeypatch)
    spool = tmp_path / "out" / ".spool" / "answers"
    spool.write_bytes(spool.read_bytes()[:-7])
    process(painted, tmp_path / "out", resume=True)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_other_settings_cannot_go_on_with_a_run(painted, tmp_path, monkeypatch):
    interrupted(painted, tmp_path / "out", monkeypatch)
    other = painted.model_copy(update={"track": painted.track.model_copy(update={"lost_s": 1.0})})
    for changed in (lambda: process(other, tmp_path / "out", resume=True),
                    lambda: process(painted, tmp_path / "out", resume=True, to_s=1.0)):  # fmt: skip
        with pytest.raises(UserError, match="other inputs or settings"):
            changed()
    # Without --resume it starts anew.
    assert process(other, tmp_path / "out").frames == {"a": 24, "b": 24}


def test_a_flow_that_came_since_cannot_go_on_with_a_run(painted, tmp_path, monkeypatch):
    """``auto`` used to go on with whatever was best by then, and half of the run was carried by another flow."""
    flow = FlowSettings(kind="auto", budget_ms=1000)
    painted = painted.model_copy(update={"flow": flow})
    monkeypatch.setattr(build, "_is_here", lambda kind: kind == "dis")
    interrupted(painted, tmp_path / "out", monkeypatch)
    monkeypatch.setattr(build, "_is_here", lambda kind: True)
    with pytest.raises(UserError, match="other inputs or settings"):
        process(painted, tmp_path / "out", resume=True)


def test_resume_where_nothing_was_begun_is_a_whole_run(painted, tmp_path):
    process(painted, tmp_path / "whole")
    process(painted, tmp_path / "out", resume=True)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_a_video_is_drawn_for_every_camera_with_pictures(painted, tmp_path):
    summary = process(painted, tmp_path / "out", video=True, to_s=1.0)
    assert [p.name for p in summary.video] == ["a.mp4", "b.mp4"]
    video = cv2.VideoCapture(str(summary.video[0]))
    assert (video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)) == SMALL
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 10
    video.release()


def test_a_video_file_is_read_like_a_folder(painted, tmp_path):
    path = tmp_path / "film.mp4"
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, SMALL)
    for picture in sorted((tmp_path / "a").iterdir()):
        film.write(cv2.imread(str(picture)))
    film.release()
    summary = process(site({"film": str(path)}), tmp_path / "out")
    assert (summary.frames, summary.identities) == ({"film": 24}, 3)
    assert {row[0] for row in tracks_of(tmp_path / "out", "film")} == set(range(1, 25))


def test_recorded_boxes_beside_their_pictures_need_no_detector(painted, tmp_path, monkeypatch):
    monkeypatch.setattr(
        processing, "build_detector", lambda settings: pytest.fail("nobody asked for a detector")
    )
    lines = [f"{n},-1,{130 + 3 * (n - 1)},80,28,90,0.9,-1,-1,-1" for n in range(1, 25)]
    (tmp_path / "det.txt").write_text("\n".join(lines))
    one = site({"a": {"url": str(tmp_path / "a"), "fps": 10, "detections": str(tmp_path / "det.txt")}})
    process(one, tmp_path / "out")
    assert len(tracks_of(tmp_path / "out", "a")) == 24


# ---- the spool -----------------------------------------------------------------------------------------------


def test_answers_are_read_as_they_were_written(tmp_path):
    full = Answers(
        detections=Detections.of(np.array([[1.5, 2, 3, 4]]), np.array([0.5])).with_embeddings(
            np.array([0]), np.ones((1, 3)) / np.sqrt(3)
        ),
        moved=np.array([[1, 2, np.nan, 4]], np.float32),
        camera=np.eye(3),
    )
    path = tmp_path / "answers"
    with open(path, "wb") as file:
        write_answers(file, [("a", 0, 5, full), ("b", 3, 6, Answers())])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:9])  # a row cut off by a crash
    (first, second) = list(read_answers(path))
    assert first[:3] == ("a", 0, 5) and second[:3] == ("b", 3, 6)
    assert second[3].detections is None and second[3].moved is None
    np.testing.assert_array_equal(first[3].detections.embeddings, full.detections.embeddings)
    np.testing.assert_array_equal(first[3].moved, full.moved)
    np.testing.assert_array_equal(first[3].camera, full.camera)
    assert path.read_bytes() == whole  # the cut row is gone, so that new ones follow whole ones
    assert list(read_answers(tmp_path / "none")) == []


def walked(folder: Path, *cameras: str) -> Site:
    """Cameras that each recorded one walk."""
    return site({c: recording(folder / f"{c}.npz", walk(range(1, 21))) for c in cameras})


def test_a_folder_used_again_holds_the_new_run_alone(tmp_path):
    """Tracks of another run's cameras used to stay beside the new ones, and were scored with them."""
    out = tmp_path / "out"
    process(walked(tmp_path, "hall", "yard"), out)
    process(walked(tmp_path, "hall"), out)
    assert [p.name for p in sorted((out / "tracks").iterdir())] == ["hall.txt"]
    assert [p.name for p in sorted((out / "tracks_as_published").iterdir())] == ["hall.txt"]


def test_a_complete_run_is_not_resumed(tmp_path):
    """--resume used to begin anew, over the finished results."""
    out = tmp_path / "out"
    process(walked(tmp_path, "hall"), out)
    before = (out / "events.jsonl").read_bytes()
    with pytest.raises(UserError, match="complete"):
        process(walked(tmp_path, "hall"), out, resume=True)
    assert (out / "events.jsonl").read_bytes() == before


def test_a_part_beyond_the_recordings_is_a_mistake(tmp_path):
    with pytest.raises(UserError, match="no frame"):
        process(walked(tmp_path, "hall"), tmp_path / "out", from_s=9999.0)


def test_a_box_of_a_cut_tracklet_is_whose_it_was_then():
    run = object.__new__(processing._Run)
    run.ledger = Ledger()
    whole = TrackKey(camera_id="a", run=0, number=4)
    part = msgspec.structs.replace(whole, since_ns=at(2))
    seen = Sighting(camera_id="a", t_ns=0, box=(0.0, 0.0, 1.0, 1.0))
    run.ledger.follow(Appeared(t_ns=0, global_id=1, track=whole, sighting=seen))
    run.ledger.follow(Split(t_ns=at(9), global_id=1, to=2, tracks=(part,)))
    rows = np.zeros(4, SPOOL)
    rows["number"], rows["t_ns"] = [4, 4, 4, 5], [at(0), at(1.9), at(2), at(3)]
    assert run._owners("a", rows).tolist() == [1, 1, 2, 0]
