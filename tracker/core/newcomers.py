"""How many of those who come in have not been seen before: a square where people pass once, or an office."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]

# As much as is known beforehand, and at most: so many of those who came.
BEFOREHAND, MOST = 6.0, 200.0
BEFOREHAND_SHARE = 0.4


@dataclass
class Newcomers:
    """The share of somebody new among those who come from where nobody sees them, learned without a truth.

    It is the weight of a mixture (expectation maximisation, one step for each who comes: Cappe & Moulines, J. Royal
    Statistical Society B 2009): whoever comes counts as somebody new as far as that is likely with the share as it is.
    """

    new: float = 0.0
    known: float = 0.0

    @property
    def share(self) -> float:
        """In (0, 1)."""
        return (self.new + BEFOREHAND_SHARE * BEFOREHAND) / (self.new + self.known + BEFOREHAND)

    def learn(self, log_odds: F, is_away: NDArray[np.bool_]) -> None:
        """Somebody comes, who might be one of G people or somebody new.

        Args:
            log_odds: (R, G) of each being one of them, against somebody new; -inf where that cannot be. A row with a
                NaN tells nothing.
            is_away: (R, G) whether one had to come from where nobody saw them. Whoever comes tells something as far
                as they do.
        """
        odds = np.exp(np.minimum(log_odds, 50.0))
        away = np.where(is_away, odds, 0.0).sum(axis=1)
        every = 1 + odds.sum(axis=1)
        asks = (away > 0) & np.isfinite(every)
        self.count(float((1 / every)[asks].sum()), float((away / every)[asks].sum()))

    def count(self, new: float, known: float) -> None:
        """So many more came, as far as each was somebody new or known."""
        self.new += new
        self.known += known
        fade = min(1.0, MOST / max(self.new + self.known, MOST))
        self.new, self.known = fade * self.new, fade * self.known
