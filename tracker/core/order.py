"""Messages of many cameras -> one stream in capture-time order."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from tracker.types import CameraId, CameraStatus, CameraUpdate, LinkerInput, Record

_FIRST, _LAST = -1, 1 << 62


class Released(Record, frozen=True):
    """A message whose turn has come."""

    message: LinkerInput
    late: bool = False  # something of a later time went before it


@dataclass(order=True)
class _Held:
    t_ns: int
    camera_id: CameraId
    seq: int
    arrival: int
    arrived_ns: int = field(compare=False)
    message: LinkerInput = field(compare=False)


class TimeOrder:
    """Holds messages back until nothing earlier can come, or patience is over.

    A message is released once every open camera has been heard at or after its time. It waits at most
    ``patience_s`` from its arrival, so a silent camera holds the others back no longer than that, and a clock
    that is wrong delays but does not stall. What comes after something later was released is *late*: released
    at once, flagged and counted, never thrown away. Ties: (t_ns, camera_id, seq), then arrival.

    A camera is open from its first message (or from the start, when named in ``cameras``) until a
    ``CameraStatus`` says stalled, gone or ended. Its messages rise strictly in time, its statuses included.
    Commands and Advances belong to no camera: they wait for their time like the rest.
    """

    def __init__(
        self, patience_s: float, cameras: Iterable[CameraId] = (), *, max_held: int = 10_000
    ) -> None:
        """``max_held`` bounds the memory: above it the earliest messages are released early, and counted."""
        self._patience_ns = round(patience_s * 1e9)
        self._max_held = max_held
        self._heard_ns: dict[CameraId, int | None] = dict.fromkeys(sorted(set(cameras)))  # None: not yet
        self._held: list[_Held] = []
        self._arrivals = 0
        self._now_ns: int | None = None
        self._released: tuple[int, CameraId, int] | None = None
        self.late = 0  # messages released late
        self.impatient = 0  # messages released before every open camera had been heard
        self.overflowed = 0  # of these: because too many were held

    def __len__(self) -> int:
        """How many messages are held."""
        return len(self._held)

    def put(self, message: LinkerInput) -> list[Released]:
        """Take one message in; returns those whose turn has come, in order."""
        camera_id, seq = "", _FIRST
        if isinstance(message, CameraUpdate):
            camera_id, seq = message.camera_id, message.seq
            self._hear(camera_id, message.t_ns)
        elif isinstance(message, CameraStatus):
            camera_id = message.camera_id
            if message.state == "up":
                self._hear(camera_id, message.t_ns)
            else:
                seq = _LAST
                self._heard_ns.pop(camera_id, None)
        if self._released is not None and (message.t_ns, camera_id, seq) < self._released:
            self.late += 1
            return [Released(message=message, late=True), *self._due()]
        self._arrivals += 1
        arrived_ns = message.t_ns if self._now_ns is None else self._now_ns
        heapq.heappush(self._held, _Held(message.t_ns, camera_id, seq, self._arrivals, arrived_ns, message))
        return self._due()

    def advance(self, now_ns: int) -> list[Released]:
        """Be told the time (any clock that rises); returns what has waited long enough."""
        self._now_ns = now_ns if self._now_ns is None else max(now_ns, self._now_ns)
        return self._due()

    def flush(self) -> list[Released]:
        """Everything that is held, in order: nothing more will come."""
        return [self._release() for _ in range(len(self._held))]

    def _hear(self, camera_id: CameraId, t_ns: int) -> None:
        heard_ns = self._heard_ns.get(camera_id)
        self._heard_ns[camera_id] = t_ns if heard_ns is None else max(t_ns, heard_ns)

    def _due(self) -> list[Released]:
        due = []
        quiet = any(heard_ns is None for heard_ns in self._heard_ns.values())
        heard = [heard_ns for heard_ns in self._heard_ns.values() if heard_ns is not None]
        # Everything up to the oldest message that has run out of patience goes with it, so that order holds.
        overdue_ns = self._overdue_ns()
        while self._held:
            t_ns = self._held[0].t_ns
            if not quiet and all(t_ns <= heard_ns for heard_ns in heard):
                pass
            elif overdue_ns is not None and t_ns <= overdue_ns:
                self.impatient += 1
            elif len(self._held) > self._max_held:
                self.impatient += 1
                self.overflowed += 1
            else:
                break
            due.append(self._release())
        return due

    def _overdue_ns(self) -> int | None:
        """Latest capture time among the messages that have waited for ``patience_s``."""
        if self._now_ns is None:
            return None
        until = self._now_ns - self._patience_ns
        return max((held.t_ns for held in self._held if held.arrived_ns <= until), default=None)

    def _release(self) -> Released:
        held = heapq.heappop(self._held)
        self._released = (held.t_ns, held.camera_id, held.seq)
        return Released(message=held.message)
