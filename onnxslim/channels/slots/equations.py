"""Settling equations x = y or z between classes of slots, until every class is pinned, an atom, or a set of atoms.

Where products overlap in ways that have no such description (a channel shuffle inside a residual stream), relations
are added until they have one: that may join or pin more than strictly necessary, never less, so that any union of the
resulting units solves the equations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

#: The class that stands for "no channel here" (axes of size 1, positions in space). It is always pinned.
NO_CHANNEL = 0

#: The reason number of classes that are pinned only because reshapes do not fit together.
CONFLICT_REASON = np.iinfo(np.int64).max

#: A slot may carry this many atoms; reshapes nested deeper are pinned.
MAX_ATOMS = 8

#: Rounds before everything connected to what is left is pinned. Real models need under ten.
MAX_ROUNDS = 64

Components = Callable[[int, Sequence[tuple[np.ndarray, np.ndarray]]], np.ndarray]


class Equations:
    """The equations of one model.

    Attributes:
        reason: int64 (classes,): why a class is pinned, -1 where it is free.
        whole: int64 (rows,): x of each row x = f1 or f2 …
        factors: int64 (rows, depth): the f, filled up with NOTHING.
        merged_into: int64 (original classes,): the class that each original class has become part of.
        atoms: int64 (classes, depth): the atoms of each class, once settled; NOTHING where there is none.
    """

    def __init__(self, reason: np.ndarray, whole: np.ndarray, factors: np.ndarray, components: Components) -> None:
        self.reason = reason
        self.whole = whole
        self.factors = factors
        self.merged_into = np.arange(len(reason))
        self.atoms = np.arange(len(reason))[:, None]
        self._components = components

    def settle(self) -> None:
        """Simplify to the end."""
        for _ in range(MAX_ROUNDS):
            if not self._simplify() and not self._resolve():
                break
        else:
            self._pin_connected()
        self.atoms[self.reason >= 0] = NO_CHANNEL

    def _simplify(self) -> bool:
        """Use up the rows that only pin or tie; True if anything but tidying was done."""
        pinned = self.reason >= 0
        lowest_reason = np.where(pinned, self.reason, CONFLICT_REASON)[self.factors].min(axis=1, initial=CONFLICT_REASON)
        self.factors = _sort_sets(np.where(pinned[self.factors], NO_CHANNEL, self.factors))
        width = (self.factors != NO_CHANNEL).sum(axis=1)
        whole_pinned, empty = pinned[self.whole], width == 0
        is_whole = self.factors == self.whole[:, None]
        recursive = is_whole.any(axis=1) & ~whole_pinned
        changed = self._pin(
            self.factors[whole_pinned], self.reason[self.whole[whole_pinned]][:, None]
        )  # x stays: so do its factors
        changed |= self._pin(self.whole[empty], lowest_reason[empty])  # every factor stays: so does x
        changed |= self._pin(
            np.where(is_whole, NO_CHANNEL, self.factors)[recursive], CONFLICT_REASON
        )  # x = x or z: let z stay
        single = (width == 1) & ~whole_pinned & ~recursive
        ties = (self.whole[single], self.factors[single].max(axis=1, initial=NO_CHANNEL))
        unsettled = (width > 1) & ~whole_pinned & ~recursive
        self.whole, self.factors = self.whole[unsettled], self.factors[unsettled]
        if single.any():
            self._merge_classes(ties)
        return changed or bool(single.any())

    def _pin(self, classes: np.ndarray, reasons: np.ndarray | int) -> bool:
        """Pin ``classes``; True if any of them was free."""
        free = self.reason[classes] < 0
        self.reason[classes[free]] = np.broadcast_to(reasons, classes.shape)[free]
        return bool(free.any())

    def _merge_classes(self, tie: tuple[np.ndarray, np.ndarray]) -> None:
        root = self._components(len(self.reason), [tie])
        reason = np.full(int(root.max()) + 1, -1, np.int64)
        pinned = np.flatnonzero(self.reason >= 0)
        pinned = pinned[np.argsort(-self.reason[pinned], kind="stable")]  # the lowest reason is written last and wins
        reason[root[pinned]] = self.reason[pinned]
        self.reason, self.merged_into = reason, root[self.merged_into]
        self.whole, self.factors = root[self.whole], root[self.factors]

    def _resolve(self) -> bool:
        """Reconcile classes that two rows describe differently; True if anything changed."""
        rows = np.unique(np.column_stack([self.whole, self.factors]), axis=0)
        self.whole, self.factors = rows[:, 0], rows[:, 1:]
        first = np.zeros(len(rows), bool)
        first[np.unique(self.whole, return_index=True)[1]] = True
        endless = self._expand(first)
        if len(endless):
            return self._pin(endless, CONFLICT_REASON)
        expanded = self._unite_atoms(self.factors[~first])
        current = self.atoms[self.whole[~first]]
        width = max(expanded.shape[1], current.shape[1])
        expanded, current = _widen(expanded, width), _widen(current, width)
        differs = (expanded != current).any(axis=1)
        drop = np.zeros(len(rows), bool)
        drop[np.flatnonzero(~first)[~differs]] = True
        self.whole, self.factors = self.whole[~drop], self.factors[~drop]
        if not differs.any():
            return False
        self._reconcile(np.unique(np.column_stack([expanded, current])[differs], axis=0), width)
        return True

    def _expand(self, rows: np.ndarray) -> np.ndarray:
        """Fill :attr:`atoms` from the chosen rows (one a class); returns classes whose expansion does not end."""
        self.atoms = np.arange(len(self.reason))[:, None]
        whole, factors = self.whole[rows], self.factors[rows]
        for _ in range(MAX_ATOMS + 1):
            expanded = self._unite_atoms(factors)
            width = max(self.atoms.shape[1], expanded.shape[1])
            self.atoms, expanded = _widen(self.atoms, width), _widen(expanded, width)
            changed: np.ndarray = whole[(self.atoms[whole] != expanded).any(axis=1)]
            self.atoms[whole] = expanded
            if not len(changed) or width > MAX_ATOMS:
                break
        return np.union1d(changed, whole[(expanded != NO_CHANNEL).sum(axis=1) > MAX_ATOMS])

    def _unite_atoms(self, factors: np.ndarray) -> np.ndarray:
        """The atoms of several classes together: (n, depth) -> (n, width)."""
        return _sort_sets(self.atoms[factors].reshape(len(factors), factors.shape[1] * self.atoms.shape[1]))

    def _reconcile(self, pairs: np.ndarray, width: int) -> None:
        """Make the two sets of each row of ``pairs`` mean the same."""
        occurrences = np.bincount(self.factors.ravel(), minlength=len(self.reason))
        pins: list[int] = []
        ties: list[tuple[int, int]] = []
        rows: list[tuple[int, list[int]]] = []
        for row in pairs.tolist():
            first_atoms, second_atoms = set(row[:width]) - {NO_CHANNEL}, set(row[width:]) - {NO_CHANNEL}
            left, right = sorted(first_atoms - second_atoms), sorted(second_atoms - first_atoms)
            if len(left) > len(right):
                left, right = right, left
            if not left:
                pins += right  # a = a or b: let b stay
            elif len(right) == 1:
                ties.append((left[0], right[0]))
            elif len(left) == 1:
                rows.append((left[0], right))
            else:  # the coarse atoms (whole groups) are the ones to give up
                pins += [max(left, key=lambda c: (occurrences[c], -c)), max(right, key=lambda c: (occurrences[c], -c))]
        self._pin(np.asarray(pins, np.int64), CONFLICT_REASON)
        if rows:
            depth = max(self.factors.shape[1], *(len(right) for _, right in rows))
            new = np.asarray([right + [NO_CHANNEL] * (depth - len(right)) for _, right in rows], np.int64)
            self.whole = np.append(self.whole, [left for left, _ in rows])
            self.factors = np.concatenate([_widen(self.factors, depth), new])
        if ties:
            left_side, right_side = np.asarray(ties, np.int64).T
            self._merge_classes((left_side, right_side))

    def _pin_connected(self) -> None:
        """Pin everything that a product connects to a conflict, which leaves nothing to settle."""
        columns = [(self.whole, np.where(column == NO_CHANNEL, self.whole, column)) for column in self.factors.T]
        root = self._components(len(self.reason), columns)
        counts = np.bincount(root[self.whole], minlength=len(root))
        connected = np.flatnonzero(counts[root] > 0)
        self._pin(connected, CONFLICT_REASON)
        while self._simplify():
            pass
        self._resolve()


def _sort_sets(table: np.ndarray) -> np.ndarray:
    """Each row descending, without repetitions, NOTHING at the end; as many columns as the longest row needs."""
    table = np.sort(table, axis=1)
    table[:, 1:][table[:, 1:] == table[:, :-1]] = NO_CHANNEL
    table = -np.sort(-table, axis=1)
    return table[:, : int((table != NO_CHANNEL).sum(axis=1).max(initial=1))]


def _widen(table: np.ndarray, width: int) -> np.ndarray:
    return np.pad(table, ((0, 0), (0, max(0, width - table.shape[1]))), constant_values=NO_CHANNEL)
