"""Settling equations x = y or z between classes of slots, until every class is pinned, an atom, or a set of atoms.

Where products overlap in ways that have no such description (a channel shuffle inside a residual stream), relations
are added until they have one: that may join or pin more than strictly necessary, never less, so that any union of the
resulting units solves the equations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

#: The class that stands for "no channel here" (axes of size 1, positions in space). It is always pinned.
NOTHING = 0

#: The reason of what is pinned only because reshapes do not fit together.
CONFLICT = np.iinfo(np.int64).max

#: A slot may carry this many atoms; reshapes nested deeper are pinned.
WIDTH = 8

#: Rounds before everything connected to what is left is pinned. Real models need under ten.
ROUNDS = 64

Components = Callable[[int, Sequence[tuple[np.ndarray, np.ndarray]]], np.ndarray]


class Equations:
    """The equations of one model.

    Attributes:
        reason: int64 (classes,): why a class is pinned, -1 where it is free.
        whole: int64 (rows,): x of each row x = f1 or f2 …
        factors: int64 (rows, depth): the f, filled up with NOTHING.
        final: int64 (original classes,): the class that each original class has become part of.
        sets: int64 (classes, depth): the atoms of each class, once settled; NOTHING where there is none.
    """

    def __init__(self, reason: np.ndarray, whole: np.ndarray, factors: np.ndarray, components: Components) -> None:
        self.reason = reason
        self.whole = whole
        self.factors = factors
        self.final = np.arange(len(reason))
        self.sets = np.arange(len(reason))[:, None]
        self._components = components

    def settle(self) -> None:
        """Simplify to the end."""
        for _ in range(ROUNDS):
            if not self._simplify() and not self._resolve():
                break
        else:
            self._give_up()
        self.sets[self.reason >= 0] = NOTHING

    def _simplify(self) -> bool:
        """Use up the rows that only pin or tie; True if anything but tidying was done."""
        pinned = self.reason >= 0
        why = np.where(pinned, self.reason, CONFLICT)[self.factors].min(axis=1, initial=CONFLICT)
        self.factors = _as_sets(np.where(pinned[self.factors], NOTHING, self.factors))
        width = (self.factors != NOTHING).sum(axis=1)
        stays, empty = pinned[self.whole], width == 0
        mine = self.factors == self.whole[:, None]
        itself = mine.any(axis=1) & ~stays
        changed = self._pin(self.factors[stays], self.reason[self.whole[stays]][:, None])  # x stays: so do its factors
        changed |= self._pin(self.whole[empty], why[empty])  # every factor stays: so does x
        changed |= self._pin(np.where(mine, NOTHING, self.factors)[itself], CONFLICT)  # x = x or z: let z stay
        single = (width == 1) & ~stays & ~itself
        ties = (self.whole[single], self.factors[single].max(axis=1, initial=NOTHING))
        left = (width > 1) & ~stays & ~itself
        self.whole, self.factors = self.whole[left], self.factors[left]
        if single.any():
            self._unite(ties)
        return changed or bool(single.any())

    def _pin(self, classes: np.ndarray, why: np.ndarray | int) -> bool:
        """Pin ``classes``; True if any of them was free."""
        free = self.reason[classes] < 0
        self.reason[classes[free]] = np.broadcast_to(why, classes.shape)[free]
        return bool(free.any())

    def _unite(self, tie: tuple[np.ndarray, np.ndarray]) -> None:
        root = self._components(len(self.reason), [tie])
        reason = np.full(int(root.max()) + 1, -1, np.int64)
        held = np.flatnonzero(self.reason >= 0)
        held = held[np.argsort(-self.reason[held], kind="stable")]  # the lowest reason is written last and wins
        reason[root[held]] = self.reason[held]
        self.reason, self.final = reason, root[self.final]
        self.whole, self.factors = root[self.whole], root[self.factors]

    def _resolve(self) -> bool:
        """Reconcile classes that two rows describe differently; True if anything changed."""
        rows = np.unique(np.column_stack([self.whole, self.factors]), axis=0)
        self.whole, self.factors = rows[:, 0], rows[:, 1:]
        first = np.zeros(len(rows), bool)
        first[np.unique(self.whole, return_index=True)[1]] = True
        endless = self._expand(first)
        if len(endless):
            return self._pin(endless, CONFLICT)
        again = self._union(self.factors[~first])
        have = self.sets[self.whole[~first]]
        width = max(again.shape[1], have.shape[1])
        again, have = _widened(again, width), _widened(have, width)
        differs = (again != have).any(axis=1)
        drop = np.zeros(len(rows), bool)
        drop[np.flatnonzero(~first)[~differs]] = True
        self.whole, self.factors = self.whole[~drop], self.factors[~drop]
        if not differs.any():
            return False
        self._reconcile(np.unique(np.column_stack([again, have])[differs], axis=0), width)
        return True

    def _expand(self, rows: np.ndarray) -> np.ndarray:
        """Fill :attr:`sets` from the chosen rows (one a class); returns classes whose expansion does not end."""
        self.sets = np.arange(len(self.reason))[:, None]
        whole, factors = self.whole[rows], self.factors[rows]
        for _ in range(WIDTH + 1):
            found = self._union(factors)
            width = max(self.sets.shape[1], found.shape[1])
            self.sets, found = _widened(self.sets, width), _widened(found, width)
            moved: np.ndarray = whole[(self.sets[whole] != found).any(axis=1)]
            self.sets[whole] = found
            if not len(moved) or width > WIDTH:
                break
        return np.union1d(moved, whole[(found != NOTHING).sum(axis=1) > WIDTH])

    def _union(self, factors: np.ndarray) -> np.ndarray:
        """The atoms of several classes together: (n, depth) -> (n, width)."""
        return _as_sets(self.sets[factors].reshape(len(factors), factors.shape[1] * self.sets.shape[1]))

    def _reconcile(self, pairs: np.ndarray, width: int) -> None:
        """Make the two sets of each row of ``pairs`` mean the same."""
        spread = np.bincount(self.factors.ravel(), minlength=len(self.reason))
        pins: list[int] = []
        ties: list[tuple[int, int]] = []
        rows: list[tuple[int, list[int]]] = []
        for row in pairs.tolist():
            one, two = set(row[:width]) - {NOTHING}, set(row[width:]) - {NOTHING}
            left, right = sorted(one - two), sorted(two - one)
            if len(left) > len(right):
                left, right = right, left
            if not left:
                pins += right  # a = a or b: let b stay
            elif len(right) == 1:
                ties.append((left[0], right[0]))
            elif len(left) == 1:
                rows.append((left[0], right))
            else:  # the coarse atoms (whole groups) are the ones to give up
                pins += [max(left, key=lambda c: (spread[c], -c)), max(right, key=lambda c: (spread[c], -c))]
        self._pin(np.asarray(pins, np.int64), CONFLICT)
        if rows:
            depth = max(self.factors.shape[1], *(len(right) for _, right in rows))
            new = np.asarray([right + [NOTHING] * (depth - len(right)) for _, right in rows], np.int64)
            self.whole = np.append(self.whole, [left for left, _ in rows])
            self.factors = np.concatenate([_widened(self.factors, depth), new])
        if ties:
            left_side, right_side = np.asarray(ties, np.int64).T
            self._unite((left_side, right_side))

    def _give_up(self) -> None:
        """Pin everything that a product connects to a conflict, which leaves nothing to settle."""
        columns = [(self.whole, np.where(column == NOTHING, self.whole, column)) for column in self.factors.T]
        root = self._components(len(self.reason), columns)
        counts = np.bincount(root[self.whole], minlength=len(root))
        stuck = np.flatnonzero(counts[root] > 0)
        self._pin(stuck, CONFLICT)
        while self._simplify():
            pass
        self._resolve()


def _as_sets(table: np.ndarray) -> np.ndarray:
    """Each row descending, without repetitions, NOTHING at the end; as many columns as the longest row needs."""
    table = np.sort(table, axis=1)
    table[:, 1:][table[:, 1:] == table[:, :-1]] = NOTHING
    table = -np.sort(-table, axis=1)
    return table[:, : int((table != NOTHING).sum(axis=1).max(initial=1))]


def _widened(table: np.ndarray, width: int) -> np.ndarray:
    return np.pad(table, ((0, 0), (0, max(0, width - table.shape[1]))), constant_values=NOTHING)
