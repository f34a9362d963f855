"""A training learns, ends in time, and goes on where it stopped, whatever stopped it."""

import argparse
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from flow import feed, train  # noqa: E402
from flow.model import search_flow  # noqa: E402
from flow.pairs import Pair  # noqa: E402
from flow.recipe import RECIPES, Recipe, add_arguments, check, from_options, from_table  # noqa: E402
from flow.train import Training, load_network, rate, read_checkpoint  # noqa: E402

SMALL = Recipe(height=32, picture_width=64, small_until=0.0, batch=2, steps=4)


class Shifted:
    """Draws blobs that go ``step`` px to the right and up; remembers the sizes it was asked for."""

    sizes: list = []
    step, blob = 8, 4  # px

    def __init__(self, rng):
        self.rng = rng

    def draw(self, height, width):
        self.sizes.append((height, width))
        step, blob = self.step, self.blob
        coarse = self.rng.integers(0, 256, (height // blob + 6, width // blob + 6, 3)).astype(np.uint8)
        world = cv2.resize(coarse, None, fx=blob, fy=blob, interpolation=cv2.INTER_CUBIC)
        before = world[step : step + height, step : step + width]
        after = world[2 * step : 2 * step + height, :width]
        flow = np.zeros((height, width, 2), np.float32)
        flow[:] = step, -step
        return Pair(before, after, flow, np.zeros((height, width), bool), np.zeros((height, width), np.uint8))


@pytest.fixture(autouse=True)
def shifted(monkeypatch):
    monkeypatch.setattr(Shifted, "sizes", [])
    monkeypatch.setattr(feed, "Drawer", Shifted)


def training(recipe=SMALL, steps=0):
    made = Training(recipe, kept=8)
    for _ in range(steps):
        made.step()
    return made


def run(recipe, out, **more):
    """`train.train`, and the steps it told of."""
    steps = []
    path = train.train(recipe, out, told=lambda step, progress, smooth: steps.append(step), **more)
    return path, steps


def same(one, other):
    states = [net.state_dict() for net in (one, other)]
    return all(torch.equal(a, b) for a, b in zip(*(state.values() for state in states), strict=True))


# --- learning


class Far(Shifted):
    """Blobs of 8 px that go 16 px, one place of 1/16: too far for the search, which is lost there."""

    step, blob = 16, 8


def test_sixty_steps_find_more_than_the_search_and_than_that_something_moves(monkeypatch):
    """Pairs are mirrored, so that no constant answer is better than none: what is found, the pictures told."""
    monkeypatch.setattr(feed, "Drawer", Far)
    monkeypatch.setattr(feed, "STRANGERS", 0.0)
    monkeypatch.setattr(feed, "BLACK", 0.0)
    recipe = Recipe(
        height=96, picture_width=128, small_until=0.0, batch=2, steps=60, learning_rate=3e-3, seed=0
    )
    made = Training(recipe, kept=32)
    said = [made.step() for _ in range(60)]
    before, after, truth, _ = made._fed().batch(8, 1)
    searched = (search_flow(before, after, made.network.search) - truth).square().sum(dim=1).sqrt().mean()
    still = 16 * 2**0.5  # px that an answer of 0 is off by: 22.6
    assert np.mean([one["epe"] for one in said[-10:]]) < 0.7 * min(still, searched.item())
    assert all(np.mean([one[name] for one in said[-10:]]) < 0.7 * still for name in ("epe0", "epe1"))
    assert np.mean([one["loss"] for one in said[-10:]]) < 0.7 * np.mean([one["loss"] for one in said[:5]])


def test_a_flownet_trains_with_its_own_weights():
    recipe = Recipe(network="flownets", width=1 / 16, height=64, picture_width=64, small_until=0.0, batch=1)
    said = training(recipe).step()
    assert {"loss", "epe", "epe0", "epe3"} <= set(said) and "trust" not in said
    assert all(np.isfinite(value) for value in said.values())


def test_the_same_seed_trains_the_same_network():
    one, again, other = (training(replace(SMALL, seed=seed), 2) for seed in (0, 0, 1))
    assert same(one.network, again.network) and not same(one.network, other.network)


def test_the_average_of_the_first_steps_is_their_mean():
    made = training()
    seen = []
    for _ in range(3):
        made.step()
        seen.append(made.network.pyramid.fine.weight.detach().clone())
    assert torch.allclose(made.average.pyramid.fine.weight, torch.stack(seen).mean(dim=0), atol=1e-6)
    assert made.average.pyramid.stem[0][1].num_batches_tracked == 3  # a counter is copied


def test_an_average_moves_by_its_share_at_least():
    made = training(replace(SMALL, average=0.75), 1)
    before = made.average.pyramid.fine.weight.clone()
    made.step()
    after = 0.25 * before + 0.75 * made.network.pyramid.fine.weight
    assert torch.allclose(made.average.pyramid.fine.weight, after, atol=1e-6)
    assert not made.average.training and made.network.training


def test_only_matrices_decay():
    for group in training().optimiser.param_groups:
        assert {p.ndim >= 2 for p in group["params"]} == {group["weight_decay"] > 0.0}


def test_pictures_are_small_at_first():
    made = Training(replace(SMALL, height=96, picture_width=192, small_until=0.5), kept=4)
    for _ in range(4):
        made.step()
    # Two thirds of 96 x 192 for the first half of four steps.
    assert set(Shifted.sizes[:4]) == {(64, 128)} and Shifted.sizes[-1] == (96, 192)


def test_small_pictures_stay_multiples():
    # Two thirds of 32 x 160 are 21 x 107; these are nearest to 32 and to 96.
    Training(replace(SMALL, picture_width=160, small_until=1.0), kept=2).step()
    assert set(Shifted.sizes) == {(32, 96)}


def test_training_that_diverges_says_so():
    made = training()
    with torch.no_grad():
        made.network.fine.say.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="diverged at step 0: give a lower --learning-rate"):
        made.step()


# --- how far the run is


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine():
    assert rate(0.05, 0.1) == pytest.approx(0.5)
    assert rate(0.1, 0.1) == pytest.approx(1.0)
    assert rate(0.55, 0.1) == pytest.approx(0.01 + 0.99 / 2)  # half of the way down
    assert rate(1.0, 0.1) == pytest.approx(0.01)
    assert 0.0 < rate(0.0, 0.1) <= 1e-3  # the first step is a step, too
    assert rate(0.0, 0.0) == 1.0


def test_the_rate_has_one_summit():
    rates = np.array([rate(progress, 0.2) for progress in np.linspace(0, 1, 101)])
    assert (np.diff(rates[:21]) > 0).all() and (np.diff(rates[20:]) < 0).all()
    assert rates.max() == 1.0 and rates.argmax() == 20


def test_each_step_has_its_rate():
    made = training(replace(SMALL, learning_rate=0.01, warm_up=0.5, steps=4))
    seen = []
    for _ in range(4):
        made.step()
        seen.append(made.optimiser.param_groups[0]["lr"])
    # Up to a half, then along a cosine: at 3/4 half of the way down to 0.01.
    assert seen == pytest.approx([1e-5, 0.005, 0.01, 0.01 * (0.01 + 0.99 / 2)])


def test_progress_is_of_steps_or_of_time_whichever_is_more():
    made = training(replace(SMALL, steps=10, minutes=2.0))
    made.steps, made.spent_s = 3, 12.0
    assert made.progress == pytest.approx(3 / 10)  # 12 of 120 s are a tenth
    made.spent_s = 60.0
    assert made.progress == pytest.approx(60 / 120)
    made.spent_s = 500.0
    assert made.progress == 1.0
    made.recipe = replace(made.recipe, minutes=0.0)
    assert made.progress == pytest.approx(3 / 10)


def test_a_run_of_minutes_ends_in_time(tmp_path):
    _, steps = run(replace(SMALL, steps=10**9, minutes=1e-6), tmp_path)
    assert steps == [1]


# --- checkpoints


def test_what_is_restored_is_what_was_saved(tmp_path):
    made = training(steps=2)
    made.save(tmp_path / "last.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    others = [training(replace(SMALL, seed=5)) for _ in range(2)]
    for other in others:
        other.restore(tmp_path / "last.pt")
        assert same(other.network, made.network) and same(other.average, made.average)
        assert (other.steps, other.spent_s) == (2, made.spent_s)
        for mine, theirs in zip(made.network.parameters(), other.network.parameters()):
            moments = [
                one.state[p]["exp_avg"] for one, p in ((made.optimiser, mine), (other.optimiser, theirs))
            ]
            assert torch.equal(*moments)
    # They go on alike: so are the pairs that follow.
    assert others[0].step() == others[1].step() and others[0].steps == 3
    assert same(others[0].network, others[1].network)


def test_a_run_goes_on_where_it_ended(tmp_path):
    path, steps = run(replace(SMALL, steps=2), tmp_path)
    assert path == tmp_path / "last.pt" and steps == [1, 2]
    assert run(replace(SMALL, steps=4), tmp_path)[1] == [3, 4]
    written = read_checkpoint(path)
    assert written["steps"] == 4 and written["recipe"] == asdict(replace(SMALL, steps=4))
    assert run(replace(SMALL, steps=4), tmp_path)[1] == []


def test_a_resumed_run_sees_other_pairs_than_the_first_ones(tmp_path):
    first = training(steps=1)
    first.save(tmp_path / "last.pt")
    again = training()
    again.restore(tmp_path / "last.pt")
    again.step()
    kept = [made._feed._kept.pictures for made in (first, again)]
    assert not (kept[0] == kept[1]).all()


def test_an_interrupted_run_has_kept_what_it_had_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "SAVE_EVERY_S", -1.0)  # after every step

    def impatient(step, progress, smooth):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train(SMALL, tmp_path, told=impatient)
    assert read_checkpoint(tmp_path / "last.pt")["steps"] == 2
    assert run(SMALL, tmp_path)[1] == [3, 4]


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    made = training(steps=1)
    made.save(tmp_path / "last.pt")

    def full_disk(state, path):
        path.write_bytes(b"half of it")
        raise OSError("no space left on device")

    made.step()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(torch, "save", full_disk)
        made.save(tmp_path / "last.pt")
    assert read_checkpoint(tmp_path / "last.pt")["steps"] == 1


def test_losses_are_told_smoothed(tmp_path):
    told = []
    train.train(replace(SMALL, steps=2), tmp_path, told=lambda *said: told.append((*said[:2], dict(said[2]))))
    assert [one[:2] for one in told] == [(1, 0.5), (2, 1.0)]
    again = training(replace(SMALL, steps=2))
    again.kept = 256  # as many as `train` keeps
    raw = [again.step()["loss"] for _ in range(2)]
    assert told[0][2]["loss"] == pytest.approx(raw[0])
    assert told[1][2]["loss"] == pytest.approx(0.99 * raw[0] + 0.01 * raw[1])


def test_what_is_loaded_is_the_average_ready_to_run(tmp_path):
    made = training(steps=3)
    made.save(tmp_path / "last.pt")
    network, recipe = load_network(tmp_path / "last.pt")
    assert recipe == SMALL and not network.training
    assert same(network, made.average) and not same(network, made.network)


def test_a_run_begins_with_the_weights_of_another(tmp_path):
    first, _ = run(replace(SMALL, steps=2), tmp_path / "first")
    averaged, _ = load_network(first)
    slow = replace(SMALL, steps=1, learning_rate=1e-12, weight_decay=0.0)
    second, steps = run(slow, tmp_path / "second", start=first)
    assert steps == [1]
    begun, _ = load_network(second)
    assert torch.allclose(begun.pyramid.fine.weight, averaged.pyramid.fine.weight, atol=1e-9)
    # Where the folder has a checkpoint, that one counts.
    third, steps = run(replace(SMALL, steps=2), tmp_path / "second", start=tmp_path / "gone.pt")
    assert steps == [2]


# --- checkpoints that are none


def spoilt(tmp_path, **changed):
    """A checkpoint with something else in it; None takes a part away."""
    made = training()
    made.save(tmp_path / "last.pt")
    state = torch.load(tmp_path / "last.pt", weights_only=True) | changed
    torch.save({name: part for name, part in state.items() if part is not None}, tmp_path / "last.pt")
    return tmp_path / "last.pt"


def test_no_file_and_no_checkpoint_are_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*gone\.pt"):
        read_checkpoint(tmp_path / "gone.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint: .") as told:
        read_checkpoint(tmp_path / "text.pt")
    assert "\n" not in str(told.value)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="no checkpoint of this trainer"):
        read_checkpoint(tmp_path / "list.pt")
    with pytest.raises(ValueError, match="no checkpoint of this trainer"):
        read_checkpoint(spoilt(tmp_path, average=None))


