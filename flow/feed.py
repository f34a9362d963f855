"""Batches of pairs for training: drawn as they are needed, mixed with pairs of packs, each shown a few times."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flow.packs import Pack, augment, pack_folders
from flow.pairs import Drawer, Pair

PEOPLE_WEIGHT = 4.0  # of a pixel on somebody against one of the background: people are small, and why we ask
LARGEST_ZOOM = 1.2  # of a pack's pair
LOOK_AGAIN = 0.01  # of a pack's pairs are preceded by a look for packs that were finished since
STRANGERS, BLACK = (
    0.02,
    0.01,
)  # of pairs whose second picture is of another scene, or of one grey: nothing to trust
GREY = (0.114, 0.587, 0.299)  # of B, G, R: ITU-R BT.601, as OpenCV turns pictures grey


class Batch(NamedTuple):
    """N pairs as a network takes them."""

    before: Tensor  # (N, C, H, W) in [0, 1]
    after: Tensor  # (N, C, H, W)
    flow: Tensor  # (N, 2, H, W) px
    weight: Tensor  # (N, 1, H, W) how much a pixel counts; 0 where there is no motion to find


@dataclass
class _Kept:
    """Pairs in memory, as columns."""

    pictures: NDArray[np.uint8]  # (K, 2, H, W, 3)
    flow: NDArray[np.float16]  # (K, H, W, 2)
    people: NDArray[np.bool_]  # (K, H, W)

    def put(self, place: int, pair: Pair) -> None:
        self.pictures[place, 0], self.pictures[place, 1] = pair.before, pair.after
        self.flow[place], self.people[place] = pair.flow, pair.people > 0


class Feed:
    """Pairs of one size without end.

    ``kept`` pairs are in memory; each batch takes some by chance, and ``1 / shown`` of a batch's pairs are then
    replaced by new ones, so that a pair is shown ``shown`` times on average, mirrored and lit another way.

    Args:
        height: Of the pictures, px.
        width: Of the pictures, px.
        rng: Where every choice comes from.
        packs: Folders of packs, or folders of such folders; looked through again as they grow.
        pack_share: Of new pairs that come from packs, in [0, 1]; the others are drawn.
        kept: Pairs in memory.
        shown: How often a pair is shown, at least 1.
    """

    def __init__(
        self,
        height: int,
        width: int,
        rng: np.random.Generator,
        *,
        packs: Sequence[Path] = (),
        pack_share: float = 0.5,
        kept: int = 256,
        shown: float = 6.0,
    ) -> None:
        self._size, self._rng, self._folders = (height, width), rng, list(packs)
        self._pack_share, self._shown, self._owed = pack_share, shown, 0.0
        self._drawer = Drawer(rng)
        self._packs: list[Pack] = []
        self._look()
        self._kept = _Kept(
            np.zeros((kept, 2, height, width, 3), np.uint8),
            np.zeros((kept, height, width, 2), np.float16),
            np.zeros((kept, height, width), bool),
        )
        for place in range(kept):
            self._kept.put(place, self._new())

    def batch(self, count: int, channels: int) -> Batch:
        """N = ``count`` pairs in ``channels`` (1: grey, 3: BGR) colours."""
        rng, kept = self._rng, self._kept
        rows = rng.choice(len(kept.flow), count, replace=False)
        pictures = torch.from_numpy(kept.pictures[rows]).permute(1, 0, 4, 2, 3).float() / 255.0
        flow = torch.from_numpy(kept.flow[rows].astype(np.float32)).permute(0, 3, 1, 2)
        weight = 1.0 + (PEOPLE_WEIGHT - 1.0) * torch.from_numpy(kept.people[rows]).float()[:, None]
        pictures = _lit(pictures, rng)
        self._estrange(pictures, weight)
        if channels == 1:
            pictures = (pictures * torch.tensor(GREY)[:, None, None]).sum(dim=2, keepdim=True)
        mirrored = Batch(pictures[0], pictures[1], flow, weight)
        for axis in (2, 3):
            if rng.random() < 0.5:
                mirrored = _mirrored(mirrored, axis)
        self._renew(count, rows)
        return mirrored

    def _estrange(self, pictures: Tensor, weight: Tensor) -> None:
        """Makes the second pictures of a few pairs (2, N, 3, H, W) know nothing of the first."""
        chance = self._rng.random(pictures.shape[1])
        levels = self._rng.choice([0.0, self._rng.random(), 1.0], len(chance))
        originals = pictures[1].clone()
        for row in np.flatnonzero(chance < STRANGERS + BLACK):
            other = (row + 1) % len(chance)
            if chance[row] < BLACK:
                pictures[1, row] = levels[row]
            elif other != row:
                pictures[1, row] = originals[other]
            else:
                continue
            weight[row] = 0.0

    def _renew(self, count: int, rows: NDArray[np.int64]) -> None:
        self._owed += count / self._shown
        for place in rows[: int(self._owed)]:
            self._kept.put(place, self._new())
        self._owed -= int(self._owed)

    def _new(self) -> Pair:
        if self._folders and self._rng.random() < self._pack_share:
            if not self._packs or self._rng.random() < LOOK_AGAIN:
                self._look()
            if self._packs:
                pack = self._packs[self._rng.integers(len(self._packs))]
                height, width = self._size
                pair = pack[int(self._rng.integers(len(pack)))]
                return augment(pair, self._rng, height=height, width=width, largest_zoom=LARGEST_ZOOM)
        return self._drawer.draw(*self._size)

    def _look(self) -> None:
        self._packs = [Pack(pack) for folder in self._folders for pack in pack_folders(folder)]


def _lit(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """(2, N, 3, H, W) in [0, 1] in another light, the two of a pair nearly the same one."""
    count = pictures.shape[1]
    shared = rng.normal(0.0, 1.0, (3, 1, count, 1, 1, 1))
    own = rng.normal(0.0, 1.0, (3, 2, count, 1, 1, 1))
    gain, lift, gamma = (shared + 0.15 * own) * np.array([0.2, 0.08, 0.2]).reshape(3, 1, 1, 1, 1, 1)
    lit = pictures.clamp(min=1e-4) ** torch.from_numpy(np.exp(gamma)).float()
    lit = lit * torch.from_numpy(np.exp(gain)).float() + torch.from_numpy(lift).float()
    return lit.clamp(0.0, 1.0)


def _mirrored(batch: Batch, axis: int) -> Batch:
    """Left is right (``axis`` 3) or up is down (2), in pictures and motion."""
    sign = torch.ones(1, 2, 1, 1)
    sign[0, 3 - axis] = -1.0  # x turns when columns do
    before, after, flow, weight = (part.flip(axis) for part in batch)
    return Batch(before, after, flow * sign, weight)
