"""Bytes that nobody should send: messages, videos, models, settings, requests, looks. Each is refused in words or does
no harm; nothing is uncaught.

All are mutations of sound ones, drawn from a seed: bits flipped, cut off, spliced with others, lengths that lie. With
``--release`` decoders are fuzzed as well, guided by coverage (atheris), ten minutes each:

    python -m benchmarks.reliability.fuzz wire -max_total_time=600
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import multiprocessing
import os
import random
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq

import models
from benchmarks.accuracy import Row, least, most
from benchmarks.reliability.bench import Bench, CannotRun
from tracker import config
from tracker.core.linker import Linker
from tracker.core.topology import SiteModel
from tracker.errors import UserError
from tracker.io import wire
from tracker.io.bus import Hub, local_endpoints
from tracker.io.sources import VideoSource, probe
from tracker.io.status import Page, StatusServer
from tracker.io.store import EventLog, Journal, load_checkpoint, load_site
from tracker.io.tape import TapeReader, TapeWriter
from tracker.roles.linking import LinkerLoop, restore
from tracker.types import (
    Advance,
    Appeared,
    CameraBack,
    CameraLost,
    CameraStatus,
    CameraUpdate,
    Checkpoint,
    Command,
    Evidence,
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

DIMENSIONS = 256  # of the shipped embedder
FUZZ_S = 600
PATIENCE_S = 30.0  # for one damaged clip of 40 small frames: more is a hang
NOW_NS = 1_790_000_000 * 10**9

log = logging.getLogger(__name__)

Mutate = Callable[[bytes], bytes]


def run(bench: Bench) -> Row:
    """Everything that is hostile, in turn."""
    figures: dict[str, float] = {}
    chance = random.Random(bench.seed)
    with bench.folder() as folder:
        figures |= messages(chance, bench.of(5_000, 1_000_000), folder)
        figures |= videos(bench.seed, bench.of(20, 1_000), folder)
        figures |= model_files(chance, bench.of(20, 1_000), folder)
        figures |= settings(chance, bench.of(200, 10_000), folder)
        figures |= requests(chance, bench.of(200, 10_000))
    with bench.folder() as folder:
        figures |= poisoned_looks(bench.of(60, 3_000), folder)
    if bench.effort == "release":
        figures |= fuzzed(bench)
    wanted = {
        name: most(0) for name in figures if name.endswith(("uncaught", "parsed", "changed", "crashes"))
    }
    counts = {
        "messages": bench.of(5_000, 1_000_000),
        "videos": bench.of(20, 1_000),
        "models": bench.of(20, 1_000),
        "settings": bench.of(200, 10_000),
        "requests": bench.of(200, 10_000),
        "looks": bench.of(60, 3_000),
    }
    # Each came to its end in a way that is known.
    wanted |= {f"{name} counted": least(count) for name, count in counts.items()}
    return Row("hostile", figures, wanted)


# --- mutations


def mutator(chance: random.Random, others: list[bytes]) -> Mutate:
    """One to three mutations at once, of the kinds that break parsers."""

    def flip(data: bytearray) -> None:
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)

    def cut(data: bytearray) -> None:
        del data[chance.randrange(len(data)) :]

    def drop(data: bytearray) -> None:
        at = chance.randrange(len(data))
        del data[at : at + chance.randint(1, 16)]

    def splice(data: bytearray) -> None:
        other = chance.choice(others)
        begin = chance.randrange(len(other))
        part = other[begin : begin + chance.randint(1, 64)]
        at = chance.randrange(len(data))
        data[at : at + chance.choice((0, len(part)))] = part

    def lie(data: bytearray) -> None:
        """A length, or a number, that is not what follows: of msgpack, or as any format may have it."""
        size = chance.choice(
            (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 1 << 31, (1 << 32) - 1, (1 << 63) - 1, (1 << 64) - 1)
        )
        kind = chance.choice((b"", b"\xc6", b"\xc9", b"\xdb", b"\xdd", b"\xdf", b"\xcf", b"\xd3", b"\xcb"))
        width, order = chance.choice(((1, "B"), (2, "H"), (4, "I"), (8, "Q"))), chance.choice("<>")
        value = struct.pack(order + width[1], size & ((1 << 8 * width[0]) - 1))
        at = chance.randrange(len(data))
        data[at : at + len(kind) + len(value)] = kind + value

    kinds = (flip, flip, cut, drop, splice, lie)

    def mutate(data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 3))):
            if changed:
                chance.choice(kinds)(changed)
        return bytes(changed)

    return mutate


# --- messages


def sound_messages() -> list[bytes]:
    """One at least of every kind that travels, or lies on disk."""
    update = an_update("hall", 7, tracklet("hall", 1, 3, unit_rows(1, 3)[0]))
    key, other = TrackKey(camera_id="hall", run=1, number=3), TrackKey(camera_id="yard", run=1, number=4)
    at = Sighting(camera_id="hall", t_ns=NOW_NS, box=(1.0, 2.0, 30.0, 90.0), floor_xy_m=(1.0, 2.0))
    why = Evidence(probability=0.9, runner_up=2, gap_s=1.5, cues={"looks": 2.0, "time": -0.5})
    people = tuple(
        Identity(
            global_id=n, tracks=(key, other), first=at, last=at, here=True, name="Ada", seen=((1, 2), (3, 4))
        )
        for n in range(1, 4)
    )
    view = View(epoch=1, seq=2, t_ns=NOW_NS, identities=people)
    events = (
        Appeared(t_ns=NOW_NS, global_id=1, track=key, sighting=at, evidence=why),
        Updated(t_ns=NOW_NS, global_id=1, sightings=(at, at), tracks=(key, other)),
        HandedOver(
            t_ns=NOW_NS,
            global_id=1,
            from_camera="hall",
            to_camera="yard",
            track=other,
            gap_s=-0.5,
            sighting=at,
        ),
        Merged(t_ns=NOW_NS, kept=1, absorbed=2, tracks=(key,), evidence=why),
        Split(t_ns=NOW_NS, global_id=1, to=3, tracks=(other,), evidence=why),
        Left(t_ns=NOW_NS, global_id=1, last=at),
        CameraLost(t_ns=NOW_NS, camera_id="hall", reason="gone"),
        CameraBack(t_ns=NOW_NS, camera_id="hall"),
    )
    checkpoint = Checkpoint(schema_version=5, t_ns=NOW_NS, model_hash="ab", state=bytes(range(64)))
    outcome = wire.Outcome(
        id="x", t_ns=NOW_NS, verb="merge", global_ids=(1, 2), by="ada", obeyed=True, events=events[3:5]
    )
    records: list[Any] = [
        update,
        CameraStatus(camera_id="hall", run=1, t_ns=NOW_NS, state="gone", reason="away"),
        Command(t_ns=NOW_NS, verb="split", global_ids=(1,), track_keys=(key, other), name="Ada", id="x"),
        Advance(t_ns=NOW_NS, final=True),
        *events,
        view,
        checkpoint,
        wire.Saved(checkpoint=checkpoint, epoch=1, seq=2, journal=3),
        wire.Ack(keys=(key, other)),
        wire.Repeated(camera_id="hall", run=1, tracklets=update.tracklets),
        wire.Boxes(
            camera_id="hall",
            run=1,
            seq=7,
            t_ns=NOW_NS,
            numbers=np.array([3]),
            global_ids=np.array([1]),
            boxes=np.array([[1, 2, 30, 90]], np.float32),
            states=np.array([1], np.int8),
        ),
        wire.Heartbeat(epoch=1, seq=2, t_ns=NOW_NS),
        wire.Ask(what="replay", epoch=1, seq=2),
        wire.Replay(events=events, through_epoch=1, through_seq=9, epoch=1, seq=9),
        wire.Page(view=view, page=0, pages=2),
        outcome,
        wire.Audit(outcomes=(outcome, outcome)),
        wire.Refused(reason="no"),
    ]
    assert {wire.kind_of(r) for r in records} == set(wire.kinds_of(wire.Message)), "every kind is tried"
    return [wire.encode(record) for record in records]


def messages(chance: random.Random, count: int, folder: Path) -> dict[str, float]:
    """Mutated wire messages through the decoder; some of them as tapes, checkpoints and site models on disk."""
    sound = sound_messages()
    mutate = mutator(chance, sound)
    ends: Counter[str] = Counter()
    in_files = count // 50  # files cost a hundred times as much
    for _ in range(count - in_files):
        ends[how_it_ends(decoded, mutate(chance.choice(sound)), wire.WireError)] += 1
    on_disk = files_of(folder)
    for n in range(in_files):
        data, read = on_disk[n % len(on_disk)]
        path = folder / "mutated"
        path.write_bytes(mutate(data))
        ends[how_it_ends(read, path, UserError)] += 1
    return told("messages", ends)


def decoded(data: bytes) -> None:
    """A message that is taken is sound: it can be sent on, and read there."""
    wire.decode(wire.encode(wire.decode(data)))


def files_of(folder: Path) -> list[tuple[bytes, Callable[[Path], Any]]]:
    """Sound files, each with what reads its kind."""
    tape, checkpoint, site = folder / "sound.tape", folder / "checkpoint", folder / "site.json"
    with TapeWriter(tape) as writer:
        for seq in range(3):
            writer.write(an_update("hall", seq, tracklet("hall", 1, seq, unit_rows(1, seq)[0])))
    saved = wire.Saved(checkpoint=Linker().checkpoint(), epoch=1, seq=0, journal=1)
    checkpoint.write_bytes(wire.encode(saved))
    site.write_text(SiteModel().to_file_text(), encoding="utf-8")
    return [
        (tape.read_bytes(), lambda path: list(TapeReader(path))),
        (checkpoint.read_bytes(), restored),
        (site.read_bytes(), load_site),
    ]


def restored(path: Path) -> None:
    """As at a linker's start, which says in a sentence what it cannot go on from."""
    saved = load_checkpoint(path)
    if saved is not None:
        restore(Linker(), saved.checkpoint)


