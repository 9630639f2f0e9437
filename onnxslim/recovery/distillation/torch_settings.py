"""How torch computes while a student learns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

#: What a product in float32 may be off by, of its norm: a bfloat16 rounds at 4e-3, a float32 at 6e-8.
_MAX_PRODUCT_ERROR = 1e-5


@contextmanager
def configure_torch() -> Iterator[None]:
    """torch on one thread, for parts of a batch run side by side, and the last bits of a sum depend on the threads it has;
    and its products by oneDNN where that computes them in float32.

    "medium" gives them to oneDNN wherever the processor knows bfloat16. Without AMX that is not quicker, so that it computes
    in float32, at twice the speed on processors that are not MKL's own; with AMX it does round, which is tried out.
    """
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    if not _multiplies_in_float32():
        torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def _multiplies_in_float32() -> bool:
    """Whether a product of matrices, as torch is set, keeps more than the 8 bits of a bfloat16."""
    left, right = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0))
    exact = left.double() @ right.double()
    return bool((left @ right - exact).norm() < _MAX_PRODUCT_ERROR * exact.norm())
