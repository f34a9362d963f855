"""The linker: updates in, events out, in one thread: sockets -> order -> link -> journal -> log -> publication."""

from __future__ import annotations

import gc
import itertools
import json
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import msgspec
import numpy as np

from tracker.config import Site
from tracker.core.clocks import StreamClock
from tracker.core.linker import STATE_VERSION, Linker
from tracker.core.order import Released, TimeOrder
from tracker.errors import StorageError, UserError
from tracker.io import wire
from tracker.io.bus import HEARTBEAT_S, Answers, Hub
from tracker.io.clock import WallClock
from tracker.io.store import EventLog, Journal, Place, identities_of, save_site, tapes_in
from tracker.io.tape import TapeReader
from tracker.roles.health import serving
from tracker.roles.housekeeping import MetricsFile, stopped_by_signals
from tracker.stages import Clock, IdentityLinker
from tracker.types import (
    Advance,
    Appeared,
    CameraId,
    CameraStatus,
    CameraUpdate,
    Checkpoint,
    Command,
    Event,
    HandedOver,
    Left,
    LinkerInput,
    Merged,
    Split,
    TrackKey,
    Tracklet,
    Tracks,
    Updated,
    View,
)

log = logging.getLogger(__name__)

GROUP_S = 0.05  # events of this long are put on disk together
_KEYS_KEPT = 100_000  # ended tracklets remembered, so that a repeated one is known
_MOST_UNSAID = 20_000  # events held in memory while none can be put on disk: some 20 MB
_RETRY_S = 2.0  # between two tries then: each writes a whole checkpoint
_TIDY_S = 60.0  # between two looks for what is too old, or too much
_MODELS_TOLD = 100  # changes of the embedder that are said; two that take turns are said once each
_ID_LENGTH = 64  # characters of a command's id; a UUID has 36
_NO_SPACE = (
    "nothing can be put on disk now, so nothing can be put on record; send it again when there is space"
)
_UNREADABLE = (
    "the event log cannot be read now; ask again. A command may have been done: sent again, it is done once"
)
_FAILED = "the linker failed on it and goes on as before; its own log says why"


class Linking(IdentityLinker, Protocol):
    """A linker that also says whose a tracklet is now, why not to obey, and leaves out identities that are used up."""

    def objection(self, command: Command) -> str: ...
    def identity_now(self, key: TrackKey) -> int | None: ...
    def start_after(self, global_id: int) -> None: ...


