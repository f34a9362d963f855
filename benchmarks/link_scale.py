"""The linker at scale, on people who are simulated and never drawn: identities, decisions, milliseconds and memory.

    python -m benchmarks.link_scale [--only NAME ...] [--json FILE] [--work DIR]

People walk through places of `scenes.traffic`, real camera trackers follow them on boxes and looks that err as a
detector and the shipped embedder do (`benchmarks.filmed`), and what the trackers tell is kept as a tape in ``--work``:
a row that is run again, after a change of the linker, costs the linker's time only. A tape is made anew when the code
that made it changes. Tables go to the terminal, plots to ``--work``. Steps are timed in processor time, which other
programs disturb little; with OPENBLAS_NUM_THREADS=1 it is that of one core.
"""

from __future__ import annotations

import argparse
import copy
import cProfile
import gc
import hashlib
import json
import os
import pstats
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import Row, as_json, as_text, measure, most
from benchmarks.chart import draw
from benchmarks.filmed import Filmed, film, filmed, said_boxes, staged, true_boxes
from reid.calibrate import reliability
from scenes.appearance import KNOWN_SITE, UNSEEN_SITE, Appearance, Noise
from scenes.traffic import Eye, Habits, Plan, Traffic, Way, Zone, corners
from tracker.config import LinkSettings
from tracker.core.ledger import Ledger
from tracker.core.linker import Linker
from tracker.evaluate import Boxes, CrossCameraScores, prepare, score_across
from tracker.io.tape import TapeReader, TapeWriter
from tracker.types import (
    CONFIRMED,
    Advance,
    CameraUpdate,
    Event,
    HandedOver,
    LinkerInput,
    Merged,
    Split,
    TrackKey,
    Tracklet,
    Tracks,
)

F = NDArray[np.float64]
ROOT = Path(__file__).resolve().parent.parent
TAPES_DEPEND_ON = (
    "benchmarks/filmed.py", "scenes/appearance.py", "scenes/camera.py", "scenes/traffic.py", "scenes/truth.py",
    "tracker/core/assign.py", "tracker/core/boxes.py", "tracker/core/camera_tracker.py", "tracker/core/motion.py",
    "tracker/core/pipeline.py", "reid/gallery.py",
)  # fmt: skip
COLUMNS = ("frames", "ids", "boxes", "scores", "classes")  # of a camera's truth
RETURNED_S = 3.0  # away from a camera for longer: a new visit
SCORED_EVERY_S = 1.0


def accepting(false_merge_rate: float | None) -> LinkSettings:
    """The linker's settings for an accepted share of wrong joins, its own where None.

    This and `accepted` are the one place that knows how it is said.
    """
    return LinkSettings() if false_merge_rate is None else LinkSettings(join_probability=1 - false_merge_rate)


def accepted(settings: LinkSettings) -> float:
    """The share of wrong joins that settings accept at most."""
    return 1 - settings.join_probability


# ---- places ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """Traffic to be filmed."""

    name: str
    plan: Plan
    people: int
    seconds: float
    fps: float = 5.0
    seed: int = 0
    habits: Habits = field(default_factory=Habits)
    noise: Noise = UNSEEN_SITE
    calibrated: bool = True
    start_s: float = 0.0  # capture time of the first frame


def seen_from(zones: Mapping[str, list[Eye]]) -> dict[str, Eye]:
    """Cameras by name: ``hall1``, ``hall2`` are those of the hall."""
    return {f"{zone}{n}": eye for zone, eyes in zones.items() for n, eye in enumerate(eyes, 1)}


def crossing_site() -> Site:
    """A hall with two overlapping cameras and two rooms with one each; three passages, two gates."""
    hall = Zone("hall", (0, 18), (0, 12), ((7, 5), (11, 8)))
    shop = Zone("shop", (30, 42), (0, 10), ((36, 6),))
    yard = Zone("yard", (8, 22), (24, 34))
    ways = (
        Way("hall", (0, 6)),
        Way("yard", (22, 30)),
        Way("hall", (18, 4), "shop", (30, 4), 12.5),
        Way("hall", (9, 12), "yard", (12, 24), 13.0),
        Way("shop", (36, 10), "yard", (22, 26), 27.0),
    )
    eyes = seen_from({"hall": [*corners(hall, 2)], "shop": [*corners(shop, 1)], "yard": [*corners(yard, 1)]})
    return Site("crossing", Plan((hall, shop, yard), ways, eyes), people=20, seconds=1800)


