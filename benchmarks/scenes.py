"""Is what `scenes` renders true, seen by detectors, fast enough and plausible?

    python -m benchmarks.scenes measure [--data DIR] [--only ROW ...] [--json FILE] [--work DIR]
    python -m benchmarks.scenes blind --data DIR -o OUT     sheet of rendered and real people, and its key
    python -m benchmarks.scenes blind -o OUT --answers FILE    how well somebody told them apart

``DIR`` (or ``$THROUGHLINE_DATA``) is needed for the YOLOX-nano detector and the real people only. Rows:

- ``exact``: pixels' identity, depth and flow against rays cut with all triangles (`benchmarks.ray_truth`); boxes and
  visibility against masks of everybody drawn alone in an empty scene and a larger picture.
- ``feet``: how fast planted soles slide.
- ``detectors``: recall at IoU 0.5 from score 0.3 on the rendered clips. Counted are people at least 60 % visible,
  at least 24 px high and 12 px wide, whose box does not touch the picture's edge. The shipped demo must be met;
  the plaza with its thirty small people and the street at dusk show how far it falls.
- ``speed``: pictures/s of the whole command, start and everything included, at 640x360.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks import blind_sort
from benchmarks.accuracy import Absent, Row, as_json, as_text, least, measure, most
from benchmarks.detector_recall import matched_ious, pictures
from benchmarks.ray_truth import Mesh, View, box_of, centres, joined, look, posed, slips, visibilities
from models import ModelError
from scenes import settings
from scenes.camera import Camera
from scenes.records import ABSENT, SEATED, Picture, Surface, Trajectory
from scenes.scene import Staged
from tracker.io.detectors import load_detector

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "tracker" / "demo"
SITES = ("courtyard", "office", "plaza", "street")
SITE_SECONDS, SITE_FPS = 16.0, 2
MIN_SCORE = 0.3
MIN_VISIBILITY, MIN_HEIGHT_PX, MIN_WIDTH_PX, EDGE_PX = 0.6, 24.0, 12.0, 1.0
WHOLE = 0.95  # visible: nothing to speak of is hidden
FOUND = ("ious", "visibility")
SAME_DEPTH_M = 0.002  # surfaces nearer to each other than this may stand for each other
LENS = (-0.25, 0.06, 0.001, -0.001, 0.0)  # k1 k2 p1 p2 k3
STEP_S = 0.02  # between two looks at feet
ALL = frozenset(("masks", "depth", "flow"))


def site(name: str) -> Path:
    return ROOT / "scenes" / "sites" / f"{name}.yaml"


# --- truth of pictures


@dataclass(frozen=True)
class Shot:
    """One rendered picture, and the same people drawn alone."""

    picture: Picture
    alone: dict[int, NDArray[np.int32]]  # (H + 2 pad, W + 2 pad) each
    pad_px: int
    view: View
    view_after: View
    mesh: Mesh


def view_of(camera: Camera) -> View:
    return View(*(np.asarray(v, np.float64) for v in (camera.K, camera.R, camera.t, camera.distortion)))


def mesh_of(staged: Staged, present: Sequence[int], t_s: float, step_s: float) -> Mesh:
    """The place and the people as triangles now and ``step_s`` later, posed by ourselves."""
    parts = [_part(staged.place.surface, staged.place.surface.vertices, staged.place.surface.vertices, 0)]
    for person in present:
        figure = staged.figure(person)
        now, after = (
            posed(figure.surface.vertices, figure.bones, figure.weights, staged.matrices(person, at))
            for at in (t_s, t_s + step_s)
        )
        parts.append(_part(figure.surface, now, after, person))
    return joined(parts)


def _part(surface: Surface, now: NDArray[np.floating], after: NDArray[np.floating], person: int) -> Mesh:
    triangles = surface.triangles.astype(np.int64)
    return Mesh(
        np.asarray(now, np.float64),
        np.asarray(after, np.float64),
        surface.mask.astype(np.float64),
        triangles,
        np.full(len(triangles), person),
    )


def nothing() -> Surface:
    """A place that no camera sees: one triangle, deep below the floor and all hole."""
    three = np.zeros((3, 3), np.float32)
    corners = np.array([[0, 0, -900], [1, 0, -900], [0, 1, -900]], np.float32)
    up = np.tile(np.array([0, 0, 1], np.float32), (3, 1))
    one = np.zeros(3, np.float32)
    return Surface(
        corners,
        up,
        np.array([[0, 1, 2]], np.int32),
        three,
        three,
        np.zeros(3, np.int32),
        one,
        one,
        corners,
        one - 1,
    )


def shoot(staged: Staged, camera_name: str, t_s: float, step_s: float, *, pad_px: int = 80) -> Shot:
    """One picture of a scene with all its truth, and everybody alone.

    Raises:
        Absent: Nothing can be drawn here.
    """
    from scenes.render import Renderer, RenderError

    camera = staged.cameras[camera_name]
    now, after = camera.at(t_s), camera.at(t_s + step_s)
    present = [int(person) for person in staged.instant(t_s).ids]
    poses = {p: (staged.matrices(p, t_s), staged.matrices(p, t_s + step_s)) for p in present}
    w, h = camera.size
    largest = (w + 2 * pad_px, h + 2 * pad_px)
    try:
        with Renderer(staged.place.surface, staged.scene.light, largest=camera.size) as renderer:
            for person in present:
                renderer.add(person, staged.figure(person))
            renderer.pose(poses)
            picture = renderer.picture(now, after, present, want=ALL)
        alone = {}
        wide, wide_after = (c.window(-pad_px, -pad_px, w + pad_px, h + pad_px) for c in (now, after))
        with Renderer(nothing(), staged.scene.light, largest=largest) as renderer:
            for person in present:
                renderer.add(person, staged.figure(person))
            renderer.pose(poses)
            for person in picture.truth.ids.tolist():
                masks = renderer.picture(wide, wide_after, [person], want=frozenset({"masks"})).masks
                assert masks is not None
                alone[person] = masks
    except (settings.SceneError, RenderError) as problem:
        raise Absent(str(problem)) from problem
    mesh = mesh_of(staged, present, t_s, step_s)
    return Shot(picture, alone, pad_px, view_of(now), view_of(after), mesh)


@dataclass(frozen=True)
class Agreement:
    """A picture's truth next to the independent one."""

    pixels: int
    same: NDArray[np.bool_]  # (P,) the same person, or nobody in both, and the same surface
    flow_px: NDArray[np.float64]  # (Q,) error where surfaces agree, and no second one is as near
    depth_m: NDArray[np.float64]  # (Q,)
    boxes_px: NDArray[np.float64]  # (B, 4) by side
    visibility: NDArray[np.float64]  # (B,)


