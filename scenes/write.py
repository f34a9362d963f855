"""A staged scene on disk: a video and its truth per camera, and all that a tracker needs to be tried on it.

    DIR/<camera>.mp4                 H.264; presentation times are what the camera's clock stamped
    DIR/site.yaml                    the cameras as a site file: `run_tracker.py process DIR/site.yaml`
    DIR/truth/<camera>.txt           MOT rows frame,id,left,top,width,height,flag,class,visibility; ids are global
    DIR/calibration/<camera>.json    K, R, t, distortion (at rest); <camera>.poses.csv: R, t per frame where it moves
    DIR/times/<camera>.csv           frame, true and stamped time
    DIR/ground.csv                   where everybody is on the floor, seen or not
    DIR/people.json, scene.json      what people look like; the scene as it was read, seeds and versions
    DIR/speed.json                   pictures and seconds of the last run, and where they went
    DIR/flow|masks|depth/<camera>/   on request, per frame
    DIR/crops/<person>/              on request, pictures by identity and camera

The rows of truth, times and poses count the frames in the file: a frame that was lost has no number.

Time is cut into segments (`scenes.clock`). Each is written by itself, by any process, to ``DIR/parts/<segment>`` and
appears there whole or not at all; so a run that was interrupted goes on, and segments may be made side by side.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from scenes.camera import Camera
from scenes.chance import stream
from scenes.clock import Clock, Frames, segments
from scenes.records import Figure, Picture, Truth
from scenes.scene import Instant, Staged
from scenes.settings import Camera as CameraSettings
from scenes.settings import Scene, SceneError, usual_quality
from scenes.video import Video, join_videos

_EVERY_FRAME = CameraSettings(at=(0, 0, 1), look=(1, 0, 1))  # loses none
FORMAT = 1  # of the folder; another number, other bytes from the same scene
WANTS = ("flow", "masks", "depth", "crops")
SCORED_VISIBILITY, SCORED_WIDTH_PX = 0.2, 12.0  # less is not scored: flag 0
CROP_EVERY_S, CROP_VISIBILITY, CROP_HEIGHT_PX = 0.5, 0.5, 40.0
KEPT_PEOPLE = 64  # that the renderer holds though they are not in the scene at the moment
WAITING = 6  # pictures that may wait to be encoded
HEADERS = {
    "times": "frame,true_s,stamped_s",
    "poses": "frame," + ",".join([f"R{i}{j}" for i in range(3) for j in range(3)] + ["t0", "t1", "t2"]),
    "ground": "t_s,person,x_m,y_m,heading_rad,activity",
}


Pose = tuple[NDArray[np.float32], NDArray[np.float32]]  # (B, 3, 4) rest -> world, now and at the next frame


class Painter(Protocol):
    """What draws: `scenes.render.Renderer`, or anything that gives pictures."""

    def add(self, person: int, figure: Figure, /) -> None: ...
    def remove(self, person: int, /) -> None: ...
    def pose(self, matrices: Mapping[int, Pose], /) -> None: ...
    def picture(
        self, now: Camera, after: Camera, present: Sequence[int], /, *, want: frozenset[str]
    ) -> Picture: ...


class Finish(Protocol):
    """What a camera makes of a clean picture: `scenes.look.CameraLook`."""

    def apply(
        self,
        image: NDArray[np.uint8],
        rng: np.random.Generator,
        flow: NDArray[np.floating] | None,
        frame_s: float,
        /,
    ) -> NDArray[np.uint8]: ...


Painting = Callable[[Staged], AbstractContextManager[Painter]]  # of a scene's place, in its light
Finishing = Callable[[Staged, str], Finish]  # of a scene's camera


@dataclass(frozen=True)
class Plan:
    """What shall be written of a scene."""

    out: Path
    seconds: float
    cameras: tuple[str, ...]
    want: frozenset[str]

    def part(self, segment: int) -> Path:
        """Where a segment lies when it is done."""
        return self.out / "parts" / f"{segment:06d}"

    def clocks(self, scene: Scene) -> dict[str, Clock]:
        """By camera."""
        return {
            name: Clock(name, scene.cameras[name], seed=scene.seed, fps=scene.fps, seconds=self.seconds)
            for name in self.cameras
        }


# --- a run


def write(
    scene: Scene,
    plan: Plan,
    *,
    jobs: int = 1,
    anew: bool = False,
    progress: Callable[[int, int], None] | None = None,
    painting: Painting | None = None,
    finishing: Finishing | None = None,
) -> dict[str, Any]:
    """Render what a plan says, or what is missing of it, and put it together.

    Args:
        scene: What to stage.
        plan: What of it to write, and where.
        jobs: Processes that render; 1: this one.
        anew: Throw away what an earlier run left.
        progress: Told how many pictures of how many there are.
        painting, finishing: What draws and what a camera makes of it; None: `scenes.render`, `scenes.look`. Must be
            importable (no closures) where there are several jobs.

    Returns:
        What is in ``scene.json``.

    Raises:
        SceneError: The folder holds something else, or nothing here can draw.
    """
    mark = fingerprint(scene, plan)
    if _prepare(plan, mark, anew=anew):
        return json.loads((plan.out / "scene.json").read_text("utf-8"))
    clocks = plan.clocks(scene)
    total = sum(clock.count for clock in clocks.values())
    numbers = range(segments(plan.seconds))
    missing = [number for number in numbers if not plan.part(number).exists()]
    done = sum(
        len(clock.frames(number).numbers)
        for number in numbers
        if number not in set(missing)
        for clock in clocks.values()
    )
    began = time.perf_counter()
    watch = Stopwatch()
    with watch.on("stage"):
        staged = Staged.of(scene)
    tell = progress or (lambda done, total: None)
    tell(done, total)
    make = Segments(staged, plan, painting or paint_with_renderer, finishing or finish_with_look)
    if jobs > 1 and len(missing) > 1:
        jobs = min(jobs, len(missing))
        watch.add(_in_processes(make, missing, jobs, lambda more: tell(done + more, total)))
    elif missing:
        jobs = 1
        before = done
        with make as running:
            for number in missing:
                for count, _ in enumerate(running.render(number), 1):
                    tell(before + count, total)
                before += count
        watch.add(make.watch.spent_s)
    with watch.on("join"):
        told = _put_together(staged, plan, clocks, mark)
    speed = {
        "pictures": total - done,
        "jobs": jobs,
        "wall_s": time.perf_counter() - began,
        "stages_s": watch.spent_s,
    }
    _write_json(plan.out / "speed.json", speed)
    return told


def fingerprint(scene: Scene, plan: Plan) -> str:
    """What two runs must have in common to be one: scene, plan, the format of what is written, and with what."""
    said = [FORMAT, code(), scene.model_dump(mode="json"), plan.seconds, plan.cameras, sorted(plan.want)]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@lru_cache
def code() -> str:
    """SHA-256 of this package's source and bodies: segments of another version do not fit to the next ones."""
    whole = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *here.glob("assets/*.npz")]):
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def paint_with_renderer(staged: Staged) -> AbstractContextManager[Painter]:
    """The real one.

    Raises:
        SceneError: moderngl is not installed, or this machine has no OpenGL.
    """
    from scenes.render import Renderer, RenderError

    sizes = [camera.size for camera in staged.cameras.values()]
    largest = (max(width for width, _ in sizes), max(height for _, height in sizes))
    try:
        return Renderer(staged.place.surface, staged.scene.light, largest=largest)
    except RenderError as problem:
        raise SceneError(f"nothing here can draw: {problem}") from problem


