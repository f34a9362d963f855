"""Everybody of the last minutes looked at again: what the better reading is, and what it teaches.

A revision is of one instant. It sees tracklets as they were then, and its work may be done in parts while the linker
goes on; what it has found is said when all is done.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from tracker.config import LinkSettings
from tracker.core.appearance import AppearanceModel
from tracker.core.columns import Columns, own_looks, rows_of
from tracker.core.company import Company, Note
from tracker.core.cues import scoring
from tracker.core.floor_tracker import Standing
from tracker.core.grouping import (
    KNOWN_PICTURES,
    Doubt,
    Piece,
    Scores,
    Verdict,
    continuing,
    grouping,
    refining,
)
from tracker.core.local_search import searching
from tracker.core.topology import Pair, SiteModel
from tracker.core.traffic import seen_at_once, taught
from tracker.core.work import Work
from tracker.types import Evidence, TrackKey

OWN = 64  # looks worked out at once
MOST_MOVES = 2  # who was moved so often goes where nothing but single moves say to no more
SETTLED_S = 10.0  # unseen for this long: the site may learn from a tracklet


@dataclass(frozen=True)
class Known:
    """What a revision begins with: N pieces, and all that is known of them. It may write on all of it."""

    t_ns: int
    columns: Columns
    said: list[int]  # (N,) the identity each has
    conflict: NDArray[np.bool_]  # (N, N) cannot be one, by what cameras saw and operators said
    people: list[set[int]]  # rows that operators joined
    on_floor: Standing | None  # whom all cameras' feet say they were on; None: looks say
    new_share: float  # of those who come from where nobody sees them
    is_taught: NDArray[np.bool_]  # (N,) of which the site has learned already
    settings: LinkSettings
    threshold: float  # log-odds from which joining is right
    appearance: AppearanceModel
    company: Company
    site_model: SiteModel
    overlaps: SiteModel
    is_last: bool  # nothing more will come


class Move(NamedTuple):
    """Tracklets that go from one identity to another, and why."""

    source: int
    target: int | None  # None: somebody new
    group: int  # whoever moves to one group moves to one identity
    keys: tuple[TrackKey, ...]
    evidence: (
        Evidence | None
    )  # that they are of the group; where it has nobody else, that they are of the source
    is_new: bool

    def why(self, doubt: Doubt) -> Evidence | None:
        """The evidence as far as it can be trusted."""
        if self.evidence is None:
            return None
        if not self.is_new:
            return doubted(self.evidence, doubt)
        # Where the move is right, that they are the source is wrong.
        found = doubted(self.evidence, doubt._replace(right=1 - doubt.right))
        return msgspec.structs.replace(
            found,
            probability=1 - found.probability,
            runner_up=self.source,
            runner_up_probability=found.probability,
        )


@dataclass(frozen=True)
class Finding:
    """What a revision has found."""

    appearance: AppearanceModel
    site_model: SiteModel
    overlaps_now: SiteModel
    taught: list[TrackKey]
    notes: list[Note]
    moves: list[Move]

    def to_state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "learned": self.appearance.to_state(),
            "site": self.site_model.to_file_text(),
            "overlaps_now": overlaps_state(self.overlaps_now),
            "taught": [msgspec.to_builtins(k) for k in self.taught],
            "notes": [[msgspec.to_builtins(a), msgspec.to_builtins(b), llr] for a, b, llr in self.notes],
            "moves": [msgspec.to_builtins(move) for move in self.moves],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], appearance: AppearanceModel) -> Finding:
        """Back from a checkpoint. Raises KeyError, TypeError, ValueError or msgspec's errors where it is damaged."""
        appearance = replace(appearance)
        appearance.take_state(state["learned"])
        site_model = SiteModel.from_text(state["site"])
        return cls(
            appearance,
            site_model,
            with_overlaps(site_model, state["overlaps_now"]),
            [msgspec.convert(k, TrackKey) for k in state["taught"]],
            [
                (msgspec.convert(a, TrackKey), msgspec.convert(b, TrackKey), llr)
                for a, b, llr in state["notes"]
            ],
            [msgspec.convert(move, Move) for move in state["moves"]],
        )


