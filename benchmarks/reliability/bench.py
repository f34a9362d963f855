"""What every reliability row is given, and how it looks at a process from outside."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.accuracy import Wanted, most


class CannotRun(Exception):
    """This machine lacks what a row needs; the reason is said, and the exit code is not that of a pass."""


@dataclass
class Bench:
    """How hard to try, and where to work.

    Attributes:
        effort: ``quick`` (seconds, for every change), ``full`` (the figures that the docs state), ``release`` (hours).
        work: An empty folder of the row's own, gone afterwards.
        seed: Of everything that is drawn by chance.
        data: Folder of the data sets, or None.
        commands: What was run, for the record.
    """

    effort: str
    work: Path
    seed: int = 0
    data: Path | None = None
    commands: list[str] = field(default_factory=list)

    def of(self, quick: int, full: int, release: int | None = None) -> int:
        """How many of something at this effort; ``release`` is ``full`` where none is given."""
        return {"quick": quick, "full": full, "release": full if release is None else release}[self.effort]

    def within(self, bound_s: float) -> Wanted:
        """A time that may be taken at most. ``quick`` asks machines that do other things meanwhile: it misses only what
        is out of all proportion."""
        return most(5 * bound_s if self.effort == "quick" else bound_s)

    def rng(self) -> np.random.Generator:
        """Chance, the same in every run."""
        return np.random.default_rng(self.seed)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder that is gone afterwards; its path is short enough for an ipc:// socket."""
        path = Path(tempfile.mkdtemp(prefix="r-", dir=self.work))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class Holdings:
    """What a process holds of the machine."""

    rss_mib: float
    threads: int
    children: int
    descriptors: int


def holdings(pid: int | None = None) -> Holdings:
    """Of a process (None: this one), from /proc.

    Raises:
        CannotRun: this system has no /proc.
        OSError: the process is gone: who measures one wants it alive, so that is a failure and no excuse.
    """
    if not Path("/proc/self").exists():
        raise CannotRun("what a process holds is read from /proc")
    root = Path("/proc") / str(os.getpid() if pid is None else pid)
    status = dict(line.split(":", 1) for line in (root / "status").read_text().splitlines() if ":" in line)
    if "VmRSS" not in status:
        raise ProcessLookupError(f"process {root.name} has ended")  # and nobody has asked how
    tasks = list((root / "task").iterdir())
    children = sum(len((task / "children").read_text().split()) for task in tasks)
    descriptors = len(list((root / "fd").iterdir()))
    return Holdings(int(status["VmRSS"].split()[0]) / 1024, len(tasks), children, descriptors)
