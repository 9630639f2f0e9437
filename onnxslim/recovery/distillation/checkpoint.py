"""A training kept in a file, so that it can go on after an interruption and end where it would have ended."""

from __future__ import annotations

import os
from typing import Any

import torch

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.recovery.distillation.training_plan import TrainingPlan, TrainingState


def _fingerprint_training(plan: TrainingPlan) -> dict[str, Any]:
    """What two trainings must share for one to go on where the other stopped."""
    options = ("steps", "batch_size", "lr", "weight_decay", "warmup", "blockwise", "label_weight")
    return {
        "weights": {name: list(parameter.shape) for name, parameter in plan.student.parameters.items()},
        "blocks": list(plan.blocks),
        "samples": len(plan.loader.cache),
        "seed": plan.loader.seed,
        "augmentations": plan.loader.augmentations,
        **{name: getattr(plan, name) for name in options},
    }


def save(plan: TrainingPlan, snapshot: dict[str, Any], state: TrainingState) -> None:
    """Write ``state``, and ``snapshot`` (``parameters`` and ``optimizer``), atomically, if the plan names a file."""
    if plan.checkpoint is None:
        return
    temporary = f"{plan.checkpoint}.{os.getpid()}.tmp"
    torch.save({"of": _fingerprint_training(plan), "state": vars(state), **snapshot}, temporary)
    os.replace(temporary, plan.checkpoint)


def read_plan(path: str | None) -> tuple[int, float] | None:
    """The steps and the peak rate that the training in ``path`` was to have; None where there is none."""
    if path is None or not os.path.exists(path):
        return None
    planned = _load_checkpoint(path)["of"]
    return int(planned["steps"]), float(planned["lr"])


def resume(plan: TrainingPlan, optimizer: torch.optim.Optimizer) -> TrainingState | None:
    """Put the parameters and the optimizer back to where the plan's checkpoint left them.

    Returns:
        The state to go on from, or None where there is no file.

    Raises:
        InvalidDataError: The file is something else.
        UsageError: It belongs to another training.
    """
    if plan.checkpoint is None or not os.path.exists(plan.checkpoint):
        return None
    contents = _load_checkpoint(plan.checkpoint)
    if contents["of"] != _fingerprint_training(plan):
        raise UsageError(
            f"{plan.checkpoint}: this checkpoint belongs to another training",
            hint="give the same model and options, or another --checkpoint",
        )
    with torch.no_grad():
        for name, parameter in plan.student.parameters.items():
            parameter.copy_(contents["parameters"][name])
    optimizer.load_state_dict(contents["optimizer"])
    return TrainingState(**contents["state"])


def _load_checkpoint(path: str) -> dict[str, Any]:
    try:
        contents = torch.load(path, weights_only=True)
    except Exception as error:
        raise InvalidDataError(f"{path}: not a checkpoint of recover") from error
    if not isinstance(contents, dict) or not {"of", "state", "parameters", "optimizer"} <= contents.keys():
        raise InvalidDataError(f"{path}: not a checkpoint of recover")
    return contents
