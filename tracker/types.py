"""The records that flow between stages. docs/architecture.md explains the words.

A record is frozen and its arrays are read-only. N rows of one record always speak of the same N things.
Boxes are x1, y1, x2, y2 in pixels of the picture they were found in; times are nanoseconds since the Unix epoch
(in recordings without a start time: since the start of the recording).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

CameraId = str
TENTATIVE, CONFIRMED, LOST = 0, 1, 2
NO_DETECTION = -1
CARRIED = -2  # the detector rested; the box of the last keyframe is carried on by flow or prediction


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen value that passes between stages."""

    def _column(self, name: str, shape: tuple[int | None, ...]) -> None:
        """Check one array's shape (None = any length) and make it read-only."""
        array: NDArray = getattr(self, name)
        if array.ndim != len(shape) or any(
            want is not None and want != have for want, have in zip(shape, array.shape, strict=True)
        ):
            raise ValueError(f"{type(self).__name__}.{name}: shape {array.shape}, expected {shape}")
        array.setflags(write=False)


class Frame(Record, frozen=True, kw_only=True):
    """One picture of one camera. ``t_ns`` is capture time, strictly rising per camera."""

    camera_id: CameraId
    seq: int  # number of the frame, 0-based; counts dropped frames too
    t_ns: int
    image: NDArray[np.uint8]  # (H, W, 3) BGR

    def __post_init__(self) -> None:
        self._column("image", (None, None, 3))


class Detections(Record, frozen=True, kw_only=True):
    """What a detector saw in one frame: N boxes, as columns of equal length."""

    boxes: NDArray[np.float32]  # (N, 4) x1, y1, x2, y2 in pixels
    scores: NDArray[np.float32]  # (N,)   confidence in [0, 1]
    classes: NDArray[np.int32]  # (N,)   0 = person
    embedded: NDArray[np.int32]  # (M,)   rows that were worth embedding
    embeddings: NDArray[np.float32]  # (M, D) their unit rows

    def __post_init__(self) -> None:
        n = len(self.boxes)
        self._column("boxes", (n, 4))
        self._column("scores", (n,))
        self._column("classes", (n,))
        self._column("embedded", (None,))
        self._column("embeddings", (len(self.embedded), None))

    @classmethod
    def of(cls, boxes: NDArray, scores: NDArray, classes: NDArray | None = None) -> Detections:
        """Boxes (N, 4) and scores (N,) of any float type, nothing embedded yet."""
        n = len(boxes)
        return cls(
            boxes=np.array(boxes, np.float32).reshape(n, 4),
            scores=np.array(scores, np.float32),
            classes=np.zeros(n, np.int32) if classes is None else np.array(classes, np.int32),
            embedded=np.zeros(0, np.int32),
            embeddings=np.zeros((0, 0), np.float32),
        )

    @classmethod
    def none(cls) -> Detections:
        """A frame in which nothing was seen."""
        return cls.of(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.boxes)

    def where(self, keep: NDArray) -> Detections:
        """The rows chosen by a mask or an index array."""
        rows = np.arange(len(self))[keep]
        place = np.full(len(self), -1, np.int32)
        place[rows] = np.arange(len(rows), dtype=np.int32)
        kept = place[self.embedded] >= 0
        return Detections(
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            classes=self.classes[rows],
            embedded=place[self.embedded[kept]],
            embeddings=self.embeddings[kept],
        )

    def with_embeddings(self, rows: NDArray, embeddings: NDArray) -> Detections:
        """The same boxes, the given rows (M,) embedded as unit rows (M, D)."""
        return msgspec.structs.replace(
            self, embedded=np.array(rows, np.int32), embeddings=np.array(embeddings, np.float32)
        )


class Tracks(Record, frozen=True, kw_only=True):
    """One camera's tracks at one instant. A track's id is the number of its tracklet."""

    ids: NDArray[np.int64]  # (N,)
    boxes: NDArray[np.float32]  # (N, 4)
    states: NDArray[np.int8]  # (N,)  TENTATIVE, CONFIRMED or LOST
    scores: NDArray[np.float32]  # (N,)  score of the last detection
    detections: NDArray[
        np.int32
    ]  # (N,)  row of the detection, NO_DETECTION while coasting, CARRIED between keyframes
    floor_xy_m: NDArray[np.float32]  # (N, 2) foot point on the floor, NaN where unknown
    floor_sigma_m: NDArray[np.float32]  # (N,)  its standard deviation, NaN where unknown
    # (N, 2) where the feet are if as much again of the person is hidden below the box, NaN where unknown
    floor_near_xy_m: NDArray[np.float32] = msgspec.field(default_factory=lambda: np.zeros((0, 2), np.float32))

    def __post_init__(self) -> None:
        n = len(self.ids)
        if (
            len(self.floor_near_xy_m) != n == len(self.floor_xy_m)
        ):  # of a message from before there was such a field
            msgspec.structs.force_setattr(self, "floor_near_xy_m", np.full((n, 2), np.nan, np.float32))
        for name in ("ids", "states", "scores", "detections", "floor_sigma_m"):
            self._column(name, (n,))
        self._column("boxes", (n, 4))
        self._column("floor_xy_m", (n, 2))
        self._column("floor_near_xy_m", (n, 2))

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(
        cls,
        ids: NDArray,
        boxes: NDArray,
        states: NDArray,
        *,
        scores: NDArray | None = None,
        detections: NDArray | None = None,
    ) -> Tracks:
        """Tracks whose place on the floor is unknown."""
        n = len(ids)
        return cls(
            ids=np.array(ids, np.int64),
            boxes=np.array(boxes, np.float32).reshape(n, 4),
            states=np.array(states, np.int8),
            scores=np.ones(n, np.float32) if scores is None else np.array(scores, np.float32),
            detections=(
                np.full(n, NO_DETECTION, np.int32) if detections is None else np.array(detections, np.int32)
            ),
            floor_xy_m=np.full((n, 2), np.nan, np.float32),
            floor_sigma_m=np.full(n, np.nan, np.float32),
        )


