"""Entries that the runtime does not know are refused by name."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.core.errors import UsageError
from onnxslim.runtime.session import Session, SessionConfig


def test_an_entry_that_the_runtime_never_reads_is_refused_with_the_nearest(digits: ir.Model) -> None:
    Session(digits, SessionConfig(session_options={"session.intra_op.allow_spinning": "0"}))
    with pytest.raises(UsageError, match=r"session\.intra_op\.allow_spining: .* knows no such entry") as caught:
        Session(digits, SessionConfig(session_options={"session.intra_op.allow_spining": "0"}))
    assert "session.intra_op.allow_spinning" in str(caught.value.hint)


def test_the_cpu_provider_has_no_options(digits: ir.Model) -> None:
    with pytest.raises(UsageError, match="--provider-option arena: the cpu provider has no options"):
        Session(digits, SessionConfig(provider_options={"arena": "1"}))
