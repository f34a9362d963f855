"""ZeroMQ sockets: updates in, events out, replays and views on request.

    worker  --PUSH-->  PULL    ingest   updates and statuses; bounded, what does not fit is counted
    worker  <--SUB---  PUB     boxes    acknowledgements, and every frame's boxes; lossy, not logged
    anyone  <--SUB---  PUB     events   topic = kind of the event; every event is on disk before it is here
    anyone  --DEALER-> ROUTER  replay   what a subscriber missed, where everybody is now, commands of operators

PUB loses messages whenever a subscriber is late or slow. Events are numbered without holes, and a heartbeat tells
the last number: so a subscriber sees what it missed and asks for it (the Clone pattern of the ZeroMQ Guide, chapter
5, made whole by a log). docs/events.md describes the frames for other languages.

Every socket is made, used and closed in one thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

import msgspec
import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import parse_monitor_message

from tracker.config import BusSettings
from tracker.errors import UserError
from tracker.io import wire
from tracker.io.cursor import Cursor
from tracker.io.keys import Door, Right, read_key
from tracker.io.status import is_loopback
from tracker.io.store import EventLog, Place, identities_of
from tracker.types import (
    Appeared,
    CameraBack,
    CameraId,
    CameraLost,
    CameraStatus,
    CameraUpdate,
    Command,
    Event,
    HandedOver,
    Left,
    Merged,
    Sighting,
    Split,
    TrackKey,
    Tracklet,
    Updated,
    View,
)

log = logging.getLogger(__name__)

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5556"
DEFAULT_REPLAY = "tcp://127.0.0.1:5557"
EVENT_KINDS = wire.kinds_of(Event)
HEARTBEAT_S = 1.0  # how often the linker says where its log stands
_LINGER_MS = 1000  # a closing socket waits this long for what is still in its queue
_SILENT_S = (
    10 * HEARTBEAT_S
)  # a linker unheard for this long is listened to on a fresh socket: links break silently
_ANSWER_S = (
    2.0  # a question unanswered for this long is asked again on a fresh socket, then for twice as long, ...
)
_MOST_ANSWER_S = 30.0  # ... up to this: a linker with too much to do would answer sockets that are gone
_KNOCK_S = 10.0  # how often a worker whose key is refused tries again
_PING_MS = 3000  # how often a worker sees whether its links still stand
_CHUNK_BYTES = 256 << 10  # of one answer; a single event or identity that is larger goes alone
_ENVELOPE_BYTES = 512  # of these: what is around the events or identities
_PAGE = 500  # identities in one page of a view
_VIEWS_KEPT = 8  # views whose further pages can still be asked for
_MAX_REPLAY = 2000  # events in one answer
_MAX_ANSWERS = 4  # questions answered between two looks at the other sockets: 25 ms each at most
_MAX_COMMAND_BYTES = 256 << 10  # a split that names 3,000 tracklets is shorter
_MAX_PENDING = 10_000  # ended tracklets that wait for their acknowledgement, per worker
_BURST = 1000  # messages taken in between two looks at the other sockets
_MAX_RECEIVED = 1 << 20  # bytes of one message to the linker: some hundred tracklets with all their looks
_COUNTS_AS_ONE = (
    16 << 10
)  # bytes of a message that count as one towards bus.peer_rate: an update of a busy frame
_ASKS_S = 1000  # questions a second that one peer may ask: its share of the linker's time
_VIEW_COUNTS_AS = 100  # of these: a view of 20,000 people takes as long
_PEERS = 10_000  # whose shares are remembered
# Updates remembered, to know one that comes again: 16 s of ten cameras at 25 a second. More would only take memory: of
# an older one the linker hears no revision that it has already had.
_DIGESTS = 1 << 12
_LOOK_S = 1.0  # how often the folder of keys is looked at
_TOPIC_BYTES = 4096  # of a subscription
# Kind of socket, messages that wait for or from one peer, bytes of one received: four times what is refused with a
# reason, so that who sends a little too much is counted and not cut off.
_KINDS: dict[Right, tuple[int, int, int]] = {
    "ingest": (zmq.PULL, 1000, 4 * _MAX_RECEIVED),
    "events": (zmq.PUB, 10_000, _TOPIC_BYTES),
    "replay": (zmq.ROUTER, 16, 4 * _MAX_RECEIVED),
    "boxes": (zmq.PUB, 10_000, _TOPIC_BYTES),
}


# Endpoints and keys


def replay_endpoint(events: str) -> str:
    """Where an events endpoint's replays are asked for, unless told otherwise: the next port, or ``.replay``."""
    head, colon, port = events.rpartition(":")
    if events.startswith("tcp://") and port.isdecimal():
        return f"{head}{colon}{int(port) + 1}"
    return f"{events}.replay"


def local_endpoints(folder: Path) -> BusSettings:
    """Endpoints for processes of one machine (``ipc://``), as files in ``folder``."""
    at = f"ipc://{folder}"
    events = f"{at}/events"
    return BusSettings(
        ingest=f"{at}/ingest", events=events, replay=replay_endpoint(events), boxes=f"{at}/boxes"
    )


def _act_as_client(socket: zmq.Socket[bytes], keys: Path | None) -> None:
    if keys is None:
        return
    socket.curve_serverkey = read_key(keys / "linker.key")[0]
    public, secret = read_key(keys / "client.key_secret")
    assert secret is not None
    socket.curve_publickey, socket.curve_secretkey = public, secret