class TrackKey(Record, frozen=True, kw_only=True, order=True, gc=False, omit_defaults=True):
    """Names one tracklet for ever: ``run`` names the worker's start, so a restart never reuses a key.

    A tracklet that went over to somebody else is cut by the linker: from ``since_ns`` on it is another one.
    """

    camera_id: CameraId
    run: int
    number: int
    since_ns: int = 0  # 0: from its start

    def __str__(self) -> str:
        since = f"@{self.since_ns}" if self.since_ns else ""
        return f"{self.camera_id}/{self.run}/{self.number}{since}"


class Tracklet(Record, frozen=True, kw_only=True):
    """All one camera knows of one person so far. Revision 7 holds all that revision 6 held."""

    key: TrackKey
    revision: int
    ended: bool
    t_first_ns: int
    t_last_ns: int  # last time it was really seen, not coasted
    first_box: NDArray[np.float32]  # (4,)
    last_box: NDArray[np.float32]  # (4,)
    velocity_px_s: NDArray[np.float32]  # (2,) of the box centre, at the end
    image_size: tuple[int, int]  # width, height in pixels
    boxes_seen: int  # frames with a detection
    score_mean: float  # mean detection score, [0, 1]
    prototypes: NDArray[np.float16]  # (K, D) diverse unit rows, K <= 8
    quality: NDArray[np.float32]  # (K,) how good a picture each came from, [0, 1]
    mean_embedding: NDArray[
        np.float32
    ]  # (D,) mean of all unit rows, weighted by quality, not of unit length; or (0,)
    embeddings_seen: int  # how many embeddings the mean is of
    model_hash: str = ""  # SHA-256 of the embedder that made them

    def __post_init__(self) -> None:
        self._column("first_box", (4,))
        self._column("last_box", (4,))
        self._column("velocity_px_s", (2,))
        self._column("prototypes", (None, None))
        self._column("quality", (len(self.prototypes),))
        self._column("mean_embedding", (None,))


class CameraUpdate(Record, frozen=True, kw_only=True, tag="camera_update"):
    """One message per processed frame; empty ones are the heartbeat and the watermark."""

    camera_id: CameraId
    run: int
    seq: int  # Frame.seq
    t_ns: int
    tracks: Tracks
    tracklets: tuple[Tracklet, ...]  # those that changed
    detected: bool  # False: the detector rested


class CameraStatus(Record, frozen=True, kw_only=True, tag="camera_status"):
    """A camera came, stalled or went."""

    camera_id: CameraId
    run: int
    t_ns: int
    state: Literal["up", "stalled", "gone", "ended"]  # ended: a recording is over
    reason: str = ""


class Command(Record, frozen=True, kw_only=True, tag="command"):
    """An operator says: these identities are one, these tracklets of one are another, it is called so, forget it."""

    t_ns: int  # when it was obeyed, set by the linker
    verb: Literal["merge", "split", "name", "forget"]
    global_ids: tuple[int, ...] = ()  # merge: the one that stays, then those that go into it
    track_keys: tuple[TrackKey, ...] = ()  # split: who leaves
    name: str = ""
    id: str = ""  # made by whoever sends it; sent again it is answered again, not done again
    by: str = ""  # whose key it came with, set by the linker; "" where there are no keys


class Advance(Record, frozen=True, kw_only=True, tag="advance"):
    """Time has passed. ``final`` closes a recording: everybody leaves, nothing more will come."""

    t_ns: int
    final: bool = False


LinkerInput = CameraUpdate | CameraStatus | Command | Advance


class Sighting(Record, frozen=True, kw_only=True, gc=False):
    """Somebody was in one camera's view."""

    camera_id: CameraId
    t_ns: int
    box: tuple[float, float, float, float]
    floor_xy_m: tuple[float, float] | None = None


