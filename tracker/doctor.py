"""What is installed, what really starts, whether a source can be opened and a site run: one finding a line."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import os
import platform
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tracker
from tracker.errors import UserError

if TYPE_CHECKING:
    from tracker.config import Site

NEEDED = ("numpy", "scipy", "opencv-python", "av", "pyzmq", "msgspec", "pydantic", "PyYAML", "tqdm")
RUNTIMES = ("onnxruntime-gpu", "onnxruntime")
OPTIONAL = {"trackeval": "evaluate", "torch": "training", "onnx": "export"}
IMPORT_NAMES = {"opencv-python": "cv2", "pyzmq": "zmq", "PyYAML": "yaml"}
FREE_BYTES_WANTED = 2 << 30  # an hour of annotated video and logs
CAMERA_S = 15.0  # a camera that has not answered by then does not; the network's own patience is 5 s
# `python -m benchmarks.reliability --only soak`: 0.6 kB an event. Two people in view for twelve hours a day are told of
# once a second each.
EVENT_BYTES, EVENTS_PER_CAMERA_DAY = 600, 2 * 12 * 3600
_CLOCK_ERROR = 5  # TIME_ERROR of adjtimex(2): nobody disciplines the clock
_DAY_NS = 86_400 * 10**9


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``state``: ok, note (works, but know this) or wrong (something will fail)."""

    what: str
    state: Literal["ok", "note", "wrong"]
    text: str


