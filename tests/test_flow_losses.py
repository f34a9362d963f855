"""The loss of a flow by hand: errors in pixels, weights, scales, and how sure a network may be."""

import math

import pytest

torch = pytest.importorskip("torch")

from flow.losses import (  # noqa: E402
    FINER,
    FLOWNET_WEIGHTS,
    MATCHING_WEIGHT,
    TRUST_WEIGHT,
    at_size,
    end_point_error,
    flow_loss,
    is_clear,
    matching_loss,
    trust_loss,
    weighted_mean,
)
from flow.model import Predictions  # noqa: E402


def even(dx, dy, height=8, width=8, count=1):
    return torch.tensor([float(dx), float(dy)])[None, :, None, None].expand(count, 2, height, width).clone()


def chance(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ones(height=8, width=8, count=1):
    return torch.ones(count, 1, height, width)


# --- end-point error


def test_an_error_is_the_distance_between_two_ends():
    assert end_point_error(even(4, 1), even(1, -3)).flatten().tolist() == pytest.approx([5.0] * 64)


def test_the_slope_of_no_error_is_0_and_a_number():
    flow = even(2, 1).requires_grad_()
    error = end_point_error(flow, even(2, 1))
    error.sum().backward()
    assert error.max().item() == pytest.approx(1e-3) and flow.grad.abs().max() == 0.0


def test_errors_are_the_loop():
    flow, truth = chance(2, 2, 3, 4), chance(2, 2, 3, 4, seed=1)
    found = end_point_error(flow, truth)
    for n in range(2):
        for y in range(3):
            for x in range(4):
                ends = flow[n, :, y, x].tolist(), truth[n, :, y, x].tolist()
                assert found[n, 0, y, x].item() == pytest.approx(math.dist(*ends), abs=1e-3)


# --- scales


@pytest.mark.parametrize("size", [(2, 2), (4, 4), (8, 8), (16, 32)])
def test_at_another_size_a_flow_keeps_its_pixels(size):
    assert torch.allclose(at_size(even(6, -3), size), even(6, -3, *size))


def test_a_smaller_flow_is_the_mean_of_what_it_covers():
    # Each of the four places covers 2 x 2: (0 + 1 + 4 + 5) / 4 = 2.5, and so on.
    flow = torch.arange(16.0).reshape(1, 1, 4, 4).expand(1, 2, 4, 4)
    assert at_size(flow, (2, 2))[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]


def test_a_flow_of_the_size_asked_for_is_left_alone():
    flow = even(1, 1)
    assert at_size(flow, flow.shape[2:]) is flow


def test_each_scale_counts_less_than_the_next_finer_one():
    truth = even(0, 0)
    flows = (even(3, 4, 2, 2), even(0, 2, 4, 4), even(1, 0, 4, 4))  # off by 5, 2 and 1 px
    said = flow_loss(Predictions(flows), truth, ones())
    assert said["loss"].item() == pytest.approx(FINER**2 * 5 + FINER * 2 + 1, rel=1e-5)
    assert said["epe"].item() == pytest.approx(1.0, rel=1e-5)
    assert (said["epe0"].item(), said["epe1"].item()) == pytest.approx((5.0, 2.0), rel=1e-5)
    assert "trust" not in said


def test_scales_count_as_one_says():
    truth, flows = even(0, 0), tuple(even(n, 0, 2, 2) for n in (1, 2, 3, 4, 5))
    said = flow_loss(Predictions(flows), truth, ones(), weights=FLOWNET_WEIGHTS)
    assert said["loss"].item() == pytest.approx(0.25 * (1 + 2 + 3) + 0.5 * 4 + 1.0 * 5, rel=1e-5)
    said = flow_loss(Predictions(flows), truth, ones(), weights=(0, 0, 0, 2.0, 3.0))
    assert said["loss"].item() == pytest.approx(2 * 4 + 3 * 5, rel=1e-5)
    with pytest.raises(ValueError, match="shorter"):
        flow_loss(Predictions(flows), truth, ones(), weights=(1.0, 1.0))


def test_the_published_weights_of_sums_are_these_of_means():
    # 0.32 at 1/64 .. 0.005 at 1/4, times the places of each scale, in parts of the finest one's.
    sums = (0.32, 0.08, 0.02, 0.01, 0.005)
    of_means = [share / 4.0 ** (4 - n) / 0.005 for n, share in enumerate(sums)]
    assert pytest.approx(of_means) == list(FLOWNET_WEIGHTS)


def test_the_finest_flow_is_judged_at_the_size_of_the_truth():
    # Half of the truth goes 4 to the right; a flow of one place can but say 2: off by 2 px everywhere.
    truth = even(0, 0)
    truth[..., 4:] += torch.tensor([4.0, 0.0])[:, None, None]
    said = flow_loss(Predictions((even(2, 0, 1, 1),)), truth, ones())
    assert said["epe"].item() == pytest.approx(2.0, rel=1e-5)
    # A coarser one is judged at its own size, where the truth is 2, too.
    said = flow_loss(Predictions((even(2, 0, 1, 1), even(0, 0))), truth, ones())
    assert said["epe0"].item() == pytest.approx(0.0, abs=2e-3)


# --- weights


def test_a_mean_under_weights_by_hand():
    values = torch.tensor([1.0, 2.0, 10.0, 7.0]).reshape(1, 1, 2, 2)
    weight = torch.tensor([1.0, 1.0, 4.0, 0.0]).reshape(1, 1, 2, 2)
    assert weighted_mean(values, weight).item() == pytest.approx((1 + 2 + 40) / 6)
    assert weighted_mean(values, torch.zeros(1, 1, 2, 2)).item() == 0.0


def test_what_has_no_weight_does_not_matter():
    truth, weight = even(0, 0, count=2), ones(count=2)
    weight[1] = 0.0
    flows = tuple(chance(2, 2, size, size, seed=size) for size in (2, 4))
    wrong = tuple(flow.clone() for flow in flows)
    for flow in wrong:
        flow[1] += 100.0
    one, other = (flow_loss(Predictions(part), truth, weight) for part in (flows, wrong))
    assert one["loss"].item() == pytest.approx(other["loss"].item())
    assert one["epe"].item() == pytest.approx(other["epe"].item())


def test_people_weigh_more_in_the_loss_and_alike_in_what_is_told():
    # A quarter of the pixels has weight 4 and is off by 8 px, the others by nothing.
    flow, weight = even(0, 0), ones()
    flow[:, 0, :4, :4], weight[..., :4, :4] = 8.0, 4.0
    said = flow_loss(Predictions((flow,)), even(0, 0), weight)
    assert said["loss"].item() == pytest.approx(4 * 8 * 16 / (4 * 16 + 48), rel=1e-3)
    assert said["epe"].item() == pytest.approx(8 / 4, rel=1e-3)


def test_a_batch_where_nothing_counts_has_a_loss_of_0_and_a_slope():
    flow = chance(1, 2, 4, 4).requires_grad_()
    said = flow_loss(Predictions((flow,)), even(0, 0), 0.0 * ones())
    said["loss"].backward()
    assert said["loss"].item() == said["epe"].item() == 0.0
    assert not flow.grad.any()


# --- trust


@pytest.mark.parametrize(
    ("error", "length", "clear"),
    [(0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (1.1, 0.0, 0.0), (1.9, 20.0, 1.0), (2.1, 20.0, 0.0)],
)
def test_an_estimate_is_clear_within_a_pixel_and_a_twentieth_of_the_way(error, length, clear):
    truth = even(0.6 * length, 0.8 * length, 1, 1)  # of that length
    assert is_clear(torch.full((1, 1, 1, 1), error), truth).item() == clear


def test_the_trust_s_cross_entropy_by_hand():
    # One place of trust over 2 x 2 pixels, of which 3 are right: share 3/4, said with chance 0.9.
    error = torch.tensor([0.0, 0.5, 0.9, 30.0]).reshape(1, 1, 2, 2)
    logit = torch.full((1, 1, 1, 1), math.log(0.9 / 0.1))
    expected = -(0.75 * math.log(0.9) + 0.25 * math.log(0.1))
    assert trust_loss(logit, error, even(0, 0, 2, 2), ones(2, 2)).item() == pytest.approx(expected, rel=1e-5)


def test_where_there_is_no_motion_to_find_nothing_may_be_trusted():
    error, truth = torch.zeros(1, 1, 4, 4), even(0, 0, 4, 4)
    sure, doubtful = torch.full((1, 1, 2, 2), 5.0), torch.full((1, 1, 2, 2), -5.0)
    seen, cut = ones(4, 4), 0.0 * ones(4, 4)
    assert trust_loss(sure, error, truth, seen) < 0.01 < 4.9 < trust_loss(doubtful, error, truth, seen)
    assert trust_loss(doubtful, error, truth, cut) < 0.01 < 4.9 < trust_loss(sure, error, truth, cut)


def test_trust_is_part_of_the_loss_and_teaches_no_flow():
    flow, trust = even(1, 0, 4, 4).requires_grad_(), torch.zeros(1, 1, 4, 4, requires_grad=True)
    truth = even(0, 0, 4, 4)
    said = flow_loss(Predictions((flow,), trust), truth, ones(4, 4))
    # Not sure at all: log 2, whatever is right.
    assert said["trust"].item() == pytest.approx(math.log(2.0), rel=1e-5)
    assert said["loss"].item() == pytest.approx(1.0 + TRUST_WEIGHT * math.log(2.0), rel=1e-5)
    (slope,) = torch.autograd.grad(said["trust"], [flow], retain_graph=True, allow_unused=True)
    assert slope is None
    said["loss"].backward()
    assert trust.grad.abs().min() > 0.0


def matched(places: dict[tuple[int, int], float], width: int, height: int) -> torch.Tensor:
    """(1, hw, hw) logits by which each place goes on by (x, y) with the chances given; what leaves is cut."""
    scores = torch.full((1, height * width, height * width), -60.0)
    for row in range(height):
        for column in range(width):
            for (x, y), chance in places.items():
                if 0 <= column + x < width and 0 <= row + y < height:
                    scores[0, row * width + column, (row + y) * width + column + x] = math.log(chance)
    return scores


def test_matching_that_is_sure_of_the_right_place_costs_nothing():
    # 16 px right and 8 px down are two and one of the places of 8 px; a place at the edge goes nowhere and has no say.
    truth = torch.zeros(1, 2, 32, 48)
    truth[:, 0], truth[:, 1] = 16.0, 8.0
    scores = matched({(2, 1): 1.0}, width=6, height=4)
    assert matching_loss(scores, truth, torch.ones(1, 1, 32, 48), (4, 6)).item() == pytest.approx(
        0.0, abs=1e-6
    )


def test_between_two_places_matching_owes_each_its_share():
    # 10 px are 1.25 places: 0.75 of place 1 and 0.25 of place 2. Held equally likely they cost ln 2 in columns 0 and
    # 1. Of column 2 only place 1 is left, sure, and counts 0.75; column 3 loses both.
    truth = torch.zeros(1, 2, 8, 32)
    truth[:, 0] = 10.0
    scores = matched({(1, 0): 0.5, (2, 0): 0.5}, width=4, height=1)
    expected = (1.0 * math.log(2) + 1.0 * math.log(2) + 0.75 * 0.0) / (1.0 + 1.0 + 0.75)
    found = matching_loss(scores, truth, torch.ones(1, 1, 8, 32), (1, 4)).item()
    assert found == pytest.approx(expected, abs=1e-5)


def test_where_there_is_no_motion_to_find_matching_costs_nothing():
    scores = torch.randn(2, 24, 24)
    truth, nowhere = torch.randn(2, 2, 32, 48), torch.zeros(2, 1, 32, 48)
    assert matching_loss(scores, truth, nowhere, (4, 6)).item() == 0.0


def test_a_networks_scores_are_part_of_its_loss():
    truth, weight = torch.zeros(1, 2, 32, 48), torch.ones(1, 1, 32, 48)
    flows = (torch.zeros(1, 2, 4, 6), torch.zeros(1, 2, 8, 12))
    alone = flow_loss(Predictions(flows), truth, weight)
    scores = torch.zeros(1, 24, 24)  # every one of 24 places equally likely: ln 24
    both = flow_loss(Predictions(flows, None, scores), truth, weight)
    assert both["matching"].item() == pytest.approx(math.log(24), abs=1e-5)
    assert (both["loss"] - alone["loss"]).item() == pytest.approx(MATCHING_WEIGHT * math.log(24), abs=1e-5)
