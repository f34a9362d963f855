"""Where a subscriber has got to, on disk, so that its next life goes on there."""

from __future__ import annotations

import os
import sys
import time
import zlib
from pathlib import Path
from typing import Self

from tracker.errors import UserError
from tracker.io.store import Place, sync_folder

_SYNC_S = 1.0  # a power cut takes back at most this much; an fsync for each event would cost milliseconds
_BLOCK = 4096  # a disk writes no less, so one line cannot spoil the other


class Cursor:
    """The place of one subscriber in the event log: a file of mode 0600, for one process at a time.

    Two lines take turns, each in a block of its own with a checksum. So whenever a process is killed, one of them is
    whole and holds the last place that ``move`` was told, or the one before while it was being told. A power cut takes
    back the places of the last second.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            UserError: it cannot be written, is no cursor, or another process has it open.
        """
        self._path, self._number, self._synced_s = path, 0, -float("inf")
        self.place: Place | None = None  # None: nothing was ever told
        try:
            self._file = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise UserError(
                f"{path}: the cursor cannot be opened ({error}); give a file in a folder of yours"
            ) from error
        try:
            self._lock()
            self._load()
        except BaseException:
            self._file.close()
            raise

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"{self._path}: another subscriber goes by this cursor; give each one of its own"
            ) from error

    def _load(self) -> None:
        data = self._file.read(2 * _BLOCK)
        lines = [found for start in (0, _BLOCK) if (found := _read(data[start : start + _BLOCK]))]
        if lines:
            self._number, self.place = max(lines)
        elif data.strip(b"\0"):  # only zeros: a power cut before the first line was on disk
            raise UserError(f"{self._path}: is no cursor; give another file, or remove it to begin anew")

    def move(self, place: Place) -> None:
        """All up to ``place`` is done with. Raises UserError when the disk takes no more."""
        self._number += 1
        try:
            self._file.seek(self._number % 2 * _BLOCK)
            self._file.write(_line(self._number, place))
            now_s = time.monotonic()
            if now_s - self._synced_s >= _SYNC_S:
                self._synced_s = now_s
                os.fsync(self._file.fileno())
                if self._number == 1:
                    sync_folder(self._path.absolute().parent)
        except OSError as error:
            raise UserError(
                f"{self._path}: the cursor cannot be written ({error}); free some space and start again"
            ) from error
        self.place = place

    def close(self) -> None:
        """Let go of the file; another may have it."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _line(number: int, place: Place) -> bytes:
    text = b"cursor 1 %020d %020d %020d" % (number, *place)
    return b"%s %08x\n" % (text, zlib.crc32(text))


def _read(block: bytes) -> tuple[int, Place] | None:
    """Number and place of a line; None when it is not whole."""
    text = block.partition(b"\n")[0]
    try:
        word, version, number, epoch, seq, _ = text.split(b" ")
        place = int(epoch), int(seq)
        if (word, version) == (b"cursor", b"1") and text + b"\n" == _line(int(number), place):
            return int(number), place
    except ValueError:
        pass
    return None