def finish_with_look(staged: Staged, name: str) -> Finish:
    """What the scene's settings and chance make of a camera."""
    from scenes.look import CameraLook

    scene = staged.scene
    return CameraLook.of(scene.cameras[name], scene.difficulty, stream(scene.seed, "camera look", name))


def _prepare(plan: Plan, mark: str, *, anew: bool) -> bool:
    """Make the folder ready. Is everything there already?"""
    parts, told = plan.out / "parts", plan.out / "scene.json"
    before = parts / "fingerprint"
    if plan.out.exists() and not plan.out.is_dir():
        raise SceneError(f"{plan.out}: is a file; give a folder")
    found = _told(told).get("fingerprint", "") if told.exists() else None
    if found is None and before.exists():
        found = before.read_text("utf-8")
    if not found and plan.out.exists() and any(plan.out.iterdir()):
        raise SceneError(f"{plan.out}: holds files that no render of a scene left; give another folder")
    if anew:
        _clear(plan.out)
        found = None
    if found is not None and found != mark:
        raise SceneError(
            f"{plan.out}: holds another scene, or other options were given, or it is of another version;"
            " give another folder, or --anew"
        )
    if told.exists():
        lost = [name for name in plan.cameras if not (plan.out / f"{name}.mp4").exists()]
        if lost:
            raise SceneError(f"{plan.out}: {lost[0]}.mp4 is gone; give another folder, or --anew")
        return True
    parts.mkdir(parents=True, exist_ok=True)
    before.write_text(mark, "utf-8")
    for unfinished in parts.glob("*.unfinished"):
        shutil.rmtree(unfinished)
    return False


