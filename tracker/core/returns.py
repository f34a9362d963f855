"""Who comes back after long: people asked about among those remembered.

Somebody new is as likely, before anything is seen of them, as that one of the remembered comes back, and each of these
as the other. The best pairs are taken first, each identity once, and only where all else together is unlikely.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.core.appearance import MANY_PICTURES, PIECES, AppearanceModel
from tracker.core.memory import Memory, People

F = NDArray[np.float64]
Spans = Sequence[tuple[int, int]]  # first and last ns, in order

AT_ONCE = 256  # people asked about together: bounds the memory it takes
LIKELY_LLR = -3.0  # below, nobody is chosen, nor much of a rival
EQUAL_PICTURES = 1e-6  # rounding
MOST_ELSEWHERE = 64  # of whom it is asked whether they were elsewhere at the time: those most alike
ONE_TIME_NS = 5_000_000_000  # unseen for less than this: still one time
# Nobody is in two places, but two cameras may see one person at once, and a track that hopped from one to another,
# as one of fifty does in a crowd, puts somebody beside himself for as long as it lives: one such time is no proof.
AT_ONCE_LLR = -3.0
ONE_WALK = PIECES * MANY_PICTURES  # pictures: whose looks are of no more are out for one such time
MOST_AT_ONCE_NS = 60_000_000_000  # beside one another for longer: two people, in the same clothes maybe


class Asked(NamedTuple):
    """Somebody who may be one of the remembered."""

    global_id: int
    looks: NDArray[np.floating]  # (D,)
    pictures: float


class Found(NamedTuple):
    """One of the remembered, and why."""

    asked: int
    known: int
    log_odds: float
    likeness: float
    distance: float


def recognised(
    asked: Sequence[Asked],
    memory: Memory,
    appearance: AppearanceModel,
    times_of: Callable[[int], Spans],
    false_merge_rate: float,
) -> list[Found]:
    """Who of those asked about is whom of the remembered; the surest first, each identity once.

    Args:
        asked: people who are here, or themselves remembered.
        times_of: when an identity was seen; nobody is in two places at once.
        false_merge_rate: how unlikely all else together must be.
    """
    dim = memory.dim
    asked = [one for one in asked if len(one.looks) == dim]  # of another network, nothing is known
    found: list[Found] = []
    for start in range(0, len(asked), AT_ONCE):
        found += _among(asked[start : start + AT_ONCE], memory, appearance, times_of, false_merge_rate)
    taken: set[int] = set()
    kept = []
    for one in sorted(found, key=lambda f: (-f.log_odds, f.asked, f.known)):
        if one.asked not in taken and one.known not in taken:
            taken |= {one.asked, one.known}
            kept.append(one)
    return kept


class Rivals(NamedTuple):
    """Who somebody may be, if not somebody new."""

    odds: float  # of all of them together
    likeliest: int | None = None
    odds_of_likeliest: float = 0.0


def known_better(
    some: Sequence[Asked],
    people: People,
    appearance: AppearanceModel,
    apart: Sequence[Collection[int]],
    times_of: Callable[[int], Spans],
) -> list[Rivals]:
    """Odds by looks, and by when they were seen, that each of some is one of those ``people`` of whom there are more
    pictures, but not of those they are ``apart`` from; each is as likely beforehand as somebody new."""
    ids, looks, pictures = people
    found = [Rivals(0.0)] * len(some)
    # Of another network nothing is known.
    if not some or not len(ids) or any(len(one.looks) != looks.shape[1] for one in some):
        return found
    alike = (looks @ np.array([one.looks for one in some]).astype(looks.dtype).T).astype(float)
    for n, one in enumerate(some):
        more = pictures - one.pictures
        better = (more > EQUAL_PICTURES) | (abs(more) <= EQUAL_PICTURES) & (ids < one.global_id)
        better &= (pictures > 0) & ~np.isin(ids, [one.global_id, *apart[n]])
        if not better.any():
            continue
        value = appearance.llr(alike[better, n], np.array(one.pictures), pictures[better])
        who, mine = ids[better], times_of(one.global_id)
        for likely in np.argsort(-value, kind="stable")[:MOST_ELSEWHERE].tolist():
            times = times_at_once(mine, times_of(int(who[likely])))
            value[likely] += AT_ONCE_LLR * times if times else 0.0
        best = int(value.argmax())
        found[n] = Rivals(float(np.exp(value).sum()), int(who[best]), float(np.exp(value[best])))
    return found


def _among(
    asked: Sequence[Asked],
    memory: Memory,
    appearance: AppearanceModel,
    times_of: Callable[[int], Spans],
    false_merge_rate: float,
) -> list[Found]:
    looks, pictures = np.array([a.looks for a in asked]), np.array([a.pictures for a in asked])
    prior = -np.log(len(memory) + 1.0)
    # Of thousands nearly all look so little like anybody that they are neither chosen nor rivals.
    ids = memory.alike(looks, appearance.least_alike(LIKELY_LLR - prior))
    if not len(ids):
        return []
    likeness, distance = memory.likeness(looks, pictures, appearance, ids.tolist())
    S = np.where(np.isnan(distance), -np.inf, likeness + prior)
    for row, one in enumerate(asked):
        S[row, np.isin(ids, [one.global_id, *memory.apart(one.global_id, certain=True)])] = -np.inf
    least = np.log((1 - false_merge_rate) / false_merge_rate)
    claimed = np.exp(S).sum(axis=0)  # by all who are asked about: of them, one can be it
    found = []
    for row, one in enumerate(asked):
        if S[row].max(initial=-np.inf) < least:
            continue
        likely = np.flatnonzero(S[row] > LIKELY_LLR)
        fewer = np.minimum(memory.looks(ids[likely].tolist())[1], one.pictures)
        value = S[row, likely] + [
            at_once_llr(one.global_id, int(g), n, memory, times_of)
            for g, n in zip(ids[likely], fewer, strict=True)
        ]
        alike = _alike(ids[likely].tolist(), memory, appearance, times_of, prior)
        others = (1 - alike) @ np.exp(value) + claimed[likely] - np.exp(S[row, likely])
        odds = value - np.log1p(np.maximum(others, 0.0))
        if len(likely) and odds.max() >= least:
            best = int(odds.argmax())
            column = int(likely[best])
            found.append(
                Found(
                    one.global_id,
                    int(ids[column]),
                    float(odds[best]),
                    float(likeness[row, column]),
                    float(distance[row, column]),
                )
            )
    return found


def _alike(
    ids: Sequence[int],
    memory: Memory,
    appearance: AppearanceModel,
    times_of: Callable[[int], Spans],
    prior: float,
) -> F:
    """(K, K) probability that two of the remembered are one, of whom it is not known yet: no rivals then."""
    looks, pictures = memory.looks(ids)
    if not len(ids):
        return np.zeros((0, 0))
    likeness, distance = memory.likeness(looks, pictures, appearance, ids)
    value = np.where(np.isnan(distance), -np.inf, likeness + prior)
    for i, a in enumerate(ids):
        for j, b in enumerate(ids[:i]):
            value[i, j] += at_once_llr(a, b, min(pictures[i], pictures[j]), memory, times_of)
            value[j, i] = value[i, j]
    one = 1 / (1 + np.exp(-np.clip(value, -50, 50)))
    np.fill_diagonal(one, 1.0)
    return np.asarray(one)


def united(spans: Collection[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of time, in order, joined where there is little between them."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if found and first - found[-1][1] <= ONE_TIME_NS:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def shortest_gap_s(a: Spans, b: Spans) -> float:
    """The shortest time between two lists of spans, in seconds; 0 for none."""
    both = sorted([(first, last, 0) for first, last in a] + [(first, last, 1) for first, last in b])
    gaps = [after[0] - before[1] for before, after in pairwise(both) if before[2] != after[2]]
    return round(min(gaps, default=0) / 1e9, 3)


def at_once_llr(a: int, b: int, pictures: float, memory: Memory, times_of: Callable[[int], Spans]) -> float:
    """What the times at which both were seen say of two identities being one person: never for it.

    Args:
        pictures: of the one that is seen in fewer.
    """
    times = max(times_at_once(times_of(a), times_of(b)), float(b in memory.apart(a)))
    if times and pictures <= ONE_WALK or b in memory.apart(a, certain=True):
        return -np.inf
    return AT_ONCE_LLR * times


def times_at_once(a: Spans, b: Spans) -> float:
    """How often two lists of spans, in order, have a time in common; one shorter than `ONE_TIME_NS` counts by its
    length, and one longer than `MOST_AT_ONCE_NS` is infinitely many."""
    i = j = 0
    times = 0.0
    while i < len(a) and j < len(b):
        both_ns = min(a[i][1], b[j][1]) - max(a[i][0], b[j][0])
        if both_ns > MOST_AT_ONCE_NS:
            return float("inf")
        times += min(max(both_ns, 0) / ONE_TIME_NS, 1.0)
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return times
