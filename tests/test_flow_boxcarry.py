"""Crops of boxes, positions in them and in the picture, and what a carrier answers to odd questions."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from flow.boxcarry import (
    HOME,
    SIDE,
    OnnxBoxCarrier,
    crop_areas,
    crops,
    is_carried,
    load_carrier,
    to_crop,
    to_picture,
)

BOXES = np.array([[40.0, 30, 72, 94], [100.5, 20.25, 130, 99.75]])


@pytest.fixture(scope="module")
def carrier(tmp_path_factory: pytest.TempPathFactory):
    torch = pytest.importorskip("torch")
    from flow.boxhead import BoxHead
    from flow.boxtrain import to_onnx

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("boxhead") / "fresh.onnx"
    path.write_bytes(to_onnx(BoxHead().eval()))
    return load_carrier(str(path))


def noise(height: int = 160, width: int = 240) -> np.ndarray:
    coarse = np.random.default_rng(3).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)


def test_a_crop_is_twice_the_box_and_at_its_place():
    # 32 x 64 px about (56, 62): a crop of 64 x 128 from (24, -2).
    assert_array_equal(crop_areas(BOXES[:1]), [[24, -2, 88, 126]])


def test_a_crop_of_its_own_size_is_the_picture_itself_and_black_outside():
    image = noise()
    (cut,) = crops(image, np.array([[-16, 40, SIDE - 16, 40 + SIDE]]))
    assert (cut[:, :16] == 0).all()
    assert_array_equal(cut[:, 16:], image[40 : 40 + SIDE, : SIDE - 16])


def test_a_crop_without_any_picture_is_black():
    assert (crops(noise(), np.array([[-90, 0, -10, 80], [500, 500, 600, 600]])) == 0).all()


def test_a_shrunk_crop_is_an_average():
    image = np.zeros((2 * SIDE, 2 * SIDE), np.uint8)
    image[::2] = 200  # every second row: half of 200
    (cut,) = crops(image, np.array([[0, 0, 2 * SIDE, 2 * SIDE]]))
    assert_array_equal(cut, np.full((SIDE, SIDE, 3), 100))


def test_what_the_network_calls_home_is_where_the_box_was():
    areas = crop_areas(BOXES)
    assert_allclose(to_picture(np.tile(HOME, (2, 1)), BOXES, areas), BOXES, atol=1e-5)


def test_positions_in_a_crop_mean_pixels():
    # The crop of a 32 x 64 box is 64 x 128: a quarter to the right is 16 px; 0.6 high instead of 0.5 is 76.8 px.
    found = np.array([[0.5, 0.2, 1.0, 0.8]])
    assert_allclose(
        to_picture(found, BOXES[:1], crop_areas(BOXES[:1])), [[56, 62 - 38.4, 88, 62 + 38.4]], atol=1e-5
    )


def test_to_crop_is_the_inverse_of_to_picture():
    areas = crop_areas(BOXES)
    later = BOXES + [[3, -5, 9, 2], [-12, 1, -10, 7.5]]
    assert_allclose(to_picture(to_crop(later, BOXES, areas), BOXES, areas), later, atol=1e-4)


def test_boxes_with_nothing_to_look_at():
    boxes = np.array(
        [
            [10, 10, 30, 60],
            [np.nan, 10, 30, 60],
            [10, 10, 10, 60],  # no area
            [30, 10, 10, 60],  # the wrong way round
            [10, 10, 12, 60],  # 2 px wide
            [-30, 10, 9, 60],  # 9 of 39 px in the picture: less than a quarter
            [-20, 10, 20, 60],  # half of it
            [10, 10, np.inf, 60],
        ]
    )
    assert is_carried(boxes, (100, 100)).tolist() == [True, False, False, False, False, False, True, False]


def test_odd_boxes_stay_and_are_not_trusted(carrier):
    boxes = np.array([[np.nan, 10, 30, 60], [400, 400, 440, 500], BOXES[0]])
    moved, trust = carrier.carry(noise(), noise(), boxes)
    assert_array_equal(moved[:2], boxes[:2].astype(np.float32))
    assert trust[:2].tolist() == [0, 0] and 0 < trust[2] < 1


def test_no_boxes_give_no_boxes(carrier):
    moved, trust = carrier.carry(noise(), noise(), np.zeros((0, 4)))
    assert moved.shape == (0, 4) and trust.shape == (0,)


def test_a_box_does_not_depend_on_its_company(carrier):
    image, later = noise(), np.roll(noise(), 5, axis=1)
    many = np.concatenate([BOXES + shift for shift in range(0, 40, 1)])
    together, trust = carrier.carry(image, later, many)  # 80 boxes: more than one run holds
    alone = [carrier.carry(image, later, box[None]) for box in many]
    assert_allclose(together, np.concatenate([moved for moved, _ in alone]), atol=1e-3)
    assert_allclose(trust, np.concatenate([sure for _, sure in alone]), atol=1e-5)


def test_shifting_pictures_and_boxes_shifts_the_answer(carrier):
    image = noise(400, 400)
    later = np.roll(image, (2, -3), axis=(0, 1))
    first, _ = carrier.carry(image, later, BOXES + 100)
    shifted = [np.roll(one, (17, 24), axis=(0, 1)) for one in (image, later)]
    second, _ = carrier.carry(*shifted, BOXES + 100 + [24, 17, 24, 17])
    assert_allclose(second, first + [24, 17, 24, 17], atol=1e-3)


def test_grey_is_a_picture_of_three_equal_colours(carrier):
    grey = noise()[..., 0]
    colour = np.stack([grey] * 3, axis=2)
    assert_array_equal(carrier.carry(grey, grey, BOXES)[0], carrier.carry(colour, colour, BOXES)[0])


def test_black_pictures_and_pictures_of_one_colour_give_numbers(carrier):
    for level in (0, 255):
        flat = np.full((160, 240, 3), level, np.uint8)
        for before, after in ((flat, flat), (noise(), flat), (flat, noise())):
            moved, trust = carrier.carry(before, after, BOXES)
            assert np.isfinite(moved).all() and (moved[:, 2:] > moved[:, :2]).all()
            assert ((trust >= 0) & (trust <= 1)).all()


def test_a_third_axis_of_one_channel_is_grey(carrier):
    grey = noise()[..., 0]
    assert_array_equal(
        carrier.carry(grey[..., None], grey[..., None], BOXES)[0], carrier.carry(grey, grey, BOXES)[0]
    )
    with pytest.raises(ValueError, match=r"not \(160, 240, 4\) of uint8"):
        carrier.carry(np.zeros((160, 240, 4), np.uint8), noise(), BOXES)
    with pytest.raises(ValueError, match="a picture is"):
        carrier.carry(np.zeros((0, 240, 3), np.uint8), np.zeros((0, 240, 3), np.uint8), BOXES)


def test_what_was_expected_oddly_is_given_back_and_not_trusted(carrier):
    expected = np.array([[np.nan, 30, 72, 94], [900, 900, 940, 980], [40, 30, 41, 94], BOXES[0]])
    moved, trust = carrier.carry(noise(), noise(), BOXES[[0, 0, 0, 0]], expected)
    assert_array_equal(moved[:3], expected[:3].astype(np.float32))
    assert trust[:3].tolist() == [0, 0, 0] and trust[3] > 0


def test_boxes_without_measure_stop_nothing(carrier):
    boxes = np.array([[-1e200, -1e200, 1e200, 1e200], [-np.inf, 0, np.inf, 90], BOXES[0]])
    moved, trust = carrier.carry(noise(), noise(), boxes)
    assert trust[:2].tolist() == [0, 0] and trust[2] > 0
    assert_array_equal(moved[2:], carrier.carry(noise(), noise(), BOXES[:1])[0])


def test_an_answer_that_is_no_number_leaves_the_box_where_it_was(carrier):
    class Half:
        """A session that says NaN of every second box."""

        def run(self, names, given):
            count = len(given["targets"])
            found = np.tile(HOME.astype(np.float32), (count, 1))
            found[1::2] = np.nan
            return found, np.full(count, 0.75, np.float32)

    odd = OnnxBoxCarrier.__new__(OnnxBoxCarrier)
    odd._session = Half()
    moved, trust = odd.carry(noise(), noise(), BOXES)
    assert_allclose(moved, BOXES, atol=1e-4)
    assert trust.tolist() == [0.75, 0]


def test_pictures_smaller_than_a_crop(carrier):
    tiny = noise(16, 24)
    moved, trust = carrier.carry(tiny, tiny, [[2, 2, 10, 14], [0, 0, 24, 16]])
    assert np.isfinite(moved).all() and (trust > 0).all()


def test_what_is_expected_decides_where_to_look(carrier):
    # The later picture is the earlier one, 60 px to the right: looked at there, nothing has changed.
    image, later = noise(160, 320), np.roll(noise(160, 320), 60, axis=1)
    there, sure = carrier.carry(image, later, BOXES, BOXES + [60, 0, 60, 0])
    here, equally = carrier.carry(image, image, BOXES)
    assert_allclose(there, here + [60, 0, 60, 0], atol=1e-3)
    assert_allclose(sure, equally, atol=1e-6)


def test_pictures_of_different_size_and_what_is_no_picture(carrier):
    with pytest.raises(ValueError, match="of one size, not 240x160 and 240x152"):
        carrier.carry(noise(), noise(152), BOXES)
    with pytest.raises(ValueError, match="not .* of float64"):
        carrier.carry(noise() / 255.0, noise() / 255.0, BOXES)
    with pytest.raises(ValueError, match="2 boxes cannot be expected at 1 places"):
        carrier.carry(noise(), noise(), BOXES, BOXES[:1])


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="carries no boxes"):
        load_carrier("research")


def test_carrying_needs_no_torch():
    code = Path("flow/boxcarry.py").read_text()
    assert "torch" not in code