def _told(path: Path) -> dict[str, Any]:
    """What a file says that was written last; nothing where it is none of ours."""
    try:
        said = json.loads(path.read_text("utf-8"))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _clear(out: Path) -> None:
    """Remove what a render left: other cameras' and other people's files must not lie among the next one's."""
    for truth in (out / "truth").glob("*.txt"):
        (out / f"{truth.stem}.mp4").unlink(missing_ok=True)
    for folder in ("parts", "truth", "calibration", "times", *WANTS):
        shutil.rmtree(out / folder, ignore_errors=True)
    for name in ("scene.json", "people.json", "speed.json", "ground.csv", "site.yaml"):
        (out / name).unlink(missing_ok=True)


class Stopwatch:
    """Seconds by what they went into, of one thread or of several together."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = {}

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Count the time of a block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add({what: time.perf_counter() - began})

    def add(self, spent_s: Mapping[str, float]) -> None:
        """Count what another watch measured."""
        for what, seconds in spent_s.items():
            self.spent_s[what] = self.spent_s.get(what, 0.0) + seconds


# --- segments


class Segments:
    """Renders segments of a staged scene, one after the other. A context manager: it holds the painter.

    What a segment looks like does not depend on those rendered before it.
    """

    def __init__(self, staged: Staged, plan: Plan, painting: Painting, finishing: Finishing) -> None:
        self.staged, self.plan = staged, plan
        self.watch = Stopwatch()
        self._painting, self._finishing = painting, finishing
        self._open = ExitStack()
        # Does anything of the plan depend on how people go on?
        cameras = (staged.scene.cameras[name] for name in plan.cameras)
        self._follows = "flow" in plan.want or any(camera.shutter for camera in cameras)
        self._held: dict[int, None] = {}  # people whom the painter knows, the longest unseen first

    def __enter__(self) -> Segments:
        with self.watch.on("begin"):
            self._painter = self._open.enter_context(self._painting(self.staged))
        self._clocks = self.plan.clocks(self.staged.scene)
        self.finishes = {name: self._finishing(self.staged, name) for name in self.plan.cameras}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def render(self, number: int) -> Iterator[None]:
        """Write one segment; yields after each picture.

        Looks, encodes and writes in a thread of its own while the next picture is drawn.
        """
        folder = self.plan.part(number)
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        frames = {name: clock.frames(number) for name, clock in self._clocks.items()}
        _write_ground(self.staged, unfinished / "ground.csv", number, self.plan.seconds)
        with ExitStack() as files, ThreadPoolExecutor(1) as beside:
            writers = {
                name: files.enter_context(CameraWriter(self, name, unfinished, frames[name]))
                for name in self.plan.cameras
                if len(frames[name].numbers)
            }
            waiting: deque[Future[None]] = deque()
            for name, row, camera, picture, instant in self._pictures(frames):
                waiting.append(beside.submit(writers[name].put, row, camera, picture, instant))
                while len(waiting) > WAITING or (waiting and waiting[0].done()):
                    waiting.popleft().result()
                yield
            for last in waiting:
                last.result()
        os.replace(unfinished, folder)

    def _pictures(self, frames: dict[str, Frames]) -> Iterator[tuple[str, int, Camera, Picture, Instant]]:
        """Every picture of a segment in order of time.

        Yields: camera's name, row of its frames, the camera at that time, its picture, who is in the scene.
        """
        steps = {name: self._clocks[name].period_s for name in frames}
        due = sorted(
            (float(t_s), steps[name], place, name, row)
            for place, name in enumerate(frames)
            for row, t_s in enumerate(frames[name].true_s)
        )
        posed: tuple[float, float] | None = None
        instant = self.staged.instant(0.0)
        later = {t_s + step_s for t_s, step_s, *_ in due} if self._follows else set()
        poses = Poses(self.staged, sorted({t_s for t_s, *_ in due} | later))
        for t_s, step_s, _, name, row in due:
            if posed != (t_s, step_s):
                instant = self.staged.instant(t_s)
                self._pose(instant, poses, step_s)
                posed = (t_s, step_s)
            camera = self.staged.cameras[name]
            now = camera.at(t_s)
            want = self.plan.want - {"crops"}
            if self.staged.scene.cameras[name].shutter:
                want |= {"flow"}  # for motion blur
            with self.watch.on("draw"):
                picture = self._painter.picture(now, camera.at(t_s + step_s), instant.ids.tolist(), want=want)
            yield name, row, now, picture, instant

    def _pose(self, instant: Instant, poses: Poses, step_s: float) -> None:
        """Tell the painter who stands how, now and a step later."""
        present = instant.ids.tolist()
        for person in present:
            if person in self._held:
                del self._held[person]
            else:
                with self.watch.on("dress"):
                    self._painter.add(person, self.staged.figure(person))
            self._held[person] = None
        while len(self._held) > len(present) + KEPT_PEOPLE:
            gone = next(iter(self._held))
            del self._held[gone]
            self._painter.remove(gone)
        after_s = instant.t_s + step_s if self._follows else instant.t_s
        with self.watch.on("pose"):
            self._painter.pose(
                {person: (poses.at(person, instant.t_s), poses.at(person, after_s)) for person in present}
            )


class Poses:
    """How people stand at some known times, all found at once when somebody is first asked for."""

    def __init__(self, staged: Staged, times_s: Sequence[float]) -> None:
        self._staged, self._times_s = staged, np.array(times_s)
        self._rows = {t_s: row for row, t_s in enumerate(times_s)}
        self._found: dict[int, NDArray[np.float32]] = {}

    def at(self, person: int, t_s: float) -> NDArray[np.float32]:
        """(B, 3, 4) at one of the times."""
        if person not in self._found:
            self._found[person] = self._staged.poses(person, self._times_s)
        return self._found[person][self._rows[t_s]]


def _in_processes(
    make: Segments, missing: list[int], jobs: int, tell: Callable[[int], None]
) -> Mapping[str, float]:
    """Render segments side by side: seconds by what they went into, of all processes together.

    A spawned process shares no OpenGL context and no thread with this one.
    """
    watch = Stopwatch()
    context = get_context("spawn")
    counter, stop = context.Value("q", 0), context.Event()
    with ProcessPoolExecutor(
        jobs, context, initializer=_begin_process, initargs=(make, counter, stop)
    ) as processes:
        pending = {processes.submit(_render_in_process, number) for number in missing}
        try:
            while pending:
                finished, pending = wait(pending, timeout=0.5)
                for one in finished:
                    watch.add(one.result())
                tell(counter.value)
        except BrokenProcessPool as problem:
            raise SceneError(
                "a rendering process died, of too little memory perhaps: try fewer --jobs"
            ) from problem
        finally:
            stop.set()
            processes.shutdown(wait=False, cancel_futures=True)
    return watch.spent_s


_process: dict[str, Any] = {}  # what a rendering process holds from one segment to the next


def _begin_process(make: Segments, counter: Any, stop: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process tells the others when to stop
    os.environ.setdefault("LP_NUM_THREADS", "1")  # of Mesa's software renderer: there is a process per core
    cv2.setNumThreads(1)
    _process.update(counter=counter, stop=stop)
    try:
        _process["segments"] = make.__enter__()
    except SceneError as mistake:
        _process["mistake"] = mistake  # told where somebody waits for an answer


def _render_in_process(number: int) -> Mapping[str, float]:
    if "mistake" in _process:
        raise _process["mistake"]
    make: Segments = _process["segments"]
    if _process["stop"].is_set():
        return {}
    for _ in make.render(number):
        with _process["counter"].get_lock():
            _process["counter"].value += 1
        if _process["stop"].is_set():
            break
    spent_s, make.watch.spent_s = make.watch.spent_s, {}
    return spent_s


# --- one camera in one segment


class CameraWriter:
    """Writes what one camera sees in one segment."""

    def __init__(self, make: Segments, name: str, folder: Path, frames: Frames) -> None:
        self._staged, self._plan, self._watch = make.staged, make.plan, make.watch
        self._finish = make.finishes[name]
        self._name, self._folder, self._frames = name, folder, frames
        self._open = ExitStack()

    def __enter__(self) -> CameraWriter:
        scene, name = self._staged.scene, self._name
        said = scene.cameras[name]
        quality = usual_quality(scene.difficulty) if said.quality is None else said.quality
        rate = said.fps or scene.fps
        self._step_s = 1 / rate
        self._every = max(1, round(CROP_EVERY_S * rate))
        self._video = self._open.enter_context(
            Video(self._folder / f"{name}.mp4", said.size, rate, quality, len(self._frames.numbers))
        )
        self._truth = self._text(f"truth/{name}.txt")
        self._times = self._text(f"times/{name}.csv")
        self._poses = (
            self._text(f"calibration/{name}.poses.csv") if self._staged.cameras[name].moves else None
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def put(self, row: int, camera: Camera, picture: Picture, instant: Instant) -> None:
        """Write the picture of one frame and its truth; rows come in order."""
        number = int(self._frames.numbers[row])
        rng = stream(self._staged.scene.seed, "picture", self._name, number)
        with self._watch.on("look"):
            image = self._finish.apply(picture.image, rng, picture.flow, self._step_s)
        with self._watch.on("encode"):
            self._video.put(image)
        truth = placed(picture.truth, instant)
        self._truth.writelines(truth_rows(number, truth, camera.size))
        self._times.write(f"{number},{self._frames.true_s[row]:.6f},{self._frames.stamped_s[row]:.6f}\n")
        if self._poses is not None:
            pose = [*camera.R.ravel(), *camera.t]
            self._poses.write(",".join([str(number), *(f"{value:.9g}" for value in pose)]) + "\n")
        self._put_dense(number, picture, followed=bool(self._frames.followed[row]))
        if "crops" in self._plan.want:
            self._put_crops(row, image, truth)

    def _put_dense(self, number: int, picture: Picture, *, followed: bool) -> None:
        """Flow is of two frames that follow each other: none before a lost one and at the end."""
        if "flow" in self._plan.want and picture.flow is not None and followed:
            np.savez_compressed(
                self._file(f"flow/{self._name}/{number:06d}.npz"),
                flow=picture.flow,
                hidden=np.zeros(picture.flow.shape[:2], bool)
                if picture.hidden_next is None
                else picture.hidden_next,
            )
        if "masks" in self._plan.want and picture.masks is not None:
            _write_png(self._file(f"masks/{self._name}/{number:06d}.png"), picture.masks)
        if "depth" in self._plan.want and picture.depth is not None:
            millimetres = np.round(np.nan_to_num(picture.depth, posinf=0.0) * 1000)
            _write_png(self._file(f"depth/{self._name}/{number:06d}.png"), millimetres)

    def _put_crops(self, row: int, image: NDArray[np.uint8], truth: Truth) -> None:
        number = int(self._frames.numbers[row])
        if number % self._every:
            return
        height, width = image.shape[:2]
        for person, box, visibility in zip(truth.ids, truth.boxes, truth.visibility):
            x1, y1, x2, y2 = _cut(box, (width, height)).round().astype(int)
            if visibility < CROP_VISIBILITY or y2 - y1 < CROP_HEIGHT_PX or x2 - x1 < SCORED_WIDTH_PX:
                continue
            path = self._file(f"crops/{person:04d}/{self._name}_{number:06d}.jpg")
            path.write_bytes(cv2.imencode(".jpg", image[y1:y2, x1:x2])[1].tobytes())

    def _text(self, name: str) -> io.TextIOBase:
        return self._open.enter_context(self._file(name).open("w", encoding="utf-8", newline="\n"))

    def _file(self, name: str) -> Path:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def placed(truth: Truth, instant: Instant) -> Truth:
    """Truth of a picture with the places on the floor that the scene knows."""
    rows = np.searchsorted(instant.ids, truth.ids)
    return replace(
        truth, t_s=instant.t_s, floor_xy_m=instant.xy_m[rows], heading_rad=instant.heading_rad[rows]
    )


def truth_rows(frame: int, truth: Truth, size: tuple[int, int]) -> list[str]:
    """MOT rows of one frame; of whom nothing is seen there is none.

    Boxes are cut at the picture's edge. The flag is 0 where too little is seen to ask it of a tracker.
    """
    rows = []
    for person, box, visibility in zip(truth.ids.tolist(), truth.boxes, truth.visibility.tolist()):
        x1, y1, x2, y2 = _cut(box, size).tolist()
        if visibility <= 0 or x2 <= x1 or y2 <= y1:
            continue
        flag = int(visibility >= SCORED_VISIBILITY and x2 - x1 >= SCORED_WIDTH_PX)
        numbers = (x1, y1, x2 - x1, y2 - y1)
        text = ",".join(f"{round(value, 1):g}" for value in numbers)
        rows.append(f"{frame},{person},{text},{flag},1,{round(visibility, 3):g}\n")
    return rows


def _cut(box: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """A box (4,) x1 y1 x2 y2, cut at the picture's edge; empty boxes may turn round."""
    return np.clip(np.nan_to_num(box), 0, (*size, *size)).astype(np.float32)