def campus_site() -> Site:
    """Twelve cameras: four on a square, two in each of two halls, four in rooms of their own; 200 people."""
    square = Zone("square", (0, 28), (0, 22), ((8, 8), (20, 14), (14, 5)))
    halls = [Zone(f"hall{n}", (x, x + 18), (40, 54), ((x + 7, 46),)) for n, x in enumerate((0, 40))]
    rooms = [Zone(f"room{n}", (x, x + 12), (-40, -28)) for n, x in enumerate((-20, 0, 20, 40))]
    ways = [
        Way("square", (0, 11)),
        Way("square", (28, 6)),
        Way("hall1", (58, 47)),
        Way("room0", (-20, -34)),
        Way("square", (9, 22), "hall0", (9, 40), 19.0),
        Way("square", (24, 22), "hall1", (44, 40), 28.0),
        Way("hall0", (18, 47), "hall1", (40, 47), 22.0),
        Way("room1", (12, -34), "room2", (20, -34), 8.0),
        Way("room3", (46, -28), "hall1", (54, 40), 74.0),
    ]
    ways += [
        Way("square", (4.0 + 7 * n, 0), room.name, (room.x[0] + 6, -28), 29.0 + abs(14 - room.x[0]) / 2)
        for n, room in enumerate(rooms)
    ]
    eyes = seen_from(
        {
            "square": [*corners(square, 4, height_m=4.5)],
            **{hall.name: [*corners(hall, 2, height_m=3.5)] for hall in halls},
            **{room.name: [*corners(room, 1)] for room in rooms},
        }
    )
    habits = Habits(away_s=(60.0, 420.0))
    return Site("campus", Plan((square, *halls, *rooms), tuple(ways), eyes), 200, 600, habits=habits)


