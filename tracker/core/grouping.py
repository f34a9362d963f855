"""Which tracklets are one person: correlation clustering with cannot-link, by joining mutually best groups.

Greedy agglomeration over groups whose looks are pooled; a join must beat the alternatives that exclude it (somebody
else at the same time in the same view) and the alternative "new person", so every join has a probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tracker.core.evidence import AppearanceModel
from tracker.core.meeting import PLACES, places_of
from tracker.types import Evidence, Sighting, TrackKey, Tracklet, array_to_plain, plain_to_array

F = NDArray[np.float64]

MANY_PICTURES = 12.0  # more pictures of one walk show little new
SAID_LLR = 1.0  # what was said stays said unless there is better
MAX_MEETING_LLR = 200.0
WALKED_HEIGHTS = 0.5
KNOWN_PICTURES = 3  # from fewer pictures nobody is learned from
CORE_S = 0.5  # a tracklet seen for less, or never embedded, joins people but never joins two of them
STEP_S = 0.4  # how often a place on the floor is noted
STEPS = 4  # of these, the last so many: a velocity over 1.2 s or more
SIGHT_EVERY_S = 0.5  # how often a piece's place in the picture is noted
SIGHTS = 240  # of these, the last so many
NEVER = -1e6
LEAST_GAIN = 2.0  # log-odds by which a change of a reading must be better
CREDIT = (
    20  # sure joins that a reading begins with, so that the first doubtful one is not refused for being first
)


class Piece:
    """A tracklet with what the linker has watched of it since: where it was and when."""

    def __init__(self, tracklet: Tracklet) -> None:
        self.tracklet = tracklet
        self.key = tracklet.key
        self.t_last_ns = tracklet.t_last_ns
        self.sights: list[tuple[int, int]] = []  # t_ns, cell of the picture (meeting.py)
        self.box: NDArray[np.float32] = tracklet.last_box
        self.place: tuple[float, float] | None = None
        self.first_place: tuple[float, float] | None = None
        self.sigma_m, self.first_sigma_m = float("nan"), float("nan")
        self._steps: list[tuple[float, float, float]] = []  # t_s, x, y of the last places, STEP_S apart
        self.walked = False  # has been elsewhere than where it began: no chair, no poster
        self._looks: NDArray[np.float32] | None = None
        self._take_looks()

    def update(self, tracklet: Tracklet) -> None:
        """A newer revision of the tracklet."""
        self.tracklet = tracklet
        if tracklet.t_last_ns > self.t_last_ns:
            self.t_last_ns, self.box = tracklet.t_last_ns, tracklet.last_box
        self._take_looks()

    def see(self, t_ns: int, box: NDArray[np.float32], floor_xy_m: NDArray, sigma_m: float) -> None:
        """Seen in a frame, with the foot point on the floor where it is known (else NaN)."""
        self.t_last_ns, self.box = max(self.t_last_ns, t_ns), box
        if not self.sights or t_ns - self.sights[-1][0] >= SIGHT_EVERY_S * 1e9:
            self.sights.append((t_ns, int(places_of(self.went_xy)[0])))
            del self.sights[:-SIGHTS]
        if not self.walked:
            first = self.tracklet.first_box
            off = np.hypot(*((box[:2] + box[2:] - first[:2] - first[2:]) / 2))
            self.walked = bool(off > WALKED_HEIGHTS * (first[3] - first[1]))
        if np.isfinite(floor_xy_m).all() and np.isfinite(sigma_m):
            self.place = (float(floor_xy_m[0]), float(floor_xy_m[1]))
            self.sigma_m = float(sigma_m)
            t_s = t_ns / 1e9
            if not self._steps or t_s - self._steps[-1][0] >= STEP_S:
                self._steps.append((t_s, *self.place))
                del self._steps[:-STEPS]
            if self.first_place is None:
                self.first_place, self.first_sigma_m = self.place, self.sigma_m

    @property
    def speed_m_s(self) -> tuple[float, float]:
        """Velocity on the floor over the last places; NaN where it is not known."""
        if self.place is None or len(self._steps) < 2:
            return float("nan"), float("nan")
        (t0, x0, y0), (t1, x1, y1) = self._steps[0], self._steps[-1]
        return (x1 - x0) / (t1 - t0), (y1 - y0) / (t1 - t0)

    @property
    def looks(self) -> NDArray[np.float32] | None:
        """(D,) mean of the unit embeddings, not itself of unit length; None if never embedded."""
        return self._looks

    @property
    def is_core(self) -> bool:
        """Seen for long enough, and well enough, to be believed in."""
        return self.pictures > 0 and self.t_last_ns - self.tracklet.t_first_ns >= CORE_S * 1e9

    @property
    def came_xy(self) -> tuple[float, float]:
        """Foot point of the first box, in shares of the picture."""
        return _share_of_picture(self.tracklet.first_box, self.tracklet.image_size)

    @property
    def went_xy(self) -> tuple[float, float]:
        """Foot point of the last box, in shares of the picture."""
        return _share_of_picture(self.box, self.tracklet.image_size)

    @property
    def pictures(self) -> int:
        return self.tracklet.embeddings_seen if self._looks is not None else 0

    def forget_looks(self) -> None:
        """The embedder has changed: its rows cannot be compared any more."""
        self._looks = None

    def distance(self, other: Piece) -> float:
        """Mean cosine distance of all pairs of pictures; NaN where one has none."""
        if self._looks is None or other._looks is None:
            return float("nan")
        return 1.0 - float(self._looks @ other._looks)

    def first_sighting(self) -> Sighting:
        t = self.tracklet
        return _sighting(self.key, t.t_first_ns, t.first_box, self.first_place)

    def last_sighting(self) -> Sighting:
        return _sighting(self.key, self.t_last_ns, self.box, self.place)

    def to_state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "tracklet": msgspec.to_builtins(self.tracklet, builtin_types=(bytes,), enc_hook=array_to_plain),
            "t_last_ns": self.t_last_ns,
            "sights": self.sights,
            "box": [float(v) for v in self.box],
            "place": self.place,
            "walked": self.walked,
            "first_place": self.first_place,
            "steps": self._steps,
            "sigmas_m": [None if np.isnan(v) else v for v in (self.sigma_m, self.first_sigma_m)],
            "looks": self._looks is not None,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Piece:
        """Back from a checkpoint."""
        piece = cls(msgspec.convert(state["tracklet"], Tracklet, dec_hook=plain_to_array))
        piece.t_last_ns = state["t_last_ns"]
        piece.sigma_m, piece.first_sigma_m = (np.nan if v is None else v for v in state["sigmas_m"])
        piece.sights = [(int(t), int(cell)) for t, cell in state["sights"]]
        piece.box = np.array(state["box"], np.float32)
        piece.walked = bool(state["walked"])
        piece.place = None if state["place"] is None else (state["place"][0], state["place"][1])
        piece._steps = [(t, x, y) for t, x, y in state["steps"]]
        first = state["first_place"]
        piece.first_place = None if first is None else (first[0], first[1])
        if not state["looks"]:
            piece.forget_looks()
        return piece

    def _take_looks(self) -> None:
        mean = self.tracklet.mean_embedding
        self._looks = mean if len(mean) and self.tracklet.embeddings_seen else None


class Scores:
    """Log-odds that pieces or groups of them are one person. N pieces."""

    def __init__(
        self,
        looks: F,
        pictures: F,
        link: F,
        meeting: F,
        met: NDArray[np.bool_],
        conflict: NDArray[np.bool_],
        gap_s: F,
        appearance: AppearanceModel,
    ) -> None:
        """
        Args:
            looks: (N, D) mean embeddings, zero rows where there is none.
            pictures: (N,) how many pictures each is of, 0 where none.
            link: (N, N) time, border and walk: for pieces one after the other, NEVER where they are at once.
            meeting: (N, N) place and co-presence: for pieces seen at once by two cameras.
            met: (N, N) where ``meeting`` holds. Places add up; that two cameras share a view counts once.
            conflict: (N, N) cannot be one person.
            gap_s: (N, N) time between them, negative where at once.
        """
        self.looks, self.pictures = looks, pictures
        self.link, self.meeting, self.met, self.conflict = link, meeting, met, conflict
        self.gap_s = gap_s
        self.appearance = appearance
        self.forced = np.zeros_like(conflict)
        self.placed = np.zeros_like(
            conflict
        )  # where ``meeting`` is a place seen, not only the cameras' shared view
        self.core = np.ones(len(pictures), bool)  # pieces that may join two people

    def __len__(self) -> int:
        return len(self.pictures)

    def forbid(self, i: int, j: int) -> None:
        """These two are not one person, whatever they look like."""
        self.conflict[i, j] = self.conflict[j, i] = True

    def force(self, i: int, j: int) -> None:
        """These two are one person, whatever they look like."""
        self.forced[i, j] = self.forced[j, i] = True

    def to_group(self, i: int, rows: Sequence[int]) -> float:
        """Log-odds of piece ``i`` belonging to a group; -inf where it cannot."""
        return self._of([i], list(rows))[0]

    def to_groups(self, count: int, owner: NDArray[np.intp], groups: int) -> F:
        """(R, G) log-odds of each of the first R pieces belonging to each of G groups; -inf where it cannot.

        Args:
            count: R.
            owner: (N,) the group of each piece, -1 for none.
        """
        n, rows = len(self), np.arange(count)
        member = np.zeros((groups, n))
        member[owner[owner >= 0], np.flatnonzero(owner >= 0)] = 1.0
        weight = member * np.minimum(self.pictures, MANY_PICTURES)
        pictures = weight.sum(axis=1)
        means = (weight @ self.looks) / np.maximum(pictures, 1e-12)[:, None]
        own, has = self.looks[:count], np.minimum(self.pictures[:count], MANY_PICTURES)
        known = (has > 0)[:, None] & (pictures > 0)
        distance = np.where(known, 1 - own @ means.T, np.nan)

        # Strangers of both sides: who excludes the one, to the other.
        seen = self.pictures > 0
        excludes = self.conflict[:count] & seen & ~(rows[:, None] == np.arange(n))  # (R, N)
        rivals = (member @ (self.conflict & seen) > 0) & (member == 0)  # (G, N)
        to_means, to_own = 1 - self.looks @ means.T, 1 - own @ self.looks.T  # (N, G), (R, N)
        strangers = []
        for power in range(3):
            not_self = excludes[:, None, :] & (member == 0)
            theirs = np.einsum("rgn,ng->rg", not_self.astype(float), to_means**power)
            ours = (to_own**power) @ rivals.T - (to_own**power)[rows, rows][:, None] * rivals[:, rows].T
            strangers.append(theirs + ours)
        cohort = self.appearance.cohort(strangers[0], strangers[1], strangers[2])
        looks = self.appearance.llr(distance, cohort, has[:, None], pictures)

        met, placed = self.met[:count], self.placed[:count]
        seen_m, guesses = met & placed, met & ~placed
        shared = np.where(guesses, self.meeting[:count], 0.0) @ member.T
        place = np.where(seen_m, self.meeting[:count], 0.0) @ member.T + shared / np.maximum(
            guesses @ member.T, 1
        )
        place = np.clip(place, -MAX_MEETING_LLR, MAX_MEETING_LLR)
        has_met = met @ member.T > 0
        # The piece of a group that is nearest in time tells of the walk.
        by_gap = np.argsort(self.gap_s[:count], axis=1, kind="stable")
        nearest = np.full((count, groups), -1)
        for r in rows:
            order = by_gap[r][owner[by_gap[r]] >= 0][::-1]
            nearest[r, owner[order]] = order
        time = np.where(nearest >= 0, self.link[rows[:, None], np.maximum(nearest, 0)], NEVER)
        value = looks + np.where(has_met, place, time)
        impossible = (self.conflict[:count] @ member.T > 0) | (~has_met & (time <= NEVER / 2))
        return np.where(impossible, -np.inf, value)

    def between(self, a: Sequence[int], b: Sequence[int]) -> Evidence | None:
        """Why two groups are one person, or how much speaks against it; None for an empty group."""
        if not len(a) or not len(b):
            return None
        score, cues, distance = self._of(list(a), list(b))
        gap = self.gap_s[np.ix_(list(a), list(b))]
        return Evidence(
            probability=float(1 / (1 + np.exp(-np.clip(score, -50, 50)))),
            distance=None if np.isnan(distance) else round(distance, 4),
            gap_s=round(float(gap.min()), 3),
            cues={k: round(float(v), 3) for k, v in cues.items()},
        )

    def _strangers(self, a: list[int], b: list[int], mean_a: F, mean_b: F) -> tuple[F, F, F]:
        """Number, sum and sum of squares of the distances from either group to who excludes the other."""
        found = []
        for mean, group in ((mean_a, b), (mean_b, a)):
            rivals = self.conflict[group].any(axis=0) & (self.pictures > 0)
            rivals[a], rivals[b] = False, False
            found.append(1 - self.looks[rivals] @ mean)
        distances = np.concatenate(found)
        return np.array(float(len(distances))), np.array(distances.sum()), np.array((distances**2).sum())

    def _of(self, a: list[int], b: list[int]) -> tuple[float, dict[str, float], float]:
        block = np.ix_(a, b)
        mean_a, n_a = pooled(self.looks[a], self.pictures[a])
        mean_b, n_b = pooled(self.looks[b], self.pictures[b])
        distance = 1 - float(mean_a @ mean_b) if n_a and n_b else float("nan")
        cohort = self.appearance.cohort(*self._strangers(a, b, mean_a, mean_b))
        looks = float(self.appearance.llr(np.array(distance), cohort, np.array(n_a), np.array(n_b)))
        met = self.met[block]
        placed, guessed = met & self.placed[block], met & ~self.placed[block]
        seen = np.where(placed, self.meeting[block], 0.0).sum()
        shared = np.where(guessed, self.meeting[block], 0.0).sum() / max(int(guessed.sum()), 1)
        place = float(np.clip(seen + shared, -MAX_MEETING_LLR, MAX_MEETING_LLR))
        nearest = np.unravel_index(int(self.gap_s[block].argmin()), met.shape)
        time = 0.0 if met.any() else float(self.link[block][nearest])
        cues = {"appearance": looks, "time": max(time, -50.0), "place": place}
        if self.conflict[block].any() or (not met.any() and time <= NEVER / 2):
            return -np.inf, cues, distance
        return looks + place + time, cues, distance


def pooled(looks: F, pictures: F) -> tuple[F, float]:
    """Mean embedding of several pieces, (K, D) of (K,) pictures each, and how many pictures it is of."""
    weights = np.minimum(pictures, MANY_PICTURES)
    total = float(weights.sum())
    if total == 0:
        return np.zeros(looks.shape[1]), 0.0
    return np.asarray((weights[:, None] * looks).sum(axis=0) / total), total


def sights_at_once(a: Piece, b: Piece) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(K,) cells of both pictures in which two pieces were at the same instants, each pair of cells once."""
    none = np.zeros(0, np.int64), np.zeros(0, np.int64)
    if not (a.sights and b.sights):
        return none
    t_a, at_a = np.array(a.sights).T
    t_b, at_b = np.array(b.sights).T
    near = np.clip(np.searchsorted(t_b, t_a), 0, len(t_b) - 1)
    near = np.where((near > 0) & (np.abs(t_b[near - 1] - t_a) < np.abs(t_b[near] - t_a)), near - 1, near)
    at_once = (np.abs(t_b[near] - t_a) <= SIGHT_EVERY_S * 1e9) & (at_a >= 0) & (at_b[near] >= 0)
    pairs = np.unique(at_a[at_once] * PLACES + at_b[near][at_once])
    here, there = np.divmod(pairs, PLACES)
    return here, there


