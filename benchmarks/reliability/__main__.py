"""Does it hold? Cameras that stall, links that break, processes that are killed, disks that fill, strangers that knock.

    python -m benchmarks.reliability [--quick | --release] [--only NAME ...] [--json FILE] [--data DIR] [--work DIR]

Each row stages one kind of trouble with the shipped program's own parts and counts what came of it. The exit code is 1
when a figure is missed, else 3 when a row cannot run on this machine (it says what it lacks), else 0.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.accuracy import Row, as_json, as_text
from benchmarks.reliability.bench import Bench, CannotRun

# Each is a module beside this one, with run(Bench) -> Row.
ROWS = (
    "events",  # log, publication and subscribers through kills and cut links
    "cameras",  # network cameras that freeze, die, send garbage, change size or jump in time
    "reconnects",  # what a thousand of them leave behind
    "full_disk",  # no byte can be written for a while
    "recovery",  # a linker killed with ten thousand identities
    "clocks",  # cameras whose clocks are off, drift and jump
    "hostile",  # bytes that nobody should send: wire, videos, models, settings, requests
    "power_cut",  # storage as it was on disk at a random instant
    "versions",  # files of an earlier schema, looks of another embedder
    "strangers",  # wrong keys, no keys, too large, again
    "soak",  # hours of it
    "forgetting",  # nothing left of somebody forgotten
)
MISSED, CANNOT = 1, 3

log = logging.getLogger(__name__)


def measure(name: str, bench: Bench) -> Row:
    """One row with its commands and time. A row that breaks has missed whatever it wanted."""
    bench.commands = []
    start = time.perf_counter()
    module = importlib.import_module(f"benchmarks.reliability.{name}")
    ours = logging.getLogger("tracker")
    level = ours.level
    try:
        row: Row = module.run(bench)
    finally:
        ours.setLevel(level)  # trouble that is staged need not be told, but only as long as it is
    return Row(
        row.name, row.figures, row.wanted, bench.commands, round(time.perf_counter() - start, 1), row.note
    )


def main(argv: list[str] | None = None) -> int:
    """The exit code is 1 when a figure is missed, 3 when a row cannot run here."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.reliability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    effort = options.add_mutually_exclusive_group()
    effort.add_argument(
        "--quick", dest="effort", action="store_const", const="quick", help="seconds a row, small counts"
    )
    effort.add_argument(
        "--release",
        dest="effort",
        action="store_const",
        const="release",
        help="hours: what a release must pass",
    )
    options.set_defaults(effort="full")
    options.add_argument("--only", nargs="+", choices=ROWS, metavar="NAME", help=", ".join(ROWS))
    options.add_argument("--json", type=Path, metavar="FILE", help="write the counts here as well")
    options.add_argument("--seed", type=int, default=0, metavar="N", help="of all that is left to chance")
    options.add_argument(
        "--data", type=Path, default=os.environ.get("THROUGHLINE_DATA"), help="folder of the data sets"
    )
    options.add_argument(
        "--work", type=Path, metavar="DIR", help="where the rows work (default: a temporary folder)"
    )
    given = options.parse_args(argv)
    if given.work is not None:
        given.work.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    cannot = broken = 0
    with tempfile.TemporaryDirectory(prefix="r-", dir=given.work) as work:
        for name in given.only or ROWS:
            try:
                # Resolved, as SQLite names files: else a relative folder's would not be known as those written to.
                bench = Bench(given.effort, Path(work).resolve(), given.seed, given.data)
                rows.append(measure(name, bench))
            except CannotRun as reason:
                cannot += 1
                rows.append(Row(name, {}, note=f"cannot run here: {reason}"))
            except Exception as error:
                # The other rows are still worth knowing.
                broken += 1
                log.exception("%s broke", name)
                rows.append(Row(name, {}, note=f"broke: {type(error).__name__}: {error}"))
            print(as_text(rows[-1]), flush=True)
            if given.json:
                given.json.write_text(json.dumps(as_json(rows), indent=1) + "\n", encoding="utf-8")
    if broken or any(row.missed for row in rows):
        return MISSED
    return CANNOT if cannot else 0


if __name__ == "__main__":
    sys.exit(main())
