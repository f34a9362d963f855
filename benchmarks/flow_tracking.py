"""What flow does for tracking, and what resting the detector saves.

    python -m benchmarks.flow_tracking --data DIR [--only rates keyframes] [--quick] [--flow NAME ...] [--json FILE]

``DIR`` (or ``$THROUGHLINE_DATA``) holds ``mot/*``; without it the shipped demo and rendered scenes alone are run.
Scenes are rendered once into ``--work``; the street's middle camera pans and shakes. Two studies, each with the
shipped detector and embedder:

- ``rates``: the tracker sees every 1st, 2nd, 4th, 8th frame, and is scored on those, without flow (Kalman only) and
  with each estimator;
- ``keyframes``: it sees all frames, but detects and embeds only in keyframes, and is scored on all.

Networks' answers are remembered (`benchmarks.replay`): milliseconds are what each variant asked for times what the
networks cost on one core here, measured in turns. ``live`` scores the boxes and ids as told at the time, ``final``
those with final identities and gaps filled.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.peer_inputs import MotSequence
from benchmarks.replay import Clip, Prices, Remembered, Told, Variant, Work, measure_prices, replay, score
from flow import load_estimator
from models import ModelError

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "tracker" / "demo"
SCENES = {"street": ("middle", "west"), "courtyard": ("gate",)}  # the street's middle camera pans and shakes
SCENE_FPS, SCENE_SECONDS = 20, 16
ESTIMATORS = ("none", "dis", "tiny", "base")
STEPS = (1, 2, 4, 8)
EVERY = (1, 3, 5, 8)
QUICK_S = 8.0
BASELINE = "every 1"


@dataclass(frozen=True)
class Line:
    """A variant's figures on a group of clips."""

    study: str
    variant: str
    flow: str
    group: str
    figures: dict[str, float]


# --- clips


def mot_clips(data: Path | None) -> list[Clip]:
    """The MOTChallenge sequences."""
    if data is None:
        return []
    found = []
    for ini in sorted((data / "mot").glob("*/seqinfo.ini")):
        sequence = MotSequence.at(ini.parent)
        videos = sorted(ini.parent.glob("*.mp4"))
        location = str(videos[0] if videos else ini.parent / "img1")
        found.append(Clip(ini.parent.name, "mot", location, ini.parent / "gt" / "gt.txt", sequence.fps))
    return found


def demo_clips() -> list[Clip]:
    """The shipped rendered demo."""
    videos = sorted(DEMO.glob("*.mp4"))
    return [
        Clip(f"demo_{video.stem}", "demo", str(video), DEMO / "truth" / f"{video.stem}.txt")
        for video in videos
    ]


def scene_clips(work: Path) -> list[Clip]:
    """Rendered scenes, made where they are not there yet."""
    found = []
    for name, cameras in SCENES.items():
        out = work / "scenes" / name
        if not (out / "truth" / f"{cameras[-1]}.txt").is_file():
            _render(name, cameras, out)
        found += [
            Clip(f"{name}_{camera}", "scenes", str(out / f"{camera}.mp4"), out / "truth" / f"{camera}.txt")
            for camera in cameras
        ]
    return found


