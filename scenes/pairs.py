"""Pairs of rendered pictures with exact flow: ``python -m scenes pairs -o DIR``, to train and to measure flow on.

People pass in places that are drawn, or walk through scenes of given files; cameras stand still, pan or shake. Between
the two pictures of a pair lie a few frames, and the flow leads over all of them at once: it is that of the surfaces,
from where they are seen in the first picture to where they are in the second. A pack is a folder of arrays that can be
mapped into memory:

    pictures.npy   (N, 2, H, W, 3) uint8    BGR, before and after
    flow.npy       (N, H, W, 2)    float16  px from before to after, x and y
    hidden.npy     (N, H, W)       bool     that point is not seen in after: covered, or beyond the edge
    people.npy     (N, H, W)       uint8    who is seen in before, numbered in the picture from 1; 0 nobody
    gap.npy        (N,)            int16    frames from before to after
    info.json                               how it was made

The work is cut into blocks of `BLOCK` pairs of one site, each drawn from the seed and its own number alone: they may be
made in any order, by any number of processes, and those that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from scenes import crops, gait, settings
from scenes.camera import Camera
from scenes.chance import stream
from scenes.look import CameraLook
from scenes.place import Place, build
from scenes.records import STANDING, WALKING, Picture, Trajectory
from scenes.render import Renderer
from scenes.scene import Staged
from scenes.write import code

BLOCK = 20  # pairs of one site
PARTY = (3, 15)  # people of a drawn site's picture, from and to
HEIGHTS_PX = (28.0, 300.0)  # of people at a drawn site, in a picture of
USUAL_PX = 288  # so many rows; in others in proportion
LEGS_CUT = 0.45  # share of somebody near that may be below the picture
FEWEST_SPOTS = 60  # of a camera
ATTEMPTS = 40  # at drawing what can be refused: a site, somebody's way, a moment
RATES_HZ = (10.0, 10.0, 12.5, 15.0, 25.0)  # of a drawn site's camera
VIEW = (42.0, 85.0)  # degrees
MOVING = 0.25  # share of drawn sites whose camera pans or shakes
PAN, PAN_S = (8.0, 35.0), (10.0, 30.0)  # degrees to each side, period
SHAKE_PX = (0.6, 4.0)  # root mean square, in a picture of USUAL_PX rows
BLURRED = 0.3  # share of drawn sites whose shutter is open long enough to blur
SHUTTER_S = (0.01, 0.06)
FLICKER, FLICKERS = 0.06, 0.3  # by how much the exposure differs after, in which share of pairs
SENT_QUALITY = (35, 96)  # JPEG, of what a camera sends
GREY = (75.0, 160.0)  # level that a drawn site's exposure brings the floor to
STANDS = 0.12  # share of people
SPEED = (1.3, 0.3, 0.4, 2.3)  # m/s: median, deviation of the logarithm, least, most
TURNS, TURN_RAD_S = 0.35, 0.9  # share of people whose way is a bend, and how tight at most
BESIDE, CROSSING = 0.22, 0.3  # share of people who walk with somebody, or past somebody whom they cover
BESIDE_M = (0.5, 0.8)
APART_M = 0.45  # people do not walk through each other
RATE_HZ, LEAD_S = 20.0, 2.0  # of a way; what it goes on before and after
WANTED_PX = (2.0, 20.0)  # how far people go in every other pair of given scenes, in the median
KEPT = ("pictures", "flow", "hidden", "people", "gap")
MOST_PX = 4096.0  # a flow beyond it, of points that are hidden anyway, is cut off: float16 is coarse there

Floats = NDArray[np.float64]
Image = NDArray[np.uint8]
Matrices = NDArray[np.float32]


class PairsError(ValueError):
    """What was asked for cannot be made."""


@dataclass(frozen=True)
class Plan:
    """Packs of pairs; all that they depend on."""

    pairs: int = 1000
    width: int = 480
    height: int = 288
    gaps: tuple[int, ...] = (1, 2, 5, 10)  # frames; in turn
    seed: int = 0
    sites: tuple[str, ...] = ()  # scene files, in turn; none: sites are drawn
    parts: int = 1  # packs

    def __post_init__(self) -> None:
        if not 1 <= self.parts <= self.pairs or self.seed < 0:
            raise PairsError(
                "pairs and parts are at least 1, a pack has a pair at least, the seed is at least 0"
            )
        if min(self.width, self.height) < 64 or self.width % 2 or self.height % 2:
            raise PairsError(f"pictures of {self.width}x{self.height} pixels: give even numbers from 64 on")
        if not self.gaps or min(self.gaps) < 1 or max(self.gaps) > 1000:
            raise PairsError("gaps are numbers of frames from 1 to 1000")

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def blocks(self) -> list[Block]:
        """All the work, in the order of the pairs."""
        edges = [round(self.pairs * part / self.parts) for part in range(self.parts + 1)]
        return [
            Block(part, edges[part], first, min(first + BLOCK, edges[part + 1]))
            for part in range(self.parts)
            for first in range(edges[part], edges[part + 1], BLOCK)
        ]

    def chance(self, word: str, *numbers: int) -> np.random.Generator:
        """Chance for one purpose, the same whatever else is drawn."""
        return stream(self.seed, "pairs", word, *numbers)


@dataclass(frozen=True)
class Block:
    """Pairs ``first`` to before ``end`` of the whole plan, in a part that begins with pair ``begin``."""

    part: int
    begin: int
    first: int
    end: int

    @property
    def number(self) -> int:
        return self.first // BLOCK


@dataclass(frozen=True)
class Moment:
    """What a pair shows: cameras, people (B, 3, 4 rest to world) and seconds, before and after."""

    before: Camera
    after: Camera
    poses: dict[int, tuple[Matrices, Matrices]]
    step_s: float


@dataclass(frozen=True)
class Shown:
    """A pair as it is stored."""

    pictures: Image  # (2, H, W, 3)
    flow: NDArray[np.float16]  # (H, W, 2)
    hidden: NDArray[np.bool_]  # (H, W)
    people: NDArray[np.uint8]  # (H, W)


class Site(Protocol):
    """Where pairs are seen. A context manager: it holds the renderer."""

    def __enter__(self) -> Site: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, number: int, gap: int, rng: np.random.Generator) -> Shown:
        """Pair ``number`` of the plan, ``gap`` frames apart."""
        ...


# --- sites that are drawn


class DrawnSite:
    """A drawn place with one camera. Every pair is another moment with other people on other ways."""

    def __init__(self, plan: Plan, number: int) -> None:
        self._scale = plan.height / USUAL_PX
        self._site, self._place, self._camera, self._spots, rng = self._drawn(plan, number)
        said = self._site.cameras["camera"]
        self._look = CameraLook.of(said, self._site.difficulty, rng)
        self._fps = float(rng.choice(RATES_HZ))
        self._quality, self._grey = int(rng.integers(*SENT_QUALITY)), float(rng.uniform(*GREY))
        dressed = crops.Plan(seed=int(rng.integers(2**31)))
        self._people = {person: crops.Person.of(dressed, person) for person in range(1, PARTY[1] + 1)}
        self._open = ExitStack()

    def _drawn(
        self, plan: Plan, number: int
    ) -> tuple[settings.Scene, Place, Camera, crops.Spots, np.random.Generator]:
        heights = (HEIGHTS_PX[0] * self._scale, HEIGHTS_PX[1] * self._scale)
        for attempt in range(ATTEMPTS):
            rng = plan.chance("site", number, attempt)
            site = crops.draw_site(rng)
            said = _seen_otherwise(site.cameras["camera"], plan.size, rng)
            place = build(site, rng)
            camera = Camera.of("camera", said, rng)
            spots = crops.Spots.of(place, camera, site.areas["area"], rng, heights_px=heights, cut=LEGS_CUT)
            if len(spots.xy_m) >= FEWEST_SPOTS:
                return site.model_copy(update={"cameras": {"camera": said}}), place, camera, spots, rng
        raise PairsError(f"site {number}: {ATTEMPTS} places were drawn, and none has room for people")

    def __enter__(self) -> DrawnSite:
        self._renderer = self._open.enter_context(
            Renderer(self._place.surface, self._site.light, largest=self._camera.size)
        )
        for person, who in self._people.items():
            self._renderer.add(person, who.figure)
        empty = self._renderer.picture(self._camera.at(0.0), None, []).image
        self._exposure = crops.exposed(empty, self._spots, self._grey)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def show(self, number: int, gap: int, rng: np.random.Generator) -> Shown:
        """A moment at which 3 to 15 people pass."""
        step_s = gap / self._fps
        ways = self._draw_ways(step_s, rng)
        poses = {person: way.poses(self._people[person], step_s) for person, way in ways.items()}
        begin_s = float(rng.uniform(0, 1000))
        moment = Moment(self._camera.at(begin_s), self._camera.at(begin_s + step_s), poses, step_s)
        finish = Finish(self._look, self._exposure, self._quality, 1 / self._fps)
        return shown(self._renderer, moment, finish, rng)

    def _draw_ways(self, step_s: float, rng: np.random.Generator) -> dict[int, Way]:
        """Who goes where; fewer people than drawn where there is no room."""
        count = int(rng.integers(PARTY[0], PARTY[1] + 1))
        ways: dict[int, Way] = {}
        for person in rng.permutation(list(self._people))[:count].tolist():
            for _ in range(ATTEMPTS):
                way = self._draw_way(list(ways.values()), step_s, rng)
                if self._is_free(way, ways.values(), step_s):
                    ways[person] = way
                    break
        return ways

    def _draw_way(self, others: Sequence[Way], step_s: float, rng: np.random.Generator) -> Way:
        kind = rng.random()
        if others and kind < BESIDE:
            other = others[int(rng.integers(len(others)))]
            side = float(rng.uniform(*BESIDE_M)) * (1 if rng.random() < 0.5 else -1)
            aside = side * np.array([-math.sin(other.heading_rad), math.cos(other.heading_rad)])
            return replace(other, xy_m=other.xy_m + aside)
        row = int(rng.integers(len(self._spots.xy_m)))
        if others and kind < BESIDE + CROSSING:
            other_row = others[int(rng.integers(len(others)))].spot
            box = self._spots.boxes[other_row]
            behind = [
                at
                for at, one in enumerate(self._spots.boxes)
                if at != other_row and crops.covered(one, box) > 0.3
            ]
            row = int(rng.choice(behind)) if behind else row
        median, spread, least, most = SPEED
        speed = float(np.clip(median * math.exp(rng.normal(0, spread)), least, most))
        turns = float(rng.uniform(-TURN_RAD_S, TURN_RAD_S))
        return Way(
            spot=row,
            xy_m=self._spots.xy_m[row],
            passes_s=float(rng.uniform(0, step_s)),
            heading_rad=float(rng.uniform(-math.pi, math.pi)),
            speed_m_s=0.0 if rng.random() < STANDS else speed,
            turn_rad_s=turns if rng.random() < TURNS else 0.0,
        )

    def _is_free(self, way: Way, others: Iterable[Way], step_s: float) -> bool:
        """Does a way lead through nothing and nobody?"""
        times = np.linspace(0, step_s, 4)
        own = way.at(times)
        apart = all(np.hypot(*(own - other.at(times)).T).min() > APART_M for other in others)
        return bool(apart and self._place.is_free(own, 0.3).all())


@dataclass(frozen=True)
class Way:
    """How somebody passes a place ``passes_s`` after the first picture: straight on, or in a bend."""

    spot: int  # row of the camera's spots
    xy_m: Floats  # (2,)
    passes_s: float
    heading_rad: float  # there
    speed_m_s: float
    turn_rad_s: float

    def at(self, t_s: Floats) -> Floats:
        """(N, 2) m at times (N,) since the first picture."""
        since = t_s - self.passes_s
        half = self.turn_rad_s * since / 2  # a chord of an arc: it turns by half of what the heading does
        chord = self.speed_m_s * since * np.sinc(half / math.pi)
        toward = self.heading_rad + half
        return self.xy_m + np.stack((chord * np.cos(toward), chord * np.sin(toward)), axis=-1)

    def poses(self, person: crops.Person, step_s: float) -> tuple[Matrices, Matrices]:
        """(B, 3, 4) Rest to world, at the first picture and ``step_s`` later."""
        t_s = -LEAD_S + np.arange(int((step_s + 2 * LEAD_S) * RATE_HZ) + 1) / RATE_HZ
        walks = self.speed_m_s > 0
        trajectory = Trajectory(
            person=1,
            t_s=t_s,
            xy_m=self.at(t_s),
            heading_rad=self.heading_rad + self.turn_rad_s * (t_s - self.passes_s) * walks,
            activity=np.full(len(t_s), WALKING if walks else STANDING, np.int8),
        )
        motion = gait.Motion(person.figure.skeleton, trajectory, person.style, sole_m=person.sole_m)
        before, after = motion.poses(np.array([0.0, step_s]))
        return before, after


def _seen_otherwise(
    said: settings.Camera, size: tuple[int, int], rng: np.random.Generator
) -> settings.Camera:
    """A drawn camera with a lens, a shutter and a mount as they are met where people are watched."""
    view = float(rng.uniform(*VIEW))
    k1 = float(rng.uniform(-0.2 if view < 60 else -0.1, 0.03))  # more folds the corners over
    moves, how = rng.random() < MOVING, int(rng.integers(3))  # pans, shakes or both
    pan, period, shake = (float(rng.uniform(*ends)) for ends in (PAN, PAN_S, SHAKE_PX))
    motion = settings.Motion(
        pan=pan if moves and how != 1 else 0.0,
        period=period,
        shake=shake * size[1] / USUAL_PX if moves and how != 0 else 0.0,
    )
    shutter = float(rng.uniform(*SHUTTER_S))
    changed = {
        "size": size,
        "view": view,
        "distortion": (k1, 0.0, 0.0, 0.0, 0.0),
        "motion": motion,
        "shutter": shutter if rng.random() < BLURRED else 0.0,
    }
    return said.model_copy(update=changed)


# --- scenes of files


class StagedSite:
    """A scene as its file tells it, by one of its cameras and at another time in every pair."""

    def __init__(self, plan: Plan, path: str) -> None:
        scene = settings.load(path)
        self._size = plan.size
        cameras = {name: one.model_copy(update={"size": plan.size}) for name, one in scene.cameras.items()}
        self._staged = Staged.of(scene.model_copy(update={"cameras": cameras}))
        self._looks = {
            name: CameraLook.of(one, scene.difficulty, stream(scene.seed, "camera look", name))
            for name, one in cameras.items()
        }
        self._gaps = len(plan.gaps)
        self._known: set[int] = set()
        self._open = ExitStack()

    def __enter__(self) -> StagedSite:
        surface, light = self._staged.place.surface, self._staged.scene.light
        self._renderer = self._open.enter_context(Renderer(surface, light, largest=self._size))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def show(self, number: int, gap: int, rng: np.random.Generator) -> Shown:
        """A moment; in every other round of gaps one at which people go `WANTED_PX` in the median."""
        name, t_s, step_s = self._draw_time(gap, number // self._gaps % 2 == 0, rng)
        present = self._staged.instant(t_s).ids.tolist()
        for person in set(present) - self._known:
            self._renderer.add(person, self._staged.figure(person))
            self._known.add(person)
        times = np.array([t_s, t_s + step_s])
        poses = {person: tuple(self._staged.poses(person, times)) for person in present}
        camera, said = self._staged.cameras[name], self._staged.scene.cameras[name]
        moment = Moment(camera.at(t_s), camera.at(t_s + step_s), poses, step_s)
        finish = Finish(self._looks[name], None, int(rng.integers(*SENT_QUALITY)), 1 / self._fps(said))
        return shown(self._renderer, moment, finish, rng)

    def _fps(self, said: settings.Camera) -> float:
        return said.fps or self._staged.scene.fps

    def _draw_time(self, gap: int, is_wanted: bool, rng: np.random.Generator) -> tuple[str, float, float]:
        """Whose picture, when, and seconds until the next one: of `ATTEMPTS` the first that serves, or the best."""
        best, least = ("", 0.0, 0.0), math.inf
        for _ in range(ATTEMPTS):
            name = str(rng.choice(list(self._staged.cameras)))
            step_s = gap / self._fps(self._staged.scene.cameras[name])
            if step_s >= self._staged.scene.seconds:
                raise PairsError(f"a gap of {gap} frames is longer than scene {self._staged.scene.name}")
            t_s = float(rng.uniform(0, self._staged.scene.seconds - step_s))
            ways_px = self._ways_px(name, t_s, step_s)
            middle = float(np.median(ways_px)) if len(ways_px) else math.inf
            wanted = WANTED_PX if is_wanted else (1.0, math.inf)
            miss = max(wanted[0] - middle, middle - wanted[1], 0.0) if len(ways_px) else 1e9
            if miss < least:
                best, least = (name, t_s, step_s), miss
            if miss == 0:
                break
        return best

    def _ways_px(self, name: str, t_s: float, step_s: float) -> Floats:
        """(N,) How far the people whom a camera may see go in the picture."""
        camera, now, after = (
            self._staged.cameras[name],
            self._staged.instant(t_s),
            self._staged.instant(t_s + step_s),
        )
        both, rows, rows_after = np.intersect1d(now.ids, after.ids, return_indices=True)
        hips = np.full((len(both), 1), 0.9)
        px, _ = camera.at(t_s).project(np.concatenate((now.xy_m[rows], hips), axis=1))
        px_after, _ = camera.at(t_s + step_s).project(np.concatenate((after.xy_m[rows_after], hips), axis=1))
        with np.errstate(invalid="ignore"):  # NaN: behind the camera
            within = ((px > 0) & (px < self._size)).all(axis=1)
        eye = np.broadcast_to(camera.centre_m[:2], (len(both), 2))
        within &= self._staged.place.sees(eye, now.xy_m[rows])
        ways = np.hypot(*(px_after - px)[within].T)
        return np.asarray(ways[np.isfinite(ways)])


# --- a pair


@dataclass(frozen=True)
class Finish:
    """What a camera makes of clean pictures and sends."""

    look: CameraLook
    exposure: Image | None  # (256,) what it makes of each level; None: nothing
    quality: int  # JPEG
    frame_s: float

    def apply(self, picture: Picture, factor: float, step_s: float, rng: np.random.Generator) -> Image:
        """(H, W, 3) As it arrives; ``factor``: how much more light is taken in; ``step_s``: of the picture's flow."""
        image = picture.image
        if self.exposure is not None or factor != 1:
            levels = np.arange(256) if self.exposure is None else self.exposure
            image = _image(cv2.LUT(image, np.clip(np.rint(levels * factor), 0, 255).astype(np.uint8)))
        image = self.look.apply(image, rng, picture.flow, step_s)
        sent = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, self.quality))[1]
        return _image(cv2.imdecode(sent, cv2.IMREAD_COLOR))


