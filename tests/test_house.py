"""The house's measure: few positional parameters, small folders, one meaning for the name of a class."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

#: Positional parameters that a caller can still tell apart.
MAX_POSITIONAL = 6
#: Modules that a person still finds their way among.
MAX_MODULES = 16
#: One function an operator with ONNX's own inputs in ONNX's own order; one rule or one kind of op a file.
OPS, RULES = ROOT / "onnxslim/recovery/ops", "rules"


def trees() -> Iterator[tuple[Path, ast.Module]]:
    """Every module of the library and the command line, parsed."""
    for room in ("onnxslim", "cli"):
        for path in sorted((ROOT / room).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def count_positional(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The parameters that may be given by position, without the object or class that a method is called on."""
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def test_the_count_sees_every_kind_of_parameter() -> None:
    (function,) = ast.parse("def f(self, a, /, b, c=0, *rest, d, **more): ...").body
    assert isinstance(function, ast.FunctionDef)
    assert count_positional(function) == 3


def test_no_function_has_more_positional_parameters_than_a_caller_can_tell_apart() -> None:
    crowded = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {count}"
        for path, tree in trees()
        if OPS not in path.parents
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (count := count_positional(node)) > MAX_POSITIONAL
    ]
    assert crowded == []


def test_no_folder_holds_more_modules_than_a_person_finds_their_way_among() -> None:
    modules = Counter(path.parent for path, _ in trees() if path.parent != OPS and path.parent.name != RULES)
    assert {str(folder.relative_to(ROOT)): count for folder, count in modules.items() if count > MAX_MODULES} == {}


def test_a_class_has_a_name_of_its_own() -> None:
    names = Counter(node.name for _, tree in trees() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []


def reads_details(node: ast.AST) -> bool:
    """Whether ``….details[…]`` or ``….details.get(…)`` is read there."""
    is_read = (isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load)) or (
        isinstance(node, ast.Attribute) and node.attr in ("get", "items", "values", "keys", "pop")
    )
    return is_read and isinstance(node.value, ast.Attribute) and node.value.attr == "details"  # type: ignore[attr-defined]


def test_what_a_step_decided_is_read_from_its_decision_and_not_from_the_tables_for_people() -> None:
    assert any(map(reads_details, ast.walk(ast.parse("x = report.details['way']"))))
    assert not any(map(reads_details, ast.walk(ast.parse("report.details['way'] = x"))))
    home = ROOT / "onnxslim/core/step_report.py"
    assert [f"{path}:{node.lineno}" for path, tree in trees() if path != home  # type: ignore[attr-defined]
            for node in ast.walk(tree) if reads_details(node)] == []  # fmt: skip
