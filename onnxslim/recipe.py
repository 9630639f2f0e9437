"""The declarative form of what is done to a model: steps with their options, gates, and a seed.

A file, the command line and Python say the same things::

    steps:
      - simplify: {}
      - prune: {remove: 0.2, of: macs}
      - quantize: {calibration: auto}
    gates: {max_drop: 0.01}
    seed: 0

A recipe that comes out of a run is *resolved*: what a measurement decided is written into it, so that replaying it
needs no clock and gives the same bytes. It travels in the model's ``metadata_props`` under :data:`KEY`.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir
import yaml

from onnxslim import io
from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.errors import UsageError
from onnxslim.progress import Progress, silent
from onnxslim.prune import prune
from onnxslim.prune.options import PruneOptions
from onnxslim.quantize import QuantizeOptions, quantize
from onnxslim.quantize.ways import ACTIVATIONS
from onnxslim.recover import RecoverOptions, recover
from onnxslim.runtime.session import SessionConfig
from onnxslim.simplify import SimplifyOptions, simplify
from onnxslim.validate.gates import Gates

KEY = "onnxslim.recipe"


@dataclass(frozen=True)
class Context:
    """What a step may use besides the model.

    Attributes:
        original: The model before the first step; recovery learns from it.
        samples: The *fit* data, or None.
        config: Where things run.
        seed: Of every draw.
        progress: Told how far it is.
    """

    original: ir.Model
    samples: Samples | None = None
    config: SessionConfig = field(default_factory=SessionConfig)
    seed: int = 0
    progress: Progress = silent

    def data(self, step: str) -> Samples:
        """The fit data, which ``step`` cannot do without."""
        if self.samples is None:
            raise UsageError(f"{step} needs data", hint=DATA_HINT)
        return self.samples


DATA_HINT = "give --data: an .npz of inputs by name, a folder of images with --preprocess, or the word random to try it out"

Options = Any
Applied = tuple[ir.Model, Account, Options]


@dataclass(frozen=True)
class Kind:
    """A step that recipes know: its options, and how it runs (returning the resolved options too)."""

    options: type[Any]
    apply: Callable[[ir.Model, Any, Context], Applied]


def _simplify(model: ir.Model, options: SimplifyOptions, context: Context) -> Applied:
    result, account = simplify(model, options, progress=context.progress)
    return result, account, options


def _prune(model: ir.Model, options: PruneOptions, context: Context) -> Applied:
    result, account = prune(model, context.samples, options, config=context.config, progress=context.progress)
    return result, account, options


def _quantize(model: ir.Model, options: QuantizeOptions, context: Context) -> Applied:
    result, account = quantize(model, context.samples, options, config=context.config, progress=context.progress)
    way, placement = account.details["way"], account.details.get("placement")
    activations = way["way"] if way["way"] in ACTIVATIONS else options.activations
    options = dataclasses.replace(options, target=way["target"], activations=activations)
    if placement is not None:
        options = dataclasses.replace(options, float_units=tuple(placement["float"]))
    return result, account, options


def _recover(model: ir.Model, options: RecoverOptions, context: Context) -> Applied:
    samples = context.data("recover")
    result, account = recover(
        model, context.original, samples, options, config=context.config, progress=context.progress
    )
    return result, account, options


#: Every step by name; a new one is a row here.
KINDS: dict[str, Kind] = {
    "simplify": Kind(SimplifyOptions, _simplify),
    "prune": Kind(PruneOptions, _prune),
    "quantize": Kind(QuantizeOptions, _quantize),
    "recover": Kind(RecoverOptions, _recover),
}


@dataclass(frozen=True)
class Step:
    """One step: its name in :data:`KINDS` and its frozen options."""

    name: str
    options: Options


@dataclass(frozen=True)
class Recipe:
    """Steps in order, the gates the result must pass, and the seed of every draw."""

    steps: tuple[Step, ...]
    gates: Gates = field(default_factory=Gates)
    seed: int = 0

    def text(self) -> str:
        """As YAML; fields that have their default are left out, so the text says what was chosen."""
        value = {
            "steps": [{step.name: _chosen(step.options)} for step in self.steps],
            "gates": _chosen(self.gates),
            "seed": self.seed,
        }
        return yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=100)


def step(name: str, **options: Any) -> Step:
    """A step by name, its options checked.

    Raises:
        UsageError: An unknown step or option, or a value of the wrong type; the nearest name is the hint.
    """
    if name not in KINDS:
        raise UsageError(f"recipe: no step {name}", hint=_near(name, KINDS))
    return Step(name, _build(KINDS[name].options, options, f"step {name}"))


def parse(text: str) -> Recipe:
    """A recipe from YAML.

    Raises:
        UsageError: Not YAML, or not a recipe; names the key.
    """
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"recipe: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(value, dict) or not isinstance(value.get("steps"), list):
        raise UsageError("recipe: expected a mapping with a list of steps", hint="steps: [simplify: {}, quantize: {}]")
    for key in value:
        if key not in ("steps", "gates", "seed"):
            raise UsageError(f"recipe: unknown key {key}", hint=_near(str(key), ("steps", "gates", "seed")))
    steps = []
    for entry in value["steps"]:
        if isinstance(entry, str):
            entry = {entry: {}}
        if not isinstance(entry, dict) or len(entry) != 1:
            raise UsageError(f"recipe: {entry!r} is not a step", hint="one name and its options, e.g. quantize: {}")
        ((name, options),) = entry.items()
        steps.append(step(str(name), **(options or {})))
    seed = value.get("seed", 0)
    if not isinstance(seed, int):
        raise UsageError(f"recipe: seed is {seed!r}, expected a whole number")
    return Recipe(tuple(steps), _build(Gates, value.get("gates") or {}, "gates"), seed)


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
        text = io.load(name).metadata_props.get(KEY)
        if text is None:
            raise UsageError(f"--recipe {name}: this model carries no recipe", hint="only outputs of optimize do")
        return parse(text)
    with open(name, encoding="utf-8") as file:
        return parse(file.read())


def _build(cls: type[Any], given: Mapping[str, Any], where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in fields:
            raise UsageError(f"recipe: {where} has no option {key}", hint=_near(str(key), fields))
        values[key] = tuple(value) if isinstance(value, list) else value
    return cls(**values)


def _chosen(options: Any) -> dict[str, Any]:
    """The fields whose value is not the default, as plain YAML values."""
    result: dict[str, Any] = {}
    for f in dataclasses.fields(options):
        value = getattr(options, f.name)
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        if value != default:
            result[f.name] = list(value) if isinstance(value, tuple) else value
    return result


def _near(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.4)
    return f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(known)}"


#: Recipes by name.
PRESETS: dict[str, Recipe] = {
    "lossless": Recipe((step("simplify"),)),
    "int8": Recipe((step("simplify"), step("quantize"))),
}


def placed(recipe: Recipe, placement: str) -> Recipe:
    """``recipe`` with ``placement`` in its quantize steps, where none was recorded or chosen."""
    default = QuantizeOptions()

    def with_placement(step: Step) -> Step:
        options = step.options
        if step.name != "quantize" or options.float_units is not None or options.placement != default.placement:
            return step
        return Step(step.name, dataclasses.replace(options, placement=placement))

    return dataclasses.replace(recipe, steps=tuple(with_placement(step) for step in recipe.steps))


def candidates(placement: str) -> dict[str, tuple[Step, ...]]:
    """What ``optimize`` tries when nobody says what to do, from the surest to the boldest."""
    int8 = step("quantize", placement=placement)
    tried: dict[str, tuple[Step, ...]] = {"lossless": (step("simplify"),), "int8": (step("simplify"), int8)}
    for share in (0.1, 0.25, 0.4):
        tried[f"prune {share:.0%} + int8"] = (step("simplify"), step("prune", remove=share, of="macs"), int8)
    return tried
