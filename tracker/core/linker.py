"""Tracklets of all cameras -> identities and events.

A new tracklet gets a provisional identity at once: one Hungarian matching of new tracklets with open identities, with
an explicit "new person" column. Then all decisions of the last minutes are looked at again together, as correlation
clustering over tracklets (Ristani & Tomasi, CVPR 2018, section 4; solved by joining mutually best groups), and where
the better reading differs from what was said, it is said in the open: ``Merged`` or ``Split``.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tracker.config import LinkSettings
from tracker.core.appearance import AppearanceModel, unit
from tracker.core.assign import assign_or_new
from tracker.core.columns import Table, own_looks
from tracker.core.company import Company
from tracker.core.cues import score_pieces
from tracker.core.floor_names import FloorNames
from tracker.core.floor_tracker import WINDOW_S
from tracker.core.grouping import (
    AT_ONCE,
    CREDIT,
    KNOWN_PICTURES,
    MERGED,
    SPLIT,
    Piece,
    Scores,
    Seen,
    seen_of,
    seen_state,
)
from tracker.core.hops import Places, hop_evidence, hops, places
from tracker.core.memory import Memory
from tracker.core.newcomers import Newcomers
from tracker.core.parts import Parts, pictures_of
from tracker.core.people import Person, Remembered
from tracker.core.returns import Asked, known_better, recognised, shortest_gap_s, united
from tracker.core.revision import (
    SETTLED_S,
    Finding,
    Known,
    doubted,
    evidence_of,
    overlaps_state,
    revising,
    with_overlaps,
)
from tracker.core.rulings import Rulings
from tracker.core.topology import SiteModel
from tracker.core.work import Job, Pace, played
from tracker.types import (
    CONFIRMED,
    NO_DETECTION,
    TENTATIVE,
    Advance,
    Appeared,
    CameraBack,
    CameraLost,
    CameraStatus,
    CameraUpdate,
    Checkpoint,
    Command,
    Event,
    Evidence,
    HandedOver,
    Identity,
    Left,
    LinkerInput,
    Merged,
    Sighting,
    Split,
    TrackKey,
    Tracklet,
    Tracks,
    Updated,
    View,
    global_id_of,
)

STATE_VERSION = 6


ON_FLOOR_LOG = 4.0  # odds of who is followed on the floor being who they were an instant before
LEAST_PROBABILITY = 0.5  # that two are one person: below, 'somebody new' is the better answer
UPDATED_EVERY_NS = 1_000_000_000
MOST_PIECES = 400  # looked at in one revision; of more, those that are settled are joined for good
BEGIN_WORK = 5  # of each pair of tracklets, to begin with
LOOK_UPS, MOST_LOOKED_UP = 4, 5  # so often after a revision, people at once; the last time, all who are left
DUE = ("line up", *["look up"] * LOOK_UPS, "tidy", "ask")  # after a revision, in this order
MAY_BE_CUT_S = WINDOW_S + 2.0  # after this the floor tracker is sure of a tracklet
MOST_LEAVE = 1  # people at once
MOST_LET_GO, LET_GO_WORK = 2, 900  # tracklets at once, and of each other one
MAY_HOP_S = 10.0  # unseen for longer: a tracklet is as it was
ASKED_BEFORE_S = (
    0.9  # a revision began, whether it shows two people: it is asked anew; else after the next one
)
MOST_ASKED_AT_ONCE, MOST_WEIGHED = 4, 2
ASK_WORK, HOPS_WORK = 150_000, 1_000  # of each, and of each of these and each tracklet looked at
PASS_WORK = 100  # of each tracklet or identity remembered, where all are gone through
MOST_ASKED = 2_000  # of the remembered, at the end of a recording: a second or two
TOO_FAR_LLR = -5.0  # of time and way: in the end looks alone join nobody against this
GROWN = 1.5  # whoever is seen so many times better than when last looked up among those long unseen is looked up again
NAME_LENGTH = 100  # characters; a name is shown on one line of a list, beside other things


class Linker:
    """All cameras, no pixels. Ids are never used twice; a mistake is corrected in the open."""

    def __init__(
        self,
        settings: LinkSettings | None = None,
        *,
        site: int = 0,
        appearance: AppearanceModel | None = None,
        site_model: SiteModel | None = None,
    ) -> None:
        self.settings = settings or LinkSettings()
        self.site = site
        self.appearance = appearance or AppearanceModel()
        self.model_hash = ""
        self._pieces: dict[TrackKey, Piece] = {}
        self._owner: dict[TrackKey, int] = {}
        self._fresh: dict[TrackKey, None] = {}  # tracklets that have not been welcomed
        self._floor_names = FloorNames()
        self._parts = Parts()  # of those that went over to somebody else
        self._held_by: dict[TrackKey, TrackKey] = {}  # tracklets joined to others for good
        self._memory = Memory()
        self._put_away: list[int] = []  # who is remembered since people were last looked up
        self._looked_up: dict[int, float] = {}  # with how many pictures each identity here was
        self._people: dict[int, Person] = {}
        self._cameras: dict[str, str] = {}
        self._company = Company()
        self._table = Table()  # of all pieces, in the company's rows
        self._newcomers = Newcomers()
        self._visits = Newcomers()  # of those who left, who had not been here before
        self.site_model = site_model or SiteModel()
        self._overlaps_now = self.site_model  # with who is seen at once right now
        self._taught: set[TrackKey] = set()  # tracklets that the site model has learned from
        self._rulings = Rulings()
        self._hopeful: dict[TrackKey, list[Seen]] = {}  # tentative tracks: where they were
        self._next = 1
        self._t_ns = 0
        self._t_revised_ns = 0
        self._revision: Job[Finding] | None = None  # under way
        self._shown: list[Piece] = []  # to it
        self._pace = Pace()  # of a revision's work, and of what comes after it
        self._due: list[str] = []  # what is to be done after a revision
        self._to_ask: list[TrackKey] = []  # of whom looks may say that they went over to somebody else
        self._ended_ns = -1

    # ---- what the linker hears -------------------------------------------------------------------------------

    def step(self, message: LinkerInput) -> list[Event]:
        """Take in one message; the events it causes, in order, not yet numbered (epoch and seq 0)."""
        self._t_ns = max(self._t_ns, message.t_ns)
        match message:
            case CameraUpdate():
                return self._hear(message)
            case CameraStatus():
                return self._camera(message)
            case Command():
                return self._obey(message)
            case Advance():
                return self._advance(message)

    def identity_of(self, key: TrackKey) -> int | None:
        """The identity that a tracklet belongs to now; None while it is not confirmed. Of one that was cut, the first
        part's."""
        return self._owner.get(self._held(key))

    def identity_now(self, key: TrackKey) -> int | None:
        """As `identity_of`; of one that was cut, the last part's."""
        return self.identity_of(self._parts.of(key))

    def _held(self, key: TrackKey) -> TrackKey:
        """The tracklet to which one was joined for good, or itself."""
        while key in self._held_by:
            key = self._held_by[key]
        return key

    def view(self) -> View:
        """All open identities."""
        people = [self._people[g] for g in sorted(self._people)]
        return View(
            epoch=0,
            seq=0,
            t_ns=self._t_ns,
            identities=tuple(
                Identity(
                    global_id=p.global_id,
                    tracks=tuple(sorted(p.keys)),
                    first=p.first,
                    last=p.last,
                    here=p.here,
                    unsure=p.unsure,
                    name=p.name,
                    seen=tuple(
                        (self._pieces[k].tracklet.t_first_ns, self._pieces[k].t_last_ns)
                        for k in sorted(p.keys)
                    ),
                )
                for p in people
            ),
        )

    # ---- updates ---------------------------------------------------------------------------------------------

    def _hear(self, update: CameraUpdate) -> list[Event]:
        events: list[Event] = []
        if self._cameras.get(update.camera_id) == "lost":
            events.append(CameraBack(t_ns=update.t_ns, camera_id=update.camera_id))
        self._cameras[update.camera_id] = "up"
        for tracklet in update.tracklets:
            self._learn(tracklet)
        self._take_back(update)
        self._watch(update)
        events += self._welcome(list(self._fresh), update)
        events += self._report(update)
        return events + self._look_again(update.t_ns)

    def _learn(self, tracklet: Tracklet) -> None:
        """A tracklet's newest state; older revisions that come late say nothing new."""
        known = self._pieces.get(self._parts.of(tracklet.key))
        tracklet = self._parts.newest(tracklet, None if known is None else known.tracklet)
        if tracklet.key in self._held_by or (known and known.tracklet.revision >= tracklet.revision):
            return
        if tracklet.model_hash and tracklet.model_hash != self.model_hash:
            # Rows of another network cannot be compared: what was known of looks is put aside, in the open.
            if self.model_hash:
                self._put_aside()  # of looks that cannot be compared any more
                for key, piece in self._pieces.items():
                    piece.forget_looks()
                    self._table.put(self._company.row_of(key), piece)
                self._table.forget_looks()
                self._memory.forget_looks()
                self.appearance.forget()
                self._parts.forget_looks()
            self.model_hash = tracklet.model_hash
            for key in self._pieces if self._company.floor is not None else ():
                self._to_change(self._pieces[key]).trail = []
            self._company.leave_floor()  # they tell people apart better
        if known is None:
            self._pieces[tracklet.key] = known = Piece(tracklet)
            self._fresh[tracklet.key] = None
            self._company.add(tracklet.key)
            for seen in self._hopeful.pop(tracklet.key, []):
                known.see(*seen)
                if self._company.floor is not None:
                    known.remember(seen, self._trail_s())
        else:
            known = self._to_change(known)
            known.update(tracklet)
        self._table.put(self._company.row_of(tracklet.key), known)

    def _take_back(self, update: CameraUpdate) -> None:
        """Of tracks that went over to somebody else, cameras tell later that they ended before."""
        seen = set(update.tracks.ids[update.tracks.detections != NO_DETECTION].tolist())
        for tracklet in update.tracklets:
            key = self._parts.of(tracklet.key)
            piece = self._pieces.get(key)
            if piece is None or tracklet.key.number in seen or piece.tracklet.t_last_ns >= piece.t_found_ns:
                continue
            if piece.tracklet.revision != tracklet.revision or update.t_ns < piece.t_last_ns:
                continue  # late: it knows nothing of what was seen since
            piece = self._to_change(piece)
            piece.take_back()
            self._table.put(self._company.row_of(key), piece)
            self._company.take_back(key, piece.t_last_ns)
            if key in self._owner:
                self._redate(self._people[self._owner[key]])

    def _watch(self, update: CameraUpdate) -> None:
        """Where everybody is, and who is seen beside whom in one frame."""
        tracks = update.tracks
        seen = [n for n in range(len(tracks)) if tracks.detections[n] != NO_DETECTION]
        keys = [self._key(update, int(tracks.ids[n])) for n in seen]
        self._give_up(update, {self._key(update, int(number)) for number in tracks.ids})
        told: list[int] = []
        rows: list[int] = []
        for n, key in zip(seen, keys, strict=True):
            piece = self._pieces.get(key)
            what: Seen = (
                update.t_ns,
                tracks.boxes[n],
                tracks.floor_xy_m[n],
                float(tracks.floor_sigma_m[n]),
                tracks.floor_near_xy_m[n],
            )
            if piece is not None:
                piece = self._to_change(piece)
                piece.see(*what)
                if tracks.detections[n] >= 0:
                    piece.t_found_ns = max(piece.t_found_ns, update.t_ns)
                if self._company.floor is not None:
                    piece.remember(what, self._trail_s())
                told.append(n)
                rows.append(self._company.row_of(key))
            elif tracks.states[n] == TENTATIVE:
                self._company.add(key)
                self._hopeful.setdefault(key, []).append(what)
        self._table.see(
            rows, update.t_ns, tracks.boxes[told], tracks.floor_xy_m[told], tracks.floor_sigma_m[told]
        )
        self._company.watch(
            update.camera_id,
            update.t_ns,
            keys,
            tracks.boxes[seen],
            tracks.floor_xy_m[seen],
            tracks.floor_sigma_m[seen],
            tracks.floor_near_xy_m[seen],
        )

    def _give_up(self, update: CameraUpdate, here: set[TrackKey]) -> None:
        """Tentative tracks of this camera that are gone were nobody."""
        for key in [k for k in self._hopeful if k.camera_id == update.camera_id and k not in here]:
            del self._hopeful[key]
            self._company.forget(key, stays_on_floor=True)

    def _key(self, update: CameraUpdate, number: int) -> TrackKey:
        return self._parts.of(TrackKey(camera_id=update.camera_id, run=update.run, number=number))

    def _welcome(self, keys: list[TrackKey], update: CameraUpdate) -> list[Event]:
        """A provisional identity for every new tracklet: known people, or somebody new."""
        events: list[Event] = []
        if not keys:
            return events
        self._pace.spend_most()
        keys = sorted(keys)
        scores, owner, open_ids = self._candidates(keys, update.t_ns)
        gain = scores.to_groups([[i] for i in range(len(keys))], owner, len(open_ids))
        self._ask_floor(keys, update.camera_id, gain, scores.conflict, owner, open_ids)
        self._newcomers.learn(gain, scores.are_away(owner, len(open_ids)))
        chosen = assign_or_new(-gain, np.full(len(keys), -self._threshold()))
        for i, key in enumerate(keys):
            piece = self._pieces[key]
            sighting = piece.first_sighting()
            if chosen[i] < 0:
                person = self._new_person(key, sighting)
                events.append(
                    Appeared(t_ns=update.t_ns, global_id=person.global_id, track=key, sighting=sighting)
                )
                continue
            global_id = open_ids[chosen[i]]
            person = self._people[global_id]
            evidence = evidence_of(scores, [i], owner, open_ids, int(chosen[i]), gain[i])
            evidence = None if evidence is None else doubted(evidence, AT_ONCE)
            events.append(self._handed_over(person, key, sighting, evidence, update.t_ns))
            self._join(person, key)
        return events

    def _candidates(self, keys: list[TrackKey], t_ns: int) -> tuple[Scores, NDArray[np.intp], list[int]]:
        """All that is known of new tracklets and, after them, of those looked at.

        Returns:
            Scores of N; (N,) whose each is, as a place in what follows, -1 for the new ones; the open identities.
        """
        new, recent = np.array([self._company.row_of(k) for k in keys], np.intp), self._recent(t_ns)
        columns = self._table.at(np.concatenate((new, recent)), self.appearance)
        open_ids, owner = np.unique(columns.owner[len(keys) :], return_inverse=True)
        scores = score_pieces(
            columns,
            self.settings,
            self.appearance,
            self._company,
            self.site_model,
            self._overlaps_now,
            t_ns,
            of=len(keys),
        )
        self._company.note_sights(scores.notes)
        scores.expect(len(open_ids), self._newcomers.share)
        return scores, np.concatenate((np.full(len(keys), -1), owner)), open_ids.tolist()

    def _ask_floor(
        self,
        keys: list[TrackKey],
        camera_id: str,
        gain: NDArray[np.float64],
        conflict: NDArray[np.bool_],
        owner: NDArray[np.intp],
        open_ids: list[int],
    ) -> None:
        """Raise the log-odds ``gain`` (K, G) of new tracklets being whoever all cameras' feet say that they are on."""
        if self._company.floor is None:
            return
        guess = self._company.floor.guess(camera_id)
        for n, key in enumerate(keys):
            votes: dict[int, int] = {}
            for other, count in guess.get(key, {}).items():
                identity = self.identity_of(other)
                if identity is not None:
                    votes[identity] = votes.get(identity, 0) + count
            likeliest = max(votes, key=lambda g: (votes[g], -g), default=None)
            if likeliest in open_ids:
                g = open_ids.index(likeliest)
                if not conflict[n, owner == g].any():
                    gain[n, g] = max(gain[n, g], ON_FLOOR_LOG)

    def _handed_over(
        self, person: Person, key: TrackKey, sighting: Sighting, evidence: Evidence | None, t_ns: int
    ) -> HandedOver:
        return HandedOver(
            t_ns=t_ns,
            global_id=person.global_id,
            from_camera=person.last.camera_id,
            to_camera=key.camera_id,
            track=key,
            gap_s=(sighting.t_ns - person.last.t_ns) / 1e9,
            sighting=sighting,
            evidence=evidence,
        )

    def _report(self, update: CameraUpdate) -> list[Event]:
        """``Updated``, at most once a second for each identity."""
        events: list[Event] = []
        tracks = update.tracks
        seen = np.flatnonzero((tracks.states == CONFIRMED) & (tracks.detections != NO_DETECTION)).tolist()
        owners = [self._owner.get(self._key(update, int(tracks.ids[n]))) for n in seen]
        sightings = sightings_of(update.camera_id, update.t_ns, tracks)
        for n, owner in zip(seen, owners, strict=True):
            if owner is None:
                continue
            person = self._people[owner]
            is_back, person.last = not person.here, sightings[n]
            person.here, person.unsure = True, False
            if is_back or update.t_ns - person.t_updated_ns >= UPDATED_EVERY_NS:
                person.t_updated_ns = update.t_ns
                events.append(self._updated(person, update.t_ns))
        return events

    def _updated(self, person: Person, t_ns: int) -> Updated:
        now = [
            self._pieces[k]
            for k in sorted(person.keys)
            if k in self._pieces and t_ns - self._pieces[k].t_last_ns < UPDATED_EVERY_NS
        ]
        return Updated(
            t_ns=t_ns,
            global_id=person.global_id,
            sightings=tuple(p.last_sighting() for p in now),
            tracks=tuple(p.key for p in now),
        )

    # ---- revision --------------------------------------------------------------------------------------------

    def _look_again(self, t_ns: int) -> list[Event]:
        """Begin a revision when one is due; go on with the one under way as far as the time since the last step
        allows."""
        events: list[Event] = []
        self._pace.begin_step()
        if self._is_due(t_ns):
            events += self._finish(t_ns)
            events += self._begin(t_ns)
        self._pace.earn()
        self._table.look_ahead(self.appearance)
        while self._due and self._pace.has_time:
            events += self._go_on(t_ns)
        return events

    def _is_due(self, t_ns: int) -> bool:
        return (t_ns - self._t_revised_ns) / 1e9 >= self.settings.revise_every_s

    def _begin(self, t_ns: int, *, is_last: bool = False) -> list[Event]:
        """Group the recent tracklets anew; first, those that went over to somebody else are cut."""
        self._pace.restart(min((t_ns - self._t_revised_ns) / 1e9, self.settings.revise_every_s))
        self._t_revised_ns = t_ns
        self._due = list(DUE)
        floor = self._company.floor
        if floor is not None and is_last:
            floor.close()
        events: list[Event] = []
        if is_last:
            self._line_up(t_ns)
            events += self._ask_looks(t_ns)
        events += self._cut_tracklets(t_ns) + self._settle_on_floor(t_ns, everybody=is_last)
        columns = self._table.at(self._recent(t_ns), self.appearance)
        keys = [p.key for p in columns.pieces]
        if len(keys) < 2:
            return events
        conflict = self._company.are_two(keys)
        people = self._respect_operators(keys, conflict)
        known = Known(
            t_ns=t_ns,
            columns=columns._replace(rows=np.arange(len(keys))),
            said=columns.owner.tolist(),
            conflict=conflict,
            people=people,
            on_floor=None if floor is None else floor.groups(keys, conflict, people),
            new_share=self._newcomers.share,
            is_taught=np.array([k in self._taught for k in keys], bool),
            settings=self.settings,
            threshold=self._threshold(),
            appearance=replace(self.appearance),
            company=self._company.still(columns.rows),
            site_model=self.site_model,
            overlaps=self._overlaps_now,
            is_last=is_last,
        )
        self._shown = columns.pieces
        for piece in self._shown:
            piece.is_shown = True
        self._revision = Job(revising(known))
        self._pace.spend(BEGIN_WORK * len(keys) ** 2)
        return events

    def _cut_tracklets(self, t_ns: int) -> list[Event]:
        """Tracklets that all cameras' feet say went over to somebody else are another one from then on."""
        floor, events = self._company.floor, list[Event]()
        if floor is None:
            return events
        whole: dict[TrackKey, TrackKey] = {}  # of parts that are none
        for first, later in floor.parted():
            key = whole.get(first, first)
            piece = self._pieces.get(key)
            parts = None if piece is None or key not in self._owner else piece.cut(later)
            if parts is None or self._rulings.speak_of(key):
                whole[later] = self._held(key)
                floor.take_back(whole[later], later)
                continue
            events.append(self._cut(*parts, t_ns))
        return events

    def _line_up(self, t_ns: int) -> None:
        """Whom looks are to be asked about next; those long unseen are as they were."""
        since_ns, asked_ns = t_ns - int(MAY_HOP_S * 1e9), self._t_revised_ns - int(ASKED_BEFORE_S * 1e9)
        due: list[tuple[int, TrackKey]] = []
        for key, piece in self._pieces.items() if self._company.floor is None else ():
            if piece.glimpses and piece.t_last_ns < since_ns:
                self._to_change(piece).glimpses = []
            elif piece.glimpses and piece.t_asked_ns <= asked_ns and key in self._owner:
                due.append((piece.t_asked_ns, key))
        self._to_ask = [key for _, key in sorted(due)]

    def _ask_looks(self, t_ns: int, most: int | None = None) -> list[Event]:
        """Tracklets that looks say went over to somebody else are another one from then on.

        Args:
            most: tracklets to ask about at most; None: all that are lined up.
        """
        asked: dict[TrackKey, Places] = {}
        for n, key in enumerate(self._to_ask):
            if most is not None and (n == most or len(asked) == MOST_WEIGHED):
                self._to_ask = self._to_ask[n:]
                break
            self._pace.spend(ASK_WORK)
            if key not in self._owner:  # it has been let go since
                continue
            piece = self._to_change(self._pieces[key])
            piece.t_asked_ns = t_ns
            found = None if self._rulings.speak_of(key) else places(piece, self.appearance)
            if found is not None:
                asked[key] = found
        else:
            self._to_ask = []
        events: list[Event] = []
        if asked:
            columns = self._table.at(self._recent(t_ns), self.appearance)
            self._pace.spend(HOPS_WORK * len(columns.rows) * (1 + len(asked)))
            for hop in hops(columns, asked, self._company, self.appearance):
                later = msgspec.structs.replace(hop.piece.key, since_ns=hop.since_ns)
                parts = self._pieces[hop.piece.key].cut(later)
                if parts is not None:
                    events.append(self._cut(*parts, t_ns, hop.log_odds))
        return events

    def _settle_on_floor(self, t_ns: int, *, everybody: bool) -> list[Event]:
        """Tracklets of which the floor tracker is sure by now go to whoever they were on: a revision looks at the last
        ones of a crowd only."""
        floor, events = self._company.floor, list[Event]()
        if floor is None:
            return events
        until_ns = t_ns - (0 if everybody else int(MAY_BE_CUT_S * 1e9))
        due = [p.key for p in self._table.by_age() if not p.is_settled and p.t_last_ns <= until_ns]
        due = [key for key in due if key in self._owner]
        if not due:
            return events
        on = floor.mainly_on(list(self._pieces))
        self._floor_names.forget_before(t_ns, self._people)
        known = self._floor_names.votes(
            (on[key], self._owner[key], self._pieces[key].boxes_seen) for key in sorted(on)
        )
        for key in due:
            piece = self._to_change(self._pieces[key])
            piece.is_settled, piece.trail = True, []
            if key not in on:
                continue
            of, source, boxes = known[on[key]], self._owner[key], piece.boxes_seen
            of.setdefault(source, 0)  # it may have gone along with another
            target = max((g for g in of if g in self._people), key=lambda g: (of[g], -g))
            if target != source and self._may_go_to(key, target):
                of[source] -= boxes
                of[target] += boxes
                events.append(self._move(source, target, (key,), None, t_ns))
            if self._owner[key] == target:
                self._floor_names.note(on[key], target, of[target], t_ns)
        return events

    def _trail_s(self) -> float:
        """For how long a tracklet can be cut: the floor tracker is asked when a revision begins."""
        return MAY_BE_CUT_S + 2 * self.settings.revise_every_s

    def _may_go_to(self, key: TrackKey, target: int) -> bool:
        """Whether nothing that cameras saw or operators said speaks against it. Who is remembered is recalled."""
        if self._rulings.speak_of(key) or self._owner[key] in self._memory.apart(target):
            return False
        if target in self._memory:
            self._recall(target)
        return not self._company.are_two([key, *self._people[target].keys])[0].any()

    def _cut(self, first: Piece, rest: Piece, t_ns: int, log_odds: float | None = None) -> Split:
        """A piece becomes two, and the later one is somebody new until the revision that follows.

        Args:
            log_odds: that they are two people, where looks say so.
        """
        self._company.cut(first.key, rest.key)
        self._parts.cut(rest.key, first.tracklet.boxes_seen, pictures_of(first.tracklet))
        for piece in (first, rest):
            self._pieces[piece.key] = piece
            self._table.put(self._company.row_of(piece.key), piece)
        source = self._people[self._owner[first.key]]
        self._table.give(self._company.row_of(first.key), source.global_id)
        source.keys.append(rest.key)
        if first.key in self._taught:
            self._taught.add(rest.key)
        other = self._new_person(None, rest.first_sighting())
        evidence = None if log_odds is None else hop_evidence(log_odds, source.global_id)
        event = self._move(source.global_id, other.global_id, (rest.key,), evidence, t_ns)
        other.here = source.here and (t_ns - rest.t_last_ns) / 1e9 <= self.settings.leave_s
        assert isinstance(event, Split)
        return event

    def _go_on(self, t_ns: int) -> list[Event]:
        """The next part of what there is to do."""
        if self._revision is not None:
            part = self._revision.go_on()
            self._pace.spend(part)
            return [] if part else self._say(t_ns)
        match self._due[0]:
            case "look up":
                self._pace.spend(PASS_WORK * (len(self._memory) + len(self._pieces)))
                del self._due[0]
                return self._recognise(t_ns, most=MOST_LOOKED_UP if "look up" in self._due else None)
            case "line up":  # those who have waited longest are asked about whatever else there is to do
                self._line_up(t_ns)
                del self._due[0]
                return self._ask_looks(t_ns, MOST_ASKED_AT_ONCE)
            case "ask":
                events = self._ask_looks(t_ns, MOST_ASKED_AT_ONCE)
                if not self._to_ask:
                    del self._due[0]
                return events
            case _:  # tidy: who leaves is told before anything of them is let go
                events = self._leavers(t_ns, MOST_LEAVE)
                self._pace.spend(LET_GO_WORK * MOST_LET_GO * len(self._pieces))
                if not events and self._forget_old(t_ns, MOST_LET_GO):
                    del self._due[0]
                return events

    def _conclude(self, t_ns: int) -> list[Event]:
        """Do at once what is left of a revision."""
        events: list[Event] = []
        while self._revision is not None:
            events += self._go_on(t_ns)
        return events

    def _finish(self, t_ns: int) -> list[Event]:
        """Do at once what is left of a revision, and what is due after it. Whom there was no time to ask about is lined
        up anew."""
        events: list[Event] = []
        while self._due and self._due[0] != "ask":
            events += self._go_on(t_ns)
        self._due, self._to_ask = [], []
        return events

    def _put_aside(self) -> None:
        """Leave a revision under way, and what it looks at: somebody forgotten may be among it."""
        self._revision, self._shown = None, []

    def _say(self, t_ns: int) -> list[Event]:
        """Take over what a revision has found; move whoever is somebody else, in the open."""
        found = self._revision.result if self._revision is not None else None
        self._revision = None
        if found is None:
            return []
        self._pace.spend(PASS_WORK * (len(self._memory) + len(self._pieces)))
        self.appearance, self.site_model, self._overlaps_now = (
            found.appearance,
            found.site_model,
            found.overlaps_now,
        )
        for (
            seen
        ) in self._shown:  # a revision works out their looks anew; most of those seen since look the same
            if (piece := self._pieces.get(seen.key)) is not None and piece.looks_as(seen):
                piece.own = seen.own
        self._shown = []
        self._taught.update(found.taught)
        self._company.note_sights(found.notes)
        events: list[Event] = []
        new: dict[int, int] = {}  # identities by group
        for move in found.moves:
            target = new.get(move.group) if move.target is None else move.target
            if target is None:
                person = self._new_person(None, self._pieces[move.keys[0]].first_sighting())
                target = new[move.group] = person.global_id
            is_whole = set(self._people[move.source].keys) <= set(move.keys)
            evidence = move.why(MERGED if is_whole else SPLIT)
            events.append(self._move(move.source, target, move.keys, evidence, t_ns))
            for key in move.keys:
                self._to_change(self._pieces[key]).moves += 1
        return events

    def _move(
        self, source: int, target: int, keys: tuple[TrackKey, ...], evidence: Evidence | None, t_ns: int
    ) -> Event:
        """Tracklets go from one identity to another; those that are long past bring nobody back."""
        giver, taker = self._people[source], self._people[target]
        was_here, were_unsure = taker.here, taker.unsure and giver.unsure
        # Whom an operator has joined with them goes along, though it may be too long ago to be looked at again.
        keys += tuple(sorted(self._rulings.bound_to(keys).intersection(giver.keys).difference(keys)))
        for key in keys:
            giver.keys.remove(key)
            self._join(taker, key)
        since_ns = t_ns - int(self.settings.leave_s * 1e9)
        taker.here = was_here or any(self._pieces[key].t_last_ns >= since_ns for key in keys)
        self._redate(taker)
        told = keys + tuple(sorted(held for key in keys for held, _ in self._pieces[key].holds))
        if giver.keys:
            # Where the first sighting goes along too, the earliest of the rest is looked for.
            if any(self._pieces[k].tracklet.t_first_ns == giver.first.t_ns for k in keys):
                giver.first = giver.last
            self._redate(giver)
            self._rulings.leave(keys, giver.keys)
            giver.name = self._rulings.name_of(giver.keys, giver.name)
            taker.name = self._rulings.name_of(taker.keys, taker.name)
            return Split(t_ns=t_ns, global_id=source, to=target, tracks=told, evidence=evidence)
        taker.name = taker.name or giver.name
        taker.here = taker.here or giver.here
        taker.unsure = were_unsure and not taker.here
        taker.has_left, taker.is_known = taker.has_left or giver.has_left, taker.is_known or giver.is_known
        taker.were_seen(giver.spans)
        del self._people[source]
        self._looked_up.pop(source, None)
        self._memory.join(target, source)
        self._floor_names.merge(target, source)
        return Merged(t_ns=t_ns, kept=target, absorbed=source, tracks=told, evidence=evidence)

    def _redate(self, person: Person) -> None:
        pieces = [self._pieces[k] for k in person.keys if k in self._pieces]
        if pieces:
            first = min(pieces, key=lambda p: (p.tracklet.t_first_ns, p.key))
            last = max(pieces, key=lambda p: (p.t_last_ns, p.key))
            person.first = min(person.first, first.first_sighting(), key=lambda s: s.t_ns)
            person.last = last.last_sighting()

    def _respect_operators(self, keys: list[TrackKey], conflict: NDArray[np.bool_]) -> list[set[int]]:
        """Who an operator has parted stays parted, in ``conflict``; who was joined, as rows of ``keys``, is returned.

        Where one camera has come to see people at once whom an operator joined before, that word is void.
        """
        row = {k: i for i, k in enumerate(keys)}
        looked_at: dict[int, list[TrackKey]] = {}
        for k in keys:
            looked_at.setdefault(self._owner[k], []).append(k)

        def rows(key: TrackKey) -> tuple[int, ...]:
            """Whoever is not looked at again is spoken for by the whole identity."""
            return (row[key],) if key in row else tuple(row[k] for k in looked_at.get(self._owner[key], ()))

        for these, those in {(rows(a), rows(b)) for a, b in self._rulings.parted()}:
            for i, j in itertools.product(these, those):
                conflict[i, j] = conflict[j, i] = True

        def is_possible(person: Collection[TrackKey]) -> bool:
            here = [row[k] for k in person if k in row]
            return not conflict[np.ix_(here, here)].any()

        people = []
        for person in self._rulings.people(is_possible):
            here = [row[k] for k in person if k in row]
            for key in sorted(person.difference(row)):  # and here by whoever of it is most like them
                like = self._most_alike(self._pieces[key], looked_at.get(self._owner[key], []))[:1]
                here += [row[k] for k in like if not conflict[row[k], here].any()]
            others = np.any(conflict[here], axis=0)  # whoever is not one of them is none of them
            conflict[here] |= others
            conflict[:, here] |= others[:, None]
            people.append(set(here))
        return people

    # ---- time ------------------------------------------------------------------------------------------------

    def _advance(self, message: Advance) -> list[Event]:
        events: list[Event] = []
        is_end = message.final and message.t_ns > self._ended_ns  # told twice, it is as if told once
        if is_end:
            self._ended_ns = message.t_ns
            events += self._conclude(message.t_ns)
            events += self._begin(message.t_ns, is_last=True)
            self._due.clear()
            events += self._conclude(message.t_ns)
            events += self._recognise(message.t_ns, everybody=True)
        elif self._is_due(message.t_ns):  # cameras that are silent must not keep it from being told
            events += self._finish(message.t_ns)
        events += self._leavers(message.t_ns, everybody=message.final, is_end=is_end)
        if not message.final and self._revision is None:
            self._forget_old(message.t_ns)
        return events

    def _leavers(
        self, t_ns: int, most: int | None = None, *, everybody: bool = False, is_end: bool = False
    ) -> list[Event]:
        """Who has not been seen for the patience, or ``everybody``, leaves; at most so many, the longest unseen first.

        Args:
            is_end: of a recording: all is known that can be, and it is told of whom more is known than when they left.
        """
        unseen_ns = t_ns - int(self.settings.leave_s * 1e9)
        gone = [p for p in self._present() if p.here and (everybody or p.last.t_ns < unseen_ns)]
        gone = sorted(gone, key=lambda p: (p.last.t_ns, p.global_id))[:most]
        past = self._past(gone) if is_end else []
        if not gone and not past:
            return []
        why = self._why_new([*gone, *past])
        told: list[Event] = []
        for person, evidence in zip([*gone, *past], why, strict=True):
            is_unsure = evidence is not None and evidence.probability < 1 - self.settings.false_merge_rate
            if person.here:
                person.here = False
                if evidence is not None:
                    first = 0.0 if person.has_left else evidence.probability
                    self._visits.count(first, 1 - first)
                person.has_left = True
            elif evidence is None or is_unsure == person.unsure:
                continue
            person.unsure = is_unsure
            if person.global_id in self._memory:
                kept = Remembered.from_bytes(self._memory.told(person.global_id))
                self._memory.tell(person.global_id, kept.with_person(person).to_bytes())
            told.append(
                Left(
                    t_ns=t_ns,
                    global_id=person.global_id,
                    last=person.last,
                    unsure=is_unsure,
                    evidence=evidence,
                )
            )
        return told

    def _past(self, gone: Sequence[Person]) -> list[Person]:
        """Who left before, and is here no more; of many, those seen last."""
        now = {p.global_id for p in gone}
        ids = [p.global_id for p in self._present()] + self._memory.last_seen(MOST_ASKED)
        return [self._people[g] for g in ids if g not in now]

    def _why_new(self, people: Sequence[Person]) -> list[Evidence | None]:
        """How likely each is none of those who are known better; None where there are no looks to tell by, or an
        operator has said who they are."""
        asked = {p.global_id: self._asked(p) for p in people if self.model_hash and not self._is_told(p)}
        some = [one for one in asked.values() if one.pictures]
        if not some:
            return [None] * len(people)
        apart = [self._apart(self._people[one.global_id]) for one in some]
        self._pace.spend(PASS_WORK * (len(self._memory) + len(self._pieces)) * len(some))
        of = [
            known_better(some, known, self.appearance, apart, self._times_of)
            for known in (self._table.people(self.appearance), self._memory.people())
        ]
        share, others = self._visits.share, max(len(self._people) - 1, 1)
        found: dict[int, Evidence] = {}
        for one, rivals in zip(some, zip(*of, strict=True), strict=True):
            odds = sum(part.odds for part in rivals)
            every = share / (1 - share) * others + odds
            likeliest = max(rivals, key=lambda part: part.odds_of_likeliest)
            second = likeliest.odds_of_likeliest / every
            found[one.global_id] = Evidence(
                probability=1 - odds / every,
                runner_up=likeliest.likeliest if second else None,
                runner_up_probability=second or None,
            )
        return [found.get(p.global_id) for p in people]

    def _is_told(self, person: Person) -> bool:
        return person.is_known or bool(person.name) or any(self._rulings.speak_of(k) for k in person.keys)

    def _apart(self, person: Person) -> frozenset[int]:
        """Who somebody is not: one camera saw both at once, or an operator says so."""
        found = set(self._memory.apart(person.global_id))
        for key in person.keys:
            found.update(self._table.owners_of(self._company.others_than(key)))
        return frozenset(found - {person.global_id})

    def _present(self) -> list[Person]:
        """Everybody who is not only remembered, by identity."""
        return [self._people[g] for g in sorted(set(self._owner.values()))]

    def _forget_old(self, t_ns: int, most: int | None = None) -> bool:
        """What is looked at again is bounded by age and by count, and so is who is remembered.

        Args:
            most: tracklets to let go at most; None: all.

        Returns:
            Whether that was all.
        """
        s = self.settings
        horizon_ns = t_ns - int(max(s.max_gap_s, s.revise_s) * 1e9)
        for n, piece in enumerate(self._outlived(t_ns, horizon_ns)):
            if n == most:
                return False
            self._let_go(self._pieces[piece.key])  # it may have been replaced by a copy
        for piece in self._pieces.values():
            stale = [n for n, (_, ended_ns) in enumerate(piece.holds) if ended_ns < horizon_ns]
            for n in reversed(stale):
                del self._held_by[piece.holds.pop(n)[0]]
        self._parts.forget_before(horizon_ns, t_ns, (self._pieces, self._held_by))
        over = max(0, len(self._people) - s.max_identities)
        stale_ns = t_ns - int(s.remember_s * 1e9)
        for g in self._memory.longest_unseen(over, stale_ns):
            self._drop(g)
        if len(self._people) > s.max_identities:
            present = sorted(self._present(), key=lambda p: (p.last.t_ns, p.global_id))
            for person in present[: len(self._people) - s.max_identities]:
                self._drop(person.global_id)
        return True

    def _outlived(self, t_ns: int, horizon_ns: int) -> Iterator[Piece]:
        """Tracklets that are not to be looked at again, as long as each is let go before the next one is asked for."""
        by_age = self._table.by_age()
        for piece in by_age:
            if max(piece.t_last_ns, piece.t_recalled_ns) < horizon_ns:
                yield piece
        settled_ns = t_ns - int(max(SETTLED_S, self.settings.leave_s) * 1e9)
        if self._company.floor is not None:  # what it is not sure of yet is not let go
            by_age = [piece for piece in by_age if piece.is_settled]
        for piece in by_age:  # of too many, first those that go on as others, then the longest unseen
            if len(self._pieces) <= MOST_PIECES:
                return
            if piece.t_last_ns < settled_ns and piece.key in self._taught and self._later(piece):
                yield piece
        for piece in by_age:
            if len(self._pieces) <= MOST_PIECES:
                return
            if piece.t_last_ns < settled_ns and piece.key in self._pieces:
                yield piece

    def _later(self, piece: Piece) -> Piece | None:
        """Of the tracklets that its person was seen as later, that most like it; None if it is the last."""
        owner = self._owner.get(piece.key)
        keys = [] if owner is None else self._people[owner].keys
        after = [k for k in keys if (self._pieces[k].t_last_ns, k) > (piece.t_last_ns, piece.key)]
        return self._pieces[self._most_alike(piece, after)[0]] if after else None

    def _let_go(self, piece: Piece) -> None:
        """A tracklet is looked at no more: it is joined for good to the next of its person, or another where there is
        none, or they are remembered."""
        key, later = piece.key, self._later(piece)
        owner = self._owner.get(key)
        if owner is not None and later is None:  # others may have been recalled since
            others = [k for k in self._people[owner].keys if k != key]
            later = self._pieces[self._most_alike(piece, others)[0]] if others else None
        if owner is None:
            self._drop_piece(key, stays_on_floor=True)
        elif later is None:
            self._remember(self._people[owner], piece)
        else:
            looks, pictures = own_looks([piece], self.appearance)
            later = self._to_change(later)
            later.hold(piece, looks[0], float(pictures[0]))
            self._table.put(self._company.row_of(later.key), later)
            self._table.drop(self._company.row_of(key))
            self._people[owner].were_seen([(piece.tracklet.t_first_ns, piece.t_last_ns)])
            self._company.join(later.key, key)
            for held, _ in piece.holds:
                self._held_by[held] = later.key
            self._people[owner].keys.remove(key)
            self._rulings.forget(key, self._most_alike(piece, self._people[owner].keys))
            self._taught.discard(key)
            self._parts.let_go(key)
            del self._pieces[key], self._owner[key]
            self._held_by[key] = later.key

    def _remember(self, person: Person, piece: Piece) -> None:
        """Somebody long unseen is kept as one look, with whom they are not."""
        g = person.global_id
        self._memory.part(g, self._table.owners_of(self._company.others_than(piece.key)))
        parted = [pair for pair in self._rulings.parted() if piece.key in pair]
        self._memory.part(g, sorted({self._owner[k] for pair in parted for k in pair}), certain=True)
        if not piece.t_recalled_ns:
            person.were_seen([(piece.tracklet.t_first_ns, piece.t_last_ns)])
        last_ns = max(piece.t_last_ns, person.last.t_ns)
        looks, pictures = own_looks([piece], self.appearance)
        seen = float(pictures[0])
        self._memory.put(
            g, looks[0] if seen else None, seen, last_ns, Remembered.begin(person, piece).to_bytes()
        )
        self._looked_up.pop(g, None)
        self._put_away.append(g)
        self._drop_piece(piece.key, stays_on_floor=True)

    def _recall(self, global_id: int, to: int | None = None) -> None:
        """Somebody who was only remembered is looked at again, ``to`` become one with somebody."""
        told, looks, pictures = self._memory.take(global_id)
        piece = Piece.from_state(Remembered.from_bytes(told).piece)
        if looks is not None:
            piece.look_like(looks, pictures)
        piece.t_recalled_ns = self._t_ns
        person = self._people[global_id]
        self._pieces[piece.key] = piece
        self._company.add(piece.key)
        self._table.put(self._company.row_of(piece.key), piece)
        self._taught.add(piece.key)
        self._owner[piece.key] = global_id
        self._table.give(self._company.row_of(piece.key), global_id)
        person.keys.append(piece.key)
        for other in sorted(self._memory.apart(global_id) - {to}):
            for key in self._people[other].keys if other in self._people else ():
                self._company.part(piece.key, key)
        if person.name:
            self._rulings.name(person.keys, person.name)

    def _drop(self, global_id: int) -> None:
        for key in list(self._people[global_id].keys):
            self._drop_piece(key)
        del self._people[global_id]
        self._memory.forget(global_id)
        self._floor_names.forget(global_id)
        self._looked_up.pop(global_id, None)

    def _drop_piece(self, key: TrackKey, *, stays_on_floor: bool = False) -> None:
        self._taught.discard(key)
        self._fresh.pop(key, None)
        piece = self._pieces.pop(key, None)
        owner = self._owner.pop(key, None)
        person = None if owner is None else self._people.get(owner)
        heirs: list[TrackKey] = []
        if piece is not None:
            self._table.drop(self._company.row_of(key))
            for held, _ in piece.holds:
                self._held_by.pop(held, None)
        if person is not None and key in person.keys:
            person.keys.remove(key)
            heirs = [] if piece is None else self._most_alike(piece, person.keys)
        self._rulings.forget(key, heirs)
        self._parts.let_go(key)
        if not stays_on_floor:
            self._parts.forget(key, ended=piece is None or piece.tracklet.ended)
            for held, _ in () if piece is None else piece.holds:
                self._parts.forget(held, ended=True)
        self._company.forget(key, stays_on_floor=stays_on_floor)

    # ---- who comes back after long ---------------------------------------------------------------------------

    def _recognise(self, t_ns: int, *, everybody: bool = False, most: int | None = None) -> list[Event]:
        """Whoever is seen well enough, and better than before, is looked up among those long unseen; and these
        once more among each other when they go. In the end, ``everybody``, of many those seen last.

        Args:
            most: people to ask about at most; None: all.
        """
        people = (self._present() if everybody else self._seen_better())[:most]
        asked = [a for p in people if (a := self._asked(p)).pictures >= KNOWN_PICTURES]
        until = None if most is None else most - len(people)
        gone = [g for g in self._put_away[:until] if g in self._memory]
        if everybody:
            gone = self._memory.last_seen(MOST_ASKED)
        del self._put_away[:until]
        looks, pictures = self._memory.looks(gone)
        known = self._everybody(asked, t_ns) if everybody and asked else self._memory
        asked += [Asked(g, row, n) for g, row, n in zip(gone, looks, pictures) if n >= KNOWN_PICTURES]
        self._looked_up |= {a.global_id: a.pictures for a in asked if a.global_id not in self._memory}
        if not asked or not len(known):
            return []
        rate = self.settings.false_merge_rate
        events: list[Event] = []
        for one in recognised(asked, known, self.appearance, self._times_of, rate):
            gap_s = shortest_gap_s(self._times_of(one.asked), self._times_of(one.known))
            for g, to in ((one.asked, one.known), (one.known, one.asked)):
                if g in self._memory:
                    self._recall(g, to)
            source, target = self._people[one.asked], self._people[one.known]
            if (source.first.t_ns, source.global_id) < (target.first.t_ns, target.global_id):
                source, target = target, source
            evidence = Evidence(
                probability=float(1 / (1 + np.exp(-one.log_odds))),
                distance=round(one.distance, 4),
                gap_s=gap_s,
                cues={"appearance": round(one.likeness, 3)},
            )
            events.append(self._move(source.global_id, target.global_id, tuple(source.keys), evidence, t_ns))
            self._looked_up[target.global_id] = self._asked(target).pictures
        return events

    def _everybody(self, here: Sequence[Asked], t_ns: int) -> Memory:
        """Who is remembered, and who is here as if they were."""
        known = self._memory.copy()
        for one in here:
            person = self._people[one.global_id]
            known.put(one.global_id, one.looks, one.pictures, person.last.t_ns, b"")
            known.part(one.global_id, self._apart(person))
        # What tracklets hold that are joined to others for good may have been somebody else. Of themselves it is sure
        # who was at once in one camera, and of those within reach of one another, who would have had to fly.
        columns = self._table.at(self._table.rows(), self.appearance)
        first, last = columns.first_ns, columns.last_ns
        at_once = (first[:, None] <= last) & (first <= last[:, None]) & self._company.are_two_of(columns.rows)
        at_once &= columns.camera[:, None] == columns.camera
        for i, j in np.argwhere(np.triu(at_once)):
            known.part(int(columns.owner[i]), [int(columns.owner[j])], certain=True)
        columns = self._table.at(self._recent(t_ns), self.appearance)
        known_now = self.settings, self.appearance, self._company, self.site_model, self._overlaps_now
        scores = score_pieces(columns, *known_now, t_ns)
        ids, owner = np.unique(columns.owner, return_inverse=True)
        for g, h in itertools.combinations(range(len(ids)), 2):
            block = np.ix_(owner == g, owner == h)
            nearest = np.unravel_index(int(scores.gap_s[block].argmin()), scores.gap_s[block].shape)
            if not scores.met[block].any() and scores.link[block][nearest] < TOO_FAR_LLR:
                known.part(int(ids[g]), [int(ids[h])], certain=True)
        for a, b in self._rulings.parted():
            if a in self._owner and b in self._owner:
                known.part(self._owner[a], [self._owner[b]], certain=True)
        return known

    def _asked(self, person: Person) -> Asked:
        if person.global_id in self._memory:
            rows, seen = self._memory.looks([person.global_id])
            return Asked(person.global_id, rows[0], float(seen[0]))
        looks, pictures = own_looks([self._pieces[k] for k in sorted(person.keys)], self.appearance)
        return Asked(person.global_id, unit(pictures @ looks), float(pictures.sum()))

    def _times_of(self, global_id: int) -> list[tuple[int, int]]:
        """When somebody was seen."""
        person = self._people[global_id]
        if not person.keys:
            return person.spans
        now = [(p.tracklet.t_first_ns, p.t_last_ns) for p in (self._pieces[k] for k in person.keys)]
        return united([*person.spans, *now])

    def _seen_better(self) -> list[Person]:
        """Who is seen well enough to be looked up, and better than when that was done last."""
        ids, seen = self._table.pictures()
        known = np.array([self._looked_up.get(g, 0.0) for g in ids.tolist()])
        is_better = seen >= np.maximum(KNOWN_PICTURES, GROWN * known)
        return [self._people[g] for g in ids[is_better].tolist()]

    def _most_alike(self, piece: Piece, keys: list[TrackKey]) -> list[TrackKey]:
        """Tracklets in the order in which they could stand for another: by looks, then by age."""
        far = {k: piece.distance(self._pieces[k]) for k in keys}
        return sorted(
            keys, key=lambda k: (np.nan_to_num(far[k], nan=np.inf), self._pieces[k].tracklet.t_first_ns, k)
        )

    # ---- cameras and operators -------------------------------------------------------------------------------

    def _camera(self, status: CameraStatus) -> list[Event]:
        before = self._cameras.get(status.camera_id)
        if status.state in ("stalled", "gone"):
            self._cameras[status.camera_id] = "lost"
            if before == "lost":
                return []
            return [CameraLost(t_ns=status.t_ns, camera_id=status.camera_id, reason=status.reason)]
        self._cameras[status.camera_id] = status.state
        if status.state == "up" and before == "lost":
            return [CameraBack(t_ns=status.t_ns, camera_id=status.camera_id)]
        return []

    def _obey(self, command: Command) -> list[Event]:
        """What an operator says; nothing where there is an objection to it."""
        if self.objection(command):
            return []
        self._put_aside()  # it knows nothing of this yet, and what it would do could make the command void
        events = self._do(command)
        if command.verb != "forget":
            events += self._know(
                {*command.global_ids, *(event.to for event in events if isinstance(event, Split))},
                command.t_ns,
            )
        return events

    def _know(self, ids: Collection[int], t_ns: int) -> list[Event]:
        """An operator has said who these are: nobody is unsure of them any more."""
        people = [self._people[g] for g in sorted(ids) if g in self._people]
        unsure = [p for p in people if p.unsure]
        for person in people:
            person.is_known, person.unsure = True, False
        return [Left(t_ns=t_ns, global_id=p.global_id, last=p.last) for p in unsure]

    def _do(self, command: Command) -> list[Event]:
        ids = [g for g in dict.fromkeys(command.global_ids) if g in self._people]
        if command.verb in ("merge", "name"):
            for g in ids:
                if g in self._memory:
                    self._recall(g)
        person, keys = self._people[ids[0]], tuple(dict.fromkeys(command.track_keys))
        match command.verb:
            case "merge":
                self._rulings.join([self._people[g].keys for g in ids])
                return [
                    self._move(g, ids[0], tuple(self._people[g].keys), None, command.t_ns) for g in ids[1:]
                ]
            case "split":
                self._rulings.part(keys, [k for k in person.keys if k not in keys])
                other = self._new_person(None, self._pieces[keys[0]].first_sighting())
                return [self._move(ids[0], other.global_id, keys, None, command.t_ns)]
            case "name":
                person.name = command.name
                self._rulings.name(person.keys, command.name)
            case "forget":
                for g in ids:
                    self._drop(g)
        return []

    def objection(self, command: Command) -> str:
        """Why an operator's command cannot be obeyed, as a sentence without a full stop; "" where it can."""
        ids = list(dict.fromkeys(command.global_ids))
        unknown = [g for g in ids if g not in self._people]
        if command.verb == "forget" and len(unknown) < len(ids):
            return ""  # the others are forgotten already
        if unknown:
            return f"no identity {' or '.join(map(str, unknown))} is known now"
        if command.verb == "merge":
            return self._seen_at_once(ids) if len(ids) > 1 else "to merge takes two identities"
        if len(ids) != 1:
            return f"to {command.verb} takes one identity"
        person = self._people[ids[0]]
        if command.verb == "split":
            if others := [str(k) for k in command.track_keys if k not in person.keys]:
                return f"{', '.join(others)}: no tracklet of {ids[0]}"
            if not command.track_keys:
                return "to split takes the tracklets that are somebody else"
            if set(command.track_keys) >= set(person.keys):
                return f"nothing would be left of {ids[0]}"
        if command.verb == "name" and not (command.name.isprintable() and len(command.name) <= NAME_LENGTH):
            return f"a name is one line of at most {NAME_LENGTH} characters"
        return ""

    def _seen_at_once(self, ids: list[int]) -> str:
        """Why these identities are not one person: for what the next revision would part them."""
        for g, h in itertools.combinations(ids, 2):
            if h in self._memory.apart(g):
                return f"{g} and {h} cannot be one: one camera saw both at once"
        pieces = [self._pieces[k] for g in ids for k in sorted(self._people[g].keys)]
        for i, j in np.argwhere(np.triu(self._company.are_two([p.key for p in pieces]))):
            p, q = pieces[i], pieces[j]
            g, h = self._owner[p.key], self._owner[q.key]
            if g != h:
                seconds = f"{self._company.seconds(p.key, q.key):.1f} s"
                return f"{g} and {h} cannot be one: {p.key.camera_id} saw {p.key} and {q.key} at once for {seconds}"
        return ""

    # ---- helpers ---------------------------------------------------------------------------------------------

    def _threshold(self) -> float:
        """The log-odds from which joining is right."""
        # Of few joins each must be sure enough by itself for the wanted share of wrong ones.
        probability = max(LEAST_PROBABILITY, 1 - self.settings.false_merge_rate * (1 + CREDIT))
        return float(np.log(probability / (1 - probability)))

    def _recent(self, t_ns: int) -> NDArray[np.intp]:
        """Rows of the tracklets whose identity is still looked at; older ones keep what was said last."""
        fresh = {self._company.row_of(k) for k in self._fresh}
        rows, seen_ns = self._table.recent(t_ns - int(self.settings.revise_s * 1e9), fresh)
        return rows[np.sort(np.argsort(-seen_ns, kind="stable")[:MOST_PIECES])]

    def _to_change(self, piece: Piece) -> Piece:
        """A piece to be changed: where a revision looks at it, a copy that takes its place."""
        if piece.is_shown:
            piece = self._pieces[piece.key] = piece.copy()
            self._table.replace(self._company.row_of(piece.key), piece)
        return piece

    def _new_person(self, key: TrackKey | None, sighting: Sighting) -> Person:
        person = Person(global_id_of(self.site, self._next), [], sighting, sighting)
        self._next += 1
        self._people[person.global_id] = person
        if key is not None:
            self._join(person, key)
        return person

    def _join(self, person: Person, key: TrackKey) -> None:
        person.keys.append(key)
        person.here, person.unsure = True, False
        self._owner[key] = person.global_id
        self._table.give(self._company.row_of(key), person.global_id)
        self._fresh.pop(key, None)

    # ---- checkpoint ------------------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """Everything needed to go on with the same identities."""
        state: dict[str, Any] = {
            "next": self._next,
            "learned": self.appearance.to_state(),
            "newcomers": [self._newcomers.new, self._newcomers.known],
            "visits": [self._visits.new, self._visits.known],
            "t_revised_ns": self._t_revised_ns,
            "ended_ns": self._ended_ns,
            "cameras": self._cameras,
            "site": self.site_model.to_file_text(),
            "overlaps_now": overlaps_state(self._overlaps_now),
            "revision": self._revision_state(),
            "work": [*self._pace.to_state(), self._due],
            "ask": [msgspec.to_builtins(k) for k in self._to_ask],
            "taught": [msgspec.to_builtins(k) for k in sorted(self._taught)],
            "pieces": [p.to_state() for _, p in sorted(self._pieces.items())],
            "people": [p.to_state() for p in self._present()],
            "memory": self._memory.to_state(),
            "put_away": self._put_away,
            "looked_up": sorted(self._looked_up.items()),
            "company": self._company.to_state(),
            "hopeful": [
                [msgspec.to_builtins(k), seen_state(seen)] for k, seen in sorted(self._hopeful.items())
            ],
            "parts": self._parts.to_state(),
            "floor_names": self._floor_names.to_state(),
            "rulings": self._rulings.to_state(),
        }
        return Checkpoint(
            schema_version=STATE_VERSION,
            t_ns=self._t_ns,
            model_hash=self.model_hash,
            state=msgspec.msgpack.encode(state),
        )

    def _revision_state(self) -> dict[str, Any] | None:
        """A revision under way is done, but told when it would have been."""
        if self._revision is None:
            return None
        parts, found = self._revision.ahead()
        return {"parts": parts, "found": found.to_state()}

    def start_after(self, global_id: int) -> None:
        """Never give out this identity or a smaller one of this site: an earlier life has used them."""
        if global_id >> 48 == self.site:
            self._next = max(self._next, (global_id & ((1 << 48) - 1)) + 1)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint. Raises ValueError where it is of another version or damaged."""
        if checkpoint.schema_version != STATE_VERSION:
            raise ValueError(f"checkpoint of version {checkpoint.schema_version}, expected {STATE_VERSION}")
        try:
            state = msgspec.msgpack.decode(checkpoint.state)
            pieces = [Piece.from_state(p) for p in state["pieces"]]
            memory = Memory.from_state(state["memory"])
            told = [Remembered.from_bytes(memory.told(int(g))).person for g in memory.ids()]
            people = [Person.from_state(p) for p in [*state["people"], *told]]
            newcomers, visits = (
                Newcomers(*map(float, state.get(name, ()))) for name in ("newcomers", "visits")
            )
            put_away = [int(g) for g in state["put_away"]]
            looked_up = {int(g): float(pictures) for g, pictures in state["looked_up"]}
            site_model = SiteModel.from_text(state["site"])
            now = with_overlaps(site_model, state["overlaps_now"])
            *work, told_due = state["work"]
            pace, due = Pace(*map(int, work)), [str(name) for name in told_due]
            if unknown := sorted(set(due).difference(DUE)):
                raise ValueError(f"nobody knows how to {unknown[0]}")
            to_ask = [msgspec.convert(k, TrackKey) for k in state.get("ask", ())]
            under_way = None
            if state["revision"] is not None:
                found = Finding.from_state(state["revision"]["found"], self.appearance)
                under_way = Job(played(state["revision"]["parts"], found))
            known = {msgspec.convert(k, TrackKey) for k in state["taught"]}
            company = Company.from_state(state["company"])
            hopeful = {msgspec.convert(k, TrackKey): seen_of(seen) for k, seen in state["hopeful"]}
            parts = Parts.from_state(state.get("parts", ()))
            floor_names = FloorNames.from_state(state.get("floor_names", ()))
            rulings = Rulings.from_state(state["rulings"])
        except (KeyError, TypeError, ValueError, msgspec.MsgspecError) as error:
            raise ValueError(f"checkpoint is damaged: {error}") from error
        self._next, self._t_ns, self._ended_ns = state["next"], checkpoint.t_ns, state["ended_ns"]
        self.appearance.take_state(state["learned"])
        self._t_revised_ns, self._cameras = state["t_revised_ns"], state["cameras"]
        self.model_hash = checkpoint.model_hash
        if self.model_hash:  # of a version that knew no floor
            company.leave_floor()
        self._pieces = {p.key: p for p in pieces}
        self._people = {p.global_id: p for p in people}
        self._owner = {k: p.global_id for p in people for k in p.keys}
        self._fresh = {p.key: None for p in pieces if p.key not in self._owner}
        self._held_by = {held: p.key for p in pieces for held, _ in p.holds}
        self._newcomers, self._visits = newcomers, visits
        self._memory, self._put_away, self._looked_up = memory, put_away, looked_up
        self._company, self._hopeful = company, hopeful
        self._table = Table()
        for piece in pieces:
            row = company.row_of(piece.key)
            self._table.put(row, piece)
            self._table.give(row, self._owner.get(piece.key, -1))
        self.site_model, self._taught = site_model, known
        self._overlaps_now, self._revision = now, under_way
        self._pace, self._due, self._to_ask = pace, due, to_ask
        self._rulings, self._parts, self._floor_names = rulings, parts, floor_names


def sightings_of(camera_id: str, t_ns: int, tracks: Tracks) -> list[Sighting]:
    """Each row of a camera's tracks as a sighting."""
    boxes = tracks.boxes.astype(float).round(1).tolist()
    places = tracks.floor_xy_m.astype(float).round(3).tolist()
    known = [isfinite(x) and isfinite(y) for x, y in places]
    return [
        Sighting(
            camera_id=camera_id, t_ns=t_ns, box=tuple(box), floor_xy_m=tuple(place) if is_known else None
        )
        for box, place, is_known in zip(boxes, places, known, strict=True)
    ]
