"""Scenes on disk, with a painter of plain rectangles: no OpenGL is needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from scenes import write as scenes_write
from scenes.camera import Camera
from scenes.records import Figure, Picture, Truth
from scenes.scene import Instant, Staged
from scenes.settings import Scene, SceneError, from_values
from scenes.write import Plan, truth_rows, write

SCENE: dict[str, Any] = {
    "name": "small",
    "seconds": 6,
    "fps": 5,
    "difficulty": 0.2,
    "areas": {"yard": {"x": [0, 9], "y": [0, 7]}},
    "doors": [{"between": ["yard"], "at": [9, 3]}],
    "people": {"count": 3},
    "cameras": {
        "gate": {"at": [0.3, 0.3, 3], "look": [6, 4, 1], "size": [320, 180]},
        "mast": {
            "at": [0.3, 6.6, 3],
            "look": [6, 3, 1],
            "size": [192, 128],
            "fps": 4,
            "motion": {"pan": 10},
            "clock_offset": 0.5,
            "clock_drift": 1000,
            "drops": 0.2,
        },
    },
}


class Rectangles:
    """Paints everybody as an upright rectangle; nobody hides anybody."""

    def __init__(self) -> None:
        self.heights_m: dict[int, float] = {}
        self.feet: dict[int, NDArray[np.float64]] = {}

    def add(self, person: int, figure: Figure) -> None:
        assert person not in self.heights_m
        self.heights_m[person] = figure.height_m

    def remove(self, person: int) -> None:
        del self.heights_m[person]

    def pose(self, poses: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]]) -> None:
        # A bone's matrix moves the middle of the soles near to where the person is, whichever bone it is.
        self.feet = {person: np.r_[now[0, :2, 3].astype(float), 0] for person, (now, _) in poses.items()}

    def picture(
        self, camera_now: Camera, camera_next: Camera, present: Sequence[int], *, want: frozenset[str]
    ) -> Picture:
        width, height = camera_now.size
        image = np.full((height, width, 3), 90, np.uint8)
        masks = np.zeros((height, width), np.int32)
        ids, boxes = [], []
        for person in present:
            foot = self.feet[person]
            ends, depth = camera_now.project(np.stack((foot, foot + (0, 0, self.heights_m[person]))))
            if depth.min() < 0.5:
                continue
            (x, bottom), (_, top) = ends
            wide = (bottom - top) / 6
            ids.append(person)
            boxes.append([x - wide, top, x + wide, bottom])
            x1, y1, x2, y2 = np.clip(boxes[-1], 0, (width, height, width, height)).round().astype(int)
            image[y1:y2, x1:x2] = (40 * person % 256, 200, 255 - 30 * person % 256)
            masks[y1:y2, x1:x2] = person
        truth = Truth(
            t_s=0.0,
            ids=np.array(ids, np.int32),
            boxes=np.array(boxes, np.float32).reshape(-1, 4),
            visibility=np.ones(len(ids), np.float32),
            floor_xy_m=np.zeros((len(ids), 2)),
            heading_rad=np.zeros(len(ids)),
        )
        return Picture(
            image,
            truth,
            masks=masks if "masks" in want else None,
            depth=np.full((height, width), 2.5, np.float32) if "depth" in want else None,
            flow=np.ones((height, width, 2), np.float32) if "flow" in want else None,
            hidden_next=np.zeros((height, width), bool) if "flow" in want else None,
        )


@contextmanager
def rectangles(staged: Staged) -> Iterator[Rectangles]:
    yield Rectangles()


class Noisy:
    """A camera that adds noise, so that reproducing it takes its chance."""

    def apply(
        self,
        image: NDArray[np.uint8],
        rng: np.random.Generator,
        flow: NDArray[np.floating] | None,
        frame_s: float,
    ) -> NDArray[np.uint8]:
        return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def noisy(staged: Staged, name: str) -> Noisy:
    return Noisy()


def scene(**changes: Any) -> Scene:
    return from_values(SCENE | changes)


def plan(out: Path, *want: str, seconds: float = 6.0, cameras: tuple[str, ...] = ("gate", "mast")) -> Plan:
    return Plan(out, seconds, cameras, frozenset(want))


def written(out: Path, *want: str, **options: Any) -> dict[str, Any]:
    return write(scene(), plan(out, *want), painting=rectangles, finishing=noisy, **options)


def files_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file by its name, but of that which says how long it took."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "speed.json"
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene, with all that can be wanted."""
    out = tmp_path_factory.mktemp("scenes") / "out"
    written(out, "flow", "masks", "depth", "crops")
    return out


