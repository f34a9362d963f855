"""Crops to unit embeddings, through ONNX Runtime."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import models
from reid.calibrate import Calibration, PairCalibration
from reid.pictures import HEIGHT, WIDTH, to_input

# A batch has one of these sizes, so that a device plans and allocates a few shapes, not every number.
BUCKETS = (1, 2, 4, 8, 16, 32)


def batch_sizes(count: int, *, padded: bool) -> list[int]:
    """In which of the `BUCKETS` to send ``count`` crops.

    Where a batch costs about as much as one crop (a GPU), as few batches as possible, the last one ``padded``.
    Where every crop costs the same (a CPU), batches that hold ``count`` exactly: a padded row is a row's time lost.
    """
    sizes = []
    while count > 0:
        fitting = (
            next((size for size in BUCKETS if size >= count), BUCKETS[-1])
            if padded
            else max(size for size in BUCKETS if size <= count)
        )
        sizes.append(fitting)
        count -= fitting
    return sizes


class OnnxEmbedder:
    """A network with its preprocessing inside: ``crops`` (N, H, W, 3) uint8 BGR -> ``embeddings`` (N, D).

    Every crop is brought to the network's size here, before the batch: a graph that resizes by itself takes pictures
    of one size at a time, and a crop's row must not depend on whether others share its size. Such a graph passes a
    picture of its own size as it is. Left to the graph, resizing gives nearly the same (both average when shrinking):
    pixels differ by about one level in 255.

    Attributes:
        name: Of the card, or the file.
        model_hash: SHA-256 of the file; rows of two models cannot be compared.
        providers: That the session got, the preferred one first.
        dim: D, the length of a row.
        size: Height and width of the network's pictures.
        calibration: What a `reid.gallery.set_distance` of its rows says, from its card; None where unknown.
        pair_calibration: What the distance of two single rows says, from its card; None where unknown.
    """

    def __init__(self, opened: models.OpenedModel) -> None:
        """Take an opened model.

        Raises:
            ValueError: It is not an embedder: its input or output has another name, type or shape.
        """
        self._session = opened.session
        self.name = opened.name
        self.model_hash = opened.sha256
        self.providers = list(opened.providers)
        self._padded = self.providers[0] != "CPUExecutionProvider"
        inputs = {one.name: one for one in self._session.get_inputs()}
        outputs = {one.name: one for one in self._session.get_outputs()}
        crops, rows = inputs.get("crops"), outputs.get("embeddings")
        shape = list(crops.shape) if crops is not None else []
        fits = (
            len(inputs) == 1
            and crops is not None
            and crops.type == "tensor(uint8)"
            and len(shape) == 4
            and shape[3] == 3
            and rows is not None
            and len(rows.shape) == 2
            and isinstance(rows.shape[1], int)
        )
        if not fits or rows is None:
            raise ValueError(
                f"the model {opened.path} is not an embedder: it needs one input crops uint8 (N, H, W, 3) "
                "and an output embeddings (N, D); export it with python -m reid export"
            )
        self.dim = int(rows.shape[1])
        self.size = self._picture_size(shape[1:3])
        self.calibration = _calibration(opened.card)
        self.pair_calibration = _pair_calibration(opened.card)

    def _picture_size(self, sides: Sequence[int | str]) -> tuple[int, int]:
        """Of the file's input; where that is free, of its metadata."""
        said = self._session.get_modelmeta().custom_metadata_map
        height, width = (
            side if isinstance(side, int) else int(said.get(name, usual))
            for side, name, usual in zip(sides, ("height", "width"), (HEIGHT, WIDTH), strict=True)
        )
        return height, width

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """(N, D) unit rows for N crops (h, w, 3) uint8 BGR of any size; (0, D) for none.

        Raises:
            ValueError: A crop has no area, or is not such an array; the message says which one.
        """
        if not len(crops):
            return np.zeros((0, self.dim), np.float32)
        sizes = batch_sizes(len(crops), padded=self._padded)
        pictures = np.zeros((sum(sizes), *self.size, 3), np.uint8)
        for number, crop in enumerate(crops):
            try:
                pictures[number] = to_input(crop, self.size)
            except ValueError as problem:
                raise ValueError(f"crop {number} of {len(crops)}: {problem}") from problem
        batches = np.split(pictures, np.cumsum(sizes)[:-1])
        rows = [self._session.run(["embeddings"], {"crops": batch})[0] for batch in batches]
        return np.concatenate(rows)[: len(crops)].astype(np.float32, copy=False)


def _calibration(card: models.ModelCard | None) -> Calibration | None:
    """What the card says of this model's set distances; None where it says nothing."""
    said = card.details.get("calibration") if card else None
    if said is None:
        return None
    try:
        return Calibration(offset=float(said["offset"]), slope=float(said["slope"]))
    except (TypeError, KeyError, ValueError) as problem:
        raise ValueError(
            f"the card of the model {card.name if card else ''} needs calibration = {{ offset = ..., slope = ... }}, "
            f"as reid.calibrate prints them, not {said!r}"
        ) from problem


def _pair_calibration(card: models.ModelCard | None) -> PairCalibration | None:
    """What the card says of this model's distances of single crops; None where it says nothing."""
    said = card.details.get("pair_calibration") if card else None
    if card is None or said is None:
        return None
    try:
        return PairCalibration.from_card(said)
    except ValueError as problem:
        raise ValueError(f"the card of the model {card.name}: {problem}") from problem


def load_embedder(name: str | None = None, *, device: str = "auto", threads: int = 1) -> OnnxEmbedder:
    """Open an embedder by its card's name or the path of an .onnx file; the shipped one by default.

    Args:
        name: See `models.open_model`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads for one run.

    Raises:
        models.ModelError: There is no such model, its hash differs, or the device is not to be had.
        ValueError: The model is not an embedder.
    """
    return OnnxEmbedder(models.open_model(name or models.DEFAULT_EMBEDDER, device=device, threads=threads))
