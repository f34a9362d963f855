"""Who the people are whom the floor tracker follows.

Tracklets are let go in time, and whoever is followed may be here for longer: what was said of theirs is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

KEPT_NS = 60_000_000_000  # after the last of their tracklets


class _Name(NamedTuple):
    identity: int
    boxes: int  # that say so
    t_ns: int


class FloorNames:
    """The identity of every walker whose last tracklets are no longer doubted."""

    def __init__(self) -> None:
        self._names: dict[int, _Name] = {}

    def note(self, walker: int, identity: int, boxes: int, t_ns: int) -> None:
        """A walker's tracklet of ``identity`` is settled, and so many boxes of theirs say the same."""
        self._names[walker] = _Name(identity, boxes, t_ns)

    def votes(self, told: Iterable[tuple[int, int, int]]) -> dict[int, dict[int, int]]:
        """By walker, how many boxes speak for which identity.

        Args:
            told: walker, identity and boxes of the tracklets that are known; what was noted counts where the identity
                has none among these.
        """
        votes: dict[int, dict[int, int]] = {}
        for walker, identity, boxes in told:
            of = votes.setdefault(walker, {})
            of[identity] = of.get(identity, 0) + boxes
        for walker, name in self._names.items():
            votes.setdefault(walker, {}).setdefault(name.identity, name.boxes)
        return votes

    def merge(self, identity: int, absorbed: int) -> None:
        """Two identities were one."""
        for walker, name in self._names.items():
            if name.identity == absorbed:
                self._names[walker] = name._replace(identity=identity)

    def forget(self, identity: int) -> None:
        """Nobody may be known as this any more."""
        self._names = {walker: name for walker, name in self._names.items() if name.identity != identity}

    def forget_before(self, t_ns: int, known: Collection[int]) -> None:
        """Whoever was not seen for long before then, and identities that are not ``known`` any more."""
        self._names = {
            walker: name
            for walker, name in self._names.items()
            if name.t_ns >= t_ns - KEPT_NS and name.identity in known
        }

    def to_state(self) -> list[tuple[int, ...]]:
        """Plain values for a checkpoint."""
        return [(walker, *name) for walker, name in sorted(self._names.items())]

    @classmethod
    def from_state(cls, state: Sequence[Sequence[int]]) -> FloorNames:
        """Back from a checkpoint. Raises TypeError or ValueError where it is damaged."""
        names = cls()
        for walker, identity, boxes, t_ns in state:
            names._names[int(walker)] = _Name(int(identity), int(boxes), int(t_ns))
        return names
