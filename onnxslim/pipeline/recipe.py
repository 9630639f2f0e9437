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
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import yaml

from onnxslim.core.converter import Converter, MisfitError, refuse, suggest_names
from onnxslim.core.errors import UsageError
from onnxslim.core.quantities import Count, Seed, Share, format_drop
from onnxslim.model_io import model_file
from onnxslim.pipeline.step_registry import STEP_REGISTRY, StepOptions
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.validation.gates import Gates

METADATA_KEY = "onnxslim.recipe"

#: What ends a loop: the time is up, the tune share's drop exceeds the gate, or a turn made nothing smaller.
LoopCondition = Literal["budget", "drop", "no_gain"]
#: What a search may look for, and what it then wants large, given how many times faster and smaller a model became.
SearchGoal = Literal["balanced", "smallest", "fastest"]
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
        until: What ends it.
        times: Turns at most.
    """

    steps: tuple[Step, ...] = field(metadata={"key": "repeat"})
    until: LoopCondition = "drop"
    times: Count = _DEFAULT_TURNS

    def __post_init__(self) -> None:
        if not self.steps:
            raise UsageError(
                "repeat is empty, expected a list of steps", hint="repeat: [prune: {remove: 10%}, recover: {steps: 200}]"
            )


@dataclass(frozen=True)
class Recipe:
    """What to do, the gates the result must pass, and the seed of every draw.

    Attributes:
        steps: In order.
        gates: What the result must reach.
        seed: Of every draw.
        search: What to look for, instead of steps.
        tune: Share of the fit data that steps do not see, because choices are made on it; a replay leaves it out too.
        data: Fit data, where the caller gives none.
        eval_data: Confirm data, where the caller gives none.
        provider: Where it runs, where the caller does not say.
        keep_initializer_inputs: Whether initializers that are inputs too stay inputs, so that callers can replace them.
    """

    steps: tuple[Step | Repeat, ...] = ()
    gates: Gates = field(default_factory=Gates)
    seed: Seed = 0
    search: SearchGoal | None = None
    tune: Share = 0.0
    data: str | None = None
    eval_data: str | None = None
    provider: str | None = None
    keep_initializer_inputs: bool = False

    def to_yaml(self) -> str:
        """As YAML; fields that have their default are left out, so the text says what was chosen."""
        goal: dict[str, Any] = {"steps": []} if self.search is None else {"search": self.search}
        value = {**goal, "gates": {}, "seed": 0, **_CONVERTER.unstructure(self)}
        return yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=100)


def make_step(name: str, **options: Any) -> Step:
    """A step by name, its options checked.

    Raises:
        UsageError: An unknown step or option, or a value of the wrong type; the nearest name is the hint.
    """
    return _CONVERTER.read({name: options}, Step, "recipe")


def parse(text: str, source: str = "recipe") -> Recipe:
    """A recipe from YAML.

    Raises:
        UsageError: Not YAML, or not a recipe; names the ``source`` and the path of what is wrong in it.
    """
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # dates, numbers and nesting beyond all bounds
        raise UsageError(f"{source}: not YAML ({' '.join(str(error).split())})") from None
    hint = "steps: [simplify, quantize], or search: balanced"
    if not isinstance(value, dict):
        raise UsageError(f"{source}: expected a mapping with a list of steps", hint=hint)
    recipe = _CONVERTER.read(value, Recipe, source)
    if (recipe.search is None) == (value.get("steps") is None):
        raise UsageError(f"{source}: expected either a list of steps or what to search for", hint=hint)
    return recipe


def check(recipe: Recipe) -> Recipe:
    """``recipe``, whatever Python code made it of, with every value looked at as if it had been read.

    Raises:
        UsageError: A value is of the wrong type; names its path.
    """
    return _CONVERTER.read(_CONVERTER.unstructure(recipe), Recipe, "recipe")


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
        return parse(text, name)
    try:
        with open(name, encoding="utf-8") as file:
            return parse(file.read(), name)
    except UnicodeDecodeError:
        raise UsageError(f"--recipe {name}: not text", hint="a YAML file, or an .onnx that carries a recipe") from None


def set_placement(recipe: Recipe, placement: str) -> Recipe:
    """``recipe`` with ``placement`` in its quantize steps, where none was recorded or chosen."""
    default = QuantizeOptions()

    def with_placement(step: Step) -> Step:
        options = step.options
        is_decided = step.name == "quantize" and (options.float_units is not None or options.block_layers is not None)
        if step.name != "quantize" or is_decided or options.placement != default.placement:
            return step
        return Step(step.name, dataclasses.replace(options, placement=placement))

    def place_entry(step_or_loop: Step | Repeat) -> Step | Repeat:
        if isinstance(step_or_loop, Step):
            return with_placement(step_or_loop)
        return dataclasses.replace(step_or_loop, steps=tuple(map(with_placement, step_or_loop.steps)))

    return dataclasses.replace(recipe, steps=tuple(map(place_entry, recipe.steps)))


def _structure_entry(value: Any, _: Any) -> Step | Repeat:
    """One entry of ``steps``: a name, a name with options, or a loop."""
    is_loop = isinstance(value, Mapping) and "repeat" in value
    return _CONVERTER.structure(value, Repeat) if is_loop else _CONVERTER.structure(value, Step)


def _unstructure_gates(gates: Gates) -> dict[str, Any]:
    chosen = {f.name: value for f in dataclasses.fields(gates) if (value := getattr(gates, f.name)) != f.default}
    return chosen if gates.max_drop is None else chosen | {"max_drop": format_drop(gates.max_drop)}


def _structure_step(value: Any, _: Any) -> Step:
    entry = {value: None} if isinstance(value, str) else value
    if isinstance(entry, Mapping) and "repeat" in entry:
        raise MisfitError("a repeat inside a repeat", "one loop behind another")
    if not isinstance(entry, Mapping) or len(entry) != 1:
        refuse(value, "expected a step", "one name and its options, e.g. quantize: {}")
    ((name, options),) = entry.items()
    if name not in STEP_REGISTRY:
        raise MisfitError(f"no step {name}", suggest_names(name, STEP_REGISTRY))
    return Step(name, _CONVERTER.structure_at(f".{name}", options, STEP_REGISTRY[name].options_class))


_CONVERTER = Converter(omit_if_default=True)
_CONVERTER.register_structure_hook(Step, _structure_step)
_CONVERTER.register_structure_hook_func(lambda kind: kind == Step | Repeat, _structure_entry)
_CONVERTER.register_unstructure_hook(Step, lambda step: {step.name: _CONVERTER.unstructure(step.options)})
_CONVERTER.register_unstructure_hook(
    Repeat, lambda loop: {"repeat": _CONVERTER.unstructure(loop.steps), "until": loop.until, "times": loop.times}
)
_CONVERTER.register_unstructure_hook(Gates, _unstructure_gates)

#: Recipes by name.
PRESETS: dict[str, Recipe] = {
    **{name: Recipe(search=name) for name in get_args(SearchGoal)},
    "lossless": Recipe((make_step("simplify"),)),
    "int8": Recipe((make_step("simplify"), make_step("quantize"))),
    **{
        target.preset: Recipe((make_step("simplify"), make_step("quantize", target=target.name)))
        for target in TARGETS.values()
        if target.preset is not None
    },
}
