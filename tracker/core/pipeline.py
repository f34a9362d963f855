"""The per-camera step: predict, detect, choose, embed, assign.

Nothing is inferred here: the step *asks* (detect these pictures? embed these crops?) and is answered, so that one
camera alone and many cameras in one batch run the same code, and recorded answers need no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from flow.warp import IDENTITY, box_trust, camera_motion, is_still, move_boxes
from tracker.config import KeyframeSettings
from tracker.core.boxes import FloorPlan, foot_points, inside_polygon, iou
from tracker.core.camera_tracker import CameraTracker, picture_quality, sound
from tracker.core.keyframes import is_due
from tracker.stages import Detector, Embedder
from tracker.types import TENTATIVE, CameraUpdate, Detections, Frame, Record, Tracks

MIN_EMBED_QUALITY = 0.15  # worse pictures say more about the background than about the person
SURE_OVERLAP, ALONE_OVERLAP = 0.6, 0.2  # a track that is there and nobody near


class Motion(Protocol):
    """What the step needs of an optical flow estimator (flow.estimator has it)."""

    def reduce(self, image: NDArray[np.uint8]) -> Any: ...
    def between(self, before: Any, after: Any) -> Any: ...


class Stopwatch(Protocol):
    """Is told which stage runs; see tracker.process."""

    def measure(self, stage: str) -> Any: ...


class Answers(Record, frozen=True, kw_only=True):
    """All that a frame's pixels said. Tracking goes on from recorded answers as it would from the pictures."""

    detections: Detections | None = None  # None: the detector rested
    moved: NDArray[np.float32] | None = (
        None  # (N, 4) where the last tracks' boxes are now by flow, NaN: unknown
    )
    trust: NDArray[np.float32] | None = None  # (N,) of each of them in [0, 1]; None: all of it
    camera: NDArray[np.float64] | None = (
        None  # (3, 3) how the camera moved; None: it stood still, or nobody knows
    )
    image_size: tuple[int, int] | None = None  # width and height of the picture, px; None: there was none


class NoStopwatch:
    """Measures nothing."""

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        yield


