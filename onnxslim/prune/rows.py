"""A layer's inputs and targets, row by row, where targets behind a flat part of an activation are sets, not points."""

from __future__ import annotations

import numpy as np

from onnxslim.prune.gram import CHUNK, Moments, middle, wide


class Rows:
    """What a layer reads and what it should give out.

    An output that a Relu would cut anyway may be any negative number: a target at or below ``low`` stands for all
    outputs at or below it, and one at or above ``high`` for all at or above that.

    Args:
        x: (g, n, d), what the layer reads.
        y: (g, n, m), its targets.
        low: (g, n, m) or a number: outputs at or below this are all alike to what follows (a Relu's 0); -inf for none.
        high: The same from above (a Clip's upper bound); inf for none.
        biased: Whether there is a place for a bias.

    Attributes:
        flat: Whether any outputs are alike.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        low: np.ndarray | float = -np.inf,
        high: np.ndarray | float = np.inf,
        biased: bool = True,
    ) -> None:
        x, y = wide(x), wide(y)
        self.biased = biased
        self._middle = middle(x)
        self._x = x - self._middle
        self._y = y
        self.flat = bool(np.isfinite(low).any() or np.isfinite(high).any())
        # The least and the largest value that is as good as each target.
        self._least = np.where(y <= low, -np.inf, np.minimum(y, high)).astype(y.dtype) if self.flat else y
        self._most = np.where(y >= high, np.inf, np.maximum(y, low)).astype(y.dtype) if self.flat else y

    def __len__(self) -> int:
        """n."""
        return int(self._x.shape[1])

    @property
    def columns(self) -> int:
        """d."""
        return int(self._x.shape[2])

    def moments(self) -> Moments:
        """Those of x and y."""
        sums = Moments(self._x.shape[0], self._x.shape[2], self._y.shape[2])
        sums.add(self._x, self._y)
        return sums.moved(self._middle[:, 0].astype(np.float64))

    def output(self, weight: np.ndarray) -> np.ndarray:
        """W [x 1] for ``weight`` (g, m, d + 1): (g, n, m), in the dtype of x."""
        bias = weight[..., -1] + np.einsum("gmd,gd->gm", weight[..., :-1], self._middle[:, 0])
        found = self._x @ weight[..., :-1].transpose(0, 2, 1).astype(self._x.dtype)
        found += bias[:, None].astype(found.dtype)
        return np.asarray(found)

    def missing(self, output: np.ndarray, *, points: bool = False) -> np.ndarray:
        """How far each ``output`` (g, n, m) is from the nearest value that is as good as its target: (g, n, m).

        With ``points`` from the target itself.
        """
        if points or not self.flat:
            return np.asarray(self._y - output)
        found = np.clip(output, self._least, self._most)
        found -= output
        return np.asarray(found)

    def error(self, weight: np.ndarray, *, points: bool = False) -> float:
        """Σ of the squares of what is :meth:`missing`."""
        return squares(self.missing(self.output(weight), points=points))

    def cross(self, missing: np.ndarray) -> np.ndarray:
        """Σ rᵀ [x 1] for what is ``missing`` (g, n, m): float64 (g, m, d + 1)."""
        found = np.zeros((missing.shape[0], missing.shape[2], self.columns + 1))
        for start in range(0, len(self), CHUNK):
            part = slice(start, start + CHUNK)
            found[..., :-1] += missing[:, part].transpose(0, 2, 1) @ self._x[:, part]
            found[..., -1] += missing[:, part].sum(axis=1, dtype=np.float64)
        found[..., :-1] += found[..., -1:] * self._middle
        return found


def squares(array: np.ndarray) -> float:
    """Σ a², added up in float64."""
    return float(np.sum(np.square(array), dtype=np.float64))
