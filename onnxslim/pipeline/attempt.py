"""One recipe carried out on one task and judged: what came of each step, how fast it is, and what the gates say."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import GateError, InvalidDataError, UnsupportedError, UsageError
from onnxslim.core.version import __version__
from onnxslim.data.samples import Batch, Samples
from onnxslim.data.sources import open_samples
from onnxslim.data.split import draw_samples, draw_timed_runs, list_prompts
from onnxslim.graph.runtime_versions import check_loads_in, oldest_runtime
from onnxslim.model_io import model_file
from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.recipe import Recipe
from onnxslim.pipeline.result import Result, Stage, compute_facts, describe_measurements
from onnxslim.pipeline.task import CompressionTask
from onnxslim.quantization.decision import QuantizeDecision
from onnxslim.quantization.targets.base import Target
from onnxslim.quantization.targets.detect import explain_other_machine
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.devices.device import TimedSession
from onnxslim.runtime.energy.energy_counter import find_timed_counter
from onnxslim.runtime.memory import measure_peak, read_process_peak, release_freed_memory
from onnxslim.runtime.session import SessionConfig, make_run_check, open_timed_session
from onnxslim.runtime.timing import interleave
from onnxslim.validation import latency
from onnxslim.validation.energy import measure_energy
from onnxslim.validation.gates import find_gate_failures
from onnxslim.validation.statistics import samples_to_decide

logger = logging.getLogger(__name__)

#: Runs that latency is measured on, in turn, and the seconds that may go to it.
_LATENCY_RUNS, MAX_TIMING_SECONDS = 8, 10.0
#: What is put between layers may weigh as much before anybody is told that the file is larger.
_MAX_GROWTH = 1.02
#: Samples of the fit data that the result is judged on for comparison.
_FIT_EVALUATION_SAMPLES = 256


class Attempt:
    """One recipe on one task: apply, measure, confirm, in that order; ``result`` grows with each.

    Args:
        task: What it is about.
        recipe: What is done.
    """

    def __init__(self, task: CompressionTask, recipe: Recipe) -> None:
        self.task, self.recipe = task, recipe
        first = Stage("original", task.original_facts.bytes, task.original_facts.params, task.original_facts.macs)
        self.result = Result(
            task.command, input=task.original_facts, stages=[first], data=task.splits.as_json(), original=task.original,
            config=task.config, task=task.without_caches(),
        )  # fmt: skip
        #: The model after each step; the last carries the recipe.
        self.models: list[ir.Model] = []

    def apply(self, start: ir.Model | None = None) -> None:
        """Run the steps, and write the resolved recipe into the model that comes out.

        Args:
            start: What the first step begins with; by default the original.

        Raises:
            OnnxslimError: Whatever a step raises.
        """
        task, result, unverified = self.task, self.result, ""
        completed_steps = task.make_runner(self.recipe).run(self.recipe.steps, start)
        release_freed_memory()  # as after an evaluation, of the sessions that steps had
        for completed in completed_steps:
            result.steps.append(completed.report)
            if self.recipe.gates.for_ort is not None:
                check_loads_in(completed.model, self.recipe.gates.for_ort)
            decision = completed.report.decision
            if isinstance(decision, QuantizeDecision) and self._is_elsewhere(TARGETS[decision.target]):
                unverified = decision.target
            if isinstance(decision, QuantizeDecision) and decision.layers is not None:
                result.extra["layers"] = [dict(vars(layer)) for layer in decision.layers]
                result.extra["surviving"] = [dict(vars(conversion)) for conversion in decision.surviving]
                result.measured["layers"] = (
                    "each layer's output against the float model's on calibration samples, with everything before it "
                    "quantised"
                )
        resolved_steps = tuple(completed.step for completed in completed_steps)
        result.recipe = dataclasses.replace(self.recipe, steps=resolved_steps).to_yaml()
        self.models = [completed.model for completed in completed_steps] or [start or task.original]
        model = model_file.clone(self.models[-1])
        model.metadata_props[recipes.METADATA_KEY] = result.recipe
        model.metadata_props["onnxslim.version"] = __version__
        if unverified:
            model.metadata_props["onnxslim.note"] = f"placed for {unverified}: expected, not verified here"
        result.model, self.models[-1:] = model, [model]
        stage_facts = [compute_facts(stage, dims=task.read.dims) for stage in self.models]
        result.output = stage_facts[-1]
        names = [completed.step.name for completed in completed_steps] or ["nothing"]
        for index, (name, facts) in enumerate(zip(names, stage_facts, strict=True)):
            repeats = names[: index + 1].count(name)
            stage_name = name if repeats == 1 else f"{name} {repeats}"
            result.stages.append(Stage(stage_name, facts.bytes, facts.params, facts.macs))
        result.warnings += task.warnings()
        if result.output.bytes - len(result.recipe) > _MAX_GROWTH * task.original_facts.bytes:
            result.warnings.append(
                f"the result is larger than the original: {result.output.bytes} bytes for {task.original_facts.bytes}"
            )
        result.extra["oldest_runtime"] = oldest_runtime(model)

    def _is_elsewhere(self, target: Target) -> bool:
        """Whether what ``target`` names is not what models are timed on here."""
        return target.provider != self.task.config.provider_name or explain_other_machine(target) is not None

    def measure_ends(self, seconds: float = MAX_TIMING_SECONDS) -> None:
        """Latency of the original and of the result, in about so many ``seconds``; without data on made-up inputs."""
        samples = self._find_timing_samples()
        if samples is not None:
            ends = {0: self.task.as_given or self.task.original, len(self.result.stages) - 1: self.models[-1]}
            sessions = self._time(self._draw_runs(samples), ends, seconds, samples.source)
            self._time_prompts(sessions, samples, seconds)

    def measure(self) -> None:
        """Latency of every stage in one interleaved run, and peak memory of both ends; without data on made-up inputs."""
        task, result, samples = self.task, self.result, self._find_timing_samples()
        if samples is None:
            return
        feeds = self._draw_runs(samples)
        # of a trial that a study remembers there is only the last model
        first = len(result.stages) - len(self.models)
        models = {0: task.as_given or task.original, **dict(enumerate(self.models, start=first))}
        sessions = self._time(feeds, models, MAX_TIMING_SECONDS, samples.source)
        self._time_prompts(sessions, samples, MAX_TIMING_SECONDS)
        names = {"original": 0, "result": max(models)}
        memory = {name: measure_peak(models[index], feeds[0], task.config) for name, index in names.items()}
        result.extra["memory"] = {**memory, "command": read_process_peak()}
        end_models = {name: models[index] for name, index in names.items()}
        end_sessions = {name: sessions[index] for name, index in names.items()}
        result.extra["energy"] = measure_energy(
            end_models, end_sessions, feeds, find_timed_counter(sessions[0].provider), task.read.dims
        )
        result.warnings += latency.list_cautions(result.latency or {})

    def _find_timing_samples(self) -> Samples | None:
        return self.task.splits.confirm or self.task.splits.fit or self._make_random_samples()

    def _draw_runs(self, samples: Samples) -> list[Batch]:
        runs, warnings = draw_latency_runs(samples, self.task.config)
        self.result.warnings += [line for line in warnings if line not in self.result.warnings]
        return runs

    def _time(
        self, feeds: Sequence[Batch], models: dict[int, ir.Model], seconds: float, source: str
    ) -> dict[int, TimedSession]:
        """Time ``models``, by the index of their stage, and put the times into the result; their sessions."""
        task, result = self.task, self.result
        sessions = {index: open_timed_session(model, task.config) for index, model in models.items()}
        timing = interleave(
            {str(index): session for index, session in sessions.items()}, feeds, seconds=seconds, progress=task.progress
        )
        result.latency = latency.summarize(
            {"original": timing.rounds["0"], "result": timing.rounds[str(max(models))]},
            provider=timing.provider,
            threads=timing.threads,
            batch=len(feeds[0].indices),
        )
        result.stages = [
            dataclasses.replace(stage, median_ms=1e3 * timing.median(str(index)) if index in models else None)
            for index, stage in enumerate(result.stages)
        ]
        result.measured.update(describe_measurements(timing, source, len(feeds[0].indices)))
        return sessions

    def _time_prompts(self, sessions: dict[int, TimedSession], samples: Samples, seconds: float) -> None:
        """Time reading a prompt beside the steps that were timed, where samples are the runs of texts."""
        prompts = list_prompts(samples, _LATENCY_RUNS)
        if not len(prompts) or self.result.latency is None:
            return
        feeds = [*samples.take(prompts).batches(1)]
        ends = {"original": sessions[0], "result": sessions[max(sessions)]}
        timing = interleave(ends, feeds, seconds=seconds / 2, progress=self.task.progress)
        prompt = latency.summarize(
            timing.rounds, provider=timing.provider, threads=timing.threads, batch=len(feeds[0].indices)
        )
        self.result.latency |= {"of": "step", "prompt": {**prompt, "of": "prompt"}}

    def _make_random_samples(self) -> Samples | None:
        """A few made-up samples; None, and a warning, where the model does not run with any: none were needed so far."""
        task = self.task
        run_check = make_run_check(task.original, task.config)
        try:
            return open_samples("random", task.original, max_samples=4, dims=task.read.dims, run_check=run_check)
        except (UsageError, UnsupportedError) as error:
            self.result.warnings.append(f"not timed and not run: {error.message}; --data does both on inputs of yours")
            return None

    def confirm(self, *, judge_stages: bool = True) -> Result:
        """The result, judged on the *confirm* data, when it passes the recipe's gates.

        Args:
            judge_stages: Judge the models in between as well, for the report, and the result on the fit data; nothing is
                chosen by that.

        Raises:
            GateError: It does not pass; its ``result`` attribute holds everything that was measured.
        """
        result, samples = self.result, self.task.splits.confirm
        if samples is not None and result.evaluation is None:
            judged = self.models if judge_stages else self.models[-1:]
            evaluations = self.task.evaluate({str(index): model for index, model in enumerate(judged)}, samples)
            result.evaluation = evaluations[str(len(judged) - 1)]
            result.warnings.extend(result.evaluation.warnings)
            metric = result.evaluation.metric
            how = f"{metric.n} samples of {samples.source}, paired with the original's outputs"
            result.measured.update({gating.name: how for gating in result.evaluation.gating})
            # A trial that a study remembers has its last model only.
            unmeasured: list[float | None] = [None] * (len(result.stages) - 1 - len(judged))
            scores = [metric.original, *unmeasured, *(found.find_like(metric).result for found in evaluations.values())]
            result.stages = [dataclasses.replace(s, metric=m) for s, m in zip(result.stages, scores, strict=True)]
            result.extra["fit_metrics"] = self._evaluate_fit_data() if judge_stages else []
            if (limit := self.recipe.gates.max_drop) is not None and metric.interval and metric.drop is not None:
                own_limit = metric.get_own_limit(limit)
                needed = samples_to_decide(metric.drop, metric.interval, metric.n, own_limit)
                result.extra["decision"] = {"limit": own_limit, "samples": needed}
        missed = find_gate_failures(self.recipe.gates, result.evaluation, result.latency, self.sizes)
        if missed:
            error = GateError("; ".join(missed), hint="nothing was written; a report of what was measured may be beside it")
            error.result = result  # type: ignore[attr-defined]
            raise error
        return result

    def judge_stages(self) -> None:
        """Judge the models in between on the *confirm* data, and the result on the fit data, once the result is confirmed:
        for the report, nothing is chosen by that.
        """
        result, samples = self.result, self.task.splits.confirm
        if samples is None or result.evaluation is None:
            return
        metric = result.evaluation.metric
        between = {str(index): model for index, model in enumerate(self.models[:-1])}
        found = self.task.evaluate(between, samples, goes_on=False) if between else {}
        scores = {
            len(result.stages) - 1 - len(between) + i: one.find_like(metric).result for i, one in enumerate(found.values())
        }
        result.stages = [
            dataclasses.replace(stage, metric=scores.get(index, stage.metric)) for index, stage in enumerate(result.stages)
        ]
        result.extra["fit_metrics"] = self._evaluate_fit_data()

    def _evaluate_fit_data(self) -> list[dict[str, Any]]:
        """The metrics on the data that the steps were fitted on, some of them: how much better it looks there."""
        fit = self.task.splits.fit
        if fit is None:
            return []
        indices = np.arange(min(_FIT_EVALUATION_SAMPLES, len(fit)))
        if fit.sequences is None:
            indices = draw_samples(fit, _FIT_EVALUATION_SAMPLES, self.recipe.seed)
        try:
            evaluation = self.task.evaluate({"result": self.models[-1]}, fit.take(indices), goes_on=False)["result"]
        except (UsageError, InvalidDataError) as error:
            logger.info("not judged on the fit data: %s", error.message)
            return []
        return [metric.as_json() for metric in evaluation.metrics]

    def release_models(self) -> None:
        """Let the models go; the figures stay."""
        self.models, self.result.model, self.result.original = [], None, None

    def remake_model(self) -> None:
        """Make the model again of which there are the figures alone, by the recipe that its steps resolved.

        Raises:
            OnnxslimError: Whatever a step raises.
        """
        assert self.result.recipe is not None
        again = Attempt(dataclasses.replace(self.task, deadline=None), recipes.parse(self.result.recipe))
        again.apply()
        self.models, self.result.model, self.result.original = again.models[-1:], again.result.model, self.task.original

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of the original and of what came out."""
        assert self.result.output is not None
        return {"original": self.task.original_facts.bytes, "result": self.result.output.bytes}


def draw_latency_runs(samples: Samples, config: SessionConfig) -> tuple[list[Batch], list[str]]:
    """What is timed, as many samples at a time as ``config`` asks; and a warning where they are fewer or more."""
    runs = draw_timed_runs(samples, _LATENCY_RUNS, config.batch_size)
    if config.batch_size in (1, found := len(runs[0].indices)):
        return runs, []
    why = "the model's batch is fixed" if samples.fixed_batch else "samples that differ in shape share no run"
    return runs, [f"timed {found} at a time, not {config.batch_size}: {why}"]
