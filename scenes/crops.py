"""Crops of rendered people, to train an embedder on: ``python -m scenes crops -o FILE.zip``.

Everybody is seen by several cameras, from several sides, at other moments of their gait, and keeps their clothes. Each
camera is a place of its own with its own light and lens; many people pass each of them, so that neither what is behind
somebody nor how a camera colours them tells who they are. Files are called as in Market-1501, ``0007_c12_000003.jpg``:
person 7, camera 12, their third picture there.

The work is cut into parts of `TOGETHER` people, each drawn from the seed and its own number alone: parts may be made in
any order, by any number of processes, and those that are there already are not made again.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scenes import gait, settings, wardrobe
from scenes.camera import Camera
from scenes.look import CameraLook
from scenes.place import Place, build
from scenes.records import STANDING, WALKING, Figure, Trajectory
from scenes.render import Renderer
from scenes.write import code

TOGETHER = 36  # people of one part: they pass the same cameras
PARTY = (3, 7)  # people in one frame, from and to
FRAME = (640, 480)  # px, width and height of the cameras' pictures
HEIGHTS_PX = (70.0, 330.0)  # of people in a frame; further and nearer ones are not cut out
DETAIL = 0.5  # of the clothes: enough for crops of some 150 px
LEAST_SEEN = 0.45  # share of a silhouette that must be seen
OVERLAP = 0.3  # boxes in a frame cover each other by this share of the smaller one at most,
OVERLAP_CROWDED = 0.65  # or by this in crowded frames,
CROWDED = 0.25  # which are this share of them
FEWEST_SPOTS, MOST_SPOTS = 100, 600  # of a camera
ATTEMPTS = 20  # at drawing a place where people can be seen
STANDING_SHARE = 0.2
TRIES = 4  # more rounds of frames than pictures are wanted, for people who were hidden
EXPOSURE = (85.0, 160.0)  # grey levels, of the floor in the mean
SENT_QUALITY = (30, 90)  # JPEG, of what the cameras send
QUALITY = 95  # JPEG, of the crops as stored
RATE_HZ = 20.0

Floats = NDArray[np.float64]
Image = NDArray[np.uint8]


class CropsError(ValueError):
    """What was asked for cannot be made."""


@dataclass(frozen=True)
class Plan:
    """A set of crops; all that its pictures depend on."""

    people: int = 3000
    cameras: int = 6  # that see everybody
    pictures: int = 2  # of everybody by each of them
    seed: int = 0
    width: int = 64
    height: int = 128
    pool: int = 240  # cameras in all

    def __post_init__(self) -> None:
        if min(self.people, self.cameras, self.pictures, self.pool) < 1 or self.seed < 0:
            raise CropsError(
                "people, cameras, pictures and the pool of cameras are at least 1, the seed at least 0"
            )
        if self.cameras > self.pool:
            raise CropsError(
                f"{self.cameras} cameras for everybody, out of {self.pool} in all: give a larger --pool"
            )
        if min(self.width, self.height) < 16:
            raise CropsError(f"crops of {self.width}x{self.height} pixels show nothing: at least 16x16")

    @property
    def parts(self) -> int:
        return math.ceil(self.people / TOGETHER)

    def members(self, part: int) -> range:
        """The people of a part, numbered from 1 in the whole set."""
        return range(part * TOGETHER + 1, min((part + 1) * TOGETHER, self.people) + 1)

    def stations(self, part: int) -> list[int]:
        """The cameras that see a part's people, numbered from 1 in the whole set."""
        drawn = self.chance("stations", part).choice(self.pool, self.cameras, replace=False)
        return [int(camera) + 1 for camera in np.sort(drawn)]

    def chance(self, word: str, *numbers: int) -> np.random.Generator:
        """Chance for one purpose, the same whatever else is drawn."""
        return np.random.default_rng([self.seed, *word.encode(), *numbers])


# --- where people are seen


