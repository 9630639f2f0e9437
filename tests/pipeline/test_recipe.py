"""Recipes: what they may say, how they are read and written, and what who writes a wrong one is told."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import onnxslim
from onnxslim.core import quantities
from onnxslim.core.errors import UsageError
from onnxslim.core.version import __version__
from onnxslim.model_io import model_file
from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.recipe import Recipe, Repeat, Step, make_step
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.pipeline.step_registry import STEP_REGISTRY
from onnxslim.pruning.importance.criteria import CRITERIA
from onnxslim.pruning.options import BUDGET_METRICS
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.recovery.options import AUGMENTATIONS
from onnxslim.simplification.rule_table import RULES
from onnxslim.validation.gates import Gates
from onnxslim_cli.main import main
from tests.support.paths import SAMPLES

MLP = str(SAMPLES / "digits_mlp.onnx")
#: Everything that has options, by its path in a recipe.
OPTION_CLASSES = {**{name: kind.options_class for name, kind in STEP_REGISTRY.items()}, "gates": Gates}
HINTS = {(name, field): hint for name, cls in OPTION_CLASSES.items()
         for field, hint in get_type_hints(cls, include_extras=True).items()}  # fmt: skip


def arms(hint: Any) -> list[Any]:
    """The types that a field may have, None aside."""
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return [part for part in parts if part is not types.NoneType]


def bare(hint: Any) -> Any:
    """A type without its notation, and of a sequence what kind of thing it is."""
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return get_origin(hint) or hint


def wrong_values(name: str, field: str) -> list[Any]:
    """Values of every type that the field has not."""
    hint = HINTS[name, field]
    allowed = {bare(part) for arm in arms(hint) for part in arms(get_args(arm)[0] if get_origin(arm) is Annotated else arm)}
    of_text = any(bare(get_args(arm)[0]) is str for arm in arms(hint) if bare(arm) in (tuple, Sequence))
    wrong: list[Any] = [{"a": 1}, [{}], float("nan")]
    wrong += [] if bool in allowed else [True]
    wrong += [] if str in allowed or of_text else ["abc", ""]
    wrong += [] if float in allowed or quantities.Bytes in arms(hint) else [2.5]
    wrong += [] if allowed & {float, int} else [3]
    wrong += [] if allowed & {tuple, Sequence} else [[1], []]
    return wrong if types.NoneType in get_args(hint) else [*wrong, None]


def write(name: str, options: dict[str, Any]) -> str:
    """A recipe with these options, as text."""
    value = {"steps": ["simplify"], "gates": options} if name == "gates" else {"steps": ["simplify", {name: options}]}
    return yaml.safe_dump(value)


@pytest.mark.parametrize(("name", "field"), HINTS)
def test_a_value_of_the_wrong_type_is_refused_by_its_path(name: str, field: str) -> None:
    path = f"gates.{field}" if name == "gates" else f"steps[1].{name}.{field}"
    for value in wrong_values(name, field):
        with pytest.raises(UsageError) as caught:
            recipes.parse(write(name, {field: value}), "r.yaml")
        assert caught.value.message.startswith(tuple(f"r.yaml: {path}{mark}" for mark in (": ", "[", "."))), (
            value,
            caught.value.message,
        )
        assert "expected" in caught.value.message
        assert "\n" not in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize("name", OPTION_CLASSES)
def test_every_option_class_names_the_nearest_of_a_misspelt_option(name: str) -> None:
    for field in get_type_hints(OPTION_CLASSES[name]):
        with pytest.raises(UsageError, match=f"no option {field}x") as caught:
            recipes.parse(write(name, {f"{field}x": 1}))
        assert field in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("steps: [{prune: {remove: [1]}}]", "steps[0].prune.remove: expected a share, got [1]"),
        ("steps: [simplify, {quantize: {calibration: 3}}]", "steps[1].quantize.calibration: expected text, got 3"),
        ("steps: [{quantize: {min_sqnr: abc}}]", 'steps[0].quantize.min_sqnr: expected a number, got "abc"'),
        ("{steps: [simplify], gates: {max_drop: abc}}", 'gates.max_drop: expected a share, got "abc"'),
        ("{steps: [simplify], gates: {max_drop: 1}}", "gates.max_drop: 1: is it per cent or a share?"),
        ("{steps: [simplify], gates: {max_drop: 1.5}}", "gates.max_drop: 1.5: is it per cent or a share?"),
        ("{steps: [simplify], gates: {for_ort: 1.20}}", "gates.for_ort: expected text, got 1.2"),
        ("{steps: [simplify], gates: 0}", "gates: expected options by name, got 0"),
        ("{steps: [simplify], gates: ''}", 'gates: expected options by name, got ""'),
        ("{steps: [simplify], gates: [max_drop]}", "gates: expected options by name"),
        ("{steps: [simplify], seed: true}", "seed: expected a whole number of at least 0, got true"),
        ("{steps: [simplify], seed: -1}", "seed: expected a whole number of at least 0, got -1"),
        ("{steps: [simplify], seed: '3'}", 'seed: expected a whole number of at least 0, got "3"'),
        ("{steps: [simplify], tune: x}", 'tune: expected a share, got "x"'),
        ("{steps: [simplify], tune: 1}", "tune: 1: is it per cent or a share?"),
        ("{steps: [simplify], data: 2020-01-01}", "data: expected text"),
        ("{steps: [simplify], provider: 3}", "provider: expected text, got 3"),
        ("steps: [{prune: {remove: 1}}]", "steps[0].prune.remove: 1: is it per cent or a share?"),
        ("steps: [{prune: {remove: 100%}}]", "steps[0].prune: --remove 1: expected a share above 0 %"),
        ("steps: [{prune: {sparsity: 2:4}}]", "steps[0].prune.sparsity: expected a share such as 50%"),
        ("steps: [{prune: {cuts: [[[1, a]]]}}]", 'steps[0].prune.cuts[0][0][1]: expected a whole number, got "a"'),
        ("steps: [{prune: {seed: -1}}]", "steps[0].prune.seed: expected a whole number of at least 0"),
        ("steps: [{recover: {seconds: soon}}]", 'steps[0].recover.seconds: expected a time, got "soon"'),
        ("steps: [{simplify: {max_fold_bytes: 4 MiB}}]", "steps[0].simplify.max_fold_bytes: expected a size"),
        ("steps: [{quantize: 3}]", "steps[0].quantize: expected options by name, got 3"),
        ("steps: [{quantize: ''}]", "steps[0].quantize: expected options by name"),
        ("steps: [{repeat: [], until: drop}]", "steps[0]: repeat is empty, expected a list of steps"),
        ("steps: [{repeat: prune}]", 'steps[0].repeat: expected a list, got "prune"'),
        ("steps: [{repeat: [simplify], until: sunset}]", "steps[0].until: expected one of budget, drop, no_gain"),
        ("steps: [{repeat: [simplify], until: [drop]}]", "steps[0].until: expected one of budget, drop, no_gain"),
        ("steps: [{repeat: [simplify], times: 0}]", "steps[0].times: expected a whole number of at least 1, got 0"),
        ("steps: [{repeat: [simplify], times: true}]", "steps[0].times: expected a whole number of at least 1, got true"),
        ("steps: [{repeat: [{repeat: [simplify]}]}]", "steps[0].repeat[0]: a repeat inside a repeat"),
        ("steps: [{repeat: [{recover: {lr: x}}]}]", "steps[0].repeat[0].recover.lr: expected a number"),
        ("steps: [{repeat: [simplify], while: drop}]", "steps[0]: no option while"),
        ("steps: [prine]", "steps[0]: no step prine"),
        ("steps: [[simplify]]", "steps[0]: expected a step"),
        ("steps: [{simplify: {}, quantize: {}}]", "steps[0]: expected a step"),
        ("steps: simplify", 'steps: expected a list, got "simplify"'),
        ("step: [simplify]", "no option step"),
        ("search: fastset", "search: expected one of balanced, smallest, fastest"),
        ("{search: fastest, steps: [simplify]}", "expected either a list of steps or what to search for"),
        ("steps: [quantize: {calibratoin: mse}]", "steps[0].quantize: no option calibratoin"),
        ("{steps: [simplify], speed: 3}", "no option speed"),
        ("steps: [", "not YAML"),
        ("search: 2026-13-45", "not YAML (month must be"),
        ("steps: " + 2000 * "[", "not YAML"),
        (f"seed: 1{4400 * '0'}", "not YAML"),
        (f"steps: [quantize: {{min_sqnr: 1{400 * '0'}}}]", "steps[0].quantize.min_sqnr: expected a number"),
        ("gates: {}", "expected either a list of steps or what to search for"),
        ("seed: 1", "expected either a list of steps or what to search for"),
        ("[simplify]", "expected a mapping with a list of steps"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line_with_its_place(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        recipes.parse(text, "r.yaml")
    assert caught.value.message.startswith(f"r.yaml: {says}")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "steps: [{prune: {remove: [1]}}]",
        "steps: [{quantize: {calibration: 3}}]",
        "steps: [{quantize: {min_sqnr: abc}}]",
        "{steps: [simplify], gates: {max_drop: abc}}",
        "{steps: [simplify], gates: 0}",
    ],
)
def test_a_wrong_recipe_ends_the_command_with_2_and_the_name_of_the_file(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    assert main(["optimize", MLP, "-o", str(tmp_path / "o.onnx"), "--data", "random", "--recipe", str(path)]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {path}: ")
    assert hint.startswith("hint: ")
    with pytest.raises(UsageError, match="expected"):
        onnxslim.optimize(MLP, data="random", recipe=path)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"recipe": Recipe((make_step("quantize"),), seed="0")}, "recipe: seed: expected"),
        ({"recipe": Recipe((Step("quantize", QuantizeOptions(min_sqnr="abc")),))}, r"quantize\.min_sqnr: expected"),
        ({"max_drop": "abc"}, r"gates\.max_drop: expected a share"),
        ({"min_ratio": "2x"}, r"gates\.min_ratio: expected a number"),
    ],
)  # fmt: skip
def test_python_is_told_the_same(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        onnxslim.optimize(MLP, data="random", **wrong)


def test_a_step_made_in_python_is_checked() -> None:
    assert make_step("prune", remove="30%") == make_step("prune", remove=0.3)
    with pytest.raises(UsageError, match=r"recipe: prune\.remove: expected a share"):
        make_step("prune", remove=[1])
    with pytest.raises(UsageError, match="no option remov"):
        make_step("prune", remov=0.1)


def test_shares_sizes_and_times_are_written_as_on_the_command_line() -> None:
    read = recipes.parse("""
