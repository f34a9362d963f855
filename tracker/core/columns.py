"""The tracklets that a linker looks at, as columns: kept while they are seen, so that whoever comes is weighed against
hundreds without asking each of them."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracker.core.appearance import AppearanceModel, unit
from tracker.core.company import Company
from tracker.core.grouping import Own, Piece
from tracker.core.memory import People
from tracker.types import TrackKey

F = NDArray[np.float64]

FIRST_ROWS = 64
AHEAD = 32  # looks worked out before they are asked for
# The columns of `Table._numbers`, named as in `Columns`.
SIZE, FIRST_BOX, LAST_BOX, VELOCITY, WALK, BEGAN = (
    slice(a, b) for a, b in pairwise((0, 2, 6, 10, 12, 17, 20))
)


class Columns(NamedTuple):
    """N pieces and what pairs of them are weighed by; row n of each column is of piece n."""

    pieces: list[Piece]
    rows: NDArray[np.intp]  # of `Company`
    names: NDArray[np.str_]  # of cameras
    camera: NDArray[np.intp]  # among these names
    owner: NDArray[np.int64]  # the identity that each has; -1: none yet
    first_ns: NDArray[np.int64]
    last_ns: NDArray[np.int64]
    size: F  # (N, 2) of the picture
    first_box: F  # (N, 4)
    last_box: F  # (N, 4)
    velocity_px_s: F  # (N, 2)
    walk: F  # (N, 5) as `Piece.walk`
    began: F  # (N, 3) where on the floor it was first, and how exactly
    looks: F  # (N, D) as of `own_looks`
    pictures: F  # (N,)

    @classmethod
    def of(cls, pieces: Sequence[Piece], company: Company, appearance: AppearanceModel) -> Columns:
        """Of any pieces; ``company`` knows them all."""
        table = Table()
        for piece in pieces:
            table.put(company.row_of(piece.key), piece)
        return table.at(np.array([company.row_of(p.key) for p in pieces], np.intp), appearance)

    @property
    def cameras(self) -> NDArray[np.str_]:
        """(N,) names of their cameras."""
        return self.names[self.camera]


class Table:
    """All pieces of a linker, in the rows in which `Company` has them. It tells nothing that the pieces do not."""

    def __init__(self) -> None:
        self._pieces: dict[int, Piece] = {}  # by row
        self._keys: list[TrackKey] = []  # rising
        self._order: list[int] = []  # their rows
        self._names: list[str] = []
        self._camera = np.zeros(0, np.intp)
        self._owner = np.zeros(0, np.int64)
        self._times_ns = np.zeros((0, 3), np.int64)  # first, last, recalled
        self._numbers = np.zeros((0, BEGAN.stop))
        self._looks = np.zeros((0, 1))
        self._pictures = np.zeros(0)
        self._is_known = np.zeros(0, bool)  # whether looks and pictures are as they are now
        self._seen = np.zeros(0)  # pictures, whether their looks can be compared or not
        self._version: object = None  # of what cameras add, that they are without

    def put(self, row: int, piece: Piece) -> None:
        """A new piece, or one that has changed otherwise than by being seen."""
        while row >= len(self._camera):
            self._grow()
        if row not in self._pieces:
            at = bisect.bisect_left(self._keys, piece.key)
            self._keys.insert(at, piece.key)
            self._order.insert(at, row)
            if piece.key.camera_id not in self._names:
                self._names.append(piece.key.camera_id)
            self._camera[row], self._owner[row] = self._names.index(piece.key.camera_id), -1
        self._pieces[row] = piece
        told = piece.tracklet
        self._times_ns[row] = told.t_first_ns, piece.t_last_ns, piece.t_recalled_ns
        numbers = (
            told.image_size,
            told.first_box,
            piece.box,
            told.velocity_px_s,
            piece.walk,
            piece.first_place or (np.nan, np.nan),
            (piece.first_sigma_m,),
        )
        self._numbers[row] = np.concatenate(numbers, dtype=np.float64)
        self._is_known[row], self._seen[row] = False, piece.pictures

    def replace(self, row: int, piece: Piece) -> None:
        """A copy of a piece stands for it from now on."""
        self._pieces[row] = piece

    def give(self, row: int, owner: int) -> None:
        """Whose a piece is."""
        self._owner[row] = owner

    def drop(self, row: int) -> None:
        """A piece that is looked at no more."""
        piece = self._pieces.pop(row)
        at = bisect.bisect_left(self._keys, piece.key)
        del self._keys[at], self._order[at]
        self._looks[row], self._numbers[row] = 0.0, 0.0  # nothing is kept of who is forgotten

    def see(
        self,
        rows: Sequence[int],
        t_ns: int,
        boxes: NDArray[np.floating],
        floor_xy_m: NDArray[np.floating],
        sigma_m: NDArray[np.floating],
    ) -> None:
        """What these pieces, of one camera, have been told by `Piece.see`: (K, 4), (K, 2) and (K,)."""
        at = np.array(rows, np.intp)
        self._times_ns[at, 1] = np.maximum(self._times_ns[at, 1], t_ns)
        self._numbers[at, LAST_BOX] = boxes
        known = np.flatnonzero(np.isfinite(floor_xy_m).all(axis=1) & np.isfinite(sigma_m))
        if not len(known):
            return
        at, place = at[known], np.column_stack((floor_xy_m, sigma_m))[known]
        speed = [self._pieces[row].speed_m_s for row in at.tolist()]
        self._numbers[at, WALK] = np.column_stack((place, speed))
        new = np.isnan(self._numbers[at, BEGAN.start])
        self._numbers[at[new], BEGAN] = place[new]

    def forget_looks(self, width: int = 1) -> None:
        """Looks of other networks than the present one cannot be compared."""
        self._looks, self._is_known[:] = np.zeros((len(self._camera), width)), False

    def recent(
        self, since_ns: int, besides: Collection[int] = ()
    ) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """(K,) rows of pieces that were seen, or whose identity was recognised, since then, in the order of their keys;
        and when. Without the rows ``besides``."""
        rows = np.array([row for row in self._order if row not in besides], np.intp)
        seen_ns = self._times_ns[rows, 1:].max(axis=1, initial=0)
        is_recent = seen_ns >= since_ns
        return rows[is_recent], seen_ns[is_recent]

    def rows(self) -> NDArray[np.intp]:
        """(N,) of all pieces, in the order of their keys."""
        return np.array(self._order, np.intp)

    def by_age(self) -> list[Piece]:
        """The longest unseen first; of equals, by their keys."""
        rows = self.rows()
        return [
            self._pieces[row] for row in rows[np.argsort(self._times_ns[rows, 1], kind="stable")].tolist()
        ]

    def owners_of(self, rows: NDArray[np.intp]) -> list[int]:
        """Whose these are, each once, rising; without those who are nobody's."""
        owners = np.unique(self._owner[[row for row in rows.tolist() if row in self._pieces]])
        return owners[owners >= 0].tolist()

    def pictures(self) -> tuple[NDArray[np.int64], F]:
        """(G,) identities that have pieces, rising, and of how many pictures these are."""
        rows = self.rows()
        rows = rows[self._owner[rows] >= 0]
        owners, at = np.unique(self._owner[rows], return_inverse=True)
        return owners, np.asarray(np.bincount(at, self._seen[rows], len(owners)), float)

    def people(self, appearance: AppearanceModel) -> People:
        """Whoever has pieces."""
        rows = self.rows()
        rows = rows[self._owner[rows] >= 0]
        self._look(rows, [self._pieces[row] for row in rows.tolist()], appearance)
        rows = rows[np.argsort(self._owner[rows], kind="stable")]
        ids, starts = np.unique(self._owner[rows], return_index=True)
        pictures = self._pictures[rows]
        weighed = pictures[:, None] * self._looks[rows]
        return People(ids, unit(_sums(weighed, starts)), _sums(pictures, starts))

    def look_ahead(self, appearance: AppearanceModel) -> None:
        """Bring some looks up to date, so that it need not be done for all at once."""
        rows = self.rows()
        if self._version is appearance.cameras_now:
            rows = rows[~self._is_known[rows]]
        if len(rows):
            self._look(rows[:AHEAD], [self._pieces[row] for row in rows[:AHEAD].tolist()], appearance)

    def at(self, rows: NDArray[np.intp], appearance: AppearanceModel) -> Columns:
        """These pieces as they are now."""
        pieces = [self._pieces[row] for row in rows.tolist()]
        self._look(rows, pieces, appearance)
        numbers = self._numbers[rows]
        return Columns(
            pieces,
            rows,
            np.array(self._names, np.str_),
            self._camera[rows],
            self._owner[rows],
            self._times_ns[rows, 0],
            self._times_ns[rows, 1],
            numbers[:, SIZE],
            numbers[:, FIRST_BOX],
            numbers[:, LAST_BOX],
            numbers[:, VELOCITY],
            numbers[:, WALK],
            numbers[:, BEGAN],
            self._looks[rows],
            self._pictures[rows],
        )

    def _look(self, rows: NDArray[np.intp], pieces: list[Piece], appearance: AppearanceModel) -> None:
        """Bring the looks of these rows up to date."""
        if self._version is not appearance.cameras_now:
            self._version, self._is_known[:] = appearance.cameras_now, False
        old = np.flatnonzero(~self._is_known[rows])
        if not len(old):
            return
        looks, pictures = own_looks([pieces[n] for n in old.tolist()], appearance)
        if looks.shape[1] > self._looks.shape[1]:
            self.forget_looks(looks.shape[1])
            return self._look(rows, pieces, appearance)
        fits = looks.shape[1] == self._looks.shape[1]  # else there are none
        self._looks[rows[old]], self._pictures[rows[old]] = (looks, pictures) if fits else (0.0, 0.0)
        self._is_known[rows[old]] = True

    def _grow(self) -> None:
        more = max(FIRST_ROWS, len(self._camera))
        for name in (
            "_camera",
            "_owner",
            "_times_ns",
            "_numbers",
            "_looks",
            "_pictures",
            "_is_known",
            "_seen",
        ):
            old = getattr(self, name)
            setattr(self, name, np.concatenate((old, np.zeros((more, *old.shape[1:]), old.dtype))))