def _share_of_picture(box: NDArray[np.floating], image_size: tuple[int, int]) -> tuple[float, float]:
    w, h = image_size
    if not (w and h):
        return float("nan"), float("nan")
    return float((box[0] + box[2]) / 2 / w), float(box[3] / h)


def group(
    scores: Scores, said: Sequence[int], threshold: float, false_merge_rate: float = 1.0
) -> list[list[int]]:
    """Part N pieces into people.

    Args:
        said: (N,) the identity each has now; what was said stays said unless there is better.
        threshold: log-odds from which joining is right.
        false_merge_rate: expected share of wrong ones among all joins, by their own probabilities (Bayesian false
            discovery rate: Newton, Noueiry, Sarkar & Ahlquist, Biostatistics 2004); joins that would exceed it are
            left undone.

    Returns:
        The groups, each a rising list of rows, ordered by their first row.
    """
    n = len(scores)
    groups: list[list[int]] = [[i] for i in range(n)]
    looks, pictures = scores.looks.copy(), np.minimum(scores.pictures, MANY_PICTURES)
    has = pictures > 0
    link, gap = scores.link.copy(), scores.gap_s.copy()
    count = scores.met.astype(float)
    total = np.where(scores.met & scores.placed, scores.meeting, 0.0)
    shared = np.where(scores.met & ~scores.placed, scores.meeting, 0.0)
    guesses = (scores.met & ~scores.placed).astype(float)
    conflict = scores.conflict.copy()
    same_said = np.array(said)[:, None] == np.array(said)[None, :]
    forced = scores.forced.copy()
    alive = np.ones(n, bool)
    np.fill_diagonal(conflict, True)
    appearance = scores.appearance

    distance = np.where(has[:, None] & has[None, :], 1 - looks @ looks.T, np.nan)
    others = conflict & ~np.eye(n, dtype=bool)  # who tells what either's strangers look like
    known = np.isfinite(distance).astype(float)
    near = np.where(np.isfinite(distance), distance, 0.0)

    def likely(rows: Any, strangers: Sequence[F]) -> F:
        """(R, N) log-odds of groups being one, from number, sum and sum of squares of distances to strangers."""
        cohort = appearance.cohort(*strangers)
        llr = appearance.llr(distance[rows], cohort, pictures[rows][:, None], pictures[None, :])
        place = np.clip(
            total[rows] + shared[rows] / np.maximum(guesses[rows], 1), -MAX_MEETING_LLR, MAX_MEETING_LLR
        )
        value = llr + np.where(count[rows] > 0, place, link[rows]) + SAID_LLR * same_said[rows]
        value = np.where(forced[rows], -NEVER, value)
        return np.where(conflict[rows] | ~alive | (value <= NEVER / 2), -np.inf, value)

    excluded = others.astype(float)
    S = likely(slice(None), [m + m.T for m in (known @ excluded, near @ excluded, near**2 @ excluded)])
    most = _most(S)
    weight, barred = _weight(S, most), conflict.astype(float)
    against = weight @ barred  # as in `competed`; below, only what a join changes is added
    odds = _odds(S, weight, against, most, None, threshold)
    # First those who are well seen, so that no glimpse bridges two people; then glimpses to people; then the rest.
    core, stage = scores.core.copy(), 0
    joins, doubts = 0, 0.0
    may = core[:, None] & core
    while n and stage < 3:
        view = odds if stage == 2 else np.where(may, odds, -np.inf)
        best = int(np.argmax(view))
        i, j = sorted(divmod(best, n))
        wrong = 1 / (1 + np.exp(np.clip(view[i, j], -50, 50)))
        allowed = false_merge_rate * (joins + 1 + CREDIT)
        if not (view[i, j] >= threshold and doubts + wrong <= allowed):
            stage += 1
            may = core[:, None] | core
            continue
        joins, doubts = joins + 1, doubts + wrong
        w_i, w_j = pictures[i], pictures[j]
        if w_i + w_j > 0:
            looks[i] = (w_i * looks[i] + w_j * looks[j]) / (w_i + w_j)
        pictures[i], has[i] = w_i + w_j, has[i] | has[j]
        if has[i]:
            distance[i] = distance[:, i] = np.where(has, 1 - looks @ looks[i], np.nan)
            known[i] = known[:, i] = np.isfinite(distance[i])
            near[i] = near[:, i] = np.where(np.isfinite(distance[i]), distance[i], 0.0)
        # Of two groups' pieces those nearest in time tell whether one can go on as the other; glimpses do not count.
        nearer = gap[j] < gap[i] if core[i] == core[j] else np.full(n, core[j])
        link[i] = link[:, i] = np.where(nearer, link[j], link[i])
        gap[i] = gap[:, i] = np.where(nearer, gap[j], gap[i])
        if core[j] and not core[i]:
            core[i] = True
            may[i], may[:, i] = (core, core) if stage == 0 else (True, True)
        for matrix in (count, total, shared, guesses):
            matrix[i] = matrix[:, i] = matrix[i] + matrix[j]
        for flags in (conflict, same_said, forced):
            flags[i] = flags[:, i] = flags[i] | flags[j]
        groups[i] = sorted(groups[i] + groups[j])
        groups[j], alive[j] = [], False
        conflict[i, i] = True

        excluded[i] = excluded[:, i] = conflict[i] & alive
        excluded[j] = excluded[:, j] = 0.0
        excluded[i, i] = 0.0
        S[j] = S[:, j] = -np.inf
        S[i] = S[:, i] = likely(
            slice(i, i + 1), [(m[i] @ excluded + m @ excluded[i])[None] for m in (known, near, near**2)]
        )[0]
        changed = np.flatnonzero(conflict[i])  # i and j among them
        pair = np.array([i, j])
        against[:, changed] -= weight[:, pair] @ barred[np.ix_(pair, changed)]
        barred[i] = barred[:, i] = conflict[i]
        higher = np.flatnonzero(S[i] > most)
        scale = np.exp(most[higher] - S[i, higher])[:, None]
        weight[higher], against[higher] = weight[higher] * scale, against[higher] * scale
        most[higher] = S[i, higher]
        most[pair] = _most(S[pair])
        weight[:, pair], weight[pair] = _weight(S[:, pair], most), _weight(S[pair], most[pair])
        against[:, changed] += weight[:, pair] @ barred[np.ix_(pair, changed)]
        against[:, pair] = weight @ barred[:, pair]
        against[pair] = weight[pair] @ barred
        odds[changed] = _odds(S, weight, against, most, changed, threshold)
        odds[:, changed] = odds[changed].T
    return sorted(g for g in groups if g)


