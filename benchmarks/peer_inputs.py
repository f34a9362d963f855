"""Detections and embeddings of MOTChallenge sequences, made once and the same for every tracker.

    python -m benchmarks.peer_inputs --data DIR --work DIR

For each sequence (``img1/*.jpg`` or one video, ``det/det.txt``, ``seqinfo.ini``) two files are written:
``<sequence>__yolox.npz`` with the boxes of YOLOX-nano from score 0.1 up, and ``<sequence>__pub.npz`` with the
sequence's public detections, both with the embeddings of OSNet x0.25 (MSMT17). Each holds

    frame (N,) int32 from 1, box (N, 4) float32 x1 y1 x2 y2 in pixels, score (N,) float32 as the detector gave it,
    emb (N, 512) float16 unit rows, width, height, fps, length, name

which is what ``process camera=FILE.npz`` takes.
"""

from __future__ import annotations

import argparse
import configparser
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import models

INPUT_AREA_PX = 384 * 640
STRIDES = (8, 16, 32)
MIN_SCORE = 0.1
MAX_OVERLAP = 0.65
PERSON_COLUMN = 5  # after centre, size and objectness: COCO's first class
CROP_SIZE = (128, 256)  # width, height
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
IMAGENET_SCALE = 1 / (np.array([0.229, 0.224, 0.225], np.float32) * 255)
KINDS = ("yolox", "pub")


@dataclass(frozen=True)
class MotSequence:
    """A MOTChallenge sequence on disk."""

    folder: Path
    width: int
    height: int
    fps: float
    length: int

    @classmethod
    def at(cls, folder: Path) -> MotSequence:
        """Read ``seqinfo.ini``."""
        ini = configparser.ConfigParser()
        ini.read(folder / "seqinfo.ini", encoding="utf-8")
        own = ini["Sequence"]
        return cls(
            folder,
            int(own["imWidth"]),
            int(own["imHeight"]),
            float(own["frameRate"]),
            int(own["seqLength"]),
        )

    def pictures(self) -> Iterator[NDArray[np.uint8]]:
        """Its frames (H, W, 3) BGR in order, at most ``length``."""
        files = sorted(path for path in self.folder.glob("img1/*") if path.suffix in (".jpg", ".png"))
        for path in files[: self.length]:
            picture = cv2.imread(str(path))
            if picture is None:
                raise OSError(f"{path}: no readable picture")
            yield picture.astype(np.uint8, copy=False)
        if files:
            return
        video = cv2.VideoCapture(str(next(self.folder.glob("*.mp4"))))
        for _ in range(self.length):
            is_read, picture = video.read()
            if not is_read:
                return
            yield picture.astype(np.uint8, copy=False)


def input_size(width: int, height: int) -> tuple[int, int]:
    """(H, W), multiples of 32 of about `INPUT_AREA_PX`, whose shape is nearest to the frame's."""
    sizes = [(H, W) for H in range(160, 800, 32) for W in range(256, 1344, 32)]

    def strangeness(size: tuple[int, int]) -> tuple[float, int, int]:
        H, W = size
        area = abs(np.log(W * H / INPUT_AREA_PX)) * 0.5
        return float(area + abs(np.log((W / H) / (width / height)))), H, W

    return min(sizes, key=strangeness)


class Yolox:
    """YOLOX-nano as its authors released it."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self.size = size
        self._session = models.open_model(str(path), device="cpu", shapes={"images": (1, 3, *size)}).session
        cells, steps = [], []
        for stride in STRIDES:
            y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
            cells.append(np.stack((x, y), 2).reshape(-1, 2))
            steps.append(np.full((x.size, 1), stride))
        self._cells = np.concatenate(cells).astype(np.float32)
        self._steps = np.concatenate(steps).astype(np.float32)

    def __call__(self, picture: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes (N, 4) x1 y1 x2 y2 in pixels of the picture, and scores (N,)."""
        H, W = self.size
        scale = min(H / picture.shape[0], W / picture.shape[1])
        small = cv2.resize(picture, (int(picture.shape[1] * scale), int(picture.shape[0] * scale)))
        padded = np.full((H, W, 3), 114, np.uint8)
        padded[: small.shape[0], : small.shape[1]] = small
        given = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], dtype=np.float32)
        raw = self._session.run(None, {"images": given})[0][0]
        scores = raw[:, 4] * raw[:, PERSON_COLUMN]
        good = np.nonzero(scores >= MIN_SCORE)[0]
        raw, scores = raw[good], scores[good]
        centre = (raw[:, :2] + self._cells[good]) * self._steps[good]
        side = np.exp(raw[:, 2:4]) * self._steps[good]
        boxes = np.concatenate((centre - side / 2, side), 1) / scale
        if not len(boxes):
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        kept = np.array(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), MIN_SCORE, MAX_OVERLAP)).reshape(-1)
        boxes = boxes[kept]
        return (
            np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), 1).astype(np.float32),
            scores[kept].astype(np.float32),
        )


