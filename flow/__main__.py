"""``python -m flow VERB``: look at motion, measure an estimator, and make one of your own.

One function for the options of a verb and one that runs it; heavy imports stay inside the latter, so that ``--help``
answers at once and nothing but training and export needs torch.
"""
# ruff: noqa: T201  (the command line speaks to a person)

import argparse
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flow import recipe

if TYPE_CHECKING:
    from flow.evaluate import Sample

OK, MISTAKE, INTERRUPTED = 0, 2, 130
KINDS = ("sheet", "colours", "arrows", "trust")
SHOWN = 6  # pairs on the sheet of a pack
ESTIMATORS = "tiny, base, dis, none, dis-fast and its like, or a .onnx file"
# Columns of a table: the key of a row, its head, its unit.
COLUMNS = (
    ("epe_all", "all"),
    ("epe_visible", "visible"),
    ("epe_people", "people"),
    ("epe_moving_people", "2-20 px"),
    ("outliers_percent", "Fl %"),
    ("trusted_percent", "trusted %"),
    ("epe_trusted", "of these"),
)
SPEED_SIZES = ("320x192", "512x384")


@dataclass(frozen=True)
class Verb:
    """One command: what it is for, its options and what it does; the answer of ``run`` is the exit status."""

    summary: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


# --- making a model


def train_options(parser: argparse.ArgumentParser) -> None:
    recipe.add_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for last.pt; one there is resumed"
    )
    parser.add_argument(
        "--packs",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="folders of pairs to mix with those that are drawn: of python -m scenes pairs, python -m flow pairs",
    )
    parser.add_argument(
        "--start", type=Path, metavar="FILE", help="a checkpoint of the same network to begin with"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--threads", type=_positive, default=2, help="of the CPU (default: %(default)s)")


def train(options: argparse.Namespace) -> int:
    import cv2
    import torch

    from flow.packs import pack_folders
    from flow.train import train as run

    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError) as problem:  # the latter where torch was built for the CPU alone
        reason = str(problem).splitlines()[0]
        raise ValueError(f"torch cannot use the device {options.device!r}: {reason}") from problem
    for folder in options.packs:
        if not pack_folders(folder):
            raise ValueError(f"{folder}: there is no info.json, so it is no pack of pairs")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    checkpoint = run(
        recipe.from_options(options),
        options.out,
        packs=tuple(options.packs),
        device=options.device,
        start=options.start,
        told=_Teller(),
    )
    print(checkpoint)
    return OK


def train_box_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--packs", nargs="+", type=Path, default=[], metavar="DIR", help="folders of pairs with people"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for checkpoint.pt and log.json"
    )
    parser.add_argument("--export", type=Path, metavar="FILE.onnx", help="the model to write at the end")
    parser.add_argument("--steps", type=_positive, metavar="N", help="batches to learn from")
    parser.add_argument("--batch", type=_positive, metavar="N", help="boxes in each")
    parser.add_argument("--learning-rate", type=_above_zero, metavar="RATE", help="highest")
    parser.add_argument(
        "--drawn",
        type=_share,
        metavar="SHARE",
        help="of the pairs that are drawn afresh instead of from packs",
    )
    parser.add_argument("--minutes", type=_above_zero, default=math.inf, help="end the schedule after these")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--threads", type=_positive, default=1, help="of the CPU (default: %(default)s)")


def train_box(options: argparse.Namespace) -> int:
    import cv2
    import torch

    from flow import boxtrain

    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    if options.export is not None and not options.export.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {options.export.parent} for {options.export.name}")
    names = ("steps", "batch", "learning_rate", "drawn", "seed")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    checkpoint = boxtrain.train(
        boxtrain.BoxRecipe(**given), options.packs, options.out, minutes=options.minutes, told=_Teller()
    )
    print(checkpoint)
    if options.export is not None:
        boxtrain.export(checkpoint, options.export)
        print(options.export)
    return OK


