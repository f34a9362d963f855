"""What is installed, what really starts, and whether a source can be opened: one finding a line."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tracker
from tracker.errors import UserError

NEEDED = ("numpy", "scipy", "opencv-python", "av", "pyzmq", "msgspec", "pydantic", "PyYAML", "tqdm")
RUNTIMES = ("onnxruntime-gpu", "onnxruntime")
OPTIONAL = {"trackeval": "evaluate", "torch": "training", "onnx": "export"}
IMPORT_NAMES = {"opencv-python": "cv2", "pyzmq": "zmq", "PyYAML": "yaml"}
FREE_BYTES_WANTED = 2 << 30  # an hour of annotated video and logs


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``state``: ok, note (works, but know this) or wrong (something will fail)."""

    what: str
    state: Literal["ok", "note", "wrong"]
    text: str


def examine(source: str | None = None, folder: Path = Path()) -> Iterator[Finding]:
    """Everything in turn; with a source, whether its first frame can be had.

    Args:
        source: As a camera's ``url`` in a site file: a file, a folder, ``rtsp://...``, a webcam's number.
        folder: Where results would be written.
    """
    yield Finding("throughline", "ok", f"{tracker.__version__}, Python {platform.python_version()}")
    yield Finding("machine", "ok", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores")
    yield from packages()
    yield from runtimes()
    yield from shipped_models()
    yield disk(folder)
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


def camera(source: str) -> Finding:
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
                    return Finding("source", "wrong", f"{shown}: it opens, but not one frame can be read")
            finally:
                opened.close()
    except UserError as problem:
        return Finding("source", "wrong", str(problem))
    width, height = info.size
    known = [f"{width}x{height}", info.codec]
    known += [f"{info.fps:g} frames/s"] if info.fps else []
    known += [f"{info.frames} frames"] if info.frames else []
    return Finding("source", "ok", f"{shown}: {', '.join(known)}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
