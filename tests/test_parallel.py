"""Pictures spread over threads: the same answers in the same order, from as many threads as asked for."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tracker.io.parallel import Spread
from tracker.types import Detections


class Numbered:
    """A detector and embedder that answer with the first pixel, and remember who called with how much."""

    model_hash = "h"

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.threads: set[int] = set()

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        self._note(len(images))
        return [Detections.of(np.array([[0, 0, i[0, 0, 0], 1]]), np.ones(1)) for i in images]

    def embed(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self._note(len(crops))
        return np.array([[c[0, 0, 0], 1.0] for c in crops], np.float32).reshape(-1, 2)

    def _note(self, number: int) -> None:
        self.calls.append(number)
        self.threads.add(threading.get_ident())


def pictures(number: int) -> list[NDArray[np.uint8]]:
    return [np.full((2, 2, 3), n, np.uint8) for n in range(number)]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("number", [0, 1, 2, 5, 7])
def test_answers_do_not_depend_on_the_threads(threads, number):
    plain = Numbered()
    with Spread(threads) as spread:
        found = spread.detector(Numbered()).detect(pictures(number))
        rows = spread.embedder(Numbered()).embed(pictures(number))
    assert [d.boxes[0, 2] for d in found] == list(range(number))
    np.testing.assert_array_equal(rows, plain.embed(pictures(number)))


def test_the_network_is_called_from_the_pools_threads_with_equal_parts():
    network = Numbered()
    with Spread(3) as spread:
        spread.embedder(network).embed(pictures(7))
    assert sorted(network.calls) == [1, 3, 3]
    assert threading.get_ident() not in network.threads
    network = Numbered()
    with Spread(2) as spread:
        spread.detector(network).detect(pictures(4))
    assert network.calls == [1, 1, 1, 1] and len(network.threads) <= 2


def test_one_picture_needs_no_thread():
    network = Numbered()
    with Spread(2) as spread:
        spread.detector(network).detect(pictures(1))
        spread.embedder(network).embed(pictures(1))
    assert network.threads == {threading.get_ident()}


def test_two_run_at_once():
    """A barrier lets two calls pass only together."""
    barrier = threading.Barrier(2, timeout=30)

    class Meeting(Numbered):
        def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
            barrier.wait()
            return super().detect(images)

    with Spread(2) as spread:
        assert len(spread.detector(Meeting()).detect(pictures(4))) == 4


def test_an_error_in_a_thread_reaches_the_caller():
    class Broken(Numbered):
        def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
            raise RuntimeError("no such node")

    with Spread(2) as spread, pytest.raises(RuntimeError, match="no such node"):
        spread.detector(Broken()).detect(pictures(3))


def test_the_number_of_threads_is_taken_where_the_system_does_not_tell_its_cores(monkeypatch):
    """On systems without sched_getaffinity the number that was asked for used to be passed over."""
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    network = Numbered()
    with Spread(3) as spread:
        spread.embedder(network).embed(pictures(6))
    assert network.calls == [2, 2, 2]


def test_the_hash_goes_along():
    with Spread(1) as spread:
        assert spread.embedder(Numbered()).model_hash == "h"
