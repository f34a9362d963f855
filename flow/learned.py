"""Learned flow through ONNX Runtime: pictures of any size, answers with a trust."""

import functools
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import models
from flow.reduced import Reduced, ReducedFlow, colour_of, grey_of, require_same_size, resize, size_of
from flow.search import dense_search

CELL = 4  # pixels of the network's picture to one cell of its answer, where it finds flow alone
MENDED_CELL = 8  # and where it mends a search
AGREEMENT_SIDE = 7  # px over which pictures are compared
LEAST_GAIN = 2.0  # grey levels: of so much better agreement, what a network adds counts by half
MOST_SIZES = 16  # sessions kept, one for each size of picture


@functools.lru_cache(maxsize=256)
def working_size(width: int, height: int, *, area: int, multiple: int) -> tuple[int, int, float]:
    """How small a picture is made, at its own aspect, for a network of so many pixels.

    Args:
        width: Of the picture, px.
        height: Of the picture, px.
        area: Pixels that the network should see at most, what is put around included.
        multiple: Of what the network's sides are.

    Returns:
        Width and height of the copy, and its pixels to one of the picture, at most 1. Put into sides that are
        multiples, the copy covers at most ``area`` pixels, or the one multiple by the other that is the least.
    """

    def fitted(scale: float) -> tuple[int, int]:
        return max(1, round(width * scale)), max(1, round(height * scale))

    def covered(scale: float) -> int:
        w, h = fitted(scale)
        return _up(w, multiple) * _up(h, multiple)

    if covered(1.0) <= area:
        return width, height, 1.0
    # The largest copy fills one of its sides exactly: try every multiple along each side.
    most = math.ceil(area / multiple)
    scales = [n * multiple / side for side in (width, height) for n in range(1, most // multiple + 1)]
    smallest = min(1.0, multiple / max(width, height))
    best = max((s for s in scales if s <= 1.0 and covered(s) <= area), default=smallest)
    return *fitted(best), best


def _up(value: int, multiple: int) -> int:
    return math.ceil(value / multiple) * multiple


class LearnedEstimator:
    """A network of `flow.export` behind the same calls as the other estimators.

    Takes pictures as `flow.estimator.Estimator` says. They are made small enough for the network's own area, never
    larger, and their last row and column are repeated until the sides fit it; where that was put, no answer is
    given. Pictures without a trace of one another (a cut, a black picture) get a trust near 0; should the network
    say anything that is no number, it is a trust of 0 and no motion, or the search's where it mends one.

    Attributes:
        name: Of the card, or the file.
        model_hash: SHA-256 of the file.
        providers: That the session got, the preferred one first.
    """

    def __init__(self, opened: models.OpenedModel, *, device: str = "auto", threads: int = 1) -> None:
        """Take an opened model.

        Raises:
            ValueError: It is not a network for flow: inputs, outputs or its own description are not those of
                `flow.export`.
        """
        said = opened.session.get_modelmeta().custom_metadata_map
        names = [one.name for one in opened.session.get_inputs()]
        outputs = [one.name for one in opened.session.get_outputs()]
        try:
            self._channels, self._multiple, self._area = (
                int(said[key]) for key in ("channels", "multiple", "area")
            )
            search = said.get("search", "")
            self._search_area = int(said["search_area"] if search else said.get("search_area") or 0)
            wanted = ["before", "after", "searched"] if search else ["before", "after"]
            known = names == wanted and outputs == ["flow", "trust"]
        except (KeyError, ValueError):
            known = False
        if not known:
            raise ValueError(
                f"the model {opened.path} is not a network for flow: it needs inputs before and after, outputs flow "
                "and trust, and its size in its metadata; export it with python -m flow export"
            )
        self.name, self.model_hash, self.providers = opened.name, opened.sha256, list(opened.providers)
        self._path, self._device, self._threads = str(opened.path), device, threads
        self._sessions: dict[tuple[int, ...], models.OpenedModel] = {}
        self._search = dense_search(search) if search else None

    def estimate(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `flow.estimator.Estimator.estimate`."""
        return self.estimate_checked(before, after)[0]

    def estimate_checked(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `flow.estimator.Estimator.estimate_checked`; the trust is learned."""
        first = self.reduce(before)
        small = self.between(first, self.reduce(after))
        assert small.trust is not None
        return _enlarge(small.field, small.scale, first.size), _enlarge(small.trust, small.scale, first.size)

    def estimate_small(
        self, before: NDArray[np.uint8], after: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], float]:
        """See `flow.estimator.Estimator.estimate_small`."""
        small = self.between(self.reduce(before), self.reduce(after))
        return small.field / np.float32(small.scale), small.scale

    def reduce(self, image: NDArray[np.uint8]) -> Reduced:
        """See `flow.estimator.Estimator.reduce`."""
        size = size_of(image)
        width, height, _ = working_size(*size, area=self._area, multiple=self._multiple)
        small = resize(grey_of(image) if self._channels == 1 else colour_of(image), (width, height))
        right, below = _up(width, self._multiple) - width, _up(height, self._multiple) - height
        if right or below:
            small = np.asarray(cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
        fine = None
        if self._search is not None:
            fine_size = working_size(*size, area=self._search_area, multiple=8)[:2]
            fine = resize(grey_of(image), fine_size)
        return Reduced(small, size, (width, height), fine)

    def between(self, before: Reduced, after: Reduced) -> ReducedFlow:
        """See `flow.estimator.Estimator.between`."""
        require_same_size(before, after)
        opened = self._session(before.picture.shape)
        shape = (1, *before.picture.shape[:2], self._channels)
        feed = {"before": before.picture.reshape(shape), "after": after.picture.reshape(shape)}
        if self._search is None:
            field, trust = self._run(opened, feed)
            width, height = before.inner or before.size
            columns, rows = math.ceil(width / CELL), math.ceil(height / CELL)
            field, trust, cell = field[:rows, :columns], trust[:rows, :columns], CELL * before.scale
        else:
            field, trust = self._mended(opened, feed, before, after)
            height, width = trust.shape
            cell = max(before.size[0] / width, before.size[1] / height)
        # Each axis has been shrunk to whole pixels: its own factor, exact to the last digit.
        return ReducedFlow(_scaled(field, (width, height), before.size), cell, trust)

    def _mended(
        self, opened: models.OpenedModel, feed: dict[str, NDArray[Any]], before: Reduced, after: Reduced
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The search's flow in pixels of the fine copy with what the network adds to it, and the trust.

        What it adds counts where the pictures agree the better for it: networks dream, and of what they never saw in
        training most of all.
        """
        assert self._search is not None and before.fine is not None and after.fine is not None
        found = self._search(before.fine, after.fine)
        inner, fine = before.inner or before.size, (found.shape[1], found.shape[0])
        high, wide = before.picture.shape[:2]
        known = _scaled(np.asarray(cv2.resize(found, inner, interpolation=cv2.INTER_LINEAR)), fine, inner)
        right, below = wide - inner[0], high - inner[1]
        known = np.asarray(cv2.copyMakeBorder(known, 0, below, 0, right, cv2.BORDER_REPLICATE), np.float32)
        cells = wide // MENDED_CELL, high // MENDED_CELL
        feed["searched"] = cv2.resize(known, cells, interpolation=cv2.INTER_AREA)[None]
        added, trust = self._run(opened, feed)
        added = _spread(added, MENDED_CELL)
        pictures = grey_of(before.picture), grey_of(after.picture)
        gain = disagreement(*pictures, known) - disagreement(*pictures, known + added)
        added *= (1.0 / (1.0 + np.exp(np.clip(LEAST_GAIN - gain, -30.0, 30.0))))[..., None]
        added, trust = (
            np.ascontiguousarray(one[: inner[1], : inner[0]]) for one in (added, _spread(trust, MENDED_CELL))
        )
        found += _scaled(np.asarray(cv2.resize(added, fine, interpolation=cv2.INTER_LINEAR)), inner, fine)
        return found, np.asarray(cv2.resize(trust, fine, interpolation=cv2.INTER_LINEAR), np.float32)

    @staticmethod
    def _run(
        opened: models.OpenedModel, feed: dict[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The network's flow (h, w, 2) and trust (h, w), all of it numbers."""
        flow, trust = (
            np.asarray(part[0], np.float32) for part in opened.session.run(["flow", "trust"], feed)
        )
        sound = np.isfinite(flow).all(axis=2) & np.isfinite(trust)
        if not sound.all():
            flow, trust = np.where(sound[..., None], flow, 0), np.where(sound, trust, 0)
        return flow, trust

    def _session(self, shape: tuple[int, ...]) -> models.OpenedModel:
        """The network for pictures of one shape: with the sides known, ONNX Runtime plans better."""
        if shape not in self._sessions:
            if len(self._sessions) >= MOST_SIZES:
                del self._sessions[next(iter(self._sessions))]
            sides = (1, *shape[:2], self._channels)
            shapes = {"before": sides, "after": sides}
            if self._search is not None:
                shapes["searched"] = (1, shape[0] // MENDED_CELL, shape[1] // MENDED_CELL, 2)
            self._sessions[shape] = models.open_model(
                self._path, device=self._device, threads=self._threads, shapes=shapes
            )
        return self._sessions[shape]


def load_learned(name: str, *, device: str = "auto", threads: int = 1) -> LearnedEstimator:
    """A network by the name of its card (``tiny``, ``base``) or the path of its file.

    Raises:
        ValueError: The file is not a network for flow.
        models.ModelError: The model cannot be opened, or not on the device that was asked for.
    """
    found = name if name.endswith(".onnx") else f"flow_{name}"
    opened = models.open_model(found, device=device, threads=threads)
    return LearnedEstimator(opened, device=device, threads=threads)


def disagreement(
    before: NDArray[np.uint8], after: NDArray[np.uint8], field: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(h, w) mean difference in grey levels between ``before`` and ``after`` looked up where ``field`` leads."""
    height, width = before.shape
    x, y = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    there = cv2.remap(
        after, field[..., 0] + x, field[..., 1] + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    apart = cv2.absdiff(before, there).astype(np.float32)
    return np.asarray(cv2.blur(apart, (AGREEMENT_SIDE, AGREEMENT_SIDE)), np.float32)


def _scaled(field: NDArray[np.floating], size: tuple[int, int], new: tuple[int, int]) -> NDArray[np.float32]:
    """Displacements (h, w, 2) in pixels of pictures of ``size`` (width, height), in those of a ``new`` one."""
    if size == new:
        return np.asarray(field, np.float32)
    factor = np.array([new[0] / size[0], new[1] / size[1]], np.float32)
    # A whole row at once: for two numbers at a time NumPy takes ten times as long.
    rows = np.ascontiguousarray(field, np.float32).reshape(field.shape[0], -1) * np.tile(
        factor, field.shape[1]
    )
    return np.asarray(rows.reshape(field.shape), np.float32)


def _spread(values: NDArray[np.float32], cell: int) -> NDArray[np.float32]:
    """(h, w) or (h, w, 2) cells, between their middles, for every pixel of ``cell`` times the sides."""
    size = values.shape[1] * cell, values.shape[0] * cell
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _enlarge(values: NDArray[np.float32], scale: float, size: tuple[int, int]) -> NDArray[np.float32]:
    """(h, w) or (h, w, 2) cells of ``scale`` px, between their middles, for every pixel of ``size`` (width, height)."""
    if scale == 1.0 and (values.shape[1], values.shape[0]) == size:
        return values
    step = 1.0 / scale
    start = 0.5 * step - 0.5
    transform = np.array([[step, 0.0, start], [0.0, step, start]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(values, transform, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32
    )
