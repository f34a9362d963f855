"""Work in parts, so that a step of the linker need not do all of it at once."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Generic, TypeVar

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
