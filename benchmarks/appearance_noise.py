"""How far an embedder's rows are apart, and the noise of `scenes.appearance` fitted to it.

    python -m benchmarks.appearance_noise --data DIR [--cache DIR] [--fit] [--model research]

Embeds PKU-Reid (a place that the embedder never saw) and the query and gallery pictures of Market-1501 (a place whose
other people it was trained on), takes quantiles of the distances of several kinds of pairs, and prints them beside
those of rows drawn from the constants of `scenes.appearance`. ``--fit`` first fits the constants (Nelder and Mead,
1965, on the logarithms of the shares; some minutes). It also measures what is lost by small and by hidden pictures.
Data is read only from ``--data``; what is stored here are the quantiles.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from scenes.appearance import KNOWN_SITE, UNSEEN_SITE, Appearance, Noise

if TYPE_CHECKING:
    from reid import OnnxEmbedder
    from reid.datasets import Pictures

F = NDArray[np.float64]
Quantiles = dict[str, F]

AT = np.array([0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
MARKET_FPS = 25.0  # by which the frame numbers in its names become seconds
GAPS_S = {
    "after 1 s": (0.5, 1.05),
    "after 3 s": (2.0, 4.0),
    "after 7 s": (4.0, 10.0),
    "after 1 min": (40.0, 1e9),
}

# Measured by the command above with the embedder `research` (SHA-256 63df8169...), cosine distance at `AT`.
MEASURED: dict[str, dict[str, tuple[float, ...]]] = {
    "unseen": {
        "across": (0.299, 0.345, 0.412, 0.521, 0.598, 0.680, 0.814, 0.911),
        "across, same side": (0.290, 0.316, 0.352, 0.445, 0.524, 0.605, 0.743, 0.808),
        "turned 45": (0.130, 0.183, 0.229, 0.300, 0.355, 0.428, 0.545, 0.649),
        "turned 90": (0.195, 0.232, 0.292, 0.391, 0.465, 0.541, 0.664, 0.760),
        "turned 135": (0.205, 0.268, 0.320, 0.424, 0.501, 0.588, 0.713, 0.785),
        "turned 180": (0.155, 0.244, 0.307, 0.415, 0.494, 0.580, 0.708, 0.827),
        "strangers across": (0.484, 0.574, 0.659, 0.780, 0.860, 0.938, 1.041, 1.108),
        "strangers beside": (0.375, 0.475, 0.572, 0.709, 0.797, 0.879, 0.990, 1.064),
    },
    "known": {
        "across": (0.177, 0.240, 0.301, 0.417, 0.514, 0.617, 0.775, 0.899),
        "after 1 s": (0.061, 0.090, 0.127, 0.196, 0.258, 0.338, 0.492, 0.599),
        "after 3 s": (0.076, 0.129, 0.172, 0.262, 0.336, 0.427, 0.585, 0.701),
        "after 7 s": (0.094, 0.152, 0.210, 0.307, 0.393, 0.492, 0.655, 0.780),
        "after 1 min": (0.156, 0.218, 0.280, 0.393, 0.495, 0.606, 0.784, 0.910),
        "strangers across": (0.486, 0.647, 0.779, 0.916, 0.993, 1.061, 1.151, 1.211),
        "strangers beside": (0.455, 0.621, 0.761, 0.906, 0.986, 1.056, 1.148, 1.208),
    },
}  # fmt: skip
# Share of pairs of one person refused and of strangers accepted where both are as many, across cameras.
MEASURED_EER = {"unseen": 0.146, "known": 0.049}

EVERYTHING = tuple(asdict(UNSEEN_SITE))
# Pictures of PKU have no times, and those of Market no headings: such shares are taken over from the other place.
FREE = {
    "unseen": tuple(name for name in EVERYTHING if name not in ("fast", "still")),
    "known": tuple(name for name in EVERYTHING if name not in ("side", "front", "still")),
}
SITES = {"unseen": UNSEEN_SITE, "known": KNOWN_SITE}


# ---- quantiles of pairs ------------------------------------------------------------------------------------------


def turned_pairs(rows: NDArray, ids: NDArray, cameras: NDArray, sides: NDArray) -> Quantiles:
    """Of pictures (N, D) of people (N,) in cameras (N,), turned by (N,) eighths of a circle."""
    a, b = np.triu_indices(len(rows), 1)
    distance = (1 - rows @ rows.T)[a, b]
    same, beside = ids[a] == ids[b], cameras[a] == cameras[b]
    turn = np.abs(sides[a] - sides[b]) % 8
    turn = np.minimum(turn, 8 - turn)
    kinds = {"across": same & ~beside, "across, same side": same & ~beside & (turn == 0)}
    kinds |= {f"turned {45 * n}": same & beside & (turn == n) for n in (1, 2, 3, 4)}
    kinds |= {"strangers across": ~same & ~beside, "strangers beside": ~same & beside}
    return {kind: np.quantile(distance[these], AT) for kind, these in kinds.items()}


def timed_pairs(rows: NDArray, ids: NDArray, cameras: NDArray, t_s: NDArray, most: int = 5000) -> Quantiles:
    """Of pictures (N, D) of people (N,) in cameras (N,) at times (N,) that count within one camera.

    Strangers are looked at among ``most`` pictures, taken evenly.
    """
    distance, beside, gap = ([np.zeros(0)] for _ in range(3))
    for person in np.unique(ids):
        these = np.flatnonzero(ids == person)
        a, b = np.triu_indices(len(these), 1)
        distance.append((1 - rows[these] @ rows[these].T)[a, b])
        beside.append(cameras[these][a] == cameras[these][b])
        gap.append(np.abs(t_s[these][a] - t_s[these][b]))
    d, apart = np.concatenate(distance), np.concatenate(gap)
    one = np.concatenate(beside) > 0
    kinds = {"across": d[~one]}
    kinds |= {kind: d[one & (apart >= low) & (apart < high)] for kind, (low, high) in GAPS_S.items()}
    some = np.unique(np.linspace(0, len(rows) - 1, most).astype(np.intp))
    a, b = np.triu_indices(len(some), 1)
    d = (1 - rows[some] @ rows[some].T)[a, b]
    strangers, one = (ids[some][a] != ids[some][b]), cameras[some][a] == cameras[some][b]
    kinds |= {"strangers across": d[strangers & ~one], "strangers beside": d[strangers & one]}
    return {kind: np.quantile(values, AT) for kind, values in kinds.items()}


def equal_error(same: NDArray, different: NDArray) -> float:
    """Share of errors at the threshold where as large a share of both kinds is mistaken."""
    taus = np.quantile(same, np.linspace(0, 1, 2001))
    refused = np.linspace(1, 0, 2001)
    accepted = np.searchsorted(np.sort(different), taus) / len(different)
    return float(accepted[np.argmin(np.abs(accepted - refused))])


# ---- drawn -------------------------------------------------------------------------------------------------------


def drawn_turned(noise: Noise, seed: int, people: int = 74) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Rows like PKU's: two cameras, eight sides, each at another moment; ids, cameras and sides."""
    rng = np.random.default_rng(seed)
    looks = Appearance(range(people), ["a", "b"], rng, noise=noise)
    ids, sides = np.repeat(np.arange(people), 8), np.tile(np.arange(8), people)
    rows = [
        looks.rows(camera, rng.uniform(0, 1e4, len(ids)), ids, rng, seen_from_rad=sides * np.pi / 4)
        for camera in "ab"
    ]
    return np.concatenate(rows), np.tile(ids, 2), np.repeat([0, 1], len(ids)), np.tile(sides, 2)