def how_it_ends(read: Callable[[Any], Any], what: Any, refusal: type[Exception]) -> str:
    try:
        read(what)
    except refusal:
        return "refused"
    except Exception as error:  # noqa: BLE001  (to count exactly these is the purpose)
        shown = what.hex() if isinstance(what, bytes) and len(what) < 500 else ""
        log.error("uncaught %s: %s %s", type(error).__name__, error, shown)
        return "uncaught"
    return "taken"


def told(what: str, ends: Counter[str]) -> dict[str, float]:
    """Figures of one kind: how many came to which end, and how many in all."""
    figures = {f"{what} {end}": float(ends[end]) for end in ("taken", "refused", "uncaught")}
    return {f"{what} counted": float(sum(ends.values())), **figures}


# --- videos


def videos(seed: int, count: int, folder: Path) -> dict[str, float]:
    """Damaged clips through `probe` and `VideoSource`, in a process of their own: a crash of a decoder counts."""
    clips = [clip(folder / f"sound{suffix}") for suffix in (".mp4", ".mkv", ".avi", ".ts")]
    ends: Counter[str] = Counter()
    spawn = multiprocessing.get_context("spawn")
    first = 0
    while first < count:
        ours, theirs = spawn.Pipe()
        child = spawn.Process(target=_watch_clips, args=(theirs, clips, seed, first, count, folder))
        child.start()
        theirs.close()
        try:
            while first < count:
                if not ours.poll(PATIENCE_S):
                    break
                ends[ours.recv()] += 1
                first += 1
        except EOFError:
            pass  # it crashed on clip `first`
        if first < count:
            ends["uncaught"] += 1
            first += 1
        child.kill()
        child.join()
        ours.close()
    return told("videos", ends)


