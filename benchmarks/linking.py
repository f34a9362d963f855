"""How well identities are linked across cameras, next to what they must reach; made to be run while the linker changes.

    python -m benchmarks.linking --data DIR [--only NAME ...] [--seeds N] [--relink] [--scorer FILE] [--json FILE]

``DIR`` (or ``$THROUGHLINE_DATA``) holds ``mtmc/wildtrack``, ``mtmc/ufes_lab`` and ``mtmc/usc_plaza``; what is not there
is said and left out. Everything runs on the settings' defaults.

The ``wildtrack`` rows have no pictures: the annotated boxes of seven overlapping cameras, 2 frames a second, go through
our camera trackers and the linker, as they are or worsened as `NOISES` says, and every box that was handed in counts.
The other rows run the command line on videos, which takes minutes; ``--relink`` takes the tracks of the last such run
from its tape and runs the linker alone.

Beside each row stands what the linker could have reached: *linked by truth* gives every tracklet, uncut, to the person
that it is mostly on. *plain* is the frame-wise baseline: feet at most 1 m apart are one person, and so are they from
frame to frame where they walked on. *after the lag*: without the first 13 s, in which the annotation of
``wildtrack`` is behind.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from benchmarks.accuracy import (
    UFES_CAMERAS,
    Absent,
    Bench,
    Row,
    across_figures,
    as_json,
    as_text,
    least,
    measure,
    most,
)
from tracker.build import build_linker, build_pipeline
from tracker.config import Site, from_values
from tracker.core.boxes import FloorPlan, foot_points
from tracker.core.ledger import Ledger
from tracker.core.linker import Linker
from tracker.core.pipeline import Answers
from tracker.evaluate import (
    Boxes,
    FrameRange,
    Scores,
    Step,
    camera_files,
    find_hits,
    identity_scores,
    prepare,
    read_mot,
    score_across,
    true_stays,
)
from tracker.io.tape import TapeReader
from tracker.process import SPOOL, TAPE, finished
from tracker.types import CONFIRMED, NO_DETECTION, Advance, CameraUpdate, Detections, LinkerInput, TrackKey

F = NDArray[np.float64]

WILDTRACK = ("CVLab1", "CVLab2", "CVLab3", "CVLab4", "IDIAP1", "IDIAP2", "IDIAP3")  # viewNum 0 to 6
WILDTRACK_FPS = 2.0
WILDTRACK_SIZE = (1920, 1080)
WILDTRACK_LAGS_S = (
    13.0  # for so long the annotation lags: people stand, and are 2 m further half a second later
)
PLAZA_CAMERAS = ("cam1", "cam2")
APART_S = 10.0  # away from a camera for longer: coming back is a new visit
KEEP_TAPE = ("--set", "store.keep_tapes=true")
PLAIN_GATE_M, PLAIN_WAIT_S = 1.0, 2.0

DROPPED_SHARE, FOOT_SIGMA_M = 0.3, 0.10  # noisy
HIDDEN_SPANS, SPAN_S = 0.3, 3.0  # hidden: in this share of spans of one person in one camera
HIDDEN_HEIGHT = (0.2, 0.5)  # of the box, from below: feet and shins to all of the legs
BIAS_M = 0.2  # biased


# --- boxes of a calibrated place


@dataclass(frozen=True)
class View:
    """One calibrated camera."""

    K: F  # (3, 3), without distortion
    R: F  # (3, 3) world -> camera
    t: F  # (3,) metres

    @property
    def plan(self) -> FloorPlan:
        return FloorPlan.of_camera(self.K, np.zeros(0), self.R, self.t)

    def project(self, floor_xy_m: F) -> F:
        """(N, 2) pixels of places (N, 2) on the floor."""
        image_from_floor = self.K @ np.stack((self.R[:, 0], self.R[:, 1], self.t), axis=1)
        q = np.column_stack((floor_xy_m, np.ones(len(floor_xy_m)))) @ image_from_floor.T
        return np.asarray(q[:, :2] / q[:, 2:])


@dataclass(frozen=True)
class Sightings:
    """Who stood where in which picture: N boxes, as columns."""

    frames: NDArray[np.int64]  # (N,) from 1
    cameras: NDArray[np.int64]  # (N,) place in the list of cameras
    persons: NDArray[np.int64]  # (N,)
    boxes: F  # (N, 4) x1, y1, x2, y2 px

    def __len__(self) -> int:
        return len(self.frames)

    def where(self, keep: NDArray) -> Sightings:
        """The rows chosen by a mask or an index array."""
        return Sightings(self.frames[keep], self.cameras[keep], self.persons[keep], self.boxes[keep])


@dataclass(frozen=True)
class Scene:
    """Annotated boxes of calibrated cameras that look at one floor."""

    views: dict[str, View]
    seen: Sightings
    fps: float
    size: tuple[int, int]  # of every picture, px

    def boxes(self, ids: NDArray[np.int64] | None = None) -> dict[str, Boxes]:
        """The boxes by camera, under the persons' or other ids (N,)."""
        ids = self.seen.persons if ids is None else ids
        return {
            camera_id: _as_mot(self.seen.frames[own], ids[own], self.seen.boxes[own])
            for n, camera_id in enumerate(self.views)
            for own in [self.seen.cameras == n]
        }

    def feet_m(self) -> F:
        """(N, 2) where the boxes' feet stand on the floor; NaN at the horizon."""
        floor = np.full((len(self.seen), 2), np.nan)
        for n, view in enumerate(self.views.values()):
            own = self.seen.cameras == n
            floor[own] = view.plan.locate(foot_points(self.seen.boxes[own]))
        return floor