steps:
- simplify: {max_fold_bytes: 2kB}
- prune: {remove: 30%, sparsity: 50%, exclude: ^head$}
- prune: {max_size: 1.5MB}
- recover: {seconds: 15m, lr: 1e-3, blockwise: 1}
- quantize: {max_memory: 2GB}
gates: {max_drop: 1%, min_agreement: 100%, max_size: 4MB, max_latency: 0.5s}
tune: 20%
""")
    assert read.steps == (
        make_step("simplify", max_fold_bytes=2000),
        make_step("prune", remove=0.3, sparsity="50%", exclude=("^head$",)),
        make_step("prune", max_size=1_500_000),
        make_step("recover", seconds=900.0, lr=0.001, blockwise=1),
        make_step("quantize", max_memory=2_000_000_000),
    )
    assert read.gates == Gates(max_drop=0.01, min_agreement=1.0, max_size=4_000_000, max_latency=0.5)
    assert read.tune == 0.2


def test_a_limit_in_the_unit_of_an_error_is_read_back() -> None:
    asked = Recipe((make_step("simplify"),), Gates(max_drop=2.5))
    assert yaml.safe_load(asked.to_yaml())["gates"] == {"max_drop": "2.5 units"}
    assert recipes.parse(asked.to_yaml()) == asked


@pytest.mark.parametrize("text", ["{steps: [simplify], tune: 0}", "{steps: [simplify], gates: }", "steps: [simplify: ]"])
def test_what_says_nothing_is_the_default(text: str) -> None:
    assert recipes.parse(text) == recipes.PRESETS["lossless"]


#: Values of fields whose type says less than their class asks for.
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "skip": st.lists(st.sampled_from([rule.name for rule in RULES]), max_size=3).map(tuple),
    "of": st.sampled_from(BUDGET_METRICS),
    "criterion": st.sampled_from(sorted(CRITERIA)),
    "round_to": st.just("auto") | st.integers(1, 64),
    "sparsity": st.sampled_from([0.5, "50%", "2:4", "50%:1x4", "<0.001"]),
    "augment": st.none() | st.lists(st.sampled_from(AUGMENTATIONS)).map(tuple),
    "rounds": st.integers(1, 9),
    "min_layer_params": st.integers(0),
    "steps": st.integers(1),
    "batch_size": st.integers(1),
    "epochs": st.floats(0.1, 100) | st.integers(1, 9),
    "lr": st.floats(1e-9, 1),
    "weight_decay": st.floats(0, 1),
    "label_weight": st.floats(0, 1) | st.integers(0, 1),
}
_NOTATIONS: dict[Any, st.SearchStrategy[Any]] = {
    quantities.Share: st.floats(0, 1, exclude_min=True, exclude_max=True),
    quantities.WholeShare: st.floats(0, 1) | st.integers(0, 1),
    quantities.Drop: st.floats(0, 1e6) | st.integers(0, 9),
    quantities.Bytes: st.integers(1),
    quantities.Seconds: st.floats(0, 1e6, exclude_min=True) | st.integers(1),
    quantities.Count: st.integers(1),
    quantities.Seed: st.integers(0),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a type."""
    if get_origin(hint) in (Union, types.UnionType):
        return st.one_of([st.none() if part is types.NoneType else values(part) for part in get_args(hint)])
    if get_origin(hint) in (tuple, Sequence):
        return st.lists(values(get_args(hint)[0]), max_size=3).map(tuple)
    if get_origin(hint) is Mapping:
        keys, items = get_args(hint)
        return st.dictionaries(values(keys), values(items), max_size=3)
    numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers()  # an infinity is no number in a recipe
    plain = {str: st.text(), bool: st.booleans(), int: st.integers(), float: numbers}
    return plain[hint] if hint in plain else _NOTATIONS[hint]


