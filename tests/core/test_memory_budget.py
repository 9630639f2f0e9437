"""Shares of one budget."""

from hypothesis import given
from hypothesis import strategies as st

from onnxslim.core.memory_budget import DEFAULT_BYTES, plan_memory, scale_bytes


@given(st.integers(1, 10**10))
def test_without_a_limit_a_share_is_what_it_says(share):
    assert scale_bytes(share) == share


@given(st.integers(1, 10**11), st.integers(1, 10**11), st.integers(16, 10**9))
def test_a_share_grows_with_the_budget_and_is_never_nothing(first, second, share):
    low, high = sorted((first, second))
    with plan_memory(low):
        smaller = scale_bytes(share)
    with plan_memory(high):
        larger = scale_bytes(share)
    assert 1 <= smaller <= larger <= 4 * share


def test_a_plan_ends_with_its_block_and_none_changes_nothing():
    with plan_memory(DEFAULT_BYTES // 2):
        with plan_memory(None):
            assert scale_bytes(1000) < 1000
        assert scale_bytes(1000) < 1000
    assert scale_bytes(1000) == 1000
