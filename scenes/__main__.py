"""The command line: ``python -m scenes render|preview|crops|pairs``."""

# ruff: noqa: T201  (the command line speaks to a person)

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scenes.settings import SceneError

OK, MISTAKE = 0, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 2 the user's mistake (told on standard error), 130 interrupted."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on after the last finished piece", file=sys.stderr)
        return 130


def _run(arguments: Sequence[str] | None) -> int:
    from scenes.crops import CropsError
    from scenes.pairs import PairsError

    said = parser().parse_args(arguments)
    try:
        return int(said.run(said))
    except (SceneError, CropsError, PairsError) as mistake:
        print(mistake, file=sys.stderr)
        return MISTAKE
    except OSError as problem:  # a folder that is none or closed to us, a disk that is full
        print(problem, file=sys.stderr)
        return MISTAKE


def parser() -> argparse.ArgumentParser:
    """The whole command line, one subcommand a verb."""
    whole = argparse.ArgumentParser(
        prog="python -m scenes", description="Rendered people in rendered places, with exact truth."
    )
    verbs = whole.add_subparsers(required=True, metavar="VERB")
    _render_options(verbs.add_parser("render", help="write a scene: videos, truth, calibration, a site file"))
    _preview_options(
        verbs.add_parser("preview", help="one picture of a scene: what its cameras see, who is in it")
    )
    from scenes import crops, pairs

    crops_parser = verbs.add_parser("crops", help="pictures of people by identity and camera, to train on")
    crops.add_options(crops_parser)
    crops_parser.set_defaults(run=crops.run)
    pairs_parser = verbs.add_parser(
        "pairs", help="pairs of pictures with exact flow, to train and measure flow on"
    )
    pairs_parser.set_defaults(run=pairs.run)
    pairs.add_options(pairs_parser)
    return whole


# --- render


def _render_options(options: argparse.ArgumentParser) -> None:
    from scenes.write import WANTS

    options.add_argument("scene", type=Path, metavar="SCENE.yaml")
    options.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="where to write")
    options.add_argument(
        "--want",
        nargs="+",
        default=[],
        choices=WANTS,
        help="write these as well, for every frame: flow (npz), masks and depth (16-bit png, mm), "
        "crops of people (jpg, twice a second)",
    )
    options.add_argument("--seconds", type=float, metavar="S", help="the first S seconds only")
    options.add_argument("--cameras", nargs="+", metavar="NAME", help="these only")
    options.add_argument("--seed", type=int, help="instead of the scene's")
    options.add_argument("--difficulty", type=float, metavar="D", help="instead of the scene's: 0 to 1")
    options.add_argument(
        "--jobs",
        type=int,
        default=usual_jobs(),
        metavar="N",
        help="processes that render (default: %(default)s)",
    )
    options.add_argument(
        "--anew", action="store_true", help="throw away what lies in DIR from another render"
    )
    options.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    options.set_defaults(run=render)


def render(said: argparse.Namespace) -> int:
    """Write a scene; goes on where an earlier run of the same command was interrupted."""
    from scenes import settings, write

    scene = settings.load(said.scene)
    changed = {
        name: getattr(said, name) for name in ("seed", "difficulty") if getattr(said, name) is not None
    }
    if changed:
        scene = settings.from_values(scene.model_dump(exclude_unset=True) | changed, source="arguments")
    names = tuple(said.cameras or scene.cameras)
    for name in names:
        if name not in scene.cameras:
            known = list(scene.cameras)
            raise SceneError(
                f"--cameras {name}: there is no such camera{settings.hint(name, known)} (cameras: {', '.join(known)})"
            )
    seconds = scene.seconds if said.seconds is None else said.seconds
    if not 0 < seconds <= scene.seconds:
        raise SceneError(
            f"--seconds {seconds:g}: more than 0 and at most {scene.seconds:g}, the scene's length"
        )
    plan = write.Plan(said.out, seconds, tuple(dict.fromkeys(names)), frozenset(said.want))
    with _bar("pictures", quiet=said.quiet) as show:
        told = write.write(scene, plan, jobs=max(1, said.jobs), anew=said.anew, progress=show)
    frames = ", ".join(f"{name} {count}" for name, count in told["frames"].items())
    megabytes = sum((said.out / f"{name}.mp4").stat().st_size for name in plan.cameras) / 1e6
    print(f"{told['people']} people; frames: {frames}; videos: {megabytes:.2f} MB; written to {said.out}")
    for name in plan.cameras if told["people"] else ():
        if not (said.out / "truth" / f"{name}.txt").stat().st_size:
            print(f"{name} sees nobody: is it in a wall, or is there no room for people?", file=sys.stderr)
    print(f"try it: run_tracker.py process {said.out / 'site.yaml'}")
    return OK


def usual_jobs() -> int:
    """A process per core that this one may use, at most 8: each holds its own copy of the scene."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores)


# --- preview


def _preview_options(options: argparse.ArgumentParser) -> None:
    options.add_argument("scene", type=Path, metavar="SCENE.yaml")
    options.add_argument(
        "-o", "--out", type=Path, required=True, metavar="SHEET.jpg", help="the picture to write"
    )
    options.add_argument(
        "--at",
        type=float,
        nargs="+",
        metavar="S",
        help="seconds of the scene (default: three, evenly spread)",
    )
    options.add_argument("--no-boxes", action="store_true", help="without the truth drawn")
    options.set_defaults(run=preview)


def preview(said: argparse.Namespace) -> int:
    """A contact sheet."""
    from scenes import preview as sheet
    from scenes import settings

    scene = settings.load(said.scene)
    for t_s in said.at or ():
        if not 0 <= t_s <= scene.seconds:
            raise SceneError(f"--at {t_s:g}: the scene is {scene.seconds:g} s long")
    times = said.at or [scene.seconds * share for share in (0.1, 0.45, 0.8)]
    sheet.save(sheet.contact_sheet(scene, times, boxes=not said.no_boxes), said.out)
    print(f"written to {said.out}")
    return OK


@contextmanager
def _bar(unit: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, where a person looks at it."""
    from tqdm import tqdm

    with tqdm(unit=f" {unit}", dynamic_ncols=True, leave=False, disable=True if quiet else None) as bar:

        def show(done: int, total: int) -> None:
            if bar.total is None:
                bar.initial = bar.n = done
            bar.total = total
            bar.update(done - bar.n)

        yield show


if __name__ == "__main__":
    sys.exit(main())
