"""Tracklets that went over to somebody else, and are two from then on.

A camera gives a tracklet one number for ever. Where the linker knows better it cuts: what comes after is a tracklet of
its own, whose key says since when.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tracker.types import TrackKey, Tracklet

FORGOTTEN_NS = 10_000_000_000  # a camera that goes on with somebody forgotten says so within this


class _Last(NamedTuple):
    key: TrackKey
    boxes: int  # of all parts before it
    heard_ns: int
    is_forgotten: bool = False
    pictures: int = 0  # of all parts before it, and their mean
    looks: NDArray[np.float32] | None = None


class Parts:
    """The last part of every tracklet that was cut."""

    def __init__(self) -> None:
        self._last: dict[TrackKey, _Last] = {}

    def of(self, key: TrackKey) -> TrackKey:
        """What a camera's tracklet is now."""
        cut = self._last.get(key)
        return key if cut is None else cut.key

    def cut(self, later: TrackKey, boxes: int, pictures: int = 0, looks: NDArray[np.float32] | None = None) -> None:
        """The last part ends after ``boxes`` and ``pictures`` of its own, of mean ``looks``, and ``later`` begins."""
        whole = whole_of(later)
        last = self._last.get(whole)
        if last is not None:
            if last.pictures and pictures:
                looks = (last.pictures * last.looks + pictures * looks) / (last.pictures + pictures)
            elif last.pictures:
                looks = last.looks
            boxes, pictures = last.boxes + boxes, last.pictures + pictures
        self._last[whole] = _Last(later, boxes, later.since_ns, False, pictures, looks)

    def newest(self, tracklet: Tracklet, known: Tracklet | None) -> Tracklet:
        """A camera's tracklet as what its last part is, of which so much was ``known``."""
        if tracklet.key not in self._last:
            return tracklet
        last = self._last[tracklet.key]
        self._last[tracklet.key] = last._replace(heard_ns=max(last.heard_ns, tracklet.t_last_ns))
        key, before = last.key, last.boxes
        first_ns, box = (
            (min(key.since_ns, tracklet.t_last_ns), tracklet.last_box)
            if known is None
            else (known.t_first_ns, known.first_box)
        )
        changed = {}
        if last.pictures and len(tracklet.mean_embedding) == len(last.looks):
            left = tracklet.embeddings_seen - last.pictures
            mean = np.zeros(0, np.float32)
            if left > 0:
                mean = ((tracklet.embeddings_seen * tracklet.mean_embedding - last.pictures * last.looks) / left).astype(np.float32)
            changed = {"embeddings_seen": max(left, 0), "mean_embedding": mean}
        return msgspec.structs.replace(
            tracklet,
            key=key,
            t_first_ns=first_ns,
            first_box=box,
            boxes_seen=max(tracklet.boxes_seen - before, 1),
            **changed,
        )

    def forget(self, key: TrackKey, *, ended: bool) -> None:
        """Somebody's part that must not be known any longer than it takes to know it again, if it goes on."""
        whole = whole_of(key)
        if whole in self._last and self._last[whole].key == key:
            if ended:
                del self._last[whole]
            else:
                self._last[whole] = self._last[whole]._replace(is_forgotten=True)

    def forget_before(self, t_ns: int, now_ns: int, known: Sequence[Collection[TrackKey]]) -> None:
        """Those that were last heard of before ``t_ns``, and are not ``known`` any more."""
        self._last = {
            whole: last
            for whole, last in self._last.items()
            if last.heard_ns >= (now_ns - FORGOTTEN_NS if last.is_forgotten else t_ns)
            or any(last.key in keys for keys in known)
        }

    def to_state(self) -> list[Any]:
        """Plain values for a checkpoint."""
        return [[msgspec.to_builtins(last.key), *last[1:]] for _, last in sorted(self._last.items())]

    @classmethod
    def from_state(cls, state: Sequence[Any]) -> Parts:
        """Back from a checkpoint. Raises TypeError, ValueError or msgspec's errors where it is damaged."""
        parts = cls()
        for plain, boxes, heard_ns, is_forgotten in state:
            key = msgspec.convert(plain, TrackKey)
            parts._last[whole_of(key)] = _Last(key, int(boxes), int(heard_ns), bool(is_forgotten))
        return parts


def whole_of(key: TrackKey) -> TrackKey:
    """A part as its camera calls it."""
    return msgspec.structs.replace(key, since_ns=0)