def _write_ground(staged: Staged, path: Path, number: int, seconds: float) -> None:
    """Where everybody is, at the scene's rate, in one segment."""
    fps = staged.scene.fps
    whole = Clock("ground", _EVERY_FRAME, seed=0, fps=fps, seconds=seconds)
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for t_s in whole.frames(number).true_s.tolist():
            here = staged.instant(t_s)
            for person, (x, y), heading, activity in zip(
                here.ids.tolist(), here.xy_m.tolist(), here.heading_rad.tolist(), here.activity.tolist()
            ):
                out.write(f"{t_s:.6f},{person},{x:.4f},{y:.4f},{heading:.4f},{activity}\n")


def _write_png(path: Path, values: NDArray[Any]) -> None:
    """16 bits; what is larger becomes the largest."""
    path.write_bytes(cv2.imencode(".png", np.clip(values, 0, 65_535).astype(np.uint16))[1].tobytes())


# --- together


def _put_together(staged: Staged, plan: Plan, clocks: dict[str, Clock], mark: str) -> dict[str, Any]:
    """Join the segments, write what belongs to the whole, and throw the segments away.

    ``scene.json`` comes last: where it is, everything is.
    """
    parts = [plan.part(number) for number in range(segments(plan.seconds))]
    starts: dict[str, float] = {}
    for name, clock in clocks.items():
        _join_texts(parts, f"truth/{name}.txt", plan.out)
        _join_texts(parts, f"times/{name}.csv", plan.out, HEADERS["times"])
        _join_texts(parts, f"calibration/{name}.poses.csv", plan.out, HEADERS["poses"])
        stamps = np.concatenate([clock.frames(number).stamped_s for number in range(len(parts))])
        starts[name] = float(stamps[0])
        videos = [part / f"{name}.mp4" for part in parts]
        join_videos([path for path in videos if path.exists()], plan.out / f"{name}.mp4", stamps, clock.fps)
        calibration = {"fps": clock.fps, **staged.cameras[name].calibration()}
        _write_json(plan.out / "calibration" / f"{name}.json", calibration)
    _join_texts(parts, "ground.csv", plan.out, HEADERS["ground"])
    for kind in sorted(plan.want):
        _move_files(parts, kind, plan.out)
    _write_json(
        plan.out / "people.json", {str(person): asdict(look) for person, look in staged.looks.items()}
    )
    _write_site(staged, plan, starts)
    told = description(staged, plan, clocks, mark)
    _write_json(plan.out / "scene.json", told)
    shutil.rmtree(plan.out / "parts")
    return told