def options(name: str) -> st.SearchStrategy[Any]:
    """Options of one class, those that go together."""
    cls = OPTION_CLASSES[name]
    fields = {
        field: _VALUES[field] if field in _VALUES else values(hint)
        for (owner, field), hint in HINTS.items()
        if owner == name
    }

    def build(chosen: dict[str, Any]) -> Any:
        try:
            return cls(**chosen)
        except UsageError:  # two budgets
            return None

    return st.fixed_dictionaries({}, optional=fields).map(build).filter(lambda one: one is not None)


STEPS = st.one_of([st.builds(Step, st.just(name), options(name)) for name in STEP_REGISTRY])
LOOPS = st.builds(Repeat, st.lists(STEPS, min_size=1, max_size=2).map(tuple), st.sampled_from(["budget", "drop", "no_gain"]),
                  st.integers(1, 99))  # fmt: skip
RECIPES = st.builds(
    Recipe, st.lists(STEPS | LOOPS, max_size=4).map(tuple), options("gates"), st.integers(0), st.none(),
    st.floats(0, 1, exclude_max=True), st.none() | st.text(), st.none() | st.text(), st.none() | st.text(),
)  # fmt: skip


@settings(deadline=None)
@given(RECIPES)
def test_what_is_written_reads_as_what_it_was(asked: Recipe) -> None:
    text = asked.to_yaml()
    read = recipes.parse(text)
    assert read == asked
    assert read.to_yaml() == text
    assert recipes.check(asked) == asked