def busy_site() -> Site:
    """Sixteen cameras, two in each of eight halls, ten pictures a second, 200 people inside at a time."""
    halls = [
        Zone(f"hall{n}", (40.0 * (n % 4), 40.0 * (n % 4) + 20), (30.0 * (n // 4), 30.0 * (n // 4) + 15))
        for n in range(8)
    ]
    ways = [Way(hall.name, (hall.x[0], hall.y[0] + 7)) for hall in halls]
    ways += [
        Way(a.name, (a.x[1], a.y[0] + 9), b.name, (b.x[0], b.y[0] + 9), 20.0)
        for a, b in zip(halls, halls[1:])
        if a.y == b.y
    ]
    eyes = seen_from({hall.name: [*corners(hall, 2, height_m=4.0)] for hall in halls})
    habits = Habits(away_s=(5.0, 15.0), errands=4.0, standing=0.4)
    plan = Plan(tuple(halls), tuple(ways), eyes)
    return Site("busy", plan, 245, 60, fps=10.0, habits=habits, start_s=1e7)


# ---- tapes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taped:
    """What the cameras of a site told, and what was there."""

    path: Path
    truth: dict[str, Boxes]  # by camera, once in `SCORED_EVERY_S`
    shown: dict[TrackKey, Counter[int]]  # how many of a tracklet's boxes were found on each person
    every: int  # frames from one that is scored to the next
    fps: float

    def __iter__(self) -> Iterator[LinkerInput]:
        return iter(TapeReader(self.path))

    def person(self, key: TrackKey) -> int:
        """Whom most of a tracklet's boxes show."""
        return self.shown[key].most_common(1)[0][0]


def taped(site: Site, work: Path) -> Taped:
    """The tape of a site."""
    return kept(site.name, site, site.fps, partial(_film, site), work)


def kept(name: str, recipe: object, fps: float, make: Callable[[], Filmed], work: Path) -> Taped:
    """A tape, made if it is not there yet for this recipe, which its repr tells, and this code."""
    made_by = hashlib.sha256(repr(recipe).encode())
    for source in TAPES_DEPEND_ON:
        made_by.update((ROOT / source).read_bytes())
    path = work / f"{name}-{made_by.hexdigest()[:12]}.tape"
    told = path.with_suffix(".npz")
    if not told.exists():  # the truth is written last
        path.unlink(missing_ok=True)
        _write(make(), fps, path, told)
    return _told(path, told)


def _film(site: Site) -> Filmed:
    traffic = Traffic.of(site.plan, site.people, site.seconds, seed=site.seed, habits=site.habits)
    names = list(site.plan.eyes)
    times = np.arange(int(site.seconds * site.fps)) / site.fps
    return film(
        {name: traffic.record(name, times) for name in names},
        {name: site.plan.camera(name) for name in names},
        Appearance(list(traffic.courses), names, np.random.default_rng([site.seed, 1]), noise=site.noise),
        seed=site.seed,
        calibrated=site.calibrated,
        start_s=site.start_s,
    )


def _write(found: Filmed, fps: float, path: Path, told: Path) -> None:
    with TapeWriter(path) as tape:
        last = 0
        for update in found.in_order():
            tape.write(update)
            last = update.t_ns
        tape.write(Advance(t_ns=last, final=True))
    names = list(found.truth)
    every = max(1, round(SCORED_EVERY_S * fps))
    truth = true_boxes(found.truth, every)
    shown = [
        (names.index(key.camera_id), key.number, person, count)
        for key, counts in found.shown.items()
        for person, count in counts.items()
    ]
    columns = {
        f"{name}/{column}": getattr(boxes, column) for name, boxes in truth.items() for column in COLUMNS
    }
    with told.open("wb") as file:
        np.savez(
            file,
            cameras=np.array(names),
            shown=np.array(shown, np.int64).reshape(-1, 4),
            every=every,
            fps=fps,
            **columns,
        )


def _told(path: Path, told: Path) -> Taped:
    with np.load(told) as arrays:
        cameras = arrays["cameras"].tolist()
        truth = {name: Boxes(*(arrays[f"{name}/{column}"] for column in COLUMNS)) for name in cameras}
        shown: dict[TrackKey, Counter[int]] = {}
        for camera, number, person, count in arrays["shown"].tolist():
            key = TrackKey(camera_id=cameras[camera], run=0, number=number)
            shown.setdefault(key, Counter())[person] = count
        return Taped(path, truth, shown, int(arrays["every"]), float(arrays["fps"]))


# ---- what the linker makes of them -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """The linker said how probable it is that two are one person."""

    kind: str  # handed over, runner-up, merged, split
    probability: float
    is_one: bool  # the truth


class Judge:
    """Follows a linker's events and holds its decisions against the truth.

    An identity is whom most of its tracklets' boxes show at the time of the decision.
    """

    def __init__(self, taped: Taped) -> None:
        self.taped = taped
        self.ledger = Ledger()
        self.decisions: list[Decision] = []
        self._keys: dict[int, set[TrackKey]] = {}

    def follow(self, event: Event) -> None:
        """Take in the next event."""
        match event:
            case HandedOver():
                self._judge("handed over", event, {event.track}, event.global_id)
                told = event.evidence
                if told is not None and told.runner_up is not None and told.runner_up_probability is not None:
                    self._claim("runner-up", told.runner_up_probability, {event.track}, told.runner_up)
            case Merged():
                self._judge("merged", event, set(event.tracks), event.kept)
            case Split():
                self._judge("split", event, set(event.tracks), event.to)
        self.ledger.follow(event)
        for key in _tracks_of(event):
            identity = self.ledger.identity_of(key)
            for keys in self._keys.values():
                keys.discard(key)
            if identity is not None:
                self._keys.setdefault(identity, set()).add(key)

    def _judge(self, kind: str, event: HandedOver | Merged | Split, keys: set[TrackKey], to: int) -> None:
        if event.evidence is not None:
            self._claim(kind, event.evidence.probability, keys, to)

    def _claim(self, kind: str, probability: float, keys: set[TrackKey], to: int) -> None:
        """Somebody said that tracklets are of the person of an identity, as it was before."""
        mine, theirs = self._person(keys), self._person(self._keys.get(to, set()) - keys)
        if mine is not None and theirs is not None:
            self.decisions.append(Decision(kind, probability, mine == theirs))

    def _person(self, keys: Iterable[TrackKey]) -> int | None:
        boxes: Counter[int] = Counter()
        for key in sorted(keys):
            boxes.update(self.taped.shown.get(key, Counter()))
        return boxes.most_common(1)[0][0] if boxes else None

    def wrong_joins(self) -> tuple[int, int]:
        """Of the identities in the end: tracklets joined to others', and those of them who are somebody else."""
        people: dict[int, Counter[int]] = {}
        for key, identity in self.ledger.tracks().items():
            if key in self.taped.shown:
                people.setdefault(identity, Counter())[self.taped.person(key)] += 1
        joins = sum(counts.total() - 1 for counts in people.values())
        wrong = sum(counts.total() - max(counts.values()) for counts in people.values())
        return joins, wrong


def _tracks_of(event: Event) -> tuple[TrackKey, ...]:
    """The tracklets whose identity an event changes."""
    if isinstance(event, Merged | Split):
        return event.tracks
    track = getattr(event, "track", None)
    return () if track is None else (track,)


@dataclass(frozen=True)
class Run:
    """One linker's whole tape."""

    judge: Judge
    step_ms: F  # (N,) processor time of each message


def linked(tape: Taped, settings: LinkSettings) -> Run:
    """A new linker on a whole tape."""
    linker, judge, spent = Linker(settings), Judge(tape), []
    for message in tape:
        start = time.process_time()
        events = linker.step(message)
        spent.append(time.process_time() - start)
        for event in events:
            judge.follow(event)
    return Run(judge, 1e3 * np.array(spent))


def scored(tape: Taped, ledger: Ledger) -> CrossCameraScores:
    """The identities in the end against the truth, once in `SCORED_EVERY_S`."""
    updates = (message for message in tape if isinstance(message, CameraUpdate))
    gap = round(RETURNED_S * tape.fps / tape.every)
    said = said_boxes(updates, ledger, tape.every)
    return score_across(*prepare(tape.truth, said), gap_frames=gap)


def told_of(tape: Taped, settings: LinkSettings) -> dict[str, float]:
    """Figures of a new linker on a tape: identities, decisions and time."""
    run = linked(tape, settings)
    found, (joins, wrong) = scored(tape, run.judge.ledger), run.judge.wrong_joins()
    identities = set(run.judge.ledger.tracks().values())
    return {
        "identities": len(identities),
        "people": found.persons,
        "IDF1": 100 * found.idf1,
        "IDF1 limit": 100 * found.idf1_limit,
        "hand-overs kept %": 100 * found.hand_over_recall,
        "hand-overs": found.hand_overs,
        "returns kept %": 100 * found.reentry_recall,
        "returns": found.reentries,
        "false merges %": 100 * found.false_merge_rate,
        "wrong joins %": 100 * wrong / max(joins, 1),
        "joins": joins,
        "merged ids": found.merged_ids,
        "fragments a person": found.fragments_per_person,
        "tracklets": len(run.judge.ledger.tracks()),
        "linker s": run.step_ms.sum() / 1e3,
        "step p50 ms": float(np.quantile(run.step_ms, 0.5)),
        "step p99 ms": float(np.quantile(run.step_ms, 0.99)),
        "step max ms": float(run.step_ms.max()),
    }


# ---- time --------------------------------------------------------------------------------------------------------

PAST_CROWD = 50  # people of the past are seen so many at once: no linker takes two of them for one
PAST_EVERY_S = 600.0  # from one such crowd to the next: the one before is no longer recent
PAST_PICTURES = 8
GALLERIES = (0, 2_000, 5_000, 10_000, 20_000)
CAMERAS = (2, 4, 8, 16)
WARM_S = 25.0  # of the busy site's tape, before steps are timed: by then many have come and gone


def past(people: int, site: Site) -> Iterator[CameraUpdate]:
    """People whom one camera of the site has seen long before its tape begins, crowd after crowd, each once."""
    camera = next(iter(site.plan.eyes))
    # The same chance as the site's own looks begins with the same common part and the same first camera.
    rng = np.random.default_rng([site.seed, 1])
    looks = Appearance(range(1, people + 1), [camera], rng, noise=site.noise)
    size = site.plan.eyes[camera].size
    crowds = -(-people // PAST_CROWD)
    for n in range(crowds):
        t_s = site.start_s - (crowds - n + 1) * PAST_EVERY_S
        who = np.arange(n * PAST_CROWD, min((n + 1) * PAST_CROWD, people)) + 1
        place = np.arange(len(who))
        x, y = 10.0 + 18 * place, 100.0 + 10 * (place % 3)
        boxes = np.stack([x, y, x + 16, y + 130], axis=1).astype(np.float32)
        when = np.tile(t_s - 0.5 * np.arange(PAST_PICTURES), len(who))
        turn = np.repeat(rng.uniform(-np.pi, np.pi, len(who)), PAST_PICTURES)
        rows = looks.rows(camera, when, np.repeat(who, PAST_PICTURES), rng, seen_from_rad=turn)
        pictures = rows.reshape(len(who), PAST_PICTURES, -1)
        tracklets = tuple(
            Tracklet(
                key=TrackKey(camera_id=camera, run=1, number=int(person)),
                revision=1,
                ended=True,
                t_first_ns=round((t_s - 4) * 1e9),
                t_last_ns=round(t_s * 1e9),
                first_box=box,
                last_box=box,
                velocity_px_s=np.zeros(2, np.float32),
                image_size=size,
                boxes_seen=20,
                score_mean=0.9,
                prototypes=seen.astype(np.float16),
                quality=np.ones(PAST_PICTURES, np.float32),
                mean_embedding=seen.mean(axis=0),
                embeddings_seen=PAST_PICTURES,
                model_hash="m",
            )
            for person, box, seen in zip(who, boxes, pictures)
        )
        tracks = Tracks.of(who, boxes, np.full(len(who), CONFIRMED), detections=place)
        yield CameraUpdate(
            camera_id=camera,
            run=1,
            seq=n,
            t_ns=round(t_s * 1e9),
            tracks=tracks,
            tracklets=tracklets,
            detected=True,
        )


def remembering(people: Iterable[CameraUpdate]) -> Linker:
    """A linker that has seen these people and forgets none of them: the one place that knows how that is set.

    The linker has no memory of its own for people who left long ago: it keeps whom it may still look at again.
    """
    linker = Linker(LinkSettings(max_gap_s=1e9))
    for update in people:
        linker.step(update)
    linker.settings = LinkSettings(revise_s=1e9)
    return linker


@dataclass(frozen=True)
class Cost:
    """What the steps of a linker took on the busy site, after `WARM_S`."""

    step_ms: F  # (N,) processor time
    span_s: float  # of capture time
    here: int  # identities
    known: int

    def figures(self) -> dict[str, float]:
        p50, p99, p999 = np.quantile(self.step_ms, (0.5, 0.99, 0.999))
        return {
            "p50 ms": float(p50),
            "p99 ms": float(p99),
            "p99.9 ms": float(p999),
            "max ms": float(self.step_ms.max()),
            "load %": self.step_ms.sum() / 10 / self.span_s,
            "here": self.here,
            "known": self.known,
        }


def cost_of(linker: Linker, tape: Taped, site: Site, cameras: int) -> Cost:
    """Run a linker on the tape of the first so many cameras of a site."""
    names = list(site.plan.eyes)[:cameras]
    spent, begin_ns, here, last = [], round((site.start_s + WARM_S) * 1e9), 0, 0
    for message in tape:
        if not isinstance(message, CameraUpdate) or message.camera_id not in names:
            continue
        start = time.process_time()
        linker.step(message)
        took = time.process_time() - start
        if message.t_ns >= begin_ns:
            spent.append(1e3 * took)
            last = message.t_ns
    known = linker.view().identities
    here = sum(identity.here for identity in known)
    return Cost(np.array(spent), (last - begin_ns) / 1e9, here, len(known))


@dataclass
class Bench:
    """Where tapes and plots go, and what the linker is asked for."""

    work: Path
    rate: float | None = None  # accepted share of wrong joins; None: the linker's own setting
    hours: int = 24
    commands: list[str] = field(default_factory=list)

    @property
    def settings(self) -> LinkSettings:
        return accepting(self.rate)


# ---- rows --------------------------------------------------------------------------------------------------------


def crossing(bench: Bench) -> Row:
    """Twenty people, four cameras, half an hour; they come, cross, go and come back."""
    figures = told_of(taped(crossing_site(), bench.work), bench.settings)
    figures["identities too many or few"] = abs(figures["identities"] - figures["people"])
    return Row("crossing", figures, {"identities too many or few": most(0)})


def campus(bench: Bench) -> Row:
    """Twelve cameras, 200 people, ten minutes: how many joins are wrong, next to how many may be."""
    figures = told_of(taped(campus_site(), bench.work), bench.settings)
    return Row("campus", figures, {"wrong joins %": most(100 * accepted(bench.settings))})


HELD_OUT_SITES = ("courtyard", "office", "plaza", "street")
HELD_OUT_SEEDS = (901, 902)  # of nothing that anything is tuned on
HELD_OUT_S, HELD_OUT_FPS = 30.0, 10.0
BINS = 10


def held_out(work: Path) -> Iterator[Taped]:
    """Scenes on which nothing is tuned: sites as they are simulated for pictures, and long ones of walks unseen."""
    for site in HELD_OUT_SITES:
        for n, seed in enumerate(HELD_OUT_SEEDS):
            for calibrated, noise in ((n == 0, UNSEEN_SITE), (n == 1, KNOWN_SITE)):
                recipe = (site, seed, HELD_OUT_S, HELD_OUT_FPS, calibrated, noise)
                yield kept(f"{site}{seed}", recipe, HELD_OUT_FPS, partial(_site_film, *recipe), work)
    for n, noise in enumerate((UNSEEN_SITE, KNOWN_SITE)):
        site_of = crossing_site()
        yield taped(
            replace(
                site_of, name="held_out", seconds=300, seed=HELD_OUT_SEEDS[n], noise=noise, calibrated=False
            ),
            work,
        )


def _site_film(site: str, seed: int, seconds: float, fps: float, calibrated: bool, noise: Noise) -> Filmed:
    return filmed(staged(site, seed, seconds), seed=seed, noise=noise, fps=fps, calibrated=calibrated)


def reliable(bench: Bench) -> Row:
    """Every probability that comes with a decision, next to how often it was true."""
    decisions: list[Decision] = []
    for tape in held_out(bench.work):
        decisions += linked(tape, bench.settings).judge.decisions
    kinds = {"all": decisions} | {
        kind: [one for one in decisions if one.kind == kind]
        for kind in ("handed over", "runner-up", "merged", "split")
    }
    figures: dict[str, float] = {}
    lines = {}
    for kind, made in kinds.items():
        figures[f"{kind}: decisions"] = len(made)
        if not made:
            continue
        said = np.array([one.probability for one in made])
        was = np.array([one.is_one for one in made])
        found = reliability(said, was, BINS, even=False)
        figures[f"{kind}: ECE"] = found.ece
        figures[f"{kind}: said"], figures[f"{kind}: was"] = float(said.mean()), float(was.mean())
        lines[f"{kind} ({len(made)}), ECE {found.ece:.3f}"] = list(
            zip(found.said.tolist(), found.happened.tolist())
        )
        print(f"reliability, {kind}: share of decisions, said, was")
        for weight, p, true in zip(found.weight, found.said, found.happened):
            print(f"  {weight:6.1%}  {p:.3f}  {true:.3f}")
    draw(
        bench.work / "reliability.png",
        lines,
        title="Probability of one person, said and true",
        across="said",
        up="true",
        diagonal=True,
    )
    return Row("reliability", figures, {"all: ECE": most(0.05)})


def cost(bench: Bench) -> Row:
    """Sixteen cameras at ten pictures a second, 200 people inside, 20,000 remembered; and how that grows."""
    site = busy_site()
    tape = taped(site, bench.work)
    found: dict[tuple[int, int], Cost] = {}  # by cameras, by gallery
    for gallery in GALLERIES:
        linker = remembering(past(gallery, site))
        for cameras in CAMERAS if gallery == GALLERIES[-1] else CAMERAS[-1:]:
            found[cameras, gallery] = cost_of(copy.deepcopy(linker), tape, site, cameras)
    for (cameras, gallery), one in found.items():
        print(
            f"cost: {cameras} cameras, gallery {gallery}: "
            + ", ".join(f"{name} {value:.3g}" for name, value in one.figures().items()),
            flush=True,
        )
    for path, across, at in (
        (
            "cost_gallery.png",
            "identities remembered",
            [(k[1], c) for k, c in found.items() if k[0] == CAMERAS[-1]],
        ),
        ("cost_cameras.png", "cameras", [(k[0], c) for k, c in found.items() if k[1] == GALLERIES[-1]]),
    ):
        lines = {
            name: [(x, one.figures()[name]) for x, one in sorted(at, key=lambda pair: pair[0])]
            for name in ("p50 ms", "p99 ms", "max ms")
        }
        draw(bench.work / path, lines, title="Linker.step", across=across, up="ms")
    most_figures = found[CAMERAS[-1], GALLERIES[-1]].figures()
    # A step must be over before the next picture of the same camera comes, and all steps together in time.
    wanted = {"max ms": most(1e3 / site.fps), "load %": most(100)}
    return Row("cost", most_figures, wanted)


PASS_S = 1800.0  # the crossing's tape
EVERY_FRAMES = 2  # of its five a second are played
REVISE_EVERY_S = 10.0  # not every second, to play a day in minutes
REMEMBERED = 200  # identities at most: the bound is reached within hours
FULL_AFTER_H = 8  # from when on memory must be flat


@dataclass(frozen=True)
class Hour:
    """What a linker holds after so many hours."""

    hour: int
    rss_mb: float
    objects: int  # that Python's collector knows of
    identities: int
    tracklets: int
    checkpoint_kb: float


def again(tape: Taped, number: int) -> Iterator[CameraUpdate]:
    """A tape once more, later and with other people: rows of looks are turned, so that they resemble nobody's before.

    Only every `EVERY_FRAMES`-th frame of a camera is played; tracklets that changed between come with the next.
    """
    shift_ns = round(number * PASS_S * 1e9)
    waiting: dict[str, dict[int, Tracklet]] = {}
    for message in tape:
        if not isinstance(message, CameraUpdate):
            continue
        changed = waiting.setdefault(message.camera_id, {})
        changed.update({one.key.number: one for one in message.tracklets})
        if message.seq % EVERY_FRAMES and len(message.tracks):
            continue
        yield msgspec.structs.replace(
            message,
            run=number,
            t_ns=message.t_ns + shift_ns,
            tracklets=tuple(_other(one, number, shift_ns) for one in changed.values()),
        )
        changed.clear()


def _other(tracklet: Tracklet, number: int, shift_ns: int) -> Tracklet:
    return msgspec.structs.replace(
        tracklet,
        key=msgspec.structs.replace(tracklet.key, run=number),
        t_first_ns=tracklet.t_first_ns + shift_ns,
        t_last_ns=tracklet.t_last_ns + shift_ns,
        prototypes=np.roll(tracklet.prototypes, number, axis=1),
        mean_embedding=np.roll(tracklet.mean_embedding, number),
    )


def day(tape: Taped, settings: LinkSettings, hours: int) -> list[Hour]:
    """What a linker holds at each hour of a tape played again and again."""
    linker, found = Linker(settings), []
    for number in range(round(hours * 3600 / PASS_S)):
        for update in again(tape, number):
            linker.step(update)
        done_h = (number + 1) * PASS_S / 3600
        if done_h == int(done_h):
            gc.collect()
            known = linker.view().identities
            found.append(
                Hour(
                    hour=int(done_h),
                    rss_mb=_rss_mb(),
                    objects=len(gc.get_objects()),
                    identities=len(known),
                    tracklets=sum(len(one.tracks) for one in known),
                    checkpoint_kb=len(linker.checkpoint().state) / 1024,
                )
            )
            print(f"memory: {found[-1]}", flush=True)
    return found


def _rss_mb() -> float:
    """Memory of this process that is in RAM now; NaN where the system does not tell (it is not Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(bench: Bench) -> Row:
    """A day of traffic: twenty people in every half hour, none of whom comes again in another."""
    settings = bench.settings.model_copy(
        update={"max_identities": REMEMBERED, "revise_every_s": REVISE_EVERY_S}
    )
    tape = taped(crossing_site(), bench.work)
    # By itself, so that nothing but the linker and the tape's reader is in that process.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        found = alone.submit(day, tape, settings, bench.hours).result()
    draw(
        bench.work / "memory.png",
        {
            "RSS MB": [(one.hour, one.rss_mb) for one in found],
            "checkpoint, 100 kB": [(one.hour, one.checkpoint_kb / 100) for one in found],
            "objects, 10,000": [(one.hour, one.objects / 1e4) for one in found],
            "tracklets, 100": [(one.hour, one.tracklets / 100) for one in found],
        },
        title="A day of traffic",
        across="hours",
        up="",
    )
    full, last = found[min(FULL_AFTER_H, len(found)) - 1], found[-1]
    figures = {"hours": last.hour} | {
        f"{name}{unit}{grown}": value
        for name, unit, before, after in (
            ("RSS", " MB", full.rss_mb, last.rss_mb),
            ("objects", "", full.objects, last.objects),
            ("identities", "", full.identities, last.identities),
            ("tracklets", "", full.tracklets, last.tracklets),
            ("checkpoint", " kB", full.checkpoint_kb, last.checkpoint_kb),
        )
        for grown, value in (("", after), (" grown %", 100 * (after / max(before, 1e-9) - 1)))
    }
    # An allocator's slack is some percent.
    wanted = {name: most(5) for name in figures if name.endswith("grown %")}
    return Row("memory", figures, wanted)


ROWS: dict[str, Callable[[Bench], Row]] = {
    "crossing": crossing,
    "campus": campus,
    "reliability": reliable,
    "cost": cost,
    "memory": memory,
}


def main() -> int:
    """The exit code is 1 when a figure is missed."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--only", nargs="+", choices=sorted(ROWS), metavar="NAME", help=", ".join(ROWS))
    options.add_argument("--json", type=Path, metavar="FILE", help="write the rows here as well")
    options.add_argument(
        "--work", type=Path, default=Path.home() / ".cache" / "throughline" / "link_scale", metavar="DIR"
    )
    options.add_argument(
        "--rate",
        type=float,
        metavar="SHARE",
        help="of wrong joins that the linker may make (default: its own)",
    )
    options.add_argument("--hours", type=int, default=24, metavar="N", help="of the row memory")
    options.add_argument("--profile", action="store_true", help="say where the time goes, row by row")
    given = options.parse_args()
    bench = Bench(given.work.resolve(), given.rate, given.hours)
    bench.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in given.only or ROWS:
        with cProfile.Profile() if given.profile else nullcontext() as profile:
            rows.append(measure(name, ROWS[name], bench))
        if profile is not None:
            pstats.Stats(profile).sort_stats("tottime").print_stats(30)
        print(as_text(rows[-1]), flush=True)
        if given.json:
            given.json.write_text(json.dumps(as_json(rows), indent=1) + "\n", encoding="utf-8")
    return int(any(row.missed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