def drawn_timed(noise: Noise, seed: int, people: int = 110) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Rows like Market's: six cameras, two visits with few pictures each; ids, cameras and times."""
    rng = np.random.default_rng(seed)
    names = "abcdef"
    looks = Appearance(range(people), names, rng, noise=noise)
    visits = np.array([0.0, 0.75, 3.0, 7.0, 60.0, 61.0])
    ids = np.repeat(np.arange(people), len(visits))
    rows, times = [], []
    for camera in names:
        t_s = (rng.uniform(0, 1e3, (people, 1)) + visits).ravel()
        side = np.repeat(rng.uniform(0, 2 * np.pi, (people, 2)), (4, 2), axis=1).ravel()
        rows.append(looks.rows(camera, t_s, ids, rng, seen_from_rad=side))
        times.append(t_s)
    return np.concatenate(rows), np.tile(ids, 6), np.repeat(np.arange(6), len(ids)), np.concatenate(times)


def drawn(site: str, noise: Noise, seeds: Iterable[int], most: int = 2000) -> Quantiles:
    """The quantiles of rows drawn as the site's pictures were taken, in the mean of seeds."""
    found = [
        turned_pairs(*drawn_turned(noise, seed))
        if site == "unseen"
        else timed_pairs(*drawn_timed(noise, seed), most=most)
        for seed in seeds
    ]
    return {kind: np.mean([one[kind] for one in found], axis=0) for kind in found[0]}


