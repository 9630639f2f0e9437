"""The options of a recovery."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnxslim.core.errors import UsageError
from onnxslim.core.quantities import Seconds, Seed, Share, WholeShare

#: Every change of an input that training may make (``augment.py``).
AUGMENTATIONS = ("flip", "crop", "noise", "mixup")


@dataclass(frozen=True)
class RecoverDecision:
    """How many updates a recovery planned, how many of them it did, and at which peak rate."""

    planned_steps: int
    completed_steps: int
    lr: float


@dataclass(frozen=True)
class RecoverOptions:
    """How to train, and for how long.

    Attributes:
        seconds: Wall time for all of it; it is turned into a number of steps by timing the first ones. 15 minutes when
            neither ``steps`` nor ``epochs`` is given.
        steps: Updates, instead; the run is then reproducible to the byte.
        epochs: Passes over the data, instead.
        last: The update after which to end although ``steps`` more were planned: how a run whose time was up is replayed.
        batch_size: Samples an update.
        lr: Adam's peak rate as a share of each weight's own root mean square, so that one number suits all layers; None
            takes 3e-3, or 3e-4 for a model with quantised weights, and less where a short training at that gains nothing.
            A rate that leads far above the best loss is lowered on the way, and training goes on from the best weights.
        weight_decay: Decoupled (AdamW), on weights of rank 2 and more.
        warmup: Share of the steps over which the rate rises; behind it falls along a cosine to zero.
        blockwise: Share of the steps in which every block learns on its own at most, before all learn together; it ends
            where that leads above where training began, as it may where layers were repaired. None takes 0.3, or 0 for a
            model with quantised weights, whose blocks are already close to the teacher's.
        augment: Changes of the inputs (:data:`AUGMENTATIONS`); None means flip and crop where the input is an image,
            and crop alone where labels are given, because a mirrored digit has another label. () switches them off.
        label_weight: What the cross-entropy to the labels weighs beside the distance to the teacher, where labels are.
        held: Share of the samples held back to judge by, where no unseen ones are given; None takes 0.15, of few samples
            64, as long as that is no more than a third, and 512 of many. Images there are augmented too: repair saw the
            originals.
        seed: Of everything random.
        checkpoint: A file that the state is kept in; if it is there already, training goes on from it.
    """

    seconds: Seconds | None = None
    steps: int | None = None
    epochs: float | None = None
    last: int | None = None
    batch_size: int = 32
    lr: float | None = None
    weight_decay: float = 0.0
    warmup: WholeShare = 0.05
    blockwise: WholeShare | None = None
    augment: tuple[str, ...] | None = None
    label_weight: float = 0.1
    held: Share | None = None
    seed: Seed = 0
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, by a UsageError that names the option."""
        if sum(budget is not None for budget in (self.seconds, self.steps, self.epochs)) > 1:
            raise UsageError("recover: a budget is given as seconds, steps or epochs, not several of them")
        for name in ("seconds", "steps", "epochs", "batch_size", "lr"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"recover: {name} is {value}, expected a number above 0")
        if self.last is not None and (self.last < 0 or (self.steps is not None and self.last > self.steps)):
            raise UsageError(f"recover: last is {self.last}, expected one of the {self.steps or 'planned'} steps")
        for name in ("warmup", "blockwise"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise UsageError(f"recover: {name} is {share}, expected a share from 0 to 1")
        if self.held is not None and not 0 < self.held < 1:
            raise UsageError(f"recover: held is {self.held}, expected a share between 0 and 1")
        if self.weight_decay < 0 or self.label_weight < 0:
            raise UsageError("recover: weight_decay and label_weight cannot be negative")
        for name in self.augment or ():
            if name not in AUGMENTATIONS:
                raise UsageError(f"recover: no augmentation {name}", hint=f"one of {', '.join(AUGMENTATIONS)}")