def _watch_clips(
    pipe: Connection, clips: list[Path], seed: int, first: int, count: int, folder: Path
) -> None:
    logging.disable(logging.WARNING)  # damaged frames are said there by the thousand
    sound = [path.read_bytes() for path in clips]
    for n in range(first, count):
        chance = random.Random(seed * 1_000_003 + n)
        mutate = mutator(chance, sound)
        k = chance.randrange(len(clips))
        data = sound[k]
        for _ in range(chance.choice((1, 4, 16))):
            data = mutate(data)
        path = folder / f"damaged{clips[k].suffix}"
        path.write_bytes(data)
        pipe.send(how_it_ends(watched, path, UserError))


def watched(path: Path) -> None:
    """Every frame that is left of a clip."""
    probe(str(path))
    for frame in VideoSource("hall", [path], start_ns=0):
        assert frame.image.ndim == 3


def clip(path: Path) -> Path:
    """40 frames of 64 x 48 pixels with a key frame every ten."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.gop_size = 64, 48, 10
        for n in range(40):
            picture = np.full((48, 64, 3), 6 * n, np.uint8)
            picture[n : n + 8, n : n + 8] = 255 - 6 * n
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    return path


# --- models


def model_files(chance: random.Random, count: int, folder: Path) -> dict[str, float]:
    """Mutated network files, by name (as one that was fetched) and by path beside their card: none is parsed."""
    import onnxruntime

    shipped = models.find("clean")
    assert shipped.card is not None
    sound = shipped.path.read_bytes()
    mutate = mutator(chance, [sound])
    card = shipped.path.with_suffix(".toml").read_bytes()
    fetched = next(c for c in models.cards() if c.url and c.sha256 and not c.is_shipped)
    (folder / "models").mkdir()
    (folder / "clean.toml").write_bytes(card)
    places = (
        (str(folder / "clean.onnx"), folder / "clean.onnx"),
        (fetched.name, folder / "models" / fetched.file),
    )
    parsed = 0
    real = onnxruntime.InferenceSession

    def counting(*arguments: Any, **how: Any) -> Any:
        nonlocal parsed
        parsed += 1
        return real(*arguments, **how)

    ends: Counter[str] = Counter()
    cache = os.environ.get("THROUGHLINE_CACHE")
    onnxruntime.InferenceSession = counting
    os.environ["THROUGHLINE_CACHE"] = str(folder)
    try:
        for n in range(count):
            name, path = places[n % len(places)]
            data = mutate(sound)
            if data == sound:  # two flips of one bit
                data = data[:-1]
            path.write_bytes(data)
            ends[how_it_ends(models.open_model, name, models.ModelError)] += 1
    finally:
        onnxruntime.InferenceSession = real
        if cache is None:
            del os.environ["THROUGHLINE_CACHE"]
        else:
            os.environ["THROUGHLINE_CACHE"] = cache
    return told("models", ends) | {"models parsed": float(parsed)}


# --- settings

SITE = """\
name: shop
cameras:
  hall:
    url: rtsp://viewer:${HALL_PASSWORD}@10.0.0.11/stream1
    regions: [[[0, 0], [640, 0], [640, 480]]]
    calibration: {homography: [[0.01, 0, -3.2], [0, 0.012, 1.5], [0, 0.001, 1]]}
  yard: {url: recordings/*.mp4, start: "2026-05-01T12:00:00Z", fps: 12.5, mask: yard.png, calibration: yard.json}
  desk: 0
detector: {kind: onnx, model: nanodet_g_person, min_score: 0.2}
embedder: {kind: none}
flow: {kind: auto, budget_ms: 4}
keyframes: {every: 4, adaptive: yes}
track: {lost_s: 3.0, prototypes: 8}
link: {false_merge_rate: 0.02, max_gap_s: 60, site_model: model.json}
bus: {events: "tcp://127.0.0.1:6000", keys: null}
live: {workers: 2, patience_s: .5, http: "127.0.0.1:9000"}
store: {keep_days: 7, keep_tapes: false}
"""
ODD = (
    *(
        "null",
        "[]",
        "{}",
        "-1",
        "0",
        ".inf",
        "-.inf",
        ".nan",
        "1e400",
        "true",
        "''",
        "'\\0'",
        "9" * 5000,
        "x" * 20_000,
    ),
    *(
        "!!python/object/apply:os.system [id]",
        "!!binary x",
        "!!timestamp 2026-99-99",
        "2026-02-31",
        "0o9",
        "1:2:3",
    ),
    *(
        "&a [*a]",
        "*nobody",
        "{? [1]: 2}",
        "<<",
        "{<<: 1}",
        "[" * 3000,
        "{a: " * 500,
        "\t- x",
        "'unclosed",
        "|",
        "?",
    ),
    *(
        "${NOT_THERE}",
        "${}",
        "$" * 9,
        "\U0010ffff",
        "\x85",
        "- - - -",
        "--- a\n--- b",
        "%YAML 9.9",
        "@",
        "`",
        "\x00",
    ),
    "&a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
    "d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\n"
    "g: &g [*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g]",
)


def settings(chance: random.Random, count: int, folder: Path) -> dict[str, float]:
    """Mutated site files: taken where they are sound, else every mistake in words."""
    mutate = mutator(chance, [SITE.encode()])
    ends: Counter[str] = Counter()
    path = folder / "site.yaml"
    path.touch(0o600)  # a readable one with a password is said
    os.environ.setdefault("HALL_PASSWORD", "x")
    (folder / "yard.json").write_text('{"homography": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}')
    for n in range(count):
        if n % 2:
            data = mutate(SITE.encode())
        else:
            lines = SITE.splitlines()
            at = chance.randrange(len(lines))
            name, colon, value = lines[at].partition(":")
            inner = value.partition(": ")
            odd = chance.choice(ODD)
            where = chance.randrange(4)
            if where == 0:
                lines[at] = f"{name}{colon} {odd}"
            elif where == 1 and inner[1]:
                lines[at] = f"{name}{colon}{inner[0]}: {odd}" + "}" * value.count("{")
            elif where == 2:
                del lines[at]
            else:
                lines[at : at + 1] = [lines[at], chance.choice((lines[at], f"{odd}: 1", odd))]
            data = "\n".join(lines).encode("utf-8", "surrogatepass")
        path.write_bytes(data)
        ends[how_it_ends(config.load, path, UserError)] += 1
    return told("settings", ends)


# --- requests


def requests(chance: random.Random, count: int) -> dict[str, float]:
    """Malformed requests to the status endpoint; afterwards it still answers, and has counted all."""
    sound = [
        b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:5559\r\nUser-Agent: Prometheus/3.1\r\nAccept: text/plain\r\n\r\n",
        b"GET /healthz HTTP/1.0\r\n\r\n",
        b"POST /readyz HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd",
        b"GET /" + b"%2e%2e/" * 40 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"X-Pad: " + b"a" * 9000 + b"\r\n\r\n",
    ]
    mutate = mutator(chance, sound)
    ends: Counter[str] = Counter()
    errors = _Errors()
    logging.getLogger("asyncio").addHandler(errors)
    try:
        pages = dict.fromkeys(("/healthz", "/readyz", "/metrics"), lambda: Page("fine\n"))
        with StatusServer("127.0.0.1:0", pages) as server:
            for _ in range(count):
                answer = asked(server, mutate(chance.choice(sound)))
                status = answer.split(b" ")[1][:3].decode() if answer.startswith(b"HTTP/1.1 ") else ""
                if answer and status not in ("200", "400", "404", "405", "431"):
                    ends["uncaught"] += 1
                else:
                    ends["taken" if status == "200" else "refused"] += 1
            still = asked(server, b"GET /healthz HTTP/1.1\r\n\r\n").endswith(b"fine\n")
            counts = server.counts
    finally:
        logging.getLogger("asyncio").removeHandler(errors)
    ends["uncaught"] += errors.count + counts.failed + (not still)
    figures = told("requests", ends)
    # By the server's own count, without the last one.
    seen = counts.answered + counts.refused + counts.closed + counts.failed - 1
    return figures | {"requests counted": float(seen)}


class _Errors(logging.Handler):
    """Counts what an event loop could only log."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += record.levelno >= logging.ERROR


def asked(server: StatusServer, request: bytes) -> bytes:
    """All that is answered to these bytes; nothing where the connection is cut."""
    host, port = server.endpoint.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as client:
        answer = b""
        with contextlib.suppress(ConnectionError):
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            while part := client.recv(4096):
                answer += part
    return answer


# --- looks


def poisoned_looks(count: int, folder: Path) -> dict[str, float]:
    """Embeddings that are NaN, infinite, zero or of another size, sent to a linker: its checkpoint stays as it was."""
    bus = local_endpoints(folder)
    ends: Counter[str] = Counter()
    with (
        EventLog(folder / "events.sqlite", started_ns=NOW_NS) as events,
        Journal(folder) as journal,
        Hub(bus) as hub,
        zmq.Context() as context,
        context.socket(zmq.PUSH) as push,
    ):
        linker = Linker()
        clock = _Still()
        # Nobody is missed meanwhile: that would be news, and is none of the looks.
        loop = LinkerLoop(
            linker,
            hub,
            events,
            journal,
            cameras=["hall", "yard"],
            clock=clock,
            stalled_after_s=86_400.0,
            checkpoint_s=86_400.0,
        )
        push.linger = 0
        push.connect(bus.ingest)

        def hear(data: bytes) -> None:
            before = loop.updates + loop.misfits + hub.counters.refused
            push.send(data)
            while loop.updates + loop.misfits + hub.counters.refused == before:
                loop.round(1.0)

        for seq in range(20):
            for camera_id in ("hall", "yard"):
                clock.t_ns += 10**8
                looks = unit_rows(1, seq)[0]
                hear(
                    wire.encode(
                        an_update(camera_id, seq, tracklet(camera_id, 1, seq, looks, clock.t_ns), clock.t_ns)
                    )
                )
        clock.t_ns += 5 * 10**9
        loop.round(0.0)
        loop.save()
        before = linker.checkpoint().state
        updates = loop.updates
        changed = 0
        for n in range(count):
            kind = POISONS[n % len(POISONS)]
            hear(poisoned(kind, n))
            ends["refused" if loop.updates == updates else "taken"] += 1
            updates = loop.updates
        changed += linker.checkpoint().state != before
        hear(
            wire.encode(
                an_update("hall", 99, tracklet("hall", 1, 99, unit_rows(1, 99)[0], clock.t_ns), clock.t_ns)
            )
        )
        ends["uncaught"] += loop.failed + (loop.updates != updates + 1)
    return told("looks", ends) | {"checkpoints changed": float(changed)}


POISONS = ("nan", "inf", "nan mean", "zero", "zero mean", "wider", "narrower", "ragged", "nan repeated")


def poisoned(kind: str, n: int) -> bytes:
    """An update, sound but for its looks."""
    row = unit_rows(1, n)[0]
    wrong = {"wider": np.ones(DIMENSIONS + 1), "narrower": np.ones(DIMENSIONS - 1)}.get(kind, row)
    one = tracklet("hall", 1, 1000 + n, (wrong / np.linalg.norm(wrong)).astype(np.float32))
    rows, mean = one.prototypes.copy(), one.mean_embedding.copy()
    if kind in ("nan", "inf"):
        rows[0, n % DIMENSIONS] = float(kind)
    elif kind in ("nan mean", "nan repeated"):
        mean[n % DIMENSIONS] = np.nan
    elif kind == "zero":
        rows[0] = 0
    elif kind == "zero mean":
        mean[:] = 0
    elif kind == "ragged":
        mean = mean[:-1]
    one = msgspec.structs.replace(one, prototypes=rows, mean_embedding=mean)
    if kind == "nan repeated":
        ended = msgspec.structs.replace(one, ended=True)
        return wire.encode(wire.Repeated(camera_id="hall", run=1, tracklets=(ended,)))
    return wire.encode(an_update("hall", 100 + n, one))


class _Still:
    """A clock that is set by hand."""

    t_ns = NOW_NS

    def now_ns(self) -> int:
        return self.t_ns

    def sleep_until(self, t_ns: int) -> None:
        self.t_ns = max(self.t_ns, t_ns)


def unit_rows(n: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, DIMENSIONS))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def tracklet(camera_id: str, run: int, number: int, looks: np.ndarray, t_ns: int = NOW_NS) -> Tracklet:
    box = np.array([10, 10, 50, 110], np.float32)
    return Tracklet(
        key=TrackKey(camera_id=camera_id, run=run, number=number),
        revision=1,
        ended=False,
        t_first_ns=t_ns,
        t_last_ns=t_ns,
        first_box=box,
        last_box=box,
        velocity_px_s=np.zeros(2, np.float32),
        image_size=(640, 480),
        boxes_seen=5,
        score_mean=0.9,
        prototypes=looks[None].astype(np.float16),
        quality=np.ones(1, np.float32),
        mean_embedding=looks,
        embeddings_seen=3,
        model_hash="ab" * 32,
    )


def an_update(camera_id: str, seq: int, one: Tracklet, t_ns: int = NOW_NS) -> CameraUpdate:
    tracks = Tracks.of(
        np.array([one.key.number]),
        one.last_box[None],
        np.array([1], np.int8),
        detections=np.zeros(1, np.int32),
    )
    return CameraUpdate(
        camera_id=camera_id, run=1, seq=seq, t_ns=t_ns, tracks=tracks, tracklets=(one,), detected=True
    )


# --- fuzzing


def decoders(folder: Path) -> dict[str, tuple[list[bytes], Callable[[bytes], None]]]:
    """What is fuzzed: sound inputs to begin with, and what may come out of hostile ones."""

    def of_file(read: Callable[[Path], Any]) -> Callable[[bytes], None]:
        def one(data: bytes) -> None:
            (folder / "fuzzed").write_bytes(data)
            with contextlib.suppress(UserError):
                read(folder / "fuzzed")

        return one

    def of_wire(data: bytes) -> None:
        with contextlib.suppress(wire.WireError):
            decoded(data)

    tape, checkpoint, site = files_of(folder)
    return {
        "wire": (sound_messages(), of_wire),
        "tape": ([tape[0]], of_file(tape[1])),
        "checkpoint": ([checkpoint[0]], of_file(checkpoint[1])),
        "site_model": ([site[0]], of_file(site[1])),
        "settings": ([SITE.encode()], of_file(config.load)),
    }


def fuzzed(bench: Bench) -> dict[str, float]:
    """Each decoder for ten minutes, guided by what it executes."""
    if importlib.util.find_spec("atheris") is None:
        raise CannotRun("fuzzing needs atheris: pip install atheris")
    figures: dict[str, float] = {}
    with bench.folder() as folder:
        for name in decoders(folder):
            command = [
                sys.executable,
                "-m",
                "benchmarks.reliability.fuzz",
                name,
                f"-max_total_time={FUZZ_S}",
            ]
            bench.commands.append(" ".join(["python", *command[1:]]))
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                log.error("%s: %s", name, done.stderr[-2000:])
            figures[f"fuzz {name} crashes"] = float(done.returncode != 0)
    return figures
