"""What the installed runtime says of formats of blocks."""

from __future__ import annotations

import pytest

from onnxslim.quantization.conformance import block_kernels
from onnxslim.quantization.conformance.block_kernels import BLOCK_FORMATS, find_block_formats, find_table_formats
from onnxslim.quantization.numerics.block_grids import BlockFormat
from onnxslim.runtime.session import SessionConfig


def test_4_and_8_bits_run_everywhere() -> None:
    found = find_block_formats(SessionConfig(), by_time=False)
    assert {one for one in BLOCK_FORMATS if one.bits == 4} <= set(found)
    assert found == [one for one in BLOCK_FORMATS if one in found]
    assert set(find_table_formats(SessionConfig())) <= set(BLOCK_FORMATS)


def test_what_has_no_kernel_of_its_own_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    # 2 bits in blocks of 256 are expanded at every product, where 2 bits run at all
    slow = BlockFormat(2, 256, True)
    monkeypatch.setattr(block_kernels, "BLOCK_FORMATS", (slow, BlockFormat(4, 128)))
    if slow not in find_block_formats(SessionConfig(), by_time=False):
        pytest.skip("this runtime has no 2 bits")
    assert find_block_formats(SessionConfig()) == [BlockFormat(4, 128)]


def test_what_comes_out_wrong_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_kernels, "_MAX_ERROR", 0.0)
    assert find_block_formats(SessionConfig()) == []
