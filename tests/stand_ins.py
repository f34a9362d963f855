"""Processes that stand in for those of ``live``: they import next to nothing, so that they start at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def child(pipe: Any, site: Any, out: Path, name: str, camera_ids: Any, logs: Any) -> None:
    """Does nothing until it is stopped.

    worker-1 dies at once, and so does whoever has a file ``NAME.dies`` in ``out``; with ``NAME.problem`` there it says
    at the next word that it cannot use something, with ``NAME.deaf`` it does not stop. Asked for ``figures`` it tells
    them.
    """
    if name == "worker-1" or (out / f"{name}.dies").exists():
        os._exit(3)
    pipe.send(("ready", None))
    while (heard := pipe.recv())[0] != "stop" or (out / f"{name}.deaf").exists():
        if heard[0] == "figures":
            pipe.send(heard)
        if (out / f"{name}.problem").exists():
            pipe.send(("problem", "cannot use rtsp://viewer:pl4nted@h/s"))
            return
