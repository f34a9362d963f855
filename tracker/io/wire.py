"""Record <-> bytes. Pure: no socket, no file.

A message is one msgpack value, ``[format_version, record]``. A record is a map of its fields with its kind
under ``type``; an array is ``[dtype, shape, bytes]`` in C order, little-endian. Fields are only ever added,
with a default, and unknown ones are skipped: so an old tape always decodes, and an old reader survives a new
field. What cannot be read that way raises the format's version.

Whatever bytes come in, ``decode`` gives a sound record or raises ``WireError``. docs/events.md says the same
for readers in other languages.
"""

from __future__ import annotations

import hashlib
import math
import typing
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from tracker.types import (
    CameraId,
    Checkpoint,
    Event,
    Identity,
    LinkerInput,
    Record,
    TrackKey,
    Tracklet,
    Tracks,
    View,
)

FORMAT_VERSION = 1
MAX_MESSAGE_BYTES = 64 << 20  # the largest sound message is a page of a replay, well under 1 MB
_DTYPES = ("|i1", "|u1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8")
_MAX_DIMENSIONS = 4
DIGEST_BYTES = 8  # of 100,000 names kept, a new one is like any with a chance of 5e-15
_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1
# The only places where "unknown" is said by NaN; infinity is said nowhere.
_NAN_IS_UNKNOWN = {(Tracks, name) for name in ("floor_xy_m", "floor_sigma_m", "floor_near_xy_m")}


class WireError(ValueError):
    """These bytes are no sound message."""


class Ack(Record, frozen=True, tag="ack"):
    """Linker -> worker: these ended tracklets are safe on disk and need not be sent again."""

    keys: tuple[TrackKey, ...]


class Repeated(Record, frozen=True, tag="repeated"):
    """Worker -> linker: ended tracklets that no ``Ack`` has named yet, once more."""

    camera_id: CameraId
    run: int
    tracklets: tuple[Tracklet, ...]


class Boxes(Record, frozen=True, tag="boxes"):
    """What was seen in one frame, with identities; lossy, not logged."""

    camera_id: CameraId
    run: int
    seq: int  # number of the frame
    t_ns: int
    numbers: NDArray[np.int64]  # (N,) number of the tracklet
    global_ids: NDArray[np.int64]  # (N,) identity, 0 while it has none
    boxes: NDArray[np.float32]  # (N, 4) x1, y1, x2, y2 in pixels
    states: NDArray[np.int8]  # (N,)  0 tentative, 1 confirmed, 2 lost

    def __post_init__(self) -> None:
        n = len(self.numbers)
        for name in ("numbers", "global_ids", "states"):
            self._column(name, (n,))
        self._column("boxes", (n, 4))


class Heartbeat(Record, frozen=True, tag="heartbeat"):
    """Where the event log stands; shows a subscriber that the last of a burst went missing."""

    epoch: int
    seq: int
    t_ns: int  # wall clock of the linker


class Ask(Record, frozen=True, tag="ask"):
    """Subscriber -> linker: the events after ``(epoch, seq)``, a page of the open identities, or the audit."""

    what: Literal["replay", "view", "audit"]
    epoch: int = 0  # replay: events after this place; view: the view of this place, once page 0 has named it
    seq: int = 0  # audit: commands after this number
    limit: int = 1000  # replay, audit: at most so many events or commands in one answer
    page: int = 0  # view


class Replay(Record, frozen=True, tag="replay"):
    """Linker -> subscriber: all that the log holds after the place asked for, up to ``through``.

    Numbers that are missing below it were deleted (retention, forgotten people) and will not come.
    """

    events: tuple[Event, ...]
    through_epoch: int
    through_seq: int
    epoch: int  # where the log stands now
    seq: int
    gone: bool = False  # some events after the place asked for had been deleted by age


class Outcome(Record, frozen=True, tag="outcome"):
    """Linker -> operator: what became of a ``Command``. On disk too, as the audit: there without its events.

    Nothing in it says who somebody is but the numbers: what was named, and which tracklets left, is not kept.
    """

    id: str  # the command's
    t_ns: int  # wall clock of the linker, as in the command on its tape
    verb: str
    global_ids: tuple[int, ...]
    by: str  # whose key it came with; "" where there are no keys
    obeyed: bool
    reason: str = ""  # why not
    events: tuple[Event, ...] = ()  # what it caused, numbered as in the log
    number: int = 0  # in the audit, from 1