def drawn_eer(site: str, noise: Noise, seeds: Iterable[int]) -> float:
    """The equal error rate of drawn rows across cameras, in the mean of seeds."""
    make = drawn_turned if site == "unseen" else drawn_timed
    return float(np.mean([_eer(*make(noise, seed)[:3], most=2500) for seed in seeds]))


def _eer(rows: NDArray, ids: NDArray, cameras: NDArray, most: int = 5000) -> float:
    some = np.unique(np.linspace(0, len(rows) - 1, most).astype(np.intp))
    a, b = np.triu_indices(len(some), 1)
    d = (1 - rows[some] @ rows[some].T)[a, b]
    same, across = ids[some][a] == ids[some][b], cameras[some][a] != cameras[some][b]
    return equal_error(d[same & across], d[~same & across])


def fit(site: str, noise: Noise, measured: Quantiles, rounds: int = 300) -> Noise:
    """The shares whose drawn quantiles are nearest in squares; pairs across cameras count three times."""
    from scipy.optimize import minimize

    weight = np.array([0.3, 0.7, 1, 1, 1, 1, 1, 0.7])

    def of(logs: F) -> Noise:
        return replace(noise, **{name: float(np.exp(log)) for name, log in zip(FREE[site], logs)})

    def miss(logs: F) -> float:
        found = drawn(site, of(logs), range(3))
        return sum(
            (3 if "across" in kind else 1) * float((weight * (found[kind] - measured[kind]) ** 2).sum())
            for kind in measured
        )

    start = np.log([getattr(noise, name) for name in FREE[site]])
    simplex = np.vstack([start, start + 0.2 * np.eye(len(start))])
    found = minimize(
        miss, start, method="Nelder-Mead", options={"maxiter": rounds, "initial_simplex": simplex}
    )
    return of(found.x)


# ---- measured ----------------------------------------------------------------------------------------------------


def measure(site: str, embedder: OnnxEmbedder, data: Path, cache: Path | None) -> tuple[Quantiles, float]:
    """Quantiles and the equal error rate of one place's pictures."""
    parts = ("pku",) if site == "unseen" else ("market1501_query", "market1501_gallery")
    rows, ids, cameras, files = zip(*(_embedded(embedder, data, part, cache) for part in parts))
    r, i, c, names = np.concatenate(rows), np.concatenate(ids), np.concatenate(cameras), sum(files, ())
    if site == "unseen":
        sides = np.array([int(Path(name).stem.split("_")[-1]) - 1 for name in names])
        return turned_pairs(r, i, c, sides), _eer(r, i, c)
    known = i > 0
    taken = [re.search(r"_c\ds(\d)_(\d+)", name) for name in names]
    # Sequences of one camera are far apart in time.
    t_s = np.array([1e6 * int(one[1]) + int(one[2]) / MARKET_FPS if one else 0.0 for one in taken])
    return timed_pairs(r[known], i[known], c[known], t_s[known]), _eer(r[known], i[known], c[known])


def _embedded(
    embedder: OnnxEmbedder, data: Path, part: str, cache: Path | None
) -> tuple[NDArray, NDArray, NDArray, tuple[str, ...]]:
    from reid.datasets import load

    pictures = load(data, part, cache=cache)
    return embedder.embed(list(pictures.crops)), pictures.ids, pictures.cameras, pictures.files