def adapt_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--start",
        type=Path,
        required=True,
        metavar="FILE",
        help="the checkpoint to begin with: last.pt of train",
    )
    parser.add_argument(
        "--footage",
        nargs="+",
        type=Path,
        required=True,
        metavar="FILE",
        help="videos or folders of pictures; no labels are needed",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for adapted.pt")
    parser.add_argument("--steps", type=_positive, metavar="N", help="batches to learn from")
    parser.add_argument("--batch", type=_positive, metavar="N", help="pairs in each")
    parser.add_argument("--learning-rate", type=_above_zero, metavar="RATE", help="highest")
    parser.add_argument(
        "--gaps",
        nargs="+",
        type=_positive,
        default=[1, 2, 5],
        metavar="N",
        help="frames between the pictures of a pair (default: 1 2 5)",
    )
    parser.add_argument("--size", type=_size, metavar="WxH", help="of the pictures (default: the training's)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--threads", type=_positive, default=2, help="of the CPU (default: %(default)s)")


def adapt(options: argparse.Namespace) -> int:
    import cv2
    import torch

    from flow.adapt import Adapting, adapt_checkpoint

    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    names = ("steps", "batch", "learning_rate", "seed")
    adapting = Adapting(
        **{name: getattr(options, name) for name in names if getattr(options, name) is not None}
    )
    teller = _Teller()
    written, report = adapt_checkpoint(
        options.start,
        options.footage,
        options.out,
        adapting,
        size=None if options.size is None else options.size[::-1],
        gaps=options.gaps,
        told=lambda step, losses: teller(step, step / adapting.steps, losses),
    )
    print(
        f"distance between pictures on pairs kept out: {report.before:.4f} before, {report.after:.4f} after"
    )
    if not report.is_better:
        _tell("adapting did not help: the network is given back as it was")
    print(written)
    return OK


class _Teller:
    """Says now and then how a training goes."""

    EVERY_S = 20.0

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def __call__(self, step: int, progress: float, losses: Mapping[str, float]) -> None:
        now_s = time.monotonic()
        if now_s - self._last_s >= self.EVERY_S or progress >= 1.0:
            self._last_s = now_s
            said = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
            _tell(f"{100 * progress:5.1f} %  step {step}  {said}")


def export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="FILE", help="last.pt of train, adapted.pt of adapt")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx", help="the model to write")
    parser.add_argument(
        "--area",
        type=_size,
        metavar="WxH",
        help="pixels that it sees at most (default: 160x96 for tiny, 288x224 for base)",
    )


def export(options: argparse.Namespace) -> int:
    from flow.export import ParityError
    from flow.export import export as write

    area = None if options.area is None else options.area[0] * options.area[1]
    try:
        proof = write(options.checkpoint, options.out, area=area)
    except ParityError as problem:
        raise ValueError(str(problem)) from problem
    print(
        f"{options.out}: on {proof.pairs} batches at most {proof.flow_px:.1e} px and a trust of {proof.trust:.1e} "
        "from the network"
    )
    return OK


# --- looking


def show_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="two pictures of one size; or a video; or a folder of pairs (a pack)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the picture to write")
    parser.add_argument(
        "--kind",
        choices=KINDS,
        default="sheet",
        help="all there is to see, or the flow in colours, as arrows, or where it is trusted (default: %(default)s)",
    )
    _add_model(parser)
    parser.add_argument("--at-s", type=float, default=0.0, metavar="S", help="of a video: the first picture")
    parser.add_argument(
        "--gap", type=_positive, default=1, metavar="N", help="of a video: frames to the second (default: 1)"
    )
    parser.add_argument(
        "--pair", type=_natural, default=0, metavar="N", help="of a folder of pairs: which one, from 0"
    )
    parser.add_argument("--truth", type=Path, metavar="FILE", help="the true flow, .npz, .npy or .flo")
    parser.add_argument(
        "--longest",
        type=_above_zero,
        metavar="PX",
        help="the colours' full strength (default: from the flow)",
    )


