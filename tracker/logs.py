"""How a process says what happened: a line a record, for people or for machines, and never a secret."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from tracker.errors import mask_url

LogFormat = Literal["text", "json"]


@dataclass(frozen=True)
class LogSettings:
    """How much is said, and in which form; the same in every process of a role."""

    level: int = logging.WARNING
    format: LogFormat = "text"


def set_up(settings: LogSettings, process: str = "", cameras: Collection[str] = ()) -> None:
    """Log to stderr from here on, what nobody catches included. Where somebody else has set up logs, theirs stay.

    Args:
        process: Which one of several this is, said with every line.
        cameras: Names of the site's: in JSON a record of one of them says so.
    """
    root = logging.getLogger()
    for earlier in [one for one in root.handlers if isinstance(one.formatter, _Text | _Json)]:
        root.removeHandler(earlier)
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(_Json(process, cameras) if settings.format == "json" else _Text(process))
    logging.basicConfig(level=settings.level, handlers=[handler])
    sys.excepthook = _say
    threading.excepthook = _say_of_thread


class _Text(logging.Formatter):
    """``12:01:02 WARNING worker-0 tracker.roles.following: hall: ...``"""

    def __init__(self, process: str) -> None:
        super().__init__(
            f"%(asctime)s %(levelname)s {process + ' ' if process else ''}%(name)s: %(message)s",
            datefmt=None if process else "%H:%M:%S",
        )

    def format(self, record: logging.LogRecord) -> str:
        return mask_url(super().format(record))


class _Json(logging.Formatter):
    """One object a line: time, level, process, camera where one is spoken of, logger, message, error."""

    def __init__(self, process: str, cameras: Collection[str]) -> None:
        super().__init__()
        self._process, self._cameras = process, frozenset(cameras)

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self._process,
            "camera": self._camera(record),
            "logger": record.name,
            "message": mask_url(record.getMessage()),
            "error": mask_url(self.formatException(record.exc_info)) if record.exc_info else "",
        }
        return json.dumps({name: value for name, value in told.items() if value}, ensure_ascii=False)

    def _camera(self, record: logging.LogRecord) -> str:
        """Messages of a camera begin with its name, and a capture thread bears it."""
        first = record.args[0] if isinstance(record.args, tuple) and record.args else ""
        return next((str(name) for name in (first, record.threadName) if name in self._cameras), "")


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger(__name__).critical("uncaught", exc_info=(kind, error, trace))


def _say_of_thread(what: threading.ExceptHookArgs) -> None:
    if what.exc_value is not None and not issubclass(what.exc_type, SystemExit):
        name = what.thread.name if what.thread is not None else "a thread"
        logging.getLogger(__name__).critical(
            "%s ended", name, exc_info=(what.exc_type, what.exc_value, what.exc_traceback)
        )