class Saved(Record, frozen=True, tag="saved"):
    """On disk only: a checkpoint, and where log and journal stood when it was taken."""

    checkpoint: Checkpoint
    epoch: int
    seq: int
    journal: int  # number of the first tape that was written after it
    forget: bool = False  # earlier tapes hold somebody who is forgotten: none of them is kept
    unsaid: tuple[Event | Outcome, ...] = ()  # what it knows of besides, in its order: the log may lack it
    ended: bytes = b""  # `digest` of each tracklet that it has heard to the end: workers may say them again
    told: bytes = b""  # and of each that was told of and not heard to the end, the linker may have let it go


class Page(Record, frozen=True, tag="page"):
    """Linker -> subscriber: one page of the view as of event ``(view.epoch, view.seq)``."""

    view: View
    page: int
    pages: int


class Audit(Record, frozen=True, tag="audit"):
    """Linker -> operator: what operators had done, or wanted done, in the order in which they said it."""

    outcomes: tuple[Outcome, ...]


class Refused(Record, frozen=True, tag="refused"):
    """Linker -> subscriber: the question made no sense."""

    reason: str


Answer = Replay | Page | Outcome | Audit | Refused
Message = LinkerInput | Event | View | Checkpoint | Saved | Ack | Repeated | Boxes | Heartbeat | Ask | Answer


def encode(record: Message) -> bytes:
    """One message. Raises TypeError for what is no record of ours."""
    if not isinstance(record, Record):
        raise TypeError(f"{type(record).__name__} is no record")
    return _ENCODER.encode((FORMAT_VERSION, record))


def encode_identity(identity: Identity) -> bytes:
    """One row of a view, for ``pack_pages``."""
    return _ENCODER.encode(identity)


def pack_pages(place: tuple[int, int], t_ns: int, pages: Sequence[Sequence[bytes]]) -> list[bytes]:
    """The ``Page`` messages of a view as of ``place`` whose identities are encoded already."""
    return [
        _ENCODER.encode(
            (
                FORMAT_VERSION,
                _PackedPage(_PackedView(*place, t_ns, [msgspec.Raw(row) for row in rows]), page, len(pages)),
            )
        )
        for page, rows in enumerate(pages)
    ]


def pack_replay(
    messages: Sequence[bytes], through: tuple[int, int], now: tuple[int, int], *, gone: bool
) -> bytes:
    """The ``Replay`` message of events that are encoded already, each as a message of its own."""
    events = [_ENVELOPE.decode(message)[1] for message in messages]
    return _ENCODER.encode((FORMAT_VERSION, _PackedReplay(events, *through, *now, gone)))


def decode(data: bytes | memoryview, *, max_bytes: int = MAX_MESSAGE_BYTES) -> Message:
    """The record in one message; its arrays are read-only views of their bytes.

    Raises WireError for everything else: no msgpack, an unknown kind or version, a missing field, a wrong
    type or shape, an array whose size does not match its bytes, a number that is not finite, an integer
    beyond 64 bits, or more than ``max_bytes``.
    """
    if len(data) > max_bytes:
        raise WireError(f"message of {len(data)} bytes is larger than {max_bytes}")
    try:
        version, body = _ENVELOPE.decode(data)
        if version != FORMAT_VERSION:
            raise WireError(f"message of format {version}; this program reads format {FORMAT_VERSION}")
        record = _RECORD.decode(body)
        check(record)
    except WireError:
        raise
    # All that hostile bytes raise in msgspec and numpy; ValueError covers UnicodeDecodeError as well.
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise WireError(f"not a message: {error}") from error
    return record


def digest(key: TrackKey) -> bytes:
    """`DIGEST_BYTES` by which a tracklet is known again: its name must not outlive whoever is forgotten."""
    return hashlib.blake2b(str(key).encode(), digest_size=DIGEST_BYTES).digest()


def digests(data: bytes) -> list[bytes]:
    """Those that stand one after the other."""
    return [data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES)]


def kind_of(record: Message) -> str:
    """The record's kind, as under ``type`` in a message: ``"appeared"``, ``"camera_update"``, ..."""
    return str(type(record).__struct_config__.tag)


def kinds_of(union: Any) -> tuple[str, ...]:
    """The kinds of a union of records: ``kinds_of(Event) == ("appeared", "updated", ...)``."""
    return tuple(str(member.__struct_config__.tag) for member in typing.get_args(union))


def to_builtins(record: Record) -> dict[str, Any]:
    """The record as JSON-ready values with its kind under ``type``; arrays become lists, NaN becomes None."""
    return msgspec.to_builtins(record, enc_hook=_array_to_lists)


