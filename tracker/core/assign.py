"""Gated least-cost matching (Hungarian method)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment


class Matching(NamedTuple):
    """K pairs, and what stayed alone. Indices rise in ``rows``, ``free_rows`` and ``free_columns``."""

    rows: NDArray[np.intp]  # (K,)
    columns: NDArray[np.intp]  # (K,)
    free_rows: NDArray[np.intp]
    free_columns: NDArray[np.intp]


def assign(cost: NDArray[np.floating], gate: float) -> Matching:
    """Pair rows with columns at least total cost, no pair above ``gate``.

    As many pairs as the gate allows are made; among those choices, the cheapest (Kuhn 1955; solved by
    ``scipy.optimize.linear_sum_assignment``).

    Args:
        cost: (N, M), non-negative; infinite or NaN where a pair is impossible. N or M may be 0.
        gate: Largest cost at which two things can still be the same.
    """
    cost = np.asarray(cost, np.float64)
    if not (np.isfinite(gate) and gate >= 0):
        raise ValueError(f"gate {gate}: a finite number >= 0 is needed")
    with np.errstate(invalid="ignore"):
        allowed = cost <= gate
    # One forbidden pair costs more than all allowed ones together, so the solver never trades
    # an allowed pair away for a cheaper forbidden one.
    barrier = gate * (min(cost.shape) + 1) + 1.0
    rows, columns = linear_sum_assignment(np.where(allowed, cost, barrier))
    real = allowed[rows, columns]
    rows, columns = rows[real], columns[real]
    free_rows = np.setdiff1d(np.arange(cost.shape[0]), rows)
    free_columns = np.setdiff1d(np.arange(cost.shape[1]), columns)
    return Matching(rows, columns, free_rows, free_columns)


def assign_or_new(cost: NDArray[np.floating], new_cost: NDArray[np.floating]) -> NDArray[np.intp]:
    """Give every row a column or a place of its own, at least total cost.

    Args:
        cost: (N, M); infinite or NaN where a pair is impossible; may be negative (a reward).
        new_cost: (N,) cost of row n being somebody new; finite.

    Returns:
        (N,) the column of each row, -1 for "new".
    """
    cost = np.asarray(cost, np.float64)
    n, m = cost.shape
    if n == 0:
        return np.zeros(0, np.intp)
    finite = np.isfinite(cost)
    span = float(np.abs(cost[finite]).sum() + np.abs(new_cost).sum()) + 1.0
    own = np.full((n, n), span)
    own[np.arange(n), np.arange(n)] = new_cost
    rows, columns = linear_sum_assignment(np.concatenate((np.where(finite, cost, span), own), axis=1))
    return np.where(columns < m, columns, -1)[np.argsort(rows)]


def margins(
    cost: NDArray[np.floating], new_cost: NDArray[np.floating], columns: NDArray[np.intp]
) -> NDArray[np.float64]:
    """How sure is each row of what it was given? (N,) by how much the total grows if a row may not have its column.

    Args:
        cost, new_cost: as in `assign_or_new`.
        columns: (N,) its answer. A row that is "new" has margin infinity.
    """
    cost = np.asarray(cost, np.float64)
    rows = np.flatnonzero(columns >= 0)
    out = np.full(len(cost), np.inf)
    worth = np.isfinite(cost) & (
        cost < np.asarray(new_cost)[:, None]
    )  # else "new" is better, whatever the others do
    for row in rows:
        column = columns[row]
        out[row] = new_cost[row] - cost[row, column]
        if worth[row].sum() + worth[:, column].sum() > 2:
            without = cost.copy()
            without[row, column] = np.inf
            others = assign_or_new(without, new_cost)
            out[row] = _total(without, new_cost, others) - _total(cost, new_cost, columns)
    return out


def _total(cost: NDArray[np.floating], new_cost: NDArray[np.floating], columns: NDArray[np.intp]) -> float:
    given = columns >= 0
    return float(cost[given, columns[given]].sum() + np.asarray(new_cost)[~given].sum())