def shown(renderer: Renderer, moment: Moment, finish: Finish, rng: np.random.Generator) -> Shown:
    """Both pictures of a moment, as a camera sends them, and what is true of them."""
    present = sorted(moment.poses)
    renderer.pose(moment.poses)
    before = renderer.picture(moment.before, moment.after, present, want=frozenset({"flow", "masks"}))
    renderer.pose({person: (after, before_) for person, (before_, after) in moment.poses.items()})
    back = frozenset({"flow"} if finish.look.shutter_s else ())  # blurs, backwards as well as forwards
    after = renderer.picture(moment.after, moment.before, present, want=back)
    factor = 1 + FLICKER * float(rng.uniform(-1, 1)) if rng.random() < FLICKERS else 1.0
    pictures = [
        finish.apply(before, 1.0, moment.step_s, rng),
        finish.apply(after, factor, moment.step_s, rng),
    ]
    assert (
        before.flow is not None and before.hidden_next is not None and before.masks is not None
    )  # asked for
    numbers = np.searchsorted(before.truth.ids, before.masks) + 1
    return Shown(
        pictures=np.stack(pictures),
        flow=np.clip(before.flow, -MOST_PX, MOST_PX).astype(np.float16),
        hidden=before.hidden_next,
        people=np.where(before.masks > 0, np.minimum(numbers, 255), 0).astype(np.uint8),
    )


