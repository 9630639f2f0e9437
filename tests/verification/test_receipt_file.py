"""A receipt is read as it was written; what is damaged or of another tool is refused in a line that names the field."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxslim.core.errors import UsageError
from onnxslim.core.quantities import Units
from onnxslim.validation.latency import summarize
from onnxslim.verification.data_record import DataRecord
from onnxslim.verification.outcome import check_speed
from onnxslim.verification.receipt import SCHEMA, ModelRecord, Receipt, Settings, describe_machine
from onnxslim.verification.receipt_file import ReceiptFile, read_receipt

RECEIPT = Receipt(
    SCHEMA, "pass", ModelRecord("a.onnx", {"a.onnx": "1" * 64, "a.data": "2" * 64}), ModelRecord(None, {"": "3" * 64}),
    DataRecord("d.npz", 7, "4" * 64),
    Settings(dim={"batch": 2}, output=("y",), state={"auto": ""}, min_speedup=1.1), 7, None,
    machine=describe_machine(),
)  # fmt: skip
ROUNDS = {"original": np.array([2.0, 2.1, 1.9]), "result": np.array([1.0, 1.1, 0.9])}
LATENCY = {**summarize(ROUNDS, provider="CPU", threads=1, batch=1), "of": "step"}
LATENCY["prompt"] = {**LATENCY, "of": "prompt"}


def write(path: Path, entry: object, **more: object) -> Path:
    path.write_text(json.dumps({"receipt": entry, **more}))
    return path


@pytest.mark.parametrize("limit", [0.01, Units(2.5)])
def test_it_is_read_as_it_was_written(tmp_path: Path, limit: float) -> None:
    receipt = replace(RECEIPT, settings=replace(RECEIPT.settings, max_drop=limit))
    file = read_receipt(write(tmp_path / "r.json", receipt.as_json(), latency=LATENCY))
    assert file.receipt == receipt
    assert isinstance(file.receipt.settings.max_drop, Units) == isinstance(limit, Units)
    assert file.latency == LATENCY


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not JSON"), ("[]", "no receipt"), ("{}", "no receipt"), ('{"receipt": null}', "no receipt"),
        ('{"receipt": {}}', "schema None"), ('{"receipt": {"schema": 99, "tool": "9.9"}}', "schema 99"),
        ('{"receipt": {"schema": 1}}', "r.json"), ("[" * 100_000, "not JSON"), ("\udcff", "not JSON"),
    ],
)  # fmt: skip
def test_what_is_no_receipt_is_one_line_with_the_file(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UsageError) as caught:
        read_receipt(path)
    assert says in caught.value.message
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_receipt(tmp_path / "none.json")


def test_a_key_of_the_wrong_type_is_named_by_its_path(tmp_path: Path) -> None:
    entry = RECEIPT.as_json()
    entry["settings"]["seed"] = "zero"
    with pytest.raises(UsageError, match=r"settings\.seed"):
        read_receipt(write(tmp_path / "r.json", entry))


@pytest.mark.parametrize("used", [-1, 8])
def test_a_receipt_of_more_samples_than_there_are_is_none(tmp_path: Path, used: int) -> None:
    with pytest.raises(UsageError, match="of 7 samples used"):
        read_receipt(write(tmp_path / "r.json", {**RECEIPT.as_json(), "samples_used": used}))


@pytest.mark.parametrize("part", ["candidate", "settings", "machine"])
def test_what_is_no_table_in_it_is_named_by_its_path(tmp_path: Path, part: str) -> None:
    entry = RECEIPT.as_json()
    table = {"candidate": "files", "settings": "dim"}.get(part)
    if table is None:
        entry[part] = 3
    else:
        entry[part][table] = 3
    with pytest.raises(UsageError, match=rf"{part}.*expected values by name, got 3"):
        read_receipt(write(tmp_path / "r.json", entry))


def list_places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in ``value``, itself left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from list_places(item, (*path, key))


DOCUMENT = {"receipt": json.loads(json.dumps(RECEIPT.as_json())), "latency": json.loads(json.dumps(LATENCY))}
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=8), st.just([]), st.just({}),
    st.lists(st.floats(), max_size=3), st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(list(list_places(DOCUMENT))), value=VALUES, gone=st.booleans())
def test_any_field_that_is_damaged_is_named_or_as_good_as_another(
    tmp_path: Path, place: tuple[Any, ...], value: Any, gone: bool
) -> None:
    document = copy.deepcopy(DOCUMENT)
    parent: Any = document
    for key in place[:-1]:
        parent = parent[key]
    if gone:
        del parent[place[-1]]
    else:
        parent[place[-1]] = value
    path = tmp_path / "r.json"
    path.write_text(json.dumps(document))
    file, told = try_to_read(path)
    if file is None:
        assert told.startswith(f"{path}: ")
        assert "\n" not in told
        assert any(key in told for key in place if isinstance(key, str))
    else:  # what it is used for
        check_speed(file.latency, file.receipt.settings.min_speedup)
        file.list_differences(RECEIPT)
        json.dumps(file.receipt.as_json(), allow_nan=False)


def try_to_read(path: Path) -> tuple[ReceiptFile | None, str]:
    """The receipt, or what is told people instead."""
    try:
        return read_receipt(path), ""
    except UsageError as error:
        return None, error.message + (error.hint or "")


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("ratio", None, "latency: ratio"), ("ratio", 0, "above 0"), ("ratio", "fast", "latency: ratio"),
        ("interval", [2, 1], "the lower first"), ("interval", [1], "the two ends"), ("original", 3, "latency: original"),
        ("prompt", {"ratio": 1}, "latency: prompt"), ("speed", 1, "no option speed"),
    ],
)  # fmt: skip
def test_times_that_are_none_are_refused_by_name(tmp_path: Path, place: str, value: Any, says: str) -> None:
    path = write(tmp_path / "r.json", RECEIPT.as_json(), latency={**LATENCY, place: value})
    with pytest.raises(UsageError, match=says):
        read_receipt(path)