def draw_site(rng: np.random.Generator) -> settings.Scene:
    """A place with one camera, called ``camera``."""
    indoors = rng.random() < 0.25
    kind = str(rng.choice(("room", "corridor") if indoors else ("courtyard", "street")))
    width, depth = rng.uniform((8, 10), (22, 30)) if not indoors else rng.uniform((5, 9), (12, 18))
    height = float(rng.uniform(3.0, 4.5) if indoors else rng.uniform(3.0, 9.0))
    area = settings.Area(
        x=(0.0, float(width)),
        y=(0.0, float(depth)),
        kind=kind,
        floor=str(rng.choice(_floors(indoors))),
        floor_colour=_muted(rng, 0.25, 0.75) if rng.random() < 0.7 else None,
        walls="plaster" if indoors else str(rng.choice(("plaster", "brick", "none"))),
        wall_colour=_muted(rng, 0.3, 0.9) if rng.random() < 0.7 else None,
        height=height,
        windows=float(rng.uniform(0, 0.8)),
    )
    light = settings.Light(
        kind="indoor" if indoors else str(rng.choice(("day", "dusk"), p=(0.87, 0.13))),
        azimuth=float(rng.uniform(0, 360)),
        elevation=float(rng.uniform(15, 75)),
        strength=float(rng.uniform(0.7, 1.4)),
    )
    return settings.Scene(
        name="site",
        seed=int(rng.integers(2**31)),
        difficulty=float(rng.uniform(0.3, 1.0)),
        areas={"area": area},
        obstacles=_draw_obstacles(rng, area, indoors),
        light=light,
        people=settings.People(count=0),
        cameras={"camera": _draw_camera(rng, area, indoors)},
    )


def _floors(indoors: bool) -> tuple[str, ...]:
    return (
        ("tiles", "parquet", "carpet")
        if indoors
        else ("paving", "asphalt", "grass", "tiles", "paving", "asphalt")
    )


def _muted(rng: np.random.Generator, least: float, most: float) -> settings.Colour:
    """A colour of walls and floors: a grey with a slight tint."""
    tinted = np.clip(rng.uniform(least, most) + rng.normal(0, 0.06, 3), 0, 1)
    return float(tinted[0]), float(tinted[1]), float(tinted[2])


def _draw_obstacles(
    rng: np.random.Generator, area: settings.Area, indoors: bool
) -> tuple[settings.Obstacle, ...]:
    kinds = (
        ("table", "shelf", "pillar", "box")
        if indoors
        else ("bench", "planter", "pillar", "kiosk", "car", "box")
    )
    return tuple(
        settings.Obstacle(
            kind=str(rng.choice(kinds)),
            at=(float(rng.uniform(*area.x)), float(rng.uniform(*area.y))),
            turn=float(rng.uniform(0, 180)),
            colour=_muted(rng, 0.15, 0.85),
        )
        for _ in range(rng.integers(2, 10))
    )


def _draw_camera(rng: np.random.Generator, area: settings.Area, indoors: bool) -> settings.Camera:
    """On one of the short sides, as high as cameras hang, looking down the place."""
    across = rng.uniform(0.15, 0.85) * area.x[1]
    least, most = (2.3, min(3.5, area.height - 0.3)) if indoors else (2.3, 6.0)
    high = float(rng.uniform(least, most))
    away = min(float(rng.uniform(6, 15)), 0.8 * area.y[1])
    turned = rng.random() < 0.5
    y_at, y_look = (area.y[1] - 0.4, area.y[1] - away) if turned else (0.4, away)
    k1 = float(rng.uniform(-0.25, 0.05))
    return settings.Camera(
        at=(float(across), y_at, high),
        look=(float(rng.uniform(0.3, 0.7) * area.x[1]), y_look, 0.9),
        size=FRAME,
        view=float(rng.uniform(45, 70) if indoors else rng.uniform(32, 54)),
        distortion=(k1, 0.0, 0.0, 0.0, 0.0),
    )


# --- where people stand in a frame


