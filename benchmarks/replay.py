"""The camera step over recorded clips, many settings at once, with networks whose answers are remembered.

A clip is decoded once and shown to every variant in turn. What the detector finds in a picture and what the embedder
says of a crop is asked once and kept in a file, so that a study of fifty variants runs in minutes; flow is really run,
but once for all who ask about the same two pictures. What each variant asked for is counted, and priced afterwards
with the milliseconds of `Prices`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from tracker.build import build_detector, build_embedder, build_linker, build_pipeline
from tracker.config import OnnxDetectorSettings, OnnxEmbedderSettings, Site, from_values
from tracker.core.ledger import Ledger
from tracker.core.pipeline import CameraPipeline, Motion, ask_batch, crop
from tracker.evaluate import Boxes, CameraScores, Step, mot_steps, read_mot, score_cameras, sequence_length
from tracker.io.sources import open_recording
from tracker.process import SPOOL, finished
from tracker.types import CONFIRMED, NO_DETECTION, Advance, CameraUpdate, Detections, Event, Frame, TrackKey

CAMERA = "camera"
PRICED_FRAMES = 12  # of each clip that milliseconds are measured on
PRICED_ROUNDS = 3
DIGEST_BYTES = 16
MISSED_SHARE = 0.03  # of the boxes, where a variant has a seed


@dataclass(frozen=True)
class Clip:
    """A recording of one camera with its truth."""

    name: str
    group: str
    location: str  # what `open_recording` takes
    truth: Path
    fps: float | None = None  # where the container does not say, or says wrong

    def frames(self, to_s: float | None = None) -> Iterator[Frame]:
        """All pictures in order, decoded."""
        source = open_recording(CAMERA, self.location, start_ns=0, fps=self.fps, to_s=to_s)
        try:
            yield from source
        finally:
            source.close()

    @cached_property
    def true_boxes(self) -> Boxes:
        return read_mot(self.truth)


# --- networks


class Remembered:
    """A detector and an embedder for one clip, asked once for all runs; a stage of either kind.

    Args:
        file: Where the answers are kept; it is read now and written by `save`.
    """

    def __init__(self, file: Path, site: Site) -> None:
        self._file, self._site = file, site
        self._found: dict[int, Detections] = {}
        self._rows: dict[bytes, NDArray[np.float32]] = {}
        self._is_new = False
        self.seq = 0  # of the frame that is shown
        if file.is_file():
            self._load()

    @cached_property
    def detector(self) -> Any:
        return build_detector(self._site.detector)

    @cached_property
    def embedder(self) -> Any:
        return build_embedder(self._site.embedder)

    @property
    def model_hash(self) -> str:
        return str(self.embedder.model_hash)

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """What is seen in the frame that is shown."""
        (image,) = images
        if self.seq not in self._found:
            (self._found[self.seq],) = self.detector.detect([image])
            self._is_new = True
        return [self._found[self.seq]]

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """(N, D) unit rows."""
        keys = [_digest(picture) for picture in crops]
        new = [n for n, key in enumerate(keys) if key not in self._rows]
        if new:
            for n, row in zip(new, self.embedder.embed([crops[n] for n in new]), strict=True):
                self._rows[keys[n]] = np.asarray(row, np.float32)
            self._is_new = True
        return np.stack([self._rows[key] for key in keys])

    def save(self) -> None:
        """Keep the answers, if there are new ones."""
        if not self._is_new:
            return
        seqs = sorted(self._found)
        found = [self._found[seq] for seq in seqs]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_suffix(".part.npz")
        np.savez(
            part,
            seqs=np.array(seqs, np.int64),
            counts=np.array([len(one) for one in found], np.int64),
            boxes=np.concatenate([one.boxes for one in found] or [np.zeros((0, 4), np.float32)]),
            scores=np.concatenate([one.scores for one in found] or [np.zeros(0, np.float32)]),
            keys=np.frombuffer(b"".join(self._rows), np.uint8).reshape(-1, DIGEST_BYTES),
            rows=np.stack(list(self._rows.values())) if self._rows else np.zeros((0, 0), np.float32),
        )
        part.replace(self._file)
        self._is_new = False

    def _load(self) -> None:
        with np.load(self._file) as kept:
            columns = {name: kept[name] for name in kept.files}
        ends = np.cumsum(columns["counts"])
        for seq, end, count in zip(columns["seqs"].tolist(), ends, columns["counts"], strict=True):
            own = slice(end - count, end)
            self._found[seq] = Detections.of(columns["boxes"][own], columns["scores"][own])
        for key, row in zip(columns["keys"], columns["rows"], strict=True):
            self._rows[key.tobytes()] = row


def _digest(picture: NDArray[np.uint8]) -> bytes:
    said = hashlib.blake2b(repr(picture.shape).encode(), digest_size=DIGEST_BYTES)
    said.update(np.ascontiguousarray(picture).data)
    return said.digest()


class SharedMotion:
    """A flow estimator that works once for all who ask about the same pictures, and tells how long it took."""

    def __init__(self, estimator: Motion) -> None:
        self._estimator = estimator
        self._image: NDArray[np.uint8] | None = None
        self._reduced: Any = None
        self._between: dict[
            tuple[int, int], tuple[Any, Any, Any]
        ] = {}  # keeps the two alive, so ids stay theirs

    def reduce(self, image: NDArray[np.uint8]) -> Any:
        """The picture's small copy; the same object for the same picture."""
        if image is not self._image:
            self._image, self._reduced = image, self._estimator.reduce(image)
            self._between.clear()
        return self._reduced

    def between(self, before: Any, after: Any) -> Any:
        """The field between two small copies."""
        key = id(before), id(after)
        if key not in self._between:
            self._between[key] = before, after, self._estimator.between(before, after)
        return self._between[key][2]


