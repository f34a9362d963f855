"""Whoever should not be heard is not, and is counted; those beside them lose nothing.

One linker that asks for keys (the stand-in of ``events`` decides, all else is the shipped program), a worker and a
subscriber with keys of their own, and beside them all that a stranger may try: another key, no key, plain text, a
session recorded and played again, a key that may do something else, a key that was revoked; and what a worker that has
lost its mind may: messages too large, too many, and the same again.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import zmq
from zmq.utils.monitor import parse_monitor_message

from benchmarks.accuracy import Row, least, most
from benchmarks.reliability.bench import Bench, CannotRun
from benchmarks.reliability.events import (
    HEARD,
    Cast,
    Watch,
    compared,
    frame,
    hear,
    logged,
    rows_of,
    serve,
    size,
    work,
)
from tracker.config import BusSettings
from tracker.io import wire
from tracker.io.keys import make_keys, new_key, read_key, revoke_key
from tracker.types import CameraUpdate, Command

PATIENCE_S = 20.0
RATE = 200.0  # messages a second of one peer: below what any machine can take, above what the healthy worker sends
STRANGE_RUN = 900  # of every update that must not be heard


def run(bench: Bench) -> Row:
    """Let in, heard or obeyed though they may not; not counted; and what the healthy lost meanwhile."""
    if not hasattr(os, "fork"):
        raise CannotRun("processes are forked from a small server")
    with bench.folder() as folder:
        figures = stage(bench, folder)
    nothing = (
        "let in",
        "heard",
        "obeyed",
        "answered",
        "not counted",
        "lost",
        "duplicated",
        "out of order",
        "different",
        "safe people lost",
        "people told wrongly",
    )
    return Row(
        "strangers", figures, dict.fromkeys(nothing, most(0)) | {"tries": least(11 * bench.of(3, 100))}
    )


def stage(bench: Bench, folder: Path) -> dict[str, float]:
    tries, people = bench.of(3, 100), bench.of(600, 5_000)
    keys = folder / "keys"
    for name in ("gate", "mad", "late"):
        new_key(keys, name, "worker")
    for name in ("wall", "nosy"):
        new_key(keys, name, "subscriber")
    make_keys(folder / "stranger")
    (folder / "stranger" / "linker.key").write_bytes((keys / "linker.key").read_bytes())
    ports = dict(zip(("ingest", "events", "replay", "boxes"), free_ports(4), strict=True))
    endpoints = {name: f"tcp://127.0.0.1:{port}" for name, port in ports.items()}
    own = BusSettings(**endpoints, keys=str(keys), peer_rate=RATE)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    cast, busy = Cast(context), folder / "busy"
    out, note = folder / "wall.heard", folder / "safe"
    with contextlib.ExitStack() as stack:
        stack.callback(cast.end)
        cast.start("linker", serve, folder, own, ["c1", "c2", "c3"], 0.05)
        gate = own.model_copy(update={"keys": str(keys / "gate")})
        cast.start("worker-0", work, gate, ["c1", "c2"], 1, people, note)
        cast.start("wall", hear, own.events, own.replay, out, 1, busy, keys / "wall")
        watch = Watch(cast, lambda: size(note) + size(out) + int(counters(folder).get("denied", 0)))
        while not size(out):
            watch.look()
        strange = Strangers(own, keys, folder, watch)
        kinds: dict[str, tuple[str, Callable[[], None]]] = {
            "another key": ("denied", lambda: strange.push(folder / "stranger")),
            "no key": ("denied", lambda: strange.push(None)),
            "plain text": ("denied", lambda: strange.plain(b"GET / HTTP/1.1\r\nHost: linker\r\n\r\n")),
            "a session played again": ("denied", strange.play_again),
            "a subscriber's key that pushes": ("denied", lambda: strange.push(keys / "nosy")),
            "a worker's key that commands": ("denied", lambda: strange.command(keys / "mad")),
            "a subscriber's key that commands": ("refused", lambda: strange.ask_too_much(keys / "nosy")),
            "2 MiB": ("refused", lambda: strange.say(b"\0" * (2 << 20))),
            "no message": ("refused", lambda: strange.say(b"\0" * 100)),
            "an update again": ("again", lambda: strange.say(strange.said)),
        }
        figures: dict[str, float] = {"not counted": 0}
        for counter, attempt in kinds.values():
            figures["not counted"] += strange.uncounted(counter, attempt, tries)
        figures["not counted"] += strange.revoked(tries)
        figures["beyond the rate, of 2000"] = strange.flood(2000)
        figures["not counted"] += figures["beyond the rate, of 2000"] == 0
        figures |= {"tries": tries * (len(kinds) + 1), "let in": strange.let_in, "answered": strange.answered}
        while cast.running["worker-0"].is_alive() or size(out) < logged(folder) * HEARD.size:
            watch.look()
        strange.close()
        cast.running["linker"].terminate()
        cast.running["linker"].join(30)
        # The mad worker's own camera is a real one: what it says for the first time is heard, and nothing else.
        strangers = [
            g
            for (g,) in rows_of(folder, "SELECT DISTINCT global_id FROM events")
            if (g >> 32) % 1000 == STRANGE_RUN
        ]
        return figures | {
            "heard": len(strangers),
            "obeyed": int(next(rows_of(folder, "SELECT count(*) FROM commands"))[0]),
            **compared(folder / "events.sqlite", [out], [note]),
        }


class Strangers:
    """All that should not be heard. One thread; each attempt waits for what becomes of it."""

    def __init__(self, own: BusSettings, keys: Path, folder: Path, watch: Watch) -> None:
        self._own, self._keys, self._folder, self._watch = own, keys, folder, watch
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._session = self._recorded()
        with self._context.socket(zmq.PAIR) as told:
            self._mad = self._socket(zmq.PUSH, own.ingest, keys / "mad", told)
            told.poll(round(PATIENCE_S * 1000))
            self._mad.disable_monitor()
        self.said = wire.encode(frame("c3", 1, 0))
        self._mad.send(self.said)
        # Whoever is still shaking hands counts as not let in, until they are.
        self.until(lambda: counters(folder)["denied"] == 0)
        self.let_in = self.answered = 0

    def until(self, true: Callable[[], bool]) -> None:
        """Raises TimeoutError when it does not become true."""
        last_s = time.monotonic() + PATIENCE_S
        while not true():
            self._watch.look()
            if time.monotonic() > last_s:
                raise TimeoutError

    def uncounted(self, counter: str, attempt: Callable[[], None], tries: int) -> float:
        """How many too few were counted, of so many attempts; as beyond the rate is counted as well."""

        def count() -> float:
            now = counters(self._folder)
            return now[counter] + now["limited"]

        enough = count() + tries
        for _ in range(tries):
            attempt()
        with contextlib.suppress(TimeoutError):
            self.until(lambda: count() >= enough)
        return max(enough - count(), 0)

    def push(self, keys: Path | None) -> None:
        """An update with keys that may not."""
        with self._trying(zmq.PUSH, self._own.ingest, keys) as there, contextlib.suppress(zmq.Again):
            there.send(wire.encode(frame("c3", STRANGE_RUN, time.time_ns() % 1_000_000)), zmq.NOBLOCK)

    def command(self, keys: Path | None) -> None:
        """A command with keys that may not even ask."""
        with self._trying(zmq.DEALER, self._own.replay, keys) as there, contextlib.suppress(zmq.Again):
            there.send_multipart([b"", wire.encode(_order())], zmq.NOBLOCK)

    def ask_too_much(self, keys: Path) -> None:
        """A command with keys that may ask: answered, that it is refused. Raises TimeoutError when it is not."""
        with self._socket(zmq.DEALER, self._own.replay, keys) as there:
            there.send_multipart([b"", wire.encode(_order())])
            self.until(lambda: there.poll(0) > 0)
            self.answered += not isinstance(wire.decode(there.recv_multipart()[-1]), wire.Refused)

    def plain(self, data: bytes) -> None:
        """Bytes that are no session, until the linker hangs up."""
        with socket.create_connection(("127.0.0.1", port_of(self._own.ingest)), timeout=PATIENCE_S) as there:
            with contextlib.suppress(OSError):
                there.sendall(data)
                there.shutdown(socket.SHUT_WR)
                while there.recv(1 << 16):
                    pass

    def play_again(self) -> None:
        """All that a worker with a good key once sent, byte for byte."""
        self.plain(self._session)

    def say(self, data: bytes) -> None:
        """Through the door, with a worker's key: what the linker has to refuse by itself."""
        self._mad.send(data)

    def revoked(self, tries: int) -> float:
        """Updates over a connection whose key is revoked meanwhile; how many too few were counted."""
        there = self._socket(zmq.PUSH, self._own.ingest, self._keys / "late")
        updates = counters(self._folder)["updates"]
        there.send(wire.encode(frame("c3", 2, 0)))
        self.until(lambda: counters(self._folder)["updates"] > updates)
        revoke_key(self._keys, "late")

        def is_shut_out() -> bool:
            there.send(wire.encode(frame("c3", 2, time.time_ns() % 1_000_000)))
            return counters(self._folder)["refused"] > refused

        # The linker looks at its folder once a second; from then on the key opens nothing.
        refused = counters(self._folder)["refused"]
        self.until(is_shut_out)
        uncounted = self.uncounted(
            "refused",
            lambda: _send(there, frame("c3", STRANGE_RUN, time.time_ns() % 1_000_000)),
            tries,
        )
        there.close(linger=0)
        return uncounted

    def flood(self, count: int) -> float:
        """So many sound updates at once from one key; how many of them were beyond its rate."""
        before = counters(self._folder)
        for number in range(count):
            self._mad.send(wire.encode(msgspec.structs.replace(frame("c3", 3, number), tracklets=())))

        def since(*names: str) -> float:
            now = counters(self._folder)
            return sum(now[name] - before[name] for name in names)

        with contextlib.suppress(TimeoutError):
            self.until(lambda: since("updates", "limited") >= count)
        return since("limited")

    def close(self) -> None:
        self._context.destroy(linger=0)

    def _socket(
        self, kind: int, endpoint: str, keys: Path | None, told: zmq.Socket[bytes] | None = None
    ) -> zmq.Socket[bytes]:
        """A socket that is connecting; ``told`` hears how that ends."""
        there = self._context.socket(kind)
        there.linger = 0
        there.set_hwm(0)
        if told is not None:
            name = f"inproc://{uuid.uuid4().hex}"
            there.monitor(name, zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
            told.connect(name)
        if keys is not None:
            there.curve_serverkey = read_key(keys / "linker.key")[0]
            public, secret = read_key(keys / "client.key_secret")
            assert secret is not None
            there.curve_publickey, there.curve_secretkey = public, secret
        there.connect(endpoint)
        return there

    @contextlib.contextmanager
    def _trying(self, kind: int, endpoint: str, keys: Path | None) -> Iterator[zmq.Socket[bytes]]:
        """A socket that knocks; when done, whether it was let in is known."""
        told = self._context.socket(zmq.PAIR)
        there = self._socket(kind, endpoint, keys, told)
        try:
            yield there
            if told.poll(round(PATIENCE_S * 1000)):
                event = parse_monitor_message(told.recv_multipart())["event"]
                is_in = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
                self.let_in += is_in
                # Whoever was let in is answered sooner or later, if at all; whoever was not has nobody to hear.
                if is_in and kind == zmq.DEALER:
                    self.answered += there.poll(round(PATIENCE_S * 1000)) > 0
        finally:
            there.disable_monitor()
            told.close(linger=0)
            there.close(linger=0)

    def _recorded(self) -> bytes:
        """What a worker with a good key sends, from the first byte on."""
        heard: list[bytes] = []
        with socket.create_server(("127.0.0.1", 0)) as listening:
            relay = threading.Thread(target=_relay, args=(listening, port_of(self._own.ingest), heard))
            relay.start()
            updates = counters(self._folder)["updates"]
            port = listening.getsockname()[1]
            with self._socket(zmq.PUSH, f"tcp://127.0.0.1:{port}", self._keys / "mad") as there:
                there.send(wire.encode(frame("c3", 4, 0)))
                self.until(lambda: counters(self._folder)["updates"] > updates)
            relay.join()
        return b"".join(heard)


def _relay(listening: socket.socket, port: int, heard: list[bytes]) -> None:
    here, _ = listening.accept()
    with here, socket.create_connection(("127.0.0.1", port)) as there:

        def back() -> None:
            with contextlib.suppress(OSError):
                while data := there.recv(1 << 16):
                    here.sendall(data)

        answers = threading.Thread(target=back)
        answers.start()
        with contextlib.suppress(OSError):
            while data := here.recv(1 << 16):
                heard.append(data)
                there.sendall(data)
        there.shutdown(socket.SHUT_RDWR)
        answers.join()


def counters(folder: Path) -> dict[str, float]:
    """What the linker has counted by now."""
    path = folder / "linker.json"
    found: dict[str, float] = json.loads(path.read_bytes())["counters"] if path.exists() else {}
    return found


def port_of(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [s.getsockname()[1] for s in sockets]


def _order() -> Command:
    return Command(t_ns=0, verb="forget", global_ids=(1,), id=uuid.uuid4().hex)


def _send(there: zmq.Socket[bytes], update: CameraUpdate) -> None:
    there.send(wire.encode(update))
