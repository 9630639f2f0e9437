"""Mixed precision: the layers that cost most go back to float, as few as the result's own measured drop asks for."""

from __future__ import annotations

import time
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
from onnxslim.quantize.pools import write_pools
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
    excess: Callable[[ir.Model], float],
    config: SessionConfig,
    deadline: float | None = None,
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
        excess: How many times what is allowed a model's outputs drop, on data that nothing is fitted to.
        config: Where to run.
        deadline: On ``time.monotonic``'s clock; no candidate begins that would not be done by then, going by ``first``.
    """
    result, account = first
    start = tuple(account.details["placement"]["float"])
    options = replace(options, float_units=start)
    throughout = excess(result)
    if throughout <= 1:
        return result, account, options
    if excess(model) > 1:
        account.warnings.append("the model drops too much before it is quantised: no layer was put back into float")
        return result, account, options
    work = prepared(io.load(model), Account(""))
    if options.activations != "dynamic":
        write_pools(work)
    order = [name for name in _order(work, samples, options, account, config) if name not in start]
    best: tuple[ir.Model, Account, QuantizeOptions] | None = None
    tried: dict[int, str] = {}
    failed, passed, count = 0, len(order), 1
    in_time = True
    while failed < count < passed:
        if deadline is not None and time.monotonic() + account.seconds > deadline:
            in_time = False
            break
        chosen = replace(options, float_units=_float_units(work, options, {*start, *order[:count]}))
        candidate, its_account = again(chosen)
        if excess(candidate) > 1:
            failed, tried[count] = count, "too little"
        else:
            best, passed, tried[count] = (candidate, its_account, chosen), count, "enough"
        count = min(2 * count, len(order) - 1) if best is None else (failed + passed) // 2
    if best is None:
        stays = f"with any of {len(order)} layers" if in_time else f"with {failed} layers, and there was no time for more,"
        account.warnings.append(f"the drop stays too large {stays} back in float")
        return result, account, options
    _, its_account, chosen = best
    back = order[:passed]
    why = f"int8 in all drops {throughout:.1f} × what is allowed"
    its_account.count("layers back in float", len(back))
    its_account.details["mixed"] = {
        "back": back,
        "tried": {str(n): what for n, what in tried.items()},
        "why": f"{len(back)} of {len(order)} layers went back to float: {why}",
    }
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