def compare(
    shot: Shot, rng: np.random.Generator, *, on_people: int = 1500, elsewhere: int = 300
) -> Agreement:
    """Some pixels on people and elsewhere against rays, all people against masks."""
    masks, depth, flow = shot.picture.masks, shot.picture.depth, shot.picture.flow
    assert masks is not None and depth is not None and flow is not None
    H, W = masks.shape
    flat = masks.ravel()
    chosen = np.concatenate(
        [
            rng.permutation(np.flatnonzero(flat > 0))[:on_people],
            rng.permutation(np.flatnonzero(flat == 0))[:elsewhere],
        ]
    )
    seen = look(centres((W, H))[chosen], shot.view, shot.mesh, shot.view_after)
    off = np.abs(depth.ravel()[chosen] - seen.depth_m)
    off[np.isinf(seen.depth_m)] = 0  # sky
    same = (seen.people == flat[chosen]) & (off < SAME_DEPTH_M)
    sure = same & np.isfinite(seen.depth_m) & (seen.margin_m > SAME_DEPTH_M)
    wrong = np.hypot(*(flow.reshape(-1, 2)[chosen] - seen.flow_px)[sure].T)
    boxes, shares = _against_masks(shot)
    return Agreement(len(chosen), same, wrong, off[sure], boxes, shares)