@dataclass(frozen=True)
class Spots:
    """N places where somebody may stand and be seen by a camera."""

    xy_m: Floats  # (N, 2)
    boxes: Floats  # (N, 4) x1 y1 x2 y2 px, about what somebody of 1.7 m fills

    @classmethod
    def of(
        cls,
        place: Place,
        camera: Camera,
        area: settings.Area,
        rng: np.random.Generator,
        *,
        heights_px: tuple[float, float] = HEIGHTS_PX,
        cut: float = 0.1,
    ) -> Spots:
        """Drawn so that people of all sizes in the picture are about as likely.

        ``cut``: the share of their height that may lie below the picture's lower edge.
        """
        low, high = (area.x[0], area.y[0]), (area.x[1], area.y[1])
        xy = rng.uniform(low, high, (4000, 2))
        xy = xy[place.is_free(xy, 0.35)]
        foot, _ = camera.project(np.column_stack((xy, np.zeros(len(xy)))))
        head, _ = camera.project(np.column_stack((xy, np.full(len(xy), 1.7))))
        tall = foot[:, 1] - head[:, 1]
        middle = (foot[:, 0] + head[:, 0]) / 2
        boxes = np.stack((middle - 0.18 * tall, head[:, 1], middle + 0.18 * tall, foot[:, 1]), axis=1)
        with np.errstate(invalid="ignore"):  # NaN: behind the camera
            fine = (tall > heights_px[0]) & (tall < heights_px[1]) & _is_within(boxes, camera.size, cut)
        xy, boxes, tall = xy[fine], boxes[fine], tall[fine]
        chance = 1 / np.maximum(_crowding(tall), 1e-9)
        if not len(xy):
            return cls(xy, boxes)
        chosen = rng.choice(len(xy), min(MOST_SPOTS, len(xy)), replace=False, p=chance / chance.sum())
        return cls(xy[chosen], boxes[chosen])

    def draw(self, people: int, overlap: float, rng: np.random.Generator) -> NDArray[np.int64]:
        """(at most ``people``,) Rows whose boxes cover each other by no more than ``overlap`` of the smaller one."""
        chosen: list[int] = []
        for row in rng.permutation(len(self.xy_m)):
            apart = all(np.hypot(*(self.xy_m[row] - self.xy_m[other])) > 0.6 for other in chosen)
            if apart and all(covered(self.boxes[row], self.boxes[other]) <= overlap for other in chosen):
                chosen.append(int(row))
            if len(chosen) == people:
                break
        return np.array(chosen, np.int64)


def _is_within(boxes: Floats, size: tuple[int, int], cut: float) -> NDArray[np.bool_]:
    """(N,) Is a box in the picture, but for so large a share of its height at the lower edge?"""
    tall = boxes[:, 3] - boxes[:, 1]
    inside = (boxes[:, 0] > 0) & (boxes[:, 1] > 0) & (boxes[:, 2] < size[0])
    return np.asarray(inside & (boxes[:, 3] < size[1] + cut * tall))


def _crowding(values: Floats) -> Floats:
    """(N,) How many of the values lie near each one, by logarithm."""
    bins = np.floor(np.log(values) * 5).astype(np.int64)
    _, place, count = np.unique(bins, return_inverse=True, return_counts=True)
    return np.asarray(count[place], np.float64)


def covered(one: Floats, other: Floats) -> float:
    """The share of the smaller of two boxes (4,) that the other covers."""
    w = min(one[2], other[2]) - max(one[0], other[0])
    h = min(one[3], other[3]) - max(one[1], other[1])
    area = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return float(max(w, 0) * max(h, 0) / area) if area > 0 else 0.0


@dataclass(frozen=True)
class Station:
    """One camera of the pool, and its place."""

    site: settings.Scene
    place: Place
    camera: Camera
    look: CameraLook
    spots: Spots
    quality: int  # of JPEG compression
    grey: float  # level that its exposure brings the floor to

    @classmethod
    def of(cls, plan: Plan, number: int) -> Station:
        """The same for every part whose people it sees.

        Raises:
            CropsError: No place could be drawn that people can stand in.
        """
        for attempt in range(ATTEMPTS):
            rng = plan.chance("site", number, attempt)
            site = draw_site(rng)
            place = build(site, rng)
            camera = Camera.of("camera", site.cameras["camera"], rng)
            spots = Spots.of(place, camera, site.areas["area"], rng)
            if len(spots.xy_m) >= FEWEST_SPOTS:
                look = CameraLook.of(site.cameras["camera"], site.difficulty, rng)
                quality, grey = int(rng.integers(*SENT_QUALITY)), float(rng.uniform(*EXPOSURE))
                return cls(site, place, camera, look, spots, quality, grey)
        raise CropsError(f"camera {number}: {ATTEMPTS} places were drawn, and none has room for people")


