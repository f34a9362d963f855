"""What is written can be read back, repeats byte for byte, and survives a full disk."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import av
import numpy as np
import pytest

from tracker.errors import UserError
from tracker.io import sinks
from tracker.io.sinks import (
    JsonLinesSink,
    MotWriter,
    Overlay,
    OverlayVideo,
    colour_of,
    event_to_json,
    label_of,
    time_text,
    write_mot,
)
from tracker.io.sources import VideoSource
from tracker.types import (
    CONFIRMED,
    LOST,
    TENTATIVE,
    Appeared,
    CameraLost,
    Evidence,
    HandedOver,
    Merged,
    Sighting,
    TrackKey,
    global_id_of,
)

SECOND_NS = 1_000_000_000
T_NS = 1_714_564_800 * SECOND_NS + 340_000_000  # 2024-05-01 12:00:00.34 UTC
KEY = TrackKey(camera_id="hall", run=0, number=7)
SEEN = Sighting(camera_id="hall", t_ns=T_NS, box=(1.0, 2.0, 3.5, 4.0))
ROWS = [(1, 3, 10.0, 20.5, 30.126, 40.0, 0.91), (2, global_id_of(0, 12), -1.0, 0.0, 5.0, 5.0, 1.0)]
LINES = b"1,3,10.00,20.50,30.13,40.00,0.9100,-1,-1,-1\n2,12,-1.00,0.00,5.00,5.00,1.0000,-1,-1,-1\n"

needs_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")


# --- MOTChallenge text ---


def test_mot_lines_have_fixed_digits_so_that_bytes_repeat(tmp_path):
    write_mot(tmp_path / "deep" / "hall.txt", ROWS)
    assert (tmp_path / "deep" / "hall.txt").read_bytes() == LINES
    write_mot(
        tmp_path / "numpy.txt", [tuple(np.float32(v) if i > 1 else v for i, v in enumerate(r)) for r in ROWS]
    )
    assert (tmp_path / "numpy.txt").read_bytes() == LINES


def test_a_mot_file_gets_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "hall.txt"
    path.write_bytes(b"old\n")
    with MotWriter(path) as writer:
        writer.write(ROWS[0])
        assert path.read_bytes() == b"old\n"
    assert path.read_bytes() == LINES.splitlines(keepends=True)[0]
    with pytest.raises(ZeroDivisionError), MotWriter(path) as writer:
        writer.write(ROWS[1])
        raise ZeroDivisionError
    assert path.read_bytes() == LINES.splitlines(keepends=True)[0]
    assert list(tmp_path.iterdir()) == [path]


def test_no_rows_make_an_empty_file(tmp_path):
    write_mot(tmp_path / "a.txt", [])
    assert (tmp_path / "a.txt").read_bytes() == b""


def test_a_disk_that_fills_up_while_a_mot_file_is_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "hall.txt"
    path.write_bytes(b"old\n")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sinks.os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full: .*hall.txt.*make room"):
        write_mot(path, ROWS)
    assert path.read_bytes() == b"old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_said(tmp_path):
    (tmp_path / "out").write_text("a file")
    for attempt in (
        lambda: write_mot(tmp_path / "out" / "a.txt", ROWS),
        lambda: JsonLinesSink(tmp_path / "out" / "events.jsonl"),
        lambda: OverlayVideo(tmp_path / "out" / "a.mp4", (64, 48), 10),
    ):
        with pytest.raises(UserError, match="cannot write .*out"):
            attempt()


# --- events ---


def test_an_event_is_one_json_object():
    evidence = Evidence(probability=0.97, runner_up=4, cues={"appearance": 2.5, "time": -0.5})
    event = HandedOver(
        t_ns=T_NS,
        epoch=2,
        seq=9,
        global_id=global_id_of(3, 5),
        from_camera="hall",
        to_camera="yard",
        track=KEY,
        gap_s=1.5,
        sighting=SEEN,
        evidence=evidence,
    )
    line = event_to_json(event)
    assert b"\n" not in line
    said = json.loads(line)
    assert said["type"] == "handed_over"
    assert said["global_id"] == (3 << 48) + 5 and said["t_ns"] == T_NS
    assert said["track"] == {"camera_id": "hall", "run": 0, "number": 7}
    assert said["sighting"]["box"] == [1.0, 2.0, 3.5, 4.0]
    assert said["evidence"]["cues"] == {"appearance": 2.5, "time": -0.5}
    assert (said["epoch"], said["seq"], said["schema_version"]) == (2, 9, 1)
    assert event_to_json(event) == line


def test_events_are_lines_that_are_there_as_soon_as_they_are_put(tmp_path):
    path = tmp_path / "out" / "events.jsonl"
    sink = JsonLinesSink(path)
    sink.put(Appeared(t_ns=T_NS, global_id=1, track=KEY, sighting=SEEN))
    assert len(path.read_bytes().splitlines()) == 1
    sink.put(Merged(t_ns=T_NS, kept=1, absorbed=2, tracks=(KEY,)))
    sink.put(CameraLost(t_ns=T_NS, camera_id="hall", reason='"gone"\nfor good'))
    sink.close()
    sink.close()
    kinds = [json.loads(line)["type"] for line in path.read_text().splitlines()]
    assert kinds == ["appeared", "merged", "camera_lost"]
    JsonLinesSink(path).close()
    assert path.read_bytes() == b""  # a new run begins anew


@pytest.mark.parametrize(
    ("before", "kept"),
    [(b'{"a":1}\n{"b":', b'{"a":1}\n'), (b'{"a":1}\n', b'{"a":1}\n'), (b"{", b""), (b"", b"")],
)
def test_going_on_after_a_crash_drops_the_line_that_was_cut(tmp_path, before, kept):
    path = tmp_path / "events.jsonl"
    path.write_bytes(before)
    sink = JsonLinesSink(path, append=True)
    sink.put_line(b'{"c":3}')
    sink.close()
    assert path.read_bytes() == kept + b'{"c":3}\n'


def test_a_long_cut_line_is_dropped_whole(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"a":1}\n' + b"x" * 200_000)
    JsonLinesSink(path, append=True).close()
    assert path.read_bytes() == b'{"a":1}\n'


@needs_full_device
def test_a_full_disk_is_said_when_an_event_is_put():
    sink = JsonLinesSink(Path("/dev/full"), append=True)
    with pytest.raises(UserError, match="the disk is full: /dev/full"):
        sink.put(CameraLost(t_ns=T_NS, camera_id="hall"))
    sink.close()


def test_half_a_line_on_a_full_disk_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    sink = JsonLinesSink(path)
    sink.put_line(b'{"a":1}')

    class HalfFull:
        """Takes 3 bytes more."""

        def write(self, data: bytes) -> int:
            return os.write(inner.fileno(), data[:3])

        def __getattr__(self, name: str) -> object:
            return getattr(inner, name)

    inner = sink._file
    monkeypatch.setattr(sink, "_file", HalfFull())
    with pytest.raises(UserError, match="the disk is full"):
        sink.put_line(b'{"b":2}')
    monkeypatch.undo()
    sink.put_line(b'{"c":3}')
    sink.close()
    assert path.read_bytes() == b'{"a":1}\n{"c":3}\n'


# --- pictures ---


def test_an_identity_has_one_colour_and_neighbours_differ():
    colours = [colour_of(i) for i in range(1, 41)]
    assert len(set(colours)) == 40
    assert colour_of(7) == colour_of(global_id_of(0, 7))
    distances = [np.abs(np.subtract(a, b)).sum() for a, b in zip(colours, colours[1:], strict=False)]
    assert min(distances) > 100
    assert colour_of(-1) == colour_of(0) == (170, 170, 170)
    assert all(0 <= channel <= 255 for colour in colours for channel in colour)


def test_labels_and_times_as_people_read_them():
    assert [label_of(i) for i in (-1, 0, 12, global_id_of(3, 12))] == ["?", "?", "12", "3:12"]
    assert time_text(T_NS) == "2024-05-01 12:00:00.3"
    assert time_text(754_260_000_000) == "12:34.2"


BOX = np.array([[40, 60, 80, 160]], np.float32)


def draw(overlay: Overlay, boxes: np.ndarray, ids: list[int], states: list[int], t_s: float) -> np.ndarray:
    image = np.zeros((240, 320, 3), np.uint8)
    image.setflags(write=False)  # as the pictures in frames are
    return overlay.draw(image, boxes, np.array(ids), np.array(states), t_ns=round(t_s * SECOND_NS))


def coloured(image: np.ndarray, global_id: int) -> np.ndarray:
    """Which pixels (H, W) are of that colour, smoothed edges included."""
    pixels, colour = image.astype(float), np.array(colour_of(global_id), float)
    length = np.linalg.norm(pixels, axis=2)
    return (length > 60) & (pixels @ colour > 0.99 * length * np.linalg.norm(colour))


def test_a_box_is_drawn_in_its_identitys_colour():
    picture = draw(Overlay("hall"), BOX, [5], [CONFIRMED], 1.0)
    mine = coloured(picture, 5)
    assert (
        mine[60, 45:75].all() and mine[160, 45:55].all() and mine[70:150, 40].all() and mine[70:150, 80].all()
    )
    assert not mine[90:130, 50:70].any()  # hollow
    assert picture[2:12, 2:30].max() > 200  # the camera's name and time


def test_what_is_not_confirmed_is_thin_and_what_is_lost_leaves_no_trail():
    thick, thin, lost = (
        coloured(draw(Overlay(), BOX, [5], [state], 1.0), 5) for state in (CONFIRMED, TENTATIVE, LOST)
    )
    assert thick[110].sum() > thin[110].sum() == lost[110].sum() == 2
    assert thin[162:164, 55:65].any() and not lost[162:164, 55:65].any()  # foot point


def test_a_trail_of_feet_lasts_two_seconds():
    overlay = Overlay()
    for step in range(5):  # from x = 60 to x = 220 in 1 s
        picture = draw(overlay, BOX + [40 * step, 0, 40 * step, 0], [5], [CONFIRMED], 0.25 * step)
    assert coloured(picture, 5)[158:163, 100:180].any(axis=0).all()
    none = np.zeros((0, 4), np.float32)
    assert coloured(draw(overlay, none, [], [], 1.9), 5)[158:163, 100:180].any(axis=0).all()
    later = coloured(draw(overlay, none, [], [], 2.6), 5)[158:163]
    assert not later[:, 60:170].any() and later[:, 190:215].any()  # what was seen before 0.6 s is gone
    assert not coloured(draw(overlay, none, [], [], 9.0), 5).any()


def test_a_nan_and_a_box_outside_the_picture_draw_nothing_and_fail_nothing():
    boxes = np.array([[np.nan, 0, 5, 5], [900, 900, 950, 990], [-1e12, 0, 1e12, 50]])
    draw(Overlay(), boxes, [1, 2, 3], [CONFIRMED] * 3, 0.0)


def frames_of(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(frame.time, frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)]


def write_some(path: Path, times_s: list[float], size: tuple[int, int] = (321, 241)) -> None:
    with OverlayVideo(path, size, 10, camera_id="hall") as video:
        for at in times_s:
            image = np.full((size[1], size[0], 3), 30, np.uint8)
            video.write(image, BOX, np.array([5]), np.array([CONFIRMED]), t_ns=T_NS + round(at * SECOND_NS))


def test_a_video_plays_at_the_frames_own_times_and_shows_the_boxes(tmp_path):
    times = [0.0, 0.1, 0.2, 0.7, 0.8]
    write_some(tmp_path / "out" / "hall.mp4", times)
    frames = frames_of(tmp_path / "out" / "hall.mp4")
    assert [at for at, _ in frames] == pytest.approx(times, abs=1e-4)
    assert frames[0][1].shape == (240, 320, 3)  # odd sizes lose their last row and column
    side = frames[3][1][80:140, 38:43].reshape(-1, 3).astype(int)
    assert np.abs(side - colour_of(5)).sum(axis=1).min() < 120


def test_a_video_without_times_runs_at_its_rate(tmp_path):
    with OverlayVideo(tmp_path / "a.mp4", (64, 48), 5) as video:
        for _ in range(4):
            video.write(np.zeros((48, 64, 3), np.uint8), np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, int))
        assert video.codec in ("libx264", "mpeg4")
    assert [at for at, _ in frames_of(tmp_path / "a.mp4")] == pytest.approx([0, 0.2, 0.4, 0.6], abs=1e-4)


def test_the_same_video_twice_is_the_same_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_some(tmp_path / name, [0.1 * i for i in range(12)])
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_video_that_nobody_closed_can_be_played(tmp_path):
    """A crash or a full disk used to leave an .mp4 without its index, which nothing plays."""
    path = tmp_path / "a.mp4"
    video = OverlayVideo(path, (96, 64), 10)
    rng = np.random.default_rng(0)
    for i in range(150):
        image = rng.integers(0, 255, (64, 96, 3), dtype=np.uint8)
        video.write(image, BOX, np.array([5]), np.array([CONFIRMED]), t_ns=i * SECOND_NS // 10)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes())
    video.close()
    assert len(list(VideoSource("cut", [cut], start_ns=0))) >= 80
    assert len(frames_of(path)) == 150


def test_without_libx264_a_video_is_mpeg4(tmp_path, monkeypatch):
    monkeypatch.setattr(sinks.av, "codecs_available", {"mpeg4"})
    path = tmp_path / "a.mp4"
    write_some(path, [0.0, 0.1, 0.5])
    monkeypatch.undo()
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    assert [at for at, _ in frames_of(path)] == pytest.approx([0.0, 0.1, 0.5], abs=1e-3)


def test_a_video_without_frames_closes(tmp_path):
    OverlayVideo(tmp_path / "a.mp4", (64, 48), 10).close()


def test_a_full_disk_stops_a_video_with_one_sentence(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    video = OverlayVideo(path, (320, 240), 10)

    class Full:
        """Refuses from now on, as FFmpeg's writer does."""

        def mux(self, packet: object) -> None:
            raise av.error.OSError(errno.ENOSPC, "No space left on device", "a.mp4")

        def close(self) -> None:
            real.close()

    real = video._container
    monkeypatch.setattr(video, "_container", Full())
    with pytest.raises(UserError, match=r"the disk is full: .*a\.mp4"):
        for i in range(200):
            image = np.full((240, 320, 3), i, np.uint8)
            video.write(image, BOX, np.array([5]), np.array([CONFIRMED]), t_ns=i * SECOND_NS // 10)
    with pytest.raises(UserError, match="the disk is full"):
        video.close()


def test_a_video_of_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="no video of 1x48"):
        OverlayVideo(tmp_path / "a.mp4", (1, 48), 10)
    with pytest.raises(UserError, match="0 frames/s"):
        OverlayVideo(tmp_path / "a.mp4", (64, 48), 0)
