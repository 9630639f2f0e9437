"""The step's functions, which need no torch until they are called."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import numpy as np
import onnx_ir as ir

from onnxslim.activations.run_context import RunContext
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.core.step_report import StepReport
from onnxslim.data.samples import Samples
from onnxslim.model_io import model_file
from onnxslim.model_io.model_file import ModelLike
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.torch_extra import require_torch
from onnxslim.runtime.session import SessionConfig

__all__ = ["RecoverOptions", "compute_gradient_importance", "recover", "round_weights"]


def recover(
    model: ModelLike,
    teacher: ModelLike,
    samples: Samples,
    options: RecoverOptions | None = None,
    *,
    unseen: Samples | None = None,
    config: SessionConfig | None = None,
    kept_inputs: Collection[str] = (),
    progress: Progress = ignore_progress,
    deadline: float | None = None,
) -> tuple[ir.Model, StepReport]:
    """Train ``model`` towards the outputs of ``teacher`` on unlabelled samples, its graph unchanged.

    Knowledge distillation (Hinton et al. 2015, arXiv:1503.02531), block by block and then end to end. A model with Q/DQ
    nodes trains through them and keeps its scales. The result is judged by the runtime on samples held back from the
    training; unless these prove it better, the model that was given is returned, and the report says so.

    Args:
        model: What was compressed: pruned, quantised or with blocks dropped, as long as inputs and outputs are kept.
        teacher: What it was compressed from.
        samples: What to learn from; labels are used where there are any.
        options: How.
        unseen: What nothing was fitted to, to judge by; else a share of ``samples`` is held back. Repair has mostly seen
            those, so that what it left looks better on them than it is.
        config: How the runtime runs both (the teacher always answers through the runtime).
        kept_inputs: Inputs that stay inputs although initializers of these names are their defaults, beside those that
            ``samples`` feed; others of the kind become constants.
        progress: Told what the held-back samples last said, the step and the steps.
        deadline: On ``time.monotonic``'s clock: a training ends there with the best weights that it had.

    Raises:
        UnsupportedError: No torch; or no trainable weight lies between operators that torch can run.
        InvalidModelError: Teacher and student differ in inputs or outputs.
        UsageError: Too few samples to hold some back.
        GateError: The loss went to NaN three times; the curve is in the hint.
    """
    require_torch("recover")
    from onnxslim.recovery.distillation.distill import distill

    context = RunContext(samples, config or SessionConfig(), progress, deadline)
    student = model_file.load(model)
    frozen = context.freeze_inputs(student, kept_inputs)
    result, report = distill(student, teacher, context, options or RecoverOptions(), unseen)
    report.warnings[:0] = frozen
    return result, report


def compute_gradient_importance(
    model: ModelLike,
    samples: Samples,
    kind: Literal["taylor", "fisher"] = "taylor",
    *,
    batch_size: int = 8,
    seed: int = 0,
    config: SessionConfig | None = None,
) -> dict[str, np.ndarray]:
    """How much the loss feels each weight: scores of the initializer's shape, float32, by initializer name.

    The loss is the model's own: the cross-entropy to a class drawn from its prediction, or, for other outputs, to a
    Gaussian around it, so that no labels are needed; labels are used for ``taylor`` where there are any.

    - ``taylor``: mean over batches of abs(w · ∂L/∂w) (Molchanov et al. 2019, arXiv:1906.10771).
    - ``fisher``: ½ · w² · mean over batches of (∂L/∂w)² (Theis et al. 2018, arXiv:1801.05787).

    Raises:
        UnsupportedError: No torch, or no weight that torch can reach.
    """
    require_torch(f"the {kind} criterion")
    from onnxslim.recovery.gradient_importance import compute_importance

    return compute_importance(model, samples, kind, batch_size, seed, config or SessionConfig())


def round_weights(
    model: ModelLike,
    weights: Mapping[str, np.ndarray],
    samples: Samples,
    *,
    iterations: int = 1000,
    batch_size: int = 32,
    max_samples: int = 256,
    seed: int = 0,
    config: SessionConfig | None = None,
    progress: Progress = ignore_progress,
) -> tuple[ir.Model, StepReport]:
    """Choose, weight by weight, between the two nearest codes of a quantised model: AdaRound.

    Nagel et al. 2020, arXiv:2004.10568, layer by layer on inputs tapped from the quantised model itself.

    Args:
        model: A model whose weights are integers behind DequantizeLinear.
        weights: The float weights they were made from, by the name of the integer initializer.
        samples: What the layers' inputs are tapped on.
        iterations: Updates a layer.
        batch_size: Samples an update.
        max_samples: How many samples are tapped at most.
        seed: Of the batches.
        config: How the runtime runs the model.
        progress: Told ``("rounding", layer, layers)``.

    Raises:
        UnsupportedError: No torch.
    """
    require_torch("rounding")
    from onnxslim.recovery.adaround import adaround

    context = RunContext(samples, config or SessionConfig(), progress)
    return adaround(
        model, context, weights, iterations=iterations, batch_size=batch_size, max_samples=max_samples, seed=seed
    )