def revising(known: Known) -> Work[Finding]:
    """Group the pieces anew, and see where that differs from what was said."""
    n, pieces, appearance = len(known.said), known.columns.pieces, known.appearance
    scores = yield from scoring(
        known.columns,
        known.settings,
        appearance,
        known.company,
        known.site_model,
        known.overlaps,
        known.t_ns,
    )
    yield 10 * n * n
    yield from _learning_cosines(appearance, pieces, scores)
    scores.conflict = known.conflict
    scores.expect(len(set(known.said)), known.new_share)
    yield 10 * n * n
    groups = united((yield from _parting(known, scores)), known.people)
    if any(scores.conflict[np.ix_(g, g)].any() for g in groups):
        # Looks would put somebody beside himself: what operators said comes first, and looks go by that.
        for i, j in (pair for person in known.people for pair in itertools.combinations(sorted(person), 2)):
            scores.force(i, j)
        groups = yield from _parting(known, scores)
    until_ns = known.t_ns - (0 if known.is_last else int(SETTLED_S * 1e9))
    counts = np.array([p.t_last_ns <= until_ns for p in pieces], bool) & ~known.is_taught
    untaught = ~(counts | known.is_taught)
    site_model = known.site_model
    if counts.any():
        site_model = taught(site_model, pieces, groups, scores, known.t_ns, counts)
        yield 20 * n * n
    yield 10 * n * n
    overlaps_now = seen_at_once(site_model, pieces, groups, scores, untaught)
    yield 10 * n * n
    _learn_cameras(appearance, pieces, groups, counts, untaught)
    yield 10 * n * n
    for start in range(0, n, OWN):  # not needed here, but soon
        own_looks(pieces[start : start + OWN], appearance)
        yield 1500 * len(pieces[start : start + OWN])
    names = _names(known, groups)
    yield 4 * n * n
    moves: list[Move] = []
    for move in _moves(known, groups, names, scores):
        moves.append(move)
        yield 4 * n * n
    keys = [pieces[i].key for i in np.flatnonzero(counts)]
    return Finding(appearance, site_model, overlaps_now, keys, scores.notes, moves)


def _parting(known: Known, scores: Scores) -> Work[list[list[int]]]:
    least, rate = known.threshold, known.settings.false_merge_rate
    standing = scores.standing()
    yield 10 * len(known.said) ** 2
    if known.on_floor is not None and len(known.on_floor.known):
        # Whom the floor knows it knows better than pairs do; the others are joined with them, or with each other.
        standing = copy.copy(standing)
        standing.conflict = standing.conflict | _apart(known.on_floor, len(known.said))
        found = yield from grouping(standing, known.said, least, rate, known.on_floor.groups, seen_only=False)
    else:
        found = yield from grouping(standing, known.said, least, rate)
        found = yield from refining(found, standing)
    if scores.walks is not None:
        # Who goes on as whom on the floor; then whoever came back another way, by looks.
        begun = yield from continuing(found, scores, least)
        found = yield from grouping(scores, known.said, least, rate, begun=begun)
    stays = np.array([p.moves >= MOST_MOVES for p in known.columns.pieces], bool)
    moved = yield from searching(found, scores, known.said, stays)
    if moved == sorted(found):
        return moved
    of_looks = scores.walks is not None  # those without are grouped already
    return (yield from grouping(scores, known.said, least, rate, moved, seen_only=of_looks))


def _apart(standing: Standing, count: int) -> NDArray[np.bool_]:
    """(N, N) who of N are known to be in different groups."""
    owner, known = np.zeros(count, np.intp), np.zeros(count, bool)
    for n, members in enumerate(standing.groups):
        owner[list(members)] = n
    known[standing.known] = True
    return np.asarray((owner[:, None] != owner) & known[:, None] & known)


def _learning_cosines(appearance: AppearanceModel, pieces: Sequence[Piece], scores: Scores) -> Work[None]:
    """Who is seen at once in one camera is two people; who was in two cameras may be one."""
    well = np.flatnonzero(scores.pictures >= KNOWN_PICTURES)
    cameras = np.array([p.key.camera_id for p in pieces])[well]
    two = scores.conflict[np.ix_(well, well)]
    maybe = ~two & (cameras[:, None] != cameras)
    yield 4 * len(well) ** 2
    looks = scores.looks[well]
    alike = looks @ looks.T
    yield 4 * len(well) ** 2
    yield from appearance.fitting(alike, scores.pictures[well], two, maybe)


def _learn_cameras(
    appearance: AppearanceModel,
    pieces: Sequence[Piece],
    groups: Sequence[Sequence[int]],
    counts: NDArray[np.bool_],
    untaught: NDArray[np.bool_],
) -> None:
    """What cameras add to looks: of each person's tracklets in a camera the mean is one of many people's.

    From each tracklet once, when what was decided of it has settled: never from itself.
    """
    looks = rows_of(pieces)
    cameras = np.array([p.key.camera_id for p in pieces])
    person = np.zeros(len(pieces), np.intp)
    for n, members in enumerate(groups):
        person[list(members)] = n
    known = np.array([p.tracklet.embeddings_seen >= KNOWN_PICTURES for p in pieces], bool)
    known &= looks.any(axis=1)
    names, camera = np.unique(cameras, return_inverse=True)
    where = person * len(names) + camera
    share = known / np.maximum(np.bincount(where, known)[where], 1.0)
    settled = appearance.cameras.learn(cameras, looks, share * counts)
    appearance.cameras = settled
    appearance.cameras_now = settled.learn(cameras, looks, share * untaught)