def _image(made: object) -> Image:
    return np.asarray(made, np.uint8)


# --- packs


def make(plan: Plan, out: Path, *, processes: int = 1) -> Iterator[int]:
    """Make the packs; goes on where an earlier call was stopped. Answers how many pairs are there, again and again.

    Args:
        out: The pack; where there are several parts, the folder that holds them: 000, 001 and so on, each of which is
            there as soon as it is whole.

    Raises:
        PairsError: What lies there is of another plan.
    """
    work = Work(plan, out)
    work.claim()
    missing = [block for block in plan.blocks() if not work.is_done(block)]
    done = plan.pairs - sum(block.end - block.first for block in missing)
    yield done
    for block in _each(work, missing, processes):
        work.finish(block.part)
        done += block.end - block.first
        yield done
    for part in range(plan.parts):
        work.finish(part)


@dataclass(frozen=True)
class Work:
    """A plan and the folder where it is made. Called with a block it makes that one, in whatever process."""

    plan: Plan
    out: Path

    def pack(self, part: int) -> Path:
        """Where a part lies when it is whole."""
        return self.out if self.plan.parts == 1 else self.out / f"{part:03d}"

    def _unfinished(self, part: int) -> Path:
        folder = self.pack(part)
        return folder.with_name(folder.name + ".unfinished")

    def _mark(self, block: Block) -> Path:
        return self._unfinished(block.part) / "done" / str(block.number)

    def is_done(self, block: Block) -> bool:
        return self.pack(block.part).exists() or self._mark(block).exists()

    def claim(self) -> None:
        """Make the folders of what is missing, or see that those there are of this plan."""
        told = {"made": "scenes pairs", **asdict(self.plan), "code": code()}
        said = json.dumps(told, indent=1)
        for part in range(self.plan.parts):
            whole, unfinished = self.pack(part), self._unfinished(part)
            for folder in (whole, unfinished):
                about = folder / "info.json"
                if folder.exists() and (not about.exists() or about.read_text("utf-8") != said):
                    raise PairsError(
                        f"{folder} holds something else, or pairs of other settings or another version:"
                        " remove it, or give another folder"
                    )
            if not whole.exists() and not unfinished.exists():
                self._begin(part, said)

    def _begin(self, part: int, said: str) -> None:
        blocks = [block for block in self.plan.blocks() if block.part == part]
        count, (width, height) = blocks[-1].end - blocks[0].first, self.plan.size
        unfinished = self._unfinished(part)
        fresh = unfinished.with_name(unfinished.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        (fresh / "done").mkdir(parents=True)
        shapes: dict[str, tuple[tuple[int, ...], type]] = {
            "pictures": ((count, 2, height, width, 3), np.uint8),
            "flow": ((count, height, width, 2), np.float16),
            "hidden": ((count, height, width), np.bool_),
            "people": ((count, height, width), np.uint8),
            "gap": ((count,), np.int16),
        }
        for name, (shape, kind) in shapes.items():
            np.lib.format.open_memmap(fresh / f"{name}.npy", "w+", kind, shape).flush()
        (fresh / "info.json").write_text(said, "utf-8")
        fresh.replace(unfinished)

    def __call__(self, block: Block) -> Block:
        cv2.setNumThreads(1)
        folder = self._unfinished(block.part)
        arrays = {name: np.lib.format.open_memmap(folder / f"{name}.npy", "r+") for name in KEPT}
        with self._site(block) as site:
            for number in range(block.first, block.end):
                gap = self.plan.gaps[number % len(self.plan.gaps)]
                pair, row = site.show(number, gap, self.plan.chance("pair", number)), number - block.begin
                for name in KEPT[:-1]:
                    arrays[name][row] = getattr(pair, name)
                arrays["gap"][row] = gap
        for array in arrays.values():
            array.flush()
        self._mark(block).touch()
        return block

    def _site(self, block: Block) -> Site:
        if not self.plan.sites:
            return DrawnSite(self.plan, block.number)
        return StagedSite(self.plan, self.plan.sites[block.number % len(self.plan.sites)])

    def finish(self, part: int) -> None:
        """Give a part its name, if it is whole and has none yet."""
        unfinished = self._unfinished(part)
        blocks = [block for block in self.plan.blocks() if block.part == part]
        if unfinished.exists() and all(self._mark(block).exists() for block in blocks):
            shutil.rmtree(unfinished / "done")
            unfinished.replace(self.pack(part))


def _each(work: Work, missing: list[Block], processes: int) -> Iterator[Block]:
    """Make the missing blocks in so many processes, in this one where one is enough; answers those done."""
    os.environ.setdefault(
        "LP_NUM_THREADS", "1"
    )  # a software renderer's; the processes share the cores by blocks
    if min(processes, len(missing)) < 2:
        yield from map(work, missing)
        return
    with multiprocessing.get_context("spawn").Pool(min(processes, len(missing))) as pool:
        yield from pool.imap_unordered(work, missing)


# --- the command's verb


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of ``python -m scenes pairs``."""
    usual = Plan()
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="DIR", help="to make; a stopped call goes on"
    )
    parser.add_argument("--pairs", type=int, default=usual.pairs, help="default: %(default)s")
    parser.add_argument(
        "--size",
        default=f"{usual.width}x{usual.height}",
        metavar="WxH",
        help="px of a picture (default: %(default)s)",
    )
    parser.add_argument(
        "--gaps",
        type=int,
        nargs="+",
        default=list(usual.gaps),
        metavar="FRAMES",
        help="between the two pictures, in turn (default: 1 2 5 10)",
    )
    parser.add_argument("--seed", type=int, default=usual.seed, help="default: %(default)s")
    parser.add_argument(
        "--sites",
        nargs="+",
        default=["random"],
        metavar="random|SCENE.yaml",
        help="places that are drawn, or these scenes in turn (default: random)",
    )
    parser.add_argument(
        "--parts", type=int, default=usual.parts, help="packs to write them to (default: %(default)s)"
    )
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="at a time (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Make what the options ask for, with a progress bar; answers the exit status.

    Raises:
        PairsError: It cannot be.
    """
    from tqdm import tqdm

    width, x, height = options.size.partition("x")
    if not (width.isdecimal() and x and height.isdecimal()):
        raise PairsError(f"a size is WIDTHxHEIGHT, as 480x288, not {options.size}")
    plan = Plan(
        pairs=options.pairs,
        width=int(width),
        height=int(height),
        gaps=tuple(options.gaps),
        seed=options.seed,
        sites=() if options.sites == ["random"] else tuple(options.sites),
        parts=options.parts,
    )
    if options.processes < 1:
        raise PairsError("at least one process is needed")
    with tqdm(total=plan.pairs, unit="pair", smoothing=0.05) as line:
        for done in make(plan, options.out, processes=options.processes):
            line.update(done - line.n)
    return 0