def _as_mot(frames: NDArray, ids: NDArray, corners: NDArray, scores: NDArray | None = None) -> Boxes:
    sides = np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), axis=1).astype(np.float64)
    known = np.ones(len(ids)) if scores is None else scores.astype(np.float64)
    return Boxes(frames.astype(np.int64), ids.astype(np.int64), sides, known, np.full(len(ids), np.nan))


def read_wildtrack(folder: Path) -> Scene:
    """The annotation of WILDTRACK (Chavdarova et al., CVPR 2018): a tar of one JSON file a frame, and calibrations.

    Raises:
        Absent: A file is not there.
    """
    packed, calibrations = folder / "annotations_positions.tar.xz", folder / "calibrations"
    if not packed.is_file() or not calibrations.is_dir():
        raise Absent(f"{folder} needs annotations_positions.tar.xz and calibrations/")
    rows: list[tuple[int, ...]] = []
    with tarfile.open(packed) as tar:
        names = sorted(name for name in tar.getnames() if name.endswith(".json"))
        for frame, name in enumerate(names, 1):
            member = tar.extractfile(name)
            assert member is not None
            for person in json.load(member):
                for view in person["views"]:
                    box = tuple(view[side] for side in ("xmin", "ymin", "xmax", "ymax"))
                    if box != (-1, -1, -1, -1):
                        rows.append((frame, view["viewNum"], person["personID"], *box))
    table = np.array(rows, np.int64).reshape(-1, 7)
    seen = Sightings(table[:, 0], table[:, 1], table[:, 2], table[:, 3:].astype(np.float64))
    views = {f"C{n + 1}": read_view(calibrations, name) for n, name in enumerate(WILDTRACK)}
    return Scene(views, seen, WILDTRACK_FPS, WILDTRACK_SIZE)


def read_view(calibrations: Path, name: str) -> View:
    """One camera's files in OpenCV's XML; their world is in centimetres.

    Raises:
        Absent: A file is not there.
    """
    inside = calibrations / "intrinsic_zero" / f"intr_{name}.xml"
    outside = calibrations / "extrinsic" / f"extr_{name}.xml"
    for path in (inside, outside):
        if not path.is_file():
            raise Absent(f"{path} is not there")
    storage = cv2.FileStorage(str(inside), cv2.FILE_STORAGE_READ)
    K = storage.getNode("camera_matrix").mat()
    storage.release()
    # rvec and tvec are lists of numbers without a shape, which OpenCV reads as sequences.
    storage = cv2.FileStorage(str(outside), cv2.FILE_STORAGE_READ)
    rvec, tvec = (
        np.array([storage.getNode(part).at(k).real() for k in range(3)]) for part in ("rvec", "tvec")
    )
    storage.release()
    R, _ = cv2.Rodrigues(rvec)
    return View(np.asarray(K, np.float64), np.asarray(R, np.float64), tvec / 100)


