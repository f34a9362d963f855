"""Throughline: one identity per person, across every camera."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracker.types import Detections

__version__ = "0.1.0"
__all__ = ["Detections", "__version__", "load_detector", "subscribe"]

if TYPE_CHECKING:
    from tracker.io.bus import subscribe
    from tracker.io.detectors import load_detector


def __getattr__(name: str) -> Any:
    """The heavy names are imported when they are first used, so that ``import tracker`` stays quick."""
    if name == "subscribe":
        from tracker.io.bus import subscribe

        return subscribe
    if name == "load_detector":
        from tracker.io.detectors import load_detector

        return load_detector
    raise AttributeError(f"module 'tracker' has no attribute {name!r}")
