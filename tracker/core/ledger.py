"""Which identity a tracklet belongs to, followed from the events alone: what any subscriber can know."""

from __future__ import annotations

from tracker.types import Appeared, Event, HandedOver, Merged, Split, TrackKey


class Ledger:
    """Follows ``Appeared``, ``HandedOver``, ``Merged`` and ``Split``; remembers tracklets the linker has forgotten."""

    def __init__(self) -> None:
        self._given: dict[TrackKey, int] = {}
        self._absorbed: dict[int, int] = {}

    def follow(self, event: Event) -> None:
        """Take in the next event."""
        match event:
            case Appeared() | HandedOver():
                self._given[event.track] = event.global_id
            case Merged():
                self._absorbed[event.absorbed] = event.kept
                for key in event.tracks:
                    self._given[key] = event.kept
            case Split():
                for key in event.tracks:
                    self._given[key] = event.to

    def identity_of(self, key: TrackKey) -> int | None:
        """The identity a tracklet has now; None for one that was never told."""
        global_id = self._given.get(key)
        while global_id in self._absorbed:
            global_id = self._absorbed[global_id]
        return global_id

    def tracks(self) -> dict[TrackKey, int]:
        """Every tracklet ever told, with its identity now."""
        return {key: g for key in sorted(self._given) if (g := self.identity_of(key)) is not None}