# --- noise


def dropped(scene: Scene, share: float, rng: np.random.Generator) -> Scene:
    """Without a share of the boxes, at random."""
    return replace(scene, seen=scene.seen.where(rng.random(len(scene.seen)) >= share))


def moved(scene: Scene, offset_m: F) -> Scene:
    """Feet moved by (N, 2) metres on the floor; the boxes go with them in the picture, as large as before."""
    seen = scene.seen
    boxes = seen.boxes.copy()
    for n, view in enumerate(scene.views.values()):
        own = np.flatnonzero(seen.cameras == n)
        feet = foot_points(seen.boxes[own])
        shift = view.project(view.plan.locate(feet) + offset_m[own]) - feet
        boxes[own] += np.tile(np.nan_to_num(shift), 2)
    return replace(scene, seen=replace(seen, boxes=boxes))


def feet_hidden(scene: Scene, spans: float, rng: np.random.Generator) -> Scene:
    """In a share of the spans of `SPAN_S` of each person in each camera, the lower part of the box is cut off.

    How much of it, `HIDDEN_HEIGHT`, stays for the span: something stands before the legs.
    """
    seen = scene.seen
    span = ((seen.frames - 1) / scene.fps // SPAN_S).astype(np.int64)
    _, number = np.unique(np.stack((seen.persons, seen.cameras, span)), axis=1, return_inverse=True)
    count = int(number.max(initial=-1)) + 1
    cut = np.where(rng.random(count) < spans, rng.uniform(*HIDDEN_HEIGHT, count), 0.0)[number.reshape(-1)]
    boxes = seen.boxes.copy()
    boxes[:, 3] -= cut * (boxes[:, 3] - boxes[:, 1])
    return replace(scene, seen=replace(seen, boxes=boxes))


def noisy(scene: Scene, rng: np.random.Generator) -> Scene:
    """Boxes dropped, and foot noise on each axis of the floor."""
    left = dropped(scene, DROPPED_SHARE, rng)
    return moved(left, rng.normal(0, FOOT_SIGMA_M, (len(left.seen), 2)))


def biased(scene: Scene, rng: np.random.Generator) -> Scene:
    """Every camera is off by `BIAS_M` in a direction of its own."""
    angle = rng.uniform(0, 2 * np.pi, len(scene.views))
    off = BIAS_M * np.stack((np.cos(angle), np.sin(angle)), axis=1)
    return moved(scene, off[scene.seen.cameras])


NOISES: dict[str, tuple[Callable[[Scene, np.random.Generator], Scene], float]] = {  # and the least IDF1
    "clean": (lambda scene, rng: scene, 97),
    "noisy": (noisy, 95),
    "hidden": (lambda scene, rng: feet_hidden(scene, HIDDEN_SPANS, rng), 95),
    "biased": (biased, 90),
}


# --- tracking and linking


def site_of(scene: Scene) -> Site:
    """A site of these cameras, everything else by default."""
    cameras = {
        camera_id: {
            "url": f"{camera_id}.npz",
            "calibration": {"K": view.K.tolist(), "R": view.R.tolist(), "t": view.t.tolist()},
        }
        for camera_id, view in scene.views.items()
    }
    kinds = {"detector": {"kind": "recorded"}, "embedder": {"kind": "none"}}
    return from_values({"name": "scene", "cameras": cameras, **kinds}, source="scene")


def tracked(scene: Scene, site: Site) -> list[CameraUpdate]:
    """All cameras' updates in the order of capture, each camera closed at its end."""
    pipelines = {camera_id: build_pipeline(camera_id, site) for camera_id in scene.views}
    seen, updates = scene.seen, []
    last = int(seen.frames.max(initial=0))
    order = np.lexsort((seen.cameras, seen.frames))
    place = seen.frames[order] * len(pipelines) + seen.cameras[order]
    for seq in range(last):
        t_ns = round(seq / scene.fps * 1e9)
        for n, pipeline in enumerate(pipelines.values()):
            here = (seq + 1) * len(pipelines) + n
            own = order[np.searchsorted(place, here) : np.searchsorted(place, here + 1)]
            found = pipeline.admitted(Detections.of(seen.boxes[own], np.ones(len(own))))
            updates.append(pipeline.finish(seq, t_ns, Answers(detections=found, image_size=scene.size)))
    t_ns = round(last / scene.fps * 1e9)
    return updates + [pipeline.end(last, t_ns) for pipeline in pipelines.values()]


@dataclass
class Told:
    """What was said of every box that a track was on."""

    fill_gaps_s: float
    rows: dict[str, list[NDArray[np.void]]] = field(default_factory=dict)  # by camera, see `SPOOL`
    published: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)  # frame, id, box, score
    keys: set[TrackKey] = field(default_factory=set)  # of the confirmed tracklets
    ledger: Ledger = field(default_factory=Ledger)
    link_s: float = 0.0

    def final(self) -> dict[str, Boxes]:
        """Under the identities as they were in the end."""
        return self._said(lambda key, t_ns: self.ledger.identity_at(key, t_ns) or 0)

    def as_published(self) -> dict[str, Boxes]:
        """Under the identities that a subscriber would have seen at the time."""
        out = {}
        for camera_id, rows in self.published.items():
            table = np.array(rows, float).reshape(-1, 7)
            out[camera_id] = _as_mot(table[:, 0], table[:, 1], table[:, 2:6], table[:, 6])
        return out

    def under(self, owner: Callable[[TrackKey], int]) -> dict[str, Boxes]:
        """Under other owners of the tracklets, from 1; who has 0 is left out."""
        return self._said(lambda key, _: owner(key))

    def _said(self, owner: Callable[[TrackKey, int], int]) -> dict[str, Boxes]:
        out = {}
        for camera_id, frames in self.rows.items():
            rows = np.concatenate(frames) if frames else np.zeros(0, SPOOL)
            told = zip(rows["number"].tolist(), rows["t_ns"].tolist(), strict=True)
            ids = np.array([owner(_key(camera_id, number), t_ns) for number, t_ns in told], np.int64)
            said = finished(rows[ids > 0], ids[ids > 0], self.fill_gaps_s)
            kept = np.array([row for row, _ in said], SPOOL)
            names = np.array([i for _, i in said], np.int64)
            out[camera_id] = _as_mot(kept["frame"], names, kept["box"], kept["score"])
        return out

    def by_truth(self, truth: Mapping[str, Boxes], **options: Any) -> dict[str, Boxes]:
        """Every confirmed tracklet under the person that it is mostly on; one on nobody stays by itself."""
        people = self.people(truth, **options)
        return self.under(lambda key: people.get(key, 0))

    def tracklets(self) -> dict[TrackKey, int]:
        """A number from 1 for every confirmed tracklet, as if nobody were linked."""
        return {key: n for n, key in enumerate(sorted(self.keys), 1)}

    def people(self, truth: Mapping[str, Boxes], **options: Any) -> dict[TrackKey, int]:
        """The person (numbered from 1) that each tracklet is mostly on, a number of its own where it is on nobody."""
        numbers = self.tracklets()
        steps, _ = prepare(truth, self.under(lambda key: numbers.get(key, 0)), **options)
        on = find_hits(steps).on_persons
        nobody = 1 + max(int(boxes.ids.max(initial=0)) for boxes in truth.values())
        return {
            key: 1 + (on[n].most_common(1)[0][0] if n in on else nobody + n) for key, n in numbers.items()
        }