def plain(chosen: Any) -> dict[str, Any]:
    """What options add to their defaults."""
    given = {field: getattr(chosen, field.name) for field in dataclasses.fields(chosen)}
    return {field.name: list(value) if isinstance(value, tuple) else value
            for field, value in given.items() if value != field.default}  # fmt: skip


@settings(deadline=None)
@given(RECIPES.filter(lambda recipe: (recipe.gates.max_drop or 0) < 1))
def test_a_recipe_says_what_was_chosen_and_nothing_else(asked: Recipe) -> None:
    def entry(one: Step | Repeat) -> dict[str, Any]:
        if isinstance(one, Step):
            return {one.name: plain(one.options)}
        return {"repeat": [entry(step) for step in one.steps], "until": one.until, "times": one.times}

    given = {name: value for name in ("data", "eval_data", "provider") if (value := getattr(asked, name)) is not None}
    expected = {"steps": [entry(one) for one in asked.steps], "gates": plain(asked.gates), "seed": asked.seed,
                **({"tune": asked.tune} if asked.tune else {}), **given}  # fmt: skip
    assert asked.to_yaml() == yaml.safe_dump(expected, sort_keys=False, default_flow_style=None, width=100)


@pytest.mark.parametrize("name", recipes.PRESETS)
def test_a_preset_survives_its_text(name: str) -> None:
    assert recipes.parse(recipes.PRESETS[name].to_yaml()) == recipes.load(name) == recipes.PRESETS[name]


def test_a_recipe_file_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"r\.yaml: not text"):
        recipes.load(tmp_path / "r.yaml")


def test_a_written_model_carries_its_recipe_under_the_documented_keys(tmp_path: Path) -> None:
    result = run_recipe(model_file.load(MLP), recipes.PRESETS["lossless"], time_it=False)
    result.save(tmp_path / "slim.onnx")
    metadata = model_file.load(tmp_path / "slim.onnx").metadata_props
    assert metadata["onnxslim.recipe"] == result.recipe
    assert metadata["onnxslim.version"] == __version__
    assert recipes.load(tmp_path / "slim.onnx") == recipes.PRESETS["lossless"]