def _refuse_open_endpoint(endpoint: str, settings: BusSettings) -> None:
    """Who is where is nobody else's business: other machines reach us with keys, or because the site says so."""
    if settings.keys is not None or settings.insecure or not endpoint.startswith("tcp://"):
        return
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    if not is_loopback(host):
        raise UserError(
            f"{endpoint}: other machines could read and send here without a key; set bus.keys, or bus.insecure: "
            "true (--insecure) if this network is yours alone"
        )


def _socket(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, *, queue: int, largest: int = wire.MAX_MESSAGE_BYTES
) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    socket.set_hwm(queue)
    socket.linger = _LINGER_MS
    socket.maxmsgsize = largest  # whoever sends more is cut off
    return socket


def _connect(socket: zmq.Socket[bytes], endpoint: str) -> None:
    socket.ipv6 = "[" in endpoint
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        raise UserError(f"{endpoint}: is no endpoint ({error}); write it like {DEFAULT_ENDPOINT}") from error


class Counters(msgspec.Struct):
    """What went through a ``Hub`` or an ``Uplink``, and what did not."""

    received: int = 0
    refused: int = 0  # messages that were none of ours, too large, or not for this key to send
    limited: int = 0  # messages beyond what one peer may send
    again: int = 0  # updates and statuses that had come before, byte for byte
    denied: int = 0  # connections that were not let in
    sent: int = 0
    unsent: int = 0  # the queue was full; the next revision heals it
    repeated: int = 0  # ended tracklets sent once more
    given_up: int = 0  # ended tracklets that nobody acknowledged before memory ran out


# Linker