def _array_to_lists(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_array_to_lists(item) for item in value] if value.ndim > 1 else list(map(_number, value))
    if isinstance(value, np.generic):
        return _number(value)
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


def _number(value: np.generic) -> Any:
    return None if value != value else value.item()


def _encode_array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        little = value.astype(value.dtype.newbyteorder("<"), order="C", copy=False)
        if little.dtype.str not in _DTYPES:
            raise TypeError(f"an array of {value.dtype} does not travel")
        return (little.dtype.str, little.shape, little.tobytes())
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"{type(value).__name__} does not travel")


def _decode_array(kind: Any, value: Any) -> NDArray:
    """``[dtype, shape, bytes]`` as the array type that the field declares."""
    if typing.get_origin(kind) is not np.ndarray:
        raise TypeError(f"unexpected type {kind}")
    dtype, shape, data = msgspec.convert(value, _ARRAY)
    if dtype not in _DTYPES:
        raise ValueError(f"array of dtype {dtype!r}")
    # Python integers: the product of hostile sizes does not wrap round.
    if len(shape) > _MAX_DIMENSIONS or any(n < 0 for n in shape) or max(shape, default=0) > MAX_MESSAGE_BYTES:
        raise ValueError(f"array of shape {shape}")
    have = np.dtype(dtype)
    if math.prod(shape) * have.itemsize != len(data):
        raise ValueError(f"array of shape {shape} and {dtype} in {len(data)} bytes")
    array = np.frombuffer(data, have).reshape(shape)
    want = _declared_dtype(kind)
    if have != want:
        # Precision may change between versions; an integer must not wrap, a float must not lose its meaning.
        if not np.can_cast(have, want, "same_kind" if want.kind == "f" else "safe"):
            raise ValueError(f"array of {dtype} where {want.str} belongs")
        with np.errstate(over="ignore"):  # becomes infinite and is refused as such
            array = array.astype(want)
            array.setflags(write=False)
    return array


@lru_cache(maxsize=32)
def _declared_dtype(kind: Any) -> np.dtype:
    return np.dtype(typing.get_args(typing.get_args(kind)[1])[0])


def check(record: Record) -> None:
    """Raises WireError for what a reader would refuse: numbers not finite or beyond 64 bits, sizes that clash."""
    _check(record)


def _check(value: Any, owner: type | None = None, field: str = "") -> None:
    match value:
        case bool() | str() | bytes() | None:
            return
        case int():
            if not _INT64_MIN <= value <= _INT64_MAX:
                raise WireError(f"{field}: {value} is beyond 64 bits")
        case float():
            if not math.isfinite(value):
                raise WireError(f"{field}: {value}")
        case np.ndarray():
            if value.dtype.kind == "f":
                bad = np.isinf(value) if (owner, field) in _NAN_IS_UNKNOWN else ~np.isfinite(value)
                if bad.any():
                    raise WireError(f"{field}: holds a number that is not finite")
        case tuple():
            for item in value:
                _check(item, owner, field)
        case dict():
            for item in value.values():
                _check(item, owner, field)
        case Record():
            for name in value.__struct_fields__:
                _check(getattr(value, name), type(value), name)
            if isinstance(value, Tracklet):
                _check_tracklet(value)


def _check_tracklet(tracklet: Tracklet) -> None:
    """Sizes that the linker divides by or multiplies matrices of."""
    if min(tracklet.image_size) <= 0:
        raise WireError(f"image_size: {tracklet.image_size}")
    rows, mean = tracklet.prototypes, tracklet.mean_embedding
    if len(rows) and len(mean) and rows.shape[1] != len(mean):
        raise WireError(f"prototypes have {rows.shape[1]} values, their mean {len(mean)}")
    # No network gives one, and it has no direction to compare.
    if not rows.any(axis=1).all() or (len(mean) and tracklet.embeddings_seen and not mean.any()):
        raise WireError("an embedding is zero")


class _PackedReplay(msgspec.Struct, tag="replay"):
    """``Replay`` with its events as bytes."""

    events: list[msgspec.Raw]
    through_epoch: int
    through_seq: int
    epoch: int
    seq: int
    gone: bool


class _PackedView(msgspec.Struct, tag="view"):
    """``View`` with its identities as bytes."""

    epoch: int
    seq: int
    t_ns: int
    identities: list[msgspec.Raw]


class _PackedPage(msgspec.Struct, tag="page"):
    """``Page`` of such a view."""

    view: _PackedView
    page: int
    pages: int


_ARRAY = tuple[str, tuple[int, ...], bytes]
_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode_array)
_ENVELOPE = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw])
_RECORD: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message, dec_hook=_decode_array)
