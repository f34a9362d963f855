"""The box head: its examples, its loss, and that it learns and exports."""

import json
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch")

from flow import boxtrain  # noqa: E402
from flow.__main__ import MISTAKE, OK, main  # noqa: E402
from flow.boxcarry import SIDE, load_carrier  # noqa: E402  # torch first, or none of this
from flow.boxdata import (  # noqa: E402
    Examples,
    Mixture,
    Pool,
    _elsewhere,
    altered,
    draw_examples,
    join,
    mirrored,
    moved_people,
    search_box,
)
from flow.boxhead import BoxHead, Matching, box_loss, overlaps  # noqa: E402
from flow.boxtrain import PARITY, BoxRecipe, export, load_checkpoint, planes, split, to_onnx, train  # noqa: E402
from flow.packs import Pack, write_pack  # noqa: E402
from flow.pairs import Drawer, Pair  # noqa: E402


@pytest.fixture(autouse=True)
def few_textures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing 64 surfaces takes two seconds, four do here."""
    monkeypatch.setattr(boxtrain, "Drawer", partial(Drawer, textures=4))


def walk() -> Pair:
    """Two people of 20 x 40 px: number 1 goes 6 px to the right, number 2 comes 2 px down and half is covered."""
    rng = np.random.default_rng(0)
    before = rng.integers(0, 256, (96, 160, 3), dtype=np.uint8)
    people, flow = np.zeros((96, 160), np.uint8), np.zeros((96, 160, 2), np.float32)
    hidden = np.zeros((96, 160), np.bool_)
    people[20:60, 30:50], flow[20:60, 30:50] = 1, (6, 0)
    people[30:70, 100:120], flow[30:70, 100:120] = 2, (0, 2)
    hidden[30:50, 100:120] = True
    people[0:5, 0:5] = 3  # too small to learn from
    return Pair(before, np.roll(before, 6, axis=1), flow, hidden, people)


def test_boxes_are_around_the_mask_and_around_where_it_went():
    people = moved_people(walk())
    assert_array_equal(people.before, [[30, 20, 50, 60], [100, 30, 120, 70]])
    assert_array_equal(people.after, [[36, 20, 56, 60], [100, 32, 120, 72]])
    assert people.seen.tolist() == [1.0, 0.5]


def test_a_pair_without_people_gives_no_examples():
    pair = walk()
    empty = Pair(pair.before, pair.after, pair.flow, pair.hidden, np.zeros_like(pair.people))
    assert len(moved_people(empty).seen) == 0
    assert len(draw_examples(np.random.default_rng(0), empty, Mixture())) == 0


def test_the_truth_of_an_example_is_the_persons_motion():
    # 6 px of a box of about 20 px, which is half a crop wide: 6 / 40 of the crop, less for a box given larger.
    pair = walk()
    found = []
    for seed in range(40):
        made = draw_examples(
            np.random.default_rng(seed), pair, Mixture(drawn_motion=0, still_picture=0, gone=0)
        )
        shift = (made.truth[:, :2] + made.truth[:, 2:]) / 2 - 0.5
        found.append(shift[np.argmax(np.abs(shift).sum(axis=1))])
    assert 6 / 40 * 0.8 < np.abs(np.median(np.abs(found), axis=0))[0] < 6 / 40 * 1.1
    assert {np.sign(x) for x, _ in found} == {-1.0, 1.0}  # half are mirrored


def test_the_box_can_be_found_again_where_the_truth_says():
    """Slow twin: the crop pixels around the truth are those around the target, a whole pair being shifted."""
    rng = np.random.default_rng(5)
    before = rng.integers(0, 256, (12, 20, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    people = np.zeros((96, 160), np.uint8)
    people[32:64, 64:96] = 1
    flow = np.tile(np.array([8, -4], np.float32), (96, 160, 1))
    pair = Pair(before, np.roll(before, (-4, 8), axis=(0, 1)), flow, np.zeros((96, 160), np.bool_), people)
    made = draw_examples(rng, pair, Mixture(drawn_motion=0, still_picture=0, gone=0))
    dx, dy = np.round(((made.truth[0, :2] + made.truth[0, 2:]) / 2 - 0.5) * SIDE).astype(int)
    inner = slice(20, 44)
    moved = made.searches[0, 20 + dy : 44 + dy, 20 + dx : 44 + dx].astype(int)
    assert np.abs(moved - made.targets[0, inner, inner]).mean() < 30
    assert np.abs(made.searches[0, inner, inner].astype(int) - made.targets[0, inner, inner]).mean() > 30


def test_motion_is_that_of_the_paper():
    # Laplace of scale 1/5 and 1/15: the mean distance from the middle is the scale (cut at 0.7: 0.18).
    rng, later = np.random.default_rng(0), np.array([[100.0, 100, 140, 180]])
    starts = np.concatenate([search_box(rng, later) for _ in range(4000)])
    shift = (
        ((later[:, :2] + later[:, 2:]) - (starts[:, :2] + starts[:, 2:]))
        / 2
        / (starts[:, 2:] - starts[:, :2])
    )
    growth = (later[:, 2:] - later[:, :2]) / (starts[:, 2:] - starts[:, :2])
    assert np.abs(shift).mean() == pytest.approx(0.2, abs=0.02) and np.abs(shift).max() <= 0.7 + 1e-9
    assert np.abs(growth - 1).mean() == pytest.approx(1 / 15, abs=0.005)
    assert growth.min() >= 0.6 - 1e-9 and growth.max() <= 1.4 + 1e-9


def test_altered_boxes():
    # 20 x 40 about (20, 30): a tenth of the size to the right, 1.5 times as high.
    box = np.array([[10.0, 10, 30, 50]])
    assert_allclose(altered(box, np.array([0.1, 0]), np.array([1, 1.5])), [[12, 0, 32, 60]])


def test_a_mirrored_example():
    targets, searches = np.zeros((2, 1, SIDE, SIDE, 3), np.uint8)
    searches[0, :, 40:] = 9
    _, other, truth = mirrored(targets, searches, np.array([[0.625, 0.2, 1.0, 0.8]], np.float32))
    assert_allclose(truth, [[0, 0.2, 0.375, 0.8]], atol=1e-6)
    assert (other[0, :, :24] == 9).all() and (other[0, :, 24:] == 0).all()


def test_what_is_gone_is_not_present():
    made = join([draw_examples(np.random.default_rng(s), walk(), Mixture(gone=1.0)) for s in range(10)])
    assert not made.present.any()


def test_the_pool_gives_old_and_new_examples():
    numbered = (
        Examples(
            np.full((2, SIDE, SIDE, 3), number, np.uint8),
            np.zeros((2, SIDE, SIDE, 3), np.uint8),
            np.zeros((2, 4), np.float32),
            np.ones(2, np.bool_),
        )
        for number in range(100)
    )
    pool = Pool(numbered, 10, np.random.default_rng(0))
    seen = [set(pool.batch(6, fresh=2).targets[:, 0, 0, 0].tolist()) for _ in range(20)]
    assert max(seen[0]) <= 5 and max(max(some) for some in seen) >= 20


def test_the_same_seed_draws_the_same_examples():
    first, second = (
        draw_examples(rng, Drawer(rng, surveillance=1.0, textures=4).draw(96, 128), Mixture())
        for rng in (np.random.default_rng(7), np.random.default_rng(7))
    )
    assert_array_equal(first.searches, second.searches)
    assert_array_equal(first.truth, second.truth)


def test_overlap_of_boxes():
    # 2 x 2 against the same one shifted by 1: 2 shared of 4 + 4 - 2.
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]])
    others = torch.tensor([[1.0, 0, 3, 2], [5, 5, 6, 6]])
    assert overlaps(boxes, others).tolist() == pytest.approx([1 / 3, 0])


def test_the_loss_by_hand():
    boxes = torch.tensor([[0.25, 0.25, 0.75, 0.75], [0.0, 0, 1, 1]])
    truth = torch.tensor([[0.35, 0.25, 0.85, 0.75], [0.4, 0.4, 0.5, 0.5]])
    # The first is off by 0.1 + 0.1, times 10; the second shows nothing and only its trust counts. Trust 1/2 in all:
    # the cross-entropy is log 2 whatever the overlap.
    loss = box_loss(boxes, torch.zeros(2), truth, torch.tensor([True, False]))
    assert loss.item() == pytest.approx(2.0 + np.log(2), abs=1e-5)


def test_nothing_present_leaves_only_trust_in_the_loss():
    boxes = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    loss = box_loss(boxes, torch.tensor([-20.0]), boxes, torch.tensor([False]))
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_matching_finds_a_shift():
    """Features that occur once each, moved by 3 cells right and 2 up, are found there."""
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(1, 48, 16, 16, generator=generator)
    matching = Matching()
    matching.sharpness.data.fill_(np.log(60.0))
    shifts, peak = matching(before, torch.roll(before, (-2, 3), dims=(2, 3)))
    inner = shifts[0, :, 3:13, 3:12]
    assert_allclose(inner[0].detach(), 3 / 16, atol=1e-3)
    assert_allclose(inner[1].detach(), -2 / 16, atol=1e-3)
    assert peak[0, 0, 3:13, 3:12].min() > 0.9


def test_matching_is_its_naive_loop():
    generator = torch.Generator().manual_seed(1)
    before, after = torch.randn(2, 1, 48, 16, 16, generator=generator).unbind()
    matching = Matching()
    shifts, _ = matching(before, after)
    row, column = 5, 11
    mean = torch.cat([before, after], dim=3).mean(dim=(2, 3), keepdim=True)  # of both pictures
    before, after = before - mean, after - mean
    mine = before[0, :, row, column] / before[0, :, row, column].norm()
    logits, places = [], []
    for y in range(16):
        for x in range(16):
            other = after[0, :, y, x] / after[0, :, y, x].norm()
            logits.append(
                mine @ other * matching.sharpness.exp() + matching.prior[y - row + 15, x - column + 15]
            )
            places.append(((x - column) / 16, (y - row) / 16))
    mean = torch.stack(logits).softmax(0) @ torch.tensor(places)
    assert_allclose(shifts[0, :, row, column].detach(), mean.detach(), atol=1e-5)


def test_the_network_is_small_and_its_shapes_are_as_said():
    network = BoxHead().eval()
    assert sum(one.numel() for one in network.parameters()) < 600_000
    boxes, trust = network(torch.rand(3, 3, SIDE, SIDE), torch.rand(3, 3, SIDE, SIDE))
    assert boxes.shape == (3, 4) and trust.shape == (3,)
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_it_learns_one_batch_by_heart():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    drawer = Drawer(rng, surveillance=1.0, textures=4)
    batch = join([draw_examples(rng, drawer.draw(96, 128), Mixture(gone=0)) for _ in range(3)])
    network = BoxHead()
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3)
    inputs = planes(batch.targets), planes(batch.searches)
    truth, present = torch.from_numpy(batch.truth), torch.from_numpy(batch.present)
    losses = []
    for _ in range(25):
        loss = box_loss(*network(*inputs), truth, present)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_training_from_a_pack_to_a_carrier(tmp_path: Path):
    write_pack(tmp_path / "packs" / "000", repeat(walk()), 3, {})
    recipe = BoxRecipe(steps=2, batch=4, drawn=0.0)
    first, second = (train(recipe, [tmp_path / "packs"], tmp_path / name, pool=12) for name in ("a", "b"))
    for one, other in zip(
        load_checkpoint(first).parameters(), load_checkpoint(second).parameters(), strict=True
    ):
        # The last bit of a sum may hang on where its numbers lie in memory; a step is as long for the least gradient.
        assert (one - other).abs().mean() < 0.01 * recipe.learning_rate
    assert [one["step"] for one in json.loads((tmp_path / "a" / "log.json").read_text())] == [2]
    export(first, tmp_path / "head.onnx")
    pair = walk()
    moved, trust = load_carrier(str(tmp_path / "head.onnx")).carry(
        pair.before, pair.after, [[30, 20, 50, 60]]
    )
    assert moved.shape == (1, 4) and np.isfinite(moved).all() and 0 < trust[0] < 1


def test_an_export_has_the_same_bytes_each_time():
    torch.manual_seed(0)
    network = BoxHead().eval()
    assert to_onnx(network) == to_onnx(network)


def test_an_export_says_what_the_network_says(tmp_path: Path):
    """Slow twin of `parity`: other pictures, a trained network's unequal statistics, and crops of one colour."""
    torch.manual_seed(1)
    network = BoxHead()
    rng = np.random.default_rng(2)
    pictures = rng.integers(0, 256, (2, 7, SIDE, SIDE, 3), dtype=np.uint8)
    pictures[0, 0], pictures[1, 1], pictures[:, 2] = 0, 255, 0
    for _ in range(3):  # the norms gather statistics
        network.train()(planes(pictures[0]), planes(pictures[1]))
    (tmp_path / "head.onnx").write_bytes(to_onnx(network))
    session = load_carrier(str(tmp_path / "head.onnx"))._session
    found, sure = session.run(["boxes", "trust"], {"targets": pictures[0], "searches": pictures[1]})
    with torch.no_grad():
        boxes, trust = network.eval()(planes(pictures[0]), planes(pictures[1]))
    assert_allclose(found, boxes, atol=PARITY)
    assert_allclose(sure, trust.sigmoid(), atol=PARITY)
    assert network.training is False and next(network.parameters()).requires_grad  # left as it was