class Hub:
    """The linker's four sockets. Used in a ``with``, in one thread."""

    def __init__(self, settings: BusSettings, *, queue: int = 10_000) -> None:
        """Bind everything.

        Args:
            queue: Bound of what waits for one subscriber, in messages. PUB drops what does not fit.

        Raises:
            UserError: an endpoint is taken, is none, or is open to other machines without keys.
        """
        self.counters = Counters()
        self._queue = queue
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._authenticator: ThreadAuthenticator | None = None
        self._door: Door | None = None
        self._secret: tuple[bytes, bytes] | None = None
        self._sockets: dict[Right, zmq.Socket[bytes]] = {}
        self._knocks: dict[Right, zmq.Socket[bytes]] = {}
        self._senders, self._askers = _Fair(settings.peer_rate), _Fair(_ASKS_S)
        self._digests: OrderedDict[bytes, None] = OrderedDict()  # of the updates that came last
        self._looked_s = time.monotonic()
        self._bound = 0  # how often something was: a name for who listens to the knocks
        try:
            for name in _KINDS:
                _refuse_open_endpoint(getattr(settings, name), settings)
            self._authenticate(settings)
            for name in _KINDS:
                self._bind(name, getattr(settings, name))
        except BaseException:
            self.close()
            raise
        # With a port of 0 or *, these are the real ones.
        real: dict[str, str] = {
            name: s.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0") for name, s in self._sockets.items()
        }
        self.endpoints = settings.model_copy(update=real)
        self._poller = zmq.Poller()
        self._poller.register(self._sockets["ingest"], zmq.POLLIN)
        self._poller.register(self._sockets["replay"], zmq.POLLIN)

    def _authenticate(self, settings: BusSettings) -> None:
        if settings.keys is None:
            return
        keys = Path(settings.keys)
        public, secret = read_key(keys / "linker.key_secret")
        assert secret is not None
        self._secret = public, secret
        self._door = Door(keys)
        self._authenticator = ThreadAuthenticator(self._context)
        self._authenticator.start()
        for name in _KINDS:
            self._authenticator.configure_curve_callback(domain=name, credentials_provider=self._door)

    def _bind(self, name: Right, endpoint: str) -> None:
        kind, queue, largest = _KINDS[name]
        socket = _socket(self._context, kind, queue=min(queue, self._queue), largest=largest)
        self._sockets[name] = socket
        socket.zap_domain = name.encode()
        if self._secret is not None:
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = self._secret
        socket.ipv6 = "[" in endpoint
        self._bound += 1
        knocks = f"inproc://{name}-{self._bound}"
        socket.monitor(knocks, zmq.EVENT_ACCEPTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_CLOSED)
        self._knocks[name] = self._context.socket(zmq.PAIR)
        self._knocks[name].set_hwm(0)  # a full one would stop the socket that it tells of
        self._knocks[name].connect(knocks)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            raise UserError(
                f"{endpoint}: cannot be listened on ({error}); another linker may run, else choose another one "
                "under 'bus:'"
            ) from error

    def poll(self, timeout_s: float) -> bool:
        """Wait for messages or questions; whether there are any."""
        return bool(self._poller.poll(round(timeout_s * 1000)))

    def receive(self, within_s: float = math.inf) -> Iterator[CameraUpdate | CameraStatus | wire.Repeated]:
        """What has come in, at most a burst of it, and no more once ``within_s`` is over.

        What is none of ours, or not for its sender to say, is refused, counted and said once.
        """
        self._look()
        until_s = time.monotonic() + within_s
        for _ in range(_BURST):
            try:
                frames = self._sockets["ingest"].recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            message = self._taken(frames)
            if message is not None:
                self.counters.received += 1
                yield message
            if time.monotonic() > until_s:
                return

    def _taken(self, frames: Sequence[zmq.Frame]) -> CameraUpdate | CameraStatus | wire.Repeated | None:
        frame = frames[-1]
        key = _sender(frame)
        if self._door is not None and not self._door.may(key, "ingest"):
            self._refuse(f"{self._door.name(key)} may not send updates")  # no longer: it was let in once
            return None
        if not self._senders.may(key or _connection(frame), _cost(frames)):
            self._limit(key or _connection(frame))
            return None
        if len(frames) > 1:
            self._refuse(f"an update is one frame, and not {len(frames)}")
            return None
        if len(frame) > _MAX_RECEIVED:
            self._refuse(f"an update has at most {_MAX_RECEIVED} bytes")
            return None
        data = frame.bytes
        message = self._decoded(data)
        # Time is the linker's own business, and a command wants an answer: neither is sent here.
        if not isinstance(message, CameraUpdate | CameraStatus | wire.Repeated):
            if message is not None:
                self._refuse(f"a {wire.kind_of(message)} does not belong here")
            return None
        if not isinstance(message, wire.Repeated) and self._came_before(data):
            self.counters.again += 1
            return None
        return message

    def _came_before(self, data: bytes) -> bool:
        """Whether these bytes are among the last that came: no worker says the same about a frame twice."""
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if digest in self._digests:
            return True
        self._digests[digest] = None
        if len(self._digests) > _DIGESTS:
            self._digests.popitem(last=False)
        return False

    def questions(self) -> Iterator[tuple[list[bytes], wire.Ask | Command]]:
        """Some of the questions and commands that have come in, each with the address that ``answer`` wants.

        A command says ``by`` whom it was sent: the name of the file that holds the sender's public key.
        """
        for _ in range(_MAX_ANSWERS):
            try:
                frames = self._sockets["replay"].recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            frame = frames[-1]
            address, key = [frames[0].bytes, b""], _sender(frame)
            if self._door is not None and not self._door.may(key, "replay"):
                self._refuse(f"{self._door.name(key)} may not ask")  # no longer: it was let in once
                continue
            asker = key or _connection(frame)
            is_framed = len(frames) == 3 and not frames[1].bytes
            message = self._decoded(frame.bytes) if is_framed and len(frame) <= _MAX_RECEIVED else None
            is_view = isinstance(message, wire.Ask) and message.what == "view" and message.page <= 0
            if not self._askers.may(asker, _VIEW_COUNTS_AS if is_view else _cost(frames)):
                self._limit(asker)
                continue
            if not is_framed:
                self._refuse(f"a question is an empty frame and one of its own, and not {len(frames) - 1}")
                self.answer(
                    address, wire.Refused(reason="send an empty frame, then one frame with the message")
                )
                continue
            is_short = len(frame) <= _MAX_COMMAND_BYTES
            is_operator = self._door is None or self._door.may(key, "command")
            if isinstance(message, wire.Ask):
                yield address, message
            elif isinstance(message, Command) and is_operator and is_short:
                name = "" if self._door is None else self._door.name(key)
                yield address, msgspec.structs.replace(message, by=name)
            else:
                reason = "send an 'ask' or a 'command' message; docs/events.md has their fields"
                if not is_short:
                    reason = f"a command has at most {_MAX_COMMAND_BYTES} bytes"
                if isinstance(message, Command) and not is_operator:
                    reason = "your key may ask, not command: it has not the role of an operator, nor lies in operators/"
                if message is not None or len(frame) > _MAX_RECEIVED:
                    who = asker if self._door is None else self._door.name(asker)
                    self._refuse(f"a message of {len(frame)} bytes from {who}: {reason}")
                self.answer(address, wire.Refused(reason=reason))

    def _look(self) -> None:
        """Who was let in and, once a second, who no longer may."""
        for name in _KINDS:
            self._hear_knocks(name)
        now_s = time.monotonic()
        if self._door is None or now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        if self._door.look():
            # What comes in is looked at one by one; but a subscriber, once in, is heard no more. So all of them have
            # to come in again. What they miss meanwhile they ask for.
            self._rebind("events")
            self._rebind("boxes")

    def _hear_knocks(self, name: Right) -> bool:
        """Count who came and was not let in (or not yet); whether the door itself was closed."""
        closed = False
        with contextlib.suppress(zmq.Again):
            while True:
                event = parse_monitor_message(self._knocks[name].recv_multipart(zmq.NOBLOCK))["event"]
                self.counters.denied += (event == zmq.EVENT_ACCEPTED) - (
                    event == zmq.EVENT_HANDSHAKE_SUCCEEDED
                )
                closed |= event == zmq.EVENT_CLOSED
        return closed

    def _rebind(self, name: Right) -> None:
        endpoint, old = getattr(self.endpoints, name), self._sockets[name]
        old.unbind(endpoint)
        for _ in range(20):  # the address is free when the door is closed, which another thread does
            if self._hear_knocks(name):
                break
            self._knocks[name].poll(100)
        self._close(name)
        self._bind(name, endpoint)

    def _limit(self, peer: str) -> None:
        self.counters.limited += 1
        if self.counters.limited == 1:
            name = peer if self._door is None else self._door.name(peer)
            log.warning("%s sends more than it may (what is beyond that is only counted)", name)

    def answer(self, address: list[bytes], reply: wire.Answer | bytes) -> None:
        """Answer a question; bytes are an encoded answer. Never waits: who does not take the answer asks again."""
        data = reply if isinstance(reply, bytes) else wire.encode(reply)
        with contextlib.suppress(zmq.Again):
            self._sockets["replay"].send_multipart([*address, data], zmq.NOBLOCK)

    def publish(self, events: Iterable[Event]) -> None:
        """Send events that the log has numbered. Never waits for a subscriber."""
        for event in events:
            self._sockets["events"].send_multipart([wire.kind_of(event).encode(), wire.encode(event)])
            self.counters.sent += 1

    def heartbeat(self, place: Place, now_ns: int) -> None:
        """Tell every subscriber where the log stands."""
        beat = wire.Heartbeat(epoch=place[0], seq=place[1], t_ns=now_ns)
        self._sockets["events"].send_multipart([b"heartbeat", wire.encode(beat)])

    def publish_boxes(self, boxes: wire.Boxes) -> None:
        """Send one frame's boxes to whoever listens now."""
        self._sockets["boxes"].send_multipart([f"boxes/{boxes.camera_id}/".encode(), wire.encode(boxes)])

    def acknowledge(self, keys: Sequence[TrackKey]) -> None:
        """Tell the workers that these ended tracklets are safe. A lost acknowledgement is asked for again."""
        by_camera: dict[CameraId, list[TrackKey]] = {}
        for key in keys:
            by_camera.setdefault(key.camera_id, []).append(key)
        for camera_id, of_camera in by_camera.items():
            ack = wire.Ack(keys=tuple(of_camera))
            self._sockets["boxes"].send_multipart([f"ack/{camera_id}/".encode(), wire.encode(ack)])

    def _decoded(self, data: bytes) -> wire.Message | None:
        try:
            return wire.decode(data)
        except wire.WireError as error:
            self._refuse(str(error))
            return None

    def _refuse(self, reason: str) -> None:
        self.counters.refused += 1
        if self.counters.refused == 1:
            log.warning("refused a message: %s (further ones are only counted)", reason)

    def _close(self, name: Right) -> None:
        socket = self._sockets.pop(name)
        if name in self._knocks:
            socket.disable_monitor()
            self._knocks.pop(name).close(linger=0)
        socket.close()

    def close(self) -> None:
        """Close the sockets; what is queued gets a second to leave."""
        for name in list(self._sockets):
            self._close(name)
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sender(frame: zmq.Frame) -> str:
    """The public key that a message came with; "" where there are no keys."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


def _cost(frames: Sequence[zmq.Frame]) -> int:
    """As how many messages they count: all frames are received before anybody can look at one."""
    return 1 + sum(map(len, frames)) // _COUNTS_AS_ONE


def _connection(frame: zmq.Frame) -> str:
    """Whom a message came from where there are no keys: the connection."""
    try:
        return f"{frame.get('Peer-Address')}#{frame.get(zmq.SRCFD)}"
    except zmq.ZMQError:
        return ""


class _Fair:
    """What each peer may still send: a bucket that fills with time, and holds what a second brings."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # how much, and when that was

    def may(self, peer: str, cost: float) -> bool:
        """Whether this still fits; then it is taken."""
        now_s = time.monotonic()
        left, then_s = self._left.pop(peer, (self._rate, now_s))
        left = min(left + (now_s - then_s) * self._rate, self._rate)
        fits = left >= min(cost, self._rate)
        self._left[peer] = (left - cost if fits else left, now_s)
        while len(self._left) > _PEERS:
            self._left.popitem(last=False)
        return fits


