"""The declarative form of what is done to a model: steps with their options, gates, and a seed.

A file, the command line and Python say the same things::

    steps:
      - simplify
      - repeat: [prune: {remove: 0.1, of: macs}, recover: {steps: 200}]
        until: drop
      - quantize: {calibration: auto}
    gates: {max_drop: 0.01}
    seed: 0

or, instead of steps, what to look for within a budget: ``search: balanced``.

A recipe that comes out of a run is *resolved*: loops are unrolled and what a measurement decided is written into it, so
that replaying it needs no clock and gives the same bytes. It travels in the model's ``metadata_props`` under
:data:`METADATA_KEY`.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from onnxslim.core.errors import UsageError
from onnxslim.model_io import model_file
from onnxslim.pipeline.step_registry import STEP_REGISTRY, StepOptions
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.validation.gates import Gates

METADATA_KEY = "onnxslim.recipe"

#: What ends a loop: the time is up, the tune share's drop exceeds the gate, or a turn made nothing smaller.
LOOP_CONDITIONS = ("budget", "drop", "no_gain")
#: What a search may look for, and what it then wants large, given how many times faster and smaller a model became.
SEARCH_GOALS = ("balanced", "smallest", "fastest")
#: Turns of a loop when nobody says.
_DEFAULT_TURNS = 10


@dataclass(frozen=True)
class Step:
    """One step: its name in :data:`~onnxslim.pipeline.step_registry.STEP_REGISTRY` and its frozen options."""

    name: str
    options: StepOptions


@dataclass(frozen=True)
class Repeat:
    """Steps done again and again; the last turn is taken back when it is the one that was too much.

    Attributes:
        steps: Of one turn.
        until: One of :data:`LOOP_CONDITIONS`.
        times: Turns at most.
    """

    steps: tuple[Step, ...]
    until: str = "drop"
    times: int = _DEFAULT_TURNS


@dataclass(frozen=True)
class Recipe:
    """What to do, the gates the result must pass, and the seed of every draw.

    Attributes:
        steps: In order.
        gates: What the result must reach.
        seed: Of every draw.
        search: One of :data:`SEARCH_GOALS`, instead of steps.
        tune: Share of the fit data that steps do not see, because choices are made on it; a replay leaves it out too.
        data: Fit data, where the caller gives none.
        eval_data: Confirm data, where the caller gives none.
        provider: Where it runs, where the caller does not say.
    """

    steps: tuple[Step | Repeat, ...] = ()
    gates: Gates = field(default_factory=Gates)
    seed: int = 0
    search: str | None = None
    tune: float = 0.0
    data: str | None = None
    eval_data: str | None = None
    provider: str | None = None

    def to_yaml(self) -> str:
        """As YAML; fields that have their default are left out, so the text says what was chosen."""
        steps_or_search: dict[str, Any] = (
            {"steps": _dump_steps(self.steps)} if self.search is None else {"search": self.search}
        )
        run_settings = {name: value for name in _RUN_KEYS if (value := getattr(self, name)) is not None}
        tune = {"tune": self.tune} if self.tune else {}
        value = {**steps_or_search, "gates": _select_non_defaults(self.gates), "seed": self.seed, **tune, **run_settings}
        return yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=100)


#: Fields that say where a recipe runs, all text.
_RUN_KEYS = ("data", "eval_data", "provider")
_RECIPE_KEYS = ("steps", "search", "gates", "seed", "tune", *_RUN_KEYS)


def make_step(name: str, **options: Any) -> Step:
    """A step by name, its options checked.

    Raises:
        UsageError: An unknown step or option, or a value of the wrong type; the nearest name is the hint.
    """
    if name not in STEP_REGISTRY:
        raise UsageError(f"recipe: no step {name}", hint=_suggest_names(name, STEP_REGISTRY))
    return Step(name, _build_options(STEP_REGISTRY[name].options_class, options, f"step {name}"))


def parse(text: str) -> Recipe:
    """A recipe from YAML.

    Raises:
        UsageError: Not YAML, or not a recipe; names the key.
    """
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"recipe: not YAML ({' '.join(str(error).split())})") from None
    hint = "steps: [simplify, quantize], or search: balanced"
    if not isinstance(value, dict):
        raise UsageError("recipe: expected a mapping with a list of steps", hint=hint)
    for key in value:
        if key not in _RECIPE_KEYS:
            raise UsageError(f"recipe: unknown key {key}", hint=_suggest_names(str(key), _RECIPE_KEYS))
    search, steps = value.get("search"), value.get("steps")
    if (search is None) == (steps is None) or not (steps is None or isinstance(steps, list)):
        raise UsageError("recipe: expected either a list of steps or what to search for", hint=hint)
    if search is not None and search not in SEARCH_GOALS:
        raise UsageError(f"recipe: search {search}: unknown", hint=_suggest_names(str(search), SEARCH_GOALS))
    seed = value.get("seed", 0)
    if not isinstance(seed, int):
        raise UsageError(f"recipe: seed is {seed!r}, expected a whole number")
    tune = value.get("tune", 0.0)
    if not isinstance(tune, float) or not 0 <= tune < 1:
        raise UsageError(f"recipe: tune is {tune!r}, expected a share such as 0.2")
    run_settings = {name: value[name] for name in _RUN_KEYS if value.get(name) is not None}
    for name, given in run_settings.items():
        if not isinstance(given, str):
            raise UsageError(f"recipe: {name} is {given!r}, expected text")
    parsed = tuple(_parse_entry(entry) for entry in steps or ())
    return Recipe(parsed, _parse_gates(value.get("gates") or {}), seed, search, tune, **run_settings)


def load(source: str | os.PathLike[str]) -> Recipe:
    """A recipe by the name of a preset, from a YAML file, or out of a model that carries one.

    Raises:
        UsageError: No such preset or file, or the model carries no recipe.
    """
    name = os.fspath(source)
    if name in PRESETS:
        return PRESETS[name]
    if not os.path.exists(name):
        raise UsageError(f"--recipe {name}: no such preset or file", hint=f"presets: {', '.join(PRESETS)}")
    if name.endswith(".onnx"):
        text = model_file.load(name).metadata_props.get(METADATA_KEY)
        if text is None:
            raise UsageError(f"--recipe {name}: this model carries no recipe", hint="only outputs of optimize do")
        return parse(text)
    try:
        with open(name, encoding="utf-8") as file:
            return parse(file.read())
    except UnicodeDecodeError:
        raise UsageError(f"--recipe {name}: not text", hint="a YAML file, or an .onnx that carries a recipe") from None


def set_placement(recipe: Recipe, placement: str) -> Recipe:
    """``recipe`` with ``placement`` in its quantize steps, where none was recorded or chosen."""
    default = QuantizeOptions()

    def with_placement(step: Step) -> Step:
        options = step.options
        if step.name != "quantize" or options.float_units is not None or options.placement != default.placement:
            return step
        return Step(step.name, dataclasses.replace(options, placement=placement))

    def place_entry(step_or_loop: Step | Repeat) -> Step | Repeat:
        if isinstance(step_or_loop, Step):
            return with_placement(step_or_loop)
        return dataclasses.replace(step_or_loop, steps=tuple(map(with_placement, step_or_loop.steps)))

    return dataclasses.replace(recipe, steps=tuple(map(place_entry, recipe.steps)))


def _parse_gates(given: Any) -> Gates:
    if not isinstance(given, Mapping):
        raise UsageError(f"recipe: gates is {given!r}, expected limits by name", hint="gates: {max_drop: 0.01}")
    gates: Gates = _build_options(Gates, given, "gates")
    return gates


def _parse_entry(entry: Any) -> Step | Repeat:
    """One entry of ``steps``: a name, a name with options, or a loop."""
    if isinstance(entry, str):
        return make_step(entry)
    if isinstance(entry, dict) and "repeat" in entry:
        return _parse_loop(entry)
    if not isinstance(entry, dict) or len(entry) != 1:
        raise UsageError(f"recipe: {entry!r} is not a step", hint="one name and its options, e.g. quantize: {}")
    ((name, options),) = entry.items()
    if not isinstance(options or {}, Mapping):
        raise UsageError(
            f"recipe: {name} is {options!r}, expected options by name", hint=f"{name}: {{}} takes them all as they are"
        )
    return make_step(str(name), **(options or {}))


def _parse_loop(entry: Mapping[str, Any]) -> Repeat:
    inner, until, times = entry["repeat"], entry.get("until", "drop"), entry.get("times", _DEFAULT_TURNS)
    for key in entry:
        if key not in ("repeat", "until", "times"):
            raise UsageError(f"recipe: repeat has no option {key}", hint=_suggest_names(str(key), ("until", "times")))
    if not isinstance(inner, list) or not inner:
        raise UsageError(f"recipe: repeat is {inner!r}, expected a list of steps")
    if until not in LOOP_CONDITIONS:
        raise UsageError(f"recipe: until {until}: unknown", hint=f"one of {', '.join(LOOP_CONDITIONS)}")
    if not isinstance(times, int) or times < 1:
        raise UsageError(f"recipe: times is {times!r}, expected a whole number of at least 1")
    steps = []
    for inner_step in map(_parse_entry, inner):
        if isinstance(inner_step, Repeat):
            raise UsageError("recipe: a repeat inside a repeat")
        steps.append(inner_step)
    return Repeat(tuple(steps), until, times)


def _dump_steps(steps: Iterable[Step | Repeat]) -> list[dict[str, Any]]:
    return [
        {"repeat": _dump_steps(one.steps), "until": one.until, "times": one.times}
        if isinstance(one, Repeat)
        else {one.name: _select_non_defaults(one.options)}
        for one in steps
    ]


def _build_options(cls: type[Any], given: Mapping[str, Any], where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in fields:
            raise UsageError(f"recipe: {where} has no option {key}", hint=_suggest_names(str(key), fields))
        values[key] = tuple(value) if isinstance(value, list) else value
    return cls(**values)


def _select_non_defaults(options: Any) -> dict[str, Any]:
    """The fields whose value is not the default, as plain YAML values."""
    result: dict[str, Any] = {}
    for f in dataclasses.fields(options):
        value = getattr(options, f.name)
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        if value != default:
            result[f.name] = list(value) if isinstance(value, tuple) else value
    return result


def _suggest_names(name: str, known: Any) -> str:
    matches = difflib.get_close_matches(name, list(known), n=2, cutoff=0.4)
    return f"did you mean {' or '.join(matches)}?" if matches else f"one of {', '.join(known)}"


#: Recipes by name.
PRESETS: dict[str, Recipe] = {
    **{name: Recipe(search=name) for name in SEARCH_GOALS},
    "lossless": Recipe((make_step("simplify"),)),
    "int8": Recipe((make_step("simplify"), make_step("quantize"))),
    **{
        target.preset: Recipe((make_step("simplify"), make_step("quantize", target=target.name)))
        for target in TARGETS.values()
        if target.preset is not None
    },
}