def show(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from flow import show as drawing
    from flow.evaluate import open_estimator, read_flow

    _check_picture_path(options.out)
    estimator = open_estimator(options.model or "dis", threads=options.threads)
    sample = _looked_at(options)
    if options.truth is not None:
        truth = read_flow(options.truth)
        if truth.shape[:2] != sample.before.shape[:2]:
            raise ValueError(
                f"{options.truth} is of {_size_text(truth)}, the pictures of {_size_text(sample.before)}"
            )
        sample = replace(sample, flow=truth)
    checked = getattr(estimator, "estimate_checked", None)
    if checked is not None:
        flow, trust = checked(sample.before, sample.after)
    else:
        flow, trust = estimator.estimate(sample.before, sample.after), None
    if options.kind == "colours":
        picture = drawing.with_wheel(drawing.colours(flow, options.longest))
    elif options.kind == "arrows":
        picture = drawing.arrows(sample.before, flow, trust=trust)
    elif options.kind == "trust":
        if trust is None:
            raise ValueError(f"{options.model} does not say how far it trusts its flow")
        picture = drawing.trust_overlay(sample.before, trust)
    else:
        known = bool((sample.flow == sample.flow).any())
        picture = drawing.overview(
            sample.before,
            sample.after,
            flow,
            trust,
            sample.flow if known else None,
            longest_px=options.longest,
        )
    _write_picture(options.out, picture)
    print(options.out)
    return OK


def _looked_at(options: argparse.Namespace) -> "Sample":
    """The pair that ``show`` was asked for; its flow is NaN where nobody knows it."""
    import numpy as np

    from flow.evaluate import Sample, pack_samples, read_picture

    inputs: list[Path] = options.inputs
    if len(inputs) > 2:
        raise ValueError(f"give two pictures, a video or a folder of pairs, not {len(inputs)} files")
    if len(inputs) == 1 and inputs[0].is_dir():
        for number, sample in enumerate(pack_samples(inputs[0])):
            if number == options.pair:
                return sample
        raise ValueError(f"{inputs[0]}: there is no pair {options.pair}, only {number + 1} pairs")
    if len(inputs) == 1:
        before, after = _two_frames(inputs[0], options.at_s, options.gap)
    else:
        before, after = (read_picture(path) for path in inputs)
    if before.shape != after.shape:
        raise ValueError(
            f"two pictures of one size are needed, not {_size_text(before)} and {_size_text(after)}"
        )
    return Sample(before, after, np.full((*before.shape[:2], 2), np.nan, np.float32))


def _two_frames(path: Path, at_s: float, gap: int) -> Sequence[Any]:
    import cv2

    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    video = cv2.VideoCapture(str(path))
    try:
        video.set(cv2.CAP_PROP_POS_MSEC, 1e3 * at_s)
        frames = [frame for _ in range(gap + 1) for found, frame in [video.read()] if found]
    finally:
        video.release()
    if len(frames) < gap + 1:
        raise ValueError(f"{path} has no {gap + 1} pictures from {at_s:g} s on")
    return frames[0], frames[-1]


# --- measuring


def evaluate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "estimators",
        nargs="*",
        metavar="ESTIMATOR",
        help=f"{ESTIMATORS} (default: tiny and base, where they are)",
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="measure on the pairs in DIR/flow/chairs, or in DIR itself"
    )
    parser.add_argument(
        "--packs", nargs="+", type=Path, default=[], metavar="DIR", help="measure on these folders of pairs"
    )
    parser.add_argument(
        "--synthetic", type=_natural, metavar="N", help="and on N pairs drawn afresh (default: 200)"
    )
    parser.add_argument(
        "--size", type=_size, default=(512, 384), metavar="WxH", help="of these (default: 512x384)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of these (default: %(default)s)")
    parser.add_argument("--no-references", action="store_true", help="leave DIS and zero flow out")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="say also how much of its flow each one trusts, and how right that is",
    )
    parser.add_argument(
        "--speed",
        nargs="*",
        type=_size,
        metavar="WxH",
        help=f"milliseconds at these sizes, on one thread and on two (default: {' '.join(SPEED_SIZES)}; none: --speed)",
    )
    parser.add_argument(
        "--rounds",
        type=_positive,
        default=15,
        help="turns of which the median time is told (default: %(default)s)",
    )
    parser.add_argument("--limit", type=_positive, metavar="N", help="the first N pairs of each folder only")
    _add_json(parser)


