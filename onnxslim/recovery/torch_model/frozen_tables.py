"""Tables of embeddings, which a short training leaves as they are."""

from __future__ import annotations

from onnxslim.core.step_report import StepReport
from onnxslim.recovery.torch_model.executor import TorchExecutor
from onnxslim.recovery.torch_model.trainable_weights import find_tables


def freeze_tables(student: TorchExecutor, lookups: int, report: StepReport) -> None:
    """Freeze what has more rows than the ``lookups`` that an update makes at most, unless that is all there is.

    A row would learn from the few samples that hold it alone, in steps as long as any weight's, while gradients, moments
    and averages of all rows cost more than the layers do: of a text encoder half of the weights are such a table.
    """
    tables = {name: rows for name, rows in find_tables(student.model.graph, student.weights).items() if rows > lookups}
    if len(tables) == len(student.weights):
        return
    student.freeze(tables)
    for name, rows in tables.items():
        report.skip(name, f"a table of {rows} rows, of which an update looks up {lookups} at most: frozen")
