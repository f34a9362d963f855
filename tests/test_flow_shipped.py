"""The flow models that are shipped: what their cards promise, on pictures that are drawn here."""

import cv2
import numpy as np
import pytest

import models
from flow import load_estimator
from flow.boxcarry import load_carrier
from flow.estimator import Estimator
from flow.pairs import Drawer

LEARNED = ("tiny", "base")
HEIGHT, WIDTH = 240, 320


@pytest.fixture(scope="module", params=LEARNED)
def estimator(request: pytest.FixtureRequest) -> Estimator:
    return load_estimator(request.param, device="cpu")


@pytest.fixture(scope="module")
def surfaces() -> list[np.ndarray]:
    """Four pictures of texture, none like another."""
    drawer = Drawer(np.random.default_rng(7))
    return [drawer.draw(HEIGHT, WIDTH).before for _ in range(4)]


def moved(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    shift = np.array([[1.0, 0.0, x], [0.0, 1.0, y]])
    return np.asarray(
        cv2.warpAffine(picture, shift, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT), np.uint8
    )


def test_a_picture_that_goes_right_and_down_is_followed(
    estimator: Estimator, surfaces: list[np.ndarray]
) -> None:
    for picture in surfaces:
        flow = estimator.estimate(picture, moved(picture, 9, 5))[40:-40, 40:-40]
        assert np.median(flow.reshape(-1, 2), axis=0) == pytest.approx([9, 5], abs=1.0)


def test_what_stands_still_is_said_to_and_trusted(estimator: Estimator, surfaces: list[np.ndarray]) -> None:
    for picture in surfaces:
        flow, trust = estimator.estimate_checked(picture, picture)
        assert np.hypot(*np.moveaxis(flow, 2, 0)).mean() < 0.5
        assert trust.mean() > 0.8


def test_a_cut_and_a_black_picture_are_not_trusted(estimator: Estimator, surfaces: list[np.ndarray]) -> None:
    black = np.zeros_like(surfaces[0])
    for before, after in ((surfaces[0], surfaces[1]), (surfaces[2], surfaces[3]), (surfaces[0], black)):
        flow, trust = estimator.estimate_checked(before, after)
        assert np.isfinite(flow).all()
        assert trust.mean() < 0.4


def test_errors_of_drawn_pairs_are_well_below_those_of_not_moving(estimator: Estimator) -> None:
    drawer, errors, lengths = Drawer(np.random.default_rng(99)), [], []
    for _ in range(16):
        pair = drawer.draw(HEIGHT, WIDTH)
        flow = estimator.estimate(pair.before, pair.after)
        errors.append(np.hypot(*np.moveaxis(flow - pair.flow, 2, 0)).mean())
        lengths.append(np.hypot(*np.moveaxis(pair.flow, 2, 0)).mean())
    assert np.mean(errors) < 0.75 * np.mean(lengths)


def test_the_same_pictures_have_the_same_flow(estimator: Estimator, surfaces: list[np.ndarray]) -> None:
    after = moved(surfaces[0], 3, 1)
    assert (estimator.estimate(surfaces[0], after) == estimator.estimate(surfaces[0], after)).all()


def test_the_box_head_follows_a_thing_over_a_still_background() -> None:
    # A patch of 40 x 80 goes 10 px right: a box that stays overlaps it by 30 of 50 columns, IoU 0.6.
    drawer = Drawer(np.random.default_rng(5))
    carrier, overlaps = load_carrier("flow_box", device="cpu"), []
    for _ in range(6):
        scene, thing = drawer.draw(HEIGHT, WIDTH).before, drawer.draw(HEIGHT, WIDTH).before[:80, :40]
        before, after = scene.copy(), scene.copy()
        before[80:160, 140:180], after[80:160, 150:190] = thing, thing
        (box,), (trust,) = carrier.carry(before, after, np.array([[140.0, 80.0, 180.0, 160.0]]))
        wide = min(box[2], 190) - max(box[0], 150)
        high = min(box[3], 160) - max(box[1], 80)
        both = max(wide, 0) * max(high, 0)
        overlaps.append(both / (3200 + (box[2] - box[0]) * (box[3] - box[1]) - both))
        assert 0 <= trust <= 1
    assert np.mean(overlaps) > 0.7


@pytest.mark.parametrize("name", ["flow_tiny", "flow_base", "flow_box"])
def test_a_card_says_where_a_model_comes_from(name: str) -> None:
    card = models.card(name)
    assert models.verify(name) == "ok"
    assert card.kind == "flow" and card.licence == "Apache-2.0"
    assert all((card.origin, card.data, card.data_terms, card.recipe, card.input, card.output, card.score))