def test_a_checkpoint_that_is_cut_off_is_refused(tmp_path):
    path = spoilt(tmp_path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        train.train(SMALL, tmp_path)


def test_a_checkpoint_that_would_run_code_is_not_opened(tmp_path):
    torch.save(
        {"recipe": {}, "network": {}, "average": {}, "more": argparse.Namespace()}, tmp_path / "last.pt"
    )
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / "last.pt")


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (replace(SMALL, network="base"), "of base of width 1, not of tiny of width 1: give another --out"),
        (replace(SMALL, width=0.5), "of tiny of width 0.5, not of tiny of width 1: give another --out"),
    ],
)
def test_a_run_does_not_go_on_with_another_network(tmp_path, recipe, said):
    spoilt(tmp_path, recipe=asdict(recipe))
    with pytest.raises(ValueError, match=said):
        train.train(SMALL, tmp_path)


def test_a_recipe_of_another_version_is_refused(tmp_path):
    path = spoilt(tmp_path, recipe=asdict(SMALL) | {"moonlight": 3})
    with pytest.raises(ValueError, match="no recipe has a 'moonlight': the file was made by another version"):
        load_network(path)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    """They used to end in a traceback where a training went on or began with them."""
    others = train.build("base").state_dict()
    said = "does not hold the weights of tiny"
    path = spoilt(tmp_path, network=others, average=others)
    with pytest.raises(ValueError, match=said):
        load_network(path)
    with pytest.raises(ValueError, match=said):
        train.train(SMALL, tmp_path)
    with pytest.raises(ValueError, match=said):
        train.train(SMALL, tmp_path / "new", start=path)


