"""What linkers are measured on: places of many people, filmed without a picture and kept as tapes.

A tape is made once for one site and the code that makes it, and anew when either changes.
"""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.filmed import Filmed, film, filmed, staged, true_boxes
from scenes.appearance import KNOWN_SITE, UNSEEN_SITE, Appearance, Noise
from scenes.traffic import Eye, Habits, Plan, Traffic, Way, Zone, corners
from tracker.config import TrackSettings
from tracker.core.parts import whole_of
from tracker.evaluate import Boxes
from tracker.io.tape import TapeReader, TapeWriter
from tracker.types import CONFIRMED, Advance, CameraUpdate, LinkerInput, TrackKey, Tracklet, Tracks

ROOT = Path(__file__).resolve().parent.parent
TAPES_DEPEND_ON = (
    "benchmarks/filmed.py", "scenes/appearance.py", "scenes/camera.py", "scenes/traffic.py", "scenes/truth.py",
    "tracker/core/assign.py", "tracker/core/boxes.py", "tracker/core/camera_tracker.py", "tracker/core/doubt.py",
    "tracker/core/motion.py", "tracker/core/pipeline.py", "reid/gallery.py", "scenes/crowd.py",
    "scenes/social_force.py",
)  # fmt: skip
COLUMNS = ("frames", "ids", "boxes", "scores", "classes")  # of a camera's truth
NOISES = {"unseen": UNSEEN_SITE, "known": KNOWN_SITE}
SCORED_EVERY_S = 1.0


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
    habits = Habits(away_s=(20.0, 120.0), errands=3.0)
    return Site("crossing", Plan((hall, shop, yard), ways, eyes), people=20, seconds=1800, habits=habits)


def campus_site() -> Site:
    """Twelve cameras: four on a square, two in each of two halls, four in rooms of their own; 200 people."""
    square = Zone("square", (0, 28), (0, 22), ((8, 8), (20, 14), (14, 5)))
    halls = [Zone(f"hall{n}", (x, x + 18), (40, 54), ((x + 7, 46),)) for n, x in enumerate((0, 40))]
    rooms = [Zone(f"room{n}", (x, x + 12), (-40, -28)) for n, x in enumerate((-20, 0, 20, 40))]
    ways = [
        Way("square", (0, 11)),
        Way("hall0", (0, 47)),
        Way("hall1", (58, 47)),
        Way("room0", (-20, -34)),
        Way("room3", (52, -34)),
        Way("square", (9, 22), "hall0", (9, 40), 19.0),
        Way("square", (24, 22), "hall1", (44, 40), 28.0),
        Way("hall0", (18, 47), "hall1", (40, 47), 22.0),
        Way("room3", (46, -28), "hall1", (54, 40), 74.0),
        Way("square", (4, 0), "room0", (-14, -28), 34.0),
        Way("square", (20, 0), "room2", (26, -28), 29.0),
    ]
    ways += [Way(a.name, (a.x[1], -34), b.name, (b.x[0], -34), 8.0) for a, b in zip(rooms, rooms[1:])]
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
    boxes: dict[TrackKey, NDArray[np.int64]]  # (N, 2) of each tracklet's boxes when it was, ns, and on whom
    every: int  # frames from one that is scored to the next
    fps: float

    def __iter__(self) -> Iterator[LinkerInput]:
        return iter(TapeReader(self.path))

    def shown(self, key: TrackKey, until_ns: int | None = None) -> Counter[int]:
        """How many boxes of a tracklet, or of the part of one that ends before ``until_ns``, are on each person."""
        boxes = self.boxes.get(whole_of(key))
        if boxes is None:
            return Counter()
        t_ns = boxes[:, 0]
        is_part = (t_ns >= key.since_ns) & (True if until_ns is None else t_ns < until_ns)
        return Counter(boxes[is_part, 1].tolist())

    def person(self, key: TrackKey) -> int | None:
        """Whom most of a tracklet's boxes show; None where nobody is under them."""
        return next((person for person, _ in self.shown(key).most_common(1)), None)


def taped(site: Site, work: Path) -> Taped:
    """The tape of a site."""
    return kept(site.name, site, site.fps, partial(_film, site), work)


def kept(name: str, recipe: object, fps: float, make: Callable[[], Filmed], work: Path) -> Taped:
    """A tape, made if it is not there yet for this recipe, which its repr tells, and this code."""
    made_by = hashlib.sha256(repr((recipe, TrackSettings())).encode())
    for source in TAPES_DEPEND_ON:
        code = ast.parse((ROOT / source).read_text(encoding="utf-8"))  # without comments
        made_by.update(ast.dump(code).encode())
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
    names = list(found.updates)
    every = max(1, round(SCORED_EVERY_S * fps))
    truth = true_boxes(found.truth, every)
    shown = [
        (names.index(key.camera_id), key.number, t_ns, person)
        for key, boxes in found.shown.items()
        for t_ns, person in boxes
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
        truth = {
            name: Boxes(*(arrays[f"{name}/{column}"] for column in COLUMNS))
            for name in cameras
            if f"{name}/ids" in arrays
        }
        shown = arrays["shown"]
        starts = np.flatnonzero(np.diff(shown[:, :2], axis=0, prepend=-1).any(axis=1))
        boxes = {
            TrackKey(camera_id=cameras[rows[0, 0]], run=0, number=int(rows[0, 1])): rows[:, 2:]
            for rows in np.split(shown, starts[1:])
            if len(rows)
        }
        return Taped(path, truth, boxes, int(arrays["every"]), float(arrays["fps"]))


# ---- scenes on which nothing is tuned ----------------------------------------------------------------------

HELD_OUT_SITES = ("courtyard", "office", "plaza", "street")
HELD_OUT_SEEDS = (901, 902)  # of nothing that anything is tuned on
PRACTICE_SEEDS = ((811, 812), (821, 822))
HELD_OUT_S, HELD_OUT_FPS = 30.0, 10.0


def held_out(work: Path, seeds: tuple[int, int] = HELD_OUT_SEEDS) -> Iterator[Taped]:
    """Scenes on which nothing is tuned: sites as they are simulated for pictures, and long ones of walks unseen.

    With other seeds they are scenes like those, to tune on.
    """
    for site in HELD_OUT_SITES:
        for n, seed in enumerate(seeds):
            for calibrated, noise in ((n == 0, UNSEEN_SITE), (n == 1, KNOWN_SITE)):
                recipe = (site, seed, HELD_OUT_S, HELD_OUT_FPS, calibrated, noise)
                yield kept(f"{site}{seed}", recipe, HELD_OUT_FPS, partial(_site_film, *recipe), work)
    for n, noise in enumerate((UNSEEN_SITE, KNOWN_SITE)):
        site_of = crossing_site()
        yield taped(
            replace(site_of, name="held_out", seconds=300, seed=seeds[n], noise=noise, calibrated=False),
            work,
        )


def _site_film(site: str, seed: int, seconds: float, fps: float, calibrated: bool, noise: Noise) -> Filmed:
    return filmed(staged(site, seed, seconds), seed=seed, noise=noise, fps=fps, calibrated=calibrated)


# ---- people of the past, and the same hours again ------------------------------------------------------------

PAST_CROWD = 20  # people of the past are seen so many at once: no linker takes two of them for one
PAST_EVERY_S = 600.0  # from one such crowd to the next: the one before is no longer recent
PAST_PICTURES = 8
PASS_S = 1800.0  # the crossing's tape
EVERY_FRAMES = 2  # of its five a second are played


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
