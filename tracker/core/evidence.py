"""How likely are two tracklets one person: appearance, time, place.

Every cue is a log-likelihood ratio (natural logarithm): the cue's likelihood if the two are one person over its
likelihood if they are not. Cues are added (naive Bayes), and the prior odds decide what no cue knows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.core.feet import FLOOR_M2, HIDDEN_FEET, HIDDEN_M

F = NDArray[np.float64]

MAX_PLACE_LLR = 8.0
MAX_AGAINST_LLR = 30.0
MOST_LOOKS = 8.0  # that many agreeing looks say all that more of them would
WALK_M_S, TOP_M_S = 1.3, 3.0
PICTURE_HEIGHTS = 8.0  # of people, that a picture is wide
HEADING = 0.7  # of a velocity in the picture is kept
STEADY_M_S2 = 0.5  # how far a walker's velocity is off after a second, and how it changes


def gap_llr(gap_s: F, *, typical_s: float, window_s: float) -> F:
    """Of somebody unseen for ``gap_s`` between two places: short gaps speak for one person.

    Gaps of one person fall off as 1 / (1 + gap / typical)^2, which has the long tail that detours need; a stranger
    may come at any time within the window.
    """
    gap = np.maximum(gap_s, 0.0)
    same = 1 / typical_s / (1 + gap / typical_s) ** 2
    ratio = np.log(same * window_s)
    return np.asarray(np.where(gap <= window_s, ratio, -np.inf))


def _spot_ratio(off_m: F, sigma_m: F) -> F:
    """Density on the plane, as a multiple of the uniform one, of being ``off_m`` from a spot."""
    wide_m = np.hypot(sigma_m, HIDDEN_M)
    near, far = (np.exp(-((off_m / s) ** 2) / 2) / (2 * np.pi * s**2) * FLOOR_M2 for s in (sigma_m, wide_m))
    return np.asarray((1 - HIDDEN_FEET) * near + HIDDEN_FEET * far)


def meeting_llr(mean_look_llr: F, looks: F) -> F:
    """Of two tracklets from the mean of their looks, any shape: neighbouring instants err alike, so that more than a
    few say nothing new."""
    return np.maximum(mean_look_llr * np.minimum((looks + 1) / 2, MOST_LOOKS), -MAX_AGAINST_LLR)


def walk_llr(off_m: ArrayLike, sigma_m: ArrayLike, gap_s: ArrayLike, is_steady: ArrayLike = False) -> F:
    """Of walks that end ``off_m`` from where they would lead, any shape: normal around it, uniform if by others.

    Args:
        off_m: distance from the last place, or from where the last velocity leads to by then; NaN says nothing.
        sigma_m: standard deviation of both places.
        gap_s: the walk's time.
        is_steady: whether a velocity was known; else any direction is as good.
    """
    off, sigma, gap, steady = np.broadcast_arrays(off_m, sigma_m, np.maximum(gap_s, 0.0), is_steady)
    known = np.isfinite(off) & np.isfinite(sigma)
    off, sigma = np.where(known, off, 0.0), np.where(known, sigma, 1.0)
    too_fast = off > TOP_M_S * gap + 3 * sigma + 0.5
    # Who is unseen for longer may have turned: a known velocity helps for a second or two.
    drift = np.where(
        steady, np.minimum(STEADY_M_S2 * gap + STEADY_M_S2 * gap**2 / 2, WALK_M_S * gap), WALK_M_S * gap
    )
    reach = np.hypot(drift, sigma)
    # Who has had the time to be anywhere is no likelier to come in elsewhere than others are.
    anywhere = np.maximum(2 * np.pi * reach**2 / FLOOR_M2, 1.0)
    ratio = np.clip(np.log(_spot_ratio(off, reach) * anywhere + 1e-12), -MAX_PLACE_LLR, 5.0)
    ratio = np.where(too_fast, -MAX_AGAINST_LLR, ratio)
    return np.asarray(np.where(known, ratio, 0.0))


def stitch_llr(
    end_box: NDArray[np.floating],
    velocity_px_s: NDArray[np.floating],
    start_box: NDArray[np.floating],
    gap_s: ArrayLike,
    *,
    window_s: float,
) -> F:
    """Of one camera's tracks going on as others after ``gap_s``: is the second where the first was heading?

    Args:
        end_box, start_box: (..., 4).
        velocity_px_s: (..., 2) of the centre at the end.
        gap_s: (...).
    """
    end_box, start_box = np.asarray(end_box, float), np.asarray(start_box, float)
    gap = np.maximum(gap_s, 0.0)
    height, other = (np.maximum(box[..., 3] - box[..., 1], 1.0) for box in (end_box, start_box))
    size = np.maximum((end_box[..., 3] - end_box[..., 1] + start_box[..., 3] - start_box[..., 1]) / 2, 1.0)
    end, start = ((box[..., :2] + box[..., 2:]) / 2 for box in (end_box, start_box))
    # How far the heading can be trusted fades: expected is between standing still and walking on.
    carry = np.minimum(gap_s, 1.0)[..., None]
    moved = start - end - np.asarray(velocity_px_s, float) * carry
    off = np.hypot(moved[..., 0], moved[..., 1]) / size
    sigma = 0.25 + 0.6 * gap
    grow = np.abs(np.log(other / height))
    one = -((off / sigma) ** 2) / 2 - np.log(2 * np.pi * sigma**2) - (grow / 0.25) ** 2 / 2
    two = -np.log(40.0)  # a picture is some 40 square heights of people
    return np.clip(one - two + np.maximum(0.0, 1.0 - np.asarray(gap_s) / window_s), -MAX_PLACE_LLR, 5.0)


def head_llr(
    end_box: NDArray[np.floating],
    velocity_px_s: NDArray[np.floating],
    start_box: NDArray[np.floating],
    gap_s: ArrayLike,
) -> F:
    """Of one camera's tracks going on as others after ``gap_s``, from head and width: what stands before legs hides
    those first.

    Args:
        end_box, start_box: (..., 4).
        velocity_px_s: (..., 2) of the centre at the end.
        gap_s: (...).
    """
    end, start, gap = np.asarray(end_box, float), np.asarray(start_box, float), np.asarray(gap_s, float)
    size = np.maximum(np.maximum(end[..., 3] - end[..., 1], start[..., 3] - start[..., 1]), 1.0)
    moved = (start[..., 0] + start[..., 2] - end[..., 0] - end[..., 2]) / 2
    aside = (moved - HEADING * np.asarray(velocity_px_s, float)[..., 0] * gap) / size
    lower = (start[..., 1] - end[..., 1]) / size
    wide, other = (np.maximum(box[..., 2] - box[..., 0], 1.0) for box in (end, start))
    one = (
        _log_normal(aside, 0.12 + 0.35 * gap)
        + _log_normal(lower, 0.03 + 0.04 * gap)
        + _log_normal(np.log(other / wide), 0.08 + 0.1 * gap)
    )
    # Others are anywhere from side to side, but in a crowd about as high and as wide.
    two = -np.log(PICTURE_HEIGHTS) + _log_normal(lower, 0.3) + _log_normal(np.log(other / wide), 0.35)
    return np.asarray(np.maximum(one - two, -MAX_AGAINST_LLR))


def _log_normal(x: F, sigma: ArrayLike) -> F:
    return np.asarray(-((x / np.asarray(sigma)) ** 2) / 2 - np.log(np.sqrt(2 * np.pi) * np.asarray(sigma)))


def at_border(box: NDArray[np.floating], image_size: ArrayLike, margin: float = 0.02) -> NDArray[np.bool_]:
    """Do boxes touch the picture's edge (within ``margin`` of its size): was somebody coming or going there?

    Args:
        box: (..., 4).
        image_size: (..., 2) width and height; 0 where unknown, and then all boxes do.
    """
    size = np.asarray(image_size, float)
    over = (box[..., :2] < margin * size) | (box[..., 2:] > (1 - margin) * size) | ~(size > 0)
    return np.asarray(over[..., 0] | over[..., 1])