@dataclass
class Work:
    """What one variant asked of the networks, and its own bookkeeping."""

    frames: int = 0
    detected: int = 0  # pictures
    embed_calls: int = 0
    crops: int = 0
    reduced: int = 0
    fields: int = 0  # flow between two pictures
    own_ms: float = 0.0  # carrying, tracking, linking: this process's, measured

    def __add__(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


class Counted:
    """One variant's view of networks that all share."""

    def __init__(self, networks: Remembered, motion: Motion | None, work: Work, seed: int = 0) -> None:
        self._networks, self._motion, self._work, self._seed = networks, motion, work, seed
        self.shared_s = 0.0  # spent in what is shared
        self.model_hash = networks.model_hash

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        self._work.detected += len(images)
        with self._elsewhere():
            (found,) = self._networks.detect(images)
            if not self._seed:
                return [found]
            kept = np.random.default_rng((self._seed, self._networks.seq)).random(len(found)) >= MISSED_SHARE
            return [found.where(kept)]

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self._work.embed_calls += 1
        self._work.crops += len(crops)
        with self._elsewhere():
            return self._networks.embed(crops)

    def reduce(self, image: NDArray[np.uint8]) -> Any:
        assert self._motion is not None
        self._work.reduced += 1
        with self._elsewhere():
            return self._motion.reduce(image)

    def between(self, before: Any, after: Any) -> Any:
        assert self._motion is not None
        self._work.fields += 1
        with self._elsewhere():
            return self._motion.between(before, after)

    @contextmanager
    def _elsewhere(self) -> Iterator[None]:
        begun = time.thread_time()
        try:
            yield
        finally:
            self.shared_s += time.thread_time() - begun


# --- variants


@dataclass(frozen=True, eq=False)
class Variant:
    """One way to set the camera step."""

    label: str
    flow: str = "dis"
    step: int = 1  # every step-th frame of the clip is shown
    camera: Mapping[str, Any] = field(default_factory=dict)  # settings of the camera
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the site
    build: Callable[..., CameraPipeline] = build_pipeline
    seed: int = 0  # from 1: a few boxes are missed at random, for a mean over what chance does to identities

    def site(self, clip: Clip) -> Site:
        """A site of this one camera."""
        camera = {"url": clip.location, **({"fps": clip.fps} if clip.fps else {}), **self.camera}
        values = {"name": clip.name, "cameras": {CAMERA: camera}, **self.settings}
        return from_values(values, source=self.label)


@dataclass
class Told:
    """What a variant said of a clip."""

    clip: Clip
    variant: Variant
    work: Work
    seen: list[int]  # frames, from 1, that it was shown
    live: Boxes  # as a subscriber would have seen them at the time
    final: Boxes  # with final identities, gaps filled


class Replay:
    """One variant on one clip: the camera step, the linker, and what they said."""

    def __init__(self, clip: Clip, variant: Variant, networks: Remembered, motion: Motion | None) -> None:
        self._clip, self.variant = clip, variant
        self._site = variant.site(clip)
        self._work = Work()
        self._counted = Counted(networks, motion, self._work, variant.seed)
        self._motions: dict[str, Motion] = {} if motion is None else {CAMERA: self._counted}
        self._pipeline = variant.build(CAMERA, self._site, 0, networks.model_hash)
        self._linker, self._ledger = build_linker(self._site), Ledger()
        self._rows: list[NDArray[np.void]] = []
        self._live: list[tuple[float, ...]] = []
        self._seen: list[int] = []
        self._last = (0, 0)

    def step(self, frame: Frame) -> None:
        """Take in one frame of the clip."""
        begun, elsewhere = time.thread_time(), self._counted.shared_s
        (answers,) = ask_batch(
            [self._pipeline], [frame], detector=self._counted, embedder=self._counted, motion=self._motions
        )
        update = self._pipeline.finish(frame.seq, frame.t_ns, answers)
        self._publish(self._linker.step(update))
        spent = time.thread_time() - begun - (self._counted.shared_s - elsewhere)
        self._work.own_ms += 1e3 * spent
        self._work.frames += 1
        self._last = frame.seq, frame.t_ns
        self._seen.append(frame.seq + 1)
        self._note(update)

    def end(self) -> Told:
        """All that was said."""
        self._publish(self._linker.step(self._pipeline.end(*self._last)))
        self._publish(self._linker.step(Advance(t_ns=self._last[1], final=True)))
        rows = np.concatenate(self._rows) if self._rows else np.zeros(0, SPOOL)
        owners = {int(n): self._owner(int(n)) or 0 for n in np.unique(rows["number"])}
        ids = np.array([owners[int(n)] for n in rows["number"]], np.int64)
        final = finished(rows[ids > 0], ids[ids > 0], self._site.process.fill_gaps_s)
        said = [(int(row["frame"]), owner, *row["box"].tolist(), float(row["score"])) for row, owner in final]
        return Told(self._clip, self.variant, self._work, self._seen, _boxes(self._live), _boxes(said))

    def _note(self, update: CameraUpdate) -> None:
        tracks = update.tracks
        rows = np.flatnonzero(tracks.detections != NO_DETECTION)  # found, or carried from the last keyframe
        for n in rows[tracks.states[rows] == CONFIRMED]:
            owner = self._owner(int(tracks.ids[n]))
            if owner is not None:
                self._live.append((update.seq + 1, owner, *tracks.boxes[n].tolist(), float(tracks.scores[n])))
        out = np.zeros(len(rows), SPOOL)
        out["frame"], out["t_ns"] = update.seq + 1, update.t_ns
        out["number"], out["box"], out["score"] = tracks.ids[rows], tracks.boxes[rows], tracks.scores[rows]
        self._rows.append(out)

    def _owner(self, number: int) -> int | None:
        return self._ledger.identity_of(TrackKey(camera_id=CAMERA, run=0, number=number))

    def _publish(self, events: Iterable[Event]) -> None:
        for event in events:
            self._ledger.follow(msgspec.structs.replace(event, seq=event.seq))


def _boxes(rows: Sequence[tuple[float, ...]]) -> Boxes:
    """Of (frame, identity, x1, y1, x2, y2, score)."""
    table = np.array(rows, float).reshape(-1, 7)
    corners = table[:, 2:6].copy()
    corners[:, 2:] -= corners[:, :2]
    whole = table[:, :2].astype(np.int64)
    return Boxes(whole[:, 0], whole[:, 1], corners, table[:, 6], np.full(len(table), np.nan))


def replay(
    clip: Clip,
    variants: Sequence[Variant],
    estimators: Mapping[str, Motion],
    work: Path,
    *,
    to_s: float | None = None,
) -> list[Told]:
    """Every variant on one clip, in one pass over its pictures.

    Args:
        estimators: Flow by the name that variants know it by; a name that is not there runs without flow.
        work: Folder of the remembered answers.
        to_s: The first seconds only.
    """
    cv2.setNumThreads(1)
    site = variants[0].site(clip)
    networks = Remembered(work / "answers" / f"{clip.name}__{_models_of(site)}.npz", site)
    shared = {name: SharedMotion(estimator) for name, estimator in estimators.items()}
    runs = [Replay(clip, variant, networks, shared.get(variant.flow)) for variant in variants]
    for frame in clip.frames(to_s):
        networks.seq = frame.seq
        for run in runs:
            if frame.seq % run.variant.step == 0:
                run.step(frame)
    networks.save()
    return [run.end() for run in runs]


def _models_of(site: Site) -> str:
    detector = site.detector.model if isinstance(site.detector, OnnxDetectorSettings) else "recorded"
    embedder = site.embedder.model if isinstance(site.embedder, OnnxEmbedderSettings) else "none"
    return f"{Path(detector).stem}__{Path(embedder).stem}"


# --- scores


def score(told: Sequence[Told], *, is_live: bool) -> tuple[dict[str, CameraScores], CameraScores | None]:
    """HOTA, IDF1 and switches of every clip and of all together, over the frames that were shown."""
    return score_cameras({one.clip.name: steps_of(one, is_live=is_live) for one in told})


def steps_of(told: Told, *, is_live: bool) -> list[Step]:
    """Truth against what was said, at the frames that were shown."""
    truth, seen = told.clip.true_boxes, set(told.seen)
    last = min(sequence_length(told.clip.truth) or max(seen), max(seen))
    steps = mot_steps(truth, told.live if is_live else told.final, last)
    return [step for step in steps if step.frame in seen]


# --- prices


@dataclass(frozen=True)
class Prices:
    """Milliseconds of one core, medians."""

    decode: float
    detect: float
    embed_call: float  # of a call, whatever is in it
    embed_crop: float  # and of each crop
    reduce: Mapping[str, float]  # by flow estimator
    between: Mapping[str, float]

    def networks_ms(self, work: Work, flow: str) -> dict[str, float]:
        """By network, per frame that was shown."""
        n = max(work.frames, 1)
        moving = self.reduce.get(flow, 0.0) * work.reduced + self.between.get(flow, 0.0) * work.fields
        return {
            "detect": self.detect * work.detected / n,
            "embed": (self.embed_call * work.embed_calls + self.embed_crop * work.crops) / n,
            "flow": moving / n,
        }


def measure_prices(clip: Clip, networks: Remembered, estimators: Mapping[str, Motion]) -> Prices:
    """Every network in turn on the same pictures, several rounds, so that a busy moment hits all alike."""
    spent: dict[str, list[float]] = {}
    begun = time.process_time()
    count = sum(1 for _ in clip.frames())
    decode = 1e3 * (time.process_time() - begun) / max(count, 1)
    # Decoded once more rather than kept: a clip of large pictures does not fit into memory.
    for frame in islice(clip.frames(), 1, None, max(1, count // PRICED_FRAMES)):
        _price_one(frame, networks, estimators, spent)
    found = {name: float(np.median(values)) for name, values in spent.items()}
    one, many = found.get("embed 1", 0.0), found.get("embed 5", 0.0)
    each = max((many - one) / 4, 0.0)
    return Prices(
        decode,
        found["detect"],
        max(one - each, 0.0),
        each,
        {name: found[f"reduce {name}"] for name in estimators},
        {name: found[f"between {name}"] for name in estimators},
    )


def _price_one(
    frame: Frame, networks: Remembered, estimators: Mapping[str, Motion], spent: dict[str, list[float]]
) -> None:
    image = frame.image
    moved = np.roll(image, 3, axis=1)
    networks.seq = frame.seq
    (seen,) = networks.detect([image])
    crops = [crop(image, box) for box in seen.boxes[:5]]
    crops = (crops * 5)[:5]
    for _ in range(PRICED_ROUNDS):
        _clock(spent, "detect", lambda: networks.detector.detect([image]))
        if crops:
            _clock(spent, "embed 1", lambda: networks.embedder.embed(crops[:1]))
            _clock(spent, "embed 5", lambda: networks.embedder.embed(crops))
        for name, estimator in estimators.items():
            before = estimator.reduce(image)
            after = _clock(spent, f"reduce {name}", partial(estimator.reduce, moved))
            _clock(spent, f"between {name}", partial(estimator.between, before, after))


def _clock(spent: dict[str, list[float]], name: str, call: Callable[[], Any]) -> Any:
    begun = time.thread_time()
    answer = call()
    spent.setdefault(name, []).append(1e3 * (time.thread_time() - begun))
    return answer