class CameraPipeline:
    """Everything one camera remembers between frames."""

    def __init__(
        self,
        camera_id: str,
        *,
        tracker: CameraTracker,
        run: int = 0,
        plan: FloorPlan | None = None,
        regions: Sequence[NDArray[np.floating]] = (),
        ignore: Sequence[NDArray[np.floating]] = (),
        mask: NDArray[np.bool_] | None = None,
        keyframes: KeyframeSettings | None = None,
    ) -> None:
        """
        Args:
            plan: the way from the picture to the floor, where the camera is calibrated.
            regions: polygons (K, 2) in pixels; feet must be in one of them, if there are any.
            ignore: polygons (K, 2); who stands in one of them is not looked at.
            mask: (H, W) True where people are looked at.
            keyframes: when the detector looks, and how boxes are carried between; None: in every frame.
        """
        self.camera_id, self.run = camera_id, run
        self._tracker, self._plan = tracker, plan
        self._regions, self._ignore, self._mask = regions, ignore, mask
        self._keyframes = keyframes or KeyframeSettings()
        self._base: tuple[Any, tuple[int, ...]] | None = (
            None  # the reduced picture that flow starts from, its size
        )
        self._drift = IDENTITY  # how the camera has moved since the last keyframe
        self._since = 0  # frames since the last keyframe
        self._last: Tracks | None = None
        self._rested = 0

    def wants_detection(self, load: float) -> bool:
        """Whether this frame is worth the detector, given the load (1.0 = the time budget is used up).

        Keyframes are, see `tracker.core.keyframes`. Of those the detector rests at most at every second one, only
        under load, and never while somebody is new.
        """
        if self._last is None:
            return True
        if not is_due(self._keyframes, self._since + 1, self._tracker.outlook()):
            return False
        certain = not (self._last.states == TENTATIVE).any()
        rest = load > self._tracker.settings.rest_load and certain and self._rested == 0
        self._rested = self._rested + 1 if rest else 0
        return not rest

    def follow(self, motion: Motion, image: NDArray[np.uint8], *, is_keyframe: bool = True) -> Answers:
        """What flow says of this frame: where the tracks' boxes are now, how surely, and how the camera moved.

        Nothing, where there is no picture to start from, it has another size, or nobody is tracked. At a cut the
        rows are NaN as far as the flow knows it for one: its trust is near 0.
        """
        carry = self._keyframes.carry
        if carry == "keys" and not is_keyframe:
            return Answers()
        now = motion.reduce(image), image.shape
        before, boxes, drift = self._base, self._tracker.boxes(), IDENTITY
        if carry != "step":
            boxes, drift = self._tracker.anchors(), self._drift
        if is_keyframe or carry == "step":
            self._base = now
        if before is None or before[1] != now[1] or self._last is None or not len(self._last):
            return Answers()
        flow = motion.between(before[0], now[0])
        if flow is None:
            return Answers()
        return _moved(flow, boxes, drift)

    def prime(self, motion: Motion, image: NDArray[np.uint8]) -> None:
        """Flow will start from this picture: it was the last one (or the last keyframe) of what was done before."""
        self._base = motion.reduce(image), image.shape

    @property
    def base_is_keyframe(self) -> bool:
        """Does flow start from the last keyframe, rather than from the last frame?"""
        return self._keyframes.carry != "step"

    def admitted(self, detections: Detections) -> Detections:
        """Without who stands where nobody is looked for; what is no number is made a box without area."""
        detections = sound(detections)
        if not len(detections) or not (len(self._regions) or len(self._ignore) or self._mask is not None):
            return detections
        feet = foot_points(detections.boxes)
        keep = np.ones(len(detections), bool)
        if len(self._regions):
            keep &= np.any([inside_polygon(feet, polygon) for polygon in self._regions], axis=0)
        for polygon in self._ignore:
            keep &= ~inside_polygon(feet, polygon)
        if self._mask is not None:
            h, w = self._mask.shape
            x = np.clip(feet[:, 0].astype(int), 0, w - 1)
            y = np.clip(feet[:, 1].astype(int), 0, h - 1)
            keep &= self._mask[y, x]
        return detections.where(keep)

    def choose(self, t_ns: int, detections: Detections) -> NDArray[np.intp]:
        """(M,) rows worth embedding: good pictures of somebody not embedded a moment ago, or not told apart."""
        settings = self._tracker.settings
        quality = picture_quality(detections, self._tracker.image_size)
        good = (quality >= MIN_EMBED_QUALITY) & (detections.scores >= self._tracker.sure_score)
        predicted = self._tracker.predicted(t_ns)
        if not len(predicted) or not good.any():
            return np.flatnonzero(good)
        overlap = iou(detections.boxes, predicted)
        best = overlap.argmax(axis=1)
        ranked = np.sort(overlap, axis=1)
        alone = ranked[:, -1] > SURE_OVERLAP
        if overlap.shape[1] > 1:
            alone &= ranked[:, -2] < ALONE_OVERLAP
        recent = self._tracker.embedded_s(t_ns)[best] < settings.embed_every_s
        return np.flatnonzero(good & ~(alone & recent))

    def finish(self, seq: int, t_ns: int, answers: Answers) -> CameraUpdate:
        """Track with what was answered."""
        if answers.image_size is not None:
            self.see(answers.image_size)
        if answers.camera is not None:
            self._tracker.move_camera(answers.camera)
        tracks, tracklets = self._tracker.step(t_ns, answers.detections, answers.moved, answers.trust)
        if answers.detections is not None:
            self._since, self._drift = 0, IDENTITY
        else:
            self._since += 1
            if answers.camera is not None:
                self._drift = after(self._drift, answers.camera)
        self._last = self._located(tracks)
        return CameraUpdate(
            camera_id=self.camera_id,
            run=self.run,
            seq=seq,
            t_ns=t_ns,
            tracks=self._last,
            tracklets=tuple(tracklets),
            detected=answers.detections is not None,
        )

    def end(self, seq: int, t_ns: int) -> CameraUpdate:
        """Close every track: the camera has ended."""
        return CameraUpdate(
            camera_id=self.camera_id,
            run=self.run,
            seq=seq,
            t_ns=t_ns,
            tracks=Tracks.of(np.zeros(0), np.zeros((0, 4)), np.zeros(0)),
            tracklets=tuple(self._tracker.finish(t_ns)),
            detected=False,
        )

    def see(self, image_size: tuple[int, int]) -> None:
        """The picture's width and height are known now."""
        self._tracker.image_size = image_size

    def _located(self, tracks: Tracks) -> Tracks:
        """With the foot points on the floor, for a calibrated camera."""
        if self._plan is None or not len(tracks):
            return tracks
        place, sigma = self._plan.stand(tracks.boxes, self._tracker.image_size)
        return msgspec.structs.replace(
            tracks,
            floor_xy_m=place.astype(np.float32),
            floor_sigma_m=sigma.astype(np.float32),
            floor_near_xy_m=self._plan.nearest(tracks.boxes).astype(np.float32),
        )


