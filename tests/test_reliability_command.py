"""``python -m benchmarks.reliability``: what its exit code says, with stand-ins for the rows."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.accuracy import Row, least, most
from benchmarks.reliability import __main__ as command
from benchmarks.reliability import soak
from benchmarks.reliability.bench import Bench, CannotRun, holdings
from benchmarks.reliability.events import Cast, Watch


def held(bench: Bench) -> Row:
    return Row("held", {"lost": 0.0, "tries": bench.of(1, 10, 100)}, {"lost": most(0), "tries": least(1)})


def missed(bench: Bench) -> Row:
    return Row("missed", {"lost": 1.0}, {"lost": most(0)})


def absent(bench: Bench) -> Row:
    """A figure that is promised and was not measured."""
    return Row("absent", {}, {"lost": most(0)})


def cannot(bench: Bench) -> Row:
    raise CannotRun("a disk of its own")


def broken(bench: Bench) -> Row:
    raise RuntimeError("a bug")


ROWS: dict[str, Callable[[Bench], Row]] = {
    "held": held,
    "missed": missed,
    "absent": absent,
    "cannot": cannot,
    "broken": broken,
}


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "ROWS", tuple(ROWS))
    for name, run in ROWS.items():
        module = ModuleType(f"benchmarks.reliability.{name}")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (["held"], 0),
        (["held", "missed"], 1),
        (["absent"], 1),
        (["cannot"], 3),
        (["held", "cannot"], 3),
        (["broken"], 1),
        (["missed", "cannot"], 1),  # a miss weighs more than what could not be tried
        (["broken", "cannot", "held"], 1),
        ([], 1),  # all of them
    ],
)
def test_the_exit_code_tells_held_from_missed_and_untried(
    rows: list[str], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    assert command.main(["--quick", *(["--only", *rows] if rows else [])]) == code


def test_every_row_is_told_and_written_also_after_one_that_broke(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "rows.json"
    command.main(["--release", "--json", str(written), "--work", str(tmp_path / "work")])
    out = capsys.readouterr().out
    assert "cannot run here: a disk of its own" in out and "broke: RuntimeError: a bug" in out
    told = json.dumps(json.loads(written.read_text()))
    assert all(name in told for name in ROWS) and '"tries": 100' in told
    assert list((tmp_path / "work").iterdir()) == []


def test_a_wrong_name_is_a_mistake() -> None:
    with pytest.raises(SystemExit) as end:
        command.main(["--only", "nothing"])
    assert end.value.code == 2


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="read from /proc")
def test_a_process_that_is_gone_is_a_failure_and_no_excuse() -> None:
    """Read as "cannot run here", a worker that died left its row out."""
    assert holdings().rss_mib > 1
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert holdings(process.pid).threads == 1
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(OSError, match="has ended"):
            holdings(process.pid)
    with pytest.raises(OSError, match="No such file"):
        holdings(process.pid)


@pytest.mark.skipif(not hasattr(signal, "pause"), reason="signals of POSIX")
def test_whoever_dies_of_a_signal_that_nobody_sent_is_reported() -> None:
    """A negative exit code was taken for one of the row's own kills."""
    cast = Cast(multiprocessing.get_context("spawn"))
    try:
        cast.start("linker", signal.pause)
        cast.kill("linker")
        Watch(cast, lambda: 0).look()
        cast.start("wall", signal.raise_signal, signal.SIGKILL)
        cast.running["wall"].join()
        with pytest.raises(RuntimeError, match=r"^wall \(-9\) ended by themselves"):
            Watch(cast, lambda: 0).look()
    finally:
        cast.end()


@pytest.mark.parametrize(("effort", "least_frames"), [("quick", 64), ("full", 18240), ("release", 218880)])
def test_a_soak_of_few_frames_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effort: str, least_frames: int
) -> None:
    """A share of frames and no deaths were all that was asked for: workers that hardly read passed."""
    # 16 cameras x 2 a second: 4 s x 32 x 0.5; 600 s x 32 x 0.95; 7200 s x 32 x 0.95
    for frames, missed in ((least_frames, False), (least_frames - 1, True)):
        monkeypatch.setattr(soak._Soak, "run", lambda _, frames=frames: {"frames": frames})
        assert ("frames" in soak.run(Bench(effort, tmp_path)).missed) is missed