def rows(path: Path) -> list[list[float]]:
    return [[float(cell) for cell in line.split(",")] for line in path.read_text("utf-8").splitlines()]


def frames(path: Path) -> tuple[list[float], list[NDArray[np.uint8]]]:
    with av.open(str(path)) as container:
        decoded = [(float(f.time or 0), f.to_ndarray(format="bgr24")) for f in container.decode(video=0)]
    return [time for time, _ in decoded], [image for _, image in decoded]


def test_the_folder_holds_what_its_page_says(whole: Path):
    tops = {path.name for path in whole.iterdir()}
    assert tops == {
        *("gate.mp4", "mast.mp4", "site.yaml", "truth", "calibration", "times", "ground.csv", "people.json"),
        *("scene.json", "speed.json", "flow", "masks", "depth", "crops"),
    }
    assert {path.name for path in (whole / "calibration").iterdir()} == {
        *("gate.json", "mast.json", "mast.poses.csv"),
    }
    assert set(json.loads((whole / "people.json").read_text("utf-8"))) == {"1", "2", "3"}


def test_frames_are_shown_when_the_cameras_clock_stamped_them(whole: Path):
    shown, images = frames(whole / "gate.mp4")
    assert shown == pytest.approx(np.arange(30) / 5)  # 6 s at 5 frames a second
    assert images[0].shape == (180, 320, 3)
    shown, images = frames(whole / "mast.mp4")
    times = np.loadtxt(whole / "times" / "mast.csv", delimiter=",", skiprows=1)
    assert len(shown) == len(times) < 24
    assert times[:, 0].tolist() == list(range(1, len(times) + 1))
    assert times[:, 2] == pytest.approx(times[:, 1] * 1.001 + 0.5)  # drift of a thousandth, offset
    assert shown == pytest.approx(times[:, 2] - times[0, 2], abs=1e-4)


def test_truth_lies_where_the_video_shows_somebody(whole: Path):
    _, images = frames(whole / "gate.mp4")
    checked = 0
    for frame, _, left, top, width, height, flag, kind, visibility in rows(whole / "truth" / "gate.txt"):
        assert kind == 1 and visibility == 1
        assert left >= 0 and top >= 0 and left + width <= 320.1 and top + height <= 180.1
        if not flag or width < 4:
            continue
        middle = images[int(frame) - 1][int(top + height / 2), int(left + width / 2)]
        assert abs(int(middle[1]) - 200) < 40  # painted green 200 on grey 90
        checked += 1
    assert checked > 15


def test_the_floor_says_where_everybody_is_seen_or_not(whole: Path):
    table = np.loadtxt(whole / "ground.csv", delimiter=",", skiprows=1)
    staged = Staged.of(scene())
    here = staged.instant(3.2)
    said = table[np.isclose(table[:, 0], 3.2)]
    assert said[:, 1].tolist() == here.ids.tolist()
    assert said[:, 2:4] == pytest.approx(here.xy_m, abs=1e-4)


def test_a_moving_camera_has_a_pose_for_every_frame(whole: Path):
    poses = np.loadtxt(whole / "calibration" / "mast.poses.csv", delimiter=",", skiprows=1)
    times = np.loadtxt(whole / "times" / "mast.csv", delimiter=",", skiprows=1)
    assert poses[:, 0].tolist() == times[:, 0].tolist()
    camera = Staged.of(scene()).cameras["mast"].at(float(times[3, 1]))
    assert poses[3, 1:10] == pytest.approx(camera.R.ravel(), abs=1e-8)
    assert poses[3, 10:] == pytest.approx(camera.t, abs=1e-8)


