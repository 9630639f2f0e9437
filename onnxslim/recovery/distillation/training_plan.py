"""A training written down, and what changes while it runs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from onnxslim.recovery.distillation.batches import DistillationBatch, DistillationLoader
from onnxslim.recovery.torch_model.executor import TorchExecutor


@dataclass(frozen=True)
class TrainingPlan:
    """What is trained, on what, for how long.

    Attributes:
        student: Holds the weights.
        loader: To learn from.
        held_out: Lessons held back, with outputs only.
        outputs: Float outputs of the student.
        blocks: Last tensor of each block → its weights; "" for what lies behind the last.
        steps: Updates.
        blockwise: How many of them come before the blocks learn together.
        warmup: Over how many of them the rate rises.
        lr: The peak rate, as a share of each weight's own root mean square.
        weight_decay: Of weights of rank 2 and more.
        batch_size: Samples an update.
        label_weight: Of the cross-entropy.
        micro_batches: Parts that an update's samples are run in, however many cores there are.
        class_outputs: Those outputs that hold class scores.
        deadline: On ``time.monotonic``'s clock, or None.
        last: The update after which to end, or None.
        checkpoint: Where the state is kept, or None.
    """

    student: TorchExecutor
    loader: DistillationLoader
    held_out: Sequence[DistillationBatch]
    outputs: Sequence[str]
    blocks: Mapping[str, Sequence[str]]
    steps: int
    blockwise: int
    warmup: int
    lr: float
    weight_decay: float
    batch_size: int
    label_weight: float
    micro_batches: int = 4
    class_outputs: Collection[str] = ()
    deadline: float | None = None
    last: int | None = None
    checkpoint: str | None = None

    @property
    def block_outputs(self) -> list[str]:
        """The tensors between blocks."""
        return [name for name in self.blocks if name and name not in self.outputs]


@dataclass
class TrainingState:
    """Everything that changes, as plain data and tensors: what a checkpoint holds.

    ``blockwise`` is how many updates the blocks made on their own, where these ended before what was planned; ``begun`` the
    update before which the optimizer knew nothing.
    """

    step: int = 0
    rate: float = 1.0
    rollbacks: int = 0
    slowdowns: int = 0
    blockwise: int | None = None
    begun: int = 0
    worse: int = 0
    best_loss: float = math.inf
    best: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)
    usual: dict[str, float] = field(default_factory=dict)
    norms: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)

    def count_blockwise(self, plan: TrainingPlan) -> int:
        """The updates that come before the blocks learn together."""
        return plan.blockwise if self.blockwise is None else self.blockwise
