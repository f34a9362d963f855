"""Training on four made-up people, who differ in the colour of their clothes."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402  # after the check for torch

from reid import train  # noqa: E402
from reid.datasets import Pictures  # noqa: E402
from reid.model import AveragePooling, ReidNet  # noqa: E402
from reid.recipe import LOSSES, MINERS, Recipe  # noqa: E402

RECIPE = Recipe(
    network="tiny",
    start="chance",
    dim=16,
    sets=("here", "there"),
    weights=(1.0, 1.0),
    hold_out=(0, 0),
    height=64,
    width=32,
    steps=60,
    people=4,
    pictures=3,
    learning_rate=1e-2,
    encoder_rate=1.0,
)


class TinyEncoder(nn.Sequential):
    width = 16

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()
        )


def tiny(network: str = "tiny", *, dim: int = 16, pool: str = "body") -> ReidNet:
    return ReidNet(encoder=TinyEncoder(), pool=AveragePooling(), dim=dim)


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch):
    monkeypatch.setattr(train, "build", tiny)


def people(seed=0):
    """4 people x 6 pictures: plain trousers and shirts in a colour of their own, on noise."""
    rng = np.random.default_rng(seed)
    crops = rng.integers(0, 90, (24, 64, 32, 3), dtype=np.uint8)
    ids = np.arange(24) // 6
    colours = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250], [220, 220, 220]], np.uint8)
    for row, person in enumerate(ids):
        crops[row, 12:32, 6:26] = colours[person]
        crops[row, 32:, 8:24] = colours[(person + 1) % 4]
    return Pictures(crops, ids, np.arange(24) % 2), ids // 2


def training(**changes):
    data, sites = people()
    made = train.Training(dataclasses.replace(RECIPE, **changes), data, sites)
    made.network.train()
    return made


def weights(made):
    return torch.cat([value.flatten().double() for value in made.average.network.state_dict().values()])


def test_training_learns_to_tell_people_apart():
    made = training()
    first = [made.step()["identity"] for _ in range(3)]
    while made.steps < made.recipe.steps:
        last = made.step()
    # One of the two people of one's own site: a guess costs ln 2.
    assert last["identity"] < 0.7 * np.mean(first)
    data, _ = people(seed=9)  # other noise
    made.network.eval()
    rows = train.embed_all(made.network, data.crops, (64, 32))
    cosine = rows @ rows.T
    same = data.ids[:, None] == data.ids[None, :]
    assert cosine[same].mean() > cosine[~same].mean() + 0.3


def test_an_interrupted_run_ends_with_the_very_weights_of_one_that_was_not(tmp_path):
    """12 steps in one go, and 5 + 7 through a checkpoint; look-alikes are found at step 4 and used before and after."""
    whole = training(steps=12, mine_from=0.3, miner="easy-to-hard", easy=0.0)
    while whole.progress < 1.0:
        whole.step()
    part = training(steps=12, mine_from=0.3, miner="easy-to-hard", easy=0.0)
    for _ in range(5):
        part.step()
    part.save(tmp_path / "checkpoint.pt")
    rest = training(steps=12, mine_from=0.3, miner="easy-to-hard", easy=0.0)
    rest.restore(tmp_path / "checkpoint.pt")
    assert rest.steps == 5
    while rest.progress < 1.0:
        rest.step()
    assert weights(whole).equal(weights(rest))
    assert whole.prototypes.equal(rest.prototypes)


def test_another_seed_gives_another_network():
    runs = []
    for seed in (0, 0, 1):
        made = training(seed=seed)
        made.step()
        runs.append(weights(made))
    assert runs[0].equal(runs[1])
    assert not runs[0].equal(runs[2])


def test_a_checkpoint_of_another_recipe_or_other_people_is_refused(tmp_path):
    training().save(tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="another recipe"):
        training(learning_rate=5e-3).restore(tmp_path / "checkpoint.pt")
    longer = training(steps=90)  # more steps are no other recipe: the run goes on for longer
    longer.restore(tmp_path / "checkpoint.pt")
    assert longer.progress == 0.0
    spent = training(steps=3)
    spent.steps = 3
    spent.save(tmp_path / "spent.pt")
    with pytest.raises(ValueError, match="another recipe"):  # it has done more than is asked for
        training(steps=2).restore(tmp_path / "spent.pt")
    data, sites = people()
    fewer = train.Training(
        dataclasses.replace(RECIPE, people=2), data.where(data.ids < 3), sites[data.ids < 3]
    )
    fewer.save(tmp_path / "fewer.pt")
    with pytest.raises(ValueError, match="knows 3 people, not 4"):
        training(people=2).restore(tmp_path / "fewer.pt")


def test_what_is_no_checkpoint_is_said_to_be_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        train.read_checkpoint(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        train.read_checkpoint(tmp_path / "text.pt")
    training().save(tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        train.read_checkpoint(tmp_path / "half.pt")
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="no checkpoint of this trainer"):
        train.read_checkpoint(tmp_path / "other.pt")


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "none"])
def test_every_loss_pulls_and_gives_finite_numbers(loss):
    made = training(loss=loss, identity=0.0, easy=0.0)
    before = weights(made)
    said = made.step()
    made.step()
    assert np.isfinite(said[loss])
    assert not weights(made).equal(before)


@pytest.mark.parametrize("miner", MINERS)
def test_every_miner_goes_with_the_triplet_loss(miner):
    made = training(miner=miner, easy=0.0)
    assert np.isfinite(made.step()["triplet"])


def test_the_metric_loss_waits_until_it_is_its_turn():
    made = training(steps=10, easy=0.2)  # 0.0 and 0.1 are before, 0.2 is not
    assert [("triplet" in made.step()) for _ in range(3)] == [False, False, True]


def test_people_of_two_sites_are_not_told_apart_by_the_classifier():
    """With 1 person a site among the classes of its own, the identity loss has nothing left to learn."""
    data, _ = people()
    made = train.Training(
        dataclasses.replace(RECIPE, people=2), data.where(data.ids < 2), data.ids[data.ids < 2]
    )
    made.network.train()
    assert made.step()["identity"] == pytest.approx(0.0, abs=1e-6)


def test_late_batches_bring_look_alikes():
    made = training(people=2, mine_from=0.5)
    made.steps = 40
    made.step()
    assert made.alike is not None and made.alike.shape == (4, 3)
    assert made.alike[:, 0].tolist() == [1, 0, 3, 2]  # of the own site first


def test_the_schedule_rises_then_falls_to_zero():
    factors = [train.learning_rate_factor(p, 0.1) for p in (0.0, 0.05, 0.1, 0.55, 1.0, 1.5)]
    assert factors == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0, 0.0])


def test_the_average_starts_at_the_network_and_then_lags():
    network = tiny()
    average = train.Average(network, 1e-3)
    with torch.no_grad():
        network.projection.bias.fill_(1.0)
        average.follow(network)  # the first one is taken whole
        assert average.network.projection.bias.eq(1.0).all()
        network.projection.bias.fill_(3.0)
        average.follow(network)  # then the mean of both: 1 / 2
        assert average.network.projection.bias.eq(2.0).all()


def test_rows_do_not_depend_on_the_batch_they_came_in():
    network = tiny().eval()
    crops = people()[0].crops
    alone = np.concatenate([train.embed_all(network, crops[i : i + 1], (64, 32)) for i in range(3)])
    assert alone == pytest.approx(train.embed_all(network, crops, (64, 32))[:3], abs=1e-6)


def test_a_run_stops_when_told_goes_on_and_holds_people_out(tmp_path, monkeypatch, capsys):
    data, _ = people()
    monkeypatch.setattr(train.datasets, "read", lambda path, cache=None: data.where(data.ids < 3))
    recipe = dataclasses.replace(RECIPE, steps=6, hold_out=(1, 0), people=2)
    checkpoint = train.run(recipe, tmp_path, tmp_path / "out", stop_after_s=0.0)
    state = train.read_checkpoint(checkpoint)
    assert state["steps"] == 1
    assert len(state["prototypes"]) == 5  # 3 + 3 people, one held out
    train.run(recipe, tmp_path, tmp_path / "out")
    assert train.read_checkpoint(checkpoint)["steps"] == 6
    assert "held-out rank-1, mAP" in capsys.readouterr().err


def test_a_diverged_run_stops():
    """It went on to the end, and its checkpoints replaced the last good one."""
    made = training(steps=6, learning_rate=1e30)
    with pytest.raises(ValueError, match="training diverged at step"):
        for _ in range(6):
            made.step()


@pytest.mark.parametrize("change", [{"network": {}}, {"optimiser": {}}, {"rng": None}])
def test_a_checkpoint_of_another_version_is_refused(tmp_path, change):
    training().save(tmp_path / "c.pt")
    torch.save(train.read_checkpoint(tmp_path / "c.pt") | change, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="not of this trainer's version"):
        training().restore(tmp_path / "c.pt")


@pytest.mark.parametrize("name", ["pku", "market1501_query", "market1501_gallery"])
def test_what_is_for_measuring_is_not_trained_on(tmp_path, name):
    recipe = dataclasses.replace(RECIPE, sets=(name,), weights=(1.0,), hold_out=(0,))
    with pytest.raises(ValueError, match=f"{name} is for measuring"):
        train.load_sets(recipe, tmp_path, None)
