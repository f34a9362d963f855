"""What operators have said: who is one person, who is not, and what somebody is called.

It is said of tracklets, not of numbers: numbers come and go as the linker corrects itself, a tracklet stays what it is.
When one is forgotten for its age, an heir of its identity takes its place, so that a word holds for as long as the
identity is known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import msgspec

from tracker.types import TrackKey


class Rulings:
    """The words of operators that still hold. Of two that contradict each other the later one does."""

    def __init__(self) -> None:
        self._joined: list[
            list[set[TrackKey]]
        ] = []  # of each merge, the tracklets of every identity that it joined
        self._parted: set[tuple[TrackKey, TrackKey]] = set()
        self._named: list[tuple[str, set[TrackKey]]] = []

    # ---- what operators say ----------------------------------------------------------------------------------

    def join(self, identities: Sequence[Collection[TrackKey]]) -> None:
        """These identities are one person."""
        everybody = set().union(*identities)
        self._parted = {pair for pair in self._parted if not everybody.issuperset(pair)}
        self._joined.append([set(keys) for keys in identities])

    def part(self, leaving: Collection[TrackKey], staying: Collection[TrackKey]) -> None:
        """These are two people. What an earlier merge joined on either side stays joined."""
        self._parted |= {_pair(a, b) for a in leaving for b in staying}
        gone = set(leaving)
        halves = [
            half for sides in self._joined for half in ([s - gone for s in sides], [s & gone for s in sides])
        ]
        self._joined = [told for half in halves if (told := _told(half))]

    def name(self, keys: Collection[TrackKey], name: str) -> None:
        """This identity is called so, and no longer anything else; "": it has no name."""
        self._named = [(other, rest) for other, whose in self._named if (rest := whose.difference(keys))]
        if name:
            self._named.append((name, set(keys)))

    # ---- what follows from it --------------------------------------------------------------------------------

    def people(self, is_possible: Callable[[Collection[TrackKey]], bool]) -> list[set[TrackKey]]:
        """Who is one person, as sets that share nobody. A merge that has turned out impossible is void from here on."""
        people: list[set[TrackKey]] = []
        still = []
        for sides in self._joined:
            met = [person for person in people if any(side & person for side in sides)]
            everybody = set().union(*sides, *met)
            if is_possible(everybody):
                people = [*(person for person in people if person not in met), everybody]
                still.append(sides)
        self._joined = still
        return people

    def parted(self) -> Iterable[tuple[TrackKey, TrackKey]]:
        """Pairs that are two people; in no order."""
        return self._parted

    def speak_of(self, key: TrackKey) -> bool:
        """Whether anybody has said who a tracklet is, or is not."""
        return any(key in side for sides in self._joined for side in sides) or any(
            key in pair for pair in self._parted
        )

    def bound_to(self, keys: Collection[TrackKey]) -> set[TrackKey]:
        """These tracklets, and whoever has been joined with one of them."""
        found, before = set(keys), -1
        while len(found) > before:
            before = len(found)
            for sides in self._joined:
                if any(side & found for side in sides):
                    found.update(*sides)
        return found

    def leave(self, leaving: Collection[TrackKey], staying: Collection[TrackKey]) -> None:
        """An identity is split: a name goes along only with the last of those to whom it was given."""
        stay, gone = set(staying), set(leaving)
        self._named = [(name, whose - gone if whose & stay else whose) for name, whose in self._named]

    def name_of(self, keys: Collection[TrackKey], now: str) -> str:
        """What an identity is called: as it is ``now`` if it is still called so, else as it was called first."""
        names = [name for name, whose in self._named if not whose.isdisjoint(keys)]
        return now if now in names else (names[0] if names else "")

    def forget(self, key: TrackKey, heirs: Sequence[TrackKey] = ()) -> None:
        """A tracklet is no longer known. ``heirs``: the others of its identity, the fittest to stand for it first."""
        heir = set(heirs[:1])
        others = {a if b == key else b for a, b in self._parted if key in (a, b)}
        self._parted = {pair for pair in self._parted if key not in pair}
        self._parted |= {_pair(a, other) for a in heir for other in others}
        self._named = [(name, rest) for name, whose in self._named if (rest := whose - {key} or heir)]
        for sides in self._joined:
            for side in sides:
                if key in side:
                    side.remove(key)
                    if not side:  # somebody of this identity whom the merge did not name stands for it
                        side.update([h for h in heirs if not any(h in other for other in sides)][:1])
        self._joined = [told for sides in self._joined if (told := _told(sides))]

    # ---- checkpoint ------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "joined": [[_plain(side) for side in sides] for sides in self._joined],
            "parted": [_plain(pair) for pair in sorted(self._parted)],
            "named": [[name, _plain(whose)] for name, whose in self._named],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Rulings:
        """Back from a checkpoint. Raises KeyError, TypeError or msgspec's errors where it is damaged."""
        rulings = cls()
        rulings._joined = [[set(_keys(side)) for side in sides] for sides in state["joined"]]
        rulings._parted = {_pair(*_keys(pair)) for pair in state["parted"]}
        rulings._named = [(str(name), set(_keys(whose))) for name, whose in state["named"]]
        return rulings


def _told(sides: Iterable[set[TrackKey]]) -> list[set[TrackKey]]:
    """What is left of a merge; empty where it joins nobody any more."""
    left = [side for side in sides if side]
    return left if len(left) > 1 else []


def _pair(a: TrackKey, b: TrackKey) -> tuple[TrackKey, TrackKey]:
    return (a, b) if a < b else (b, a)


def _plain(keys: Iterable[TrackKey]) -> list[Any]:
    return [msgspec.to_builtins(key) for key in sorted(keys)]


def _keys(plain: Iterable[Any]) -> list[TrackKey]:
    return [msgspec.convert(key, TrackKey) for key in plain]
