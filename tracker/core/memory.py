"""Who has not been seen for long: one look of each, compared with who comes, in one product of matrices."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.core.appearance import AppearanceModel

F = NDArray[np.float64]

FIRST_ROWS = 64


class People(NamedTuple):
    """What G people look like."""

    ids: NDArray[np.int64]  # (G,)
    looks: NDArray[np.floating]  # (G, D) unit rows
    pictures: F  # (G,) of so many


class Memory:
    """Identities out of sight, each with its mean look; and of all identities, who certainly is not whom."""

    def __init__(self) -> None:
        self._row: dict[int, int] = {}  # by identity
        self._ids = np.zeros(FIRST_ROWS, np.int64)
        self._last_ns = np.zeros(FIRST_ROWS, np.int64)
        self._pictures = np.zeros(FIRST_ROWS)  # 0: of these looks are not known, or of another network
        self._looks = np.zeros((FIRST_ROWS, 0), np.float32)
        self._told: dict[int, bytes] = {}
        self._apart: dict[int, dict[int, bool]] = {}  # whether that is certain

    def __len__(self) -> int:
        return len(self._row)

    def __contains__(self, global_id: int) -> bool:
        return global_id in self._row

    def copy(self) -> Memory:
        """One to be changed while this one stays as it is."""
        return copy.deepcopy(self)

    # ---- who is remembered -----------------------------------------------------------------------------------

    def put(
        self, global_id: int, looks: NDArray[np.floating] | None, pictures: float, last_ns: int, told: bytes
    ) -> None:
        """Remember an identity.

        Args:
            looks: (D,) unit row of what is the person's own, None where not known; of ``pictures``.
            last_ns: when it was seen last.
            told: whatever it takes to bring it back.
        """
        row = self._row.setdefault(global_id, len(self._row))
        if row == len(self._ids):
            self._resize(2 * row, self._looks.shape[1])
        if looks is not None and self._looks.shape[1] != len(looks):
            self._resize(len(self._ids), len(looks))
        self._ids[row], self._last_ns[row], self._told[global_id] = global_id, last_ns, told
        self._looks[row], self._pictures[row] = (0.0, 0.0) if looks is None else (looks, pictures)

    def take(self, global_id: int) -> tuple[bytes, NDArray[np.float32] | None, float]:
        """Bring an identity back: what was told, its looks and their pictures. It stays apart from whom it
        was. Raises KeyError."""
        row, end = self._row.pop(global_id), len(self._row)
        looks, pictures = self._looks[row].copy(), float(self._pictures[row])
        if row != end:  # the last row fills the hole
            for column in (self._ids, self._last_ns, self._pictures, self._looks):
                column[row] = column[end]
            self._row[int(self._ids[row])] = row
        self._looks[end], self._pictures[end] = 0.0, 0.0
        return self._told.pop(global_id), looks if pictures else None, pictures

    def told(self, global_id: int) -> bytes:
        """What was told of an identity. Raises KeyError."""
        return self._told[global_id]

    def tell(self, global_id: int, told: bytes) -> None:
        """What it takes to bring an identity back has changed. Raises KeyError."""
        if global_id not in self._row:
            raise KeyError(global_id)
        self._told[global_id] = told

    def forget(self, global_id: int) -> None:
        """An identity, remembered or here, is nobody any more."""
        if global_id in self._row:
            self.take(global_id)
        for other in self._apart.pop(global_id, ()):
            self._apart[other].pop(global_id, None)

    def forget_looks(self) -> None:
        """The embedder has changed: its rows cannot be compared any more."""
        self._looks[:], self._pictures[:] = 0.0, 0.0

    def longest_unseen(self, count: int = 0, before_ns: int = 0) -> list[int]:
        """Identities that have been unseen longest: so many, and all last seen before a time."""
        end = len(self._row)
        number = max(count, int(np.count_nonzero(self._last_ns[:end] < before_ns)))
        if not number:
            return []
        order = np.lexsort((self._ids[:end], self._last_ns[:end]))
        return [int(g) for g in self._ids[order[:number]]]

    def last_seen(self, count: int) -> list[int]:
        """So many identities that were seen last."""
        end = len(self._row)
        order = np.lexsort((self._ids[:end], -self._last_ns[:end]))
        return [int(g) for g in self._ids[order[:count]]]

    # ---- who is like whom ------------------------------------------------------------------------------------

    def ids(self) -> NDArray[np.int64]:
        """(G,) identities remembered, in the order of `likeness`."""
        return self._ids[: len(self._row)].copy()

    def alike(self, looks: NDArray[np.floating], least: float) -> NDArray[np.int64]:
        """(K,) identities whose cosine with any of (R, D) unit rows is above ``least``; all if that is -inf."""
        end = len(self._row)
        if np.isneginf(least):
            return self.ids()
        alike = self._looks[:end] @ looks.astype(np.float32).T
        rows = np.unique(np.flatnonzero(alike > least) // max(len(looks), 1))
        return np.asarray(self._ids[rows])

    @property
    def dim(self) -> int:
        """How many numbers a look has; 0 as long as none is known."""
        return self._looks.shape[1]

    def people(self) -> People:
        """Whoever is remembered, as it is kept: not to be changed."""
        end = len(self._row)
        return People(self._ids[:end], self._looks[:end], self._pictures[:end])

    def looks(self, ids: Sequence[int]) -> tuple[NDArray[np.float32], F]:
        """(K, D) mean looks of K remembered identities, and (K,) of how many pictures; zero where not known."""
        rows = np.array([self._row[g] for g in ids], np.intp)
        return self._looks[rows], self._pictures[rows]

    def likeness(
        self,
        looks: NDArray[np.floating],
        pictures: F,
        appearance: AppearanceModel,
        ids: Sequence[int] | None = None,
    ) -> tuple[F, F]:
        """Log-odds by looks that R people are one with each of G remembered ones; 0 where looks are not known.

        Args:
            looks: (R, D) unit rows of what is their own, of ``pictures`` (R,) pictures each.
            ids: the G to be compared with; None: all.

        Returns:
            (R, G) log-odds and (R, G) distances, NaN where not known.
        """
        end = len(self._row)
        rows, seen = (self._looks[:end], self._pictures[:end]) if ids is None else self.looks(ids)
        if looks.shape[1] != rows.shape[1]:
            return np.zeros((len(looks), len(rows))), np.full((len(looks), len(rows)), np.nan)
        alike = (looks.astype(np.float32) @ rows.T).astype(np.float64)
        known = (pictures[:, None] > 0) & (seen > 0)
        return appearance.llr(alike, pictures[:, None], seen), np.where(known, 1 - alike, np.nan)

    # ---- who is not whom -------------------------------------------------------------------------------------

    def part(self, global_id: int, others: Iterable[int], *, certain: bool = False) -> None:
        """This identity is none of the others, whether they are remembered or here.

        Args:
            certain: an operator says so; else one camera saw them at once, or a track that hopped did.
        """
        for other in others:
            for a, b in ((global_id, other), (other, global_id)) if other != global_id else ():
                known = self._apart.setdefault(a, {})
                known[b] = known.get(b, False) or certain

    def apart(self, global_id: int, *, certain: bool = False) -> frozenset[int]:
        """Who this identity is not, or who it ``certain``ly is not."""
        found = self._apart.get(global_id, {})
        return frozenset(other for other, is_certain in found.items() if is_certain or not certain)

    def join(self, kept: int, absorbed: int) -> None:
        """One identity has become another."""
        others, sure = self.apart(absorbed) - {kept}, self.apart(absorbed, certain=True) - {kept}
        self.forget(absorbed)
        self.part(kept, others)
        self.part(kept, sure, certain=True)

    # ---- checkpoint ------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        end = len(self._row)
        return {
            "ids": self._ids[:end].tobytes(),
            "last_ns": self._last_ns[:end].tobytes(),
            "pictures": self._pictures[:end].tobytes(),
            "looks": self._looks[:end].tobytes(),
            "told": [self._told[int(g)] for g in self._ids[:end]],
            "apart": [[g, sorted(others.items())] for g, others in sorted(self._apart.items()) if others],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Memory:
        """Back from a checkpoint. Raises KeyError, TypeError or ValueError where it is damaged."""
        memory = cls()
        ids, last_ns = (np.frombuffer(state[name], np.int64) for name in ("ids", "last_ns"))
        pictures = np.frombuffer(state["pictures"], np.float64)
        looks = np.frombuffer(state["looks"], np.float32).reshape(len(ids), -1 if len(ids) else 0)
        memory._resize(max(FIRST_ROWS, len(ids)), looks.shape[1])
        for n, told in zip(range(len(ids)), state["told"], strict=True):
            memory.put(int(ids[n]), looks[n], float(pictures[n]), int(last_ns[n]), bytes(told))
        memory._apart = {int(g): {int(other): bool(sure) for other, sure in row} for g, row in state["apart"]}
        return memory

    def _resize(self, rows: int, dim: int) -> None:
        """So many rows; looks of another length than ``dim`` are of another network, and lost."""
        end = len(self._row)
        looks, same = np.zeros((rows, dim), np.float32), dim == self._looks.shape[1]
        held = min(end, len(self._ids))
        for name in ("_ids", "_last_ns", "_pictures"):
            old = getattr(self, name)
            new = np.zeros(rows, old.dtype)
            new[:held] = old[:held]
            setattr(self, name, new)
        if same:
            looks[:held] = self._looks[:held]
        else:
            self._pictures[:] = 0.0
        self._looks = looks