def _against_masks(shot: Shot) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Differences of boxes (B, 4) and of visibility (B,); people who leave even the larger picture are left out."""
    truth, pad = shot.picture.truth, shot.pad_px
    masks = shot.picture.masks
    assert masks is not None
    shares = visibilities(masks, shot.alone, pad)
    boxes, visible = [], []
    for row, person in enumerate(truth.ids.tolist()):
        whole = shot.alone[person] == person
        box = box_of(whole)
        edge = whole[[0, -1]].any() or whole[:, [0, -1]].any()
        if box is None or edge:
            continue
        boxes.append(truth.boxes[row] - (box - pad))
        visible.append(float(truth.visibility[row]) - shares[person])
    return np.array(boxes).reshape(-1, 4), np.array(visible)


def exact(bench: Bench) -> Row:
    """Two cameras of each site; the courtyard's are given a lens that bends, one of the street's pans and shakes."""
    rng = np.random.default_rng(0)
    found: list[Agreement] = []
    for name in SITES:
        scene = settings.load(site(name)).model_copy(update={"seconds": 12.0})
        if name == "courtyard":
            bent = {key: one.model_copy(update={"distortion": LENS}) for key, one in scene.cameras.items()}
            scene = scene.model_copy(update={"cameras": bent})
        staged = Staged.of(scene)
        for camera_name in list(staged.cameras)[:2]:
            shot = shoot(staged, camera_name, 8.0, 0.1)
            if len(shot.picture.truth.ids):
                found.append(compare(shot, rng, on_people=600, elsewhere=100))
    flow_px, depth_m, boxes, visible = (
        np.concatenate([getattr(one, part) for one in found])
        for part in ("flow_px", "depth_m", "boxes_px", "visibility")
    )
    same = np.concatenate([one.same for one in found])
    figures = {
        "flow error px, 99 %": float(np.percentile(flow_px, 99)),
        "flow error px, most": float(flow_px.max()),
        "flow error px, median": float(np.median(flow_px)),
        "pixels compared": float(len(flow_px)),
        "pixels in all": float(len(same)),
        "same person and surface %": 100 * float(same.mean()),
        "depth error mm, 99 %": 1e3 * float(np.percentile(depth_m, 99)),
        "box error px, most": float(np.abs(boxes).max()),
        "box error px, 95 %": float(np.percentile(np.abs(boxes), 95)),
        "boxes": float(len(boxes)),
        "visibility error, most": float(np.abs(visible).max()),
        "visibility error, mean": float(np.abs(visible).mean()),
    }
    wanted = {
        "flow error px, 99 %": most(1e-3),
        "box error px, most": most(1.5),
        "visibility error, most": most(0.05),
    }
    return Row("exact", figures, wanted)


# --- feet


def soles_of(staged: Staged, person: int, times_s: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Points (N, V, 3) under the left and the right sole at N times: the lowest 1.5 cm of the figure at rest."""
    figure = staged.figure(person)
    surface = figure.surface
    lowest = surface.vertices[surface.mask >= 0, 1].min()
    matrices = [staged.matrices(person, t_s) for t_s in times_s]
    found = []
    for side in (1, -1):
        rows = np.flatnonzero(
            (surface.vertices[:, 1] < lowest + 0.015)
            & (side * surface.vertices[:, 0] > 0)
            & (surface.mask >= 0)
        )
        rest, bones, weights = surface.vertices[rows], figure.bones[rows], figure.weights[rows]
        found.append(np.stack([posed(rest, bones, weights, now) for now in matrices]))
    return found


def feet(bench: Bench) -> Row:
    """Everybody of two sites, 50 times a second, while they walk or stand."""
    found, deepest, highest = [], 0.0, 0.0
    for name in ("courtyard", "plaza"):
        staged = Staged.of(settings.load(site(name)).model_copy(update={"seconds": 15.0}))
        for person in list(staged.trajectories)[:10]:
            times_s = _on_their_feet(staged.trajectories[person])
            if len(times_s) < 20:
                continue
            soles = soles_of(staged, person, times_s)
            found += [slips(sole, STEP_S) for sole in soles]
            lowest = np.minimum(*(sole[..., 2].min(1) for sole in soles))
            deepest, highest = min(deepest, lowest.min()), max(highest, lowest.max())
    planted = 100 * np.concatenate([one.planted_m_s for one in found])
    slid = 1e3 * np.concatenate([one.slid_m for one in found])
    figures = {
        "slip cm/s, mean": float(planted.mean()),
        "slip cm/s, median": float(np.median(planted)),
        "slip cm/s, 95 %": float(np.percentile(planted, 95)),
        "foot-instants": float(len(planted)),
        "mm slid a contact, median": float(np.median(slid)),
        "mm slid a contact, 95 %": float(np.percentile(slid, 95)),
        "contacts": float(len(slid)),
        "deepest below the floor mm": -1e3 * deepest,
        "lower sole off the floor at most mm": 1e3 * highest,
    }
    return Row("feet", figures, {"slip cm/s, mean": most(2)})