def test_an_adapted_network_is_a_start_and_nothing_to_go_on_with(tmp_path):
    path = spoilt(tmp_path, optimiser=None)  # as adapting leaves it
    with pytest.raises(ValueError, match="holds no optimiser to go on with: begin with it as --start"):
        train.train(SMALL, tmp_path)
    assert run(replace(SMALL, steps=1), tmp_path / "new", start=path)[1] == [1]


# --- recipes


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"steps": 0}, "at least 1 step"),
        ({"batch": 0}, "at least 1 step"),
        ({"minutes": -1.0}, "minutes of at least 0"),
        ({"learning_rate": 0.0}, "learning rate above 0"),
        ({"learning_rate": float("nan")}, "learning rate above 0"),
        ({"warm_up": 1.0}, r"warm-up in \[0, 1\)"),
        ({"average": 0.0}, r"average in \(0, 1\]"),
        ({"pack_share": 1.5}, "pack_share lies between 0 and 1"),
        ({"shown": 0.5}, "shown at least once"),
    ],
)
def test_what_cannot_be_is_said(changed, said):
    with pytest.raises(ValueError, match=said):
        Training(replace(SMALL, **changed))


def test_sides_fit_the_network():
    with pytest.raises(ValueError, match="tiny takes pictures whose sides are multiples of 32 px"):
        Training(replace(SMALL, height=48))
    with pytest.raises(ValueError, match="flownets takes pictures whose sides are multiples of 64 px"):
        Training(replace(SMALL, network="flownets", width=1 / 16, height=96, picture_width=64))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be(name):
    check(RECIPES[name])
    multiple = 64 if name.startswith("flownet") else 32
    assert RECIPES[name].network == name
    assert RECIPES[name].height % multiple == RECIPES[name].picture_width % multiple == 0


def test_options_change_the_recipe_they_name():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert from_options(parser.parse_args([])) == RECIPES["tiny"]
    chosen = from_options(parser.parse_args(["--network", "base", "--batch", "3", "--learning-rate", "0.01"]))
    assert chosen == replace(RECIPES["base"], batch=3, learning_rate=0.01)
    with pytest.raises(ValueError, match="at least 1 step"):
        from_options(parser.parse_args(["--steps", "0"]))


def test_a_recipe_survives_its_checkpoint():
    assert from_table(asdict(RECIPES["base"])) == RECIPES["base"]
    assert from_table({"network": "base"}) == Recipe(network="base")  # an older file knows fewer fields