def refined(groups: Sequence[Sequence[int]], scores: Scores) -> list[list[int]]:
    """Groups after moves of single pieces, and swaps of two that exclude each other, by where people stood at once.

    Who is joined first may be wrong where people walk side by side; what all looks together say is right more often
    (local search for correlation clustering: Elsner & Schudy, ILP for NLP 2009). Each change raises the sum of the
    places' log-odds within groups by more than ``LEAST_GAIN``.
    """
    n = len(scores)
    weight = np.where(scores.met & scores.placed, scores.meeting, 0.0)
    if not weight.any():
        return [list(members) for members in groups]
    rows, owner = np.arange(n), np.zeros(n, np.intp)
    for g, members in enumerate(groups):
        owner[list(members)] = g
    conflict = scores.conflict.astype(float)
    member = (owner[:, None] == np.arange(len(groups))).astype(float)
    gain, barred = weight @ member, conflict @ member
    free = np.asarray(~scores.forced.any(axis=1) & weight.any(axis=1), bool)
    pairs = np.argwhere(np.triu(scores.conflict, 1) & free[:, None] & free)
    for _ in range(n):
        better = gain - gain[rows, owner][:, None]
        better[rows, owner] = -np.inf
        alone = np.where(free[:, None] & (barred == 0), better, -np.inf)
        p, b = (int(v) for v in np.unravel_index(int(np.argmax(alone)), alone.shape))
        changes, best = [(p, b)], float(alone[p, b])
        if len(pairs):
            i, j = pairs.T  # two of one camera, each in the other's place
            swap = better[i, owner[j]] + better[j, owner[i]] - 2 * weight[i, j]
            swap[(barred[i, owner[j]] != 1) | (barred[j, owner[i]] != 1)] = -np.inf
            k = int(np.argmax(swap))
            if swap[k] > best:
                best = float(swap[k])
                changes = [(int(i[k]), int(owner[j[k]])), (int(j[k]), int(owner[i[k]]))]
        if not best > LEAST_GAIN:
            break
        for row, to in changes:
            for sums, of in ((gain, weight), (barred, conflict)):
                sums[:, owner[row]] -= of[:, row]
                sums[:, to] += of[:, row]
            owner[row] = to
    found = [np.flatnonzero(owner == g).tolist() for g in range(len(groups))]
    return [members for members in found if members]