# --- who is seen


@dataclass(frozen=True)
class Person:
    """Somebody dressed, and how they walk."""

    figure: Figure
    style: gait.Style
    sole_m: float

    @classmethod
    def of(cls, plan: Plan, number: int) -> Person:
        rng = plan.chance("person", number)
        figure = wardrobe.dress(wardrobe.draw_look(rng), detail=DETAIL)
        seen = figure.surface.mask >= 0
        return cls(figure, gait.draw_style(rng), -float(figure.surface.vertices[seen, 1].min(initial=0.0)))

    def posed(self, xy_m: Floats, rng: np.random.Generator) -> NDArray[np.float32]:
        """(B, 3, 4) At one place, walking or standing, at a drawn moment and facing anywhere."""
        trajectory, moment = passing(xy_m, rng)
        motion = gait.Motion(self.figure.skeleton, trajectory, self.style, sole_m=self.sole_m)
        return motion.matrices(moment)


def passing(xy_m: Floats, rng: np.random.Generator) -> tuple[Trajectory, float]:
    """A few seconds of somebody who passes ``xy_m`` (2,), and when they do, in s."""
    t_s = np.arange(int(4 * RATE_HZ) + 1) / RATE_HZ
    moment, heading = float(rng.uniform(1.5, 2.5)), float(rng.uniform(-math.pi, math.pi))
    stands = rng.random() < STANDING_SHARE
    speed = 0.0 if stands else float(rng.uniform(0.8, 1.6))
    ahead = np.array([math.cos(heading), math.sin(heading)])
    trajectory = Trajectory(
        person=1,
        t_s=t_s,
        xy_m=xy_m + speed * (t_s - moment)[:, None] * ahead,
        heading_rad=np.full(len(t_s), heading),
        activity=np.full(len(t_s), STANDING if stands else WALKING, np.int8),
    )
    return trajectory, moment


# --- how they are cut out


def detected(box: NDArray[np.floating], rng: np.random.Generator) -> Floats:
    """(4,) A box about as a detector would give it: never quite right, and by some detectors of one shape for all."""
    x1, y1, x2, y2 = (float(side) for side in box)
    middle, tall = (x1 + x2) / 2, y2 - y1
    wide = max(x2 - x1, float(rng.uniform(0.36, 0.52)) * tall) if rng.random() < 0.75 else x2 - x1
    loose = rng.normal(0.02, 0.035, 4) * (wide, tall, wide, tall)
    left, top, right, bottom = middle - wide / 2, y1, middle + wide / 2, y2
    if rng.random() < 0.06:  # the legs are taken for something else
        bottom -= float(rng.uniform(0.1, 0.35)) * tall
    return np.array([left - loose[0], top - loose[1], right + loose[2], bottom + loose[3]])