def _on_their_feet(path: Trajectory, most_s: float = 8.0) -> NDArray[np.float64]:
    """Times at which somebody walks or stands, from when they come until they go or sit down."""
    up = np.flatnonzero((path.activity != ABSENT) & (path.activity != SEATED))
    if not len(up):
        return np.zeros(0)
    last = up[np.append(np.flatnonzero(np.diff(up) > 1), len(up) - 1)[0]]
    start = float(path.t_s[up[0]])
    return np.arange(start, min(float(path.t_s[last]), start + most_s), STEP_S)


# --- the command


@dataclass
class Bench:
    """Where data lies and results go."""

    data: Path | None
    work: Path
    commands: list[str]
    seconds: float = SITE_SECONDS  # of each site
    seed: int | None = None  # instead of the sites' own

    def run(self, *arguments: str | Path) -> float:
        """One command of `scenes`; the answer is its wall time in seconds.

        Raises:
            Absent: It could not draw; its own message is the reason.
        """
        self.commands.append("python -m scenes " + shlex.join(map(str, arguments)))
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "scenes", *map(str, arguments)],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Absent(f"{self.commands[-1]}: {done.returncode}: {done.stderr.strip()[-400:]}")
        return time.perf_counter() - start

    def rendered(self, name: str) -> Path:
        """A site's clips at `SITE_FPS`, so that pictures differ; drawn anew once a run."""
        out, file = self.work / "sites" / name, self.work / "sites" / f"{name}.yaml"
        if out not in self._done:
            shutil.rmtree(out, ignore_errors=True)
            file.parent.mkdir(parents=True, exist_ok=True)
            said = yaml.safe_load(site(name).read_text(encoding="utf-8"))
            file.write_text(yaml.safe_dump(said | {"fps": SITE_FPS}), encoding="utf-8")
            seed = [] if self.seed is None else ["--seed", str(self.seed)]
            self.run("render", file, "-o", out, "--seconds", f"{self.seconds:g}", *seed)
            self._done.add(out)
        return out

    def __post_init__(self) -> None:
        self._done: set[Path] = set()


