"""Simulated people, filmed without a picture: what cameras' trackers make of the truth, and how identities are scored.

Boxes err as a detector's do, looks as the shipped embedder's (`scenes.appearance`), and the camera trackers are the
real ones. `filmed` takes one of the shipped sites, `film` any recordings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import scenes
from scenes import settings
from scenes.appearance import Appearance, Noise, degrade
from scenes.camera import Camera
from scenes.scene import Staged
from scenes.truth import Recording, Walkers, record
from tracker.core.boxes import FloorPlan
from tracker.core.camera_tracker import CameraTracker
from tracker.core.pipeline import Answers, CameraPipeline
from tracker.evaluate import Boxes, CrossCameraScores, prepare, score_across
from tracker.types import CONFIRMED, NO_DETECTION, CameraUpdate, Detections, TrackKey

SITES = Path(scenes.__file__).parent / "sites"
BOX_ERROR = 0.02  # of a detector, standard deviation as a share of a box's height
FOUND_FROM, FOUND_TO, FOUND = 0.2, 0.6, 0.98  # visibility from which on people are found at all, and mostly
SCORED = 0.4  # truth that is less visible neither counts nor harms
LEAST_PX = 24  # lower boxes are not found, nor scored


@cache
def staged(site: str, seed: int = 0, seconds: float = 25.0, people: int | None = None) -> Staged:
    """One of the shipped sites with its people simulated; nobody is dressed."""
    said = settings.load(SITES / f"{site}.yaml")
    crowd = said.people if people is None else said.people.model_copy(update={"count": people, "cast": ()})
    return Staged.of(said.model_copy(update={"seed": seed, "seconds": seconds, "people": crowd}))


@dataclass(frozen=True)
class Filmed:
    """What the cameras of a scene tell, and what was there."""

    updates: dict[str, list[CameraUpdate]]  # by camera, each closed at its end
    truth: dict[str, Recording]
    shown: dict[TrackKey, list[tuple[int, int]]]  # of each of a tracklet's boxes when it was, ns, and on whom

    def in_order(self) -> list[CameraUpdate]:
        """All cameras' updates as ``process`` would take them."""
        return sorted(
            (u for told in self.updates.values() for u in told), key=lambda u: (u.t_ns, u.camera_id, u.seq)
        )


def filmed(
    scene: Staged,
    *,
    seed: int = 0,
    noise: Noise | None = None,
    fps: float = 10.0,
    calibrated: bool = True,
    cameras: Sequence[str] | None = None,
) -> Filmed:
    """The cameras of a staged scene; see `film`.

    Args:
        noise: Of the embedder; that of a place it never saw where None.
        calibrated: Whether feet are placed on the floor.
    """
    names = list(scene.cameras) if cameras is None else list(cameras)
    likeness = scene.scene.people.likeness
    looks = Appearance(
        list(scene.looks),
        names,
        np.random.default_rng([seed, 1]),
        noise=noise,
        likeness=scene.scene.difficulty if likeness is None else likeness,
    )
    walkers = Walkers(scene)
    times = np.arange(int(scene.scene.seconds * fps)) / fps
    return film(
        {name: record(scene, name, times, walkers) for name in names},
        scene.cameras,
        looks,
        seed=seed,
        calibrated=calibrated,
    )


def film(
    truth: dict[str, Recording],
    views: Mapping[str, Camera],
    looks: Appearance,
    *,
    seed: int = 0,
    calibrated: bool = True,
    start_s: float = 0.0,
) -> Filmed:
    """The cameras' trackers with their default settings, on boxes and looks as a detector and an embedder err.

    Args:
        truth: What each camera shows, at evenly spaced times from 0.
        views: The cameras, by name.
        looks: What everybody looks like.
        calibrated: Whether feet are placed on the floor.
        start_s: Capture time of the recordings' time 0.
    """
    updates: dict[str, list[CameraUpdate]] = {}
    shown: dict[TrackKey, list[tuple[int, int]]] = {}
    for n, (name, one) in enumerate(truth.items()):
        view = views[name]
        plan = FloorPlan.of_camera(view.K, view.distortion, view.R, view.t) if calibrated else None
        rng = np.random.default_rng([seed, 2, n])
        updates[name] = _tracked(one, looks, rng, plan, start_s, shown)
    return Filmed(updates, truth, shown)


def _tracked(
    truth: Recording,
    looks: Appearance,
    rng: np.random.Generator,
    plan: FloorPlan | None,
    start_s: float,
    shown: dict[TrackKey, list[tuple[int, int]]],
) -> list[CameraUpdate]:
    tracker = CameraTracker(truth.camera, image_size=truth.size, model_hash="m")
    pipeline = CameraPipeline(truth.camera, tracker=tracker, plan=plan)
    found, boxes, scores = detected(truth, rng)
    rows = embedded(truth, looks, rng)
    first = np.searchsorted(truth.instant[found], np.arange(len(truth.t_s) + 1))
    updates = []
    for seq, t_s in enumerate((truth.t_s + start_s).tolist()):
        here = slice(first[seq], first[seq + 1])
        t_ns = round(t_s * 1e9)
        detections = Detections.of(boxes[here], scores[here])
        chosen = pipeline.choose(t_ns, detections)
        if len(chosen):
            detections = detections.with_embeddings(chosen, rows[found[here]][chosen])
        update = pipeline.finish(seq, t_ns, Answers(detections=detections))
        updates.append(update)
        ids = truth.ids[found[here]]
        for number, row in zip(update.tracks.ids.tolist(), update.tracks.detections.tolist(), strict=True):
            if row != NO_DETECTION:
                key = TrackKey(camera_id=truth.camera, run=0, number=number)
                shown.setdefault(key, []).append((t_ns, int(ids[row])))
    return [*updates, pipeline.end(len(truth.t_s), round((start_s + truth.t_s[-1] + 0.1) * 1e9))]


