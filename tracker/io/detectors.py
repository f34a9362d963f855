"""Where detections come from: a network that looks at the frame, or a file that was written before.

Networks of three families are understood, by the ``decode`` of their model card:

- ``nanodet``: ``boxes`` (B, N, 4) x1 y1 x2 y2 in pixels of the input and ``scores`` (B, N); overlaps still
in. - ``yolox``: one raw output (B, N, 5 + C) as the official exports give it. - ``end2end``: ``labels``,
``boxes``, ``scores`` without overlaps (RT-DETR, D-FINE, DEIM), or boxes as shares of the
  input and one logit a class (RF-DETR).
"""

from __future__ import annotations

import difflib
import logging
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import models
from tracker.types import Detections

log = logging.getLogger(__name__)

STRIDE = 32  # inputs are multiples of the coarsest level's cell
STRIDES = (8, 16, 32)
INPUT_AREA_PX = 384 * 640  # what a 16:9 frame gets; costs what 495x495 would
MIN_SCORE = 0.1  # doubtful boxes are worth having: they keep tracks alive
MAX_OVERLAP = 0.6  # IoU above which the weaker of two boxes is the same person again
MAX_BOXES = 1000  # best-scored boxes that overlaps are looked for in; a bound on time, never met in practice

Boxes = tuple[
    NDArray[np.float32], NDArray[np.float32]
]  # boxes (N, 4) x1 y1 x2 y2 in pixels of the input, scores (N,)


# The picture the network sees
# -------------------------------------------------------------------------------------