class Answers:
    """Answers the questions of subscribers from the log and the linker's view, as encoded messages.

    No answer has more than ``_CHUNK_BYTES``, unless one event or identity alone is larger; the asker goes on after it.
    """

    def __init__(self, events: EventLog, view: Callable[[], View]) -> None:
        """``view`` is asked only when everything the linker said is in the log."""
        self._log = events
        self._view = view
        self._views: OrderedDict[Place, list[bytes]] = OrderedDict()  # their pages

    def to(self, question: wire.Ask) -> bytes:
        """The events after a place, a page of the view, or what operators did after a number."""
        limit = min(max(question.limit, 1), _MAX_REPLAY)
        if question.what == "view":
            return self._page(question)
        if question.what == "audit":
            outcomes = self._log.audit(question.seq, limit)
            some = next(_chunks((wire.encode(o) for o in outcomes), limit), [])
            return wire.encode(wire.Audit(outcomes=tuple(outcomes[: len(some)])))
        return self._replay((question.epoch, question.seq), limit)

    def _replay(self, since: Place, limit: int) -> bytes:
        messages: list[bytes] = []
        through, size = since, _ENVELOPE_BYTES
        with contextlib.closing(self._log.messages(since, limit)) as found:
            for place, message in found:
                size += len(message)
                if messages and size > _CHUNK_BYTES:
                    break
                messages.append(message)
                through = place
            else:
                if len(messages) < limit:
                    through = self._log.place
        return wire.pack_replay(messages, through, self._log.place, gone=self._log.lost_since(since))

    def forget(self) -> None:
        """Keep no view of before: somebody in it is to be forgotten."""
        self._views.clear()

    def _page(self, question: wire.Ask) -> bytes:
        place, page = (question.epoch, question.seq), question.page
        if page <= 0 or place not in self._views:
            place, page = self._log.place, 0
            view = self._view()
            rows = list(_chunks(map(wire.encode_identity, view.identities), _PAGE))
            self._views[place] = wire.pack_pages(place, view.t_ns, rows or [[]])
            self._views.move_to_end(place)
            while len(self._views) > _VIEWS_KEPT:
                self._views.popitem(last=False)
        pages = self._views[place]
        if page >= len(pages):
            return wire.encode(wire.Refused(reason=f"this view has {len(pages)} pages, counted from 0"))
        return pages[page]


def _chunks(parts: Iterable[bytes], at_most: int) -> Iterator[list[bytes]]:
    """Parts of one answer after the other: as many as fit, at least one, at most ``at_most``."""
    some: list[bytes] = []
    size = _ENVELOPE_BYTES
    for part in parts:
        if some and (size + len(part) > _CHUNK_BYTES or len(some) == at_most):
            yield some
            some, size = [], _ENVELOPE_BYTES
        some.append(part)
        size += len(part)
    if some:
        yield some


# Worker