def detected(
    truth: Recording, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """Rows of the truth that a detector finds, (N,) rising; their boxes (N, 4) within the picture; scores (N,)."""
    width, height = truth.size
    limit = np.array([width, height, width, height])
    tall = truth.boxes[:, 3] - truth.boxes[:, 1]
    off = rng.normal(0, BOX_ERROR, truth.boxes.shape) * tall[:, None] * [0.5, 1, 0.5, 1]
    boxes = np.clip(truth.boxes + off, 0, limit).astype(np.float32)
    sure = np.clip((truth.visibility - FOUND_FROM) / (FOUND_TO - FOUND_FROM), 0, 1)
    is_found = (rng.random(len(sure)) < FOUND * sure) & (tall >= LEAST_PX)
    is_found &= ((boxes[:, 2:] - boxes[:, :2]) > 4).all(axis=1)
    scores = np.clip(0.5 + 0.4 * sure + rng.normal(0, 0.05, len(sure)), 0.05, 0.99)
    return np.flatnonzero(is_found), boxes[is_found], scores[is_found].astype(np.float32)


def embedded(truth: Recording, looks: Appearance, rng: np.random.Generator) -> NDArray[np.float32]:
    """(R, D) an embedder's row of every sighting; those hidden by somebody look a little like them."""
    t_s = truth.t_s[truth.instant]
    rows = looks.rows(truth.camera, t_s, truth.ids, rng, seen_from_rad=truth.seen_from_rad)
    hider = np.zeros_like(rows)
    is_hidden = truth.hider > 0
    hider[is_hidden] = looks.rows(truth.camera, t_s[is_hidden], truth.hider[is_hidden], rng)
    return degrade(
        rows,
        rng,
        height_px=truth.boxes[:, 3] - truth.boxes[:, 1],
        hidden=truth.hidden,
        hider=hider,
        cut=np.clip(1 - truth.visibility - truth.hidden, 0, 1),
    )


class Knows(Protocol):
    """Who says whose a camera's tracklet was at a time: a ledger of a linker's events."""

    def identity_at(self, key: TrackKey, t_ns: int) -> int | None: ...


def scene_score(film: Filmed, whose: Knows) -> CrossCameraScores:
    """The identities, as they are in the end, against the truth of all cameras as one picture."""
    told = (update for updates in film.updates.values() for update in updates)
    return score_across(*prepare(true_boxes(film.truth), said_boxes(told, whose)))


def true_boxes(truth: Mapping[str, Recording], every: int = 1) -> dict[str, Boxes]:
    """By camera, what counts of every so many frames; the rest is there to be ignored."""
    out = {}
    for name, shown in truth.items():
        w, h = shown.size
        boxes = np.clip(shown.boxes, 0, [w, h, w, h])
        counts = (shown.visibility >= SCORED) & (shown.boxes[:, 3] - shown.boxes[:, 1] >= LEAST_PX)
        taken = shown.instant % every == 0
        out[name] = _boxes(
            shown.instant[taken] // every, shown.ids[taken], boxes[taken], counts[taken].astype(float)
        )
    return out


def said_boxes(updates: Iterable[CameraUpdate], whose: Knows, every: int = 1) -> dict[str, Boxes]:
    """By camera, the confirmed boxes of every so many frames with their identities; updates in time order."""
    rows: dict[str, list[tuple[int, int, NDArray[np.float32]]]] = {}
    for update in updates:
        told = rows.setdefault(update.camera_id, [])
        if update.seq % every:
            continue
        for n, number in enumerate(update.tracks.ids.tolist()):
            key = TrackKey(camera_id=update.camera_id, run=update.run, number=number)
            identity = whose.identity_at(key, update.t_ns)
            if update.tracks.states[n] == CONFIRMED and identity is not None:
                told.append((update.seq // every, identity, update.tracks.boxes[n]))
    return {
        name: _boxes(
            np.array([frame for frame, _, _ in told], int),
            np.array([identity for _, identity, _ in told], int),
            np.array([box for _, _, box in told]).reshape(-1, 4),
            np.ones(len(told)),
        )
        for name, told in rows.items()
    }


def _boxes(instant: NDArray, ids: NDArray, boxes: NDArray, scores: NDArray) -> Boxes:
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(float)
    return Boxes(instant.astype(int) + 1, ids.astype(int), sides, scores.astype(float), np.ones(len(ids)))