def as_filmed(crop: NDArray[np.uint8], height_px: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A crop as a camera would have shown it, so high: box off by 3 % and 1 px, smaller, noise of 4 levels, JPEG 60."""
    H, W = crop.shape[:2]
    off = rng.normal(0, 1, 4) * (0.03 * H + H / height_px) * np.array([0.5, 1, 0.5, 1])
    corners = np.array([[off[0], off[1]], [W + off[2], off[1]], [off[0], H + off[3]]], np.float32)
    to = np.array([[0, 0], [W, 0], [0, H]], np.float32)
    shown = cv2.warpAffine(crop, cv2.getAffineTransform(corners, to), (W, H), borderMode=cv2.BORDER_REPLICATE)
    if height_px < H:
        shown = cv2.resize(shown, (max(2, round(W * height_px / H)), height_px), interpolation=cv2.INTER_AREA)
    shown = np.clip(shown + rng.normal(0, 4, shown.shape), 0, 255).astype(np.uint8)
    packed = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    return np.asarray(cv2.resize(np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)), (W, H)), np.uint8)


def hidden_by(crop: NDArray[np.uint8], other: NDArray[np.uint8], share: float, how: str) -> NDArray[np.uint8]:
    """A crop of which a share is hidden: by ``other`` from ``below`` or from the ``side``, or ``cut`` off below."""
    H, W = crop.shape[:2]
    row, column = round(H * (1 - share)), round(W * share)
    shown = crop.copy()
    if how == "cut":
        return np.asarray(cv2.resize(crop[: max(row, 1)], (W, H)), np.uint8)
    if how == "below":
        shown[row:] = other[: H - row]
    else:
        begin = max(0, W // 2 - column // 2)
        shown[:, :column] = other[:, begin : begin + column]
    return shown


def losses(embedder: OnnxEmbedder, pictures: Pictures, seed: int = 0) -> list[str]:
    """How much of a row is left, by height and by the share hidden: lines of the tables in `scenes.appearance`.

    Rows are split into parts along the clear row, along the hider's, and the rest. Of the rest, what two pictures of
    one person have in common beyond what their clear rows have (as a share of those) is no noise but another, steady
    look: it is turned, not lost.
    """
    rng = np.random.default_rng(seed)
    crops, ids, cameras = np.array(pictures.crops), pictures.ids, pictures.cameras
    clear = embedder.embed(list(crops))
    others = _others(ids, rng)
    lines = []
    for height in (128, 96, 64, 48, 40, 32, 24, 16):
        rows = embedder.embed([as_filmed(crop, height, rng) for crop in crops])
        lines.append(f"height {height:4d} px  {_split(rows, clear, None, ids, cameras)}")
    for how in ("below", "side", "cut"):
        for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
            pairs = zip(crops, crops[others])
            rows = embedder.embed([hidden_by(crop, other, share, how) for crop, other in pairs])
            lines.append(
                f"{how:5s} {share:.1f}  {_split(rows, clear, None if how == 'cut' else clear[others], ids, cameras)}"
            )
    return lines


def _others(ids: NDArray, rng: np.random.Generator) -> NDArray[np.intp]:
    """For each row one of somebody else."""
    order = rng.permutation(len(ids))
    while (same := ids[order] == ids).any():
        wrong = np.flatnonzero(same)
        swap = rng.integers(len(ids), size=len(wrong))
        for a, b in zip(wrong, swap):
            order[[a, b]] = order[[b, a]]
    return order


def _split(rows: NDArray, clear: NDArray, hider: NDArray | None, ids: NDArray, cameras: NDArray) -> str:
    a, b = np.triu_indices(len(ids), 1)
    same = (ids[a] == ids[b]) & (cameras[a] != cameras[b])
    a, b = a[same], b[same]
    own = (rows * clear).sum(1).mean()
    base = 0.0 if hider is None else (clear * hider).sum(1).mean()
    other = 0.0 if hider is None else (rows * hider).sum(1).mean()
    keep = (own - base * other) / (1 - base**2)
    take = (other - base * own) / (1 - base**2)
    rest = 1 - keep**2 - take**2 - 2 * keep * take * base
    alike = (clear[a] * clear[b]).sum(1).mean()
    stranger = 0.0 if hider is None else base
    found = (rows[a] * rows[b]).sum(1).mean()
    steady = (found - keep**2 * alike - (2 * keep * take + take**2) * stranger) / max(rest * alike, 1e-9)
    return f"own {keep:.3f}  hider {take:.3f}  steady {steady:.2f}"


# ---- the command -------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True, help="folder of the research sets")
    options.add_argument("--cache", type=Path, help="folder for decoded pictures")
    options.add_argument("--model", help="an embedder; the shipped one by default")
    options.add_argument("--fit", action="store_true", help="fit the constants first")
    options.add_argument("--only", choices=(*SITES, "losses"))
    given = options.parse_args(arguments)
    from reid import load_embedder
    from reid.datasets import load

    embedder = load_embedder(given.model)
    print(f"{embedder.name} {embedder.model_hash[:8]}, quantiles {AT.tolist()}")
    for site, noise in SITES.items():
        if given.only in (None, site):
            measured, eer = measure(site, embedder, given.data, given.cache)
            if given.fit:
                noise = fit(site, noise, measured)
                print(noise)
            _report(site, noise, measured, eer, print)
    if given.only in (None, "losses"):
        print("\n".join(losses(embedder, load(given.data, "pku", cache=given.cache))))
    return 0


def _report(site: str, noise: Noise, measured: Quantiles, eer: float, say: Callable[[str], None]) -> None:
    found = drawn(site, noise, range(20, 24), most=5000)
    say(f"{site}: equal error rate {eer:.3f}, drawn {drawn_eer(site, noise, range(20, 24)):.3f}")
    for kind in measured:
        for what, values in (("measured", measured[kind]), ("drawn", found[kind])):
            say(f"  {kind:18s} {what:9s}" + " ".join(f"{value:6.3f}" for value in values))


if __name__ == "__main__":
    sys.exit(main())