class Uplink:
    """A worker's side: sends what its cameras saw, and repeats ended tracklets until they are acknowledged.

    Used in a ``with``, in one thread. Sending never waits: what does not fit into the queue is counted, and the
    next revision heals it. Statuses have no next revision either, so the newest of each camera is kept until
    it has left.
    """

    def __init__(
        self, settings: BusSettings, cameras: Collection[CameraId], *, queue: int = 200, repeat_s: float = 1.0
    ) -> None:
        """``queue``: bound in messages while the linker is slow or away.

        ``repeat_s``: pause before the first repeat; each further one is twice as long, up to 8 times: a linker that has
        too much to do must not get more for it.
        """
        self.counters = Counters()
        self._repeat_s = repeat_s
        # With when to send again, and the pause after that.
        self._pending: OrderedDict[TrackKey, tuple[Tracklet, float, float]] = OrderedDict()
        self._statuses: dict[CameraId, CameraStatus] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._settings, self._cameras, self._queue = settings, tuple(cameras), queue
        self._refused_s: float | None = None  # when the linker would not let us in
        self._opened = 0
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        keys = Path(self._settings.keys) if self._settings.keys is not None else None
        self._push = _socket(self._context, zmq.PUSH, queue=self._queue)
        self._acks = _socket(self._context, zmq.SUB, queue=1000)
        # Of both: the linker ends what a revoked key hears, and not what it sends.
        self._welcomes = [self._context.socket(zmq.PAIR) for _ in range(2)]
        self._shut = [False, False]
        sockets = ((self._push, self._settings.ingest), (self._acks, self._settings.boxes))
        for welcome, (socket, endpoint) in zip(self._welcomes, sockets, strict=True):
            self._opened += 1
            welcome.set_hwm(0)
            told = f"inproc://{self._opened}"
            socket.monitor(told, zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_SUCCEEDED)
            welcome.connect(told)
            # A link that broke without a word is made anew.
            socket.heartbeat_ivl, socket.heartbeat_timeout = _PING_MS, 4 * _PING_MS
            _act_as_client(socket, keys)
            _connect(socket, endpoint)
        for camera_id in self._cameras:
            self._acks.subscribe(f"ack/{camera_id}/")

    def _knock_again(self, now_s: float) -> None:
        """A key that is refused (not yet known, or revoked) is tried again: ZeroMQ itself gives up for good."""
        for n, welcome in enumerate(self._welcomes):
            with contextlib.suppress(zmq.Again):
                while True:
                    event = parse_monitor_message(welcome.recv_multipart(zmq.NOBLOCK))["event"]
                    self._shut[n] = event == zmq.EVENT_HANDSHAKE_FAILED_AUTH
                    if self._shut[n] and self._refused_s is None:
                        log.warning(
                            "%s: the linker refuses this worker's key; asking again every %.0f s",
                            self._settings.ingest,
                            _KNOCK_S,
                        )
                    if self._shut[n]:
                        self._refused_s = now_s
                    elif not any(self._shut):
                        self._refused_s = None
        if self._refused_s is not None and now_s - self._refused_s >= _KNOCK_S:
            self._refused_s = now_s
            self._close_sockets()
            self._open()

    @property
    def pending(self) -> int:
        """Ended tracklets and statuses that have not safely arrived."""
        return len(self._pending) + len(self._statuses)

    @property
    def is_shut_out(self) -> bool:
        """Whether the linker refuses this worker's key, as far as is known."""
        return self._refused_s is not None

    def unacknowledged(self) -> frozenset[TrackKey]:
        """The ended tracklets that the linker has not said are safe."""
        return frozenset(self._pending)

    def send(self, message: CameraUpdate | CameraStatus, now_s: float) -> bool:
        """Send one message; False when the queue is full. ``now_s`` is a clock that only rises."""
        if isinstance(message, CameraStatus):
            self._statuses[message.camera_id] = message
            self._send_statuses()
            return message.camera_id not in self._statuses
        self.remember(message, now_s)
        if message.camera_id in self._statuses:
            self._send_statuses()  # it was said before this update, so it goes before it
        sent = self._push_out(message)
        self.counters.sent += sent
        self.counters.unsent += not sent
        return sent

    def remember(self, update: CameraUpdate, now_s: float) -> None:
        """Repeat this update's ended tracklets until they are acknowledged, whether or not it is sent itself."""
        for tracklet in update.tracklets:
            if tracklet.ended:
                self._pending[tracklet.key] = (tracklet, now_s + self._repeat_s, 2 * self._repeat_s)
        while len(self._pending) > _MAX_PENDING:
            self._pending.popitem(last=False)
            self.counters.given_up += 1

    def repeat(self, now_s: float) -> None:
        """Take in acknowledgements; send again what has waited too long for one."""
        self._knock_again(now_s)
        self._take_acks()
        self._send_statuses()
        due: dict[tuple[CameraId, int], list[Tracklet]] = {}
        for tracklet, when_s, _ in self._pending.values():
            if when_s <= now_s:
                due.setdefault((tracklet.key.camera_id, tracklet.key.run), []).append(tracklet)
        for (camera_id, run), tracklets in due.items():
            for start in range(0, len(tracklets), 100):
                some = tracklets[start : start + 100]
                if not self._push_out(wire.Repeated(camera_id=camera_id, run=run, tracklets=tuple(some))):
                    return
                self.counters.repeated += len(some)
                for tracklet in some:
                    pause_s = self._pending[tracklet.key][2]
                    longer_s = min(2 * pause_s, 8 * self._repeat_s)
                    self._pending[tracklet.key] = (tracklet, now_s + pause_s, longer_s)

    def poll(self, timeout_s: float, wake: int | None = None) -> None:
        """Wait for an acknowledgement, or until the file descriptor ``wake`` can be read."""
        poller = zmq.Poller()
        poller.register(self._acks, zmq.POLLIN)
        if wake is not None:
            poller.register(wake, zmq.POLLIN)
        poller.poll(round(timeout_s * 1000))

    def _take_acks(self) -> None:
        for _ in range(_BURST):
            try:
                frames = self._acks.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                message = wire.decode(frames[-1])
            except wire.WireError:
                self.counters.refused += 1
                continue
            if isinstance(message, wire.Ack):
                self.counters.received += 1
                for key in message.keys:
                    self._pending.pop(key, None)

    def _send_statuses(self) -> None:
        for camera_id, status in list(self._statuses.items()):
            if not self._push_out(status):
                return
            del self._statuses[camera_id]

    def _push_out(self, message: CameraUpdate | CameraStatus | wire.Repeated) -> bool:
        try:
            for part in _parts(message):
                self._push.send(part, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Close the sockets; what is queued gets a second to leave."""
        self._close_sockets()
        self._context.term()

    def _close_sockets(self) -> None:
        for socket in (self._push, self._acks):
            socket.disable_monitor()
        self._push.close()
        self._acks.close(linger=0)
        for welcome in self._welcomes:
            welcome.close(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _parts(message: CameraUpdate | CameraStatus | wire.Repeated) -> list[bytes]:
    """A message, or several that say the same where it would be too large for the linker."""
    data = wire.encode(message)
    if len(data) <= _MAX_RECEIVED or isinstance(message, CameraStatus) or len(message.tracklets) < 2:
        return [data]
    half = len(message.tracklets) // 2
    return [
        part
        for some in (message.tracklets[:half], message.tracklets[half:])
        for part in _parts(msgspec.structs.replace(message, tracklets=some))
    ]


# Subscriber


def subscribe(
    endpoint: str = DEFAULT_ENDPOINT,
    *,
    kinds: Collection[str] | str | None = None,
    camera: CameraId | Collection[CameraId] | None = None,
    identity: int | Collection[int] | None = None,
    since: Place | int | None = None,
    timeout_s: float | None = None,
    replay: str | None = None,
    keys: Path | str | None = None,
    cursor: Path | str | None = None,
    queue: int = 10_000,
) -> Iterator[Event]:
    """Every event, once, in the order of the log, also those sent while nobody listened or the line was full.

    Iterate and stop in one thread; nothing is connected before the first event is asked for.

    An event is delivered when the next one is asked for. With a ``cursor``, whoever is killed while handling an event
    gets that one again in the next life, and none other twice: at least once for the one in hand, exactly once for all
    others. ``(event.epoch, event.seq)`` names an event for ever: whoever notes it together with what the event caused
    (in one transaction, say) knows the one that comes again, and has every event exactly once.

    Args:
        kinds: Only these kinds, as in docs/events.md: ``"appeared"``, ``["merged", "split"]``. None: all.
        camera: Only events that name this camera, or one of these. None, or none: all.
        identity: Only events that speak of this global id, or one of these. None, or none: all.
        since: Where to start. None: at present, each person who is here told by one ``Updated`` numbered with
            the event it is as of. ``(epoch, seq)``: after that event, which may be of an earlier epoch. A
            number: after that event of the linker's present epoch; 0: all that the log still holds.
        cursor: File that keeps the place; its folder is there. With a place in it, that is where to start, whatever
            ``since`` says. Events that are filtered out count as delivered.
        timeout_s: End when no event came for so long. None: wait for ever.
        replay: Where missed events are asked for; None: the port after ``endpoint``'s (``.replay`` for ipc).
        keys: Folder with ``linker.key`` and ``client.key_secret``, where the linker asks for keys.
        queue: Events waiting in memory; what does not fit is asked for again later.

    Raises:
        UserError: an unknown kind, a bad endpoint, key or cursor; or within ``timeout_s`` no linker was heard at all.
    """
    wanted = set(EVENT_KINDS) if kinds is None else {kinds} if isinstance(kinds, str) else set(kinds)
    if unknown := sorted(wanted - set(EVENT_KINDS)):
        raise UserError(f"{', '.join(unknown)}: no kind of event; there are {', '.join(EVENT_KINDS)}")
    cameras = frozenset((camera,) if isinstance(camera, str) else camera or ())
    people = frozenset((identity,) if isinstance(identity, int) else identity or ())
    if isinstance(since, int) and since < 0:
        raise UserError(f"since {since}: give the number of an event, or 0 for all that is kept")
    follower = _Follower(
        endpoint,
        replay or replay_endpoint(endpoint),
        Path(keys) if keys is not None else None,
        Path(cursor) if cursor is not None else None,
        timeout_s=timeout_s,
        queue=queue,
    )
    return (
        event
        for event in follower.events(since)
        if wire.kind_of(event) in wanted
        and (not cameras or not cameras.isdisjoint(cameras_of(event)))
        and (not people or not people.isdisjoint(identities_of(event)))
    )


def cameras_of(event: Event) -> frozenset[CameraId]:
    """The cameras that an event names."""
    match event:
        case Appeared(track=key, sighting=Sighting(camera_id=seen_by)):
            return frozenset((key.camera_id, seen_by))
        case HandedOver():
            return frozenset((event.from_camera, event.to_camera))
        case Updated():
            return frozenset(s.camera_id for s in event.sightings) | {k.camera_id for k in event.tracks}
        case Merged() | Split():
            return frozenset(k.camera_id for k in event.tracks)
        case Left():
            return frozenset((event.last.camera_id,))
        case CameraLost() | CameraBack():
            return frozenset((event.camera_id,))


_Answer = TypeVar("_Answer", wire.Replay, wire.Page, wire.Outcome, wire.Audit)


class _TimeOver(Exception):
    """No event for ``timeout_s``."""


class _Follower:
    """Follows one linker's log: the live events, and replays wherever they have holes."""

    def __init__(
        self,
        endpoint: str,
        replay: str,
        keys: Path | None,
        cursor: Path | None,
        *,
        timeout_s: float | None,
        queue: int,
    ) -> None:
        self._endpoint, self._replay, self._keys = endpoint, replay, keys
        self._timeout_s = timeout_s
        self._queue = queue
        self._cursor_path = cursor
        self._cursor: Cursor | None = None
        self._live: zmq.Socket[bytes] | None = None
        self._heard = False
        self._last_s = time.monotonic()  # since when the next event is waited for

    def events(self, since: Place | int | None) -> Iterator[Event]:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            if self._cursor_path is not None:
                self._cursor = Cursor(self._cursor_path)
                if self._cursor.place is not None:
                    if since is not None:
                        log.warning(
                            "%s: goes on after %d:%d; since counts only while a cursor holds no place",
                            self._cursor_path,
                            *self._cursor.place,
                        )
                    since = self._cursor.place
            self._listen(context)
            self._last_s = time.monotonic()
            yield from self._follow(context, since)
        except _TimeOver:
            if not self._heard:
                key = "does it ask for keys" if self._keys is None else "does it let this key in"
                raise UserError(
                    f"{self._endpoint}: no linker answered within {self._timeout_s:g} s; is it running there, "
                    f"and {key}?"
                ) from None
        finally:
            if self._live is not None:
                self._live.close(linger=0)
            context.term()
            if self._cursor is not None:
                self._cursor.close()

    def _listen(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Hear what is said from now on, on a fresh socket."""
        if self._live is not None:
            self._live.close(linger=0)
        self._live = _socket(context, zmq.SUB, queue=self._queue)
        _act_as_client(self._live, self._keys)
        # All kinds, whatever is wanted: a number left out must be one that was lost.
        self._live.subscribe(b"")
        _connect(self._live, self._endpoint)

    def _follow(self, context: zmq.Context[zmq.Socket[bytes]], since: Place | int | None) -> Iterator[Event]:
        with _Questions(context, self._replay, self._keys, self._wait) as questions:
            place = yield from self._start(questions, since)
            while True:
                message = self._next()
                if message is None:
                    self._listen(context)
                    place = yield from self._heal(questions, place)
                    continue
                told = (message.epoch, message.seq)
                if not isinstance(message, wire.Heartbeat) and told == (place[0], place[1] + 1):
                    place = told
                    yield from self._tell(message)
                # A heartbeat of an older epoch: maybe the log was lost.
                elif told > place or (isinstance(message, wire.Heartbeat) and told[0] < place[0]):
                    place = yield from self._heal(questions, place)

    def _tell(self, event: Event) -> Iterator[Event]:
        yield event
        # The next one is asked for: this one is done with, and only now does anybody wait.
        if self._cursor is not None:
            self._cursor.move((event.epoch, event.seq))
        self._last_s = time.monotonic()

    def _start(self, questions: _Questions, since: Place | int | None) -> Generator[Event, None, Place]:
        """Yields the present state where no start was given; returns the place to go on from."""
        if since is None:
            view = questions.view()
            self._heard = True
            for identity in view.identities:
                if identity.here:
                    yield Updated(
                        t_ns=identity.last.t_ns,
                        epoch=view.epoch,
                        seq=view.seq,
                        global_id=identity.global_id,
                        sightings=(identity.last,),
                        tracks=identity.tracks,
                    )
                    self._last_s = time.monotonic()
            if self._cursor is not None:  # only now: whoever stops before has not heard of all who are here
                self._cursor.move((view.epoch, view.seq))
            return view.epoch, view.seq
        place = since if isinstance(since, tuple) else (0, 0)
        if isinstance(since, int) and since > 0:
            answer = questions.ask(wire.Ask(what="replay", epoch=1 << 62, limit=1), wire.Replay)
            place = (answer.epoch, since)
        return (yield from self._heal(questions, place))

    def _heal(self, questions: _Questions, place: Place) -> Generator[Event, None, Place]:
        """Yields all that the log holds after ``place``; returns where that ends."""
        while True:
            answer = questions.ask(wire.Ask(what="replay", epoch=place[0], seq=place[1]), wire.Replay)
            self._heard = True
            now = (answer.epoch, answer.seq)
            if now[0] < place[0]:
                log.warning("%s: the log begins anew at epoch %d", self._endpoint, now[0])
                place = (now[0], 0)
                continue
            if answer.gone:
                log.warning("%s: some events after %s are no longer kept", self._endpoint, place)
            for event in answer.events:
                yield from self._tell(event)
            place = max(place, (answer.through_epoch, answer.through_seq))
            if place >= now:
                return place

    def _next(self) -> Event | wire.Heartbeat | None:
        """What the linker says next; None when it has been silent for too long."""
        assert self._live is not None
        while self._wait(self._live, _SILENT_S):
            try:
                message = wire.decode(self._live.recv_multipart()[-1])
            except wire.WireError as error:
                log.warning("%s: skipped a message: %s", self._endpoint, error)
                continue
            if isinstance(message, Event | wire.Heartbeat):
                self._heard = True
                return message
        return None

    def _wait(self, socket: zmq.Socket[bytes], at_most_s: float | None = None) -> bool:
        """Whether the socket can be read, within ``at_most_s``. Raises _TimeOver when patience ends first."""
        waits = [] if at_most_s is None else [at_most_s]
        if self._timeout_s is not None:
            waits.append(max(self._last_s + self._timeout_s - time.monotonic(), 0))
        if socket.poll(round(min(waits) * 1000) if waits else None):
            return True
        if self._timeout_s is not None and time.monotonic() - self._last_s >= self._timeout_s - 1e-3:
            raise _TimeOver
        return False


class _Questions:
    """Asks the linker, again and again on a fresh socket while it does not answer."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        keys: Path | None,
        wait: Callable[[zmq.Socket[bytes], float | None], bool],
    ) -> None:
        self._context, self._endpoint, self._keys, self._wait = context, endpoint, keys, wait
        self._socket: zmq.Socket[bytes] | None = None

    def ask(self, question: wire.Ask | Command, expected: type[_Answer]) -> _Answer:
        """The answer to one question, of the kind that belongs to it. Raises UserError when it is refused."""
        said, patience_s = False, _ANSWER_S
        while True:
            socket = self._socket or self._open()
            socket.send_multipart([b"", wire.encode(question)])
            until_s = time.monotonic() + patience_s
            while self._wait(socket, max(until_s - time.monotonic(), 0.0)):
                try:
                    answer = wire.decode(socket.recv_multipart()[-1])
                except wire.WireError as error:
                    log.warning("%s: skipped an answer: %s", self._endpoint, error)
                    continue
                if isinstance(answer, expected):
                    return answer
                if isinstance(answer, wire.Refused):
                    raise UserError(f"{self._endpoint}: {answer.reason}")
            self.close()  # a late answer to this question must not meet the next one
            patience_s = min(2 * patience_s, _MOST_ANSWER_S)
            if not said:
                log.warning("%s: the linker does not answer; asking on", self._endpoint)
                said = True

    def view(self) -> View:
        """All pages of one view; begins again when the linker no longer has it."""
        first = self.ask(wire.Ask(what="view"), wire.Page)
        pages = [first]
        while len(pages) < first.pages:
            question = wire.Ask(what="view", epoch=first.view.epoch, seq=first.view.seq, page=len(pages))
            page = self.ask(question, wire.Page)
            if page.page == 0:
                first, pages = page, []
            pages.append(page)
        rows = tuple(identity for page in pages for identity in page.view.identities)
        return msgspec.structs.replace(first.view, identities=rows)

    def _open(self) -> zmq.Socket[bytes]:
        socket = _socket(self._context, zmq.DEALER, queue=10)
        socket.linger = 0
        self._socket = socket
        _act_as_client(socket, self._keys)
        _connect(socket, self._endpoint)
        return socket

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# Operator


class Operator:
    """Says to a running linker who is who, and asks whom it knows. Used in a ``with``, in one thread."""

    def __init__(
        self, endpoint: str = DEFAULT_REPLAY, *, keys: Path | str | None = None, timeout_s: float = 10.0
    ) -> None:
        """
        Args:
            endpoint: The linker's ``bus.replay``.
            keys: Folder with ``linker.key`` and ``client.key_secret``, where the linker asks for keys.
            timeout_s: How long to go on asking. A command is sent again meanwhile; it is done once.
        """
        self._endpoint, self._timeout_s, self._until_s = endpoint, timeout_s, 0.0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._questions = _Questions(
            self._context, endpoint, Path(keys) if keys is not None else None, self._wait
        )

    def command(
        self,
        verb: Literal["merge", "split", "name", "forget"],
        *global_ids: int,
        track_keys: Sequence[TrackKey] = (),
        name: str = "",
    ) -> wire.Outcome:
        """Have one thing done, or be told why it was not: ``Outcome.obeyed``.

        Args:
            global_ids: merge: who stays, then those who go into it; else whom it is about.
            track_keys: split: who leaves. They become an identity of their own.
            name: name: what it is called from now on; "" takes its name away.

        Raises:
            UserError: nobody answers, or this key may not command.
        """
        return self.send(
            Command(
                t_ns=0,  # the linker knows better
                verb=verb,
                global_ids=global_ids,
                track_keys=tuple(track_keys),
                name=name,
                id=uuid.uuid4().hex,
            )
        )

    def send(self, command: Command) -> wire.Outcome:
        """What became of a command with an ``id`` of yours: done now, or the first time that it was sent.

        Raises UserError when nobody answers, this key may not command, or the id was that of another command.
        """
        self._begin("A command may still have been heard: 'identity log' tells")
        return self._questions.ask(command, wire.Outcome)

    def view(self) -> View:
        """Whom the linker knows now. Raises UserError when nobody answers."""
        self._begin()
        return self._questions.view()

    def audit(self) -> Iterator[wire.Outcome]:
        """All that operators had done, or wanted done, that is kept. Raises UserError when nobody answers."""
        last = 0
        while True:
            self._begin()
            found = self._questions.ask(wire.Ask(what="audit", seq=last), wire.Audit).outcomes
            if not found:
                return
            yield from found
            last = found[-1].number

    def _begin(self, caution: str = "") -> None:
        self._caution = f" {caution}" if caution else ""
        self._until_s = time.monotonic() + self._timeout_s

    def _wait(self, socket: zmq.Socket[bytes], at_most_s: float | None) -> bool:
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            raise UserError(
                f"{self._endpoint}: no linker answered within {self._timeout_s:g} s; is it running there, and does "
                f"it ask for keys?{self._caution}"
            )
        return bool(socket.poll(round(1000 * min(left_s, at_most_s or left_s))))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._questions.close()
        self._context.term()
