"""A training kept in a file, so that it can go on after an interruption and end where it would have ended."""

from __future__ import annotations

import os
from typing import Any

import torch

from onnxslim.errors import InvalidDataError, UsageError
from onnxslim.recover.plan import Plan, State


def _identity(plan: Plan) -> dict[str, Any]:
    """What two trainings must share for one to go on where the other stopped."""
    shapes = {name: list(parameter.shape) for name, parameter in plan.student.parameters.items()}
    return {
        "weights": shapes,
        "blocks": list(plan.blocks),
        "steps": plan.steps,
        "batch_size": plan.batch_size,
        "lr": plan.lr,
    }


def save(plan: Plan, snapshot: dict[str, Any], state: State) -> None:
    """Write the state, atomically, if the plan names a file.

    Args:
        plan: The training.
        snapshot: ``parameters`` and ``optimizer``.
        state: The rest.
    """
    if plan.checkpoint is None:
        return
    temporary = f"{plan.checkpoint}.{os.getpid()}.tmp"
    torch.save({"of": _identity(plan), "state": vars(state), **snapshot}, temporary)
    os.replace(temporary, plan.checkpoint)


def planned_steps(path: str | None) -> int | None:
    """How many steps the training in ``path`` was to have; None where there is none."""
    return None if path is None or not os.path.exists(path) else int(_read(path)["of"]["steps"])


def resume(plan: Plan, optimizer: torch.optim.Optimizer) -> State | None:
    """Put the parameters and the optimizer back to where the plan's checkpoint left them.

    Returns:
        The state to go on from, or None where there is no file.

    Raises:
        InvalidDataError: The file is something else.
        UsageError: It belongs to another training.
    """
    if plan.checkpoint is None or not os.path.exists(plan.checkpoint):
        return None
    held = _read(plan.checkpoint)
    if held["of"] != _identity(plan):
        raise UsageError(
            f"{plan.checkpoint}: this checkpoint belongs to another training",
            hint="give the same model and options, or another --checkpoint",
        )
    with torch.no_grad():
        for name, parameter in plan.student.parameters.items():
            parameter.copy_(held["parameters"][name])
    optimizer.load_state_dict(held["optimizer"])
    return State(**held["state"])


def _read(path: str) -> dict[str, Any]:
    try:
        held = torch.load(path, weights_only=True)
    except Exception as error:
        raise InvalidDataError(f"{path}: not a checkpoint of recover") from error
    if not isinstance(held, dict) or not {"of", "state", "parameters", "optimizer"} <= held.keys():
        raise InvalidDataError(f"{path}: not a checkpoint of recover")
    return held
