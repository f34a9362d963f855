"""Training on four made-up people, who differ in the colour of their clothes."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402  # after the check for torch

from reid import train  # noqa: E402
from reid.datasets import Pictures  # noqa: E402
from reid.model import VARIANTS, BodyPooling, Encoder, GeneralisedMean, ReidNet, Stage  # noqa: E402

RECIPE = train.Recipe(
    network="tiny", minutes=1.0, persons=4, pictures=3, learning_rate=1e-2, site_shares=(1.0, 1.0), hold_out=0
)


def tiny() -> ReidNet:
    encoder = Encoder(stem=8, stages=[Stage(8, 1, 2, half_instance=True), Stage(16, 1, 2)])
    return ReidNet(
        encoder=encoder, pool=BodyPooling(pool=GeneralisedMean()), projection=nn.Linear(3 * encoder.width, 16)
    )


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch):
    monkeypatch.setitem(VARIANTS, "tiny", tiny)


def people(seed=0):
    """4 people x 6 pictures: plain trousers and shirts in a colour of their own, on noise."""
    rng = np.random.default_rng(seed)
    crops = rng.integers(0, 90, (24, 128, 64, 3), dtype=np.uint8)
    ids = np.arange(24) // 6
    colours = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250], [220, 220, 220]], np.uint8)
    for row, person in enumerate(ids):
        crops[row, 24:64, 12:52] = colours[person]
        crops[row, 64:, 16:48] = colours[(person + 1) % 4]
    return Pictures(crops, ids, np.arange(24) % 2), ids // 2


def training(**changes):
    data, sites = people()
    made = train.Training(dataclasses.replace(RECIPE, **changes), data, sites)
    made.network.train()
    return made


def test_training_learns_to_tell_people_apart():
    made = training()
    made.seconds = 6.0  # a tenth of the time: warmed up, triplets count
    first = [made.step()["identity"] for _ in range(3)]
    for _ in range(40):
        last = made.step()
    assert last["identity"] < 0.6 * np.mean(first)
    data, _ = people(seed=9)  # other noise
    made.network.eval()
    rows = train.embed_all(made.network, data.crops)
    cosine = rows @ rows.T
    same = data.ids[:, None] == data.ids[None, :]
    assert cosine[same].mean() > cosine[~same].mean() + 0.3


def test_a_checkpoint_holds_all_that_the_next_step_needs(tmp_path):
    made = training()
    for _ in range(3):
        made.step()
    made.seconds = 12.5
    made.save(tmp_path / "checkpoint.pt")
    resumed = training()
    resumed.restore(tmp_path / "checkpoint.pt")
    assert (resumed.steps, resumed.seconds) == (3, 12.5)
    for name, value in made.network.state_dict().items():
        assert resumed.network.state_dict()[name].equal(value), name
    for name, value in made.average.network.state_dict().items():
        assert resumed.average.network.state_dict()[name].equal(value), name
    # Two that resume go on alike.
    another = training()
    another.restore(tmp_path / "checkpoint.pt")
    assert resumed.step() == another.step()


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    training().save(tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="another recipe"):
        training(learning_rate=5e-3).restore(tmp_path / "checkpoint.pt")


def test_late_batches_bring_look_alikes():
    made = training(persons=2, mine_from=0.5)
    made.seconds = 40.0
    made.step()
    assert made.alike is not None and made.alike.shape == (4, 3)


def test_the_schedule_rises_then_falls_to_zero():
    factors = [train.learning_rate_factor(p, 0.1) for p in (0.0, 0.05, 0.1, 0.55, 1.0, 1.5)]
    assert factors == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0, 0.0])


def test_the_average_starts_at_the_network_and_then_lags():
    network = tiny()
    average = train.Average(network)
    with torch.no_grad():
        network.projection.bias.fill_(1.0)
        average.follow(network)  # the first one is taken whole
        assert average.network.projection.bias.eq(1.0).all()
        network.projection.bias.fill_(3.0)
        average.follow(network)  # then the mean of both: 1 / 2
        assert average.network.projection.bias.eq(2.0).all()


def test_a_run_ends_when_its_time_is_spent_and_leaves_a_checkpoint(tmp_path, monkeypatch):
    data, _ = people()
    monkeypatch.setattr(train, "TRAINING_SETS", ("here", "there"))
    monkeypatch.setattr(train.datasets, "load", lambda folder, name: data.where(data.ids < 3))
    recipe = dataclasses.replace(RECIPE, minutes=0.005, hold_out=1, persons=2)
    checkpoint = train.run(recipe, tmp_path, tmp_path / "out")
    state = torch.load(checkpoint, weights_only=True)
    assert state["seconds"] >= 0.3
    assert len(state["prototypes"]) == 5  # 3 + 3 people, one held out
    steps = state["steps"]
    assert torch.load(train.run(recipe, tmp_path, tmp_path / "out"), weights_only=True)["steps"] == steps