def _sums(rows: F, starts: NDArray[np.intp]) -> F:
    """(G, ...) sums of rows (N, ...) from each start to the next; none of none."""
    return np.add.reduceat(rows, starts, axis=0) if len(starts) else rows[:0]


def own_looks(pieces: Sequence[Piece], appearance: AppearanceModel) -> tuple[F, F]:
    """(N, D) unit rows of what is the person's own in the looks of N pieces and all that they hold, zero where there is
    none, and (N,) of how many pictures each is."""
    new = [p for p in pieces if p.own is None or p.own.version is not appearance.cameras_now]
    rows = rows_of(new)
    own = appearance.own(rows, np.array([p.key.camera_id for p in new], np.str_)) if new else rows
    for p, row in zip(new, own, strict=True):
        looks, pictures = (row, p.own_pictures) if row.any() else (None, 0.0)
        if p.held_looks is not None and (looks is None or len(looks) == len(p.held_looks)):
            held = p.held_pictures * p.held_looks.astype(float)
            looks = unit(held if looks is None else pictures * looks + held)
            pictures += p.held_pictures
        p.own = Own(appearance.cameras_now, looks, pictures)
    known = [p.own for p in pieces if p.own is not None]
    dim = max((len(o.looks) for o in known if o.looks is not None), default=1)
    nothing = np.zeros(dim)
    found = [o.looks if o.looks is not None and len(o.looks) == dim else nothing for o in known]
    seen = np.array([o.pictures if o.looks is not None and len(o.looks) == dim else 0.0 for o in known])
    return np.concatenate(found or [nothing[:0]]).reshape(-1, dim).astype(float), seen


def rows_of(pieces: Sequence[Piece]) -> F:
    """(N, D) mean embeddings of the tracklets themselves, zero where there is none."""
    dim = max((len(p.looks) for p in pieces if p.looks is not None), default=1)
    looks = np.zeros((len(pieces), dim))
    for i, p in enumerate(pieces):
        if p.looks is not None and len(p.looks) == dim:
            looks[i] = p.looks
    return looks
