"""From two models and samples to a plan: what is trained, between which tensors, on what, for how many steps."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import torch

from onnxslim.activations.run_context import RunContext
from onnxslim.activations.working_set import find_tensor_bytes, limit_batch_size
from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.core.memory_budget import scale_bytes
from onnxslim.core.step_report import StepReport
from onnxslim.graph import shapes
from onnxslim.recovery.distillation import checkpoint
from onnxslim.recovery.distillation.augmentation import is_image
from onnxslim.recovery.distillation.batches import DistillationBatch, DistillationLoader, MicroBatch
from onnxslim.recovery.distillation.channel_map import find_axis, fit_channel_map, sample_by_channel
from onnxslim.recovery.distillation.forecast import TRIAL_SHARE
from onnxslim.recovery.distillation.optimizer_step import MAX_THREADS, time_update
from onnxslim.recovery.distillation.sample_cache import SampleCache
from onnxslim.recovery.distillation.teacher import TappedModel, open_front
from onnxslim.recovery.distillation.training import EVALUATION_COUNT, evaluate_held_out
from onnxslim.recovery.distillation.training_plan import TrainingPlan
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.torch_model import blocks
from onnxslim.recovery.torch_model.executor import TorchExecutor
from onnxslim.recovery.torch_model.frozen_tables import freeze_tables
from onnxslim.recovery.torch_model.partition import partition

#: Wall time when nobody says, in seconds.
_DEFAULT_SECONDS = 900.0
#: Blocks are joined until there are no more than this: each one's last tensor is computed twice and compared.
_MAX_BLOCKS = 16
#: Held-back samples read at each of the evaluations on the way; all of them judge the result.
_EVALUATION_SAMPLES, _EVALUATION_BATCH = 256, 64
#: Of fewer samples so many rows are read there, if there are several views of each.
_EVALUATION_ROWS = 96
#: Bytes that the tensors of one part of an update take with their gradients; of large maps a part is few samples.
_MAX_PART_BYTES = 128_000_000
#: Updates that are timed: for so much of the time at most, but so many at least.
_TIMING_SHARE, _MIN_TIMED_UPDATES, _MAX_TIMED_UPDATES = 0.01, 3, 16
#: Evaluations beside those on the way: the forecast's, and as long as the runtime takes to score what comes out.
_OTHER_EVALUATIONS = 7
#: Batches of 16 on which the student's tensors are compared with the teacher's before the first step.
_COMPARISON_BATCHES = 4
#: Peak rates, as a share of a weight's own size: a quantised weight is already next to where it belongs.
_LEARNING_RATE, _QUANTIZED_LEARNING_RATE = 3e-3, 3e-4
#: Share of the steps that blocks learn on their own, unless the model is quantised.
_BLOCKWISE_SHARE = 0.3


def make_plan(
    student: ir.Model,
    teacher: ir.Model,
    context: RunContext,
    training_set: SampleCache,
    held_out_set: SampleCache,
    options: RecoverOptions,
) -> tuple[TrainingPlan, StepReport]:
    """Everything but the number of steps, which is 1; and what is not trained, changed or taken as it is."""
    report, config = StepReport("plan"), context.config
    parts = partition(student)
    for node, reason in parts.frozen.items():
        report.skip(node, f"{reason} on torch: frozen, with what lies on its side of the graph")
    executor = TorchExecutor(parts.body)
    if not executor.weights:
        raise UnsupportedError("recover: the model has no weights that can be trained")
    freeze_tables(executor, options.batch_size * training_set.sample_values, report)
    shapes.infer(teacher)
    outputs = executor.float_outputs
    _check_teacher_outputs(outputs, teacher)
    matched_cuts, missing_cuts = blocks.match_cuts(executor.model, teacher, executor.weights)
    block_weights = blocks.divide_into_blocks(executor.model.graph, matched_cuts, executor.weights, _MAX_BLOCKS)
    teacher_tensors = list(dict.fromkeys([*outputs, *(name for name in block_weights if name)]))
    inputs = executor.inputs
    front = open_front(parts, inputs, student, config)
    augmentations = choose_augmentations(options, training_set)
    report.details["augment"] = list(augmentations)
    tapped = TappedModel(teacher, teacher_tensors, config)
    held_out_loader = DistillationLoader(held_out_set, tapped.select(outputs), front, inputs, (), options.seed)
    loader = DistillationLoader(training_set, tapped, front, inputs, augmentations, options.seed)
    held_out_loader.channel_maps = loader.channel_maps
    own_outputs = {value.name for value in student.graph.outputs}
    unmatched = _find_unmatched_tensors(
        executor, loader, [name for name in dict.fromkeys([*outputs, *block_weights]) if name and name not in own_outputs]
    )
    outputs = [name for name in outputs if name not in unmatched]
    if not outputs:
        raise _nothing_to_learn_from(unmatched[0])
    report.details["rescaled"] = [name for name, found in loader.channel_maps.items() if found.gain is not None]
    report.details["narrowed"] = [name for name, found in loader.channel_maps.items() if found.kept is not None]
    report.details["unmatched"] = [*missing_cuts, *unmatched]
    if unmatched or (missing_cuts and not matched_cuts):
        report.skip(*_describe_unmatched([*missing_cuts, *unmatched]))
    block_weights = blocks.divide_into_blocks(
        executor.model.graph, set(block_weights) - {*unmatched}, executor.weights, _MAX_BLOCKS
    )
    batch_size = min(options.batch_size, len(training_set))
    sample_bytes, lesson_bytes = _measure_sample(executor, loader), _measure_lesson(held_out_loader)
    part_bytes = scale_bytes(_MAX_PART_BYTES)
    loader.max_part_values = training_set.sample_values * part_bytes / max(sample_bytes, 1.0)
    plan = TrainingPlan(
        student=executor,
        loader=loader,
        held_out=_take_batches(
            held_out_loader,
            limit_batch_size(sample_bytes, _EVALUATION_BATCH, part_bytes),
            min(limit_batch_size(lesson_bytes, _EVALUATION_SAMPLES), max(held_out_set.sample_count, _EVALUATION_ROWS)),
        ),
        outputs=outputs,
        blocks=block_weights,
        steps=1,
        blockwise=0,
        warmup=0,
        lr=options.lr or (_QUANTIZED_LEARNING_RATE if _is_quantized(executor) else _LEARNING_RATE),
        weight_decay=options.weight_decay,
        batch_size=batch_size,
        label_weight=options.label_weight,
        micro_batches=max(MAX_THREADS, math.ceil(batch_size / limit_batch_size(sample_bytes, batch_size, part_bytes))),
        checkpoint=options.checkpoint,
    )
    return plan, report


def _find_unmatched_tensors(student: TorchExecutor, loader: DistillationLoader, names: list[str]) -> list[str]:
    """Compare tensors of one name before the first step: set how they look in the student, return those without a twin."""
    samples: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {name: [] for name in names}
    axes: dict[str, int | None] = {}
    with torch.no_grad():
        for micro_batch in (part for step in range(_COMPARISON_BATCHES) for part in loader.micro_batches_at(step, 16, 1)):
            batch = loader.add_targets(micro_batch)
            tensors = student.run(batch.feeds, names)
            for name in names:
                axis = axes.setdefault(name, find_axis(tensors[name], batch.targets[name]))
                if axis is None or axis != find_axis(tensors[name], batch.targets[name]):
                    axes[name] = None
                    continue
                samples[name].append((sample_by_channel(tensors[name], axis), sample_by_channel(batch.targets[name], axis)))
    unmatched = []
    for name, pairs in samples.items():
        axis = axes[name]
        channel_map = None if axis is None else fit_channel_map(axis, *zip(*pairs, strict=True))
        if channel_map is None:
            unmatched.append(name)
        elif not channel_map.is_identity:
            loader.channel_maps[name] = channel_map
    return unmatched


def _describe_unmatched(names: list[str]) -> tuple[str, str]:
    """The first of ``names``, and what is said of all of them."""
    others = f", nor of {len(names) - 1} more ({', '.join(names[1:4])}{', …' * (len(names) > 4)})" if names[1:] else ""
    return names[0], f"the teacher has no twin of it{others}: learnt through what is behind"


def _check_teacher_outputs(outputs: list[str], teacher: ir.Model) -> None:
    teacher_tensors = {output.name for node in teacher.graph for output in node.outputs}
    missing = [name for name in outputs if name not in teacher_tensors]
    if missing or not outputs:
        raise _nothing_to_learn_from(missing[0] if missing else None)


def _nothing_to_learn_from(name: str | None) -> UnsupportedError:
    return UnsupportedError(
        "recover: no float output" if name is None else f"recover: the teacher has no tensor {name} to learn from",
        hint="what torch cannot run lies behind it, so it would have to be learnt instead of the output",
    )


def choose_augmentations(options: RecoverOptions, training_set: SampleCache) -> tuple[str, ...]:
    """How the samples that are taught are changed: as asked for, or as suits them.

    Raises:
        UsageError: Changes were asked for, and no input is an image.
    """
    arrays = (training_set.stacked or training_set.batches[0]).values()
    images = any(array.dtype.kind == "f" and is_image(array.shape) for array in arrays)
    if options.augment is None:
        return () if not images else ("flip", "crop") if training_set.labels is None else ("crop",)
    if options.augment and not images:
        raise UsageError(f"recover: augment {','.join(options.augment)}, but no input is an image")
    return options.augment


def _measure_sample(student: TorchExecutor, loader: DistillationLoader) -> float:
    """Bytes of what ``student`` makes of the largest sample while it is trained: tensors, and as much of gradients."""
    feeds = loader.cache.take_largest()
    lesson = loader.add_targets(MicroBatch(feeds, None, 1.0))
    tensor_bytes = find_tensor_bytes(student.model, {name: tensor.numpy() for name, tensor in lesson.feeds.items()})
    return 2 * sum(tensor_bytes.values()) / loader.cache.count_rows(feeds)


def _measure_lesson(loader: DistillationLoader) -> float:
    """Bytes of what a sample is fed with and has to become, by the first that are drawn."""
    micro_batch = loader.micro_batches_at(0, 1, 1)[0]
    lesson = loader.add_targets(micro_batch)
    lesson_bytes = sum(tensor.nbytes for tensor in (*lesson.feeds.values(), *lesson.targets.values()))
    return lesson_bytes / loader.cache.count_rows(micro_batch.feeds)


def _take_batches(loader: DistillationLoader, size: int, min_samples: int) -> list[DistillationBatch]:
    """The first lessons, ``size`` samples in each, about so many samples of them."""
    batches: list[DistillationBatch] = []
    count = 0
    for batch in loader.iterate_all(size):
        batches.append(batch)
        count += batch.sample_count
        if count >= min_samples:
            break
    return batches


def set_step_budget(
    plan: TrainingPlan, options: RecoverOptions, samples: int, start: float, deadline: float | None = None
) -> TrainingPlan:
    """The plan with its number of steps: given, from epochs, or from the time that the first steps take.

    However many they are, none begins after ``deadline``; both it and ``start`` are on ``time.monotonic``'s clock.
    """
    if options.steps is not None:
        steps = options.steps
    elif options.epochs is not None:
        steps = max(1, round(options.epochs * samples / plan.batch_size))
    else:
        planned_end = start + (options.seconds or _DEFAULT_SECONDS)
        deadline = planned_end if deadline is None else min(planned_end, deadline)
        begun = checkpoint.read_plan(options.checkpoint)
        steps = _count_affordable_steps(plan, deadline) if begun is None else begun[0]
    blockwise_share = options.blockwise
    if blockwise_share is None:
        blockwise_share = 0.0 if _is_quantized(plan.student) else _BLOCKWISE_SHARE
    blockwise = round(blockwise_share * steps) if len(plan.blocks) > 1 else 0
    warmup = round(options.warmup * steps)
    return replace(plan, steps=steps, warmup=warmup, blockwise=blockwise, deadline=deadline, last=options.last)


def _is_quantized(student: TorchExecutor) -> bool:
    return any(weight.scale is not None for weight in student.weights.values())


def _count_affordable_steps(plan: TrainingPlan, deadline: float) -> int:
    """How many updates fit before the deadline: the forecast and evaluations included, and a tenth kept in reserve."""
    started = time.monotonic()
    evaluate_held_out(plan)
    evaluation_seconds = time.monotonic() - started
    update_seconds = _time_updates(plan, _TIMING_SHARE * (deadline - time.monotonic()))
    seconds_left = 0.9 * (deadline - time.monotonic()) - (EVALUATION_COUNT + _OTHER_EVALUATIONS) * evaluation_seconds
    return max(1, int(seconds_left / ((1 + TRIAL_SHARE) * update_seconds)))


def _time_updates(plan: TrainingPlan, seconds: float) -> float:
    """What an update takes, in seconds, the mean of the first few: as many as ``seconds`` allow, and three at least.

    Samples of different lengths make some updates several times as long as others, so that one says little of all.
    """
    started, taken = time.monotonic(), list[float]()
    while len(taken) < _MIN_TIMED_UPDATES or (len(taken) < _MAX_TIMED_UPDATES and time.monotonic() - started < seconds):
        taken.append(time_update(plan, len(taken)))
    return float(np.mean(taken))
