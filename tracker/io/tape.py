"""A tape: the linker's inputs, all four kinds, in the order in which it was given them, on disk and back.

A file is a header of 16 bytes and then records, each ``length, crc32, wire message`` (two little-endian
uint32). A program that dies leaves a torn last record: the reader gives what is whole and counts the rest.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from tracker.errors import StorageError, UserError
from tracker.io import wire
from tracker.types import Advance, CameraStatus, CameraUpdate, Command, LinkerInput

SCHEMA_VERSION = 1
_HEADER = struct.Struct("<8sII")  # magic, schema version, nothing yet
_RECORD = struct.Struct("<II")  # length, crc32 of the message
_MAGIC = b"THRUTAPE"
_BUFFER_BYTES = 1 << 20  # what a live linker hears between two flushes is far less


def write_all(file: int, data: bytes | bytearray) -> None:
    """All of ``data`` to an open file. Raises OSError; what is written by then is written."""
    left = memoryview(bytes(data))
    while left:
        left = left[os.write(file, left) :]


class TapeWriter:
    """Writes a new tape, mode 0600: it holds what people look like. Use it in a ``with``."""

    def __init__(self, path: Path) -> None:
        """Raises StorageError when the file is there already or cannot be made."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise StorageError(f"{path}: the tape cannot be made ({error}); give another folder") from error
        self._waiting = bytearray(_HEADER.pack(_MAGIC, SCHEMA_VERSION, 0))
        self._size = 0  # bytes of the file, all of them whole records

    def write(self, message: LinkerInput) -> None:
        """One more message. It is safe from a crash of this program after ``flush``.

        Raises:
            StorageError: the disk is full.
        """
        data = wire.encode(message)
        self._waiting += _RECORD.pack(len(data), zlib.crc32(data)) + data
        if len(self._waiting) > _BUFFER_BYTES:
            self.flush()

    def flush(self, *, sync: bool = False) -> None:
        """Hand all to the system; ``sync``: to the disk, so that it survives a power cut.

        Raises:
            StorageError: the disk is full. The file ends with a whole record then, and the rest still waits.
        """
        try:
            write_all(self._file, self._waiting)
            if sync:
                os.fsync(self._file)
        except OSError as error:
            self._take_back()
            raise StorageError(
                f"{self.path}: the tape cannot be written ({error}); free some disk space; nothing already "
                "written is lost"
            ) from error
        self._size += len(self._waiting)
        self._waiting.clear()

    def _take_back(self) -> None:
        """A record torn in the middle of a tape would hide all that comes after it."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)

    def close(self) -> None:
        """Close the file, all written. Raises StorageError when the disk is full; it is closed all the same."""
        try:
            self.flush()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file without what waits for a ``flush``."""
        if self._file >= 0:
            self._waiting.clear()
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> TapeWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TapeReader:
    """The messages of a tape, in order; iterate once or more.

    After an iteration ``damaged`` counts the records whose checksum or message was wrong (they are skipped)
    and ``torn_bytes`` what stood after the last whole record.
    """

    def __init__(self, path: Path) -> None:
        """Raises UserError when there is no tape at ``path`` or a newer version wrote it."""
        self.path = path
        self.damaged = 0
        self.torn_bytes = 0
        try:
            with path.open("rb") as file:
                head = file.read(_HEADER.size)
        except OSError as error:
            raise UserError(f"{path}: the tape cannot be read ({error.strerror}); give its path") from error
        if len(head) < _HEADER.size and _MAGIC.startswith(head[: len(_MAGIC)]):
            self.version = SCHEMA_VERSION  # torn before its header was written: an empty tape
            return
        magic, self.version, _ = _HEADER.unpack(head.ljust(_HEADER.size, b"\0")[: _HEADER.size])
        if magic != _MAGIC:
            raise UserError(f"{path}: is no tape; give one that a linker with store.keep_tapes wrote")
        if self.version > SCHEMA_VERSION:
            raise UserError(
                f"{path}: a newer version of this program wrote this tape (schema {self.version}, this one "
                f"reads {SCHEMA_VERSION}); use that version"
            )

    def __iter__(self) -> Iterator[LinkerInput]:
        self.damaged = self.torn_bytes = 0
        with self.path.open("rb") as file:
            left = max(os.fstat(file.fileno()).st_size - _HEADER.size, 0)
            file.seek(_HEADER.size)
            while left >= _RECORD.size:
                length, crc = _RECORD.unpack(file.read(_RECORD.size))
                if length > min(left - _RECORD.size, wire.MAX_MESSAGE_BYTES):
                    break
                data = file.read(length)
                left -= _RECORD.size + length
                message = _message(data, crc)
                if message is None:
                    self.damaged += 1
                else:
                    yield message
            self.torn_bytes = left


def _message(data: bytes, crc: int) -> LinkerInput | None:
    if zlib.crc32(data) != crc:
        return None
    try:
        message = wire.decode(data)
    except wire.WireError:
        return None
    return message if isinstance(message, CameraUpdate | CameraStatus | Command | Advance) else None
