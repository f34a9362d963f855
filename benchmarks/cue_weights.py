"""What the linker's cues count for together, and how far its verdicts can be trusted: fitted on simulated scenes.

    python -m benchmarks.cue_weights [--work DIR]

The scenes are like those of ``python -m benchmarks.link_scale --only reliability`` and of other seeds. Cues say what
they would say alone, and lean on each other: the weights are those at which, for each new tracklet, the chance given
to the identities of its person, or to "somebody new", is largest (conditional logit: McFadden 1974). They go into
`tracker.core.cues` and `tracker.core.grouping`, as factors of what is there. `Doubt`, of each kind of decision, is the
share of verdicts that say nothing, and how many of these are right: both at their likeliest.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.link_scale import Decision, Judge
from benchmarks.link_tapes import PRACTICE_SEEDS, Taped, held_out
from tracker.core.grouping import AT_ONCE, MERGED, NEW_EXPONENT, SPLIT, Scores
from tracker.core.linker import Linker
from tracker.types import TrackKey

F = NDArray[np.float64]

WEIGHTS = ("looks", "time", "place", "shared view", "somebody new", "somebody new who was away")
SAID = {
    "handed over": (AT_ONCE.share, AT_ONCE.right),
    "runner-up": (AT_ONCE.share, AT_ONCE.second),
    "merged": (MERGED.share, MERGED.right),
    "split": (SPLIT.share, SPLIT.right),
}


@dataclass(frozen=True)
class Choice:
    """A new tracklet and the identities that it might be of."""

    cues: F  # (C, 6) by `WEIGHTS`
    is_right: NDArray[np.bool_]  # (C,) none: it is somebody new

    def loss(self, weights: F) -> float:
        """Minus the logarithm of the chance that is given to what is right."""
        log_odds = np.append(self.cues @ weights, 0.0)
        right = np.append(self.is_right, not self.is_right.any())
        return float(np.logaddexp.reduce(log_odds) - np.logaddexp.reduce(log_odds[right]))


class Watched(Linker):
    """A linker whose choices are noted."""

    def __init__(self, tape: Taped) -> None:
        super().__init__()
        self.judge = Judge(tape)
        self.choices: list[Choice] = []

    def _candidates(self, keys: list[TrackKey], t_ns: int) -> tuple[Scores, NDArray[np.intp], list[int]]:
        scores, owner, ids = super()._candidates(keys, t_ns)
        people = [self.judge.person_of(g) for g in ids]
        for i, key in enumerate(keys):
            person = self.judge.person({key})
            rows = [np.flatnonzero(owner == g) for g in range(len(ids))]
            possible = [g for g in range(len(ids)) if np.isfinite(scores.to_group(i, rows[g].tolist()))]
            if person is not None and possible:
                cues = np.array([_cues(scores, i, rows[g]) for g in possible])
                self.choices.append(Choice(cues, np.array([people[g] == person for g in possible])))
        return scores, owner, ids


def _cues(scores: Scores, i: int, rows: NDArray[np.intp]) -> list[float]:
    found = scores.between([i], rows.tolist())
    assert found is not None  # there are rows
    placed = bool(scores.placed[i, rows].any())
    place = found.cues["place"]
    is_away = bool(scores.away[i, rows].all())
    return [
        found.cues["appearance"],
        found.cues["time"],
        place * placed,
        place * (not placed),
        -scores.new * (not is_away),
        -scores.new_away * is_away,
    ]


def fitted_weights(choices: list[Choice]) -> F:
    """(6,) by `WEIGHTS`, as factors of the present ones."""
    found = minimize(
        lambda w: float(np.mean([one.loss(w) for one in choices])),
        np.ones(len(WEIGHTS)),
        method="Nelder-Mead",
    )
    return np.asarray(found.x, np.float64)


def fitted_doubt(decisions: list[Decision], share: float, right: float, is_share_fixed: bool) -> F:
    """(2,) share and right of a `Doubt`, from decisions of one kind that were told with these."""
    raw = (np.array([one.probability for one in decisions]) - share * right) / (1 - share)
    was = np.array([one.is_right for one in decisions])

    def loss(x: F) -> float:
        s, r = np.clip(x, 0.0, 1.0)
        s = share if is_share_fixed else s
        p = np.clip((1 - s) * raw + s * r, 1e-3, 1 - 1e-3)
        return float(-np.mean(np.where(was, np.log(p), np.log(1 - p))) + np.abs(x - [s, r]).sum())

    return np.asarray(minimize(loss, np.array([share, right]), method="Nelder-Mead").x, np.float64)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--work", type=Path, default=Path.home() / ".cache" / "throughline" / "link_scale", metavar="DIR"
    )
    work = options.parse_args().work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    choices: list[Choice] = []
    decisions: list[Decision] = []
    for seeds in PRACTICE_SEEDS:
        for tape in held_out(work, seeds):
            linker = Watched(tape)
            for message in tape:
                for event in linker.step(message):
                    linker.judge.follow(event)
            choices += linker.choices
            decisions += linker.judge.decisions
            print(
                f"{tape.path.stem}: {len(linker.choices)} choices, {len(linker.judge.decisions)} decisions",
                flush=True,
            )
    print(f"weights, times the present ones (of {NEW_EXPONENT} for somebody new), of {len(choices)} choices:")
    print(
        "  " + ", ".join(f"{name} {w:.2f}" for name, w in zip(WEIGHTS, fitted_weights(choices), strict=True))
    )
    for kind, said in SAID.items():
        made = [one for one in decisions if one.kind == kind]
        # A runner-up's doubt is that of its hand-over.
        share, right = fitted_doubt(made, *said, kind == "runner-up")
        print(f"{kind}: doubt {share:.2f}, of which right {right:.2f}, of {len(made)} decisions")


if __name__ == "__main__":
    main()
