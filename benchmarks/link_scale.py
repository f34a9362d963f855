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
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import Row, as_json, as_text, measure, most
from benchmarks.chart import draw
from benchmarks.filmed import film, said_boxes, true_boxes
from scenes.appearance import UNSEEN_SITE, Appearance, Noise
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
RETURNED_S = 3.0  # away from a camera for longer: a new visit
SCORED_EVERY_S = 1.0


def accepting(false_merge_rate: float) -> LinkSettings:
    """The linker's settings for an accepted share of wrong joins: the one place that knows how they are said."""
    return LinkSettings(join_probability=1 - false_merge_rate)


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
    """The tape of a site, made if it is not there yet for this site and this code."""
    made_by = hashlib.sha256(repr(site).encode())
    for name in TAPES_DEPEND_ON:
        made_by.update((ROOT / name).read_bytes())
    path = work / f"{site.name}-{made_by.hexdigest()[:12]}.tape"
    told = path.with_suffix(".npz")
    if not told.exists():  # the truth is written last
        path.unlink(missing_ok=True)
        _record(site, path, told)
    return _told(path, told)


def _record(site: Site, path: Path, told: Path) -> None:
    traffic = Traffic.of(site.plan, site.people, site.seconds, seed=site.seed, habits=site.habits)
    names = list(site.plan.eyes)
    times = np.arange(int(site.seconds * site.fps)) / site.fps
    found = film(
        {name: traffic.record(name, times) for name in names},
        {name: site.plan.camera(name) for name in names},
        Appearance(list(traffic.courses), names, np.random.default_rng([site.seed, 1]), noise=site.noise),
        seed=site.seed,
        calibrated=site.calibrated,
        start_s=site.start_s,
    )
    with TapeWriter(path) as tape:
        last = 0
        for update in found.in_order():
            tape.write(update)
            last = update.t_ns
        tape.write(Advance(t_ns=last, final=True))
    every = max(1, round(SCORED_EVERY_S * site.fps))
    truth = true_boxes(found.truth, every)
    shown = [
        (names.index(key.camera_id), key.number, person, count)
        for key, counts in found.shown.items()
        for person, count in counts.items()
    ]
    columns = {
        f"{name}/{column}": getattr(boxes, column)
        for name, boxes in truth.items()
        for column in ("frames", "ids", "boxes", "scores", "classes")
    }
    with told.open("wb") as file:
        np.savez(
            file,
            cameras=np.array(names),
            shown=np.array(shown, np.int64).reshape(-1, 4),
            every=every,
            fps=site.fps,
            **columns,
        )


def _told(path: Path, told: Path) -> Taped:
    with np.load(told) as kept:
        cameras = kept["cameras"].tolist()
        truth = {
            name: Boxes(
                *(kept[f"{name}/{column}"] for column in ("frames", "ids", "boxes", "scores", "classes"))
            )
            for name in cameras
        }
        shown: dict[TrackKey, Counter[int]] = {}
        for camera, number, person, count in kept["shown"].tolist():
            key = TrackKey(camera_id=cameras[camera], run=0, number=number)
            shown.setdefault(key, Counter())[person] = count
        return Taped(path, truth, shown, int(kept["every"]), float(kept["fps"]))


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
    step_ms: F  # (N,) of each message
    scores: CrossCameraScores


def linked(tape: Taped, settings: LinkSettings | None = None) -> Run:
    """A new linker on a tape, judged and scored."""
    linker, judge, spent = Linker(settings), Judge(tape), []
    for message in tape:
        start = time.process_time()
        events = linker.step(message)
        spent.append(time.process_time() - start)
        for event in events:
            judge.follow(event)
    updates = (message for message in tape if isinstance(message, CameraUpdate))
    said = said_boxes(updates, judge.ledger, tape.every)
    gap = round(RETURNED_S * tape.fps / tape.every)
    scores = score_across(*prepare(tape.truth, said), gap_frames=gap)
    return Run(judge, 1e3 * np.array(spent), scores)


def told_of(run: Run) -> dict[str, float]:
    """Figures of identities, decisions and time."""
    found, (joins, wrong) = run.scores, run.judge.wrong_joins()
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
    """Where tapes and plots go."""

    work: Path
    commands: list[str] = field(default_factory=list)


# ---- rows --------------------------------------------------------------------------------------------------------


def crossing(bench: Bench) -> Row:
    """Twenty people, four cameras, half an hour; they come, cross, go and come back."""
    figures = told_of(linked(taped(crossing_site(), bench.work)))
    figures["identities too many or few"] = abs(figures["identities"] - figures["people"])
    return Row("crossing", figures, {"identities too many or few": most(0)})


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


ROWS: dict[str, Callable[[Bench], Row]] = {"crossing": crossing, "cost": cost}


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
    given = options.parse_args()
    bench = Bench(given.work.resolve())
    bench.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in given.only or ROWS:
        rows.append(measure(name, ROWS[name], bench))
        print(as_text(rows[-1]), flush=True)
        if given.json:
            given.json.write_text(json.dumps(as_json(rows), indent=1) + "\n", encoding="utf-8")
    return int(any(row.missed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
