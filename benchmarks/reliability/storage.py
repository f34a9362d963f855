"""What a program writes, to the byte and in its order; and what of it a disk holds after a power cut.

Recording goes beneath Python's `os` and beneath SQLite (its VFS, through ctypes), in the process that is recorded.
A file's bytes are safe once an fsync of the file has ended. Of later ones any 512-byte sector may be there, be as it
was, or hold rubbish; names are safe once their folder is synced, and of later changes to names a first part is there.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SECTOR = 512
_METHODS = (
    *(
        "xClose",
        "xRead",
        "xWrite",
        "xTruncate",
        "xSync",
        "xFileSize",
        "xLock",
        "xUnlock",
        "xCheckReservedLock",
    ),
    *(
        "xFileControl",
        "xSectorSize",
        "xDeviceCharacteristics",
        "xShmMap",
        "xShmLock",
        "xShmBarrier",
        "xShmUnmap",
    ),
    *("xFetch", "xUnfetch"),
)
_P, _I, _I64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64


@dataclass(frozen=True)
class Op:
    """One thing that was done: ``write``, ``truncate``, ``sync`` to a file; ``create``, ``unlink``, ``rename`` of a
    name; ``names`` synced; or a ``mark`` of what was said to others by then."""

    what: str
    name: str = ""
    offset: int = 0
    data: bytes = b""
    mark: Any = None


class _Vfs(ctypes.Structure):
    _fields_ = (
        *(("iVersion", _I), ("szOsFile", _I), ("mxPathname", _I), ("pNext", _P), ("zName", ctypes.c_char_p)),
        *(("pAppData", _P), ("xOpen", _P), ("xDelete", _P)),
    )


class _Methods(ctypes.Structure):
    _fields_ = (("iVersion", _I), *((name, _P) for name in _METHODS))


class Recorder:
    """Everything that this process writes below one folder, from here on; for the rest of its life."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError where SQLite cannot be reached."""
        self.ops: list[Op] = []
        self._folder = folder
        self._kept: list[Any] = []  # ctypes must not lose what SQLite calls
        self._open: dict[int, str] = {}
        self._watch_sqlite()
        self._watch_os()

    def mark(self, what: Any) -> None:
        """Something was said to others."""
        self.ops.append(Op("mark", mark=what))

    def _name(self, path: Any) -> str | None:
        path = Path(os.fsdecode(path))
        return path.name if path.parent == self._folder and not path.name.endswith("-shm") else None

    # ---- SQLite ----------------------------------------------------------------------------------------------

    def _watch_sqlite(self) -> None:
        library = ctypes.CDLL(_library("libsqlite3"))
        library.sqlite3_vfs_find.restype = _P
        vfs = _Vfs.from_address(library.sqlite3_vfs_find(None))
        # Paths as plain pointers: SQLite keeps them, so they must be handed on as they are.
        of_open = ctypes.CFUNCTYPE(_I, _P, _P, _P, _I, _P)
        of_delete = ctypes.CFUNCTYPE(_I, _P, _P, _I)
        really_open, really_delete = of_open(vfs.xOpen), of_delete(vfs.xDelete)
        files: dict[int, str] = {}
        ours_for: dict[int, _Methods] = {}  # files of different kinds lock in different ways
        really: dict[str, Callable[..., int]] = {}
        fresh: set[str] = set()

        def write(file: int, data: int, count: int, offset: int) -> int:
            answer = really["xWrite"](file, data, count, offset)
            if answer == 0 and file in files:
                self.ops.append(Op("write", files[file], offset, ctypes.string_at(data, count)))
            return answer

        def truncate(file: int, size: int) -> int:
            answer = really["xTruncate"](file, size)
            if answer == 0 and file in files:
                self.ops.append(Op("truncate", files[file], size))
            return answer

        def sync(file: int, flags: int) -> int:
            answer = really["xSync"](file, flags)
            if answer == 0 and file in files:
                self.ops.append(Op("sync", files[file]))
                if files[file] in fresh:  # unixSync syncs the folder of a WAL that it has made
                    fresh.discard(files[file])
                    self.ops.append(Op("names"))
            return answer

        kinds: dict[str, tuple[Any, Callable[..., int]]] = {
            "xWrite": (ctypes.CFUNCTYPE(_I, _P, _P, _I, _I64), write),
            "xTruncate": (ctypes.CFUNCTYPE(_I, _P, _I64), truncate),
            "xSync": (ctypes.CFUNCTYPE(_I, _P, _I), sync),
        }

        def opened(this: int, at_path: int | None, file: int, flags: int, out: int) -> int:
            path = ctypes.string_at(at_path) if at_path else b""
            is_new = bool(path) and not os.path.exists(path)
            answer = really_open(this, at_path, file, flags, out)
            name = self._name(path) if path else None
            if answer == 0 and name is not None:
                at = _P.from_address(file)
                assert at.value is not None
                if at.value not in ours_for:
                    methods = ours_for[at.value] = _Methods()
                    ctypes.memmove(ctypes.byref(methods), at.value, ctypes.sizeof(methods))
                    for method, (kind, ours) in kinds.items():
                        really.setdefault(method, kind(getattr(methods, method)))
                        self._kept.append(kind(ours))
                        setattr(methods, method, ctypes.cast(self._kept[-1], _P).value)
                at.value = ctypes.addressof(ours_for[at.value])
                files[file] = name
                if is_new:
                    self.ops.append(Op("create", name))
                    fresh.add(name)
            else:
                files.pop(file, None)
            return answer

        def deleted(this: int, at_path: int, sync_names: int) -> int:
            name = self._name(ctypes.string_at(at_path))
            answer = really_delete(this, at_path, sync_names)
            if answer == 0 and name is not None:
                self.ops.append(Op("unlink", name))
            return answer

        self._kept += [ours_for, of_open(opened), of_delete(deleted)]
        vfs.xOpen, vfs.xDelete = (ctypes.cast(one, _P).value for one in self._kept[-2:])

    # ---- os --------------------------------------------------------------------------------------------------

    def _watch_os(self) -> None:
        real = {
            name: getattr(os, name)
            for name in ("open", "close", "write", "fsync", "ftruncate", "replace", "unlink", "lseek")
        }

        def opened(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            is_new = bool(flags & os.O_CREAT) and not os.path.exists(path)
            file = real["open"](path, flags, *rest, **more)
            name = self._name(path)
            if name is not None:
                self._open[file] = name
                if is_new:
                    self.ops.append(Op("create", name))
            elif Path(os.fsdecode(path)) == self._folder:
                self._open[file] = ""
            return file

        def closed(file: int) -> None:
            self._open.pop(file, None)
            real["close"](file)

        def write(file: int, data: Any) -> int:
            name = self._open.get(file)
            offset = real["lseek"](file, 0, os.SEEK_CUR) if name else 0
            count = real["write"](file, data)
            if name:
                self.ops.append(Op("write", name, offset, bytes(data[:count])))
            return count

        def fsync(file: int) -> None:
            real["fsync"](file)
            if file in self._open:
                is_folder = stat.S_ISDIR(os.fstat(file).st_mode)
                self.ops.append(Op("names") if is_folder else Op("sync", self._open[file]))

        def ftruncate(file: int, size: int) -> None:
            real["ftruncate"](file, size)
            if self._open.get(file):
                self.ops.append(Op("truncate", self._open[file], size))

        def replace(source: Any, target: Any, **more: Any) -> None:
            real["replace"](source, target, **more)
            old, new = self._name(source), self._name(target)
            if old is not None and new is not None:
                self.ops.append(Op("rename", old, mark=new))
                self._open = {file: new if name == old else name for file, name in self._open.items()}

        def unlink(path: Any, **more: Any) -> None:
            real["unlink"](path, **more)
            name = self._name(path)
            if name is not None:
                self.ops.append(Op("unlink", name))

        for name, ours in {
            **{"open": opened, "close": closed, "write": write, "fsync": fsync},
            **{"ftruncate": ftruncate, "replace": replace, "unlink": unlink},
        }.items():
            setattr(os, name, ours)


def _library(name: str) -> str:
    """Path of a library that this process has loaded. Raises OSError."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split(maxsplit=5)[-1]
        if Path(path).name.startswith(name):
            return path
    raise OSError(f"{name} is no library of its own in this Python")


@dataclass
class _File:
    safe: bytearray = field(default_factory=bytearray)
    unsafe: list[Op] = field(default_factory=list)

    def sync(self) -> None:
        for op in self.unsafe:
            _apply(self.safe, op)
        self.unsafe.clear()

    def after_a_cut(self, rng: np.random.Generator) -> bytes:
        """What is safe, and of the rest what chance has left."""
        found, share = bytearray(self.safe), float(rng.choice([0.0, 0.5, 0.9, 1.0]))
        rubbish = float(rng.choice([0.0, 0.1]))
        for op in self.unsafe:
            if op.what == "truncate":
                if rng.random() < share:
                    _apply(found, op)
                continue
            start = op.offset
            while start < op.offset + len(op.data):
                end = min((start // SECTOR + 1) * SECTOR, op.offset + len(op.data))
                data = op.data[start - op.offset : end - op.offset]
                if rng.random() < rubbish:
                    data = rng.bytes(end - start)
                if rng.random() < share:
                    _apply(found, Op("write", offset=start, data=data))
                start = end
        return bytes(found)


def _apply(data: bytearray, op: Op) -> None:
    if op.what == "truncate":
        del data[op.offset :]
        return
    data.extend(bytes(max(0, op.offset - len(data))))
    data[op.offset : op.offset + len(op.data)] = op.data


def after_a_power_cut(ops: list[Op], rng: np.random.Generator) -> dict[str, bytes]:
    """The files, by name, as a disk may hold them when the power fails after ``ops``."""
    now: dict[str, _File] = {}  # as the program sees the names
    safe: dict[str, _File] = {}
    unsafe: list[Op] = []
    made: dict[int, _File] = {}  # by the place of its 'create'

    def rename(names: dict[str, _File], op: Op, file: _File | None) -> None:
        if op.what == "create" and file is not None:
            names[op.name] = file
        elif op.what == "unlink":
            names.pop(op.name, None)
        elif op.name in names:
            names[op.mark] = names.pop(op.name)

    for n, op in enumerate(ops):
        match op.what:
            case "write" | "truncate":
                now[op.name].unsafe.append(op)
            case "sync":
                now[op.name].sync()
            case "names":
                for one in unsafe:
                    rename(safe, one, made.get(one.offset))
                unsafe.clear()
            case "create" | "unlink" | "rename":
                if op.what == "create":
                    made[n] = _File()
                told = Op(op.what, op.name, n, mark=op.mark)
                rename(now, told, made.get(n))
                unsafe.append(told)
    for one in unsafe[: int(rng.integers(len(unsafe) + 1))]:
        rename(safe, one, made.get(one.offset))
    return {name: file.after_a_cut(rng) for name, file in safe.items()}