def cut(image: Image, box: Floats, size: tuple[int, int], quality: int = 100) -> Image | None:
    """What a box (4,) holds, at a size (width, height); None where too little of it is in the picture.

    ``quality`` is of the JPEG compression that the picture went through before.
    """
    x1, y1 = (max(0, round(float(side))) for side in box[:2])
    x2, y2 = (min(most, round(float(side))) for side, most in zip(box[2:], image.shape[1::-1], strict=True))
    if x2 - x1 < 8 or y2 - y1 < 16:
        return None
    how = cv2.INTER_AREA if y2 - y1 > size[1] else cv2.INTER_LINEAR
    sent = cv2.imencode(".jpg", image[y1:y2, x1:x2], (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
    return _image(cv2.resize(_image(cv2.imdecode(sent, cv2.IMREAD_COLOR)), size, interpolation=how))


def exposed(empty: Image, spots: Spots, grey: float) -> Image:
    """(256,) What a camera that adjusts itself makes of each level.

    Args:
        empty: (H, W, 3) The place without people.
        spots: Where they will be: what is seen there comes to the mean level ``grey``.
    """
    feet = np.column_stack(((spots.boxes[:, 0] + spots.boxes[:, 2]) / 2, spots.boxes[:, 3]))
    columns, rows = np.minimum(feet, np.array(empty.shape[1::-1]) - 1).astype(np.int64).T
    factor = float(np.clip(grey / max(float(empty[rows, columns].mean()), 1.0), 0.6, 3.0))
    shown = factor * np.linspace(0, 1, 256)
    bright = 0.7 + 0.3 * np.tanh((shown - 0.7) / 0.3)  # nothing is burnt out at once
    return np.rint(255 * np.where(shown > 0.7, bright, shown)).astype(np.uint8)


def _image(made: object) -> Image:
    return np.asarray(made, np.uint8)


def crops_of_station(
    plan: Plan, part: int, number: int, people: dict[int, Person]
) -> Iterator[tuple[str, Image]]:
    """Every crop of the part's people by one camera, with the file's name."""
    station = Station.of(plan, number)
    rng = plan.chance("shots", part, number)
    taken = dict.fromkeys(people, 0)
    with Renderer(station.place.surface, station.site.light, largest=FRAME) as renderer:
        exposure = exposed(renderer.picture(station.camera, None, []).image, station.spots, station.grey)
        for person, who in people.items():
            renderer.add(person, who.figure)
        for party in _parties(plan, taken, rng):
            overlap = OVERLAP_CROWDED if rng.random() < CROWDED else OVERLAP
            rows = station.spots.draw(len(party), overlap, rng)
            poses = {
                person: people[person].posed(station.spots.xy_m[row], rng)
                for person, row in zip(party, rows, strict=False)  # the place may be too small for all
            }
            renderer.pose({person: (matrices, matrices) for person, matrices in poses.items()})
            picture = renderer.picture(station.camera, station.camera, sorted(poses), want=frozenset())
            shown, truth = station.look.apply(_image(cv2.LUT(picture.image, exposure)), rng), picture.truth
            for person, box, seen in zip(truth.ids.tolist(), truth.boxes, truth.visibility, strict=True):
                crop = cut(shown, detected(box, rng), (plan.width, plan.height), station.quality)
                if seen < LEAST_SEEN or crop is None:
                    continue
                taken[person] += 1
                yield f"{person:04d}_c{number}_{taken[person]:06d}.jpg", crop


def _parties(plan: Plan, taken: dict[int, int], rng: np.random.Generator) -> Iterator[list[int]]:
    """Who is in each frame, until everybody has been seen often enough or too much was tried."""
    for _ in range(plan.pictures + TRIES):
        wanted = [person for person, count in taken.items() if count < plan.pictures]
        rng.shuffle(wanted)
        while wanted:
            size = int(rng.integers(PARTY[0], PARTY[1] + 1))
            yield wanted[:size]
            wanted = wanted[size:]


# --- parts, and the whole


def make_part(plan: Plan, part: int, folder: Path) -> int:
    """Write ``folder/PART.zip``, whole or not at all; answers the number of its crops."""
    cv2.setNumThreads(1)
    people = {number: Person.of(plan, number) for number in plan.members(part)}
    made = 0
    unfinished = folder / f"{part:05d}.unfinished"
    with zipfile.ZipFile(unfinished, "w") as archive:
        for station in plan.stations(part):
            for name, crop in crops_of_station(plan, part, station, people):
                encoded = cv2.imencode(".jpg", crop, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1]
                archive.writestr(
                    zipfile.ZipInfo(name), encoded.tobytes()
                )  # ZipInfo: no time of day in the file
                made += 1
    unfinished.replace(_part_file(folder, part))
    return made


def _part_file(folder: Path, part: int) -> Path:
    return folder / f"{part:05d}.zip"


def make(plan: Plan, out: Path, *, processes: int = 2) -> Iterator[int]:
    """Make the set; goes on where an earlier call was stopped. Answers the number of people done, again and again.

    Args:
        out: A file that ends in .zip, or a folder. Parts lie in ``OUT.parts`` until all are there.

    Raises:
        CropsError: The parts there are of another plan, or ``out`` exists.
    """
    if out.exists():
        raise CropsError(f"{out} is there already: give another name, or remove it")
    parts = out.with_name(out.name + ".parts")
    _claim(parts, plan)
    missing = [part for part in range(plan.parts) if not _part_file(parts, part).exists()]
    done = sum(len(plan.members(part)) for part in set(range(plan.parts)) - set(missing))
    yield done
    os.environ.setdefault(
        "LP_NUM_THREADS", "1"
    )  # a software renderer's; the processes share the cores by parts
    for part in _each(_Making(plan, parts), missing, processes):
        done += len(plan.members(part))
        yield done
    _gather([_part_file(parts, part) for part in range(plan.parts)], out)
    shutil.rmtree(parts)


def _each(making: _Making, missing: list[int], processes: int) -> Iterator[int]:
    """Make the missing parts in so many processes, in this one where one is enough; answers those done."""
    if min(processes, len(missing)) < 2:
        yield from map(making, missing)
        return
    os.environ.setdefault(
        "LP_NUM_THREADS", "1"
    )  # a software renderer's; the processes share the cores by parts
    with multiprocessing.get_context("spawn").Pool(min(processes, len(missing))) as pool:
        yield from pool.imap_unordered(making, missing)


@dataclass(frozen=True)
class _Making:
    """`make_part` as a process can be handed it."""

    plan: Plan
    folder: Path

    def __call__(self, part: int) -> int:
        make_part(self.plan, part, self.folder)
        return part


def _claim(parts: Path, plan: Plan) -> None:
    """Make the folder of parts, or see that those in it are of this plan."""
    parts.mkdir(parents=True, exist_ok=True)
    about, said = parts / "plan.json", json.dumps({**asdict(plan), "code": code()})
    if not about.exists():
        unfinished = about.with_suffix(".unfinished")
        unfinished.write_text(said, "utf-8")
        unfinished.replace(about)
    elif about.read_text("utf-8") != said:
        raise CropsError(
            f"{parts} holds parts of other settings or another version: remove it, or give the same options as before"
        )


def _gather(parts: list[Path], out: Path) -> None:
    """All parts as one zip or one folder, which appears whole or not at all."""
    unfinished = out.with_name(out.name + ".unfinished")
    if out.suffix.lower() == ".zip":
        with zipfile.ZipFile(unfinished, "w") as whole:
            for part in parts:
                with zipfile.ZipFile(part) as archive:
                    for one in archive.infolist():
                        whole.writestr(one, archive.read(one))
    else:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        for part in parts:
            with zipfile.ZipFile(part) as archive:
                archive.extractall(unfinished)
    unfinished.replace(out)


# --- the command's verb


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of ``python -m scenes crops``."""
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="FILE.zip|DIR",
        help="to make; a stopped call goes on",
    )
    usual = Plan()
    parser.add_argument("--people", type=int, default=usual.people, help="default: %(default)s")
    parser.add_argument(
        "--cameras", type=int, default=usual.cameras, help="that see everybody (default: %(default)s)"
    )
    parser.add_argument(
        "--pictures",
        type=int,
        default=usual.pictures,
        help="of everybody by each of them (default: %(default)s)",
    )
    parser.add_argument(
        "--pool",
        type=int,
        default=usual.pool,
        help="cameras in all, each at a place of its own (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=usual.seed, help="default: %(default)s")
    parser.add_argument(
        "--size",
        default=f"{usual.width}x{usual.height}",
        metavar="WxH",
        help="px of a crop (default: %(default)s)",
    )
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="at a time (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Make what the options ask for, with a progress bar; answers the exit status.

    Raises:
        CropsError: It cannot be.
    """
    from tqdm import tqdm

    width, x, height = options.size.partition("x")
    if not (width.isdecimal() and x and height.isdecimal()):
        raise CropsError(f"a size is WIDTHxHEIGHT, as 64x128, not {options.size}")
    plan = Plan(
        people=options.people,
        cameras=options.cameras,
        pictures=options.pictures,
        seed=options.seed,
        width=int(width),
        height=int(height),
        pool=options.pool,
    )
    if options.processes < 1:
        raise CropsError("at least one process is needed")
    with tqdm(total=plan.people, unit="person", smoothing=0.05) as line:
        for done in make(plan, options.out, processes=options.processes):
            line.update(done - line.n)
    return 0