@cache
def input_size(height_px: int, width_px: int, area_px: int = INPUT_AREA_PX) -> tuple[int, int]:
    """The network input (H, W) for a frame's shape: 384x640 for 16:9, 416x576 for 4:3.

    Of all multiples of 32 with at most ``area_px`` pixels, the one in which the frame appears largest; of
    equals, the smallest.
    """
    side = max(area_px // STRIDE, STRIDE)
    best = (0.0, 0, STRIDE, STRIDE)
    for H in range(STRIDE, side + 1, STRIDE):
        for W in range(STRIDE, area_px // H + 1, STRIDE):
            scale = min(H / height_px, W / width_px)
            best = max(best, (round(scale, 6), -H * W, H, W))
    return best[2], best[3]


@dataclass(frozen=True)
class Fit:
    """How a frame was brought to the network's input: resized, and put into the top left corner."""

    scale_x: float  # input px per frame px
    scale_y: float
    width_px: int  # of the frame
    height_px: int

    def to_frame(self, boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Boxes (N, 4) from pixels of the input to pixels of the frame, cut at the frame's edge."""
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        limit = np.array([self.width_px, self.height_px] * 2, np.float32)
        return np.clip(boxes / scale, 0, limit).astype(np.float32)


def fit_into(
    image: NDArray[np.uint8], size: tuple[int, int], *, pad: int, is_stretched: bool = False
) -> tuple[NDArray[np.uint8], Fit]:
    """A picture (h, w, 3) in an input of (H, W), and the way back for boxes.

    Its shape is kept and what is left over filled with ``pad``, unless it is stretched.
    """
    H, W = size
    h, w = image.shape[:2]
    if is_stretched:
        new_h, new_w = H, W
    else:
        scale = min(H / h, W / w)
        new_h, new_w = (min(max(round(n * scale), 1), limit) for n, limit in ((h, H), (w, W)))
    small = image if (new_h, new_w) == (h, w) else cv2.resize(image, (new_w, new_h))
    fit = Fit(new_w / w, new_h / h, w, h)
    if (new_h, new_w) == (H, W):
        return np.asarray(small, np.uint8), fit
    whole = np.full((H, W, 3), pad, np.uint8)
    whole[:new_h, :new_w] = small
    return whole, fit


# The networks' answers
# --------------------------------------------------------------------------------------------


def decode_nanodet(outputs: Mapping[str, NDArray], size: tuple[int, int], person: int) -> list[Boxes]:
    """Boxes per picture; ``scores`` is (B, N), or (B, N, C) with the person's column."""
    scores = outputs["scores"]
    if scores.ndim == 3:
        scores = scores[..., person]
    return [(boxes, score) for boxes, score in zip(outputs["boxes"], scores, strict=True)]


def decode_yolox(outputs: Mapping[str, NDArray], size: tuple[int, int], person: int) -> list[Boxes]:
    """Boxes per picture from the raw output (B, N, 5 + C): centre and log size in cells, objectness, classes.

    Raises:
        ValueError: N is not the number of cells of an input of this size.
    """
    (raw,) = outputs.values()
    origin, stride = _yolox_cells(*size)
    if raw.shape[1] != len(origin):
        raise ValueError(f"a YOLOX output has {len(origin)} rows for an input of {size}, not {raw.shape[1]}")
    scores = raw[..., 4] * raw[..., 5 + person]
    centre = (raw[..., :2] + origin) * stride
    half = np.exp(raw[..., 2:4]) * (stride / 2)
    boxes = np.concatenate((centre - half, centre + half), axis=2)
    return list(zip(boxes, scores, strict=True))


@cache
def _yolox_cells(H: int, W: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The cells of all levels, row by row: corner (N, 2) in cells, and stride (N, 1) in pixels."""
    corners, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: H // stride, : W // stride]
        corners.append(np.stack((x, y), axis=2).reshape(-1, 2))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)


def decode_end2end(outputs: Mapping[str, NDArray], size: tuple[int, int], person: int) -> list[Boxes]:
    """The person boxes per picture of a network that has removed overlaps itself.

    With an output ``scores``: labels (B, Q), boxes (B, Q, 4) x1 y1 x2 y2 in pixels, scores (B, Q). Without
    one: boxes (B, Q, 4) centre and size as shares of the input, and logits (B, Q, C), whatever their names.
    """
    if "scores" in outputs:
        rows = zip(outputs["labels"], outputs["boxes"], outputs["scores"], strict=True)
        return [(boxes[labels == person], scores[labels == person]) for labels, boxes, scores in rows]
    shares = next(a for a in outputs.values() if a.ndim == 3 and a.shape[2] == 4)
    logits = next(a for a in outputs.values() if a is not shares and a.ndim == 3)
    H, W = size
    centre, half = shares[..., :2], shares[..., 2:] / 2
    boxes = np.concatenate((centre - half, centre + half), axis=2) * np.array([W, H, W, H], np.float32)
    return list(zip(boxes, 1 / (1 + np.exp(-logits[..., person])), strict=True))


DECODERS: dict[str, Callable[[Mapping[str, NDArray], tuple[int, int], int], list[Boxes]]] = {
    "nanodet": decode_nanodet,
    "yolox": decode_yolox,
    "end2end": decode_end2end,
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# What a detector's card may say: what each detail must be, and the check of it.
DETAILS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "decode": (f"one of {', '.join(DECODERS)}", lambda v: v in DECODERS),
    "person": ("a label's number", lambda v: isinstance(v, int) and v >= 0),
    "channels": ("rgb or bgr", lambda v: v in ("rgb", "bgr")),
    "fit": ("letterbox or stretch", lambda v: v in ("letterbox", "stretch")),
    "pad": ("a grey from 0 to 255", lambda v: isinstance(v, int) and 0 <= v <= 255),
    "divide": ("a positive number", lambda v: _is_number(v) and v > 0),
    "mean": ("three numbers", lambda v: isinstance(v, list) and len(v) == 3 and all(map(_is_number, v))),
    "std": (
        "three positive numbers",
        lambda v: isinstance(v, list) and len(v) == 3 and all(_is_number(n) and n > 0 for n in v),
    ),
    "sure_score": (
        "a score in (0, 1) from which on a box is a person for sure",
        lambda v: isinstance(v, float) and 0 < v < 1,
    ),
    "size": (
        "height and width in multiples of 32",
        lambda v: (
            isinstance(v, list)
            and len(v) == 2
            and all(isinstance(n, int) and n > 0 and n % 32 == 0 for n in v)
        ),
    ),
}


def without_overlaps(boxes: NDArray, scores: NDArray, max_overlap: float) -> NDArray[np.intp]:
    """Row numbers of the boxes (N, 4) that overlap no better one by more than ``max_overlap``, best first."""
    corners = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1).astype(np.float64)
    kept = cv2.dnn.NMSBoxes(corners.tolist(), scores.tolist(), 0.0, max_overlap)
    return np.asarray(kept, np.intp).reshape(-1)


# The detector
# -----------------------------------------------------------------------------------------------------


class OnnxDetector:
    """Finds people with a network that ONNX Runtime runs; a `tracker.stages.Detector`."""

    def __init__(
        self,
        opened: models.OpenedModel,
        *,
        min_score: float = MIN_SCORE,
        max_overlap: float = MAX_OVERLAP,
        area_px: int = INPUT_AREA_PX,
    ) -> None:
        """Make a detector of an opened model.

        Raises:
            models.ModelError: The model's card and its outputs do not say how to read it.
        """
        self.name = opened.name
        self.model_hash = opened.sha256
        self.providers = opened.providers
        self.min_score = min_score
        self.max_overlap = max_overlap
        self.area_px = area_px
        self._session = opened.session
        self._inputs = {node.name: node for node in opened.session.get_inputs()}
        self._outputs = [node.name for node in opened.session.get_outputs()]
        self._details = _checked_details(opened)
        self._family = str(self._details.get("decode") or _family_of(opened))
        self._image_input = next(name for name in self._inputs if name != "orig_target_sizes")
        node = self._inputs[self._image_input]
        self._takes_bytes = (
            node.type == "tensor(uint8)"
        )  # (B, H, W, 3) as it lies in memory, else (B, 3, H, W)
        self._fixed_size = _fixed_size(
            node.shape[1:3] if self._takes_bytes else node.shape[2:4], self._details
        )
        self._batch = 1 if node.shape[0] == 1 or opened.providers[0] == "CPUExecutionProvider" else 16
        is_end2end = self._family == "end2end"
        self._is_rgb = self._details.get("channels", "rgb" if is_end2end else "bgr") == "rgb"
        self._is_stretched = self._details.get("fit", "stretch" if is_end2end else "letterbox") == "stretch"
        divide = float(self._details.get("divide", 255.0 if is_end2end else 1.0))
        mean = np.array(self._details.get("mean", [0.0] * 3), np.float32)
        std = np.array(self._details.get("std", [1.0] * 3), np.float32)
        self._gain = (1 / (divide * std)).astype(np.float32).reshape(3, 1, 1)
        self._offset = (mean / std).astype(np.float32).reshape(3, 1, 1)

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """The people in each picture (H, W, 3) BGR, best first; an empty list for no pictures.

        Boxes are cut at the picture's edge and have area; scores are at least ``min_score``. Pictures of one
        shape share a run where the model and the device allow.

        Raises:
            ValueError: A picture is not uint8, not (H, W, 3), or empty.
        """
        groups: dict[tuple[int, int], list[int]] = {}
        for number, image in enumerate(images):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
                raise ValueError(
                    f"picture {number} has shape {image.shape} and type {image.dtype}: "
                    "a detector takes (H, W, 3) uint8 BGR with at least one pixel"
                )
            size = self._fixed_size or input_size(*image.shape[:2], self.area_px)
            groups.setdefault(size, []).append(number)
        found: dict[int, Detections] = {}
        for size, numbers in groups.items():
            for start in range(0, len(numbers), self._batch):
                batch = numbers[start : start + self._batch]
                answers = self._run([images[number] for number in batch], size)
                found.update(zip(batch, answers, strict=True))
        return [found[number] for number in range(len(images))]

    def _run(self, images: list[NDArray[np.uint8]], size: tuple[int, int]) -> list[Detections]:
        """Pictures of one input size, at once."""
        pad = int(self._details.get("pad", 114))
        fitted = [fit_into(image, size, pad=pad, is_stretched=self._is_stretched) for image in images]
        feeds: dict[str, NDArray] = {self._image_input: self._as_input([picture for picture, _ in fitted])}
        if (
            "orig_target_sizes" in self._inputs
        ):  # the size that boxes are given in; asking for the input's own
            feeds["orig_target_sizes"] = np.array([size[::-1]] * len(images), np.int64)
        outputs = dict(zip(self._outputs, self._session.run(None, feeds), strict=True))
        decoded = DECODERS[self._family](outputs, size, int(self._details.get("person", 0)))
        return [
            self._choose(boxes, scores, fit)
            for (boxes, scores), (_, fit) in zip(decoded, fitted, strict=True)
        ]

    def _as_input(self, pictures: list[NDArray[np.uint8]]) -> NDArray:
        """Pictures (H, W, 3) BGR in the type, order and range that the network wants."""
        stack = np.stack(pictures) if len(pictures) > 1 else pictures[0][None]
        if self._is_rgb:
            stack = stack[..., ::-1]
        if self._takes_bytes:
            return np.ascontiguousarray(stack)
        planes = np.ascontiguousarray(stack.transpose(0, 3, 1, 2), dtype=np.float32)
        if np.any(self._gain != 1):
            planes *= self._gain
        if np.any(self._offset):
            planes -= self._offset
        return planes

    def _choose(self, boxes: NDArray, scores: NDArray, fit: Fit) -> Detections:
        """The boxes of one picture that are sure enough, have area and are not somebody again."""
        rows = np.flatnonzero((scores >= self.min_score) & np.isfinite(boxes).all(axis=1))
        rows = rows[np.argsort(-scores[rows], kind="stable")][:MAX_BOXES]
        boxes, scores = fit.to_frame(boxes[rows]), np.minimum(scores[rows], 1.0)
        kept = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
        if self._family != "end2end" and len(kept):
            kept = kept[without_overlaps(boxes[kept], scores[kept], self.max_overlap)]
        return Detections.of(boxes[kept], scores[kept])


def load_detector(
    name: str | None = None,
    *,
    device: str = "auto",
    threads: int = 1,
    min_score: float = MIN_SCORE,
    max_overlap: float = MAX_OVERLAP,
    area_px: int = INPUT_AREA_PX,
) -> OnnxDetector:
    """Open a detector by name or by the path of an .onnx file; None is the one that is shipped.

    Args:
        name: See `models.open_model`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads for one picture.
        min_score: Weakest box to report, in [0, 1].
        max_overlap: IoU above which the weaker of two boxes is dropped.
        area_px: Pixels of the network's input where its size is free; more finds smaller people and costs as
            much.

    Raises:
        models.ModelError: There is no such model, it is not a detector, or it cannot run there.
    """
    name = name or models.DEFAULT_DETECTOR
    card = models.find(name).card
    if card and card.kind != "detector":
        raise models.ModelError(f"the model {card.name} is of the kind {card.kind}: name a detector")
    opened = models.open_model(name, device=device, threads=threads)
    if ((card and card.details.get("decode")) or _family_of(opened)) == "yolox":
        # The official exports carry one input size, but every layer takes others.
        (image,) = opened.session.get_inputs()
        shapes = {image.name: (image.shape[0], 3, "height", "width")}
        opened = models.open_model(name, device=device, threads=threads, shapes=shapes)
    return OnnxDetector(opened, min_score=min_score, max_overlap=max_overlap, area_px=area_px)


def _family_of(opened: models.OpenedModel) -> str:
    """What a model without a card looks like, from the names and shapes of its outputs."""
    outputs = {node.name: node.shape for node in opened.session.get_outputs()}
    if {"labels", "boxes", "scores"} <= set(outputs):
        return "end2end"
    if {"boxes", "scores"} == set(outputs):
        return "nanodet"
    if len(outputs) == 1 and len(next(iter(outputs.values()))) == 3:
        return "yolox"
    raise models.ModelError(
        f"{opened.path}: its outputs {', '.join(outputs)} do not tell what detector it is: "
        f"write a card {opened.path.with_suffix('.toml').name} beside it with decode under [details]"
    )


def _checked_details(opened: models.OpenedModel) -> dict[str, Any]:
    """The card's ``[details]``, empty without a card."""
    details = dict(opened.card.details) if opened.card else {}
    for key, value in details.items():
        if key not in DETAILS:
            near = difflib.get_close_matches(key, DETAILS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(DETAILS)}"
            raise models.ModelError(f"{opened.path}: its card has an unknown detail {key!r}: {hint}")
        meaning, is_right = DETAILS[key]
        if not is_right(value):
            raise models.ModelError(
                f"{opened.path}: its card's detail {key} must be {meaning}, not {value!r}"
            )
    return details


def _fixed_size(shape: Sequence[Any], details: Mapping[str, Any]) -> tuple[int, int] | None:
    """The one input size (H, W) a model takes, from its graph or its card; None where the frame decides."""
    if all(isinstance(n, int) for n in shape):
        return int(shape[0]), int(shape[1])
    if "size" in details:
        H, W = details["size"]
        return int(H), int(W)
    return None


# Detections that were made before
# ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recorded:
    """The detections of one camera as a file has them, by frame."""

    path: Path
    sha256: str  # of the file
    frames: NDArray[np.int64]  # (N,) rising, 1-based
    rows: Detections  # of all frames
    dropped: int  # boxes without area or with a NaN, left out
    width: int | None = None  # of the pictures, px; None where the file does not say, as below
    height: int | None = None
    fps: float | None = None
    length: int | None = None  # number of frames

    def detections(self, frame_number: int) -> Detections:
        """What was seen in a frame (1-based), embedded where the file has embeddings; nothing beyond its end."""
        first, last = np.searchsorted(self.frames, [frame_number, frame_number + 1])
        return self.rows.where(np.arange(first, last))

    @property
    def last_frame(self) -> int:
        """The last frame's number: ``length`` where it is known, else the last one with a box, 0 for none."""
        return self.length or int(self.frames[-1] if len(self.frames) else 0)


def load_recorded(path: str | Path, *, recorded_score: float | None = None) -> Recorded:
    """Read recorded detections: ``.npz``, or the MOTChallenge text ``frame,id,x,y,w,h,score,...``.

    An ``.npz`` has ``frame`` (N,) 1-based, ``box`` (N, 4) x1 y1 x2 y2 in pixels, ``score`` (N,), and may have
    ``emb`` (N, D), ``width``, ``height``, ``fps`` and ``length``.

    Args:
        path: The file.
        recorded_score: Takes the place of every score, for detectors whose scores are no share of 1.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not what it should be, or a score is outside [0, 1] and nothing replaces it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no recorded detections at {path}: check the path")
    if recorded_score is not None and not 0 <= recorded_score <= 1:
        raise ValueError(f"the recorded score must be in [0, 1], not {recorded_score}")
    columns = _read_npz(path) if path.suffix == ".npz" else _read_mot(path, recorded_score)
    frames, boxes, scores, emb = columns["frame"], columns["box"], columns["score"], columns.get("emb")
    if recorded_score is not None:
        scores = np.full(len(frames), recorded_score)
    outside = ~((scores >= 0) & (scores <= 1))
    if outside.any():
        raise ValueError(
            f"{path} has scores outside [0, 1], such as {float(scores[outside][0]):g}: "
            "replace them all with --recorded-score 1.0"
        )
    if len(frames) and frames.min() < 1:
        raise ValueError(f"{path} has a frame number {frames.min():g}: frames are numbered from 1")
    with np.errstate(invalid="ignore"):
        solid = np.isfinite(boxes).all(axis=1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    order = np.flatnonzero(solid)
    order = order[np.argsort(frames[order], kind="stable")]
    rows = Detections.of(boxes[order], scores[order])
    if emb is not None:
        emb = np.asarray(emb[order], np.float32)
        norms = np.linalg.norm(emb, axis=1)
        known = np.flatnonzero(np.isfinite(norms) & (norms > 0))
        rows = rows.with_embeddings(known, emb[known] / norms[known, None])
    dropped = int(len(solid) - len(order))
    if dropped:
        log.warning("%s: left out %d boxes without area", path, dropped)
    about = {key: columns[key] for key in ("width", "height", "fps", "length") if key in columns}
    return Recorded(path, models.sha256_of(path), frames[order].astype(np.int64), rows, dropped, **about)


def _read_npz(path: Path) -> dict[str, Any]:
    """The columns of an .npz, checked against each other."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            columns: dict[str, Any] = {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as problem:
        raise ValueError(f"{path} is not a readable .npz of detections: {problem}") from problem
    shapes = {"frame": (None,), "box": (None, 4), "score": (None,), "emb": (None, None)}
    for key, shape in shapes.items():
        if key not in columns:
            if key == "emb":
                continue
            raise ValueError(f"{path} has no array {key!r}: recorded detections need frame, box and score")
        array = columns[key]
        if (
            array.ndim != len(shape)
            or (shape[-1] == 4 and array.shape[-1] != 4)
            or array.dtype.kind not in "iuf"
        ):
            raise ValueError(
                f"{path}: the array {key!r} has shape {array.shape} of {array.dtype}, not numbers {shape}"
            )
        if len(array) != len(columns["frame"]):
            raise ValueError(f"{path}: {key!r} has {len(array)} rows, 'frame' has {len(columns['frame'])}")
    for key, kind in (("width", int), ("height", int), ("fps", float), ("length", int)):
        if key in columns:
            value = columns[key]
            if value.size != 1 or value.dtype.kind not in "iuf" or not value.item() > 0:
                raise ValueError(f"{path}: {key!r} must be one positive number")
            columns[key] = kind(value.item())
    return columns


def _read_mot(path: Path, recorded_score: float | None) -> dict[str, Any]:
    """The columns of a MOTChallenge detection file; commas or blanks between numbers."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as problem:
        raise ValueError(f"{path} is neither an .npz nor a MOTChallenge text file") from problem
    rows = []
    needed = 7 if recorded_score is None else 6
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = [float(text) for text in line.replace(",", " ").split()]
        except ValueError as problem:
            raise ValueError(
                f"{path} line {number}: {line.strip()[:40]!r} is not a row of numbers"
            ) from problem
        if len(values) < needed:
            raise ValueError(
                f"{path} line {number} has {len(values)} numbers: it needs frame,id,x,y,w,h,score"
            )
        rows.append([*values[:6], values[6] if len(values) > 6 else 1.0])
    table = np.array(rows, np.float64).reshape(-1, 7)
    boxes = np.concatenate((table[:, 2:4], table[:, 2:4] + table[:, 4:6]), axis=1)
    return {"frame": table[:, 0], "box": boxes, "score": table[:, 6]}
