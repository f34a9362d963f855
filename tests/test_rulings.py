"""What operators have said, for as long as anybody of them is known."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import numpy as np
import pytest

from tracker.core.rulings import Rulings
from tracker.types import TrackKey


def key(letter: str) -> TrackKey:
    return TrackKey(camera_id=letter, run=0, number=1)


def keys(letters: str) -> list[TrackKey]:
    return [key(letter) for letter in letters]


def people(rulings: Rulings) -> list[str]:
    return sorted(letters(person) for person in rulings.people(lambda _: True))


def letters(of: Collection[TrackKey]) -> str:
    return "".join(sorted(k.camera_id for k in of))


def parted(rulings: Rulings) -> list[str]:
    return sorted(a.camera_id + b.camera_id for a, b in rulings.parted())


def test_nobody_has_said_anything():
    rulings = Rulings()
    rulings.forget(key("a"), keys("b"))
    rulings.part([], keys("a"))
    assert people(rulings) == [] and parted(rulings) == [] and rulings.bound_to(keys("a")) == {key("a")}
    assert rulings.name_of(keys("a"), "") == ""


def test_of_two_words_that_contradict_each_other_the_later_one_holds():
    rulings = Rulings()
    rulings.part(keys("b"), keys("ac"))
    assert parted(rulings) == ["ab", "bc"]
    rulings.join([keys("a"), keys("b")])  # of c nothing is said
    assert people(rulings) == ["ab"] and parted(rulings) == ["bc"]
    rulings.part(keys("b"), keys("a"))
    assert people(rulings) == [] and parted(rulings) == ["ab", "bc"]


def test_a_merge_that_is_taken_back_leaves_nothing():
    rulings = Rulings()
    rulings.join([keys("ac"), keys("bd")])
    assert people(rulings) == ["abcd"]
    rulings.part(keys("bd"), keys("ac"))
    assert people(rulings) == []  # that a and c, or b and d, are one was never an operator's word


def test_a_merge_that_is_taken_back_in_part_joins_the_rest():
    rulings = Rulings()
    rulings.join([keys("ac"), keys("bd"), keys("e")])
    rulings.part(keys("cd"), keys("abe"))
    assert people(rulings) == ["abe", "cd"]
    assert parted(rulings) == ["ac", "ad", "bc", "bd", "ce", "de"]


def test_a_merge_within_a_merge_outlives_it():
    rulings = Rulings()
    rulings.join([keys("a"), keys("b")])
    rulings.join([keys("ab"), keys("c")])
    assert people(rulings) == ["abc"] and letters(rulings.bound_to(keys("c"))) == "abc"
    rulings.part(keys("c"), keys("ab"))
    assert people(rulings) == ["ab"]


def test_a_merge_that_turns_out_impossible_is_void_and_earlier_ones_hold():
    rulings = Rulings()
    rulings.join([keys("a"), keys("b")])
    rulings.join([keys("ab"), keys("c")])
    apart = set(keys("bc"))
    assert [letters(p) for p in rulings.people(lambda p: not apart <= set(p))] == ["ab"]
    assert people(rulings) == ["ab"]  # for good


def test_an_heir_stands_for_a_tracklet_that_is_forgotten():
    rulings = Rulings()
    rulings.part(keys("a"), keys("b"))
    rulings.forget(key("a"), keys("xy"))
    assert parted(rulings) == ["bx"]
    rulings.forget(key("b"))  # the whole identity is gone
    assert parted(rulings) == []


def test_an_heir_of_a_merge_is_nobody_whom_it_named_already():
    """Somebody came to a and b later: when a is forgotten, the word must still hold b and the newcomer together."""
    rulings = Rulings()
    rulings.join([keys("a"), keys("b")])
    rulings.forget(key("a"), keys("bx"))
    assert people(rulings) == ["bx"]
    rulings.forget(key("x"), keys("b"))  # only one is left of whom it was said
    assert people(rulings) == []


def test_a_side_with_others_needs_no_heir():
    rulings = Rulings()
    rulings.join([keys("ac"), keys("b")])
    rulings.name(keys("ac"), "Ada")
    rulings.forget(key("a"), keys("xbc"))
    assert people(rulings) == ["bc"] and rulings.name_of(keys("x"), "") == ""


def test_a_name_goes_along_with_the_last_of_those_it_was_given_to():
    rulings = Rulings()
    rulings.name(keys("ab"), "Ada")
    rulings.leave(keys("a"), keys("b"))
    assert (rulings.name_of(keys("a"), ""), rulings.name_of(keys("b"), "Ada")) == ("", "Ada")
    rulings.leave(keys("b"), keys("x"))  # x came later
    assert (rulings.name_of(keys("x"), "Ada"), rulings.name_of(keys("b"), "")) == ("", "Ada")
    rulings.forget(key("b"), keys("c"))
    assert rulings.name_of(keys("c"), "") == "Ada"


def test_of_two_names_the_one_in_use_stays_in_use():
    rulings = Rulings()
    rulings.name(keys("a"), "Ada")
    rulings.name(keys("b"), "Bob")
    assert (rulings.name_of(keys("ab"), "Bob"), rulings.name_of(keys("ab"), "")) == ("Bob", "Ada")
    rulings.name(keys("ab"), "Eve")  # a new name ends both
    rulings.leave(keys("b"), keys("a"))
    assert (rulings.name_of(keys("a"), "Eve"), rulings.name_of(keys("b"), "")) == ("Eve", "")
    rulings.name(keys("a"), "")
    assert rulings.name_of(keys("a"), "Eve") == ""


@pytest.mark.parametrize("seed", range(20))
def test_laws_of_any_sequence_of_words(seed):
    """Beside a slow twin that knows only who is whose now. Nobody is bound and parted; a state comes back as it was."""
    rng = np.random.default_rng(seed)
    rulings, fresh, identities = Rulings(), iter(range(1000)), []
    for _ in range(60):
        identities.append(
            [TrackKey(camera_id="a", run=0, number=next(fresh)) for _ in range(rng.integers(1, 4))]
        )
        match rng.integers(4):
            case 0 if len(identities) > 1:
                chosen = [identities.pop(int(rng.integers(len(identities)))) for _ in range(2)]
                before = rulings.to_state()
                rulings.join(chosen)
                identities.append(sum(chosen, []))
                if rng.random() < 0.5:  # and back
                    rulings.part(chosen[1], chosen[0])
                    assert rulings.to_state()["joined"] == before["joined"]
                    identities[-1:] = chosen
                elif rng.random() < 0.5:
                    left, right = chosen
                    assert rulings.bound_to(left) >= set(right) and rulings.bound_to(right) >= set(left)
            case 1 if len(many := max(identities, key=len)) > 1:
                leaving, staying = many[::2], many[1::2]
                rulings.part(leaving, staying)
                identities[identities.index(many) :] = [
                    *identities[identities.index(many) + 1 :],
                    leaving,
                    staying,
                ]
            case 2:
                somebody = identities[int(rng.integers(len(identities)))]
                gone = somebody.pop(int(rng.integers(len(somebody))))
                rulings.forget(gone, sorted(somebody))
                identities = [one for one in identities if one]
        whose = {k: n for n, one in enumerate(identities) for k in one}
        assert all(len({whose[k] for k in person}) == 1 for person in rulings.people(lambda _: True))
        assert all(whose[a] != whose[b] for a, b in rulings.parted())
        packed = msgspec.msgpack.decode(msgspec.msgpack.encode(rulings.to_state()))
        assert Rulings.from_state(packed).to_state() == rulings.to_state()
    for k in [k for one in identities for k in one]:
        rulings.forget(k)
    assert rulings.to_state() == Rulings().to_state()  # nothing is kept of who is not known
