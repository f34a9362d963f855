"""Who is known, and what is kept of whom nobody has seen for long."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec

from tracker.core.grouping import Piece
from tracker.core.returns import Spans, united
from tracker.types import Sighting, TrackKey

MOST_SPANS = 256  # times at which somebody was seen; of more, the last


@dataclass
class Person:
    """One identity and what has been said about it."""

    global_id: int
    keys: list[TrackKey]
    first: Sighting
    last: Sighting
    here: bool = True
    unsure: bool = False  # as told when they left; never of who is here
    has_left: bool = False  # before
    is_known: bool = False  # an operator has said who they are
    name: str = ""
    t_updated_ns: int = 0
    spans: list[tuple[int, int]] = field(
        default_factory=list
    )  # when they were seen, as far as that is past: ns

    def were_seen(self, spans: Spans) -> None:
        """Add times at which they were seen."""
        self.spans = united([*self.spans, *spans])[-MOST_SPANS:]

    def to_state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "global_id": self.global_id,
            "keys": [msgspec.to_builtins(k) for k in self.keys],
            "first": msgspec.to_builtins(self.first),
            "last": msgspec.to_builtins(self.last),
            "here": self.here,
            "unsure": [self.unsure, self.has_left, self.is_known],
            "name": self.name,
            "t_updated_ns": self.t_updated_ns,
            "spans": self.spans,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Person:
        """Back from a checkpoint. Raises KeyError, TypeError, ValueError or msgspec's errors where it is damaged."""
        unsure, has_left, is_known = state.get("unsure", (False, True, False))
        return cls(
            global_id=state["global_id"],
            keys=[msgspec.convert(k, TrackKey) for k in state["keys"]],
            first=msgspec.convert(state["first"], Sighting),
            last=msgspec.convert(state["last"], Sighting),
            here=state["here"],
            unsure=bool(unsure),
            has_left=bool(has_left),
            is_known=bool(is_known),
            name=state["name"],
            t_updated_ns=state["t_updated_ns"],
            spans=[(int(first), int(last)) for first, last in state["spans"]],
        )


class Remembered(NamedTuple):
    """All but the looks of somebody long unseen, as plain values; their tracklets are named no more."""

    person: dict[str, Any]
    piece: dict[str, Any]

    @classmethod
    def begin(cls, person: Person, piece: Piece) -> Remembered:
        """Somebody of whom one piece is left."""
        return cls(replace(person, keys=[], here=False).to_state(), piece.slim_state())

    def with_person(self, person: Person) -> Remembered:
        """More has been said about them."""
        return self._replace(person=person.to_state())

    def to_bytes(self) -> bytes:
        """As `Memory` keeps them."""
        return msgspec.msgpack.encode(self._asdict())

    @classmethod
    def from_bytes(cls, told: bytes) -> Remembered:
        """Back from it. Raises KeyError, TypeError, ValueError or msgspec's errors where it is damaged."""
        plain = msgspec.msgpack.decode(told)
        return cls(plain["person"], plain["piece"])