def _key(camera_id: str, number: int) -> TrackKey:
    return TrackKey(camera_id=camera_id, run=0, number=number)


def linked(messages: Iterable[LinkerInput], linker: Linker | None, *, fill_gaps_s: float) -> Told:
    """What the linker says of what it hears, as ``process`` would write it; without a linker, nothing is said."""
    told = Told(fill_gaps_s)
    last_ns, is_final = 0, False
    for message in messages:
        last_ns = max(last_ns, message.t_ns)
        is_final |= isinstance(message, Advance) and message.final
        _hear(told, linker, message)
        if isinstance(message, CameraUpdate):
            _note(told, message)
    if not is_final:
        _hear(told, linker, Advance(t_ns=last_ns, final=True))
    return told


def _hear(told: Told, linker: Linker | None, message: LinkerInput) -> None:
    if linker is None:
        return
    begun = time.thread_time()
    events = linker.step(message)
    told.link_s += time.thread_time() - begun
    for event in events:
        told.ledger.follow(event)


def _note(told: Told, update: CameraUpdate) -> None:
    tracks, camera_id = update.tracks, update.camera_id
    told.keys.update(tracklet.key for tracklet in update.tracklets)
    on_boxes = np.flatnonzero(tracks.detections != NO_DETECTION)
    rows = np.zeros(len(on_boxes), SPOOL)
    rows["frame"], rows["t_ns"] = update.seq + 1, update.t_ns
    rows["number"], rows["box"], rows["score"] = (
        column[on_boxes] for column in (tracks.ids, tracks.boxes, tracks.scores)
    )
    told.rows.setdefault(camera_id, []).append(rows)
    published = told.published.setdefault(camera_id, [])
    for n in on_boxes[tracks.states[on_boxes] == CONFIRMED]:
        owner = told.ledger.identity_at(_key(camera_id, int(tracks.ids[n])), update.t_ns)
        if owner is not None:
            box, score = tracks.boxes[n].tolist(), float(tracks.scores[n])
            published.append((update.seq + 1, owner, *box, score))


