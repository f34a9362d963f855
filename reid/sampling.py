"""Batches of P persons with K pictures each, the diet of every metric loss."""

from collections.abc import Mapping
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray


class IdentitySampler:
    """Draws batches of ``people`` x ``pictures`` row numbers, from one data set or several joined ones.

    A person is drawn with its site's share divided by the number of persons there, never twice in a batch. Its
    pictures are distinct as long as it has enough of them; a person with fewer brings all of them before any comes
    again. Nothing is remembered between batches: the state of ``rng`` is the state of the sampler.
    """

    def __init__(
        self,
        labels: NDArray[np.integer],
        sites: NDArray[np.integer],
        *,
        people: int,
        pictures: int,
        cameras: NDArray[np.integer] | None = None,
        site_shares: Mapping[int, float] | None = None,
        single_site: bool = False,
        rng: np.random.Generator,
    ) -> None:
        """
        Args:
            labels: (N,) person of each row, 0 to C - 1, each at least once.
            sites: (N,) site (data set) of each row; a person belongs to one site.
            people: P, different persons in a batch.
            pictures: K, rows of each of them.
            cameras: (N,) camera of each row, within its site. When given, a person's rows come from as many of its
                cameras as possible, in turn; without, every row of a person is as likely as the next.
            site_shares: Site -> how often its people are drawn, relative to the others (0: never); by default its
                number of rows, so that every picture is seen equally often.
            single_site: All persons of a batch are of one site, so that site and camera are no help in telling them
                apart; the shares then say how often a batch is of which site.
            rng: The only source of chance.

        Raises:
            ValueError: One sentence about what does not fit: columns of unequal length, labels with gaps, a person in
                two sites, shares that are negative or of other sites, fewer persons than a batch needs.
        """
        known, first = _checked(labels, sites, cameras)
        if people < 1 or pictures < 1:
            raise ValueError(f"a batch is of at least 1 person and 1 picture, got {people} and {pictures}")
        self._people, self._pictures, self._rng = people, pictures, rng
        by_camera = np.zeros_like(labels) if cameras is None else cameras
        order = np.lexsort((by_camera, labels))
        ends = np.flatnonzero(np.diff(labels[order]) | np.diff(by_camera[order])) + 1
        self._rows: list[list[NDArray[np.int64]]] = [[] for _ in known]  # person -> camera -> row numbers
        for rows in np.split(order, ends):
            self._rows[int(labels[rows[0]])].append(rows)
        site_of_person = sites[first]
        shares = _shares(sites, site_shares)
        # One row of chances for each way to draw a batch, (W, C), and how often each way is taken, (W,).
        chances = np.stack([(site_of_person == site) / (site_of_person == site).sum() for site in shares])
        weights = np.array(list(shares.values())) / sum(shares.values())
        self._chances = chances if single_site else (weights @ chances)[np.newaxis]
        self._weights = weights if single_site else np.ones(1)
        for chance in self._chances:
            if (there := int((chance > 0).sum())) < people:
                where = "one site of " if single_site else ""
                raise ValueError(f"a batch of {people} people cannot be drawn from {where}{there}")

    def batch(self, alike: NDArray[np.integer] | None = None) -> NDArray[np.int64]:
        """(P * K,) row numbers, the K of one person side by side.

        Args:
            alike: (C, H) for each person others that look like it. When given, half of the persons are drawn as
                usual and each brings one of its look-alikes (hard identities, Ristani & Tomasi, CVPR 2018), or,
                where none of these can come, anybody.

        Raises:
            ValueError: ``alike`` has not one row for each person.
        """
        chance = self._chances[self._rng.choice(len(self._chances), p=self._weights)]
        if alike is None:
            chosen = self._draw(self._people, chance)
        elif alike.ndim != 2 or len(alike) != len(self._rows):
            raise ValueError(f"look-alikes of {len(self._rows)} people are wanted, got {alike.shape}")
        else:
            chosen = self._draw((self._people + 1) // 2, chance)
            for seed in chosen[: self._people // 2]:
                left = chance.copy()
                left[chosen] = 0.0
                free = alike[seed][left[alike[seed]] > 0.0]
                more = self._rng.choice(free, 1) if len(free) else self._draw(1, left)
                chosen = np.concatenate((chosen, more))
        return np.concatenate([self._pictures_of(int(person)) for person in chosen])

    def _draw(self, count: int, chance: NDArray[np.float64]) -> NDArray[np.int64]:
        return self._rng.choice(len(chance), count, replace=False, p=chance / chance.sum())

    def _pictures_of(self, person: int) -> NDArray[np.int64]:
        """K rows: one of each camera in a random order, a second of each, and so on; from the start when all came."""
        cameras = self._rows[person]
        shuffled = [self._rng.permutation(cameras[i]) for i in self._rng.permutation(len(cameras))]
        turns = zip_longest(*shuffled, fillvalue=-1)
        rows = np.array([row for turn in turns for row in turn if row >= 0], np.int64)
        return np.resize(rows, self._pictures)


def _checked(
    labels: NDArray[np.integer], sites: NDArray[np.integer], cameras: NDArray[np.integer] | None
) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """The persons, and a row of each; ValueError for columns that do not fit."""
    columns = [labels, sites] if cameras is None else [labels, sites, cameras]
    if labels.ndim != 1 or any(column.shape != labels.shape for column in columns):
        raise ValueError(
            f"labels, sites and cameras are columns of equal length, got {[c.shape for c in columns]}"
        )
    if len(labels) == 0:
        raise ValueError("there is no row to draw")
    known, first, person = np.unique(labels, return_index=True, return_inverse=True)
    if not np.array_equal(known, np.arange(len(known))):
        raise ValueError(f"{len(known)} people are not numbered from 0 without gaps")
    if not np.array_equal(sites[first][person], sites):
        raise ValueError("a person belongs to one site, but somebody is in two")
    return known, first


def _shares(sites: NDArray[np.integer], wanted: Mapping[int, float] | None) -> dict[int, float]:
    """Site -> share above zero; ValueError for shares that say nothing."""
    counts = {
        int(site): float(count) for site, count in zip(*np.unique(sites, return_counts=True), strict=True)
    }
    if wanted is None:
        return counts
    if set(wanted) != set(counts):
        raise ValueError(f"shares are for the sites {sorted(wanted)}, the rows of the sites {sorted(counts)}")
    if not all(0.0 <= share < np.inf for share in wanted.values()) or not any(wanted.values()):
        raise ValueError(f"shares are at least 0, one of them more, got {dict(wanted)}")
    return {site: wanted[site] for site in counts if wanted[site] > 0.0}
