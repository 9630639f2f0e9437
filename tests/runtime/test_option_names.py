"""Entries that the runtime does not know are refused by name."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.core.errors import UsageError
from onnxslim.runtime.option_names import find_file_option
from onnxslim.runtime.session import Session, SessionConfig


def test_an_entry_that_the_runtime_never_reads_is_refused_with_the_nearest(digits: ir.Model) -> None:
    Session(digits, SessionConfig(session_options={"session.intra_op.allow_spinning": "0"}))
    with pytest.raises(UsageError, match=r"session\.intra_op\.allow_spining: .* knows no such entry") as caught:
        Session(digits, SessionConfig(session_options={"session.intra_op.allow_spining": "0"}))
    assert "session.intra_op.allow_spinning" in str(caught.value.hint)


def test_the_cpu_provider_has_no_options(digits: ir.Model) -> None:
    with pytest.raises(UsageError, match="--provider-option arena: the cpu provider has no options"):
        Session(digits, SessionConfig(provider_options={"arena": "1"}))


@pytest.mark.parametrize(
    ("key", "is_file"),
    [
        ("session.optimized_model_filepath", True),
        ("session.collect_node_memory_stats_to_file", True),
        ("ep.context_file_path", True),
        ("trt_extra_plugin_lib_paths", True),
        ("session.intra_op.allow_spinning", False),
        ("trt_profile_min_shapes", False),
        ("trt_int8_use_native_calibration_table", False),
    ],
)
def test_options_that_name_files_are_told_from_others(key: str, is_file: bool) -> None:
    assert find_file_option({}, {"session.set_denormal_as_zero": "1", key: "x"}) == (key if is_file else None)
