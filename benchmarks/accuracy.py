"""Every figure that the project promises, one row a data set, next to what it must reach.

    python -m benchmarks.accuracy --data DIR [--only NAME ...] [--json FILE] [--work DIR]

``DIR`` (or ``$THROUGHLINE_DATA``) holds ``mtmc/ufes_lab``, ``mtmc/usc_plaza``, ``mot/*`` and ``models``; a data set
that is not there is said and left out. Each row runs the command line as a user would, and the command is part of
the result.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import tracker
from benchmarks.calibration import convert_file
from benchmarks.peer_inputs import prepare_all
from tracker.evaluate import FrameRange, Scores, camera_files, evaluate, trackeval_is_installed

UFES_CAMERAS = ("cam0", "cam1", "cam2", "cam3")
PIXELS_AND_NETWORKS = {
    "wait for frames",
    "decode",
    "flow",
    "detect",
    "embed",
}  # what is not our own bookkeeping


@dataclass(frozen=True)
class Wanted:
    """What a figure must reach."""

    value: float
    is_least: bool  # else the most it may be

    def is_met(self, figure: float) -> bool:
        """NaN meets nothing."""
        return figure >= self.value if self.is_least else figure <= self.value

    def __str__(self) -> str:
        return f"{'>=' if self.is_least else '<='} {self.value:g}"


def least(value: float) -> Wanted:
    return Wanted(value, is_least=True)


def most(value: float) -> Wanted:
    return Wanted(value, is_least=False)


@dataclass(frozen=True)
class Row:
    """One data set's figures."""

    name: str
    figures: dict[str, float]
    wanted: dict[str, Wanted] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    seconds: float = 0.0  # the whole row took
    note: str = ""  # why there are no figures

    @property
    def missed(self) -> list[str]:
        """Names of the figures that are not what they must be."""
        return [
            name
            for name, wanted in self.wanted.items()
            if not wanted.is_met(self.figures.get(name, math.nan))
        ]


class Absent(Exception):
    """The data of a row is not there."""


@dataclass
class Bench:
    """Where the data lies and where results go."""

    data: Path | None
    work: Path
    commands: list[str] = field(default_factory=list)  # of the row that is running

    def folder(self, *parts: str) -> Path:
        """A folder of the data.

        Raises:
            Absent: It is not there.
        """
        if self.data is None:
            raise Absent("needs --data DIR or THROUGHLINE_DATA")
        folder = self.data.joinpath(*parts)
        if not folder.is_dir():
            raise Absent(f"{folder} is not there")
        return folder

    def run(self, *arguments: str | Path) -> float:
        """One command of ours; the answer is its wall time in seconds.

        Raises:
            SystemExit: It failed; its own message has been shown.
        """
        command = [sys.executable, "-m", "run_tracker", *map(str, arguments)]
        self.commands.append("throughline " + shlex.join(map(str, arguments)))
        start = time.perf_counter()
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, check=False, cwd=Path(__file__).parent.parent
        )
        if done.returncode:
            sys.exit(f"failed with {done.returncode}: {self.commands[-1]}")
        return time.perf_counter() - start

    def out(self, name: str) -> Path:
        return self.work / "out" / name

    def prepared_inputs(self) -> dict[str, dict[str, Path]]:
        """Detections and embeddings of the MOT sequences, made once."""
        self.folder("mot"), self.folder("models")
        assert self.data is not None
        return prepare_all(self.data, self.work / "inputs")

    def ufes(self, name: str, *more: str, is_calibrated: bool) -> tuple[Path, float]:
        """The four cameras end to end, with ``more`` options: output folder and wall time."""
        folder, out = self.folder("mtmc", "ufes_lab"), self.out(name)
        options = list(more)
        if is_calibrated:
            for k, camera_id in enumerate(UFES_CAMERAS):
                converted = convert_file(folder / f"calib_{k}.json", self.work / "calibration")
                options += ["--calibration", f"{camera_id}={converted}"]
        cameras = [f"{camera_id}={folder / camera_id}.mp4" for camera_id in UFES_CAMERAS]
        return out, self.run("process", *cameras, *options, "-o", out, "--quiet")


# --- rows


def across_figures(scores: Scores) -> dict[str, float]:
    found = scores.across
    return {
        "IDF1": 100 * found.idf1,
        "IDP": 100 * found.idp,
        "IDR": 100 * found.idr,
        "HOTA": 100 * found.hota,
        "hand-over recall": 100 * found.hand_over_recall,
        "hand-overs kept": found.hand_overs_kept,
        "hand-overs": found.hand_overs,
        "false merges": 100 * found.false_merge_rate,
        "ids on people": found.ids_on_persons,
        "people": found.persons,
        "fragments a person": found.fragments_per_person,
        "IDF1 limit": 100 * found.idf1_limit,
    }