def _names(known: Known, groups: Sequence[Sequence[int]]) -> list[int | None]:
    """Of every group the identity that knows most of it; None: somebody new."""
    pieces, said = known.columns.pieces, known.said
    claims: list[tuple[int, int, int]] = []  # weight, identity, group
    for n, members in enumerate(groups):
        weight: dict[int, int] = {}
        for m in members:
            weight[said[m]] = weight.get(said[m], 0) + pieces[m].boxes_seen
        claims += [(w, g, n) for g, w in weight.items()]
    name_of: dict[int, int] = {}
    named: set[int] = set()
    for _, g, n in sorted(claims, key=lambda c: (-c[0], c[1], c[2])):
        if n not in name_of and g not in named:
            name_of[n] = g
            named.add(g)
    return [name_of.get(n) for n in range(len(groups))]


def _moves(
    known: Known, groups: Sequence[Sequence[int]], names: Sequence[int | None], scores: Scores
) -> Iterator[Move]:
    """Every group stays under its name; the rest moves."""
    pieces, said = known.columns.pieces, known.said
    reading = np.zeros(len(pieces), np.intp)  # the group of each
    for n, members in enumerate(groups):
        reading[list(members)] = n
    for n in sorted(range(len(groups)), key=lambda n: min(pieces[m].tracklet.t_first_ns for m in groups[n])):
        moved: dict[int, list[int]] = {}
        for m in groups[n]:
            if said[m] != names[n]:
                moved.setdefault(said[m], []).append(m)
        for source, rows in sorted(moved.items()):
            evidence, is_new = _evidence_of_move(scores, rows, reading, names, n, source)
            yield Move(source, names[n], n, tuple(pieces[m].key for m in rows), evidence, is_new)


def evidence_of(
    scores: Scores,
    query: Sequence[int],
    owner: NDArray[np.intp],
    names: Sequence[int | None],
    chosen: int,
    log_odds: NDArray[np.float64],
) -> Evidence | None:
    """Why a query is of the person of one of G groups: the identities ``names``, of the pieces ``owner``."""
    found = scores.between(query, np.flatnonzero(owner == chosen).tolist())
    if found is None:
        return None
    verdict = scores.verdict(log_odds, chosen, owner, len(names))
    return msgspec.structs.replace(
        found,
        probability=verdict.probability,
        runner_up=None if verdict.runner_up is None else names[verdict.runner_up],
        runner_up_probability=verdict.runner_up_probability,
    )


def doubted(evidence: Evidence, doubt: Doubt) -> Evidence:
    """What remains of it."""
    left = doubt.of(Verdict(evidence.probability, None, evidence.runner_up_probability or 0.0))
    second = None if evidence.runner_up is None else left.runner_up_probability
    return msgspec.structs.replace(evidence, probability=left.probability, runner_up_probability=second)


def _evidence_of_move(
    scores: Scores,
    members: Sequence[int],
    owner: NDArray[np.intp],
    names: Sequence[int | None],
    to: int,
    source: int,
) -> tuple[Evidence | None, bool]:
    """Why pieces go to the group ``to`` of a reading; where it has nobody else, why they would be ``source``."""
    others = owner.copy()
    others[list(members)] = -1
    is_new = not (others == to).any()
    chosen = names.index(source) if is_new and source in names else to
    left = np.unique(others[others >= 0])  # groups that have anybody
    if chosen not in left:
        return None, is_new
    place = np.full(len(names), -1)
    place[left] = np.arange(len(left))
    others = np.where(others >= 0, place[others], -1)
    known = [names[g] for g in left.tolist()]
    log_odds = scores.to_groups([members], others, len(left))[0]
    return evidence_of(scores, members, others, known, int(place[chosen]), log_odds), is_new


def united(groups: list[list[int]], people: list[set[int]]) -> list[list[int]]:
    """Groups of rows, joined where some of theirs are one of ``people``; ordered by their first row."""
    for person in people:
        met = [g for g in groups if not person.isdisjoint(g)]
        groups = [g for g in groups if g not in met] + ([sorted(itertools.chain(*met))] if met else [])
    return sorted(groups)


def overlaps_state(site: SiteModel) -> list[list[Any]]:
    """How often two cameras see somebody at once, as plain values."""
    return [[a, b, *counts] for (a, b), counts in sorted(site.overlaps.items())]


def with_overlaps(site: SiteModel, plain: Sequence[Sequence[Any]]) -> SiteModel:
    """A site model with what `overlaps_state` told."""
    overlaps: Mapping[Pair, tuple[float, float]] = {
        (a, b): (float(found), float(could)) for a, b, found, could in plain
    }
    return replace(site, overlaps=overlaps)