class LinkerLoop:
    """Sockets in, order, link, journal, log, sockets out. One thread; ``round`` does what there is to do."""

    def __init__(
        self,
        linker: Linking,
        hub: Hub,
        events: EventLog,
        journal: Journal,
        *,
        cameras: Sequence[CameraId],
        clock: Clock,
        patience_s: float = 1.0,
        stalled_after_s: float = 5.0,
        checkpoint_s: float = 10.0,
        keep_s: float = 8 * 86400.0,
        keep_bytes: int | None = None,
        site_file: Path | None = None,
    ) -> None:
        """Restores the linker from the journal, and publishes what the last life had not got to say.

        ``cameras``: those of the site; messages of others are refused. Empty: all are taken.
        """
        self._linker, self._hub, self._events, self._journal = linker, hub, events, journal
        self._clock, self._stalled_after_s = clock, stalled_after_s
        self._checkpoint_s, self._keep_s, self._keep_bytes = checkpoint_s, keep_s, keep_bytes
        self._site_file = site_file
        self._order = TimeOrder(patience_s, cameras)
        self._known = frozenset(cameras)
        self._clocks: dict[tuple[CameraId, int], StreamClock] = {}  # of camera and run
        self._off_ns: dict[tuple[CameraId, int], int] = {}  # of those that are off: what is taken off
        self._patience_ns = round(patience_s * 1e9)
        self._answers = Answers(events, self._view)
        now_s = time.monotonic()
        self._heard_s = dict.fromkeys(cameras, now_s)
        self._states: dict[CameraId, str] = dict.fromkeys(cameras, "opening")
        self._runs: dict[CameraId, int] = dict.fromkeys(cameras, 0)
        # Ended tracklets by their digest, and whether they are safe.
        self._ended: OrderedDict[bytes, bool] = OrderedDict()
        self._told: OrderedDict[bytes, None] = OrderedDict()  # those told of whose end has not been heard
        self._model_hash = ""
        self._models: set[str] = set()  # that were said to be in use
        self._looks = ("", 0)  # the network that looks come from, and their size; 0 while that is unknown
        # What is not in the log yet. An outcome carries what its command caused.
        self._waiting: list[Event | wire.Outcome] = []
        self._to_acknowledge: deque[TrackKey] = deque(maxlen=_KEYS_KEPT)
        self._unstored_s: float | None = None  # since when nothing can be put on disk
        self._retry_s = 0.0
        self._to_forget: set[int] = set()  # who is still on disk
        self._is_behind = False  # the last checkpoint, or the last deletion, did not work
        self._largest_told = 0  # identities up to this one are on disk; others are shown to nobody
        self._latency_s: dict[CameraId, deque[float]] = {}
        self._beat_s = self._advanced_s = self._committed_s = self._saved_s = now_s
        self._tidied_s = -float("inf")
        self._here: set[int] = set()  # identities that are in view somewhere
        self.failed = self.repeated = self.updates = self.unknown = self.misfits = self.checkpoints = 0
        self.storage_errors = self.unsaid_dropped = 0
        # All that is made here stays: to look for garbage in it costs as much again (10,000 identities: 0.5 s).
        gc.disable()
        try:
            self._recover()
        finally:
            gc.enable()

    # What happens in one round

    def round(self, timeout_s: float = GROUP_S) -> None:
        """Wait for messages at most ``timeout_s``; take them in, order, link, log, publish, answer."""
        if self._waiting or self._to_acknowledge:
            timeout_s = min(timeout_s, max(self._committed_s + GROUP_S - time.monotonic(), 0.0))
        self._hub.poll(timeout_s)
        for message in self._hub.receive(GROUP_S):
            self._take(message)
        now_ns, now_s = self._clock.now_ns(), time.monotonic()
        self._apply_all(self._order.advance(now_ns))
        if now_s - self._advanced_s >= 1.0:
            self._advanced_s = now_s
            self._watch(now_ns, now_s)
            self._apply_all(self._order.put(Advance(t_ns=now_ns)))
        if now_s - self._committed_s >= GROUP_S:
            self.commit()
        for address, question in self._hub.questions():
            self.commit()  # a view must not know more than the log
            self._hub.answer(address, self._reply(question))
        if now_s - self._beat_s >= HEARTBEAT_S:
            self._beat_s = now_s
            self._hub.heartbeat(self._events.place, now_ns)
        if now_s - self._saved_s >= self._checkpoint_s:
            self.save()
        if now_s - self._tidied_s >= _TIDY_S:
            self._tidy(now_ns, now_s)

    def commit(self) -> None:
        """Journal, then log, then publication: what a subscriber hears survives any crash.

        While nothing can be put on disk nothing is published or acknowledged; it is tried again now and then.
        """
        now_s = self._committed_s = time.monotonic()
        if self._unstored_s is not None and now_s < self._retry_s:
            self._drop_unsaid()
            return
        try:
            if self._unstored_s is None:
                self._journal.flush(sync=bool(self._waiting or self._to_acknowledge))
            else:
                self._begin_journal()  # it knows all that the last one did not hear of
            self._say()
            if self._to_forget:
                self._forget()
        except StorageError as error:
            self._cannot_store(error)
            return
        if self._unstored_s is not None:
            log.warning(
                "there is space again, after %.0f s; all that waited is said", now_s - self._unstored_s
            )
            self._unstored_s = None
        if self._to_acknowledge:
            for key in self._to_acknowledge:
                self._remember(key, safe=True)
            self._hub.acknowledge(self._to_acknowledge)
            self._to_acknowledge.clear()

    def _say(self) -> None:
        """Put on disk and publish what waits, what a command caused together with its outcome."""
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, wire.Outcome):
                count, numbered = 1, self._events.append(first.events, first)
            else:
                before = itertools.takewhile(_is_event, self._waiting)
                events = [one for one in before if _is_event(one)]
                count, numbered = len(events), self._events.append(events)
            del self._waiting[:count]
            self._publish(numbered)

    def _publish(self, numbered: Sequence[Event]) -> None:
        told = (g for event in numbered for g in identities_of(event) if g is not None)
        self._largest_told = max(self._largest_told, *told, 0)
        self._hub.publish(numbered)
        self._time(numbered)

    def _cannot_store(self, error: StorageError) -> None:
        """Go on in memory. What is heard from now on is in no journal, so it is not acknowledged either."""
        now_s = time.monotonic()
        self.storage_errors += 1
        self._retry_s = now_s + _RETRY_S
        if self._unstored_s is None:
            self._unstored_s = now_s
            self._journal.abandon()
            log.error("%s. Tracking goes on; events wait until they can be put on disk", error)
        self._drop_unsaid()

    def _drop_unsaid(self) -> None:
        """Of too much that waits, where somebody was once goes first, then the oldest."""
        over = len(self._waiting) - _MOST_UNSAID
        if over <= 0:
            return
        events = [n for n, one in enumerate(self._waiting) if _is_event(one)]
        gone = set(sorted(events, key=lambda n: (not isinstance(self._waiting[n], Updated), n))[:over])
        self._waiting = [one for n, one in enumerate(self._waiting) if n not in gone]
        self.unsaid_dropped += len(gone)

    def save(self) -> None:
        """Write a checkpoint, if one can be written; else the last one and its journal still hold."""
        self.commit()
        self._saved_s = time.monotonic()
        if self._unstored_s is not None:
            return
        try:
            self._begin_journal()
            if self._site_file is not None and isinstance(self._linker, Linker):
                save_site(self._site_file, self._linker.site_model)
            self._is_behind = False
        except StorageError as error:
            (self._fall_behind if self._journal.is_open else self._cannot_store)(error)

    def _begin_journal(self, *, forget: bool = False) -> None:
        # Those that still wait for their turn the linker has not heard: after a crash they must be taken.
        heard = [name for name, is_safe in self._ended.items() if is_safe]
        self._journal.begin(
            self._linker.checkpoint(),
            self._events.place,
            self._waiting,
            ended=b"".join(itertools.chain(heard, map(wire.digest, self._to_acknowledge))),
            told=b"".join(self._told),
            forget=forget,
        )
        self.checkpoints += 1

    def _fall_behind(self, error: UserError) -> None:
        """A checkpoint, a deletion or an answer that did not work is tried again in its time."""
        self.storage_errors += 1
        if not self._is_behind:
            self._is_behind = True
            log.error("%s. It is tried again", error)

    def _tidy(self, now_ns: int, now_s: float) -> None:
        """Delete what is too old or too much, a little at a time."""
        try:
            saved = self._journal.saved
            assert saved is not None, "a life begins with a checkpoint"
            before_ns = now_ns - int(self._keep_s * 1e9)
            gone = self._events.prune(before_ns, self._keep_bytes, through=(saved.epoch, saved.seq))
        except UserError as error:
            self._fall_behind(error)
            gone = 0
        if not gone:
            self._tidied_s = now_s

    def finish(self) -> None:
        """Everything that is held or queued, applied and saved: the end of a clean life.

        Raises:
            UserError: the disk is full: what was not put on disk is lost, and was told to nobody.
        """
        for message in self._hub.receive():
            self._take(message)
        self._apply_all(self._order.flush())
        self._retry_s = 0.0
        self.save()
        if self._unstored_s is not None:
            raise UserError(
                f"nothing could be put on disk for the last {time.monotonic() - self._unstored_s:.0f} s; "
                f"{len(self._waiting)} events of that time are lost, and were told to nobody"
            )
        self._hub.heartbeat(self._events.place, self._clock.now_ns())

    # Messages

    def _take(self, message: CameraUpdate | CameraStatus | wire.Repeated) -> None:
        if self._known and message.camera_id not in self._known:
            self.unknown += 1
            if self.unknown == 1:
                log.warning("%s: no camera of this site (further messages are counted)", message.camera_id)
            return
        if not isinstance(message, CameraStatus) and not all(map(self._fits, message.tracklets)):
            self.misfits += 1
            if self.misfits == 1:
                log.warning(
                    "%s: looks of another size than this network's (further ones are counted)",
                    message.camera_id,
                )
            return
        if isinstance(message, wire.Repeated):
            self._take_repeated(message)
            return
        message = self._on_our_clock(message)
        self._heard_s[message.camera_id] = time.monotonic()
        self._runs[message.camera_id] = message.run
        self._states[message.camera_id] = message.state if isinstance(message, CameraStatus) else "up"
        if isinstance(message, CameraUpdate):
            self.updates += 1
            for tracklet in message.tracklets:
                if tracklet.ended:
                    self._remember(tracklet.key, safe=False)
        self._apply_all(self._order.put(message))

    def _fits(self, tracklet: Tracklet) -> bool:
        """Whether its looks can be compared with others of the same network: else everybody's would be put aside."""
        size = tracklet.prototypes.shape[1] if len(tracklet.prototypes) else len(tracklet.mean_embedding)
        network, known = self._looks
        is_other = bool(tracklet.model_hash) and tracklet.model_hash != network
        if not size or (known == size and not is_other):
            return True
        if known and not is_other:
            return False
        self._looks = (tracklet.model_hash or network, size)
        return True

    def _on_our_clock(self, message: CameraUpdate | CameraStatus) -> CameraUpdate | CameraStatus:
        """A camera whose clock is ahead would make everybody else late, one that is behind would always be late itself.

        One that is ahead, or further behind than patience reaches, is laid on our clock from then on.
        """
        source = (message.camera_id, message.run)
        clock = self._clocks.get(source)
        if clock is None:
            self._clocks = {s: c for s, c in self._clocks.items() if s[0] != source[0]}
            self._off_ns = {s: off_ns for s, off_ns in self._off_ns.items() if s[0] != source[0]}
            clock = self._clocks[source] = StreamClock(most_latency_ns=self._patience_ns)
        placed_ns = clock.place(message.t_ns, self._clock.now_ns(), message.t_ns)
        if source not in self._off_ns:
            if clock.is_believed:
                return message
            off_s = (clock.camera_offset_ns or 0) / 1e9
            log.warning(
                "%s: its clock is %.1f s %s; set its machine's time",
                source[0],
                abs(off_s),
                "ahead" if off_s > 0 else "behind",
            )
        offset_ns = self._off_ns[source] = message.t_ns - placed_ns
        moved = msgspec.structs.replace(message, t_ns=placed_ns)
        if isinstance(moved, CameraUpdate):
            moved = msgspec.structs.replace(moved, tracklets=_earlier(moved.tracklets, offset_ns))
        return moved

    def _take_repeated(self, message: wire.Repeated) -> None:
        """Ended tracklets whose acknowledgement, or which themselves, went missing."""
        self.repeated += len(message.tracklets)
        self._to_acknowledge += [t.key for t in message.tracklets if self._ended.get(wire.digest(t.key))]
        unknown = tuple(t for t in message.tracklets if wire.digest(t.key) not in self._ended)
        # Who was told of, and let go before the end was heard, would be somebody new.
        let_go = [t.key for t in unknown if self._is_let_go(t.key)]
        self._to_acknowledge += let_go
        unknown = tuple(t for t in unknown if t.key not in let_go)
        if unknown:
            unknown = _earlier(unknown, self._off_ns.get((message.camera_id, message.run), 0))
            carrier = CameraUpdate(
                camera_id=message.camera_id,
                run=message.run,
                seq=0,
                t_ns=max(t.t_last_ns for t in unknown),
                tracks=Tracks.of(np.zeros(0), np.zeros((0, 4)), np.zeros(0)),
                tracklets=unknown,
                detected=False,
            )
            for tracklet in unknown:
                self._remember(tracklet.key, safe=False)
            self._apply_all([Released(message=carrier, late=True)])

    def _is_let_go(self, key: TrackKey) -> bool:
        return wire.digest(key) in self._told and self._linker.identity_now(key) is None

    def _remember(self, key: TrackKey, *, safe: bool) -> None:
        name = wire.digest(key)
        if safe:
            self._told.pop(name, None)
        self._ended[name] = safe or self._ended.get(name, False)
        self._ended.move_to_end(name)
        while len(self._ended) > _KEYS_KEPT:
            self._ended.popitem(last=False)

    def _apply_all(self, released: Sequence[Released]) -> None:
        for one in released:
            self._write(one.message)
            self._waiting += self._step(one.message)
            if isinstance(one.message, CameraUpdate):
                self._to_acknowledge += [t.key for t in one.message.tracklets if t.ended]
                self._publish_boxes(one.message)

    def _write(self, message: LinkerInput) -> None:
        try:
            self._journal.write(message)
        except StorageError as error:
            self._cannot_store(error)

    def _reply(self, question: wire.Ask | Command) -> wire.Answer | bytes:
        try:
            return self._obey(question) if isinstance(question, Command) else self._answers.to(question)
        except UserError as error:  # the log cannot be read, now or at all; tracking goes on
            self._fall_behind(error)
            return wire.Refused(reason=_UNREADABLE)

    def _obey(self, command: Command) -> wire.Outcome | wire.Refused:
        """Do at once what an operator says, and once only: said again it is answered again.

        When this returns, command, events and outcome are on disk, or all that is to be forgotten is off it.
        """
        if not 0 < len(command.id) <= _ID_LENGTH:
            return wire.Refused(reason=f"a command has an id of its own, of at most {_ID_LENGTH} characters")
        if self._unstored_s is not None:
            return wire.Refused(reason=_NO_SPACE)
        before = self._events.outcome(command.id)
        if before is not None:
            if (before.verb, before.global_ids) != (command.verb, command.global_ids):
                return wire.Refused(reason=f"the id {command.id} was that of another command")
            return before
        command = msgspec.structs.replace(command, t_ns=self._clock.now_ns())
        reason, events = self._objection(command), []
        if not reason:
            failed = self.failed
            try:
                self._journal.write(command)
                self._journal.flush(sync=True)
            except StorageError as error:
                self._cannot_store(error)
                return wire.Refused(reason=_NO_SPACE)
            events = self._step(command)
            reason = _FAILED if self.failed > failed else ""
        self._waiting.append(_outcome(command, reason, events))
        if command.verb == "forget" and not reason:
            self._to_forget.update(command.global_ids)
        self.commit()
        if self._unstored_s is not None:
            return wire.Refused(reason=_NO_SPACE)
        told = self._events.outcome(command.id)
        assert told is not None, "it was just put there"
        return msgspec.structs.replace(told, number=0)

    def _forget(self) -> None:
        """Whom the linker has forgotten goes off the disk as well, and the journal that still knows them."""
        self._begin_journal(forget=True)
        for global_id in sorted(self._to_forget):
            self._events.forget(global_id)
            self._here.discard(global_id)
        self._to_forget.clear()
        self._answers.forget()

    def _objection(self, command: Command) -> str:
        """Why a command cannot be obeyed; "" where it can."""
        ids = command.global_ids
        if command.verb == "forget" and ids and all(map(self._events.speaks_of, ids)):
            return ""  # whom the linker no longer knows the log may know
        try:
            reason = self._linker.objection(command)
        except Exception:
            self.failed += 1
            log.exception("the linker failed on a command to %s", command.verb)
            return _FAILED
        merged = [(g, kept) for g in ids if (kept := self._events.absorbed_by(g)) is not None]
        if reason and merged:
            reason += f": {', '.join(f'{g} was merged into {kept}' for g, kept in merged)}"
        # It may name what the command named, and be shown on terminals.
        return "".join(c if c.isprintable() else "?" for c in reason)

    def _step(self, message: LinkerInput) -> list[Event]:
        if isinstance(message, CameraUpdate):
            for tracklet in message.tracklets:
                self._notice_model(tracklet.model_hash)
        try:
            events = self._linker.step(message)
            for event in events:
                wire.check(event)  # what nobody could read must not get into the log
            self._count_people(events)
            self._note_told(events)
            return events
        except Exception:
            # A journal with this message in it would bring the linker down again at every start.
            self.failed += 1
            if self.failed == 1:
                log.exception("the linker failed on a %s (further ones are counted)", wire.kind_of(message))
            return []

    def _note_told(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Appeared | HandedOver):
                self._told[wire.digest(event.track)] = None
        while len(self._told) > _KEYS_KEPT:
            self._told.popitem(last=False)

    def _count_people(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Appeared(global_id=here) | Updated(global_id=here) | HandedOver(global_id=here):
                    self._here.add(here)
                case Left(global_id=gone) | Merged(absorbed=gone):
                    self._here.discard(gone)
                case Split(to=here):
                    self._here.add(here)

    def _notice_model(self, model_hash: str) -> None:
        if not model_hash or model_hash == self._model_hash:
            return
        is_new = model_hash not in self._models and len(self._models) < _MODELS_TOLD
        if is_new:
            self._models.add(model_hash)
        if is_new and self._model_hash:
            log.warning(
                "the embedder changed (model %.12s, before %.12s): looks remembered from before cannot be compared, "
                "so nobody from before is recognised by looks",
                model_hash,
                self._model_hash,
            )
        self._model_hash = model_hash

    def _view(self) -> View:
        """Whom the linker knows, and the log."""
        view = self._linker.view()
        told = tuple(one for one in view.identities if one.global_id <= self._largest_told)
        return msgspec.structs.replace(view, identities=told)

    def _told_identity(self, key: TrackKey) -> int:
        """Whose a tracklet is; 0 for nobody. A number that is not on disk could be another's after a crash."""
        global_id = self._linker.identity_now(key) or 0
        return global_id if global_id <= self._largest_told else 0

    def _publish_boxes(self, update: CameraUpdate) -> None:
        tracks = update.tracks
        keys = [TrackKey(camera_id=update.camera_id, run=update.run, number=int(n)) for n in tracks.ids]
        self._hub.publish_boxes(
            wire.Boxes(
                camera_id=update.camera_id,
                run=update.run,
                seq=update.seq,
                t_ns=update.t_ns,
                numbers=tracks.ids,
                global_ids=np.array([self._told_identity(key) for key in keys], np.int64),
                boxes=tracks.boxes,
                states=tracks.states,
            )
        )

    def _watch(self, now_ns: int, now_s: float) -> None:
        """A worker that died cannot say so."""
        for camera_id, heard_s in self._heard_s.items():
            silent_s = now_s - heard_s
            if self._states[camera_id] in ("up", "opening") and silent_s > self._stalled_after_s + 1:
                self._states[camera_id] = "stalled"
                reason = f"nothing heard of it for {silent_s:.0f} s"
                log.warning("%s: %s", camera_id, reason)
                status = CameraStatus(
                    camera_id=camera_id,
                    run=self._runs[camera_id],
                    t_ns=now_ns,
                    state="stalled",
                    reason=reason,
                )
                self._apply_all(self._order.put(status))

    # A new life

    def _recover(self) -> None:
        """Same identities as before: the last checkpoint, then all that was heard after it.

        The same input gives the same events. Those that the log has were published; the rest is said now.
        """
        saved = self._journal.saved
        since: Place = (0, 0)
        if saved is not None:
            since = (saved.epoch, saved.seq)
            self._model_hash = saved.checkpoint.model_hash
            restore(self._linker, saved.checkpoint)
            self._ended.update(dict.fromkeys(wire.digests(saved.ended), True))
            self._told.update(dict.fromkeys(wire.digests(saved.told)))
        said = _Said(self._events, since)
        for one in saved.unsaid if saved is not None else ():
            if not isinstance(one, wire.Outcome):
                self._waiting += said.without_known([one])
            elif self._events.outcome(one.id) is None:
                self._waiting.append(one)
            else:
                said.without_known(list(one.events))
        messages, forgets = 0, False
        for message in self._journal.messages():
            messages += 1
            fresh = said.without_known(self._step(message))
            if isinstance(message, Command) and message.id and self._events.outcome(message.id) is None:
                self._waiting.append(_outcome(message, events=fresh))
            else:
                self._waiting += fresh
            forgets |= isinstance(message, Command) and message.verb == "forget"
            if isinstance(message, CameraUpdate):
                for tracklet in message.tracklets:
                    if tracklet.ended:
                        self._remember(tracklet.key, safe=True)
        self._linker.start_after(self._events.largest_id())
        if isinstance(self._linker, Linker):
            sizes = (len(total) for total in self._linker.appearance.cameras.sums.values())
            self._looks = (self._model_hash, next(sizes, 0))
        people = self._linker.view().identities
        self._here = {person.global_id for person in people if person.here}
        if saved is not None:
            log.info("going on from the checkpoint and %d messages after it", messages)
        if self._journal.damaged:
            log.warning("%d messages of the journal could not be read", self._journal.damaged)
        if said.differs:
            log.warning("the linker now reads the past in another way; what it says next mends what was said")
        self._largest_told = max((person.global_id for person in people), default=0)
        self._begin_journal(forget=forgets)
        self._say()
        self._latency_s.clear()  # how long nobody was here is no latency
        for global_id in self._events.forgotten():  # where the last life ended before it was done
            self._events.forget(global_id)

    # Figures

    def _time(self, events: Sequence[Event]) -> None:
        now_ns = self._clock.now_ns()
        for event in events:
            match event:
                case Appeared(track=key) | HandedOver(track=key):
                    camera_id = key.camera_id
                case Updated(sightings=sightings) if sightings:
                    camera_id = sightings[0].camera_id
                case _:
                    continue
            times = self._latency_s.setdefault(camera_id, deque(maxlen=2000))
            times.append((now_ns - event.t_ns) / 1e9)

    def counters(self) -> dict[str, float]:
        """Everything that has a bound, and what went over it."""
        return {
            "updates": self.updates,
            "events": self._events.seq,
            "epoch": self._events.epoch,
            "identities_open": len(self._here),
            "late": self._order.late,
            "impatient": self._order.impatient,
            "held_overflow": self._order.overflowed,
            "held": len(self._order),
            "repeated": self.repeated,
            "failed": self.failed,
            "unknown": self.unknown,
            "misfits": self.misfits,
            "clocks_off": sum(not clock.is_believed for clock in self._clocks.values()),
            "checkpoints": self.checkpoints,
            "refused": self._hub.counters.refused,
            "limited": self._hub.counters.limited,
            "again": self._hub.counters.again,
            "denied": self._hub.counters.denied,
            "storage_errors": self.storage_errors,
            "unstored_s": 0.0 if self._unstored_s is None else round(time.monotonic() - self._unstored_s, 1),
            "unsaid": len(self._waiting),
            "unsaid_dropped": self.unsaid_dropped,
        }

    def cameras(self) -> dict[CameraId, dict[str, Any]]:
        """State, capture-to-event latency in seconds, and its worker's clock, of each camera."""
        clocks: dict[CameraId, dict[str, float]] = {
            camera_id: {
                "worker_clock_offset_s": round((clock.camera_offset_ns or 0) / 1e9, 4),
                "worker_clock_drift_ppm": round(clock.drift_ppm, 1),
            }
            for (camera_id, _), clock in self._clocks.items()
        }
        return {
            camera_id: {"state": state}
            | _percentiles(self._latency_s.get(camera_id, ()))
            | clocks.get(camera_id, {})
            for camera_id, state in self._states.items()
        }


def restore(linker: Linking, checkpoint: Checkpoint) -> None:
    """Give a linker the state that it was saved with.

    Raises:
        UserError: another version wrote it, or it is damaged.
    """
    try:
        linker.restore(checkpoint)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(
            f"the linker cannot go on from its checkpoint ({error}); move the file 'checkpoint' away to "
            "start with no memory of earlier people"
        ) from error


def _outcome(command: Command, reason: str = "", events: Sequence[Event] = ()) -> wire.Outcome:
    return wire.Outcome(
        id=command.id,
        t_ns=command.t_ns,
        verb=command.verb,
        global_ids=command.global_ids,
        by=command.by,
        obeyed=not reason,
        reason=reason,
        events=tuple(events),
    )


def _is_event(one: Event | wire.Outcome) -> TypeGuard[Event]:
    return not isinstance(one, wire.Outcome)


def _earlier(tracklets: tuple[Tracklet, ...], by_ns: int) -> tuple[Tracklet, ...]:
    if not by_ns:
        return tracklets
    return tuple(
        msgspec.structs.replace(t, t_first_ns=t.t_first_ns - by_ns, t_last_ns=t.t_last_ns - by_ns)
        for t in tracklets
    )


def _percentiles(seconds: Sequence[float] | deque[float]) -> dict[str, float]:
    if not seconds:
        return {}
    p50, p99 = np.percentile(np.array(seconds), [50, 99])
    return {"latency_p50_s": round(float(p50), 4), "latency_p99_s": round(float(p99), 4)}


class _Said:
    """The events of the log after a place, to be told from those that are new."""

    def __init__(self, events: EventLog, since: Place) -> None:
        self._events, self._place = events, since
        self._known: deque[Event] = deque()
        self._over = False
        self.differs = False

    def without_known(self, events: list[Event]) -> list[Event]:
        """Those that the log does not have; it has them in the same order, from the start."""
        fresh = []
        for event in events:
            known = self._next()
            if known is None or self.differs:
                fresh.append(event)
            elif msgspec.structs.replace(known, epoch=0, seq=0) != event:
                self.differs = True
                fresh.append(event)
        return fresh

    def _next(self) -> Event | None:
        if not self._known and not self._over:
            self._known.extend(self._events.read(self._place))
            self._over = not self._known
            if self._known:
                self._place = (self._known[-1].epoch, self._known[-1].seq)
        return self._known.popleft() if self._known else None


def _journal(site: Site, out: Path) -> Journal:
    """Raises UserError where its checkpoint is of another version; nothing is changed then."""
    journal = Journal(out, keep_tapes=site.store.keep_tapes, keep_s=site.link.remember_s)
    if journal.saved is not None and journal.saved.checkpoint.schema_version != STATE_VERSION:
        raise UserError(
            f"{out / 'checkpoint'}: is of version {journal.saved.checkpoint.schema_version}, and this program goes on "
            f"from version {STATE_VERSION}; use the program that wrote it, or move it away: nobody from before is "
            "recognised by looks then, and no number is used twice"
        )
    return journal


def linker(
    site: Site,
    out: Path | None = None,
    *,
    stop: threading.Event | None = None,
    ready: Callable[[], None] | None = None,
) -> None:
    """Link what workers send into identities, log and publish events, until Ctrl-C.

    Args:
        out: folder for log, checkpoint and metrics; None: the site's.
        ready: called when the sockets are open.

    Raises:
        UserError: an endpoint is taken, or the log or the checkpoint cannot be used. A disk that fills later does
            not end it; one that is still full at the end does.
    """
    from tracker.build import build_linker

    out = Path(site.live.out) if out is None else out
    clock = WallClock()
    with (
        stopped_by_signals(stop) as asked,
        serving(site.live) as health,
        _journal(site, out) as journal,  # before the log, which is carried over to this version when opened
        EventLog(out / "events.sqlite", started_ns=clock.now_ns()) as events,
        Hub(site.bus) as hub,
    ):
        loop = LinkerLoop(
            build_linker(site),
            hub,
            events,
            journal,
            cameras=list(site.cameras),
            clock=clock,
            patience_s=site.live.patience_s,
            stalled_after_s=site.live.stalled_after_s,
            checkpoint_s=site.store.checkpoint_s,
            keep_s=site.store.keep_days * 86400,
            keep_bytes=int(site.store.keep_mib * 2**20),
            site_file=out / "site_model.json",
        )
        file = MetricsFile(out / "metrics" / "linker.json", tell=health.alone("linker"))
        log.info("events at %s, replays at %s", hub.endpoints.events, hub.endpoints.replay)
        if ready is not None:
            ready()
        while not asked.is_set():
            loop.round()
            if file.is_due():
                file.write(loop.counters(), loop.cameras())
        loop.finish()
        file.write(loop.counters(), loop.cameras())


def replay(site: Site, tape: Path, out: Path) -> list[Event]:
    """A tape, or a folder of a journal's tapes, through a fresh linker: the same events, byte for byte.

    They are written to ``out/events.jsonl`` and returned, numbered in epoch 0.

    Raises:
        UserError: there is no tape, or ``out`` cannot be written.
    """
    from tracker.build import build_linker

    tapes = [path for _, path in tapes_in(tape)] if tape.is_dir() else [tape]
    if not tapes:
        raise UserError(f"{tape}: holds no tape; give the folder of a linker whose store.keep_tapes is on")
    fresh = build_linker(site)
    events: list[Event] = []
    for path in tapes:
        reader = TapeReader(path)
        for message in reader:
            for event in fresh.step(message):
                events.append(msgspec.structs.replace(event, seq=len(events) + 1))
        if reader.damaged or reader.torn_bytes:
            log.warning(
                "%s: %d damaged messages, %d bytes after the last whole one",
                path,
                reader.damaged,
                reader.torn_bytes,
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (out / "events.jsonl").open("w", encoding="utf-8") as file:
            for event in events:
                file.write(json.dumps(wire.to_builtins(event), allow_nan=False) + "\n")
    except OSError as error:
        raise UserError(
            f"{out}: the events cannot be written there ({error}); give another folder"
        ) from error
    return events
