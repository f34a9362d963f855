"""Tracklets of all cameras -> identities and events.

A new tracklet gets a provisional identity at once: one Hungarian matching of new tracklets with open identities, with
an explicit "new person" column. Then all decisions of the last minutes are looked at again together, as correlation
clustering over tracklets (Ristani & Tomasi, CVPR 2018, section 4; solved by joining mutually best groups), and where
the better reading differs from what was said, it is said in the open: ``Merged`` or ``Split``.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tracker.config import LinkSettings
from tracker.core.assign import assign_or_new
from tracker.core.company import Company
from tracker.core.cues import score_pieces
from tracker.core.evidence import AppearanceModel
from tracker.core.grouping import CREDIT, KNOWN_PICTURES, Piece, Scores, continued, group, refined
from tracker.core.rulings import Rulings
from tracker.core.topology import SiteModel
from tracker.core.traffic import seen_at_once, taught
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

STATE_VERSION = 3


LEAST_PROBABILITY = 0.6  # that two are one person: below, 'somebody new' is the better answer
UPDATED_EVERY_NS = 1_000_000_000
SETTLED_S = 10.0  # unseen for this long: the site may learn from a tracklet
MOST_PIECES = 400  # looked at in one revision: about half a second of one core; of more, those seen last
NAME_LENGTH = 100  # characters; a name is shown on one line of a list, beside other things


@dataclass
class Person:
    """One identity and what has been said about it."""

    global_id: int
    keys: list[TrackKey]
    first: Sighting
    last: Sighting
    here: bool = True
    name: str = ""
    t_updated_ns: int = 0


_Seen = tuple[
    int, NDArray[np.float32], NDArray[np.float32], float, NDArray[np.float32]
]  # as `Piece.see` is told


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
        self._people: dict[int, Person] = {}
        self._cameras: dict[str, str] = {}
        self._company = Company()
        self.site_model = site_model or SiteModel()
        self._overlaps_now = self.site_model  # with who is seen at once right now
        self._taught: set[TrackKey] = set()  # tracklets that the site model has learned from
        self._rulings = Rulings()
        self._hopeful: dict[TrackKey, list[_Seen]] = {}  # tentative tracks: where they were
        self._next = 1
        self._t_ns = 0
        self._t_revised_ns = 0

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
        """The identity that a tracklet belongs to now; None while it is not confirmed."""
        return self._owner.get(key)

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
        self._watch(update)
        fresh = [p.key for p in self._pieces.values() if p.key not in self._owner]
        events += self._welcome(fresh, update)
        events += self._report(update)
        if (update.t_ns - self._t_revised_ns) / 1e9 >= self.settings.revise_every_s:
            self._t_revised_ns = update.t_ns
            events += self._revise(update.t_ns)
            events += self._leavers(update.t_ns)
            self._forget_old(update.t_ns)
        return events

    def _learn(self, tracklet: Tracklet) -> None:
        """A tracklet's newest state; older revisions that come late say nothing new."""
        known = self._pieces.get(tracklet.key)
        if known is not None and known.tracklet.revision >= tracklet.revision:
            return
        if tracklet.model_hash and tracklet.model_hash != self.model_hash:
            # Rows of another network cannot be compared: what was known of looks is put aside, in the open.
            if self.model_hash:
                for piece in self._pieces.values():
                    piece.forget_looks()
            self.model_hash = tracklet.model_hash
        if known is None:
            self._pieces[tracklet.key] = piece = Piece(tracklet)
            self._company.add(tracklet.key)
            for seen in self._hopeful.pop(tracklet.key, []):
                piece.see(*seen)
        else:
            known.update(tracklet)

    def _watch(self, update: CameraUpdate) -> None:
        """Where everybody is, and who is seen beside whom in one frame."""
        tracks = update.tracks
        seen = [n for n in range(len(tracks)) if tracks.detections[n] != NO_DETECTION]
        keys = [self._key(update, int(tracks.ids[n])) for n in seen]
        self._give_up(update, keys)
        for n, key in zip(seen, keys, strict=True):
            piece = self._pieces.get(key)
            what = (
                update.t_ns,
                tracks.boxes[n],
                tracks.floor_xy_m[n],
                float(tracks.floor_sigma_m[n]),
                tracks.floor_near_xy_m[n],
            )
            if piece is not None:
                piece.see(*what)
            elif tracks.states[n] == TENTATIVE:
                self._company.add(key)
                self._hopeful.setdefault(key, []).append(what)
        self._company.watch(
            update.camera_id,
            update.t_ns,
            keys,
            tracks.boxes[seen],
            tracks.floor_xy_m[seen],
            tracks.floor_sigma_m[seen],
            tracks.floor_near_xy_m[seen],
        )

    def _give_up(self, update: CameraUpdate, seen: list[TrackKey]) -> None:
        """Tentative tracks of this camera that are gone were nobody."""
        for key in [k for k in self._hopeful if k.camera_id == update.camera_id and k not in seen]:
            del self._hopeful[key]
            self._company.forget(key)

    def _key(self, update: CameraUpdate, number: int) -> TrackKey:
        return TrackKey(camera_id=update.camera_id, run=update.run, number=number)

    def _welcome(self, keys: list[TrackKey], update: CameraUpdate) -> list[Event]:
        """A provisional identity for every new tracklet: known people, or somebody new."""
        events: list[Event] = []
        if not keys:
            return events
        keys = sorted(keys)
        recent = self._recent(update.t_ns)
        scores = score_pieces(
            [self._pieces[k] for k in (*keys, *recent)],
            self.settings,
            self.appearance,
            self._company,
            self.site_model,
            self._overlaps_now,
            update.t_ns,
            of=len(keys),
        )
        open_ids = sorted({self._owner[k] for k in recent})
        place = {g: n for n, g in enumerate(open_ids)}
        owner = np.array([*[-1] * len(keys), *(place[self._owner[k]] for k in recent)], np.intp)
        gain = scores.to_groups(len(keys), owner, len(open_ids))
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
            rows = np.flatnonzero(owner == chosen[i]).tolist()
            evidence = self._evidence(scores, i, rows, gain[i], open_ids)
            events.append(self._handed_over(person, key, sighting, evidence, update.t_ns))
            self._join(person, key)
        return events

    def _handed_over(
        self, person: Person, key: TrackKey, sighting: Sighting, evidence: Evidence, t_ns: int
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
        for n in range(len(tracks)):
            if tracks.states[n] != CONFIRMED or tracks.detections[n] == NO_DETECTION:
                continue
            owner = self._owner.get(self._key(update, int(tracks.ids[n])))
            if owner is None:
                continue
            person = self._people[owner]
            person.last, person.here = sighting_of(update.camera_id, update.t_ns, tracks, n), True
            if update.t_ns - person.t_updated_ns >= UPDATED_EVERY_NS:
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

    def _revise(self, t_ns: int, *, is_last: bool = False) -> list[Event]:
        """Group the recent tracklets anew; say where that differs from what was said."""
        keys = self._recent(t_ns)
        if len(keys) < 2:
            return []
        pieces = [self._pieces[k] for k in keys]
        scores = score_pieces(
            pieces,
            self.settings,
            self.appearance,
            self._company,
            self.site_model,
            self._overlaps_now,
            t_ns,
        )
        self._learn_strangers(pieces, scores)
        people = self._respect_operators(keys, scores)
        said = [self._owner[k] for k in keys]
        groups = united(self._parted(scores, said), people)
        if any(scores.conflict[np.ix_(g, g)].any() for g in groups):
            # Looks would put somebody beside himself: what operators said comes first, and looks go by that.
            for i, j in (pair for person in people for pair in itertools.combinations(sorted(person), 2)):
                scores.force(i, j)
            groups = self._parted(scores, said)
        self._teach(pieces, groups, scores, t_ns, everything=is_last)
        return self._say(keys, groups, scores, t_ns)

    def _parted(self, scores: Scores, said: list[int]) -> list[list[int]]:
        standing = scores.standing()
        found = group(standing, said, self._threshold(), self.settings.false_merge_rate)
        return continued(refined(found, standing), scores, self._threshold())

    def _teach(
        self,
        pieces: list[Piece],
        groups: list[list[int]],
        scores: Scores,
        t_ns: int,
        *,
        everything: bool = False,
    ) -> None:
        """The site learns from each tracklet once, when what was decided of it has settled: never from itself."""
        until_ns = t_ns - (0 if everything else int(SETTLED_S * 1e9))
        counts = np.array([p.t_last_ns <= until_ns and p.key not in self._taught for p in pieces], bool)
        if counts.any():
            self.site_model = taught(self.site_model, pieces, groups, scores, t_ns, counts)
            self._taught |= {p.key for p, fresh in zip(pieces, counts, strict=True) if fresh}
        untaught = np.array([p.key not in self._taught for p in pieces], bool)
        self._overlaps_now = seen_at_once(self.site_model, pieces, groups, scores, untaught)

    def _learn_strangers(self, pieces: list[Piece], scores: Scores) -> None:
        """Who is seen at once in one camera is two people: free negatives."""
        known = np.array([p.pictures >= KNOWN_PICTURES for p in pieces], bool)
        two = scores.conflict & known[:, None] & known
        distance = 1 - scores.looks @ scores.looks.T
        self.appearance.fit([distance[i, two[i]] for i in np.flatnonzero(two.any(axis=1))])

    def _say(self, keys: list[TrackKey], groups: list[list[int]], scores: Scores, t_ns: int) -> list[Event]:
        """Keep every group under the identity that knows most of it; move the rest, in the open."""
        events: list[Event] = []
        claims: list[tuple[int, int, int]] = []  # weight, identity, group
        for n, members in enumerate(groups):
            weight: dict[int, int] = {}
            for m in members:
                owner = self._owner[keys[m]]
                weight[owner] = weight.get(owner, 0) + self._pieces[keys[m]].tracklet.boxes_seen
            claims += [(w, g, n) for g, w in weight.items()]
        name_of: dict[int, int] = {}
        for _, g, n in sorted(claims, key=lambda c: (-c[0], c[1], c[2])):
            if n not in name_of and g not in name_of.values():
                name_of[n] = g
        for n in sorted(
            range(len(groups)),
            key=lambda n: min(self._pieces[keys[m]].tracklet.t_first_ns for m in groups[n]),
        ):
            target = name_of.get(n)
            moved: dict[int, list[int]] = {}
            for m in groups[n]:
                owner = self._owner[keys[m]]
                if owner != target:
                    moved.setdefault(owner, []).append(m)
            for source, members in sorted(moved.items()):
                if target is None:
                    person = self._new_person(None, self._pieces[keys[members[0]]].first_sighting())
                    target = person.global_id
                leaving = tuple(keys[m] for m in members)
                rest = [m for m in groups[n] if m not in members]
                evidence = scores.between(members, rest)
                events.append(self._move(source, target, leaving, evidence, t_ns))
        return events

    def _move(
        self, source: int, target: int, keys: tuple[TrackKey, ...], evidence: Evidence | None, t_ns: int
    ) -> Event:
        giver, taker = self._people[source], self._people[target]
        # Whom an operator has joined with them goes along, though it may be too long ago to be looked at again.
        keys += tuple(sorted(self._rulings.bound_to(keys).intersection(giver.keys).difference(keys)))
        for key in keys:
            giver.keys.remove(key)
            self._join(taker, key)
        self._redate(taker)
        if giver.keys:
            # Where the first sighting goes along too, the earliest of the rest is looked for.
            if any(self._pieces[k].tracklet.t_first_ns == giver.first.t_ns for k in keys):
                giver.first = giver.last
            self._redate(giver)
            self._rulings.leave(keys, giver.keys)
            giver.name = self._rulings.name_of(giver.keys, giver.name)
            taker.name = self._rulings.name_of(taker.keys, taker.name)
            return Split(t_ns=t_ns, global_id=source, to=target, tracks=keys, evidence=evidence)
        taker.name = taker.name or giver.name
        taker.here = taker.here or giver.here
        del self._people[source]
        return Merged(t_ns=t_ns, kept=target, absorbed=source, tracks=keys, evidence=evidence)

    def _redate(self, person: Person) -> None:
        pieces = [self._pieces[k] for k in person.keys if k in self._pieces]
        if pieces:
            first = min(pieces, key=lambda p: (p.tracklet.t_first_ns, p.key))
            last = max(pieces, key=lambda p: (p.t_last_ns, p.key))
            person.first = min(person.first, first.first_sighting(), key=lambda s: s.t_ns)
            person.last = last.last_sighting()

    def _respect_operators(self, keys: list[TrackKey], scores: Scores) -> list[set[int]]:
        """Who an operator has parted stays parted; who was joined, as rows of ``keys``, is returned.

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
                scores.forbid(i, j)

        def is_possible(person: Collection[TrackKey]) -> bool:
            here = [row[k] for k in person if k in row]
            return not scores.conflict[np.ix_(here, here)].any()

        people = []
        for person in self._rulings.people(is_possible):
            here = [row[k] for k in person if k in row]
            for key in sorted(person.difference(row)):  # and here by whoever of it is most like them
                like = self._most_alike(self._pieces[key], looked_at.get(self._owner[key], []))[:1]
                here += [row[k] for k in like if not scores.conflict[row[k], here].any()]
            others = np.any(scores.conflict[here], axis=0)  # whoever is not one of them is none of them
            scores.conflict[here] |= others
            scores.conflict[:, here] |= others[:, None]
            people.append(set(here))
        return people

    # ---- time ------------------------------------------------------------------------------------------------

    def _advance(self, message: Advance) -> list[Event]:
        events: list[Event] = []
        if message.final:
            events += self._revise(message.t_ns, is_last=True)
        events += self._leavers(message.t_ns, everybody=message.final)
        if not message.final:
            self._forget_old(message.t_ns)
        return events

    def _leavers(self, t_ns: int, *, everybody: bool = False) -> list[Event]:
        gone = [
            p
            for g, p in sorted(self._people.items())
            if p.here and (everybody or (t_ns - p.last.t_ns) / 1e9 > self.settings.leave_s)
        ]
        for person in gone:
            person.here = False
        return [Left(t_ns=t_ns, global_id=p.global_id, last=p.last) for p in gone]

    def _forget_old(self, t_ns: int) -> None:
        """Memory is bounded by age and by count; the longest unseen go first."""
        s = self.settings
        horizon_ns = t_ns - int(max(s.max_gap_s, s.revise_s) * 1e9)
        stale = [g for g, p in self._people.items() if p.last.t_ns < horizon_ns]
        order = sorted(self._people, key=lambda g: (self._people[g].last.t_ns, g))
        stale += order[: max(0, len(order) - s.max_identities)]
        for g in dict.fromkeys(stale):
            self._drop(g)
        old = [k for k, p in self._pieces.items() if p.t_last_ns < horizon_ns]
        for key in old:
            self._drop_piece(key)

    def _drop(self, global_id: int) -> None:
        for key in self._people.pop(global_id).keys:
            self._drop_piece(key)

    def _drop_piece(self, key: TrackKey) -> None:
        self._taught.discard(key)
        piece = self._pieces.pop(key, None)
        owner = self._owner.pop(key, None)
        person = None if owner is None else self._people.get(owner)
        heirs: list[TrackKey] = []
        if person is not None and key in person.keys:
            person.keys.remove(key)
            heirs = [] if piece is None else self._most_alike(piece, person.keys)
        self._rulings.forget(key, heirs)
        self._company.forget(key)

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
        ids = [g for g in dict.fromkeys(command.global_ids) if g in self._people]
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

    def _recent(self, t_ns: int) -> list[TrackKey]:
        """The tracklets whose identity is still looked at; older ones keep what was said last."""
        horizon_ns = t_ns - int(self.settings.revise_s * 1e9)
        recent = (k for k, p in self._pieces.items() if k in self._owner and p.t_last_ns >= horizon_ns)
        newest = sorted(recent, key=lambda k: (-self._pieces[k].t_last_ns, k))
        return sorted(newest[:MOST_PIECES])

    def _new_person(self, key: TrackKey | None, sighting: Sighting) -> Person:
        person = Person(global_id_of(self.site, self._next), [], sighting, sighting)
        self._next += 1
        self._people[person.global_id] = person
        if key is not None:
            self._join(person, key)
        return person

    def _join(self, person: Person, key: TrackKey) -> None:
        person.keys.append(key)
        person.here = True
        self._owner[key] = person.global_id

    def _evidence(
        self, scores: Scores, i: int, rows: list[int], gains: NDArray[np.float64], ids: list[int]
    ) -> Evidence:
        found = scores.between([i], rows)
        order = [int(j) for j in np.argsort(-gains, kind="stable") if np.isfinite(gains[j])]
        if found is None or len(order) < 2:
            return found or Evidence(probability=0.5)
        second = order[1]
        return msgspec.structs.replace(
            found,
            runner_up=ids[second],
            runner_up_probability=float(1 / (1 + np.exp(-np.clip(gains[second], -50, 50)))),
        )

    # ---- checkpoint ------------------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """Everything needed to go on with the same identities."""
        state: dict[str, Any] = {
            "next": self._next,
            "learned": _learned(self.appearance),
            "t_revised_ns": self._t_revised_ns,
            "cameras": self._cameras,
            "site": self.site_model.to_file_text(),
            "overlaps_now": [
                [a, b, *counts] for (a, b), counts in sorted(self._overlaps_now.overlaps.items())
            ],
            "taught": [msgspec.to_builtins(k) for k in sorted(self._taught)],
            "pieces": [p.to_state() for _, p in sorted(self._pieces.items())],
            "people": [
                {
                    "global_id": p.global_id,
                    "keys": [msgspec.to_builtins(k) for k in p.keys],
                    "first": msgspec.to_builtins(p.first),
                    "last": msgspec.to_builtins(p.last),
                    "here": p.here,
                    "name": p.name,
                    "t_updated_ns": p.t_updated_ns,
                }
                for _, p in sorted(self._people.items())
            ],
            "company": self._company.to_state(),
            "hopeful": [
                [
                    msgspec.to_builtins(k),
                    [(t, b.tolist(), xy.tolist(), s, near.tolist()) for t, b, xy, s, near in seen],
                ]
                for k, seen in sorted(self._hopeful.items())
            ],
            "rulings": self._rulings.to_state(),
        }
        return Checkpoint(
            schema_version=STATE_VERSION,
            t_ns=self._t_ns,
            model_hash=self.model_hash,
            state=msgspec.msgpack.encode(state),
        )

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
            people = [
                Person(
                    global_id=p["global_id"],
                    keys=[msgspec.convert(k, TrackKey) for k in p["keys"]],
                    first=msgspec.convert(p["first"], Sighting),
                    last=msgspec.convert(p["last"], Sighting),
                    here=p["here"],
                    name=p["name"],
                    t_updated_ns=p["t_updated_ns"],
                )
                for p in state["people"]
            ]
            site_model = SiteModel.from_text(state["site"])
            now = {(a, b): (float(found), float(could)) for a, b, found, could in state["overlaps_now"]}
            known = {msgspec.convert(k, TrackKey) for k in state["taught"]}
            company = Company.from_state(state["company"])
            hopeful = {
                msgspec.convert(k, TrackKey): [
                    (
                        int(t),
                        np.array(b, np.float32),
                        np.array(xy, np.float32),
                        float(s),
                        np.array(near, np.float32),
                    )
                    for t, b, xy, s, near in seen
                ]
                for k, seen in state["hopeful"]
            }
            rulings = Rulings.from_state(state["rulings"])
        except (KeyError, TypeError, msgspec.MsgspecError) as error:
            raise ValueError(f"checkpoint is damaged: {error}") from error
        self._next, self._t_ns = state["next"], checkpoint.t_ns
        _learn_again(self.appearance, state["learned"])
        self._t_revised_ns, self._cameras = state["t_revised_ns"], state["cameras"]
        self.model_hash = checkpoint.model_hash
        self._pieces = {p.key: p for p in pieces}
        self._people = {p.global_id: p for p in people}
        self._owner = {k: p.global_id for p in people for k in p.keys}
        self._company, self._hopeful = company, hopeful
        self.site_model, self._taught = site_model, known
        self._overlaps_now = replace(site_model, overlaps=now)
        self._rulings = rulings


def united(groups: list[list[int]], people: list[set[int]]) -> list[list[int]]:
    """Groups of rows, joined where some of theirs are one of ``people``; ordered by their first row."""
    for person in people:
        met = [g for g in groups if not person.isdisjoint(g)]
        groups = [g for g in groups if g not in met] + ([sorted(itertools.chain(*met))] if met else [])
    return sorted(groups)


def _learned(appearance: AppearanceModel) -> dict[str, Any]:
    """What the model has made of this site; its settings come from the embedder's card at every start."""
    return {f.name: getattr(appearance, f.name) for f in fields(appearance) if f.name.startswith("_")}


def _learn_again(appearance: AppearanceModel, learned: dict[str, Any]) -> None:
    for name, value in learned.items():
        setattr(appearance, name, tuple(value) if isinstance(value, list) else value)


def sighting_of(camera_id: str, t_ns: int, tracks: Tracks, n: int) -> Sighting:
    """Row ``n`` of a camera's tracks as a sighting."""
    x1, y1, x2, y2 = (round(float(v), 1) for v in tracks.boxes[n])
    x_m, y_m = (float(v) for v in tracks.floor_xy_m[n])
    place = (round(x_m, 3), round(y_m, 3)) if np.isfinite(x_m) and np.isfinite(y_m) else None
    return Sighting(camera_id=camera_id, t_ns=t_ns, box=(x1, y1, x2, y2), floor_xy_m=place)