def competed(S: F, conflict: NDArray[np.bool_]) -> F:
    """(G, G) log-odds of each join against everything that excludes it, and against "new person" (odds 1).

    Joining a with b excludes joining a with c where b and c cannot be one.
    """
    most = _most(S)
    weight = _weight(S, most)
    return _odds(S, weight, weight @ conflict.astype(float), most)


def _most(S: F) -> F:
    """(R,) the largest log-odds of each row, which its weights are relative to; 0 for a row without any."""
    most = S.max(axis=1, initial=-np.inf)
    return np.where(np.isfinite(most), most, 0.0)


def _weight(S: F, most: F) -> F:
    """The odds of log-odds as shares of each row's largest, 0 where impossible; (R, N) and (R,)."""
    return np.exp(S - most[:, None])


def _odds(
    S: F,
    weight: F,
    against: F,
    most: F,
    rows: NDArray[np.intp] | None = None,
    least: float = -np.inf,
) -> F:
    """Some rows of `competed`, from ``against[a, b]``: the sum of ``weight[a, c]`` over all c that exclude b.

    Where ``S`` is below ``least`` the answer is -inf: rivals only take away.
    """
    part = S if rows is None else S[rows]
    out = np.full(part.shape, -np.inf)
    i, b = np.nonzero(np.isfinite(part) & (part >= least))
    a = i if rows is None else rows[i]
    # b excludes itself in `conflict`'s diagonal.
    with np.errstate(divide="ignore"):
        here = np.log(np.maximum(against[a, b] - weight[a, b], 0)) + most[a]
        there = np.log(np.maximum(against[b, a] - weight[b, a], 0)) + most[b]
    out[i, b] = part[i, b] - np.logaddexp(np.logaddexp(here, there), 0.0)
    return out


def _sighting(
    key: TrackKey, t_ns: int, box: NDArray[np.floating], place: tuple[float, float] | None
) -> Sighting:
    x1, y1, x2, y2 = (round(float(v), 1) for v in box)
    floor = None if place is None else (round(place[0], 3), round(place[1], 3))
    return Sighting(camera_id=key.camera_id, t_ns=t_ns, box=(x1, y1, x2, y2), floor_xy_m=floor)