def test_an_export_that_differs_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(boxtrain, "parity", lambda running, data: 0.5)
    with pytest.raises(ValueError, match=r"differs from the network by 0\.5"):
        to_onnx(BoxHead())


def test_black_crops_give_a_finite_loss_and_gradient():
    """Features of one colour have no direction: their length is 0."""
    network, nothing = BoxHead(), torch.zeros(2, 3, SIDE, SIDE)
    boxes, trust = network(nothing, nothing)
    loss = box_loss(boxes, trust, torch.tensor([[0.25, 0.25, 0.75, 0.75]] * 2), torch.tensor([True, False]))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(one.grad).all() for one in network.parameters())


def test_what_is_elsewhere_is_not_in_the_crop():
    # A search region of two boxes reaches one box to each side; the thing begins half a box before its own middle.
    picture, around = walk().before, np.array([[30.0, 20, 50, 60]])
    for seed in range(200):
        seen, away = _elsewhere(np.random.default_rng(seed), picture, around)
        if seen is picture:
            assert (np.abs((away - around)[0, :2]) / [20, 40]).max() >= 1.6 - 1e-9


def test_pairs_without_people_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The pool used to wait for them for ever."""
    monkeypatch.setattr(boxtrain, "NOBODY", 20)
    pair = walk()
    empty = replace(pair, people=np.zeros_like(pair.people))
    write_pack(tmp_path / "pack", repeat(empty), 3, {})
    with pytest.raises(ValueError, match="show nobody: give packs with people"):
        train(BoxRecipe(drawn=0.0), [tmp_path / "pack"], tmp_path / "out")


def test_what_was_said_on_the_way_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(boxtrain, "REPORT", 2)
    write_pack(tmp_path / "pack", repeat(walk()), 3, {})
    steps = []
    recipe = BoxRecipe(steps=3, batch=16, drawn=0.0)
    train(recipe, [tmp_path / "pack"], tmp_path / "out", pool=1, told=lambda *said: steps.append(said))
    assert [(step, progress) for step, progress, _ in steps] == [(1, 0), (2, 1 / 3), (3, 2 / 3)]
    log = json.loads((tmp_path / "out" / "log.json").read_text())
    assert [one["step"] for one in log] == [2, 3] and set(log[0]) >= {"loss", "overlap"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["checkpoint.pt", "log.json"]


def test_a_run_of_no_time_is_the_network_it_began_with(tmp_path: Path):
    write_pack(tmp_path / "pack", repeat(walk()), 3, {})
    found = train(BoxRecipe(drawn=0.0, batch=4), [tmp_path / "pack"], tmp_path, minutes=1e-9, pool=4)
    kept = load_checkpoint(found)
    torch.manual_seed(0)
    assert torch.equal(kept.last.weight, BoxHead().last.weight)


def test_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(boxtrain, "train", partial(train, pool=4))
    write_pack(tmp_path / "pack", repeat(walk()), 3, {})
    made, out = tmp_path / "head.onnx", tmp_path / "out"
    arguments = ["train-box", "--packs", str(tmp_path / "pack"), "--out", str(out), "--drawn", "0"]
    assert main([*arguments, "--steps", "1", "--batch", "4", "--export", str(made)]) == OK
    assert capsys.readouterr().out.split() == [str(out / "checkpoint.pt"), str(made)]
    assert load_carrier(str(made)).name
    assert main([*arguments, "--export", str(tmp_path / "nowhere" / "head.onnx")]) == MISTAKE
    assert "flow train-box: there is no folder" in capsys.readouterr().err
    assert main(["train-box", "--packs", str(out), "--out", str(out)]) == MISTAKE
    assert "holds no pairs" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments[:-1], "1.5"])
    assert "from 0 to 1" in capsys.readouterr().err


def test_some_pairs_are_held_out(tmp_path: Path):
    write_pack(tmp_path, repeat(walk()), 6, {})
    learned, held = split([Pack(tmp_path)], np.random.default_rng(0))
    assert (len(learned), len(held)) == (5, 1)  # 4 % of 6, rounded up
    assert split([], np.random.default_rng(0)) == ([], [])


def test_a_folder_without_packs_is_said(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="holds no pairs"):
        train(BoxRecipe(), [tmp_path], tmp_path / "out")


def test_another_file_is_no_checkpoint(tmp_path: Path):
    torch.save({"weights": {}}, tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("text")
    (tmp_path / "empty.pt").touch()
    for name in ("other.pt", "text.pt", "empty.pt"):
        with pytest.raises(ValueError, match="no checkpoint of the box head"):
            load_checkpoint(tmp_path / name)
