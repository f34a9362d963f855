"""TimeOrder: one stream in capture-time order, whatever the network did."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.core.order import Released, TimeOrder
from tracker.types import Advance, CameraStatus, CameraUpdate, Command, LinkerInput, Tracks

S = 10**9


def update(camera: str, t_s: float, seq: int = 0) -> CameraUpdate:
    nobody = Tracks.of(np.zeros(0), np.zeros((0, 4)), np.zeros(0))
    return CameraUpdate(
        camera_id=camera, run=0, seq=seq, t_ns=round(t_s * S), tracks=nobody, tracklets=(), detected=True
    )


def status(camera: str, t_s: float, state: str) -> CameraStatus:
    return CameraStatus(camera_id=camera, run=0, t_ns=round(t_s * S), state=state)  # type: ignore[arg-type]


def times(released: list[Released]) -> list[tuple[str, float]]:
    return [(getattr(r.message, "camera_id", ""), r.message.t_ns / S) for r in released]


def test_an_update_waits_until_every_open_camera_was_heard_at_or_after_its_time() -> None:
    order = TimeOrder(patience_s=1, cameras=["a", "b"])
    assert order.put(update("a", 1.0)) == []  # b has not been heard at all
    assert order.put(update("a", 2.0)) == []
    # b is heard at 1.5: nothing before 1.5 can come from either camera, so a@1 and b@1.5 go, a@2 waits.
    assert times(order.put(update("b", 1.5))) == [("a", 1.0), ("b", 1.5)]
    assert times(order.put(update("b", 2.0))) == [("a", 2.0), ("b", 2.0)]
    assert order.late == order.impatient == 0


def test_ties_go_by_camera_then_by_seq() -> None:
    order = TimeOrder(patience_s=1, cameras=["a", "b"])
    assert order.put(update("b", 1.0, seq=7)) == []
    assert order.put(update("a", 1.0, seq=9)) != []
    order = TimeOrder(patience_s=1, cameras=["a", "b", "c"])
    order.put(update("b", 1.0, seq=7))
    order.put(update("a", 1.0, seq=9))
    released = order.put(update("c", 1.0, seq=0))
    assert [r.message.camera_id for r in released] == ["a", "b", "c"]  # type: ignore[union-attr]


def test_a_silent_camera_holds_the_others_back_for_patience_only() -> None:
    order = TimeOrder(patience_s=1, cameras=["a", "b"])
    order.advance(10 * S)
    assert order.put(update("a", 9.5)) == []
    assert order.advance(round(10.9 * S)) == []  # waited 0.9 s
    assert times(order.advance(11 * S)) == [("a", 9.5)]  # waited 1.0 s
    assert order.impatient == 1


def test_patience_counts_from_arrival_so_a_wrong_clock_stalls_nobody() -> None:
    order = TimeOrder(patience_s=1, cameras=["a", "b"])
    order.advance(10 * S)
    order.put(update("a", 5000))  # a's clock is an hour ahead
    order.put(update("b", 9.9))
    assert times(order.advance(11 * S)) == [("a", 5000)]


def test_what_comes_late_is_flagged_counted_and_given_at_once() -> None:
    order = TimeOrder(patience_s=1, cameras=["a", "b"])
    order.advance(0)
    order.put(update("a", 5.0))
    assert times(order.advance(S)) == [("a", 5.0)]
    late = order.put(update("b", 4.0))
    assert times(late) == [("b", 4.0)] and late[0].late
    assert order.late == 1
    # b is heard at 6: in time again, but a@6 is missing.
    assert order.put(update("b", 6.0)) == []
    assert [r.late for r in order.put(update("a", 6.0))] == [False, False]


@pytest.mark.parametrize("state", ["stalled", "gone", "ended"])
def test_a_camera_that_says_goodbye_holds_nobody_back(state: str) -> None:
    order = TimeOrder(patience_s=1, cameras=["a", "b"])
    order.put(update("a", 1.0))
    order.put(update("a", 2.0))
    assert times(order.put(status("b", 0.5, state))) == [("b", 0.5), ("a", 1.0), ("a", 2.0)]
    # From here a alone sets the pace, until b is heard again.
    assert times(order.put(update("a", 3.0))) == [("a", 3.0)]
    assert times(order.put(status("b", 2.9, "up")))[0][0] == "b"  # late: a was at 3 already
    assert order.put(update("a", 4.0)) == []  # b was heard at 2.9 only
    assert times(order.put(update("b", 4.0))) == [("a", 4.0), ("b", 4.0)]


def test_with_no_camera_open_everything_passes() -> None:
    order = TimeOrder(patience_s=1)
    assert times(order.put(Advance(t_ns=3 * S))) == [("", 3.0)]
    assert times(order.put(Command(t_ns=4 * S, verb="forget", global_ids=(1,)))) == [("", 4.0)]


def test_commands_and_advances_wait_for_their_time() -> None:
    order = TimeOrder(patience_s=1, cameras=["a"])
    assert order.put(Advance(t_ns=2 * S)) == []
    assert times(order.put(update("a", 1.0))) == [("a", 1.0)]
    assert times(order.put(update("a", 2.0))) == [("", 2.0), ("a", 2.0)]


def test_too_much_held_is_released_early_and_counted() -> None:
    order = TimeOrder(patience_s=1, cameras=["a", "b"], max_held=2)
    assert order.put(update("a", 1.0)) == order.put(update("a", 2.0)) == []
    assert times(order.put(update("a", 3.0))) == [("a", 1.0)]
    assert (order.overflowed, order.impatient, len(order)) == (1, 1, 2)


def test_flush_gives_the_rest_in_order() -> None:
    order = TimeOrder(patience_s=1, cameras=["a", "b", "c"])
    for message in (update("a", 3.0), update("b", 1.0), update("a", 4.0), update("b", 3.0)):
        assert order.put(message) == []
    assert times(order.flush()) == [("b", 1.0), ("a", 3.0), ("b", 3.0), ("a", 4.0)]
    assert len(order) == 0


@st.composite
def interleavings(draw: st.DrawFn) -> tuple[list[list[LinkerInput]], list[int]]:
    """Streams of up to 4 cameras, strictly rising in time, the last word 'ended'; and an order of arrival."""
    streams: list[list[LinkerInput]] = []
    for name in "abcd"[: draw(st.integers(1, 4))]:
        at = sorted(draw(st.sets(st.integers(0, 40), max_size=12)))
        stream: list[LinkerInput] = [update(name, t / 10, seq) for seq, t in enumerate(at)]
        streams.append([*stream, status(name, 5.0 + draw(st.integers(0, 5)) / 10, "ended")])
    turns = draw(st.permutations([i for i, stream in enumerate(streams) for _ in stream]))
    return streams, turns


@given(interleavings())
def test_any_arrival_that_keeps_each_cameras_order_gives_the_same_stream(
    case: tuple[list[list[LinkerInput]], list[int]],
) -> None:
    streams, turns = case
    order = TimeOrder(patience_s=1, cameras="abcd"[: len(streams)])
    waiting = [list(stream) for stream in streams]
    out = [released for turn in turns for released in order.put(waiting[turn].pop(0))]
    assert len(order) == 0  # every camera ended, so nothing is held
    expected = sorted(
        (m for stream in streams for m in stream),
        key=lambda m: (m.t_ns, m.camera_id),  # type: ignore[union-attr]
    )
    assert [id(r.message) for r in out] == [id(m) for m in expected]
    assert not any(r.late for r in out) and order.late == order.impatient == 0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from("abc"), st.integers(0, 30)),
            st.tuples(st.just("advance"), st.just(""), st.integers(0, 100)),
        ),
        max_size=60,
    )
)
def test_nothing_is_ever_lost_doubled_or_out_of_order_unless_flagged(
    script: list[tuple[str, str, int]],
) -> None:
    order = TimeOrder(patience_s=0.5, cameras="ab", max_held=8)
    given_in, out = [], []
    for seq, (verb, camera, t) in enumerate(script):
        if verb == "put":
            given_in.append(update(camera, t / 10, seq))
            out += order.put(given_in[-1])
        else:
            out += order.advance(t * S // 10)
        assert len(order) <= 8
    out += order.flush()
    assert sorted(id(r.message) for r in out) == sorted(id(m) for m in given_in)
    in_time = [(r.message.t_ns, r.message.camera_id, r.message.seq) for r in out if not r.late]  # type: ignore[union-attr]
    assert in_time == sorted(in_time)
    assert order.late == sum(r.late for r in out)