def evaluate(options: argparse.Namespace) -> int:
    import cv2

    from flow import evaluate as measuring

    cv2.setNumThreads(1)
    names = _measured(options)
    rows: list[dict[str, Any]] = []
    for title, size, samples in _sets(options):
        chosen = itertools.islice(samples, options.limit)
        found = measuring.evaluate(names, _progress(chosen, title), trust=options.trust)
        rows += [{"set": title, "size": size, **row} for row in found]
    speed = _speeds(names, options)
    if options.json:
        print(json.dumps({"errors": rows, "milliseconds": speed}, indent=1))
        return OK
    for (title, gap), group in itertools.groupby(rows, key=lambda row: (row["set"], row["gap"])):
        found = list(group)
        keys = [(key, head) for key, head in COLUMNS if any(row[key] is not None for row in found)]
        pairs = "1 pair" if found[0]["pairs"] == 1 else f"{found[0]['pairs']} pairs"
        print(f"{title}, {found[0]['size']}, gap {gap}, {pairs}: end-point error in px")
        heads = ["", *(head for _, head in keys)]
        print(_table([heads, *([row["estimator"], *(_text(row[key]) for key, _ in keys)] for row in found)]))
        print()
    if speed:
        heads = list(dict.fromkeys(f"{row['size']}, {row['threads']} thr." for row in speed))
        cells = {(row["estimator"], f"{row['size']}, {row['threads']} thr."): row["ms"] for row in speed}
        print("milliseconds for a pair, median")
        print(
            _table([["", *heads], *([name, *(_text(cells[name, head]) for head in heads)] for name in names)])
        )
    return OK


def _measured(options: argparse.Namespace) -> list[str]:
    """Estimators by name, references first, each once."""
    from flow.evaluate import REFERENCES

    references = () if options.no_references else REFERENCES
    return list(dict.fromkeys([*references, *(options.estimators or _shipped())]))


def _shipped() -> list[str]:
    """The learned estimators that are here."""
    import models

    there = {card.name for card in models.cards() if card.kind == "flow"}
    return [name for name in ("tiny", "base") if f"flow_{name}" in there]


def _sets(options: argparse.Namespace) -> "Iterator[tuple[str, str, Iterator[Sample]]]":
    """Title, size of the pictures and pairs of everything that is to be measured on."""
    from flow.evaluate import chairs_samples, pack_samples

    sources: list[tuple[str, Iterator[Sample]]] = []
    if options.data is not None:
        folder = options.data / "flow" / "chairs"
        sources.append(("chairs", chairs_samples(folder if folder.is_dir() else options.data)))
    sources += [(folder.name, pack_samples(folder)) for folder in options.packs]
    count = options.synthetic
    if count is None:
        count = 0 if sources else 200
    if count:
        sources.append((f"drawn, seed {options.seed}", _drawn(count, options.size, options.seed)))
    for title, samples in sources:
        yield title, *_sized(samples, title)


def _sized(samples: "Iterator[Sample]", title: str) -> "tuple[str, Iterator[Sample]]":
    first = next(samples, None)
    if first is None:
        raise ValueError(f"{title}: there are no pairs")
    return _size_text(first.before), itertools.chain([first], samples)


def _drawn(count: int, size: tuple[int, int], seed: int) -> "Iterator[Sample]":
    import numpy as np

    from flow.evaluate import sample_of
    from flow.pairs import Drawer

    drawer = Drawer(np.random.default_rng(seed))
    return (sample_of(drawer.draw(size[1], size[0])) for _ in range(count))


def _speeds(names: Sequence[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    import numpy as np

    from flow.evaluate import milliseconds, sample_of
    from flow.pairs import Drawer

    sizes = [_size(text) for text in SPEED_SIZES] if options.speed is None else options.speed
    rows = []
    drawer = Drawer(
        np.random.default_rng(options.seed), textures=8
    )  # what is seen matters little to the time
    for size in sizes:
        sample = sample_of(drawer.draw(size[1], size[0]))
        for threads in (1, 2):
            taken = milliseconds(names, sample, threads=threads, rounds=options.rounds)
            rows += [
                {"estimator": name, "size": f"{size[0]}x{size[1]}", "threads": threads, "ms": ms}
                for name, ms in taken.items()
            ]
    return rows


# --- pairs


def pairs_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="the pack to write")
    parser.add_argument(
        "--pairs", type=_positive, default=200, metavar="N", help="how many (default: %(default)s)"
    )
    parser.add_argument("--size", type=_size, default=(512, 384), metavar="WxH", help="default: 512x384")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="draw some of them and their flow as a picture, too"
    )


