"""Tapes: what goes in comes back, also from a torn file and from last year's."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from tracker.errors import StorageError, UserError
from tracker.io import wire
from tracker.io.tape import TapeReader, TapeWriter
from tracker.types import (
    Advance,
    CameraStatus,
    CameraUpdate,
    Command,
    LinkerInput,
    TrackKey,
    Tracklet,
    Tracks,
)

GOLDEN = Path(__file__).parent / "tapes" / "golden_v1.tape"


def scene() -> list[LinkerInput]:
    """One camera comes, somebody walks through, is named, and it goes: all four kinds of input."""
    rng = np.random.default_rng(5)
    key = TrackKey(camera_id="hall", run=0, number=1)
    messages: list[LinkerInput] = [CameraStatus(camera_id="hall", run=0, t_ns=999_999_999, state="up")]
    for i in range(3):
        box = np.array([[10 + i, 20, 50 + i, 120]], np.float32)
        faces = rng.normal(size=(2, 8))
        faces /= np.linalg.norm(faces, axis=1, keepdims=True)
        tracklet = Tracklet(
            key=key,
            revision=i,
            ended=i == 2,
            t_first_ns=10**9,
            t_last_ns=10**9 + i * 10**8,
            first_box=np.array([10, 20, 50, 120], np.float32),
            last_box=box[0],
            velocity_px_s=np.array([10, 0], np.float32),
            image_size=(640, 480),
            boxes_seen=i + 1,
            score_mean=0.75,
            prototypes=faces.astype(np.float16),
            quality=np.array([1, 0.5], np.float32),
            mean_embedding=faces[0].astype(np.float32),
            embeddings_seen=2,
            model_hash="c0ffee",
        )
        tracks = Tracks.of(
            np.array([1]), box, np.array([1]), scores=np.array([0.9]), detections=np.array([0])
        )
        messages.append(
            CameraUpdate(
                camera_id="hall",
                run=0,
                seq=i,
                t_ns=10**9 + i * 10**8,
                tracks=tracks,
                tracklets=(tracklet,),
                detected=True,
            )
        )
    messages.append(Command(t_ns=13 * 10**8, verb="name", global_ids=(1,), track_keys=(key,), name="Ada"))
    messages.append(CameraStatus(camera_id="hall", run=0, t_ns=14 * 10**8, state="gone", reason="cable"))
    messages.append(Advance(t_ns=20 * 10**8, final=True))
    return messages


def write(path: Path, messages: list[LinkerInput]) -> Path:
    with TapeWriter(path) as tape:
        for message in messages:
            tape.write(message)
    return path


def encoded(messages: list[LinkerInput]) -> list[bytes]:
    return [wire.encode(message) for message in messages]


def test_what_goes_in_comes_back_every_time(tmp_path: Path) -> None:
    tape = TapeReader(write(tmp_path / "new" / "a.tape", scene()))
    for _ in range(2):
        assert encoded(list(tape)) == encoded(scene())
    assert (tape.damaged, tape.torn_bytes) == (0, 0)
    assert stat.S_IMODE(tape.path.stat().st_mode) == 0o600  # it holds what people look like


def test_a_tape_of_the_first_format_still_reads() -> None:
    tape = TapeReader(GOLDEN)
    assert encoded(list(tape)) == encoded(scene())
    assert (tape.version, tape.damaged, tape.torn_bytes) == (1, 0, 0)


def test_a_torn_tail_is_left_out_and_counted(tmp_path: Path) -> None:
    messages = scene()
    data = write(tmp_path / "whole.tape", messages).read_bytes()
    ends = [16]  # the header, then 8 bytes and the message of each record
    for message in encoded(messages):
        ends.append(ends[-1] + 8 + len(message))
    assert ends[-1] == len(data)
    for cut in {*range(0, 40), *range(ends[3] - 9, ends[3] + 12), len(data) - 1, len(data)}:
        torn = tmp_path / "torn.tape"
        torn.write_bytes(data[:cut])
        tape = TapeReader(torn)
        whole = max([i for i, end in enumerate(ends) if end <= cut], default=0)
        assert encoded(list(tape)) == encoded(messages[:whole])
        assert tape.torn_bytes == max(cut - ends[whole], 0)
        assert tape.damaged == 0


def test_a_damaged_record_is_skipped_and_counted(tmp_path: Path) -> None:
    messages = scene()
    path = write(tmp_path / "a.tape", messages)
    data = bytearray(path.read_bytes())
    data[16 + 8 + 3] ^= 0xFF  # inside the first message
    path.write_bytes(data)
    tape = TapeReader(path)
    assert encoded(list(tape)) == encoded(messages[1:])
    assert tape.damaged == 1


def test_an_event_on_a_tape_is_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tape", [])
    message = wire.encode(wire.Heartbeat(epoch=1, seq=1, t_ns=1))
    with path.open("ab") as file:
        file.write(struct.pack("<II", len(message), zlib.crc32(message)) + message)
    tape = TapeReader(path)
    assert list(tape) == [] and tape.damaged == 1


def test_each_mistake_gets_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        TapeReader(tmp_path / "nothing.tape")
    (tmp_path / "text.tape").write_text("this is no tape at all")
    with pytest.raises(UserError, match="is no tape"):
        TapeReader(tmp_path / "text.tape")
    path = write(tmp_path / "a.tape", scene())
    with pytest.raises(UserError, match="cannot be made"):
        TapeWriter(path)  # a tape is never written over
    data = bytearray(path.read_bytes())
    data[8:12] = struct.pack("<I", 99)
    path.write_bytes(data)
    with pytest.raises(UserError, match="newer version .*schema 99"):
        TapeReader(path)


def test_a_full_disk_is_said_in_one_sentence(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full, a disk that is always full, is a Linux device")
    tape = TapeWriter(tmp_path / "a.tape")
    os.dup2(full := os.open("/dev/full", os.O_WRONLY), tape._file)
    os.close(full)
    tape.write(scene()[0])
    with pytest.raises(UserError, match="tape cannot be written .*No space left.* free some disk space"):
        tape.flush()
    with pytest.raises(UserError):
        tape.close()


def test_a_record_torn_by_a_full_disk_is_taken_back_so_that_the_next_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = scene()
    tape = TapeWriter(tmp_path / "a.tape")
    tape.write(messages[0])
    tape.flush()
    write = os.write

    def torn(file: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(28, "No space left on device")
        return write(file, data[:20])

    tape.write(messages[1])
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", torn)
        with pytest.raises(StorageError, match="No space left"):
            tape.flush()
        found = TapeReader(tmp_path / "a.tape")
        assert len(list(found)) == 1 and found.torn_bytes == 0
    tape.write(messages[2])
    tape.close()
    assert len(list(TapeReader(tmp_path / "a.tape"))) == 3