def of_both_ids(truth: Path, out: Path, **options: Any) -> dict[str, float]:
    """Figures of the final identities, and the IDF1 of those that a live subscriber would have seen."""
    files = camera_files([truth])
    final = evaluate(files, camera_files([out / "tracks"]), per_camera=False, **options)
    published = evaluate(files, camera_files([out / "tracks_as_published"]), per_camera=False, **options)
    return {
        **across_figures(final),
        "IDF1 as published": 100 * published.across.idf1,
        "IDF1 limit as published": 100 * published.across.idf1_limit,
    }


def demo(bench: Bench) -> Row:
    out = bench.out("demo")
    seconds = bench.run("demo", "-o", out, "--no-video", "--quiet")
    truth = Path(tracker.__file__).parent / "demo" / "truth"
    return Row("demo", {**of_both_ids(truth, out), "wall s": seconds})


def ufes_lab(bench: Bench) -> Row:
    out, seconds = bench.ufes("ufes_lab", is_calibrated=True)
    figures = of_both_ids(bench.folder("mtmc", "ufes_lab"), out, partial=True)
    return Row("ufes_lab", {**figures, "wall s": seconds}, {"IDF1": least(95), "ids on people": most(4)})


def ufes_lab_uncalibrated(bench: Bench) -> Row:
    out, seconds = bench.ufes("ufes_lab_uncalibrated", is_calibrated=False)
    figures = of_both_ids(bench.folder("mtmc", "ufes_lab"), out, partial=True)
    wanted = {"IDF1": least(95), "ids on people": most(4)}
    return Row("ufes_lab_uncalibrated", {**figures, "wall s": seconds}, wanted)


def usc_plaza(bench: Bench) -> Row:
    folder, out = bench.folder("mtmc", "usc_plaza"), bench.out("usc_plaza")
    cameras = [f"{camera_id}={folder / camera_id}.mp4" for camera_id in ("cam1", "cam2")]
    seconds = bench.run("process", *cameras, "-o", out, "--quiet")
    figures = of_both_ids(folder, out, partial=True, gap_frames=200, frames=FrameRange(1, 600))
    wanted = {"IDF1": least(80), "false merges": most(20)}
    return Row("usc_plaza", {**figures, "wall s": seconds}, wanted)


def mot_yolox(bench: Bench) -> Row:
    wanted = {"HOTA": least(60), "IDF1": least(81), "IDSW": most(38)}
    return Row("mot_yolox", _mot(bench, "yolox"), wanted)


def mot_public(bench: Bench) -> Row:
    wanted = {"HOTA": least(51), "IDF1": least(71), "IDSW": most(29)}
    return Row("mot_public", _mot(bench, "pub", "--recorded-score", "1.0"), wanted)


def _mot(bench: Bench, kind: str, *options: str) -> dict[str, float]:
    """Each sequence by itself on the recorded inputs, scored together by TrackEval."""
    if not trackeval_is_installed():
        raise Absent("needs TrackEval: pip install 'throughline[eval]'")
    inputs = bench.prepared_inputs()
    tracks: dict[str, Path] = {}
    for name, files in inputs.items():
        out = bench.out(f"mot_{kind}") / name
        bench.run("process", f"{name}={files[kind]}", *options, "-o", out, "--quiet")
        tracks |= camera_files([out / "tracks"])
    scores = evaluate(camera_files([bench.folder("mot")]), tracks)
    assert scores.combined is not None
    both = scores.combined
    figures = {
        "HOTA": 100 * both.hota,
        "IDF1": 100 * both.idf1,
        "IDSW": both.id_switches,
        "DetA": 100 * both.det_a,
        "AssA": 100 * both.ass_a,
        "MOTA": 100 * both.mota,
    }
    for name, own in scores.cameras.items():
        figures |= {f"HOTA {name}": 100 * own.hota, f"IDF1 {name}": 100 * own.idf1}
    return figures


def speed(bench: Bench) -> Row:
    """Frames a second end to end on the four UFES cameras, and where the time goes."""
    out, seconds = bench.ufes("speed", is_calibrated=True)
    told = json.loads((out / "run.json").read_text(encoding="utf-8"))
    frames = sum(int(camera["processed"]) for camera in told["frames"].values())
    stages: Mapping[str, float] = told["stages_s"]
    elsewhere = sum(spent for stage, spent in stages.items() if stage not in PIXELS_AND_NETWORKS)
    figures = {
        "frames/s": frames / seconds,
        "frames": frames,
        "wall s": seconds,
        "outside pixels and networks %": 100 * elsewhere / max(sum(stages.values()), 1e-9),
        **{f"{stage} ms": 1e3 * spent / max(frames, 1) for stage, spent in stages.items()},
    }
    return Row("speed", figures, {"outside pixels and networks %": most(20)})