def description(staged: Staged, plan: Plan, clocks: dict[str, Clock], mark: str) -> dict[str, Any]:
    """Where pictures came from: the scene as it was read, what was written, and with what."""
    return {
        "fingerprint": mark,
        "format": FORMAT,
        "scene": staged.scene.model_dump(mode="json"),
        "seconds": plan.seconds,
        "frames": {name: clock.count for name, clock in clocks.items()},
        "want": sorted(plan.want),
        "people": len(staged.looks),
        "versions": {name: _version(name) for name in ("numpy", "opencv-python", "av", "moderngl")},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _write_site(staged: Staged, plan: Plan, starts: dict[str, float]) -> None:
    """A site file beside the videos. A panning camera has no one calibration, so the site says none for it."""
    earliest = min(starts.values())
    cameras: dict[str, dict[str, Any]] = {}
    for name in plan.cameras:
        camera: dict[str, Any] = {"url": f"{name}.mp4"}
        if starts[name] > earliest:
            camera["start"] = round(starts[name] - earliest, 6)
        if not staged.scene.cameras[name].motion.pan:
            camera["calibration"] = f"calibration/{name}.json"
        cameras[name] = camera
    said = {"name": staged.scene.name, "cameras": cameras}
    (plan.out / "site.yaml").write_text(yaml.safe_dump(said, sort_keys=False), "utf-8")


def _join_texts(parts: Sequence[Path], name: str, out: Path, header: str | None = None) -> None:
    """One text of those that the segments have; none where no segment has any."""
    sources = [part / name for part in parts if (part / name).exists()]
    if not sources:
        return
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    with (out / name).open("wb") as joined:
        if header is not None:
            joined.write(f"{header}\n".encode())
        for source in sources:
            with source.open("rb") as text:
                shutil.copyfileobj(text, joined)


def _move_files(parts: Sequence[Path], kind: str, out: Path) -> None:
    """Files per frame from the segments to where they stay."""
    for part in parts:
        for source in sorted((part / kind).glob("*/*")):
            target = out / source.relative_to(part)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n", "utf-8")