class Evidence(Record, frozen=True, kw_only=True):
    """Why a decision was taken. Log-likelihood ratios are natural logarithms, positive speaks for 'same person'.

    ``probability`` and ``runner_up_probability`` are of one choice among all people known and "somebody new": what is
    missing to 1 is for all others and for somebody new.
    """

    probability: float  # that the decision is right, [0, 1]
    runner_up: int | None = None  # second-best identity
    runner_up_probability: float | None = None  # that it would have been right, and the decision is wrong
    distance: float | None = None  # cosine distance of the looks without what their cameras add, [0, 2]
    gap_s: float | None = None  # from the end of one to the start of the other; negative: seen at once
    floor_distance_m: float | None = None
    cues: dict[str, float] = {}  # log-likelihood ratio of each, as it counts: appearance, time, place


class _Event(Record, frozen=True, kw_only=True):
    t_ns: int  # capture time of what it speaks of
    epoch: int = 0  # one life of the linker's log; set by the log
    seq: int = 0  # number of the event within its epoch, from 1; set by the log
    schema_version: int = 1


class Appeared(_Event, frozen=True, kw_only=True, tag="appeared"):
    """A new identity, provisional at first."""

    global_id: int
    track: TrackKey
    sighting: Sighting
    evidence: Evidence | None = None


class Updated(_Event, frozen=True, kw_only=True, tag="updated"):
    """Where an identity is now; at most once a second per identity."""

    global_id: int
    sightings: tuple[Sighting, ...]
    tracks: tuple[TrackKey, ...]


class HandedOver(_Event, frozen=True, kw_only=True, tag="handed_over"):
    """The same identity taken up by another camera (or by the same one after a gap)."""

    global_id: int
    from_camera: CameraId
    to_camera: CameraId
    track: TrackKey
    gap_s: float  # negative: both cameras saw it at once
    sighting: Sighting
    evidence: Evidence | None = None


class Merged(_Event, frozen=True, kw_only=True, tag="merged"):
    """Two identities were one person. ``absorbed`` is never used again."""

    kept: int
    absorbed: int
    tracks: tuple[TrackKey, ...]  # those that now belong to ``kept``
    evidence: Evidence | None = None


class Split(_Event, frozen=True, kw_only=True, tag="split"):
    """One identity was several people: ``tracks`` leave ``global_id`` for ``to``.

    The evidence says how likely they are the person of ``to``; where ``to`` begins with them, how likely they are not
    the person of ``global_id``, which then is the runner-up.
    """

    global_id: int
    to: int
    tracks: tuple[TrackKey, ...]
    evidence: Evidence | None = None


class Left(_Event, frozen=True, kw_only=True, tag="left"):
    """An identity has not been seen anywhere for the settings' patience.

    Told again of somebody who is gone where ``unsure`` has changed.
    """

    global_id: int
    last: Sighting
    unsure: bool = False  # too little was seen to say whether it was somebody new, or who of those known
    evidence: Evidence | None = (
        None  # that it was none of those known better; the runner-up is who of them it may be
    )


class CameraLost(_Event, frozen=True, kw_only=True, tag="camera_lost"):
    """A camera stopped sending."""

    camera_id: CameraId
    reason: str = ""


class CameraBack(_Event, frozen=True, kw_only=True, tag="camera_back"):
    """A camera sends (again)."""

    camera_id: CameraId


Event = Appeared | Updated | HandedOver | Merged | Split | Left | CameraLost | CameraBack


class Identity(Record, frozen=True, kw_only=True):
    """One person across all cameras."""

    global_id: int  # 16 bits site, 48 bits number
    tracks: tuple[TrackKey, ...]
    first: Sighting
    last: Sighting
    here: bool  # seen within the patience
    unsure: bool = False  # gone, and maybe one of the others: it cannot be said which (``Left``)
    name: str = ""
    seen: tuple[tuple[int, int], ...] = ()  # first and last capture time of each of ``tracks``, ns


class View(Record, frozen=True, kw_only=True, tag="view"):
    """All open identities as of event ``seq``; what a late subscriber starts from. No embeddings."""

    epoch: int
    seq: int
    t_ns: int
    identities: tuple[Identity, ...]


class Checkpoint(Record, frozen=True, kw_only=True, tag="checkpoint"):
    """The linker's whole state, private to it: bytes that only the same linker version reads."""

    schema_version: int
    t_ns: int
    model_hash: str
    state: bytes


def global_id_of(site: int, number: int) -> int:
    """16 bits site, 48 bits number, in one positive int64 (site < 32,768)."""
    if not (0 <= site < 1 << 15 and 0 < number < 1 << 48):
        raise ValueError(f"site {site} or number {number} is out of range")
    return (site << 48) | number


def array_to_plain(value: Any) -> list[Any]:
    """An array as msgpack-ready [dtype, shape, bytes]: msgspec's ``enc_hook`` for files of our own."""
    if isinstance(value, np.ndarray):
        return [value.dtype.str, list(value.shape), value.tobytes()]
    raise NotImplementedError(f"{type(value).__name__} has no plain form")


def plain_to_array(kind: Any, value: Any) -> NDArray:
    """The array again: msgspec's ``dec_hook``. Raises ValueError where size and bytes do not fit."""
    dtype, shape, data = value
    return np.frombuffer(data, dtype).reshape(shape)
