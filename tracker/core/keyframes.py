"""When the detector looks: every few frames, or as soon as the tracks ask for it. Pure decisions, no state.

Between two keyframes boxes are carried by optical flow or by prediction; the detector and the embedder rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracker.config import KeyframeSettings

UNSURE = (
    0.25  # a carried box this far off, as a share of its width (one standard deviation), may be another's
)

CROWDED_SHARE, NEW_SHARE = 1 / 2, 1 / 3  # of the longest gap


@dataclass(frozen=True)
class Outlook:
    """What a camera's tracks say of how soon they should be looked at again."""

    has_new: bool = False  # somebody is not confirmed yet
    has_missed: bool = False  # somebody was not found at the last keyframe, a moment after having been there
    is_crowded: bool = False  # boxes overlap: the flow inside them may be the other's
    spread: float = 0.0  # of the least certain box: standard deviation of its centre as a share of its width


def is_due(settings: KeyframeSettings, since: int, outlook: Outlook) -> bool:
    """Whether the frame ``since`` frames after the last keyframe is one.

    ``settings.every`` is the longest gap. Adaptive, it shrinks to half where boxes overlap, to a third where somebody
    is new or was missed, and ends at once where a box is no longer sure of its place.
    """
    if since >= settings.every or not settings.adaptive:
        return since >= settings.every
    if outlook.spread > UNSURE:
        return True
    share = 1.0
    if outlook.is_crowded:
        share = CROWDED_SHARE
    if outlook.has_new or outlook.has_missed:
        share = NEW_SHARE
    return since >= int(np.ceil(settings.every * share))


def busy_gap(settings: KeyframeSettings) -> int:
    """Frames from one keyframe to the next where somebody is always new; only unsure boxes make it shorter still."""
    return int(np.ceil(settings.every * (NEW_SHARE if settings.adaptive else 1.0)))
