"""Mixed precision: the layers that cost most go back to float, as few as the result's own measured drop asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.quantize.alone import alone
from onnxslim.quantize.feeds import Feeds
from onnxslim.quantize.options import QuantizeOptions
from onnxslim.quantize.placement import everything
from onnxslim.quantize.plan import units
from onnxslim.quantize.prepare import prepared
from onnxslim.quantize.targets import TARGETS
from onnxslim.runtime.session import SessionConfig

#: Quantises with options that leave nothing to choose.
Again = Callable[[QuantizeOptions], tuple[ir.Model, Account]]


def relax(
    model: ir.Model,
    samples: Samples,
    options: QuantizeOptions,
    first: tuple[ir.Model, Account],
    again: Again,
    too_much: Callable[[ir.Model], bool],
    config: SessionConfig,
) -> tuple[ir.Model, Account, QuantizeOptions]:
    """``first`` if it drops little enough, else the model with the fewest layers in float that does.

    Layers go back in the order of what each costs alone; how many it takes is found by doubling and then by halving the
    gap, every candidate being quantised anew and measured. When even all of them do not help, ``first`` is kept, and
    the caller's gate has its say.

    Args:
        model: The float model.
        samples: Calibration data.
        options: As resolved for ``first``.
        first: The model with every layer in int8 that gains by it, and its account.
        again: Quantises the model with other options.
        too_much: Whether a model's outputs drop by more than is allowed, on data that nothing is fitted to.
        config: Where to run.
    """
    result, account = first
    start = tuple(account.details["placement"]["float"])
    options = replace(options, float_units=start)
    if not too_much(result):
        return result, account, options
    if too_much(model):
        account.warnings.append("the model drops too much before it is quantised: no layer was put back into float")
        return result, account, options
    work = prepared(io.load(model), Account(""))
    order = [name for name in _order(work, samples, options, account, config) if name not in start]
    best: tuple[ir.Model, Account, QuantizeOptions] | None = None
    tried: dict[int, str] = {}
    failed, passed, count = 0, len(order), 1
    while failed < count < passed:
        chosen = replace(options, float_units=_float_units(work, options, {*start, *order[:count]}))
        candidate, its_account = again(chosen)
        if too_much(candidate):
            failed, tried[count] = count, "too little"
        else:
            best, passed, tried[count] = (candidate, its_account, chosen), count, "enough"
        count = min(2 * count, len(order) - 1) if best is None else (failed + passed) // 2
    if best is None:
        account.warnings.append(f"the drop stays too large with any of {len(order)} layers back in float")
        return result, account, options
    _, its_account, chosen = best
    back = order[:passed]
    its_account.count("layers back in float", len(back))
    its_account.details["mixed"] = {"back": back, "tried": {str(n): what for n, what in tried.items()}}
    for name in back:
        its_account.decline(name, "it went back to float: --max-drop asks for it")
    return best


def _float_units(work: ir.Model, options: QuantizeOptions, layers: set[str]) -> tuple[str, ...]:
    """``layers``, and what was in int8 for their sake only: an op in front would still round their input."""
    if options.activations == "dynamic":
        return tuple(sorted(layers))
    found = units(work, TARGETS[options.target], options.exclude)
    left = [replace(unit, why_float="back in float") if unit.name in layers else unit for unit in found]
    return tuple(sorted({*layers, *(everything(found) - everything(left))}))


def _order(
    work: ir.Model, samples: Samples, options: QuantizeOptions, account: Account, config: SessionConfig
) -> Sequence[str]:
    """Layers, the costliest first: by the noise that each adds to its own output when it alone is quantised."""
    if options.activations == "dynamic":
        known = {layer["name"]: layer["sqnr_db"] for layer in account.details["layers"] if layer["sqnr_db"] is not None}
        return sorted(known, key=lambda name: known[name])
    noise = alone(work, TARGETS[options.target], Feeds(samples), config, options.exclude)
    return sorted(noise, key=lambda name: -noise[name])
