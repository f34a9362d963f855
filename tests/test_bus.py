"""Real sockets on loopback: nothing is lost, nobody waits, strangers are refused."""

from __future__ import annotations

import itertools
import queue
import re
import shutil
import stat
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from tracker import subscribe
from tracker.config import BusSettings
from tracker.errors import UserError
from tracker.io import bus, wire
from tracker.io import keys as keys_of
from tracker.io.bus import Answers, Hub, Operator, Uplink
from tracker.io.cursor import Cursor
from tracker.io.store import EventLog
from tracker.types import (
    Advance,
    Appeared,
    CameraLost,
    CameraStatus,
    CameraUpdate,
    Command,
    Event,
    HandedOver,
    Identity,
    Left,
    Merged,
    Sighting,
    Split,
    TrackKey,
    Tracklet,
    Tracks,
    Updated,
    View,
)

S = 10**9
PATIENCE_S = 20.0  # nobody waits this long unless something is broken


def key(number: int, camera: str = "hall") -> TrackKey:
    return TrackKey(camera_id=camera, run=1, number=number)


def sighting(camera: str = "hall") -> Sighting:
    return Sighting(camera_id=camera, t_ns=S, box=(0.0, 0.0, 1.0, 2.0))


def appeared(global_id: int, camera: str = "hall") -> Appeared:
    return Appeared(t_ns=S, global_id=global_id, track=key(global_id, camera), sighting=sighting(camera))


def tracklet(number: int, ended: bool = True) -> Tracklet:
    return Tracklet(
        key=key(number),
        revision=1,
        ended=ended,
        t_first_ns=1,
        t_last_ns=2,
        first_box=np.zeros(4, np.float32),
        last_box=np.zeros(4, np.float32),
        velocity_px_s=np.zeros(2, np.float32),
        image_size=(640, 480),
        boxes_seen=1,
        score_mean=1.0,
        prototypes=np.zeros((0, 0), np.float16),
        quality=np.zeros(0, np.float32),
        mean_embedding=np.zeros(0, np.float32),
        embeddings_seen=0,
    )


def update(seq: int, *tracklets: Tracklet) -> CameraUpdate:
    nobody = Tracks.of(np.zeros(0), np.zeros((0, 4)), np.zeros(0))
    return CameraUpdate(
        camera_id="hall", run=1, seq=seq, t_ns=seq, tracks=nobody, tracklets=tracklets, detected=True
    )


def outcome(command: Command) -> wire.Outcome:
    return wire.Outcome(
        id=command.id, t_ns=S, verb=command.verb, global_ids=command.global_ids, by=command.by, obeyed=True
    )


