"""The tests of a module stand where the module stands: ``onnxslim/graph/cost.py`` and ``tests/graph/test_cost.py``."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from tests.support.paths import ROOT

#: Modules without tests of their own name, each with who tests them or why there is nothing to test. Only to be shortened.
EXCEPTIONS = {
    "onnxslim/channels/rules/*": "channels/rules/test_rules.py runs the mask oracle on a case of every op",
    "onnxslim/channels/slots/*": "what a rule says is settled and removed in every case of channels/rules/test_rules.py",
    "onnxslim/channels/analysis/collect.py": "the walk itself: every case of channels/rules/test_rules.py",
    "onnxslim/channels/analysis/label_table.py": "lookups, compared with the labels in channels/analysis/test_units.py",
    "onnxslim/channels/lossless/layout_view.py": "read by every transfer in channels/lossless/test_transfer.py",
    "onnxslim/core/progress.py": "a type and a function that does nothing",
    "onnxslim/core/step_report.py": "a dataclass that every step's test reads",
    "onnxslim/core/version.py": "a constant; the command line's --version is in cli/test_commands.py",
    "onnxslim/model_io/checker.py": "ONNX's own checker: model_io/test_reading.py, attacks/test_messages.py",
    "onnxslim/model_io/graph_names.py": "attacks/test_messages.py breaks every promise it checks",
    "onnxslim/model_io/tensor_data.py": "attacks/test_messages.py breaks every promise it checks",
    "onnxslim/model_io/tensors.py": "iteration, held by the round trips of model_io/test_serialization.py",
    "onnxslim/pipeline/data_options.py": "a dataclass; pipeline/test_data_splits.py opens it",
    "onnxslim/pruning/importance/error_curves.py": "pruning/selection/test_distributed_effect.py and pruning/test_step.py",
    "onnxslim/pruning/reconstruction/regression_targets.py": "pruning/test_block_dropping.py, .../test_layerwise.py",
    "onnxslim/pruning/selection/candidates.py": "dataclasses; pruning/selection/test_latency.py",
    "onnxslim/quantization/calibration/range_selection.py": "quantization/test_detectors.py",
    "onnxslim/quantization/calibration/sampled_outputs.py": "quantization/static/test_layerwise_replay.py",
    "onnxslim/quantization/conformance/toy_models.py": "drawn with in quantization/conformance/test_fusion_claims.py",
    "onnxslim/quantization/decision.py": "a dataclass",
    "onnxslim/quantization/context.py": "a dataclass",
    "onnxslim/quantization/dynamic/builder.py": "quantization/test_placement_selection.py",
    "onnxslim/quantization/dynamic/layer_error.py": "quantization/test_placement_selection.py",
    "onnxslim/quantization/evaluation/fusion_report.py": "quantization/static/test_pipeline.py",
    "onnxslim/quantization/options.py": "a dataclass",
    "onnxslim/quantization/qdq/insert.py": "quantization/test_graphs.py, quantization/conformance/test_pattern_checks.py",
    "onnxslim/quantization/static/builder.py": "quantization/test_placement_selection.py",
    "onnxslim/quantization/static/equalization_stats.py": "quantization/calibration/test_cache.py",
    "onnxslim/quantization/static/layerwise_correction.py": "quantization/numerics/test_gptq.py has its arithmetic",
    "onnxslim/quantization/static/output_head.py": "quantization/test_detectors.py",
    "onnxslim/quantization/static/summary.py": "a table; quantization/static/test_pipeline.py",
    "onnxslim/quantization/targets/*": "quantization/conformance/test_pattern_checks.py executes every row",
    "onnxslim/recovery/distillation/batches.py": "recovery/distillation/test_optimizer_step.py",
    "onnxslim/recovery/distillation/training_plan.py": "dataclasses",
    "onnxslim/recovery/ops/*": "recovery/ops/test_node_cases.py runs ONNX's own cases of every op",
    "onnxslim/recovery/tensor_conversion.py": "recovery/ops/test_node_cases.py converts every element type",
    "onnxslim/recovery/torch_model/fused_fake_quant.py": "recovery/torch_model/test_trainable_weights.py",
    "onnxslim/runtime/optimized_graph.py": "one call, in most tests of quantization/",
    "onnxslim/runtime/recorder.py": "tools/test_recording.py",
    "onnxslim/search/candidate.py": "dataclasses",
    "onnxslim/simplification/affine_folding.py": "simplification/rules/test_conv_affine.py, .../test_conv_batchnorm.py",
    "onnxslim/simplification/fixpoint.py": "simplification/test_structure.py, simplification/test_properties.py",
    "onnxslim/simplification/rank_inference.py": "simplification/rules/test_branch.py",
    "onnxslim/simplification/rule.py": "the words that every test of simplification/rules/ speaks",
    "onnxslim/simplification/rule_table.py": "a table; simplification/rules/",
    "onnxslim/simplification/rules/constant.py": "simplification/test_constant_folding.py",
    "onnxslim/simplification/symbolic_shapes/ops.py": "simplification/symbolic_shapes/test_inference.py",
    "onnxslim/tools/benchmarking.py": "cli/commands/test_benchmark.py",
    "onnxslim/tools/inspection.py": "cli/commands/test_inspect.py",
    "onnxslim/tools/profiling.py": "cli/commands/test_profile.py",
    "onnxslim/tools/prunability.py": "cli/commands/test_inspect.py",
    "cli/app.py": "cli/test_exit_codes.py",
    "cli/command.py": "cli/test_commands.py",
    "cli/command_registry.py": "cli/test_commands.py",
    "cli/commands/doctor.py": "cli/test_commands.py",
    "cli/commands/sensitivity.py": "reporting/test_sensitivity_plot.py, pipeline/test_schema.py",
    "cli/commands/validate.py": "cli/test_commands.py",
    "cli/console/provenance.py": "cli/test_commands.py",
    "cli/console/tables.py": "cli/test_commands.py",
    "cli/console/terminal.py": "cli/test_exit_codes.py",
    "cli/main.py": "cli/test_name_clash.py",
    "cli/options/shared_options.py": "declarations of options",
}


def modules() -> list[Path]:
    """Every module of the library and of the command line, relative to the repository."""
    found = [path.relative_to(ROOT) for room in ("onnxslim", "cli") for path in sorted((ROOT / room).rglob("*.py"))]
    return [path for path in found if not path.name.startswith("__")]


def namesake(module: Path) -> Path:
    """Where the tests of ``module`` stand."""
    room = Path(*module.parts[1:]) if module.parts[0] == "onnxslim" else module
    return ROOT / "tests" / room.with_name(f"test_{room.name}")


def test_every_module_has_tests_of_its_name_or_is_excepted_with_a_reason() -> None:
    missing = [str(module) for module in modules() if not namesake(module).exists()]
    assert [name for name in missing if not any(fnmatch.fnmatch(name, pattern) for pattern in EXCEPTIONS)] == []


def test_no_exception_outlives_its_reason() -> None:
    missing = [str(module) for module in modules() if not namesake(module).exists()]
    assert [pattern for pattern in EXCEPTIONS if not fnmatch.filter(missing, pattern)] == []


def test_who_tests_a_module_in_its_place_is_there() -> None:
    named = [word.strip(":,;") for reason in EXCEPTIONS.values() for word in reason.split()]
    files = [word for word in named if word.endswith(".py") and not word.startswith("...")]
    assert files
    assert [word for word in files if not (ROOT / "tests" / word).exists()] == []
