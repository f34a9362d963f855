"""Examples for the box head: pairs of crops and where the thing of the first is in the second.

People of drawn and rendered pairs, their boxes read from their masks and their flow. Half of the examples move as the
pair says; the others are cut around a place drawn from the motion model of GOTURN (Held et al., ECCV 2016, section
3.3), so that large steps are not rare, and some from one picture twice, as its still images are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flow.boxcarry import SIDE, crop_areas, crops, to_crop
from flow.pairs import Pair

Images = NDArray[np.uint8]
Boxes = NDArray[np.float64]

SHIFT_SCALE = 1 / 5  # b_x of the paper: Laplace, in shares of the box
GROWTH_SCALE = 1 / 15  # b_s
GROWTH_RANGE = 0.6, 1.4
LARGEST_SHIFT = 0.7  # in shares of the box; further out a search region does not show it
SMALLEST_PX = 7.0, 14.0  # width and height of a person worth learning from
MOST_HIDDEN = 0.6  # share of a person that may be hidden later on before it counts as gone
LOOSENESS = 0.05, 0.1  # mean and deviation of the logarithm of a given box's size to the tight one's
OFFSET_SCALE = 0.04  # Laplace, of a given box's centre, in shares of the box


@dataclass(frozen=True)
class Moved:
    """The people of a pair: M tight boxes in each picture."""

    before: Boxes  # (M, 4) px
    after: Boxes  # (M, 4) px
    seen: NDArray[np.float64]  # (M,) share of each that the second picture still shows


@dataclass(frozen=True)
class Examples:
    """N crop pairs as columns."""

    targets: Images  # (N, SIDE, SIDE, 3)
    searches: Images  # (N, SIDE, SIDE, 3)
    truth: NDArray[np.float32]  # (N, 4) in shares of the search crop
    present: NDArray[np.bool_]  # (N,) whether the search crop shows the thing

    def __len__(self) -> int:
        return len(self.present)


@dataclass(frozen=True)
class Mixture:
    """Which kinds of examples are drawn, as shares; the rest moves as the pair says."""

    drawn_motion: float = 0.4
    still_picture: float = 0.1
    gone: float = 0.05


def moved_people(pair: Pair) -> Moved:
    """The people's boxes, in the order of their numbers: around what ``before`` shows of each, and where that went."""
    rows, columns = np.nonzero(pair.people)
    number = pair.people[rows, columns]
    order = np.argsort(number, kind="stable")
    rows, columns, number = rows[order], columns[order], number[order]
    places = np.stack([columns, rows], axis=1).astype(np.float64)
    reached = places + pair.flow[rows, columns]
    hidden = pair.hidden[rows, columns]
    before, after, seen = [np.zeros((0, 4))], [np.zeros((0, 4))], []
    changes = np.flatnonzero(np.diff(number, prepend=0, append=0))  # numbers begin at 1
    for start, end in itertools.pairwise(changes):
        box = _around(places[start:end])
        if (box[0, 2:] - box[0, :2] >= SMALLEST_PX).all():
            before.append(box)
            after.append(_around(reached[start:end]))
            seen.append(1 - hidden[start:end].mean())
    return Moved(np.concatenate(before), np.concatenate(after), np.array(seen))


def _around(points: Boxes) -> Boxes:
    """(1, 4) the box of pixels of which these are the middles (P, 2), P > 0."""
    return np.concatenate([points.min(axis=0), points.max(axis=0) + 1])[None]


def draw_examples(rng: np.random.Generator, pair: Pair, mixture: Mixture, *, most: int = 6) -> Examples:
    """Examples of up to ``most`` people of a pair, one of each; none of a pair without people."""
    people = moved_people(pair)
    chosen = rng.permutation(len(people.seen))[:most]
    made = [_example(rng, pair, people, int(row), mixture) for row in chosen]
    return join(made)


def join(parts: list[Examples]) -> Examples:
    """All examples of several; an empty list gives none."""
    nothing = Examples(
        np.zeros((0, SIDE, SIDE, 3), np.uint8),
        np.zeros((0, SIDE, SIDE, 3), np.uint8),
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.bool_),
    )
    parts = [nothing, *parts]
    return Examples(
        np.concatenate([part.targets for part in parts]),
        np.concatenate([part.searches for part in parts]),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.present for part in parts]),
    )