def _moved(flow: Any, boxes: NDArray[np.float64], drift: NDArray[np.float64]) -> Answers:
    """What a field says of boxes at its start; the camera has already moved by ``drift`` of what the field shows."""
    moved, valid = move_boxes(boxes, flow.field, flow.scale, trust=flow.trust)
    moved[~valid] = np.nan
    trust = None if flow.trust is None else np.where(valid, box_trust(boxes, flow.trust, flow.scale), 0.0)
    camera = camera_motion(flow.field, flow.scale, boxes, flow.trust)
    if camera is not None:
        camera = after(inverse(drift), camera)
    return Answers(
        moved=moved,
        trust=None if trust is None else trust.astype(np.float32),
        camera=None if camera is None or is_still(camera) else camera,
    )


def after(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """The transform (3, 3) that does ``first``, then ``second``."""
    both = np.asarray(second, np.float64) @ first
    return np.asarray(both / both[2, 2])


def inverse(transform: NDArray[np.floating]) -> NDArray[np.float64]:
    """The transform (3, 3) that takes back ``transform``."""
    back = np.linalg.inv(transform)
    return np.asarray(back / back[2, 2])


Motions = Mapping[str, Motion]  # camera -> its optical flow; one that is not there has none
Recordings = dict[str, Callable[[int], Detections]]  # camera -> (frame number from 0 -> detections)


def step_batch(
    pipelines: Sequence[CameraPipeline],
    frames: Sequence[Frame],
    *,
    detector: Detector | None,
    embedder: Embedder | None,
    motion: Motion | Motions | None = None,
    recorded: Recordings | None = None,
    load: float = 0.0,
    stopwatch: Stopwatch | None = None,
) -> list[CameraUpdate]:
    """One frame each of several cameras, asking every network once for all; see `ask_batch`."""
    watch = stopwatch or NoStopwatch()
    answers = ask_batch(
        pipelines,
        frames,
        detector=detector,
        embedder=embedder,
        motion=motion,
        recorded=recorded,
        load=load,
        stopwatch=watch,
    )
    with watch.measure("track"):
        return [p.finish(f.seq, f.t_ns, a) for p, f, a in zip(pipelines, frames, answers, strict=True)]


def ask_batch(
    pipelines: Sequence[CameraPipeline],
    frames: Sequence[Frame],
    *,
    detector: Detector | None,
    embedder: Embedder | None,
    motion: Motion | Motions | None = None,
    recorded: Recordings | None = None,
    load: float = 0.0,
    stopwatch: Stopwatch | None = None,
) -> list[Answers]:
    """What the pixels of one frame each of several cameras say.

    Args:
        pipelines: N different cameras.
        frames: their N frames; a picture without pixels (recorded input) is shown to nobody.
        recorded: cameras whose detections are recorded; their frames are not shown to the detector, and what comes
            with embeddings is not shown to the embedder. Between keyframes they are not looked at.
        motion: one optical flow for all cameras, or each camera's own.
        load: share of the time budget used, 1.0 = all.
    """
    watch, recorded = stopwatch or NoStopwatch(), recorded or {}
    pairs = list(zip(pipelines, frames, strict=True))
    for pipeline, frame in pairs:
        if frame.image.size:
            pipeline.see((frame.image.shape[1], frame.image.shape[0]))
    # What nobody looks at is no keyframe: flow goes on from the last one.
    is_key = [p.wants_detection(load) and (detector is not None or f.camera_id in recorded) for p, f in pairs]
    flows = [Answers() for _ in pairs]
    if motion is not None:
        with watch.measure("flow"):
            flows = [_followed(p, f, motion, key) for (p, f), key in zip(pairs, is_key, strict=True)]
    found: list[Detections | None] = [None] * len(pairs)
    asked = []
    for n, (_, frame) in enumerate(pairs):
        if not is_key[n]:
            continue
        if frame.camera_id in recorded:
            found[n] = recorded[frame.camera_id](frame.seq)
        else:
            asked.append(n)
    if asked and detector is not None:
        with watch.measure("detect"):
            for n, detections in zip(asked, detector.detect([frames[n].image for n in asked]), strict=True):
                found[n] = detections
    with watch.measure("track"):
        seen = [None if d is None else p.admitted(d) for (p, _), d in zip(pairs, found, strict=True)]
        chosen = [
            p.choose(f.t_ns, d)
            if d is not None and f.image.size and not len(d.embedded)
            else np.zeros(0, np.intp)
            for (p, f), d in zip(pairs, seen, strict=True)
        ]
    if embedder is not None and any(map(len, chosen)):
        with watch.measure("embed"):
            seen = _embedded(embedder, frames, seen, chosen)
    sizes = [(f.image.shape[1], f.image.shape[0]) if f.image.size else None for f in frames]
    return [
        msgspec.structs.replace(flow, detections=d, image_size=size)
        for flow, d, size in zip(flows, seen, sizes, strict=True)
    ]


def _followed(pipeline: CameraPipeline, frame: Frame, motion: Motion | Motions, is_keyframe: bool) -> Answers:
    own = motion.get(frame.camera_id) if isinstance(motion, Mapping) else motion
    if own is None or not frame.image.size:
        return Answers()
    return pipeline.follow(own, frame.image, is_keyframe=is_keyframe)


def _embedded(
    embedder: Embedder,
    frames: Sequence[Frame],
    seen: Sequence[Detections | None],
    chosen: Sequence[NDArray[np.intp]],
) -> list[Detections | None]:
    """The chosen rows of every frame embedded, all in one call."""
    boxes = [
        (f, d.boxes[r])
        for f, d, rows in zip(frames, seen, chosen, strict=True)
        if d is not None
        for r in rows
    ]
    answers = embedder.embed([crop(frame.image, box) for frame, box in boxes])
    out: list[Detections | None] = []
    start = 0
    for detections, rows in zip(seen, chosen, strict=True):
        if detections is not None and len(rows):
            detections = detections.with_embeddings(rows, answers[start : start + len(rows)])
            start += len(rows)
        out.append(detections)
    return out


def crop(image: NDArray[np.uint8], box: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The picture inside a box, at least one pixel wide and high."""
    height, width = image.shape[:2]
    x1, y1 = int(np.clip(box[0], 0, width - 1)), int(np.clip(box[1], 0, height - 1))
    x2, y2 = int(np.clip(np.ceil(box[2]), x1 + 1, width)), int(np.clip(np.ceil(box[3]), y1 + 1, height))
    return image[y1:y2, x1:x2]