class Desk:
    """The edge of a linker in a thread: numbers, logs, publishes what it is told to, and answers."""

    def __init__(self, folder: Path, settings: BusSettings, *, hwm: int = 10_000, people: int = 0) -> None:
        self._folder, self._settings, self._hwm, self._people = folder, settings, hwm, people
        self._orders: queue.Queue[list[Event] | None] = queue.Queue()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.endpoints = settings
        self.questions = 0
        self.received: queue.Queue[Any] = queue.Queue()
        self.commands: list[Command] = []
        self.deaf = 0  # so many commands are heard and not answered
        self.acknowledge: list[TrackKey] = []
        self.counters = bus.Counters()

    def publish(self, events: list[Event]) -> None:
        self._orders.put(events)

    def _view(self) -> View:
        people = tuple(
            Identity(global_id=i, tracks=(key(i),), first=sighting(), last=sighting(), here=i % 2 == 1)
            for i in range(1, self._people + 1)
        )
        return View(epoch=0, seq=0, t_ns=S, identities=people)

    def _run(self) -> None:
        with (
            EventLog(self._folder / "events.sqlite", started_ns=S) as log,
            Hub(self._settings, queue=self._hwm) as hub,
        ):
            self.endpoints, self.counters = hub.endpoints, hub.counters
            answers = Answers(log, self._view)
            self._up.set()
            while True:
                try:
                    order = self._orders.get_nowait()
                    if order is None:
                        return
                    hub.publish(log.append(order))
                except queue.Empty:
                    hub.heartbeat(log.place, now_ns=S)  # more often than in earnest, so that tests are quick
                hub.poll(0.02)
                for message in hub.receive():
                    self.received.put(message)
                if self.acknowledge:
                    hub.acknowledge(self.acknowledge)
                for address, question in hub.questions():
                    self.questions += 1
                    if not isinstance(question, Command):
                        hub.answer(address, answers.to(question))
                        continue
                    self.commands.append(question)
                    if len(self.commands) > self.deaf:
                        hub.answer(address, outcome(question))

    def __enter__(self) -> Desk:
        self._thread.start()
        assert self._up.wait(PATIENCE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._orders.put(None)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


LOOPBACK = BusSettings(
    **dict.fromkeys(("ingest", "events", "replay", "boxes"), "tcp://127.0.0.1:*")  # type: ignore[arg-type]
)


def listen(desk: Desk, **how: Any) -> Iterator[Event]:
    how = {"timeout_s": PATIENCE_S} | how
    return subscribe(desk.endpoints.events, replay=desk.endpoints.replay, **how)


def take(events: Iterator[Event], n: int) -> list[Event]:
    return list(itertools.islice(events, n))


def ids(events: list[Event]) -> list[int]:
    return [getattr(event, "global_id", 0) for event in events]


def test_a_late_subscriber_gets_all_that_is_kept_and_then_what_comes(tmp_path: Path) -> None:
    with Desk(tmp_path, LOOPBACK) as desk:
        desk.publish([appeared(1), appeared(2)])
        events = listen(desk, since=0)
        assert ids(take(events, 2)) == [1, 2]
        desk.publish([appeared(3)])
        assert ids(take(events, 1)) == [3]
        assert [(e.epoch, e.seq) for e in take(listen(desk, since=(1, 1)), 2)] == [(1, 2), (1, 3)]
        assert ids(take(listen(desk, since=2), 1)) == [3]


def test_without_a_start_it_begins_with_who_is_here(tmp_path: Path) -> None:
    with Desk(tmp_path, LOOPBACK, people=1201) as desk:  # three pages of 500
        desk.publish([appeared(1201)])
        events = listen(desk)
        now = take(events, 601)
        assert ids(now) == list(range(1, 1202, 2))  # every second one is here
        assert all(isinstance(e, Updated) and (e.epoch, e.seq) in ((1, 0), (1, 1)) for e in now)
        desk.publish([appeared(2000)])
        while (event := next(events)).seq < 2:
            pass
        assert isinstance(event, Appeared) and event.global_id == 2000


@pytest.mark.parametrize("since", [0, None])
def test_a_lagging_subscriber_loses_nothing_of_a_burst(tmp_path: Path, since: int | None) -> None:
    """PUB drops most of a burst when queues are short; the hole is seen and asked for."""
    burst = 5000
    with Desk(tmp_path, LOOPBACK, hwm=2, people=1) as desk:
        events = listen(desk, since=since, queue=2)
        if since is None:
            assert isinstance(next(events), Updated)  # who is here: from now on the subscriber follows
        desk.publish([appeared(1)])
        assert ids(take(events, 1)) == [1]
        before = desk.questions
        desk.publish([appeared(i) for i in range(2, burst + 1)])  # while the subscriber does something else
        assert ids(take(events, burst - 1)) == list(range(2, burst + 1))
        assert desk.questions > before  # it really had holes


def test_the_lost_end_of_a_burst_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Desk(tmp_path, LOOPBACK) as desk:
        events = listen(desk, since=0)
        desk.publish([appeared(1)])
        assert ids(take(events, 1)) == [1]
        # The log grows without a publication, as when all that was sent was lost; only the heartbeat tells.
        monkeypatch.setattr(Hub, "publish", lambda hub, events: None)
        desk.publish([appeared(2), appeared(3)])
        assert ids(take(events, 2)) == [2, 3]


def test_a_subscriber_lives_through_a_restart_of_the_linker(tmp_path: Path) -> None:
    endpoints = bus.local_endpoints(tmp_path)
    with Desk(tmp_path, endpoints) as desk:
        events = listen(desk, since=0)
        desk.publish([appeared(1)])
        assert ids(take(events, 1)) == [1]
    with EventLog(tmp_path / "events.sqlite", started_ns=0) as log:
        log.append([appeared(2)])  # epoch 2: a linker that was gone again before anybody heard it
    with Desk(tmp_path, endpoints) as desk:
        desk.publish([appeared(3)])
        got = take(events, 2)
        desk.publish([appeared(4)])
        got += take(events, 1)
    assert [(e.epoch, e.seq, *ids([e])) for e in got] == [(2, 1, 2), (3, 1, 3), (3, 2, 4)]


def test_a_log_that_begins_anew_is_followed_from_its_start(tmp_path: Path) -> None:
    with Desk(tmp_path, LOOPBACK) as desk:
        desk.publish([appeared(1)])
        assert [(e.epoch, e.seq) for e in take(listen(desk, since=(99, 7)), 1)] == [(1, 1)]


def test_filters(tmp_path: Path) -> None:
    events: list[Event] = [
        appeared(1, "hall"),
        appeared(2, "yard"),
        HandedOver(
            t_ns=S,
            global_id=1,
            from_camera="hall",
            to_camera="yard",
            track=key(3, "yard"),
            gap_s=1.0,
            sighting=sighting("yard"),
        ),
        Merged(t_ns=S, kept=1, absorbed=2, tracks=(key(2, "yard"),)),
        Split(t_ns=S, global_id=1, to=3, tracks=(key(3, "lane"),)),
        Updated(t_ns=S, global_id=3, sightings=(sighting("lane"),), tracks=(key(3, "lane"),)),
        CameraLost(t_ns=S, camera_id="yard"),
        Left(t_ns=S, global_id=2, last=sighting("hall")),
    ]
    with Desk(tmp_path, LOOPBACK) as desk:
        desk.publish(events)

        def seqs(n: int, **how: Any) -> list[int]:
            return [e.seq for e in take(listen(desk, since=0, **how), n)]

        assert seqs(8) == [1, 2, 3, 4, 5, 6, 7, 8]
        assert seqs(2, kinds=["merged", "left"]) == [4, 8]
        assert seqs(1, kinds="split") == [5]
        assert seqs(4, camera="yard") == [2, 3, 4, 7]
        assert seqs(3, identity=2) == [2, 4, 8]
        assert seqs(4, identity=[2, 3], camera=["yard", "lane"]) == [2, 4, 5, 6]
        assert seqs(8, identity=[], camera=[]) == [1, 2, 3, 4, 5, 6, 7, 8]
        assert seqs(2, identity=3) == [5, 6]
        # The end is a pause of timeout_s.
        assert [e.seq for e in listen(desk, since=0, camera="lane", timeout_s=0.3)] == [5, 6]


def test_an_event_that_was_deleted_does_not_stall_the_replay(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.sqlite", started_ns=S) as log:
        log.append([appeared(1), appeared(2), appeared(3)])
        log.forget(2)
        log.forget(3)
    with Desk(tmp_path, LOOPBACK) as desk:
        desk.publish([appeared(4)])
        assert ids(take(listen(desk, since=0), 2)) == [1, 4]


def test_the_subscriber_that_the_docs_write_out_loses_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/events.md shows all of it in plain Python, for who ports it to another language."""
    docs = (Path(__file__).parent.parent / "docs" / "events.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import msgpack\n.+?)```", docs, flags=re.DOTALL)
    shim = types.ModuleType("msgpack")  # which is not among our dependencies
    shim.packb, shim.unpackb = msgspec.msgpack.encode, msgspec.msgpack.decode  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "msgpack", shim)
    made: dict[str, Any] = {}
    exec(code, made)
    burst = 3000
    with zmq.Context() as context, Desk(tmp_path, LOOPBACK, hwm=2) as desk:
        monkeypatch.setattr(made["zmq"], "Context", lambda: context)
        desk.publish([appeared(1)])
        told = made["events"](desk.endpoints.events, desk.endpoints.replay)
        assert next(told)["global_id"] == 1
        desk.publish([appeared(i) for i in range(2, burst + 1)])
        rest = list(itertools.islice(told, burst - 1))
        context.destroy(linger=0)
    assert [event["global_id"] for event in rest] == list(range(2, burst + 1))
    assert {event["type"] for event in rest} == {"appeared"}


def test_mistakes_of_a_subscriber_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="vanished: no kind of event; there are appeared, updated"):
        subscribe(kinds=["vanished"])
    with pytest.raises(UserError, match="is no endpoint"):
        next(subscribe("the linker", timeout_s=0.1))
    with pytest.raises(UserError, match=r"no linker answered within 0\.1 s"):
        next(subscribe(f"ipc://{tmp_path}/nobody", timeout_s=0.1))
    with pytest.raises(UserError, match="since -1"):
        subscribe(since=-1)


@pytest.mark.parametrize("since", [None, 0])
def test_a_slow_loop_body_does_not_count_as_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, since: int | None
) -> None:
    """A body that took longer than ``timeout_s`` used to end the loop without a word."""
    worked_s = 0.0
    clock = types.SimpleNamespace(monotonic=lambda: time.monotonic() + worked_s)
    with Desk(tmp_path, LOOPBACK, people=1) as desk:
        if since == 0:
            desk.publish([appeared(1)])
        monkeypatch.setattr(bus, "time", clock)
        events = listen(desk, since=since)
        assert ids(take(events, 1)) == [1]
        for number in (2, 3):
            worked_s += 10 * PATIENCE_S
            desk.publish([appeared(number)])
            assert ids(take(events, 1)) == [number]


def test_the_replay_endpoint_follows_from_the_events_endpoint() -> None:
    assert bus.replay_endpoint("tcp://[::1]:5556") == "tcp://[::1]:5557"
    assert bus.replay_endpoint("ipc:///tmp/x/events") == "ipc:///tmp/x/events.replay"
    defaults = BusSettings()
    assert bus.replay_endpoint(defaults.events) == defaults.replay
    assert defaults.events == bus.DEFAULT_ENDPOINT


def until(true: Callable[[], bool], step: Callable[[], object]) -> None:
    """Do ``step`` (which waits for a socket) until ``true``."""
    for _ in range(2000):
        if true():
            return
        step()
    raise AssertionError("it never happened")


def hear(uplink: Uplink, now_s: float) -> None:
    uplink.poll(0.05)
    uplink.repeat(now_s)


def test_updates_and_statuses_arrive_in_order(tmp_path: Path) -> None:
    with Desk(tmp_path, LOOPBACK) as desk, Uplink(desk.endpoints, ["hall"]) as uplink:
        assert uplink.send(CameraStatus(camera_id="hall", run=1, t_ns=0, state="up"), now_s=0)
        for seq in range(1, 50):
            assert uplink.send(update(seq), now_s=0)
        got = [desk.received.get(timeout=PATIENCE_S) for _ in range(50)]
        assert [m.t_ns for m in got] == list(range(50))
        assert uplink.counters.sent == 49 and uplink.counters.unsent == 0 and uplink.pending == 0


def test_ended_tracklets_are_repeated_until_acknowledged(tmp_path: Path) -> None:
    with Desk(tmp_path, LOOPBACK) as desk, Uplink(desk.endpoints, ["hall"], repeat_s=1.0) as uplink:
        uplink.send(update(1, tracklet(1), tracklet(2), tracklet(3, ended=False)), now_s=0.0)
        assert uplink.pending == 2
        assert isinstance(desk.received.get(timeout=PATIENCE_S), CameraUpdate)
        uplink.repeat(now_s=0.9)  # too early
        uplink.repeat(now_s=1.0)
        uplink.repeat(now_s=2.9)  # the second pause is twice as long
        again = desk.received.get(timeout=PATIENCE_S)
        assert isinstance(again, wire.Repeated)
        assert [t.key.number for t in again.tracklets] == [1, 2]
        desk.acknowledge = [key(2)]
        until(lambda: uplink.pending == 1, lambda: hear(uplink, now_s=2.9))
        uplink.repeat(now_s=3.0)
        again = desk.received.get(timeout=PATIENCE_S)
        assert [t.key.number for t in again.tracklets] == [1]
        assert uplink.counters.repeated == 3


def test_without_a_linker_nothing_waits_and_what_matters_is_kept(tmp_path: Path) -> None:
    endpoints = bus.local_endpoints(tmp_path)
    with Uplink(endpoints, ["hall"], queue=3, repeat_s=0.0) as uplink:
        sent = [uplink.send(update(seq, tracklet(seq)), now_s=0) for seq in range(10)]
        assert sent == [True] * 3 + [False] * 7  # the queue holds 3
        assert uplink.counters.unsent == 7
        assert not uplink.send(CameraStatus(camera_id="hall", run=1, t_ns=10, state="gone"), now_s=0)
        with Desk(tmp_path, endpoints) as desk:
            seen: set[int] = set()
            goodbyes: list[CameraStatus] = []

            def look() -> None:
                uplink.repeat(now_s=1)
                message = desk.received.get(timeout=PATIENCE_S)
                if isinstance(message, CameraStatus):
                    goodbyes.append(message)
                else:
                    seen.update(t.key.number for t in message.tracklets)

            until(lambda: len(seen) == 10 and len(goodbyes) == 1, look)
            desk.acknowledge = [key(i) for i in range(10)]
            until(lambda: uplink.pending == 0, lambda: hear(uplink, now_s=1))


def test_memory_for_the_unacknowledged_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus, "_MAX_PENDING", 5)
    with Uplink(bus.local_endpoints(tmp_path), ["hall"], queue=1) as uplink:
        for seq in range(8):
            uplink.send(update(seq, tracklet(seq)), now_s=0)
        assert uplink.pending == 5 and uplink.counters.given_up == 3


def test_strange_messages_are_refused_and_counted(tmp_path: Path) -> None:
    with (
        zmq.Context() as context,
        Desk(tmp_path, LOOPBACK) as desk,
        context.socket(zmq.PUSH) as push,
        context.socket(zmq.DEALER) as ask,
    ):
        push.connect(desk.endpoints.ingest)
        push.send(b"\x00garbage")
        push.send(wire.encode(Advance(t_ns=1, final=True)))  # nobody tells the linker the time
        push.send(
            wire.encode(Command(t_ns=1, verb="forget", global_ids=(1,)))
        )  # nor commands it without an answer
        push.send(wire.encode(update(1)))
        assert desk.received.get(timeout=PATIENCE_S).seq == 1
        ask.connect(desk.endpoints.replay)
        long = Command(t_ns=1, verb="name", name="x" * (256 << 10), id="1")
        for bad in (b"\x00garbage", wire.encode(update(1)), wire.encode(long)):
            ask.send_multipart([b"", bad])
            assert ask.poll(int(PATIENCE_S * 1000))
            reply = wire.decode(ask.recv_multipart()[-1])
            assert isinstance(reply, wire.Refused) and ("ask" in reply.reason or "bytes" in reply.reason)
        assert desk.counters.refused == 6  # three of each; counted before the answer leaves
        assert desk.commands == []
        push.linger = ask.linger = 0


def test_boxes_are_published_by_camera(tmp_path: Path) -> None:
    boxes = wire.Boxes(
        camera_id="hall",
        run=1,
        seq=4,
        t_ns=5,
        numbers=np.array([1]),
        global_ids=np.array([9]),
        boxes=np.ones((1, 4), np.float32),
        states=np.ones(1, np.int8),
    )
    with (
        zmq.Context() as context,
        Hub(LOOPBACK) as hub,
        context.socket(zmq.SUB) as hall,
        context.socket(zmq.SUB) as yard,
    ):
        for name, socket in (("hall", hall), ("yard", yard)):
            socket.connect(hub.endpoints.boxes)
            socket.subscribe(f"boxes/{name}/")
        until(
            lambda: bool(hall.poll(10)), lambda: hub.publish_boxes(boxes)
        )  # until the subscription is there
        topic, message = hall.recv_multipart()
        assert topic == b"boxes/hall/"
        got = wire.decode(message)
        assert isinstance(got, wire.Boxes) and got.global_ids.tolist() == [9]
        assert not yard.poll(0)


# Who may listen and speak


@pytest.mark.parametrize("endpoint", ["tcp://*:0", "tcp://0.0.0.0:0", "tcp://[::]:0", "tcp://example.org:1"])
def test_an_endpoint_open_to_others_needs_keys_or_a_word(endpoint: str) -> None:
    with pytest.raises(UserError, match="other machines could read .* set bus.keys, or bus.insecure: true"):
        Hub(LOOPBACK.model_copy(update={"events": endpoint}))


def test_insecure_must_be_asked_for() -> None:
    with Hub(LOOPBACK.model_copy(update={"events": "tcp://0.0.0.0:*", "insecure": True})) as hub:
        assert hub.endpoints.events.startswith("tcp://0.0.0.0:")


def test_a_taken_endpoint_is_said_in_one_sentence() -> None:
    with (
        Hub(LOOPBACK) as hub,
        pytest.raises(UserError, match="cannot be listened on .*in use.* another linker may run"),
    ):
        Hub(hub.endpoints)


def test_with_keys_friends_hear_and_strangers_do_not(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys_of.make_keys(keys)
    for name in ("linker.key_secret", "client.key_secret"):
        assert stat.S_IMODE((keys / name).stat().st_mode) == 0o600
    with pytest.raises(UserError, match="holds keys already"):
        keys_of.make_keys(keys)
    stranger = tmp_path / "stranger"
    keys_of.make_keys(stranger)
    (stranger / "linker.key").write_bytes((keys / "linker.key").read_bytes())
    secured = LOOPBACK.model_copy(update={"keys": str(keys)})
    with Desk(tmp_path, secured) as desk:
        desk.publish([appeared(1)])
        assert ids(take(listen(desk, since=0, keys=keys), 1)) == [1]
        with Uplink(desk.endpoints, ["hall"]) as uplink:
            uplink.send(update(3), now_s=0)
            assert desk.received.get(timeout=PATIENCE_S).seq == 3
        for wrong in (stranger, None):
            with pytest.raises(UserError, match="no linker answered"):
                next(listen(desk, since=0, keys=wrong, timeout_s=0.5))


def test_a_secret_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    keys_of.make_keys(tmp_path / "keys")
    (tmp_path / "keys" / "linker.key_secret").chmod(0o644)
    with pytest.raises(UserError, match="others can read this secret key; run chmod 600"):
        Hub(LOOPBACK.model_copy(update={"keys": str(tmp_path / "keys")}))
    with pytest.raises(UserError, match="no readable key"):
        Hub(LOOPBACK.model_copy(update={"keys": str(tmp_path / "nothing")}))


# Operators


def test_a_command_goes_and_its_outcome_comes_back(tmp_path: Path) -> None:
    with Desk(tmp_path, LOOPBACK) as desk, Operator(desk.endpoints.replay, timeout_s=PATIENCE_S) as operator:
        told = operator.command("split", 7, track_keys=[key(3)])
        again = operator.command("name", 7, name="Ada")
        assert len({told.id, again.id}) == 2
    split, name = desk.commands
    assert (split.verb, split.global_ids, split.track_keys, split.id) == ("split", (7,), (key(3),), told.id)
    assert (name.verb, name.name, name.id, name.by) == ("name", "Ada", again.id, "")


def test_a_command_without_an_answer_is_sent_again_as_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_ANSWER_S", 0.05)
    with Desk(tmp_path, LOOPBACK) as desk, Operator(desk.endpoints.replay, timeout_s=PATIENCE_S) as operator:
        desk.deaf = 2
        assert operator.command("forget", 7).obeyed
        assert len(desk.commands) >= 3 and len({c.id for c in desk.commands}) == 1


def test_an_operator_sees_everybody_over_all_pages(tmp_path: Path) -> None:
    with Desk(tmp_path, LOOPBACK, people=1201) as desk, Operator(desk.endpoints.replay) as operator:
        assert [p.global_id for p in operator.view().identities] == list(range(1, 1202))  # three pages of 500


def test_an_operator_reads_the_audit_to_its_end(tmp_path: Path) -> None:
    with EventLog(tmp_path / "events.sqlite", started_ns=S) as log:
        for n in range(1, 2502):  # three answers of at most 1000
            log.append([], outcome(Command(t_ns=S, verb="forget", global_ids=(n,), id=str(n))))
    with Desk(tmp_path, LOOPBACK) as desk, Operator(desk.endpoints.replay) as operator:
        assert [(o.number, o.global_ids) for o in operator.audit()] == [(n, (n,)) for n in range(1, 2502)]


def test_whose_key_a_command_came_with_is_known_and_not_what_it_says(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys_of.make_keys(keys)
    (keys / "allowed" / "client.key").rename(keys / "allowed" / "ada.key")
    with Desk(tmp_path, LOOPBACK.model_copy(update={"keys": str(keys)})) as desk:
        with Operator(desk.endpoints.replay, keys=keys, timeout_s=PATIENCE_S) as operator:
            assert operator.command("forget", 7).by == "ada"
            lie = Command(t_ns=0, verb="forget", id="x", by="eve")
            assert operator.send(lie).by == "ada"
        with (
            pytest.raises(UserError, match="no linker answered within"),
            Operator(desk.endpoints.replay, timeout_s=0.3) as stranger,
        ):
            stranger.command("forget", 8)
    assert [c.global_ids for c in desk.commands] == [(7,), ()]


def test_where_operators_are_named_nobody_else_commands(tmp_path: Path) -> None:
    keys, other = tmp_path / "keys", tmp_path / "other"
    for folder in (keys, other):
        keys_of.make_keys(folder)
    (keys / "operators").mkdir()
    (keys / "operators" / "ada.key").write_bytes((other / "client.key").read_bytes())
    (keys / "allowed" / "ada.key").write_bytes((other / "client.key").read_bytes())
    (other / "linker.key").write_bytes((keys / "linker.key").read_bytes())
    with Desk(tmp_path, LOOPBACK.model_copy(update={"keys": str(keys)}), people=1) as desk:
        with Operator(desk.endpoints.replay, keys=other, timeout_s=PATIENCE_S) as ada:
            assert ada.command("forget", 7).by == "ada"
        with Operator(desk.endpoints.replay, keys=keys, timeout_s=PATIENCE_S) as client:
            assert len(client.view().identities) == 1  # who may subscribe may still look
            with pytest.raises(UserError, match="your key may ask, not command"):
                client.command("forget", 8)
    assert [c.global_ids for c in desk.commands] == [(7,)]


def test_only_who_commanded_is_told_that_a_command_may_have_been_heard(tmp_path: Path) -> None:
    with Operator(f"ipc://{tmp_path}/nobody", timeout_s=0.05) as operator:
        with pytest.raises(UserError, match=r"and does it ask for keys\?$"):
            operator.view()
        with pytest.raises(UserError, match="A command may still have been heard: 'identity log' tells"):
            operator.command("forget", 1)


# Chunks


def long_merge(tracks: int) -> Merged:
    return Merged(t_ns=S, kept=1, absorbed=2, tracks=tuple(key(n) for n in range(tracks)))


def test_a_replay_comes_in_chunks_of_bytes_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    most = 256 << 10
    # A key takes some 40 bytes: merges of 1000 tracks are 40 KB each, six to a chunk; one of 10,000 is larger than any.
    events: list[Event] = [long_merge(1000) for _ in range(20)] + [long_merge(10_000), appeared(1)]
    with EventLog(tmp_path / "events.sqlite", started_ns=S) as log:
        numbered = log.append(events)
        answers = Answers(log, lambda: View(epoch=0, seq=0, t_ns=0, identities=()))
        place, got, sizes = (0, 0), [], []
        while place < log.place:
            data = answers.to(wire.Ask(what="replay", epoch=place[0], seq=place[1]))
            answer = wire.decode(data)
            assert isinstance(answer, wire.Replay) and answer.events and not answer.gone
            place = answer.through_epoch, answer.through_seq
            got += answer.events
            sizes.append((len(data), len(answer.events)))
        assert (answer.epoch, answer.seq) == log.place == place
    assert got == numbered
    assert all(size <= most or n == 1 for size, n in sizes) and len(sizes) > 4
    assert [n for size, n in sizes if size > most] == [1]  # the large one went alone
    assert wire.encode(answer) == data


def test_pages_of_a_view_are_bounded_in_rows_and_in_bytes(tmp_path: Path) -> None:
    def person(number: int, tracks: int) -> Identity:
        keys = tuple(key(n) for n in range(tracks))
        return Identity(global_id=number, tracks=keys, first=sighting(), last=sighting(), here=True)

    people = tuple(person(n, 1) for n in range(1, 701)) + tuple(person(n, 1000) for n in range(701, 721))
    with EventLog(tmp_path / "events.sqlite", started_ns=S) as log:
        log.append([appeared(1)])
        asked: list[int] = []
        answers = Answers(log, lambda: asked.append(1) or View(epoch=0, seq=0, t_ns=7, identities=people))  # type: ignore[func-returns-value]
        first = wire.decode(answers.to(wire.Ask(what="view")))
        assert isinstance(first, wire.Page) and (first.view.epoch, first.view.seq, first.view.t_ns) == (
            1,
            1,
            7,
        )
        rows: list[Identity] = []
        for n in range(first.pages):
            data = answers.to(wire.Ask(what="view", epoch=1, seq=1, page=n)) if n else wire.encode(first)
            page = wire.decode(data)
            assert isinstance(page, wire.Page) and (page.page, page.pages) == (n, first.pages)
            assert len(data) <= 256 << 10 and len(page.view.identities) <= 500
            assert wire.encode(page) == data
            rows += page.view.identities
        assert tuple(rows) == people and len(asked) == 1
        assert isinstance(
            wire.decode(answers.to(wire.Ask(what="view", epoch=1, seq=1, page=99))), wire.Refused
        )


# Cursor


def test_a_cursor_goes_on_after_the_last_event_that_was_done_with(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "cursor"
    with Desk(tmp_path, LOOPBACK) as desk:
        desk.publish([appeared(n) for n in range(1, 6)])
        events = listen(desk, since=0, cursor=file)
        assert ids(take(events, 3)) == [1, 2, 3]
        events.close()  # type: ignore[attr-defined]  # while the third is in hand: the next was not asked for
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        events = listen(desk, since=0, cursor=file)
        assert ids(take(events, 2)) == [3, 4]
        with pytest.raises(UserError, match="another subscriber goes by this cursor"):
            next(listen(desk, cursor=file))
        events.close()  # type: ignore[attr-defined]
        assert "goes on after 1:2; since counts only while a cursor holds no place" in caplog.text
        # What is filtered out is done with as well: of five only the fourth, in hand until now, and none again.
        assert list(listen(desk, since=0, cursor=file, kinds="left", timeout_s=0.3)) == []
        assert ids(list(listen(desk, since=0, cursor=file, timeout_s=0.3))) == []


def test_a_cursor_without_a_place_begins_with_all_who_are_here(tmp_path: Path) -> None:
    with Desk(tmp_path, LOOPBACK, people=5) as desk:  # three of them are here
        desk.publish([appeared(1)])
        for _ in range(2):
            events = listen(desk, cursor=tmp_path / "cursor")
            assert ids(take(events, 2)) == [1, 3]
            events.close()  # type: ignore[attr-defined]  # one was not told: all are told again
        events = listen(desk, cursor=tmp_path / "cursor")
        assert ids(take(events, 3)) == [1, 3, 5]
        desk.publish([appeared(2)])
        while (event := next(events)).seq < 2:  # the first may still be on its way
            pass
        assert ids([event]) == [2]


@pytest.mark.parametrize("spoilt", [b"cursor 1 000", b"\0" * 80, b"buy milk\n"])
def test_a_cursor_outlives_a_line_half_written(tmp_path: Path, spoilt: bytes) -> None:
    path = tmp_path / "cursor"
    with Cursor(path) as cursor:
        assert cursor.place is None
        for seq in range(1, 6):
            cursor.move((7, seq))
        cursor.move((3, 1))  # of a log that began anew
    with Cursor(path) as cursor:
        assert cursor.place == (3, 1)
    data = path.read_bytes()
    path.write_bytes(
        spoilt + b"x" + data[len(spoilt) + 1 :]
    )  # the sixth line lies first, the fifth in the second block
    with Cursor(path) as cursor:
        assert cursor.place == (7, 5)
        cursor.move((7, 6))  # goes where the spoilt one was
    with Cursor(path) as cursor:
        assert cursor.place == (7, 6)


def test_what_is_no_cursor_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("buy milk\n")
    with pytest.raises(UserError, match="is no cursor"):
        Cursor(path)
    assert path.read_text() == "buy milk\n"
    with pytest.raises(UserError, match="cannot be opened"):
        Cursor(tmp_path / "nowhere" / "cursor")


def test_a_linker_that_fell_silent_is_listened_to_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that broke without a word (a cable, a NAT that forgot) looks like peace; it is not taken for that."""
    monkeypatch.setattr(bus, "_SILENT_S", 0.2)
    with zmq.Context() as context, Desk(tmp_path, LOOPBACK) as desk, context.socket(zmq.PUB) as mute:
        mute.bind("tcp://127.0.0.1:*")
        desk.publish([appeared(1)])
        events = subscribe(
            mute.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"),
            replay=desk.endpoints.replay,
            since=0,
            timeout_s=PATIENCE_S,
        )
        assert ids(take(events, 1)) == [1]
        desk.publish([appeared(2)])
        assert ids(take(events, 1)) == [2]
        mute.linger = 0


# Roles


def granted(folder: Path, *people: tuple[str, keys_of.Role]) -> BusSettings:
    for name, role in people:
        keys_of.new_key(folder, name, role)
    return LOOPBACK.model_copy(update={"keys": str(folder)})


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    theirs = keys_of.new_key(keys, "gate", "worker")
    keys_of.new_key(keys, "ada", "operator")
    assert theirs == keys / "gate" and sorted(p.name for p in theirs.iterdir()) == [
        "client.key",
        "client.key_secret",
        "linker.key",
    ]
    for path in keys.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    known = {key.name: key for key in keys_of.known_keys(keys)}
    assert {name: key.role for name, key in known.items()} == {
        "ada": "operator",
        "client": None,
        "gate": "worker",
    }
    assert known["gate"].rights == {"ingest", "boxes"}
    assert known["client"].rights == known["ada"].rights | {"ingest"}
    for name, why in (("gate", "has a key already"), ("linker", "is no name"), ("../x", "is no name")):
        with pytest.raises(UserError, match=why):
            keys_of.new_key(keys, name, "worker")
    keys_of.revoke_key(keys, "gate")
    assert [key.name for key in keys_of.known_keys(keys)] == ["ada", "client"] and not theirs.exists()
    for name in ("gate", "../linker", "linker"):
        with pytest.raises(UserError, match="has no key in .*; there is ada, client"):
            keys_of.revoke_key(keys, name)
    keys_of.new_key(keys, "gate", "subscriber")


def test_a_key_without_a_role_may_what_it_always_might(tmp_path: Path) -> None:
    keys, other = tmp_path / "keys", tmp_path / "other"
    for folder in (keys, other):
        keys_of.make_keys(folder)
    (keys / "allowed" / "ada.key").write_bytes((other / "client.key").read_bytes())
    everything = {"ingest", "events", "replay", "boxes", "command"}
    assert [key.rights for key in keys_of.known_keys(keys)] == [everything, everything]
    (keys / "operators").mkdir()
    (keys / "operators" / "of_ada.key").write_bytes((other / "client.key").read_bytes())
    ada, client = keys_of.known_keys(keys)
    assert ada.rights == everything and client.rights == everything - {"command"}
    keys_of.revoke_key(keys, "ada")
    assert list((keys / "operators").iterdir()) == []


@pytest.mark.parametrize(
    "line", ['role = ""', 'role = "-worker"', "role", "role =", 'role = "root"', 'Role: "worker2"']
)
def test_a_role_that_is_none_opens_nothing(
    tmp_path: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One that was empty, or began with no letter, used to open everything, as keys without a role do."""
    keys_of.new_key(tmp_path, "gate", "worker")
    path = tmp_path / "allowed" / "gate.key"
    path.write_text(path.read_text().replace('role = "worker"', line))
    client, gate = keys_of.known_keys(tmp_path)
    assert gate.rights == frozenset() and len(client.rights) == 5
    assert ["gate: " in r.getMessage() for r in caplog.records] == [True]
    path.write_text(path.read_text().replace(line, "role = 'worker'  # of the gate"))
    assert keys_of.known_keys(tmp_path)[1].rights == {"ingest", "boxes"}


def test_a_door_sees_that_operators_are_named_also_when_nobody_is(tmp_path: Path) -> None:
    """An empty ``operators/`` made while the linker ran took nothing from anybody until the next start."""
    keys_of.make_keys(tmp_path)
    (client,) = keys_of.known_keys(tmp_path)
    door = keys_of.Door(tmp_path)
    assert not door.look() and door.may(client.public, "command")
    (tmp_path / "operators").mkdir()
    assert door.look() and not door.may(client.public, "command") and door.may(client.public, "events")


def test_every_role_may_its_own_and_nothing_else(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    secured = granted(keys, ("gate", "worker"), ("wall", "subscriber"), ("ada", "operator"))
    with Desk(tmp_path, secured, people=1) as desk:
        desk.publish([appeared(1)])
        for name in ("wall", "ada"):
            assert ids(take(listen(desk, since=0, keys=keys / name), 1)) == [1]
        with pytest.raises(UserError, match="no linker answered"):
            next(listen(desk, since=0, keys=keys / "gate", timeout_s=0.5))
        with Operator(desk.endpoints.replay, keys=keys / "ada", timeout_s=PATIENCE_S) as ada:
            assert ada.command("forget", 7).by == "ada"
        with Operator(desk.endpoints.replay, keys=keys / "wall", timeout_s=PATIENCE_S) as wall:
            assert len(wall.view().identities) == 1
            with pytest.raises(UserError, match="your key may ask, not command"):
                wall.command("forget", 8)
        with (
            Operator(desk.endpoints.replay, keys=keys / "gate", timeout_s=0.3) as gate,
            pytest.raises(UserError, match="no linker answered"),
        ):
            gate.command("forget", 9)
        for name in ("wall", "gate"):  # the second is heard, so the first would have been
            with Uplink(desk.endpoints.model_copy(update={"keys": str(keys / name)}), ["hall"]) as uplink:
                uplink.send(update(1 if name == "wall" else 2, tracklet(1)), now_s=0)
                if name == "gate":
                    assert desk.received.get(timeout=PATIENCE_S).seq == 2
                    desk.acknowledge = [key(1)]
                    until(lambda: uplink.pending == 0, lambda: hear(uplink, now_s=0))
        assert desk.received.empty()
    assert [c.global_ids for c in desk.commands] == [(7,)]


def test_a_revoked_key_hears_and_says_nothing_more_while_the_linker_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_LOOK_S", 0.02)
    monkeypatch.setattr(bus, "_SILENT_S", 0.5)
    monkeypatch.setattr(bus, "_ANSWER_S", 0.1)
    keys = tmp_path / "keys"
    secured = granted(keys, ("gate", "worker"), ("wall", "subscriber"), ("hall", "subscriber"))
    with Desk(tmp_path, secured) as desk:
        for name in ("wall", "gate"):  # what lies on their machines does not go with it
            shutil.copytree(keys / name, tmp_path / name)
        told = {
            "wall": listen(desk, since=0, keys=tmp_path / "wall", timeout_s=2.0),
            "hall": listen(desk, since=0, keys=keys / "hall"),
        }
        desk.publish([appeared(1)])
        assert [ids(take(events, 1)) for events in told.values()] == [[1], [1]]
        there = desk.endpoints.model_copy(update={"keys": str(tmp_path / "gate")})
        with Uplink(there, ["hall"]) as uplink:
            uplink.send(update(1), now_s=0)
            assert desk.received.get(timeout=PATIENCE_S).seq == 1
            for name in ("wall", "gate"):
                keys_of.revoke_key(keys, name)
            # What it hears ends, and it says so.
            until(lambda: uplink.is_shut_out, lambda: hear(uplink, now_s=0))
            # Over the connection that still stands: refused one by one, from within a second on.
            sent = itertools.count(2)
            until(
                lambda: desk.counters.refused > 0,
                lambda: uplink.send(update(next(sent)), 0) and uplink.poll(0.02),
            )
            while not desk.received.empty():
                desk.received.get()
            refused = desk.counters.refused
            uplink.send(update(next(sent)), now_s=0)
            until(lambda: desk.counters.refused > refused, lambda: uplink.poll(0.02))
            assert desk.received.empty()
        desk.publish([appeared(2), appeared(3)])
        assert ids(take(told["hall"], 2)) == [2, 3]  # came in again by itself
        assert ids(list(told["wall"])) == []
        with Uplink(there, ["hall"]) as uplink:
            monkeypatch.setattr(bus, "_KNOCK_S", 0.0)
            uplink.send(update(1000), now_s=0)
            until(lambda: desk.counters.denied > 0, lambda: hear(uplink, now_s=0))
            # Let in again: the worker asks on.
            (keys / "allowed" / "gate.key").write_bytes((tmp_path / "gate" / "client.key").read_bytes())
            until(
                lambda: not desk.received.empty(),
                lambda: uplink.send(update(next(sent)), 0) and hear(uplink, now_s=0),
            )


# Bounds


def test_nobody_sends_more_than_his_share(tmp_path: Path) -> None:
    bounded = LOOPBACK.model_copy(update={"peer_rate": 10.0})
    with (
        Desk(tmp_path, bounded) as desk,
        Uplink(desk.endpoints, ["hall"]) as loud,
        Uplink(desk.endpoints, ["hall"]) as calm,
    ):
        for seq in range(100):
            loud.send(update(seq), now_s=0)
        until(lambda: desk.counters.limited + desk.received.qsize() >= 100, lambda: loud.poll(0.02))
        assert (
            10 <= desk.received.qsize() < 60 and desk.counters.limited > 40
        )  # ten, and those of the time that passed
        while not desk.received.empty():
            desk.received.get()
        calm.send(update(1000), now_s=0)
        assert desk.received.get(timeout=PATIENCE_S).seq == 1000


def test_what_came_before_byte_for_byte_is_counted_and_left_out(tmp_path: Path) -> None:
    with zmq.Context() as context, Desk(tmp_path, LOOPBACK) as desk, context.socket(zmq.PUSH) as push:
        push.connect(desk.endpoints.ingest)
        gone = CameraStatus(camera_id="hall", run=1, t_ns=3, state="gone")
        repeated = wire.Repeated(camera_id="hall", run=1, tracklets=(tracklet(1),))
        for message in (update(1), gone, repeated, update(1), gone, repeated, update(2)):
            push.send(wire.encode(message))
        got = [desk.received.get(timeout=PATIENCE_S) for _ in range(5)]
        # Ended tracklets are said again until somebody acknowledges them: those are meant.
        assert [wire.kind_of(m) for m in got] == [
            "camera_update",
            "camera_status",
            "repeated",
            "repeated",
            "camera_update",
        ]
        assert got[-1].seq == 2 and desk.counters.again == 2
        push.linger = 0


def test_a_message_too_large_is_refused_and_one_far_too_large_cuts_off(tmp_path: Path) -> None:
    with zmq.Context() as context, Desk(tmp_path, LOOPBACK) as desk, context.socket(zmq.PUSH) as push:
        push.connect(desk.endpoints.ingest)
        push.send(b"x" * (2 << 20))
        push.send(wire.encode(update(1)))
        assert desk.received.get(timeout=PATIENCE_S).seq == 1 and desk.counters.refused == 1
        push.send(b"x" * (5 << 20))
        until(
            lambda: not desk.received.empty(),
            lambda: push.send(wire.encode(update(2))) or push.poll(20, zmq.POLLIN),
        )  # type: ignore[func-returns-value]
        push.linger = 0


def test_only_the_frames_that_belong_there_are_taken_and_all_of_them_count(tmp_path: Path) -> None:
    """Of a message in many frames only the last was looked at: 120 MiB counted as one small update."""
    bounded = LOOPBACK.model_copy(update={"peer_rate": 100.0})
    with (
        zmq.Context() as context,
        Desk(tmp_path, bounded) as desk,
        context.socket(zmq.PUSH) as push,
        context.socket(zmq.PUSH) as other,
        context.socket(zmq.DEALER) as ask,
    ):
        for socket, endpoint in (
            (push, desk.endpoints.ingest),
            (other, desk.endpoints.ingest),
            (ask, desk.endpoints.replay),
        ):
            socket.linger = 0
            socket.connect(endpoint)
        push.send_multipart([b"x", wire.encode(update(1))])
        push.send(wire.encode(update(2)))
        assert desk.received.get(timeout=PATIENCE_S).seq == 2 and desk.counters.refused == 1
        # 32 frames of 64 KiB count as 1 + 32 * 64 / 16 = 129, which is all that this peer may say in a second.
        other.send_multipart([b"x" * (64 << 10)] * 32 + [wire.encode(update(3))])
        other.send(wire.encode(update(4)))
        until(lambda: desk.counters.limited == 1, lambda: other.poll(20))
        assert desk.received.empty() and desk.counters.refused == 2
        question = wire.encode(wire.Ask(what="audit"))
        for frames in ([question], [b"", b"x", question], [b"x", question], [b"", question, b""]):
            ask.send_multipart(frames)
            assert ask.poll(1000 * PATIENCE_S)
            empty, answer = ask.recv_multipart()
            assert empty == b"" and isinstance(wire.decode(answer), wire.Refused)
        assert desk.counters.refused == 6
        ask.send_multipart([b"", question])
        assert ask.poll(1000 * PATIENCE_S) and isinstance(wire.decode(ask.recv_multipart()[-1]), wire.Audit)


def test_an_update_of_a_crowd_goes_in_parts_that_are_not_too_large(tmp_path: Path) -> None:
    looks = np.ones((8, 512), np.float16)  # 8 KB a tracklet: 200 of them are 1.6 MB
    crowd = [
        msgspec.structs.replace(tracklet(n), prototypes=looks, quality=np.zeros(8, np.float32))
        for n in range(200)
    ]
    with Desk(tmp_path, LOOPBACK) as desk, Uplink(desk.endpoints, ["hall"], repeat_s=1.0) as uplink:
        assert uplink.send(update(1, *crowd), now_s=0)
        parts = [desk.received.get(timeout=PATIENCE_S) for _ in range(2)]
        assert [t.key.number for part in parts for t in part.tracklets] == list(range(200))
        uplink.repeat(now_s=1.0)
        again = [desk.received.get(timeout=PATIENCE_S) for _ in range(2)]
        assert [t.key.number for part in again for t in part.tracklets] == list(range(200))
        assert desk.counters.refused == desk.counters.again == 0
