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


class Pictures(NamedTuple):
    """What a tracklet looks like: the mean (D,) of so many pictures' rows, (0,) where there is none."""

    number: int
    mean: NDArray[np.float32]

    def without(self, first: Pictures) -> Pictures:
        """All but the first of them; `NO_PICTURES` where none are left, or they are of another network."""
        left = self.number - first.number
        if not first.number:
            return self
        if left <= 0 or len(self.mean) != len(first.mean):
            return NO_PICTURES
        return Pictures(
            left, ((self.number * self.mean - first.number * first.mean) / left).astype(np.float32)
        )

    def and_then(self, more: Pictures) -> Pictures:
        """These, and others after them."""
        if not self.number or not more.number:
            return self if self.number else more
        number = self.number + more.number
        return Pictures(
            number, ((self.number * self.mean + more.number * more.mean) / number).astype(np.float32)
        )


NO_PICTURES = Pictures(0, np.zeros(0, np.float32))


def pictures_of(tracklet: Tracklet) -> Pictures:
    """Of all that a tracklet's own looks are."""
    return Pictures(tracklet.embeddings_seen, tracklet.mean_embedding)


def showing(tracklet: Tracklet, pictures: Pictures) -> Tracklet:
    """A tracklet of some of its pictures: which of its single rows are among them is not known."""
    return msgspec.structs.replace(
        tracklet,
        embeddings_seen=pictures.number,
        mean_embedding=pictures.mean,
        prototypes=np.zeros((0, 0), np.float16),
        quality=np.zeros(0, np.float32),
    )


class _Last(NamedTuple):
    key: TrackKey
    boxes: int  # of all parts before it
    heard_ns: int
    is_forgotten: bool = False
    before: Pictures | None = NO_PICTURES  # of all parts before it; None: they may not be known any more


class Parts:
    """The last part of every tracklet that was cut."""

    def __init__(self) -> None:
        self._last: dict[TrackKey, _Last] = {}

    def of(self, key: TrackKey) -> TrackKey:
        """What a camera's tracklet is now."""
        cut = self._last.get(key)
        return key if cut is None else cut.key

    def cut(self, later: TrackKey, boxes: int, pictures: Pictures = NO_PICTURES) -> None:
        """A part ends after ``boxes`` and ``pictures`` of its own, and ``later`` begins."""
        whole = whole_of(later)
        last = self._last.get(whole, _Last(later, 0, 0))
        if later < last.key:  # before the last part there is what there was
            return
        before = None if last.before is None else last.before.and_then(pictures)
        self._last[whole] = _Last(later, last.boxes + boxes, later.since_ns, before=before)

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
        if last.before is not None:
            pictures = pictures_of(tracklet).without(last.before)
        else:  # what more is told of them is of somebody forgotten as well
            is_same = known is not None and known.model_hash == tracklet.model_hash
            pictures = pictures_of(known) if known is not None and is_same else NO_PICTURES
        return msgspec.structs.replace(
            showing(tracklet, pictures),
            key=key,
            t_first_ns=first_ns,
            t_last_ns=max(first_ns, tracklet.t_last_ns),  # its camera may say that it ended before
            first_box=box,
            boxes_seen=max(tracklet.boxes_seen - before, 1),
        )

    def forget(self, key: TrackKey, *, ended: bool) -> None:
        """Somebody's part that must not be known any longer than it takes to know it again, if it goes on."""
        whole = whole_of(key)
        if whole not in self._last:
            return
        if self._last[whole].key != key:
            self.let_go(key)
        elif ended:
            del self._last[whole]
        else:
            self._last[whole] = self._last[whole]._replace(is_forgotten=True)

    def let_go(self, key: TrackKey) -> None:
        """A part that is looked at no more: if it is not the last one, what it looked like is not kept here."""
        last = self._last.get(whole_of(key))
        if last is not None and last.key != key:
            self._last[whole_of(key)] = last._replace(before=None)

    def forget_looks(self) -> None:
        """The embedder has changed: no pictures of before can be told from later ones."""
        self._last = {
            whole: last if last.before is None else last._replace(before=NO_PICTURES)
            for whole, last in self._last.items()
        }

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
        return [
            [
                msgspec.to_builtins(last.key),
                last.boxes,
                last.heard_ns,
                last.is_forgotten,
                None if last.before is None else [last.before.number, last.before.mean.tobytes()],
            ]
            for _, last in sorted(self._last.items())
        ]

    @classmethod
    def from_state(cls, state: Sequence[Any]) -> Parts:
        """Back from a checkpoint. Raises TypeError, ValueError or msgspec's errors where it is damaged."""
        parts = cls()
        for plain, boxes, heard_ns, is_forgotten, *told in state:
            key = msgspec.convert(plain, TrackKey)
            before: Pictures | None = NO_PICTURES
            if told:  # an older version cut no tracklets that had pictures
                before = (
                    None
                    if told[0] is None
                    else Pictures(int(told[0][0]), np.frombuffer(told[0][1], np.float32))
                )
            parts._last[whole_of(key)] = _Last(key, int(boxes), int(heard_ns), bool(is_forgotten), before)
        return parts


def whole_of(key: TrackKey) -> TrackKey:
    """A part as its camera calls it."""
    return msgspec.structs.replace(key, since_ns=0)
