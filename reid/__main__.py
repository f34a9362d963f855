"""``python -m reid VERB``: train, measure and export an embedder, and ask it who is on a picture.

One function for the options of a verb and one that runs it; heavy imports stay inside the latter, so that ``--help``
answers at once and nothing but training and export needs torch.
"""
# ruff: noqa: T20  (the command line speaks to a person)

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

OK, NO, MISTAKE, UNSURE, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass(frozen=True)
class Verb:
    """One command: what it is for, its options and what it does; the answer of ``run`` is the exit status."""

    summary: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    ending: str = ""  # shown below the options


# --- train


def train_options(parser: argparse.ArgumentParser) -> None:
    _add_data(parser)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the checkpoint; an old one is resumed"
    )


def train(options: argparse.Namespace) -> int:
    import logging

    from reid.train import Recipe, run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    print(run(Recipe(), options.data, options.out))
    return OK


# --- what several verbs share


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder that holds the sets of labelled pictures",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", metavar="MODEL", help="name or .onnx path of an embedder; the shipped one when left out"
    )


VERBS = {
    "train": Verb("train an embedder, or go on with a run that was interrupted", train_options, train),
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

    options = parser().parse_args(argv)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ValueError, FileNotFoundError, ModelError) as problem:
        print(f"reid {options.verb}: {_sentence(problem)}", file=sys.stderr)
        return MISTAKE


def _sentence(problem: Exception) -> str:
    if isinstance(problem, FileNotFoundError) and problem.filename is not None:
        return f"no such file or folder: {problem.filename}"
    return " ".join(str(problem).split())


if __name__ == "__main__":
    sys.exit(main())