def counted(table: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which rows (N, 9) of MOT truth a detector should find: see above."""
    left, top, width, height = table[:, 2:6].T
    return (
        (table[:, 8] >= MIN_VISIBILITY)
        & (height >= MIN_HEIGHT_PX)
        & (width >= MIN_WIDTH_PX)
        & (left > EDGE_PX)
        & (top > EDGE_PX)
        & (left + width < size[0] - EDGE_PX)
        & (top + height < size[1] - EDGE_PX)
    )


def clips(folder: Path) -> Iterator[tuple[Path, NDArray[np.float64], tuple[int, int]]]:
    """Video, truth (N, 9) and (width, height) of each camera of a rendered folder."""
    for truth in sorted((folder / "truth").glob("*.txt")):
        size = json.loads((folder / "calibration" / f"{truth.stem}.json").read_text(encoding="utf-8"))
        rows = truth.read_text(encoding="utf-8").splitlines()  # none where nobody came by
        table = np.array([row.split(",") for row in rows], np.float64).reshape(-1, 9)
        yield folder / f"{truth.stem}.mp4", table, (int(size["width"]), int(size["height"]))


def boxes_of(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """x1 y1 x2 y2 (N, 4) of MOT rows."""
    return np.concatenate((table[:, 2:4], table[:, 2:4] + table[:, 4:6]), axis=1)


@dataclass(frozen=True)
class Found:
    """What a detector found of N people who count."""

    ious: NDArray[np.float64]  # (N,) 0: not found
    visibility: NDArray[np.float64]  # (N,)

    def figures(self, label: str, where: str = "") -> dict[str, float]:
        """Recall and box IoU."""
        found = self.ious > 0
        return {
            f"{label} recall %{where}": 100 * float(found.mean()) if len(found) else float("nan"),
            f"{label} box IoU{where}": float(self.ious[found].mean()) if found.any() else float("nan"),
        }


def found_in(detector: Any, folder: Path, every: int = 1) -> Found:
    """What a detector finds in every n-th frame of all clips of a rendered folder."""
    ious, visibility = [np.zeros(0)], [np.zeros(0)]
    for video, table, size in clips(folder):
        rows = table[counted(table, size)]
        frames = np.unique(rows[:, 0]).astype(int)[::every].tolist()
        for frame, image in pictures(video, frames) if frames else ():
            own = rows[rows[:, 0] == frame]
            (seen,) = detector.detect([image])
            ious.append(matched_ious(boxes_of(own), seen.boxes[seen.scores >= MIN_SCORE]))
            visibility.append(own[:, 8])
    return Found(np.concatenate(ious), np.concatenate(visibility))


def detectors(bench: Bench) -> Row:
    """Both detectors on the shipped demo, where people are near and have room: that must be met; and on all sites."""
    models = {"NanoDet-g": "nanodet_g_person"}
    if bench.data and (yolox := bench.data / "models" / "yolox_nano.onnx").is_file():
        models["YOLOX-nano"] = str(yolox)
    figures: dict[str, float] = {}
    for label, model in models.items():
        try:
            detector = load_detector(model, device="cpu", min_score=0.1)
        except ModelError as problem:
            raise Absent(str(problem)) from problem
        figures |= found_in(detector, DEMO, every=5).figures(label, ", demo")
        found = {name: found_in(detector, bench.rendered(name)) for name in SITES}
        every = Found(*(np.concatenate([getattr(one, part) for one in found.values()]) for part in FOUND))
        whole = every.visibility >= WHOLE
        for name, one in found.items():
            figures |= one.figures(label, f", {name}") | {f"people, {name}": float(len(one.ious))}
        figures |= every.figures(label, ", all sites")
        figures |= Found(every.ious[whole], every.visibility[whole]).figures(label, ", all sites, unhidden")
        figures |= {"people": float(len(whole)), "people unhidden": float(whole.sum())}
    wanted = {
        "NanoDet-g recall %, demo": least(96),
        "NanoDet-g box IoU, demo": least(0.8),
        "YOLOX-nano recall %, demo": least(95),
        "YOLOX-nano box IoU, demo": least(0.8),
    }
    return Row(
        "detectors", figures, {name: value for name, value in wanted.items() if name.split()[0] in models}
    )


def speed_scene(people: int) -> dict[str, Any]:
    """A walled yard without a door, so that everybody stays, in the view of one camera."""
    return {
        "name": f"speed_{people}",
        "seconds": 20,
        "fps": 10,
        "areas": {"yard": {"x": [-6, 6], "y": [-5, 5]}},
        "people": {"count": people, "at_once": people},
        "cameras": {"one": {"at": [-5.8, -4.8, 3.1], "look": [0.5, 0.5, 0.4], "view": 80}},
    }


def speed(bench: Bench) -> Row:
    """1, 6 and 20 people before one camera, and what the stages took."""
    figures: dict[str, float] = {}
    for people in (1, 6, 20):
        file, out = bench.work / f"speed_{people}.yaml", bench.work / f"speed_{people}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(speed_scene(people)), encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        spent_s = os.times()
        seconds = bench.run("render", file, "-o", out)
        used_s = sum(os.times()[2:4]) - sum(spent_s[2:4])  # of processors, by the command and its processes
        drawn = sum(len(_lines(path)) for path in (out / "times").glob("*.csv"))
        figures[f"pictures/s, {people} people"] = drawn / seconds
        figures[f"CPU s a picture, {people} people"] = used_s / drawn
        if people == 6:
            told = json.loads((out / "speed.json").read_text(encoding="utf-8"))
            stages: Mapping[str, float] = told["stages_s"]
            figures |= {f"{stage} ms": 1e3 * spent / max(drawn, 1) for stage, spent in stages.items()}
    return Row("speed", figures, {"pictures/s, 6 people": least(6)})


def _lines(path: Path) -> list[str]:
    """Of a table, without its heading."""
    return path.read_text(encoding="utf-8").splitlines()[1:]


ROWS: dict[str, Callable[[Bench], Row]] = {
    "exact": exact,
    "feet": feet,
    "detectors": detectors,
    "speed": speed,
}


# --- blind


def rendered_sources(bench: Bench) -> list[blind_sort.Source]:
    """People of all sites' clips, little hidden."""
    found = []
    for name in SITES:
        own = []
        for video, table, size in clips(bench.rendered(name)):
            rows = table[counted(table, size) & (table[:, 8] >= 0.75)]
            people = np.concatenate((rows[:, :2], boxes_of(rows)), axis=1)
            own.append(blind_sort.of_clip(video, people, blind_sort.RENDERED, name))
        found.append(blind_sort.one_of(own))
    return found


def blind(given: argparse.Namespace, bench: Bench) -> int:
    """Make the sheet, or judge answers."""
    key = given.out / "key.csv"
    if given.answers:
        with key.open(newline="", encoding="utf-8") as file:
            kinds = {int(line["number"]): line["kind"] for line in csv.DictReader(file)}
        figures = blind_sort.score(kinds, blind_sort.read_answers(given.answers))
        print(as_text(Row("blind", figures)))
        return 0
    real = blind_sort.real_sources(bench.data) if bench.data else []
    if not real:
        print(
            f"no real people below {bench.data}: give the folder with --data or THROUGHLINE_DATA",
            file=sys.stderr,
        )
        return 2
    blind_sort.make(rendered_sources(bench), real, given.out, each=given.each, seed=given.seed)
    print(
        f"look at {given.out / 'sheet.png'} (twice as large: sheet_large.png) and write one line each,"
        " 'NUMBER real' or 'NUMBER rendered', to a file; do not open key.csv before"
    )
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The exit code is 1 when a figure is missed."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.scenes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = options.add_subparsers(dest="verb", required=True)
    measuring = verbs.add_parser("measure", help="figures next to what they must reach")
    blinding = verbs.add_parser("blind", help="rendered and real people to sort")
    for verb in (measuring, blinding):
        verb.add_argument("--data", type=Path, default=os.environ.get("THROUGHLINE_DATA"), help="data folder")
        verb.add_argument(
            "--work", type=Path, default=Path.home() / ".cache" / "throughline" / "benchmarks" / "scenes"
        )
        verb.add_argument(
            "--seconds", type=float, default=SITE_SECONDS, help="rendered of each site (%(default)s)"
        )
    measuring.add_argument("--only", nargs="+", choices=sorted(ROWS), metavar="ROW", help=", ".join(ROWS))
    measuring.add_argument("--json", type=Path, metavar="FILE", help="write the rows here as well")
    blinding.add_argument("-o", "--out", type=Path, required=True, help="folder of the sheet and its key")
    blinding.add_argument("--answers", type=Path, metavar="FILE", help="judge these instead")
    blinding.add_argument("--each", type=int, default=20, help="how many of either kind (20)")
    measuring.add_argument("--seed", type=int, help="of the sites, instead of their own")
    blinding.add_argument("--seed", type=int, default=0, help="of the sites and of the drawing (0)")
    given = options.parse_args(arguments)
    cv2.setNumThreads(1)
    bench = Bench(
        Path(given.data).resolve() if given.data else None,
        given.work.resolve(),
        [],
        given.seconds,
        given.seed,
    )
    if given.verb == "blind":
        try:
            return blind(given, bench)
        except (Absent, OSError, ValueError) as problem:
            print(problem, file=sys.stderr)
            return 2
    rows = []
    for name in given.only or ROWS:
        rows.append(measure(name, ROWS[name], bench))
        print(as_text(rows[-1]), flush=True)
        if given.json:
            given.json.write_text(json.dumps(as_json(rows), indent=1) + "\n", encoding="utf-8")
    return int(any(row.missed for row in rows if not row.note))


if __name__ == "__main__":
    sys.exit(main())
