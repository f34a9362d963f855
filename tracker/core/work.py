"""Work in parts, so that a step of the linker need not do all of it at once."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Generic, TypeVar

# A revision's work is spread over the steps after it begins, by how many came since the one before: one of 400
# tracklets takes some half a second of capture time at this pace, one of few is done in the step in which it is due.
# What is left goes to asking whether tracklets show two people.
WORK_PER_S = 200_000_000  # pairs of tracklets times operations on each
WORK_AT_ONCE = 800_000
SPARED = 3  # this share of a step's work is left for the next one, rather than to begin a part that is more

T = TypeVar("T")
Work = Generator[int, None, T]  # tells after each part how much it was: pairs times operations on each


def done(work: Work[T]) -> T:
    """What comes of work, all of it at once."""
    try:
        while True:
            next(work)
    except StopIteration as end:
        result: T = end.value
        return result


class Job(Generic[T]):
    """Work under way. What comes of it must not depend on when its parts are done."""

    def __init__(self, work: Work[T]) -> None:
        self._work = work
        self.result: T | None = None

    def go_on(self) -> int:
        """Do the next part; how much it was, 0 when all is done."""
        try:
            return max(next(self._work), 1)
        except StopIteration as end:
            self.result = end.value
            return 0

    def ahead(self) -> tuple[list[int], T]:
        """Do the rest now; it is told in as many parts as before. How much each will be, and what comes of it."""
        parts: list[int] = []
        try:
            while True:
                parts.append(next(self._work))
        except StopIteration as end:
            self._work = played(parts, end.value)
            return parts, end.value


def played(parts: Sequence[int], result: T) -> Work[T]:
    """Work that is done already, told part by part."""
    yield from parts
    return result


class Pace:
    """How much work a step may do. It is counted, never timed: a tape gives the same on every machine."""

    def __init__(self, left: int = 0, a_step: int | None = None, steps: int = 0) -> None:
        self._left = left  # that may still be done in this step; below 0 if too much was
        self._a_step = WORK_AT_ONCE if a_step is None else a_step  # that a step may do
        self._steps = steps  # since the last revision began

    def begin_step(self) -> None:
        """One more step."""
        self._steps += 1

    def restart(self, since_s: float) -> None:
        """A revision begins, so long after the one before: as many steps will come until the next one."""
        self._a_step = max(WORK_AT_ONCE, int(WORK_PER_S * since_s / max(self._steps, 1)))
        self._left = self._steps = 0

    def earn(self) -> None:
        """What a step may do; little of what was left before counts."""
        self._left = min(self._left, self._a_step // SPARED) + self._a_step

    def spend(self, work: int) -> None:
        """So much is done."""
        self._left -= work

    def spend_most(self) -> None:
        """Nearly all of what a step may do; yet where every step does, a revision must get on."""
        self._left -= self._a_step - self._a_step // 8

    @property
    def has_time(self) -> bool:
        """Whether there is enough left in this step to begin anything."""
        return self._left > self._a_step // SPARED

    def to_state(self) -> list[int]:
        """Plain values for a checkpoint, in the order in which it is made of them."""
        return [self._left, self._a_step, self._steps]