def examine(
    source: str | None = None, folder: Path | None = None, site_file: Path | None = None
) -> Iterator[Finding]:
    """Everything in turn; with a source, whether its first frame can be had; with a site, whether it can run.

    Args:
        source: As a camera's ``url`` in a site file: a file, a folder, ``rtsp://...``, a webcam's number.
        folder: Where results would be written; None: the site's ``live.out``, else here.
        site_file: Whose cameras, models, endpoints, keys and files are looked at as well.
    """
    yield Finding("throughline", "ok", f"{tracker.__version__}, Python {platform.python_version()}")
    yield Finding("machine", "ok", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores")
    yield from packages()
    yield from runtimes()
    yield from shipped_models()
    if site_file is None:
        yield disk(folder or Path())
    else:
        yield from site(site_file, folder)
    if source is not None:
        yield camera(source)


def packages() -> Iterator[Finding]:
    """Needed packages by version, and whether each can be imported; then the optional ones."""
    for name in NEEDED:
        version = _version(name) or (_version("opencv-python-headless") if name == "opencv-python" else None)
        if version is None:
            yield Finding(name, "wrong", f"not installed: pip install {name}")
            continue
        try:
            importlib.import_module(IMPORT_NAMES.get(name, name))
        except ImportError as problem:
            yield Finding(name, "wrong", f"{version}, but it cannot be imported: {import_remedy(problem)}")
        else:
            yield Finding(name, "ok", version)
    for name, use in OPTIONAL.items():
        version = _version(name)
        yield Finding(name, "ok" if version else "note", version or f"not installed; only {use} needs it")


def import_remedy(problem: ImportError) -> str:
    """Why an import failed and what to do, in one line."""
    text = str(problem).splitlines()[0]
    if text.startswith(("libGL", "libgthread", "libglib", "libxcb", "libX11")):
        return (
            f"{text}; OpenCV needs these system libraries (Debian: apt-get install libgl1 libglib2.0-0), "
            "or install opencv-python-headless in place of opencv-python"
        )
    return text


def runtimes() -> Iterator[Finding]:
    """Which ONNX Runtime is installed, and which of its providers really start with a shipped model."""
    installed = [f"{name} {version}" for name in RUNTIMES if (version := _version(name))]
    if len(installed) != 1:
        text = "both are installed and overwrite each other" if installed else "not installed"
        yield Finding("onnxruntime", "wrong", f"{text}: keep exactly one of {' and '.join(RUNTIMES)}")
        if not installed:
            return
    import models

    yield Finding("onnxruntime", "ok", ", ".join(installed))
    devices = ["cpu"] + [f"cuda:{n}" for n in range(models.cuda_device_count())]
    for device in devices:
        try:
            opened = models.open_model(models.DEFAULT_DETECTOR, device=device)
        except models.ModelError as problem:
            yield Finding(device, "note" if device != "cpu" else "wrong", str(problem))
        else:
            yield Finding(device, "ok", f"{opened.providers[0]} starts ({opened.name})")
    if len(devices) == 1:
        yield Finding("cuda", "note", "no CUDA device; networks run on the CPU")


def shipped_models() -> Iterator[Finding]:
    """Whether the models that lie on this machine have the bytes that their cards promise."""
    import models

    for card in models.cards():
        try:
            models.locate(card.name)
        except models.ModelError:
            if card.is_shipped or not card.url:
                yield Finding(f"model {card.name}", "wrong", "its file is missing: reinstall the package")
            continue
        answer = models.verify(card.name)
        yield Finding(f"model {card.name}", "ok" if answer == "ok" else "wrong", answer)


def disk(folder: Path) -> Finding:
    """Whether results can be written to a folder (or its nearest parent that is there), and how much fits."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        return Finding("disk", "wrong", f"{place} is a file: name a folder for the results")
    try:
        with tempfile.NamedTemporaryFile(dir=place) as probe:
            probe.write(bytes(1 << 16))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as problem:
        return Finding("disk", "wrong", f"nothing can be written in {place}: {problem.strerror}")
    free = shutil.disk_usage(place).free
    state: Literal["ok", "note"] = "ok" if free >= FREE_BYTES_WANTED else "note"
    return Finding("disk", state, f"{free / (1 << 30):.1f} GiB free in {place}")


def site(file: Path, out: Path | None = None) -> Iterator[Finding]:
    """Whether a site can run here: every mistake of its file, then its cameras, models, endpoints, keys and files."""
    from tracker import config

    try:
        found = config.load(file)
    except UserError as problem:
        for line in str(problem).splitlines():
            yield Finding("site", "wrong", line)
        return
    out = out or Path(found.live.out)
    yield Finding("site", "ok", f"{file}: {len(found.cameras)} cameras")
    yield from cameras(found)
    yield from models_of(found)
    yield from endpoints(found)
    yield from private_files(found, file, out)
    yield disk(out)
    yield retention(found, out)
    yield clock()


def cameras(found: Site) -> Iterator[Finding]:
    """Whether each opens, all asked at once; whoever does not answer in time is left behind."""
    answers: dict[str, Finding] = {}

    def ask(name: str, url: str) -> None:
        answers[name] = camera(url, f"camera {name}")

    threads = {
        name: threading.Thread(target=ask, args=(name, one.url), daemon=True)
        for name, one in found.cameras.items()
    }
    for thread in threads.values():
        thread.start()
    over_s = time.monotonic() + CAMERA_S
    for name, thread in threads.items():
        thread.join(max(over_s - time.monotonic(), 0.0))
        missing = Finding(f"camera {name}", "wrong", f"does not answer within {CAMERA_S:.0f} s")
        yield answers.get(name, missing)


def models_of(found: Site) -> Iterator[Finding]:
    """Whether the site's networks start on the device that it names."""
    import models
    from tracker.config import OnnxDetectorSettings, OnnxEmbedderSettings

    for what, settings in (("detector", found.detector), ("embedder", found.embedder)):
        if isinstance(settings, OnnxDetectorSettings | OnnxEmbedderSettings):
            try:
                opened = models.open_model(settings.model, device=settings.device, threads=settings.threads)
            except models.ModelError as problem:
                yield Finding(what, "wrong", str(problem))
            else:
                yield Finding(what, "ok", f"{opened.name} starts on {opened.providers[0]}")


def endpoints(found: Site) -> Iterator[Finding]:
    """Whether all that the linker and the status server listen on is free, and closed to strangers."""
    from tracker.io.bus import Hub
    from tracker.io.status import StatusServer

    keys = found.bus.keys
    if keys is None or (Path(keys) / "linker.key_secret").exists():
        yield _tried("endpoints", "of the bus are free", lambda: Hub(found.bus).close())
    else:
        yield Finding(
            "endpoints", "note", f"{keys} holds no linker.key_secret: not looked at, the linker is elsewhere"
        )
    if found.live.http is not None:
        where, insecure = found.live.http, found.live.http_insecure
        tried = _tried(
            "health", f"{where} is free", lambda: StatusServer(where, {}, insecure=insecure).close()
        )
        if tried.state == "wrong" and "http" not in found.live.model_fields_set:
            # Nobody has asked for this one: the program goes on without it.
            tried = Finding("health", "note", f"{tried.text}; it will go on without health and metrics")
        yield tried


def _tried(what: str, text: str, attempt: Callable[[], None]) -> Finding:
    try:
        attempt()
    except (UserError, OSError) as problem:
        is_taken = "in use" in str(problem)
        return Finding(
            what, "wrong", f"{problem} (is this site running already?)" if is_taken else str(problem)
        )
    return Finding(what, "ok", text)


def private_files(found: Site, file: Path, out: Path) -> Iterator[Finding]:
    """Whether others on this machine can read passwords, keys or results."""
    if os.name != "posix":
        return
    from tracker.config import holds_passwords

    if file.stat().st_mode & 0o004 and holds_passwords(file):
        yield Finding("passwords", "note", f"{file} holds one and others can read it: chmod 600 {file}")
    if found.bus.keys is not None:
        keys = Path(found.bus.keys)
        secret = sorted(keys.glob("*.key_secret"))
        opened = [path for path in secret if path.stat().st_mode & 0o077]
        for path in opened:
            yield Finding("keys", "wrong", f"others can read {path}: chmod 600 {path}")
        if not secret:
            yield Finding("keys", "wrong", f"{keys} holds no secret key")
        elif not opened:
            yield Finding("keys", "ok", f"{len(secret)} in {keys}, private")
    if out.is_dir() and out.stat().st_mode & 0o077:
        yield Finding("out", "note", f"others can enter {out}: chmod 700 {out}")


def retention(found: Site, out: Path) -> Finding:
    """Whether the events of ``store.keep_days``, ``store.keep_mib`` at most, fit on the disk.

    By the log that is there, else by a rule of thumb.
    """
    place = out.absolute()
    while not place.exists():
        place = place.parent
    rate = _logged_bytes_per_day(out / "events.sqlite")
    by = "as the log has grown so far" if rate else "with two people in view for half of each day"
    rate = rate or EVENT_BYTES * EVENTS_PER_CAMERA_DAY * len(found.cameras)
    grown, most, free = (
        rate * found.store.keep_days,
        found.store.keep_mib * 2**20,
        shutil.disk_usage(place).free,
    )
    wanted = min(grown, most)
    text = f"{found.store.keep_days:g} days of events take some {grown / (1 << 30):.1f} GiB {by}"
    if grown > most:
        text += f", of which store.keep_mib keeps the last {most / (1 << 30):.1f} GiB"
    text += f"; {free / (1 << 30):.1f} GiB are free"
    if found.store.keep_tapes:
        hours = found.link.remember_s / 3600
        text += f"; store.keep_tapes is on: all that the linker hears in {hours:g} h (link.remember_s) comes on top"
    return Finding("retention", "ok" if free > wanted and not found.store.keep_tapes else "note", text)


def _logged_bytes_per_day(log: Path) -> float:
    """How fast an event log has grown; 0 where there is none, or less than a day of it."""
    if not log.is_file():
        return 0.0
    try:
        with closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as db:
            first, last = db.execute("SELECT min(t_ns), max(t_ns) FROM events").fetchone()
    except sqlite3.DatabaseError:
        return 0.0
    days = (last - first) / _DAY_NS if first is not None else 0.0
    return log.stat().st_size / days if days >= 1 else 0.0


def clock() -> Finding:
    """Whether something keeps this machine's time: cameras on other machines are compared by it."""
    try:
        libc = ctypes.CDLL(None)
        state = libc.adjtimex(ctypes.create_string_buffer(512))  # struct timex, all zero: only asks
    except (OSError, AttributeError, TypeError):
        return Finding("clock", "note", "this system does not say whether its clock is kept in time")
    if state < 0:
        return Finding("clock", "note", "this machine does not tell whether its clock is kept in time")
    if state == _CLOCK_ERROR:
        text = (
            "is not synchronised: run chrony, ntpd or systemd-timesyncd where workers run on other machines"
        )
        return Finding("clock", "note", text)
    return Finding("clock", "ok", "is kept in time")


def camera(source: str, what: str = "source") -> Finding:
    """Whether a source opens, and for a recording whether a first frame can be read."""
    from tracker.errors import mask_url
    from tracker.io.sources import is_live, open_recording, probe

    shown = mask_url(source)
    try:
        info = probe(source)
        if not is_live(source):
            opened = open_recording("source", source, start_ns=0, fps=info.fps or 1.0)
            try:
                if next(iter(opened), None) is None:
                    return Finding(what, "wrong", f"{shown}: it opens, but not one frame can be read")
            finally:
                opened.close()
    except UserError as problem:
        return Finding(what, "wrong", str(problem))
    width, height = info.size
    known = [f"{width}x{height}", info.codec]
    known += [f"{info.fps:g} frames/s"] if info.fps else []
    known += [f"{info.frames} frames"] if info.frames else []
    return Finding(what, "ok", f"{shown}: {', '.join(known)}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