def _example(rng: np.random.Generator, pair: Pair, people: Moved, row: int, mixture: Mixture) -> Examples:
    kind = rng.random()
    is_still = kind < mixture.still_picture
    tight = people.before[row : row + 1]
    tight_later = tight if is_still else people.after[row : row + 1]
    # A detector's box is not the tight one, and it is the detector's box that has to be carried.
    growth = np.exp(rng.normal(*LOOSENESS, 2))
    offset = np.clip(rng.laplace(0, OFFSET_SCALE, 2), -0.2, 0.2)
    given, later = altered(tight, offset, growth), altered(tight_later, offset, growth)
    around = given
    if kind < mixture.still_picture + mixture.drawn_motion:
        around = search_box(rng, later)
    picture = pair.before if is_still else pair.after
    if is_gone := rng.random() < mixture.gone:
        picture, around = _elsewhere(rng, picture, around)
    areas = crop_areas(around)
    truth = to_crop(later, around, areas)
    centre = (truth[:, :2] + truth[:, 2:]) / 2
    is_shown = ((centre > 0) & (centre < 1)).all(axis=1) & (is_still or people.seen[row] > 1 - MOST_HIDDEN)
    targets, searches = crops(pair.before, crop_areas(given)), crops(picture, areas)
    if rng.random() < 0.5:
        targets, searches, truth = mirrored(targets, searches, truth)
    present = np.asarray(is_shown & (not is_gone), np.bool_)
    return Examples(targets, _lit(rng, searches), truth, present)


def altered(boxes: Boxes, offset: NDArray[np.float64], growth: NDArray[np.float64]) -> Boxes:
    """Boxes (N, 4) moved by ``offset`` (2,) in shares of their size and made ``growth`` (2,) times as large."""
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    centres, half = centres + offset * sides, growth * sides / 2
    return np.concatenate([centres - half, centres + half], axis=1)


def search_box(rng: np.random.Generator, later: Boxes) -> Boxes:
    """(1, 4) where a box could have been that now is ``later`` (1, 4): GOTURN's equations 1 to 4, read backwards."""
    shift = np.clip(rng.laplace(0, SHIFT_SCALE, 2), -LARGEST_SHIFT, LARGEST_SHIFT)
    growth = np.clip(rng.laplace(1, GROWTH_SCALE, 2), *GROWTH_RANGE)
    return altered(later, -shift / growth, 1 / growth)


def mirrored(
    targets: Images, searches: Images, truth: NDArray[np.float32]
) -> tuple[Images, Images, NDArray[np.float32]]:
    """The same examples, left and right exchanged."""
    x1, y1, x2, y2 = truth.T
    return targets[:, :, ::-1], searches[:, :, ::-1], np.stack([1 - x2, y1, 1 - x1, y2], axis=1)


def _elsewhere(rng: np.random.Generator, picture: Images, around: Boxes) -> tuple[Images, Boxes]:
    """A search region that does not show the thing: another place, or a picture of one colour or of noise."""
    kind = rng.random()
    if kind < 0.25:
        return np.full_like(picture, int(rng.integers(256) if rng.random() < 0.5 else 0)), around
    if kind < 0.35:
        return rng.integers(0, 256, picture.shape, dtype=np.uint8), around
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.cos(angle), np.sin(angle)])
    # From 1.5 boxes on along either axis, a crop of two boxes does not reach the thing.
    away = rng.uniform(1.6, 4.0) * direction / np.abs(direction).max()
    return picture, altered(around, away, np.ones(2))


def _lit(rng: np.random.Generator, pictures: Images) -> Images:
    """The same under a little more or less light, and seen by a noisier sensor: as two moments of a camera differ."""
    if rng.random() < 0.5:
        return pictures
    gain, lift = np.exp(rng.normal(0, 0.08)), rng.normal(0, 4.0)
    noise = rng.standard_normal(pictures.shape, dtype=np.float32) * rng.exponential(2.0)
    return np.clip(pictures * gain + lift + noise, 0, 255).astype(np.uint8)


class Pool:
    """Examples kept in memory, of which batches are drawn at random while new ones take the places of old ones.

    A batch so holds examples of many pairs, although one pair gives several that are alike.

    Args:
        source: Gives examples without end.
        size: Examples kept.
        rng: Which example is drawn and which one goes.
    """

    COLUMNS = "targets", "searches", "truth", "present"

    def __init__(self, source: Iterator[Examples], size: int, rng: np.random.Generator) -> None:
        self._source, self._rng = source, rng
        parts, count = [], 0
        while count < size:
            parts.append(next(source))
            count += len(parts[-1])
        self._kept = join(parts)

    def batch(self, count: int, *, fresh: int) -> Examples:
        """``count`` examples, after at least ``fresh`` new ones came in."""
        kept = self._kept
        while fresh > 0:
            new = next(self._source)
            places = self._rng.choice(len(kept), len(new), replace=False)
            for column in self.COLUMNS:
                getattr(kept, column)[places] = getattr(new, column)
            fresh -= len(new)
        rows = self._rng.choice(len(kept), count, replace=False)
        return Examples(*(getattr(kept, column)[rows] for column in self.COLUMNS))
