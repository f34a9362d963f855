"""The unit and the container file say what this program understands."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import run_tracker
from tracker.config import LiveSettings

DEPLOY = Path(__file__).resolve().parent.parent / "configs" / "deploy"


def unit() -> configparser.ConfigParser:
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment]
    read.read_string((DEPLOY / "throughline.service").read_text(encoding="utf-8"))
    return read


def test_the_unit_starts_what_there_is() -> None:
    service = unit()["Service"]
    program, *arguments = service["ExecStart"].split()
    assert program.endswith("/throughline")
    given = run_tracker.parser().parse_args(arguments)
    assert (given.run, given.log_format) == (run_tracker.live, "json")
    assert str(given.out) == f"/var/lib/{service['StateDirectory']}"
    # Only `live` says READY=1 and WATCHDOG=1; its processes are stopped by it, in order.
    assert (service["Type"], service["KillMode"], service["Restart"]) == ("notify", "mixed", "on-failure")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "throughline.service").read_text(encoding="utf-8")
    copy = tmp_path / "throughline.service"
    copy.write_text(
        re.sub("^ExecStart=.*", "ExecStart=/bin/true", text, flags=re.MULTILINE), encoding="utf-8"
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert "throughline.service" not in done.stderr + done.stdout


def test_the_container_starts_what_there_is_and_not_as_root() -> None:
    lines = re.sub(r"\\\n", " ", (DEPLOY / "Containerfile").read_text(encoding="utf-8")).splitlines()
    said = {word: rest for word, _, rest in (line.partition(" ") for line in lines) if word.isupper()}
    assert json.loads(said["ENTRYPOINT"]) == ["throughline"]
    assert run_tracker.parser().parse_args(json.loads(said["CMD"])).run is run_tracker.live
    assert int(said["USER"]) > 0 and said["VOLUME"] == said["WORKDIR"] == "/data"
    assert f"http://{LiveSettings().http}/healthz" in said["HEALTHCHECK"]
    assert all((DEPLOY.parent.parent / name).exists() for name in ("constraints.txt", "pyproject.toml"))
