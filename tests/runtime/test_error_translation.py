"""The runtime's errors by what they mean, and one line of them."""

from __future__ import annotations

import pytest

from onnxslim.core.errors import InvalidModelError, LimitError, OnnxslimError, UnsupportedError, UsageError
from onnxslim.runtime.error_translation import translate_error, translate_text


@pytest.mark.parametrize(
    ("name", "text", "context", "expected"),
    [
        ("NotImplemented", "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find Op", "loading", UnsupportedError),
        ("Fail", "[ONNXRuntimeError] : 1 : FAIL : a:Op is not a registered function/op", "loading", UnsupportedError),
        ("RuntimeException", "Failed to allocate memory for requested buffer", "running", LimitError),
        ("InvalidArgument", "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got dimensions", "while running", UsageError),
        ("InvalidArgument", "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : no such provider option", "loading", UsageError),
        ("InvalidGraph", "[ONNXRuntimeError] : 10 : INVALID_GRAPH : bad\nmore", "loading", InvalidModelError),
    ],
)  # fmt: skip
def test_what_an_error_means_is_read_from_its_name_and_text(
    name: str, text: str, context: str, expected: type[OnnxslimError]
) -> None:
    found = translate_text(name, text, context)
    assert type(found) is expected
    assert found.message == f"{context}: {text.splitlines()[0].split(' : ', 3)[-1]}"


def test_a_file_that_was_written_only_to_be_loaded_is_not_named() -> None:
    text = "[ONNXRuntimeError] : 1 : FAIL : Load model from /tmp/a b/.onnxslim-12.tmp failed:Invalid tensor data type 0."
    assert translate_text("Fail", text, "loading").message == "loading: Invalid tensor data type 0."


def test_a_locale_that_is_not_installed_is_no_fault_of_the_model() -> None:
    text = "Exception during initialization: Failed to construct locale with name:de_DE.UTF-8:locale::facet: not valid"
    found = translate_text("RuntimeException", text, "loading")
    assert type(found) is UnsupportedError
    assert "locale de_DE.UTF-8" in found.message
    assert "locale-gen de_DE.UTF-8" in str(found.hint)


def test_what_is_not_the_runtimes_stays_what_it_is() -> None:
    defect = KeyError("x")
    assert translate_error(defect, "loading") is defect
    assert isinstance(translate_error(RuntimeError(""), "loading"), InvalidModelError)