def pairs(options: argparse.Namespace) -> int:
    import cv2
    import numpy as np

    from flow import show as drawing
    from flow.packs import Pack, write_pack
    from flow.pairs import Drawer

    cv2.setNumThreads(1)
    if options.sheet is not None:
        _check_picture_path(options.sheet)
    width, height = options.size
    if (options.out / "info.json").exists():
        raise ValueError(f"{options.out} holds pairs already: name another folder")
    drawer = Drawer(np.random.default_rng(options.seed))
    drawn = (drawer.draw(height, width) for _ in _progress(range(options.pairs)))
    write_pack(
        options.out, drawn, options.pairs, {"kind": "drawn", "seed": options.seed, "size": [width, height]}
    )
    if options.sheet is not None:
        panels = []
        for pair in itertools.islice(Pack(options.out), SHOWN):
            radius = drawing.longest_of(pair.flow)
            seen = np.where(pair.hidden[..., None], 0, drawing.colours(pair.flow, radius))
            panels += [
                ("before", pair.before),
                ("after", pair.after),
                (f"flow, up to {radius:.1f} px; black: hidden", seen.astype(np.uint8)),
            ]
        _write_picture(options.sheet, drawing.sheet(panels, columns=3))
    print(options.out)
    return OK


# --- what several verbs share


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help=f"{ESTIMATORS} (default: the tracker's)")
    parser.add_argument("--threads", type=_positive, default=1, help="of the CPU (default: %(default)s)")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for machines")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {text}")
    return number


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"at least 0, not {text}")
    return number


def _above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"more than 0, not {text}")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"from 0 to 1, not {text}")
    return number


def _size(text: str) -> tuple[int, int]:
    """Width and height of ``512x384``."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and min(int(width), int(height)) >= 64):
        raise argparse.ArgumentTypeError(f"WIDTHxHEIGHT, each at least 64, such as 512x384, not {text}")
    return int(width), int(height)


def _size_text(image: Any) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _check_picture_path(path: Path) -> None:
    """Say beforehand what writing would say after the work is done."""
    if path.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp"):
        raise ValueError(f"{path}: name a picture that ends in .png, .jpg or .webp")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}")


def _write_picture(path: Path, picture: Any) -> None:
    import cv2

    path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())


def _progress(items: Iterable[Any], title: str = "") -> Iterable[Any]:
    """A bar on standard error, where a person looks at it."""
    from tqdm import tqdm

    return tqdm(items, desc=title, disable=None, leave=False, dynamic_ncols=True)


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _text(value: object) -> str:
    """A cell: None is what could not be known."""
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, apart by two blanks; numbers to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if column else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


VERBS = {
    "adapt": Verb("fine-tune a trained network on footage of your own, without labels", adapt_options, adapt),
    "export": Verb(
        "write a trained network as .onnx, once it has proved to be the same", export_options, export
    ),
    "train": Verb("train a network, or go on with a run that was interrupted", train_options, train),
    "train-box": Verb(
        "train the small network that carries boxes from one picture to the next",
        train_box_options,
        train_box,
    ),
    "evaluate": Verb(
        "measure how far off estimators are, and how long they take", evaluate_options, evaluate
    ),
    "pairs": Verb(
        "draw pairs of pictures with their exact flow, to train or measure on", pairs_options, pairs
    ),
    "show": Verb("draw how the pixels of two pictures moved", show_options, show),
}


def parser() -> argparse.ArgumentParser:
    """The whole command line, one subcommand a verb."""
    top = argparse.ArgumentParser(prog="python -m flow", description="How did the pixels move?")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, verb in VERBS.items():
        one = verbs.add_parser(
            name, help=verb.summary, description=verb.summary[0].upper() + verb.summary[1:] + "."
        )
        verb.add_options(one)
        one.set_defaults(run=verb.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the answer is the exit status. A user's mistake is told in one sentence, without a traceback."""
    from models import ModelError

    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # what is wrong with a picture is said once, by us
    options = parser().parse_args(argv)
    try:
        status = int(options.run(options))
        sys.stdout.flush()  # here, where a reader who has gone is no error, and not when Python ends
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except ModuleNotFoundError as problem:
        if problem.name not in ("torch", "onnx"):
            raise
        reason = f"this needs {problem.name}: pip install 'throughline[train]'"
    except OSError as problem:
        reason = f"{problem.filename}: {problem.strerror}" if problem.filename else str(problem)
    except (ValueError, ModelError) as problem:
        reason = " ".join(str(problem).split())
    _tell(f"flow {options.verb}: {reason}")
    return MISTAKE


if __name__ == "__main__":
    sys.exit(main())
