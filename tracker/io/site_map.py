"""A picture of what a site has taught: every camera's view with its zones, and the ways between them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker.core.topology import Route, SiteModel

VIEW_WIDTH, VIEW_HEIGHT = 288, 162  # px; views are drawn 16 : 9, places in them are shares
ACROSS, DOWN, MARGIN = 180, 110, 40  # px between views and around them
INK, PALE, DOT = (40, 40, 40), (235, 235, 235), (60, 110, 220)  # BGR
# A colour for each camera that people come from, told apart by most eyes (Okabe & Ito, 2008).
WAYS = ((178, 114, 0), (0, 94, 213), (115, 158, 0), (167, 121, 204), (0, 159, 230), (233, 180, 86))


def draw_site(model: SiteModel, routes: Sequence[Route]) -> NDArray[np.uint8]:
    """(H, W, 3) BGR: an arrow for each way of the model's, with the usual time and the share who go there."""
    cameras = sorted({*model.pictures, *(route.to_camera for route in routes)})
    columns = max(int(np.ceil(np.sqrt(len(cameras)))), 1)
    corners = {
        name: (
            MARGIN + n % columns * (VIEW_WIDTH + ACROSS),
            MARGIN + n // columns * (VIEW_HEIGHT + DOWN),
        )
        for n, name in enumerate(cameras)
    }
    rows = max(-(-len(cameras) // columns), 1)
    height = 2 * MARGIN + rows * (VIEW_HEIGHT + DOWN) - DOWN
    width = 2 * MARGIN + columns * (VIEW_WIDTH + ACROSS) - ACROSS
    canvas = np.full((height, width, 3), 255, np.uint8)

    def place(camera: str, xy: tuple[float, float]) -> NDArray[np.float64]:
        return np.array(corners[camera]) + np.array(xy) * (VIEW_WIDTH, VIEW_HEIGHT)

    for name, (x, y) in corners.items():
        cv2.rectangle(canvas, (x, y), (x + VIEW_WIDTH, y + VIEW_HEIGHT), PALE, cv2.FILLED)
        cv2.rectangle(canvas, (x, y), (x + VIEW_WIDTH, y + VIEW_HEIGHT), INK, 1)
        _write(canvas, name, np.array((x, y - 8)), INK)
    for door in model.doorways():
        size = 3 + round(1.5 * np.log2(1 + door.starts + door.ends))
        at = place(door.camera, door.xy).round().astype(int)
        cv2.circle(canvas, at.tolist(), size, DOT, 1, cv2.LINE_AA)
    for route in reversed(routes):  # the most used on top
        colour = WAYS[cameras.index(route.from_camera) % len(WAYS)]
        _arrow(
            canvas,
            place(route.from_camera, route.from_xy),
            place(route.to_camera, route.to_xy),
            route,
            colour,
        )
    return canvas


def _arrow(
    canvas: NDArray[np.uint8], start: NDArray, end: NDArray, route: Route, colour: tuple[int, int, int]
) -> None:
    length = float(np.linalg.norm(end - start))
    if length < 1:  # back to where one came from
        return
    along = (end - start) / length
    aside = 6 * np.array((-along[1], along[0]))  # so that the way back lies beside it
    a, b = ((p + aside).round().astype(int).tolist() for p in (start, end))
    thick = min(1 + round(np.log10(max(route.passages, 1.0))), 4)
    cv2.arrowedLine(canvas, a, b, colour, thick, cv2.LINE_AA, tipLength=min(14 / length, 0.5))
    text = f"{route.gaps_s[1]:.1f} s, {100 * route.share:.0f} %"
    _write(canvas, text, start + (end - start) * 0.4 + 2.5 * aside, colour)


def _write(canvas: NDArray[np.uint8], text: str, at: NDArray, colour: tuple[int, int, int]) -> None:
    for paint, thick in (((255, 255, 255), 4), (colour, 1)):  # on white, where arrows cross
        where = at.round().astype(int).tolist()
        cv2.putText(canvas, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.42, paint, thick, cv2.LINE_AA)