# --- the plain baseline


def plain_ids(scene: Scene, gate_m: float = PLAIN_GATE_M) -> NDArray[np.int64]:
    """(N,) ids, from 1, of the frame-wise baseline.

    In a frame the nearest two feet of different cameras are joined first, and so on up to the gate, one foot of each
    camera at most. The means are matched, at least total distance, with where the people of the last `PLAIN_WAIT_S`
    would be if they had walked on, up to the gate.
    """
    seen, floor = scene.seen, scene.feet_m()
    ids = np.zeros(len(seen), np.int64)
    people = np.zeros(0, np.int64)
    places, steps, last = np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0)  # metres, metres a frame, frame
    for frame in range(1, int(seen.frames.max(initial=0)) + 1):
        rows = np.flatnonzero((seen.frames == frame) & np.isfinite(floor).all(axis=1))
        groups = _nearest_groups(floor[rows], seen.cameras[rows], gate_m)
        count = int(groups.max(initial=-1)) + 1
        means = np.array([floor[rows[groups == g]].mean(axis=0) for g in range(count)]).reshape(-1, 2)
        expected = places + steps * (frame - last)[:, None]
        apart = np.linalg.norm(means[:, None] - expected[None], axis=2)
        here, before = linear_sum_assignment(np.where(apart <= gate_m, apart, 1e6))
        is_near = apart[here, before] <= gate_m
        here, before = here[is_near], before[is_near]
        fresh = np.setdiff1d(np.arange(count), here)
        owners = np.zeros(count, np.int64)
        owners[here] = people[before]
        owners[fresh] = frame * len(seen) + fresh + 1  # never given before
        walked = np.zeros((count, 2))
        walked[here] = (means[here] - places[before]) / (frame - last[before])[:, None]
        ids[rows] = owners[groups]
        waiting = np.setdiff1d(np.flatnonzero(frame - last < PLAIN_WAIT_S * scene.fps), before)
        people = np.concatenate((people[waiting], owners))
        places = np.concatenate((places[waiting], means))
        steps = np.concatenate((steps[waiting], walked))
        last = np.concatenate((last[waiting], np.full(count, float(frame))))
    lost = np.flatnonzero(ids == 0)  # feet at the horizon are by themselves
    ids[lost] = -1 - lost
    return np.asarray(np.unique(ids, return_inverse=True)[1].reshape(-1) + 1, np.int64)


