"""Batches of P persons with K pictures each, the diet of every metric loss."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


class IdentitySampler:
    """Draws batches of ``people`` x ``pictures`` row numbers.

    A person is drawn with its site's share divided by the number of persons there, never twice in a batch. Its
    pictures are distinct as long as it has enough of them.
    """

    def __init__(
        self,
        labels: NDArray[np.integer],
        sites: NDArray[np.integer],
        *,
        people: int,
        pictures: int,
        site_shares: Mapping[int, float] | None = None,
        rng: np.random.Generator,
    ) -> None:
        """
        Args:
            labels: (N,) person of each row, 0 to C - 1, each at least once.
            sites: (N,) site of each row; a person belongs to one site.
            people: P, different persons in a batch.
            pictures: K, rows of each of them.
            site_shares: Site -> how often its people are drawn, relative to the others; by default its number
                of rows, so that every picture is seen equally often.
            rng: The only source of chance.

        Raises:
            ValueError: fewer persons than a batch needs.
        """
        known, first, counts = np.unique(labels, return_index=True, return_counts=True)
        if len(known) < people:
            raise ValueError(f"a batch of {people} people cannot be drawn from {len(known)}")
        order = np.argsort(labels, kind="stable")
        self._rows = np.split(order, np.cumsum(counts)[:-1])
        self._people, self._pictures, self._rng = people, pictures, rng
        site_of_person = sites[first]
        if site_shares is None:
            site_shares = {int(site): float((sites == site).sum()) for site in np.unique(sites)}
        people_of_site = {site: int((site_of_person == site).sum()) for site in site_shares}
        chance = np.array([site_shares[int(site)] / people_of_site[int(site)] for site in site_of_person])
        self._chance = chance / chance.sum()

    def batch(self, alike: NDArray[np.integer] | None = None) -> NDArray[np.int64]:
        """(P * K,) row numbers, the K of one person side by side.

        Args:
            alike: (C, H) for each person others that look like it. When given, half of the persons are drawn as
                usual and each brings one of its look-alikes (hard identities, Ristani & Tomasi, CVPR 2018).
        """
        if alike is None:
            chosen = self._draw(self._people, taken=[])
        else:
            chosen = self._draw((self._people + 1) // 2, taken=[])
            for seed in chosen[: self._people // 2]:
                free = alike[seed][~np.isin(alike[seed], chosen)]
                more = self._rng.choice(free, 1) if len(free) else self._draw(1, taken=chosen.tolist())
                chosen = np.concatenate((chosen, more))
        return np.concatenate([self._pictures_of(int(person)) for person in chosen])

    def _draw(self, count: int, taken: list[int]) -> NDArray[np.int64]:
        chance = self._chance.copy()
        chance[taken] = 0.0
        return self._rng.choice(len(chance), count, replace=False, p=chance / chance.sum())

    def _pictures_of(self, person: int) -> NDArray[np.int64]:
        rows, wanted = self._rows[person], self._pictures
        if len(rows) >= wanted:
            return self._rng.choice(rows, wanted, replace=False)
        return np.concatenate((rows, self._rng.choice(rows, wanted - len(rows))))
