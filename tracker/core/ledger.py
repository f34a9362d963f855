"""Which identity a tracklet belongs to, followed from the events alone: what any subscriber can know."""

from __future__ import annotations

import bisect
from collections.abc import Iterable

from tracker.core.parts import whole_of
from tracker.types import Appeared, Event, HandedOver, Left, Merged, Split, TrackKey, Updated


class Ledger:
    """Follows all events of identities; remembers tracklets the linker has forgotten."""

    def __init__(self) -> None:
        self._given: dict[TrackKey, int] = {}
        self._absorbed: dict[int, int] = {}
        # Of tracklets that were cut, the later parts in order.
        self._parts: dict[TrackKey, list[TrackKey]] = {}
        self._unsure: set[int] = set()

    def follow(self, event: Event) -> None:
        """Take in the next event."""
        match event:
            case Appeared() | HandedOver():
                self._give((event.track,), event.global_id)
                self._unsure.discard(event.global_id)
            case Updated():
                self._unsure.discard(event.global_id)
            case Left():
                (self._unsure.add if event.unsure else self._unsure.discard)(event.global_id)
            case Merged():
                if event.absorbed not in self._unsure:
                    self._unsure.discard(event.kept)
                self._unsure.discard(event.absorbed)
                self._absorbed[event.absorbed] = event.kept
                self._give(event.tracks, event.kept)
            case Split():
                self._give(event.tracks, event.to)
                self._unsure.discard(event.to)

    def _give(self, keys: Iterable[TrackKey], global_id: int) -> None:
        for key in keys:
            self._given[key] = global_id
            if key.since_ns and key not in (parts := self._parts.setdefault(whole_of(key), [])):
                bisect.insort(parts, key)

    def identity_of(self, key: TrackKey) -> int | None:
        """The identity a tracklet has now; None for one that was never told. Of one that was cut, the first part's."""
        global_id = self._given.get(key)
        while global_id in self._absorbed:
            global_id = self._absorbed[global_id]
        return global_id

    def identity_at(self, key: TrackKey, t_ns: int) -> int | None:
        """As `identity_of`, of what a camera's tracklet was at a time."""
        for part in reversed(self._parts.get(key, ())):
            if part.since_ns <= t_ns:
                return self.identity_of(part)
        return self.identity_of(key)

    def until_ns(self, key: TrackKey) -> int | None:
        """When the next part of a tracklet that was cut begins; None where it was not, and for the last part."""
        parts = self._parts.get(whole_of(key), ())
        return next((part.since_ns for part in parts if part.since_ns > key.since_ns), None)

    def is_unsure(self, global_id: int) -> bool:
        """Whether an identity left and may be one of the others, as far as could be told (``Left``)."""
        return global_id in self._unsure

    def tracks(self) -> dict[TrackKey, int]:
        """Every tracklet ever told, with its identity now."""
        return {key: g for key in sorted(self._given) if (g := self.identity_of(key)) is not None}