class Osnet:
    """OSNet from the torchreid model zoo."""

    def __init__(self, path: Path) -> None:
        self._session = models.open_model(str(path), device="cpu").session
        self._input = self._session.get_inputs()[0].name

    def __call__(self, picture: NDArray[np.uint8], boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Unit rows (N, 512) of N boxes, cut at the picture's edge."""
        if not len(boxes):
            return np.zeros((0, 512), np.float32)
        given = np.stack([self._crop(picture, box) for box in boxes])
        rows = self._session.run(None, {self._input: given})[0]
        return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)

    @staticmethod
    def _crop(picture: NDArray[np.uint8], box: NDArray[np.floating]) -> NDArray[np.float32]:
        height, width = picture.shape[:2]
        x1, y1 = int(max(box[0], 0)), int(max(box[1], 0))
        x2, y2 = int(min(box[2], width)), int(min(box[3], height))
        if x2 - x1 < 2 or y2 - y1 < 2:  # outside the picture: the nearest two pixels
            x1, y1 = min(max(x1, 0), width - 2), min(max(y1, 0), height - 2)
            x2, y2 = max(x2, x1 + 2), max(y2, y1 + 2)
        crop = cv2.resize(picture[y1:y2, x1:x2], CROP_SIZE)[:, :, ::-1].astype(np.float32)
        return np.asarray((crop - IMAGENET_MEAN) * IMAGENET_SCALE, np.float32).transpose(2, 0, 1)


def prepare(folder: Path, detector: Path, embedder: Path, out: Path) -> dict[str, Path]:
    """The two files of one sequence by kind, made where they are not there yet."""
    files = {kind: out / f"{folder.name}__{kind}.npz" for kind in KINDS}
    if all(path.is_file() for path in files.values()):
        return files
    sequence = MotSequence.at(folder)
    find, embed = Yolox(detector, input_size(sequence.width, sequence.height)), Osnet(embedder)
    public = np.loadtxt(folder / "det" / "det.txt", delimiter=",", ndmin=2)
    found: dict[str, list[tuple[NDArray, ...]]] = {kind: [] for kind in KINDS}
    for number, picture in enumerate(sequence.pictures(), 1):
        own = public[public[:, 0] == number]
        boxes = np.concatenate((own[:, 2:4], own[:, 2:4] + own[:, 4:6]), 1).astype(np.float32)
        found["pub"].append((np.full(len(boxes), number), boxes, own[:, 6], embed(picture, boxes)))
        boxes, scores = find(picture)
        found["yolox"].append((np.full(len(boxes), number), boxes, scores, embed(picture, boxes)))
    out.mkdir(parents=True, exist_ok=True)
    for kind, path in files.items():
        numbers, boxes, scores, rows = (np.concatenate(column) for column in zip(*found[kind], strict=True))
        unfinished = path.with_suffix(".part.npz")
        np.savez(
            unfinished,
            frame=numbers.astype(np.int32),
            box=boxes.astype(np.float32),
            score=scores.astype(np.float32),
            emb=rows.astype(np.float16),
            width=sequence.width,
            height=sequence.height,
            fps=sequence.fps,
            length=sequence.length,
            name=folder.name,
        )
        unfinished.replace(path)
    return files


def prepare_all(data: Path, out: Path) -> dict[str, dict[str, Path]]:
    """Every sequence below ``data/mot``, by name; each ``{"yolox": FILE, "pub": FILE}``."""
    networks = data / "models" / "yolox_nano.onnx", data / "models" / "osnet_x0_25_msmt17.onnx"
    folders = [path.parent for path in sorted((data / "mot").glob("*/seqinfo.ini"))]
    return {folder.name: prepare(folder, *networks, out) for folder in folders}


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True, help="folder with mot/ and models/")
    options.add_argument("--work", type=Path, required=True, help="where the files go")
    given = options.parse_args()
    if not (given.data / "mot").is_dir():
        print(f"{given.data / 'mot'}: the data is not there", file=sys.stderr)
        return 2
    for name, files in prepare_all(given.data, given.work).items():
        print(name, *files.values())
    return 0


if __name__ == "__main__":
    sys.exit(main())