def _render(name: str, cameras: Sequence[str], out: Path) -> None:
    said = yaml.safe_load((ROOT / "scenes" / "sites" / f"{name}.yaml").read_text(encoding="utf-8"))
    file = out.with_suffix(".yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(said | {"fps": SCENE_FPS}), encoding="utf-8")
    command = [sys.executable, "-m", "scenes", "render", str(file), "-o", str(out)]
    command += ["--seconds", str(SCENE_SECONDS), "--cameras", *cameras, "-q"]
    subprocess.run(command, cwd=ROOT, check=True)


# --- studies


def rate_variants(flows: Sequence[str]) -> list[Variant]:
    return [Variant(f"every {step}", flow, step) for step in STEPS for flow in flows]


def keyframe_variants(flows: Sequence[str]) -> list[Variant]:
    """Every frame detected, as today; then keyframes, fixed and adaptive, and what carries boxes between them."""
    found = [Variant("every 1", flow) for flow in flows]
    for every in EVERY[1:]:
        for adaptive in (False, True):
            for flow in flows:
                for carry in ("step", "gap", "keys") if flow != "none" else ("step",):
                    keyframes = {"every": every, "adaptive": adaptive, "carry": carry}
                    label = f"{'adaptive' if adaptive else 'every'} {every} {carry if flow != 'none' else ''}"
                    found.append(Variant(label.strip(), flow, settings={"keyframes": keyframes}))
    return found


STUDIES: dict[str, Callable[[Sequence[str]], list[Variant]]] = {
    "rates": rate_variants,
    "keyframes": keyframe_variants,
}


def estimators_named(names: Sequence[str]) -> dict[str, Any]:
    """Those that are there, by name; ``none`` needs no estimator."""
    found = {}
    for name in names:
        if name == "none":
            continue
        try:
            found[name] = load_estimator(name)
        except (ValueError, OSError, ModelError) as reason:
            print(f"left out: {name}: {reason}", file=sys.stderr)
    return found


def lines_of(study: str, told: Sequence[Told], prices: Mapping[str, Prices]) -> list[Line]:
    """One line a variant and group."""
    lines = []
    groups = sorted({one.clip.group for one in told})
    for group in groups:
        own = [one for one in told if one.clip.group == group]
        for label, flow in dict.fromkeys((one.variant.label, one.variant.flow) for one in own):
            same = [one for one in own if (one.variant.label, one.variant.flow) == (label, flow)]
            seeds = sorted({one.variant.seed for one in same})
            runs = [figures_of([one for one in same if one.variant.seed == seed], prices) for seed in seeds]
            mean = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
            lines.append(Line(study, label, flow, group, mean))
    return lines


def figures_of(told: Sequence[Told], prices: Mapping[str, Prices]) -> dict[str, float]:
    """Accuracy and cost of one variant on some clips."""
    figures: dict[str, float] = {}
    for kind in ("live", "final"):
        _, both = score(told, is_live=kind == "live")
        assert both is not None
        figures |= {f"IDF1 {kind}": 100 * both.idf1, f"HOTA {kind}": 100 * both.hota}
        figures |= {f"IDSW {kind}": both.id_switches}
    return figures | costs_of(told, prices)


def costs_of(told: Sequence[Told], prices: Mapping[str, Prices]) -> dict[str, float]:
    """Milliseconds of one core a frame that was shown."""
    whole = sum((one.work for one in told), Work())
    n = max(whole.frames, 1)
    out = {"frames": n, "detected %": 100 * whole.detected / n, "crops": whole.crops / n}
    out |= {"fields": whole.fields / n}
    if any(one.clip.name not in prices for one in told):
        return out
    spent = {"detect": 0.0, "embed": 0.0, "flow": 0.0}
    decode = 0.0
    for one in told:
        share = one.work.frames / n
        decode += share * prices[one.clip.name].decode
        for name, ms in prices[one.clip.name].networks_ms(one.work, one.variant.flow).items():
            spent[name] += share * ms
    networks, own = sum(spent.values()), whole.own_ms / n
    return out | {
        **{f"{name} ms": ms for name, ms in spent.items()},
        "networks ms": networks,
        "own ms": own,
        "frames/s": 1e3 / (networks + own),
        "frames/s decoded": 1e3 / (networks + own + decode),
    }


# --- the command


COLUMNS = (  # heading, figure, format
    ("IDF1", "IDF1 final", "6.1f"),
    ("HOTA", "HOTA final", "6.1f"),
    ("SW", "IDSW final", "4.0f"),
    ("live", "IDF1 live", "6.1f"),
    ("HOTA", "HOTA live", "6.1f"),
    ("SW", "IDSW live", "4.0f"),
    ("det %", "detected %", "6.1f"),
    ("crops", "crops", "6.2f"),
    ("fields", "fields", "6.2f"),
    ("detect", "detect ms", "7.2f"),
    ("embed", "embed ms", "7.2f"),
    ("flow", "flow ms", "7.2f"),
    ("all ms", "networks ms", "7.2f"),
    ("own ms", "own ms", "7.2f"),
    ("fps", "frames/s", "5.0f"),
    ("+dec", "frames/s decoded", "5.0f"),
)


def as_table(lines: Sequence[Line]) -> str:
    """Lines to read; milliseconds are of one core, a frame."""
    width = max([len(line.variant) for line in lines] + [7])
    head = [f"{'group':6} {'variant':{width}} {'flow':5}"]
    head += [f"{name:>{form.split('.')[0]}}" for name, _, form in COLUMNS]
    rows = [" ".join(head)]
    for line in lines:
        row = [f"{line.group:6} {line.variant:{width}} {line.flow:5}"]
        row += [f"{line.figures[name]:{form}}" for _, name, form in COLUMNS if name in line.figures]
        rows.append(" ".join(row))
    return "\n".join(rows)


def prices_of(clips: Sequence[Clip], estimators: Mapping[str, Any], work: Path) -> dict[str, Prices]:
    """Of every clip, measured now."""
    found = {}
    for clip in clips:
        networks = Remembered(work / "answers" / "none.npz", Variant("prices").site(clip))
        found[clip.name] = measure_prices(clip, networks, estimators)
    return found


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.flow_tracking",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--data", type=Path, default=os.environ.get("THROUGHLINE_DATA"), help="data folder")
    options.add_argument(
        "--only", nargs="+", choices=sorted(STUDIES), metavar="STUDY", help=", ".join(STUDIES)
    )
    options.add_argument(
        "--flow", nargs="+", default=list(ESTIMATORS), metavar="NAME", help="estimators to try"
    )
    options.add_argument("--clips", nargs="+", metavar="NAME", help="of these groups or clips only")
    options.add_argument("--quick", action="store_true", help=f"the first {QUICK_S:g} s of each clip")
    options.add_argument("--no-prices", action="store_true", help="count only, measure no milliseconds")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the lines here as well")
    options.add_argument(
        "--work", type=Path, default=Path.home() / ".cache" / "throughline" / "benchmarks" / "flow_tracking"
    )
    given = options.parse_args(arguments)
    data = Path(given.data).resolve() if given.data else None
    if data is None:
        print("mot: left out: needs --data DIR or THROUGHLINE_DATA", file=sys.stderr)
    clips = [*mot_clips(data), *demo_clips(), *scene_clips(given.work)]
    if given.clips:
        clips = [clip for clip in clips if clip.name in given.clips or clip.group in given.clips]
    estimators = estimators_named(given.flow)
    flows = [name for name in given.flow if name == "none" or name in estimators]
    prices = {} if given.no_prices else prices_of(clips, estimators, given.work)
    lines: list[Line] = []
    for study in given.only or STUDIES:
        begun = time.perf_counter()
        variants = STUDIES[study](flows)
        told: list[Told] = []
        for clip in clips:
            told += replay(clip, variants, estimators, given.work, to_s=QUICK_S if given.quick else None)
        own = lines_of(study, told, prices)
        lines += own
        print(f"{study} ({time.perf_counter() - begun:.0f} s)\n{as_table(own)}", flush=True)
        if given.json:
            said = {
                "lines": [asdict(line) for line in lines],
                "prices": {k: asdict(p) for k, p in prices.items()},
            }
            given.json.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