def test_what_is_wanted_is_written_for_every_frame(whole: Path):
    count = len(frames(whole / "gate.mp4")[0])
    assert len(list((whole / "masks" / "gate").iterdir())) == count
    assert len(list((whole / "depth" / "gate").iterdir())) == count
    assert len(list((whole / "flow" / "gate").iterdir())) == count - 1  # nothing follows the last
    mask = cv2.imread(str(whole / "masks" / "gate" / "000001.png"), cv2.IMREAD_UNCHANGED)
    assert mask.dtype == np.uint16 and set(np.unique(mask)) <= {0, 1, 2, 3}
    depth = cv2.imread(str(whole / "depth" / "gate" / "000001.png"), cv2.IMREAD_UNCHANGED)
    assert (depth == 2500).all()  # 2.5 m in millimetres
    with np.load(whole / "flow" / "gate" / "000001.npz") as flow:
        assert flow["flow"].shape == (180, 320, 2) and flow["hidden"].shape == (180, 320)


def test_no_flow_over_a_lost_frame(whole: Path):
    times = np.loadtxt(whole / "times" / "mast.csv", delimiter=",", skiprows=1)
    gaps = np.diff(times[:, 1])
    followed = times[:-1, 0][np.isclose(gaps, 0.25)].astype(int)  # 4 frames a second
    assert {int(path.stem) for path in (whole / "flow" / "mast").iterdir()} == set(followed.tolist())
    assert not np.isclose(gaps, 0.25).all()


def test_crops_are_sorted_by_identity_and_camera(whole: Path):
    crops = list((whole / "crops").glob("*/*.jpg"))
    assert crops
    assert {path.parent.name for path in crops} <= {"0001", "0002", "0003"}
    assert {path.stem.split("_")[0] for path in crops} <= {"gate", "mast"}
    assert all(cv2.imread(str(path)).shape[0] >= 40 for path in crops)


# --- again


def test_the_same_seed_gives_the_same_bytes_in_any_number_of_processes(whole: Path, tmp_path: Path):
    written(tmp_path / "again", "flow", "masks", "depth", "crops", jobs=2)
    assert files_of(tmp_path / "again") == files_of(whole)


def test_an_interrupted_render_goes_on(whole: Path, tmp_path: Path):
    out = tmp_path / "out"

    class Interrupted(Exception):
        pass

    def stop_at(limit: int) -> Any:
        def progress(done: int, total: int) -> None:
            told.append((done, total))
            if done == limit:
                raise Interrupted

        return progress

    want = ("flow", "masks", "depth", "crops")
    told: list[tuple[int, int]] = []
    with pytest.raises(Interrupted):
        written(out, *want, progress=stop_at(35))
    # 2.5 s are done: 13 pictures of the gate (0 to 2.4 s at 5 per second) and at most 10 of the mast.
    done = len(list((out / "parts").glob("000000/masks/*/*.png")))
    assert 13 < done <= 23
    told.clear()
    written(out, *want, progress=stop_at(10**6))
    assert told[0][0] == done
    assert told[-1][0] == told[-1][1] == len(list((out / "masks").glob("*/*.png")))
    assert files_of(out) == files_of(whole)


def test_what_is_done_is_not_done_again(whole: Path):
    def never(staged: Staged) -> AbstractContextManager[Rectangles]:
        raise AssertionError("nothing is missing")

    told = write(scene(), plan(whole, "flow", "masks", "depth", "crops"), painting=never, finishing=noisy)
    assert told["frames"]["gate"] == 30