def live(bench: Bench) -> Row:
    """The same four cameras paced at their own 10 frames/s: dropped frames after the first seconds, and the CPU."""
    folder, out = bench.folder("mtmc", "ufes_lab"), bench.out("live")
    site = bench.work / "live.yaml"
    cameras = {}
    for k, camera_id in enumerate(UFES_CAMERAS):
        converted = convert_file(folder / f"calib_{k}.json", bench.work / "calibration")
        cameras[camera_id] = {"url": str(folder / f"{camera_id}.mp4"), "calibration": str(converted)}
    site.write_text(json.dumps({"name": "ufes_lab", "cameras": cameras}), encoding="utf-8")
    bench.run("live", site, "-o", out)
    told = json.loads((out / "live.json").read_text(encoding="utf-8"))
    own: list[dict[str, float]] = list(told["cameras"].values())
    read, dropped = (sum(count[name] for count in own) for name in ("read_warm", "dropped_warm"))
    processors = {name: process["cpu_s"] / told["wall_s"] for name, process in told["processes"].items()}
    figures = {
        "dropped %": 100 * dropped / max(read, 1),
        "read after warm-up": read,
        "dropped at first": sum(count["dropped"] - count["dropped_warm"] for count in own),
        "latency p50 ms": 1e3 * max(count.get("latency_p50_s", math.nan) for count in own),
        "latency p99 ms": 1e3 * max(count.get("latency_p99_s", math.nan) for count in own),
        "cores": sum(processors.values()),
        **{f"cores of {name}": share for name, share in processors.items()},
    }
    return Row("live", figures, {"dropped %": most(1)})


ROWS: dict[str, Callable[[Bench], Row]] = {
    "demo": demo,
    "ufes_lab": ufes_lab,
    "ufes_lab_uncalibrated": ufes_lab_uncalibrated,
    "usc_plaza": usc_plaza,
    "mot_yolox": mot_yolox,
    "mot_public": mot_public,
    "speed": speed,
    "live": live,
}


class _Runs(Protocol):
    """What rows are measured with: it remembers the commands that it ran."""

    commands: list[str]


_Bench = TypeVar("_Bench", bound=_Runs)


def measure(name: str, fill: Callable[[_Bench], Row], bench: _Bench) -> Row:
    """One row with its commands and time, or the reason why there is none."""
    bench.commands = []
    start = time.perf_counter()
    try:
        row = fill(bench)
    except Absent as reason:
        return Row(name, {}, note=f"left out: {reason}")
    return Row(
        row.name,
        row.figures,
        row.wanted,
        list(bench.commands),
        round(time.perf_counter() - start, 1),
        row.note,
    )


# --- result


def _rounded(figure: float) -> str:
    """One digit behind the point, or two that say something of what is below 1."""
    return f"{figure:.2g}" if 0 < abs(figure) < 1 else f"{figure:.1f}"


def as_text(row: Row) -> str:
    """A row to read: what is wanted first, then the rest."""
    if row.note and not row.figures:
        return f"{row.name}: {row.note}"
    shown = [
        f"{name} {_rounded(row.figures.get(name, math.nan))}"
        f" (wanted {wanted}{', MISSED' if name in row.missed else ''})"
        for name, wanted in row.wanted.items()
    ]
    shown += [f"{name} {value:.4g}" for name, value in row.figures.items() if name not in row.wanted]
    return f"{row.name}: " + ", ".join(shown) + (f" [{row.note}]" if row.note else "")


def as_json(rows: list[Row]) -> dict[str, Any]:
    """Rows with the machine that they were measured on; a figure that is not a number is null."""
    return {
        "schema_version": 1,
        "throughline": tracker.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "rows": [
            {
                **asdict(row),
                "figures": {
                    name: value if math.isfinite(value) else None for name, value in row.figures.items()
                },
                "wanted": {name: str(wanted) for name, wanted in row.wanted.items()},
                "missed": row.missed,
            }
            for row in rows
        ],
    }


def main() -> int:
    """The exit code is 1 when a figure is missed."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--data", type=Path, default=os.environ.get("THROUGHLINE_DATA"), help="folder of the data sets"
    )
    options.add_argument("--only", nargs="+", choices=sorted(ROWS), metavar="NAME", help=", ".join(ROWS))
    options.add_argument("--json", type=Path, metavar="FILE", help="write the rows here as well")
    options.add_argument("--work", type=Path, default=Path.home() / ".cache" / "throughline" / "benchmarks")
    given = options.parse_args()
    bench = Bench(Path(given.data).resolve() if given.data else None, given.work.resolve())
    rows = []
    for name in given.only or ROWS:
        rows.append(measure(name, ROWS[name], bench))
        print(as_text(rows[-1]), flush=True)
        if given.json:
            given.json.write_text(json.dumps(as_json(rows), indent=1) + "\n", encoding="utf-8")
    return int(any(row.missed for row in rows if not row.note))


if __name__ == "__main__":
    sys.exit(main())
