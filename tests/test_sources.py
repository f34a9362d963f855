"""Frames from files, folders and cameras. Every picture carries its own number, so a test can say which it got."""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tracker.errors import UserError, mask_url
from tracker.io import sources
from tracker.io.clock import ReplayClock, WallClock
from tracker.io.sources import (
    CameraMemory,
    ImageFolderSource,
    PacedSource,
    RtspSource,
    SourceLost,
    VideoSource,
    WebcamSource,
    is_live,
    locate,
    name_time_ns,
    open_recording,
    probe,
)
from tracker.types import Frame

SECOND_NS = 1_000_000_000
START_NS = 1_714_564_800 * SECOND_NS  # 2024-05-01 12:00:00 UTC
SIZE = 64, 48  # width, height


def numbered(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture whose 16 columns are the bits of its number: bright is 1."""
    bits = np.array([number >> bit & 1 for bit in range(16)], np.uint8) * 200 + 20
    return np.repeat(np.repeat(bits[None, :], size[1], 0), size[0] // 16, 1)[..., None].repeat(3, 2)


def number_in(image: np.ndarray) -> int:
    width = image.shape[1] // 16
    columns = image.mean(axis=(0, 2)).reshape(16, width).mean(axis=1) > 120
    return int(sum(int(on) << bit for bit, on in enumerate(columns)))


def write_video(
    path: Path,
    pts_ms: Sequence[int],
    *,
    rotation: int = 0,
    gop: int = 10,
    b_frames: int = 0,
    first: int = 0,
    metadata: dict[str, str] | None = None,
    size: tuple[int, int] = SIZE,
) -> Path:
    """Numbered pictures at these times."""
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        if rotation:
            stream.set_display_rotation(rotation)
        for i, at in enumerate(pts_ms):
            frame = av.VideoFrame.from_ndarray(numbered(first + i, size), format="bgr24")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def steady(count: int, period_ms: int = 40) -> list[int]:
    return [i * period_ms for i in range(count)]


def read(path: Path | Sequence[Path], **keywords: object) -> tuple[VideoSource, list[Frame]]:
    paths = [path] if isinstance(path, Path) else path
    source = VideoSource("hall", paths, start_ns=START_NS, **keywords)  # type: ignore[arg-type]
    return source, list(source)


def said(frames: Sequence[Frame]) -> list[tuple[int, int, int]]:
    """Number, ms since the start, number seen in the picture."""
    return [(f.seq, round((f.t_ns - START_NS) / 1e6), number_in(f.image)) for f in frames]


# --- video files ---


def test_a_file_gives_every_frame_with_its_number_and_time(tmp_path):
    source, frames = read(write_video(tmp_path / "a.mp4", steady(30)))
    assert said(frames) == [(i, 40 * i, i) for i in range(30)]
    assert (source.fps, source.size, source.length) == (25, SIZE, 30)
    assert (source.corrupt, source.repaired) == (0, 0)
    assert {f.camera_id for f in frames} == {"hall"}
    assert frames[0].image.shape == (48, 64, 3) and not frames[0].image.flags.writeable


def test_reading_again_gives_the_same(tmp_path):
    source, frames = read(write_video(tmp_path / "a.mp4", steady(12)))
    assert said(list(source)) == said(frames)


def test_times_are_those_of_presentation_at_a_variable_rate(tmp_path):
    pts = [0, 40, 80, 300, 340, 1000, 1040]
    source, frames = read(write_video(tmp_path / "a.mp4", pts))
    assert said(frames) == [(i, at, i) for i, at in enumerate(pts)]
    assert source.repaired == 0


@pytest.mark.parametrize("container", ["mp4", "mkv", "avi", "ts"])
@pytest.mark.parametrize("b_frames", [0, 2])
def test_from_and_to_give_what_the_whole_run_gives_between_them(tmp_path, container, b_frames):
    if container == "avi" and b_frames:
        pytest.skip("AVI has no presentation times of its own")
    path = write_video(tmp_path / f"a.{container}", steady(60), b_frames=b_frames)
    _, whole = read(path)
    assert len(whole) == 60
    for from_s, to_s in ((0.5, None), (1.0, 1.6), (0.01, 0.2), (2.3, 9.0), (0.0, 0.4)):
        _, part = read(path, from_s=from_s, to_s=to_s)
        to_ms = 1e9 if to_s is None else to_s * 1000
        assert said(part) == [row for row in said(whole) if from_s * 1000 <= row[1] < to_ms]
        assert part
    assert read(path, from_s=50)[1] == []


def test_a_seek_into_a_variable_rate_keeps_the_numbers(tmp_path):
    pts = [0, 10, 20, 500, 510, 520, 1500, 1510, 2000, 2500]
    _, frames = read(write_video(tmp_path / "a.mp4", pts, gop=3), from_s=0.515)
    assert said(frames) == [(i, pts[i], i) for i in range(5, 10)]


def test_a_given_rate_overrides_the_container(tmp_path):
    path = write_video(tmp_path / "a.mp4", steady(20))
    source, frames = read(path, fps=10)
    assert [row[1] for row in said(frames)] == [100 * i for i in range(20)]
    assert source.fps == 10
    assert said(read(path, fps=10, from_s=1.0)[1]) == [(i, 100 * i, i) for i in range(10, 20)]


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_phone_held_sideways_is_turned_upright(tmp_path, rotation):
    source, frames = read(write_video(tmp_path / "a.mp4", steady(3), rotation=rotation, first=5))
    # Pictures say "turn me by this much against the clock"; bits of 5 = 101 stand in columns, turned: in rows.
    turned = np.rot90(numbered(5), rotation // 90)
    assert source.size == (turned.shape[1], turned.shape[0])
    assert frames[0].image.shape == turned.shape
    assert np.abs(frames[0].image.astype(int) - turned).mean() < 12
    assert probe(str(tmp_path / "a.mp4")).size == source.size


def test_a_damaged_frame_is_skipped_and_counted_and_the_others_keep_their_numbers(tmp_path):
    path = write_video(tmp_path / "a.mkv", steady(30), gop=1)
    with av.open(str(path)) as container:
        packets = [bytes(p) for p in container.demux(video=0) if p.size]
    data = path.read_bytes()
    for i in (7, 8, 20):
        assert data.count(packets[i]) == 1
        data = data.replace(packets[i], b"\xff" * len(packets[i]))
    path.write_bytes(data)
    source, frames = read(path)
    assert [f.seq for f in frames] == [i for i in range(30) if i not in (7, 8, 20)]
    assert said(frames) == [(f.seq, 40 * f.seq, f.seq) for f in frames]
    assert source.corrupt == 3
    source, part = read(path, from_s=0.6)
    assert said(part) == [row for row in said(frames) if row[0] >= 15]
    assert source.corrupt == 1


def test_a_truncated_file_gives_what_is_there(tmp_path):
    path = write_video(tmp_path / "a.ts", steady(50))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, frames = read(path)
    assert 15 < len(frames) < 35
    assert [f.seq for f in frames] == list(range(len(frames)))


def test_a_frame_said_twice_and_a_clock_set_back_are_repaired_so_that_time_rises(tmp_path):
    # Matroska keeps any time. 80 comes twice; at 200 the camera's clock went back by 180 ms to 20.
    path = tmp_path / "a.mkv"
    write_video(path, steady(8), gop=1)
    odd = [0, 40, 80, 80, 120, 20, 60, 100]
    _rewrite_times(path, odd)
    source, frames = read(path)
    times = [f.t_ns for f in frames]
    assert len(frames) == 8
    assert all(b > a for a, b in pairwise(times))
    # 80 again becomes 100; 20 is one period after 120, and what follows keeps its distance.
    assert [round((t - START_NS) / 1e6) for t in times] == [0, 40, 80, 100, 120, 160, 200, 240]
    assert source.repaired == 2
    assert [f.seq for f in frames] == sorted({f.seq for f in frames})


def _rewrite_times(path: Path, times_ms: Sequence[int]) -> None:
    """Remux with these times, which no encoder would write."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [p for p in container.demux(stream) if p.size]
        raw = [(bytes(p), p.is_keyframe) for p in packets]
        size, extradata = (stream.width, stream.height), stream.codec_context.extradata
    clusters = b"".join(
        _ebml(0x1F43B675, _ebml(0xE7, at.to_bytes(4, "big")) + _ebml(0xA3, b"\x81\x00\x00\x80" + data))
        for at, (data, _) in zip(times_ms, raw, strict=True)
    )
    track = _ebml(0xD7, b"\1") + _ebml(0x73C5, b"\1") + _ebml(0x83, b"\1") + _ebml(0x86, b"V_MPEG4/ISO/ASP")
    track += _ebml(0x63A2, extradata or b"") + _ebml(0x23E383, (40_000_000).to_bytes(4, "big"))
    track += _ebml(0xE0, _ebml(0xB0, size[0].to_bytes(2, "big")) + _ebml(0xBA, size[1].to_bytes(2, "big")))
    info = _ebml(0x1549A966, _ebml(0x2AD7B1, (1_000_000).to_bytes(4, "big")))
    segment = _ebml(0x18538067, info + _ebml(0x1654AE6B, _ebml(0xAE, track)) + clusters)
    path.write_bytes(_ebml(0x1A45DFA3, _ebml(0x4282, b"matroska")) + segment)


def _ebml(name: int, content: bytes) -> bytes:
    """One Matroska element."""
    return (
        name.to_bytes((name.bit_length() + 7) // 8, "big")
        + (1 << 56 | len(content)).to_bytes(8, "big")
        + content
    )


def test_close_stops_the_iteration(tmp_path):
    source = VideoSource("hall", [write_video(tmp_path / "a.mp4", steady(30))], start_ns=0)
    seen = []
    for frame in source:
        seen.append(frame.seq)
        if frame.seq == 4:
            source.close()
    assert seen == [0, 1, 2, 3, 4]


def test_with_from_and_to_the_length_is_that_of_the_part(tmp_path):
    path = write_video(tmp_path / "a.mp4", steady(50))
    source, frames = read(path, from_s=0.4, to_s=1.2)
    assert source.length == len(frames) == 20


# --- files that cannot be read ---


@pytest.mark.parametrize(
    ("name", "content"),
    [("zero.mp4", b""), ("letter.mp4", b"Dear reader,\n" * 50), ("cut.mp4", b"\0\0\0\x20ftypisom")],
)
def test_what_is_no_video_is_said_in_one_sentence(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    for attempt in (lambda: read(path), lambda: probe(str(path))):
        with pytest.raises(UserError, match=f"{name} (is not a video|holds no video)") as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no such file: .*gone.mp4"):
        read(tmp_path / "gone.mp4")
    with pytest.raises(UserError, match="no such file or folder: .*gone.mp4"):
        locate(str(tmp_path / "gone.mp4"))


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    path = write_video(tmp_path / "a.mp4", steady(3))
    path.chmod(0)
    with pytest.raises(UserError, match="not allowed to read"):
        read(path)


def test_a_span_that_ends_before_it_begins_is_empty_and_one_before_the_start_is_refused(tmp_path):
    """With --to 5 a camera that starts at 10 s gives nothing, and the others go on."""
    path = write_video(tmp_path / "a.mp4", steady(3))
    for from_s, to_s in ((0.0, 0.0), (3.0, 2.0)):
        source, frames = read(path, from_s=from_s, to_s=to_s)
        assert frames == [] and source.length == 0
        folder = ImageFolderSource(
            "hall", pictures(tmp_path / "in", 3), start_ns=0, fps=5, from_s=from_s, to_s=to_s
        )
        assert list(folder) == [] and folder.length == 0
    with pytest.raises(UserError, match="hall: nothing was recorded before 0 s"):
        read(path, from_s=-1)


# --- segments ---


def test_segments_without_time_stamps_follow_one_another(tmp_path):
    paths = [write_video(tmp_path / f"part{i}.mp4", steady(10), first=10 * i) for i in range(12)]
    assert locate(str(tmp_path)) == paths  # part2 before part10
    source, frames = read(locate(str(tmp_path)))
    assert said(frames) == [(i, 40 * i, i) for i in range(120)]
    assert source.length == 120
    assert said(read(paths, from_s=3.3, to_s=4.5)[1]) == [(i, 40 * i, i) for i in range(83, 113)]


def test_time_stamped_segments_keep_the_gap_between_them(tmp_path):
    names = ["2024-05-01_12-00-00.mp4", "2024-05-01_12-00-01.mp4", "20240501T120010.mp4"]
    paths = [write_video(tmp_path / name, steady(10), first=10 * i) for i, name in enumerate(names)]
    rows = said(read(paths)[1])
    assert [row[0] for row in rows] == list(range(30)) == [row[2] for row in rows]
    assert [row[1] for row in rows] == [base + 40 * i for base in (0, 1000, 10_000) for i in range(10)]
    assert said(read(paths, from_s=1.2)[1]) == [row for row in rows if row[1] >= 1200]
    assert said(read(paths, from_s=5)[1]) == rows[20:]
    assert probe(str(tmp_path)).created_ns == START_NS


def test_a_segment_that_overlaps_the_one_before_goes_on_after_it(tmp_path):
    names = ["2024-05-01_12-00-00.mp4", "2024-05-01_12-00-01.mp4"]
    paths = [write_video(tmp_path / name, steady(30), first=30 * i) for i, name in enumerate(names)]
    source, frames = read(paths)  # 1.2 s of frames, 1 s apart
    assert [row[1] for row in said(frames)] == [40 * i for i in range(60)]
    assert source.repaired == 1


def test_an_unreadable_segment_is_left_out_with_a_warning(tmp_path, caplog):
    paths = [write_video(tmp_path / "1.mp4", steady(5)), tmp_path / "2.mp4", tmp_path / "3.mp4"]
    paths[1].touch()
    write_video(paths[2], steady(5), first=5)
    with caplog.at_level(logging.WARNING):
        source, frames = read(paths)
    assert [row[2] for row in said(frames)] == list(range(10))
    assert source.skipped_files == 1
    assert "2.mp4" in caplog.text
    with pytest.raises(UserError, match=r"2\.mp4"):
        read([paths[1]])


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("2024-05-01_12-00-00.mp4", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("cam3_20240501T120001.mkv", datetime(2024, 5, 1, 12, 0, 1, tzinfo=UTC)),
        ("2024-05-01 12.00.00.250.mp4", datetime(2024, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)),
        ("20240501_120000_hall.mp4", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("2024-13-01_12-00-00.mp4", None),
        ("part12.mp4", None),
        ("120240501120000.mp4", None),
    ],
)
def test_time_stamps_in_names(name, when):
    expected = None if when is None else round(when.timestamp() * 1000) * 1_000_000
    assert name_time_ns(Path(name)) == expected


# --- where things are ---


def test_locate_finds_folders_globs_and_single_files(tmp_path):
    for name in ("b2.mp4", "b10.mp4", "a.mp4"):
        write_video(tmp_path / name, steady(2))
    (tmp_path / "notes.txt").write_text("no video")
    (tmp_path / ".hidden.mp4").touch()
    cv2.imwrite(str(tmp_path / "thumb.jpg"), numbered(1))
    assert [p.name for p in locate(str(tmp_path))] == ["a.mp4", "b2.mp4", "b10.mp4"]
    assert [p.name for p in locate(str(tmp_path / "b*.mp4"))] == ["b2.mp4", "b10.mp4"]
    assert locate(str(tmp_path / "notes.txt")) == [tmp_path / "notes.txt"]  # reading it says what is wrong
    with pytest.raises(UserError, match=r"matches .*\*\.mkv"):
        locate(str(tmp_path / "*.mkv"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no video and no picture in the folder"):
        locate(str(tmp_path / "empty"))


def test_a_file_whose_name_has_brackets_is_found(tmp_path):
    path = write_video(tmp_path / "hall [1].mp4", steady(2))
    assert locate(str(path)) == [path]


def test_probe_says_what_is_in_a_file(tmp_path):
    path = write_video(tmp_path / "a.mp4", steady(50), metadata={"creation_time": "2024-05-01T12:00:01Z"})
    info = probe(str(path))
    assert (info.size, info.fps, info.frames, info.codec) == (SIZE, 25, 50, "mpeg4")
    assert info.duration_s == pytest.approx(2.0, abs=0.05)
    assert info.created_ns == START_NS + SECOND_NS
    assert probe(str(write_video(tmp_path / "b.mp4", steady(5)))).created_ns is None


def test_what_is_live_and_what_is_not():
    assert all(map(is_live, ("0", "12", "rtsp://host/1", "RTSPS://host", "http://host/a.m3u8")))
    assert not any(map(is_live, ("a.mp4", "/data/0", "C:\\a.mp4", "folder", "-1")))


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("rtsp://admin:s3cret@10.0.0.1:554/live", "rtsp://***@10.0.0.1:554/live"),
        ("cannot open rtsp://a:p@ss@host/x now", "cannot open rtsp://***@host/x now"),
        ("rtsp://host/a@b", "rtsp://host/a@b"),
        ("rtsp://token@host", "rtsp://***@host"),
        ("no url: a@b", "no url: a@b"),
    ],
)
def test_credentials_are_masked(url, masked):
    assert mask_url(url) == masked


# --- pictures ---


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir(exist_ok=True)
    for i in range(count):
        cv2.imwrite(str(folder / f"frame{i}.png"), numbered(i))
    return folder


def test_a_folder_of_pictures_in_natural_order(tmp_path):
    folder = pictures(tmp_path / "in", 12)
    source = ImageFolderSource("hall", folder, start_ns=START_NS, fps=30)
    frames = list(source)
    assert said(frames) == [(i, round(i * 1000 / 30), i) for i in range(12)]
    assert [f.t_ns - START_NS for f in frames[:4]] == [0, 33_333_333, 66_666_667, 100_000_000]
    assert (source.size, source.fps, source.length) == (SIZE, 30, 12)
    part = ImageFolderSource("hall", folder, start_ns=START_NS, fps=30, from_s=0.1, to_s=0.2)
    assert said(list(part)) == said(frames)[3:6]
    assert part.length == 3


def test_a_picture_that_cannot_be_read_is_counted_and_keeps_its_number(tmp_path):
    folder = pictures(tmp_path / "in", 4)
    (folder / "frame0.png").write_bytes(b"no picture")
    (folder / "frame2.png").write_bytes(b"")
    source = ImageFolderSource("hall", folder, start_ns=START_NS, fps=10)
    assert said(list(source)) == [(1, 100, 1), (3, 300, 3)]
    assert source.corrupt == 2
    assert said(list(source)) == [(1, 100, 1), (3, 300, 3)] and source.corrupt == 2  # not 4


def test_pictures_without_a_rate_or_none_at_all_are_refused(tmp_path):
    folder = pictures(tmp_path / "in", 2)
    with pytest.raises(UserError, match="hall: .* no frame rate; give fps"):
        open_recording("hall", str(folder), start_ns=0)
    with pytest.raises(UserError, match="above 0 frames"):
        ImageFolderSource("hall", folder, start_ns=0, fps=0)
    for picture in folder.iterdir():
        picture.write_bytes(b"x")
    with pytest.raises(UserError, match="none of the 2 pictures"):
        ImageFolderSource("hall", folder, start_ns=0, fps=5)


def test_a_mot_sequence_brings_its_rate(tmp_path):
    pictures(tmp_path / "img1", 3)
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nname=x\nframeRate=14\n")
    source = open_recording("hall", str(tmp_path), start_ns=START_NS)
    assert isinstance(source, ImageFolderSource)
    assert source.fps == 14 and [f.seq for f in source] == [0, 1, 2]
    assert probe(str(tmp_path)).frames == 3


def test_open_recording_opens_videos(tmp_path):
    write_video(tmp_path / "a.mp4", steady(4))
    source = open_recording("hall", str(tmp_path / "*.mp4"), start_ns=START_NS, from_s=0.08)
    assert said(list(source)) == [(2, 80, 2), (3, 120, 3)]


# --- paced ---


class WatchedClock(ReplayClock):
    """Says what was waited for."""

    def __init__(self, t_ns: int) -> None:
        super().__init__(t_ns)
        self.waited: list[int] = []

    def sleep_until(self, t_ns: int) -> None:
        self.waited.append(t_ns)
        super().sleep_until(t_ns)


def test_a_paced_recording_waits_for_each_frames_time(tmp_path):
    clock = WatchedClock(5 * SECOND_NS)
    recording = ImageFolderSource("hall", pictures(tmp_path / "in", 3), start_ns=START_NS, fps=10)
    paced = PacedSource(recording, clock)
    arrived = []
    for frame in paced:
        arrived.append((frame.seq, frame.t_ns, clock.now_ns()))
    # The first frame is due at once, the others 0.1 s apart; each arrives when the clock shows its time.
    expected = [5 * SECOND_NS + i * 100_000_000 for i in range(3)]
    assert arrived == [(i, t, t) for i, t in enumerate(expected)]
    assert clock.waited == expected
    assert (paced.camera_id, paced.fps, paced.size, paced.length) == ("hall", 10, SIZE, 3)


def test_paced_cameras_that_are_given_one_moment_stay_together(tmp_path):
    folder = pictures(tmp_path / "in", 3)
    clock = WatchedClock(0)
    times = []
    for start_ns, from_s in ((START_NS, 0.0), (START_NS + SECOND_NS, 0.1)):
        recording = ImageFolderSource("hall", folder, start_ns=start_ns, fps=10, from_s=from_s)
        times.append([f.t_ns for f in PacedSource(recording, clock, begin_ns=7 * SECOND_NS)])
    assert times[1] == times[0][1:] == [7_100_000_000, 7_200_000_000]


def test_a_paced_recording_that_is_late_does_not_wait(tmp_path):
    clock = ReplayClock(100 * SECOND_NS)
    recording = ImageFolderSource("hall", pictures(tmp_path / "in", 3), start_ns=0, fps=10)
    times = [f.t_ns for f in PacedSource(recording, clock, begin_ns=SECOND_NS)]
    assert times == [1_000_000_000, 1_100_000_000, 1_200_000_000]
    assert clock.now_ns() == 100 * SECOND_NS


def test_the_clocks():
    wall = WallClock()
    before = wall.now_ns()
    wall.sleep_until(before - SECOND_NS)  # past: returns at once
    wall.sleep_until(before + 2_000_000)
    assert wall.now_ns() >= before + 2_000_000
    replay = ReplayClock(10)
    replay.sleep_until(20)
    replay.sleep_until(15)
    assert replay.now_ns() == 20


# --- cameras ---


def closed_port() -> int:
    """A loopback port where nobody listens."""
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        return int(probe_socket.getsockname()[1])


def test_a_camera_that_is_not_there_is_said_without_its_password():
    source = RtspSource("yard", f"rtsp://admin:s3cret@127.0.0.1:{closed_port()}/live", clock=WallClock())
    with pytest.raises(
        SourceLost, match=r"camera yard at rtsp://\*\*\*@127\.0\.0\.1:\d+/live does not answer"
    ) as e:
        next(iter(source))
    assert "s3cret" not in str(e.value) and "\n" not in str(e.value)
    assert isinstance(e.value, UserError)


def test_a_camera_that_says_nothing_is_given_up_after_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/live"
        with pytest.raises(SourceLost, match="does not answer"):
            next(iter(RtspSource("yard", url, clock=WallClock(), timeout_s=0.2)))


def test_a_webcam_that_is_not_there():
    with pytest.raises(SourceLost, match="camera desk: .*webcam 77"):
        next(iter(WebcamSource("desk", 77, clock=WallClock())))
    with pytest.raises(SourceLost, match="webcam 77"):
        probe("77")


class RtspCamera(threading.Thread):
    """The smallest RTSP server: MPEG-4 over RTP inside the TCP connection, ``count`` frames, then as told."""

    def __init__(self, packets: Sequence[bytes], config: bytes, after: str) -> None:
        super().__init__(daemon=True)
        self._packets, self._config, self._after = packets, config, after
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.done = threading.Event()

    def run(self) -> None:
        with self._server:
            while not self.done.is_set():
                try:
                    connection, _ = self._server.accept()
                except OSError:
                    return
                with connection:
                    self._serve(connection)

    def stop(self) -> None:
        self.done.set()
        with suppress(ConnectionError), socket.create_connection(("127.0.0.1", self.port)):
            pass  # wakes it up
        self.join(5)

    def _serve(self, connection: socket.socket) -> None:
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                received = connection.recv(4096)
                if not received:
                    return
                buffer += received
            request, buffer = buffer.split(b"\r\n\r\n", 1)
            verb = request.split(b" ", 1)[0].decode()
            sequence = re.search(rb"CSeq: *(\d+)", request)
            assert sequence is not None
            head, body = f"RTSP/1.0 200 OK\r\nCSeq: {int(sequence[1])}\r\n", ""
            if verb == "OPTIONS":
                head += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            elif verb == "DESCRIBE":
                body = (
                    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                    "c=IN IP4 127.0.0.1\r\na=rtpmap:96 MP4V-ES/90000\r\n"
                    f"a=fmtp:96 profile-level-id=1; config={self._config.hex()}\r\na=control:track0\r\n"
                )
                head += f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            elif verb == "SETUP":
                head += "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            elif verb == "PLAY":
                head += "Session: 1\r\n"
            connection.sendall((head + "\r\n" + body).encode())
            if verb == "PLAY":
                self._play(connection)
                return

    def _play(self, connection: socket.socket) -> None:
        for i, packet in enumerate(self._packets):
            rtp = (
                b"\x80\xe0"
                + i.to_bytes(2, "big")
                + (90_000 + i * 3600).to_bytes(4, "big")
                + b"\0\0\0\1"
                + packet
            )
            connection.sendall(b"$\0" + len(rtp).to_bytes(2, "big") + rtp)
        if self._after == "silence":
            self.done.wait(10)


@contextmanager
def camera(tmp_path: Path, count: int, after: str) -> Iterator[str]:
    path = write_video(tmp_path / "live.mp4", steady(count), gop=1)
    with av.open(str(path)) as container:
        config = container.streams.video[0].codec_context.extradata or b""
        packets = [bytes(p) for p in container.demux(video=0) if p.size]
    server = RtspCamera(packets, config, after)
    server.start()
    try:
        yield f"rtsp://admin:s3cret@127.0.0.1:{server.port}/live"
    finally:
        server.stop()


def test_a_camera_that_hangs_up_is_lost_and_can_be_connected_to_again(tmp_path):
    """A killed server gives a clean end of the stream, which used to look like the end of a recording."""
    clock = ReplayClock(START_NS)
    with camera(tmp_path, 12, "hang up") as url:
        source = RtspSource("yard", url, clock=clock, timeout_s=3)
        frames: list[Frame] = []
        with pytest.raises(SourceLost, match=r"camera yard at rtsp://\*\*\*@.* closed the connection"):
            frames.extend(source)
        assert [f.seq for f in frames] == list(range(len(frames)))
        assert [number_in(f.image) for f in frames] == list(range(12))
        # The stream's own times, 40 ms apart, from the moment the first frame came; but all came at once, so those
        # after it were taken earlier than that, and time runs a tenth slower until that is made good.
        since = [f.t_ns - START_NS for f in frames]
        assert since[1] == pytest.approx(40e6, rel=0.1)
        assert np.diff(since) == pytest.approx([since[1]] + [36e6] * 10, abs=1e5)
        assert source.size == SIZE and source.corrupt == 0

        clock.sleep_until(START_NS + 60 * SECOND_NS)
        again: list[Frame] = []
        with pytest.raises(SourceLost):
            again.extend(source)
        assert again[0].seq == 12
        assert again[0].t_ns == START_NS + 60 * SECOND_NS


def test_a_camera_that_falls_silent_is_lost_after_the_timeout(tmp_path):
    with camera(tmp_path, 5, "silence") as url:
        source = RtspSource("yard", url, clock=WallClock(), timeout_s=0.4)
        frames: list[Frame] = []
        with pytest.raises(SourceLost, match="stopped sending"):
            frames.extend(source)
    assert len(frames) >= 4


def test_a_live_stream_is_laid_on_the_wall_clock_anew_when_they_drift_apart(tmp_path):
    class FastClock(ReplayClock):
        """10 s pass with every packet, 40 ms by the stream's own time."""

        def now_ns(self) -> int:
            self.sleep_until(super().now_ns() + 10 * SECOND_NS)
            return super().now_ns()

    with camera(tmp_path, 6, "hang up") as url:
        source = RtspSource("yard", url, clock=FastClock(), timeout_s=3)
        times: list[int] = []
        with pytest.raises(SourceLost):
            times.extend(f.t_ns for f in source)
    # A frame that is late may be jammed; one that is after 5 s of that is not.
    assert times == sorted(set(times)) and times[-1] >= 50 * SECOND_NS
    assert source.clock_jumps >= 2


class StreamCamera(threading.Thread):
    """Sends some bytes to each that connects, in turn, then hangs up or goes on with the last for as long as asked."""

    def __init__(self, *streams: bytes, again: bool = False) -> None:
        super().__init__(daemon=True)
        self._streams, self._again = streams, again
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"

    def run(self) -> None:
        with self._server:
            for stream in self._streams:
                connection, _ = self._server.accept()
                with connection, suppress(OSError):
                    connection.sendall(stream)
                    while self._again:
                        connection.sendall(stream)


def test_a_camera_that_comes_back_with_another_size_is_scaled_to_the_first_and_that_is_said(tmp_path, caplog):
    """Frames of another size used to meet the calibration, regions and mask of the first."""
    first = write_video(tmp_path / "a.ts", steady(8), gop=1).read_bytes()
    wide = write_video(tmp_path / "b.ts", steady(8), gop=1, size=(SIZE[0] * 2, SIZE[1])).read_bytes()
    half = write_video(tmp_path / "c.ts", steady(8), gop=1, size=(SIZE[0] // 2, SIZE[1] // 2)).read_bytes()
    camera = StreamCamera(first, half, wide)
    camera.start()
    memory = CameraMemory()
    seen: list[Frame] = []
    for _ in range(3):
        with pytest.raises(SourceLost, match="closed the connection"):
            seen.extend(RtspSource("yard", camera.url, clock=WallClock(), timeout_s=5, memory=memory))
    assert {f.image.shape[:2] for f in seen} == {(SIZE[1], SIZE[0])}
    assert [f.seq for f in seen] == list(range(len(seen))) and len(seen) >= 20
    assert all(b.t_ns > a.t_ns for a, b in pairwise(seen))
    told = [r.getMessage() for r in caplog.records if "its pictures are now" in r.getMessage()]
    assert len(told) == memory.resized == 2
    assert "still fit" in told[0] and "another shape: calibration, regions and mask do not fit" in told[1]


def test_a_camera_that_sends_but_has_no_picture_is_lost(tmp_path):
    """Damaged video or nothing but sound kept a camera dark for ever: reads never timed out."""
    noise = bytearray(write_video(tmp_path / "a.ts", steady(50), gop=50).read_bytes())
    for at in range(0, len(noise), 188):  # whole transport packets whose content is noise, but for the tables
        if int.from_bytes(noise[at + 1 : at + 3], "big") & 0x1FFF == 0x100:
            noise[at + 60 : at + 188] = b"\xff" * 128
    camera = StreamCamera(bytes(noise), again=True)
    camera.start()
    with pytest.raises(SourceLost, match="has had no picture|does not answer|sends no video"):
        for _ in RtspSource("yard", camera.url, clock=WallClock(), timeout_s=0.5):
            pass


def test_where_no_device_decodes_the_processor_does_and_that_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "hwdevices_available", lambda: ["no such device"])
    sources._hwaccel.cache_clear()
    stream = write_video(tmp_path / "a.ts", steady(8), gop=1).read_bytes()
    camera = StreamCamera(stream)
    camera.start()
    source = RtspSource("yard", camera.url, clock=WallClock(), hardware=True)
    with pytest.raises(SourceLost, match="closed the connection"):
        assert [frame.seq for frame in source]
    sources._hwaccel.cache_clear()
    assert source.decoder == "software"


def test_close_ends_a_live_source(tmp_path):
    with camera(tmp_path, 6, "silence") as url:
        source = RtspSource("yard", url, clock=WallClock(), timeout_s=0.5)
        seen = []
        for frame in source:
            seen.append(frame.seq)
            source.close()
    assert seen == [0]
