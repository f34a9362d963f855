"""Tracklets that went over to somebody else, and are two from then on.

A camera gives a tracklet one number for ever. Where the linker knows better it cuts: what comes after is a tracklet of
its own, whose key says since when.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from tracker.types import TrackKey, Tracklet


class Parts:
    """The last part of every tracklet that was cut."""

    def __init__(self) -> None:
        self._last: dict[TrackKey, tuple[TrackKey, int]] = {}  # and the boxes of all parts before it

    def of(self, key: TrackKey) -> TrackKey:
        """What a camera's tracklet is now."""
        cut = self._last.get(key)
        return key if cut is None else cut[0]

    def cut(self, later: TrackKey, boxes: int) -> None:
        """The last part ends after ``boxes`` of its own, and ``later`` begins."""
        whole = whole_of(later)
        before = self._last.get(whole, (whole, 0))[1]
        self._last[whole] = later, before + boxes

    def newest(self, tracklet: Tracklet, known: Tracklet | None) -> Tracklet:
        """A camera's tracklet as what its last part is, of which so much was ``known``."""
        if tracklet.key not in self._last:
            return tracklet
        key, before = self._last[tracklet.key]
        first_ns, box = (
            (min(key.since_ns, tracklet.t_last_ns), tracklet.last_box)
            if known is None
            else (known.t_first_ns, known.first_box)
        )
        return msgspec.structs.replace(
            tracklet,
            key=key,
            t_first_ns=first_ns,
            first_box=box,
            boxes_seen=max(tracklet.boxes_seen - before, 1),
        )

    def forget_before(self, t_ns: int, known: Sequence[Collection[TrackKey]]) -> None:
        """Those that were cut before then and are not ``known`` any more."""
        self._last = {
            whole: (key, boxes)
            for whole, (key, boxes) in self._last.items()
            if key.since_ns >= t_ns or any(key in keys for keys in known)
        }

    def to_state(self) -> list[Any]:
        """Plain values for a checkpoint."""
        return [[msgspec.to_builtins(key), boxes] for _, (key, boxes) in sorted(self._last.items())]

    @classmethod
    def from_state(cls, state: Sequence[Any]) -> Parts:
        """Back from a checkpoint. Raises TypeError, ValueError or msgspec's errors where it is damaged."""
        parts = cls()
        for plain, boxes in state:
            key = msgspec.convert(plain, TrackKey)
            parts._last[whole_of(key)] = key, int(boxes)
        return parts


def whole_of(key: TrackKey) -> TrackKey:
    """A part as its camera calls it."""
    return msgspec.structs.replace(key, since_ns=0)