def test_another_scenes_folder_is_left_alone(tmp_path: Path):
    out = tmp_path / "out"
    small = plan(out, seconds=0.4, cameras=("gate",))
    write(scene(), small, painting=rectangles, finishing=noisy)
    with pytest.raises(SceneError, match="holds another scene"):
        write(scene(seed=5), small, painting=rectangles, finishing=noisy)
    write(scene(seed=5), small, anew=True, painting=rectangles, finishing=noisy)
    assert json.loads((out / "scene.json").read_text("utf-8"))["scene"]["seed"] == 5


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("all of it", "utf-8")
    with pytest.raises(SceneError, match="holds files that no render"):
        written(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_anew_leaves_nothing_of_the_render_before(tmp_path: Path):
    """Other cameras' truth and other people's crops used to stay among the new ones."""
    out = tmp_path / "out"
    first = plan(out, "masks", seconds=0.4)
    write(scene(), first, painting=rectangles, finishing=noisy)
    second = plan(out, seconds=0.4, cameras=("gate",))
    write(scene(seed=5), second, anew=True, painting=rectangles, finishing=noisy)
    fresh = plan(tmp_path / "fresh", seconds=0.4, cameras=("gate",))
    write(scene(seed=5), fresh, painting=rectangles, finishing=noisy)
    assert files_of(out) == files_of(tmp_path / "fresh")


def test_a_folder_that_cannot_be_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "out"
    small = plan(out, seconds=0.4, cameras=("gate",))
    options: dict[str, Any] = {"painting": rectangles, "finishing": noisy}
    write(scene(), small, **options)
    (out / "gate.mp4").unlink()
    with pytest.raises(SceneError, match="gate.mp4 is gone"):
        write(scene(), small, **options)
    with monkeypatch.context() as changed:
        changed.setattr(scenes_write, "code", lambda: "another")
        with pytest.raises(SceneError, match="another version"):
            write(scene(), small, **options)
    (out / "scene.json").write_text("{", "utf-8")
    for anew in (False, True):  # whose files these are nobody can say
        with pytest.raises(SceneError, match="holds files that no render"):
            write(scene(), small, anew=anew, **options)
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(SceneError, match="is a file"):
        write(scene(), plan(tmp_path / "file"), **options)


def test_the_painter_forgets_those_who_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scenes_write, "KEPT_PEOPLE", 0)
    painter = Rectangles()

    class Held(AbstractContextManager[Rectangles]):
        def __enter__(self) -> Rectangles:
            return painter

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            pass

    write(scene(), plan(tmp_path / "out"), painting=lambda staged: Held(), finishing=noisy)
    assert set(painter.heights_m) == set(painter.feet)


# --- rows


def truth(boxes: list[list[float]], visibility: list[float]) -> Truth:
    count = len(boxes)
    return Truth(
        t_s=0.0,
        ids=np.arange(1, count + 1, dtype=np.int32),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        visibility=np.array(visibility, np.float32),
        floor_xy_m=np.zeros((count, 2)),
        heading_rad=np.zeros(count),
    )


def test_boxes_are_cut_at_the_edge_and_the_hidden_have_no_row():
    said = truth_rows(
        7,
        truth(
            [[-10, 20, 30, 100.04], [50, 20, 60, 60], [70, 20, 90, 60], [640, 10, 700, 80], [10, 10, 40, 90]],
            [0.5, 1.0, 0.19, 0.5, 0.0],
        ),
        (640, 360),
    )
    assert said == [
        "7,1,0,20,30,80,1,1,0.5\n",  # 10 px of its 40 are beyond the edge
        "7,2,50,20,10,40,0,1,1\n",  # narrower than 12 px: not scored
        "7,3,70,20,20,40,0,1,0.19\n",  # less than a fifth is seen: not scored
    ]


def test_places_on_the_floor_come_from_the_scene():
    here = Instant(
        t_s=1.5,
        ids=np.array([1, 2, 5], np.int32),
        xy_m=np.array([[1.0, 1], [2, 2], [5, 5]]),
        heading_rad=np.array([0.1, 0.2, 0.5]),
        activity=np.zeros(3, np.int8),
    )
    seen = scenes_write.placed(truth([[0, 0, 9, 9], [0, 0, 9, 9]], [1, 1]), here)
    assert seen.floor_xy_m.tolist() == [[1, 1], [2, 2]]
    assert seen.t_s == 1.5