def _nearest_groups(floor: F, cameras: NDArray[np.int64], gate_m: float) -> NDArray[np.int64]:
    """(N,) the group of each of N feet (N, 2), from 0."""
    apart = np.linalg.norm(floor[:, None] - floor[None], axis=2)
    pairs = np.argwhere(np.triu(apart <= gate_m, 1))
    groups = np.arange(len(floor))
    for a, b in pairs[np.argsort(apart[pairs[:, 0], pairs[:, 1]], kind="stable")]:
        one, other = groups == groups[a], groups == groups[b]
        if groups[a] != groups[b] and not np.isin(cameras[one], cameras[other]).any():
            groups[other] = groups[a]
    return np.asarray(np.unique(groups, return_inverse=True)[1].reshape(-1), np.int64)


# --- rows


@dataclass
class Linking(Bench):
    """How the rows are run."""

    seeds: int = 1
    seconds: float = math.inf  # of the boxes without pictures, from the start
    tracks_only: bool = False  # no linker: what it could reach
    relink: bool = False  # the linker alone, on the tapes of an earlier run
    scorer: Path | None = None  # another scorer, asked for the same outputs

    def checked(
        self, name: str, truth: Mapping[str, Boxes], said: Mapping[str, Boxes], *options: str
    ) -> None:
        """Print what another scorer says of the same boxes, where one was given."""
        if self.scorer is None:
            return
        folder = self.out(name) / "scored"
        arguments: list[str] = []
        for kind, boxes in (("gt", truth), ("res", said)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            files = [
                f"{camera_id}={_write_mot(folder / kind, camera_id, own)}" for camera_id, own in boxes.items()
            ]
            arguments += [f"--{kind}", *files]
        done = subprocess.run(
            [sys.executable, str(self.scorer), *arguments, *options, "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        other = json.loads(done.stdout)
        print(
            f"  {self.scorer.name} on {name}: IDF1 {100 * other['IDF1']:.3f}, HOTA {100 * other['HOTA']:.3f}, "
            f"hand-overs {other['handovers_kept']} of {other['handovers']}, "
            f"false merges {100 * other['false_merge_rate']:.3f}, ids {other['ids_on_persons']}"
        )


def _write_mot(folder: Path, camera_id: str, boxes: Boxes) -> Path:
    path = folder / f"{camera_id}.txt"
    table = np.column_stack((boxes.frames, boxes.ids, boxes.boxes, boxes.scores))
    np.savetxt(path, table, fmt=["%d", "%d", *["%.9g"] * 5], delimiter=",")
    return path


def idf1_of(truth: Mapping[str, Boxes], said: Mapping[str, Boxes], **options: Any) -> float:
    """IDF1 across cameras, in %."""
    return _idf1(prepare(truth, said, **options)[0])


def _idf1(steps: Sequence[Step]) -> float:
    true, false, missed = identity_scores(steps)
    return 100 * 2 * true / max(2 * true + false + missed, 1)


def camera_figures(truth: Mapping[str, Boxes], told: Told, **options: Any) -> dict[str, float]:
    """How good the tracks of the single cameras are, before anybody links them."""
    numbers = told.tracklets()
    steps, _ = prepare(truth, told.under(lambda key: numbers.get(key, 0)), **options)
    counts = np.zeros(3)
    for camera_id in truth:
        counts += identity_scores([step for step in steps if step.camera_id == camera_id])
    hits = find_hits(steps)
    stays = true_stays(steps, 30)
    pieces = len({(camera, person, i) for (camera, _, person), i in hits.ids.items()})
    last, switches = dict[tuple[str, int], int](), 0
    for camera, frame, person in sorted(hits.ids):
        i = hits.ids[camera, frame, person]
        switches += last.get((camera, person), i) != i
        last[camera, person] = i
    mixed = sum(len(on) > 1 for on in hits.on_persons.values())
    return {
        "one camera IDF1": 100 * 2 * counts[0] / max(2 * counts[0] + counts[1] + counts[2], 1),
        "one camera switches": switches,
        "tracklets": len(numbers),
        "tracklets a visit": pieces / max(len(stays), 1),
        "tracklets on two people": mixed,
        "boxes tracked %": 100 * hits.boxes / max(sum(len(step.persons) for step in steps), 1),
    }


def wildtrack(noise: str) -> Callable[[Linking], Row]:
    """A row of the boxes without pictures."""

    def fill(bench: Linking) -> Row:
        scene = read_wildtrack(bench.folder("mtmc", "wildtrack"))
        scene = replace(scene, seen=scene.seen.where((scene.seen.frames - 1) / scene.fps < bench.seconds))
        found = [scene_figures(scene, noise, seed, bench) for seed in range(bench.seeds)]
        figures = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
        if bench.tracks_only:
            return Row(f"wildtrack_{noise}", figures)
        if bench.seeds > 1:
            figures["lowest IDF1"] = min(one["IDF1"] for one in found)
        return Row(f"wildtrack_{noise}", figures, {"IDF1": least(NOISES[noise][1])})

    return fill


def scene_figures(scene: Scene, noise: str, seed: int, bench: Linking) -> dict[str, float]:
    """All figures of a scene under one draw of its noise."""
    worsened = NOISES[noise][0](scene, np.random.default_rng(seed))
    site = site_of(worsened)
    begun = time.thread_time()
    updates = tracked(worsened, site)
    track_s = time.thread_time() - begun
    # Every box that was handed in counts, and no other: gaps stay open.
    told = linked(updates, None if bench.tracks_only else build_linker(site), fill_gaps_s=0.0)
    truth = worsened.boxes()
    reached = {
        "IDF1 linked by truth": idf1_of(truth, told.by_truth(truth)),
        "plain IDF1": idf1_of(truth, worsened.boxes(plain_ids(worsened))),
        **camera_figures(truth, told),
        "track s": track_s,
    }
    if bench.tracks_only:
        return reached
    said, gap_frames = told.final(), round(APART_S * scene.fps)
    across = score_across(*prepare(truth, said), gap_frames=gap_frames)
    bench.checked(f"wildtrack_{noise}", truth, said, "--gap", str(gap_frames))
    figures = across_figures(Scores(across, {}, None))
    figures["IDF1 as published"] = idf1_of(truth, told.as_published())
    first, last = round(WILDTRACK_LAGS_S * scene.fps) + 1, int(scene.seen.frames.max(initial=0))
    if last > first:
        figures["IDF1 after the lag"] = idf1_of(truth, said, frames=FrameRange(first, last))
    return {**figures, **reached, "link s": told.link_s}


def ufes_lab(bench: Linking) -> Row:
    """Two walkers before four calibrated cameras that see one room."""
    return _ufes(bench, "linking_ufes_lab", is_calibrated=True)


def ufes_lab_uncalibrated(bench: Linking) -> Row:
    """The same by looks and time alone."""
    return _ufes(bench, "linking_ufes_lab_uncalibrated", is_calibrated=False)


def _ufes(bench: Linking, name: str, *, is_calibrated: bool) -> Row:
    folder = bench.folder("mtmc", "ufes_lab")
    if not bench.relink:
        bench.ufes(name, *KEEP_TAPE, is_calibrated=is_calibrated)
    figures = video_figures(bench, name, folder, UFES_CAMERAS, gap_frames=30)
    wanted = {"IDF1": least(99), "IDF1 as published": least(97), "ids on people": most(2)}
    return Row(name.removeprefix("linking_"), figures, wanted)


def usc_plaza(bench: Linking) -> Row:
    """Two adjacent views that share nothing; 14 labelled people go over."""
    name, folder = "linking_usc_plaza", bench.folder("mtmc", "usc_plaza")
    if not bench.relink:
        cameras = [f"{camera_id}={folder / camera_id}.mp4" for camera_id in PLAZA_CAMERAS]
        bench.run("process", *cameras, *KEEP_TAPE, "-o", bench.out(name), "--quiet")
    figures = video_figures(bench, name, folder, PLAZA_CAMERAS, gap_frames=200, frames=FrameRange(1, 600))
    wanted = {
        "IDF1": least(93.5),
        "hand-overs kept": least(11),
        "wrong pairs": most(1),
        "IDF1 below truth-linked": most(2),
    }
    return Row("usc_plaza", figures, wanted)


def video_figures(
    bench: Linking,
    name: str,
    folder: Path,
    cameras: Sequence[str],
    *,
    gap_frames: int,
    frames: FrameRange | None = None,
) -> dict[str, float]:
    """Figures of a finished run, or of its tape linked again; the truth labels some people only.

    Raises:
        Absent: There is no tape to link again.
    """
    out = bench.out(name)
    if not (out / TAPE).is_file():
        raise Absent(f"{out / TAPE} is not there; run once without --relink")
    site = from_values(
        {"name": name, "cameras": {camera: f"{camera}.mp4" for camera in cameras}}, source=name
    )
    linker = build_linker(site) if bench.relink else None
    told = linked(TapeReader(out / TAPE), linker, fill_gaps_s=site.process.fill_gaps_s)
    if bench.relink:
        final, published = told.final(), told.as_published()
    else:
        final, published = (
            {camera: read_mot(path) for camera, path in camera_files([out / kind]).items()}
            for kind in ("tracks", "tracks_as_published")
        )
    truth = {camera: read_mot(path) for camera, path in camera_files([folder]).items()}
    options: dict[str, Any] = {"partial": True, "frames": frames}
    across = score_across(*prepare(truth, final, **options), gap_frames=gap_frames)
    by_truth = score_across(
        *prepare(truth, told.by_truth(truth, **options), **options), gap_frames=gap_frames
    )
    at_first = score_across(*prepare(truth, published, **options), gap_frames=gap_frames)
    arguments = ["--partial", "--gap", str(gap_frames)]
    bench.checked(
        name, truth, final, *arguments, *(["--frames", f"{frames.first}:{frames.last}"] if frames else [])
    )
    return {
        **across_figures(Scores(across, {}, None)),
        "wrong pairs": across.wrong_pairs,
        "IDF1 as published": 100 * at_first.idf1,
        "IDF1 limit as published": 100 * at_first.idf1_limit,
        "IDF1 linked by truth": 100 * by_truth.idf1,
        "IDF1 below truth-linked": 100 * (by_truth.idf1 - across.idf1),
        "hand-overs kept by truth": by_truth.hand_overs_kept,
        **camera_figures(truth, told, **options),
        "link s": told.link_s,
    }


ROWS: dict[str, Callable[[Linking], Row]] = {
    **{f"wildtrack_{noise}": wildtrack(noise) for noise in NOISES},
    "ufes_lab": ufes_lab,
    "ufes_lab_uncalibrated": ufes_lab_uncalibrated,
    "usc_plaza": usc_plaza,
}


def main() -> int:
    """The exit code is 1 when a figure is missed."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--data", type=Path, default=os.environ.get("THROUGHLINE_DATA"), help="folder of the data sets"
    )
    options.add_argument("--only", nargs="+", choices=sorted(ROWS), metavar="NAME", help=", ".join(ROWS))
    options.add_argument("--seeds", type=int, default=1, help="mean over so many draws of the noise")
    options.add_argument(
        "--seconds", type=float, default=math.inf, help="of the boxes without pictures, from the start"
    )
    options.add_argument("--tracks-only", action="store_true", help="no linker: what it could reach, at once")
    options.add_argument(
        "--relink", action="store_true", help="the linker alone, on the tapes of the last run"
    )
    options.add_argument("--scorer", type=Path, help="also print what this score_mtmc.py says")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the rows here as well")
    options.add_argument("--work", type=Path, default=Path.home() / ".cache" / "throughline" / "benchmarks")
    given = options.parse_args()
    data = Path(given.data).resolve() if given.data else None
    bench = Linking(
        data,
        given.work.resolve(),
        seeds=given.seeds,
        seconds=given.seconds,
        tracks_only=given.tracks_only,
        relink=given.relink,
        scorer=given.scorer,
    )
    rows = []
    for name in given.only or ROWS:
        rows.append(measure(name, ROWS[name], bench))
        print(as_text(rows[-1]), flush=True)
        if given.json:
            given.json.write_text(json.dumps(as_json(rows), indent=1) + "\n", encoding="utf-8")
    return int(any(row.missed for row in rows if not row.note))


if __name__ == "__main__":
    sys.exit(main())
