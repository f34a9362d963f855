"""What a scene looks like, on one sheet: its cameras at some instants with the truth drawn, and its people in rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scenes.camera import Camera
from scenes.chance import stream
from scenes.records import Truth
from scenes.scene import Staged
from scenes.settings import Scene, SceneError, from_values
from scenes.write import Finishing, Painter, Painting, finish_with_look, paint_with_renderer, placed

TILE_PX = 480  # width of a camera's picture on the sheet
IN_ROW = 3  # cameras
PEOPLE_IN_ROW = 9
MOST_PEOPLE = 36
LINE_UP_PX = (80, 200)  # width and height of one person there
LINE_UP_VIEW = 6.3  # degrees: 0.9 m across at 8 m
FACINGS_RAD = (0.35, 3.6)  # to the camera, away from it
STEP_S = 0.1
Image = NDArray[np.uint8]


def contact_sheet(
    scene: Scene,
    times_s: Sequence[float],
    *,
    boxes: bool = True,
    painting: Painting | None = None,
    finishing: Finishing | None = None,
) -> Image:
    """(H, W, 3) BGR: a row per instant with every camera in it, and a line-up of the people below.

    Raises:
        SceneError: Nothing here can draw.
    """
    painting, finishing = painting or paint_with_renderer, finishing or finish_with_look
    staged = Staged.of(scene)
    finishes = {name: finishing(staged, name) for name in staged.cameras}
    rows = []
    with painting(staged) as painter:
        held: set[int] = set()
        for t_s in times_s:
            instant = staged.instant(t_s)
            present = instant.ids.tolist()
            for person in present:
                if person not in held:
                    painter.add(person, staged.figure(person))
                    held.add(person)
            painter.pose({p: (staged.matrices(p, t_s), staged.matrices(p, t_s + STEP_S)) for p in present})
            row = []
            for name, camera in staged.cameras.items():
                want = frozenset({"flow"} if scene.cameras[name].shutter else ())
                picture = painter.picture(camera.at(t_s), camera.at(t_s + STEP_S), present, want=want)
                rng = stream(scene.seed, "preview", name, round(t_s * 1e3))
                shown = finishes[name].apply(picture.image, rng, picture.flow, STEP_S)
                image = drawn(shown, placed(picture.truth, instant)) if boxes else shown.copy()
                row.append(labelled(_fitted(image, TILE_PX), f"{name}  {t_s:.1f} s"))
            rows += in_rows(row, IN_ROW)
        people = line_up(staged, list(staged.looks)[:MOST_PEOPLE], painting)
    return stacked([*rows, people])


def drawn(image: Image, truth: Truth) -> Image:
    """The picture with every person's box, number and visibility; of whom nothing is seen, nothing."""
    out = image.copy()
    for person, box, visibility in zip(truth.ids.tolist(), truth.boxes, truth.visibility.tolist()):
        if visibility <= 0:
            continue
        colour = colour_of(person)
        x1, y1, x2, y2 = np.clip(np.nan_to_num(box), -1e4, 1e4).round().astype(int).tolist()
        cv2.rectangle(out, (x1, y1), (x2, y2), colour, 1)
        text = f"{person}" if visibility > 0.995 else f"{person} {visibility:.2f}"
        cv2.putText(out, text, (x1, max(10, y1 - 3)), cv2.FONT_HERSHEY_SIMPLEX, 0.38, colour, 1, cv2.LINE_AA)
    return out


def colour_of(person: int) -> tuple[int, int, int]:
    """BGR, bright, the same for a person everywhere; neighbours in number differ most."""
    hue = round(person * 180 * 0.618034) % 180
    b, g, r = cv2.cvtColor(np.array([[[hue, 200, 255]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return b, g, r


# --- people


def line_up(staged: Staged, people: Sequence[int], painting: Painting) -> Image:
    """(H, W, 3) BGR: everybody from the front and from behind, with number and height. Nobody: one black pixel."""
    studio = Staged.of(_studio(staged.scene.seed))
    camera = studio.cameras["front"]
    tiles = []
    with painting(studio) as painter:
        for person in people:
            figure = staged.figure(person, 1.0)
            painter.add(person, figure)
            pair = [
                _alone(painter, camera, person, staged.standing(person, facing_rad))
                for facing_rad in FACINGS_RAD
            ]
            painter.remove(person)
            tiles.append(labelled(side_by_side(pair), f"{person}  {figure.height_m:.2f} m"))
    return stacked(in_rows(tiles, PEOPLE_IN_ROW))


def _alone(painter: Painter, camera: Camera, person: int, matrices: NDArray[np.float32]) -> Image:
    painter.pose({person: (matrices, matrices)})
    return painter.picture(camera, camera, [person], want=frozenset()).image


def _studio(seed: int) -> Scene:
    """A floor without walls, and a camera that shows somebody at its middle from head to toe."""
    return from_values(
        {
            "name": "line-up",
            "seed": seed,
            "areas": {"floor": {"x": [-6, 6], "y": [-6, 6], "floor": "carpet", "walls": "none"}},
            "people": {"count": 0},
            "light": {"kind": "indoor"},
            "cameras": {
                "front": {"at": [8, 0, 1.6], "look": [0, 0, 1.0], "size": LINE_UP_PX, "view": LINE_UP_VIEW}
            },
        }
    )


# --- sheets


def labelled(image: Image, text: str) -> Image:
    """The picture with a line of text above it."""
    strip = np.full((16, image.shape[1], 3), 32, np.uint8)
    cv2.putText(strip, text, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (235, 235, 235), 1, cv2.LINE_AA)
    return np.concatenate((strip, image))


def side_by_side(images: Sequence[Image]) -> Image:
    """One row; lower pictures stand at its top. None: one black pixel."""
    height = max((image.shape[0] for image in images), default=1)
    padded = [np.pad(image, ((0, height - image.shape[0]), (0, 0), (0, 0))) for image in images]
    return np.concatenate(padded, axis=1) if padded else np.zeros((1, 1, 3), np.uint8)


def in_rows(images: Sequence[Image], most: int) -> list[Image]:
    """Rows of at most so many pictures."""
    return [side_by_side(images[start : start + most]) for start in range(0, len(images), most)]


def stacked(images: Sequence[Image]) -> Image:
    """One column; narrower pictures stand at its left."""
    width = max((image.shape[1] for image in images), default=1)
    padded = [np.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0))) for image in images]
    return np.concatenate(padded) if padded else np.zeros((1, 1, 3), np.uint8)


def save(image: Image, path: Path) -> None:
    """Write a picture as its name says.

    Raises:
        SceneError: Not a kind of picture that can be written, or not there.
    """
    try:
        quality = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix.lower() in (".jpg", ".jpeg") else []
        good, data = cv2.imencode(path.suffix, image, quality)
    except cv2.error:
        good = False
    if not good:
        raise SceneError(f"{path}: call it .jpg or .png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as problem:
        raise SceneError(f"{path}: cannot be written ({problem.strerror})") from problem


def _fitted(image: Image, width: int) -> Image:
    height = round(image.shape[0] * width / image.shape[1])
    kind = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=kind), np.uint8)
