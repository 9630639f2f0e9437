"""The three uses of data: *fit*, *tune* and *confirm*, which never share a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxslim.data.near_duplicates import find_near_duplicates
from onnxslim.data.samples import Samples, too_few_samples
from onnxslim.data.split import HeldPart, check_disjoint, hold_back
from onnxslim.pipeline.data_options import DataOptions, OpenedData
from onnxslim.runtime.session import SessionConfig

#: Shares held back for *confirm* when no second set is given, and for *tune* by what makes choices of its own.
CONFIRM_SHARE, TUNE_SHARE = 0.25, 0.2
#: So many labelled samples tell more of a drop than any number without labels; of plenty, choosing is worth as many as
#: judging.
ENOUGH_LABELS, LABELED_TUNE_SHARE = 500, 0.5
#: Of fewer labelled samples one answer is more than a point.
MIN_TELLING_LABELS = 100


@dataclass(frozen=True)
class ConfirmOrigin:
    """Where the *confirm* samples come from: enough to open the same ones again.

    Attributes:
        source: What the user gave.
        part: The part of it that they are, where it serves another use as well.
        samples: All of that part; a search may have time for some of them only.
    """

    source: Any
    part: HeldPart | None
    samples: Samples


@dataclass(frozen=True)
class DataSplits:
    """Samples by use; None where there are none.

    Attributes:
        fit: What steps are fitted on: calibration, repair, recovery.
        tune: What choices are made on.
        confirm: What the report is about, read once.
        duplicate_warning: A warning where fit and confirm hold samples that are nearly the same.
        origin: Where the *confirm* samples come from.
    """

    fit: Samples | None = None
    tune: Samples | None = None
    confirm: Samples | None = None
    duplicate_warning: str | None = None
    origin: ConfirmOrigin | None = None

    def as_json(self) -> dict[str, Any]:
        """The contract's ``data``."""
        return {use: None if samples is None else samples.as_json() for use, samples in self._samples_by_use().items()}

    @property
    def input_names(self) -> list[str]:
        """The inputs that are fed."""
        return list(dict.fromkeys(n for samples in self._samples_by_use().values() if samples for n in samples.input_names))

    def warnings(self) -> list[str]:
        """What the sources had to say, and whether the sets are too much alike."""
        lines = [line for samples in self._samples_by_use().values() if samples is not None for line in samples.warnings]
        lines = list(dict.fromkeys(lines))  # views of one source share what it had to say
        return lines if self.duplicate_warning is None else [*lines, self.duplicate_warning]

    def _samples_by_use(self) -> dict[str, Samples | None]:
        return {"fit": self.fit, "tune": self.tune, "confirm": self.confirm}


def open_splits(
    model: ir.Model,
    data: Any,
    eval_data: Any,
    read: DataOptions,
    seed: int,
    config: SessionConfig | None = None,
    *,
    tune: float = 0.0,
) -> DataSplits:
    """The sets that ``data`` and ``eval_data`` make; without ``eval_data`` a seeded share of ``data`` is held back.

    Args:
        model: What the samples must fit.
        data: Fit data, or None.
        eval_data: Confirm data, or None.
        read: How both are read.
        seed: Of the draws.
        config: Where ``model`` runs, if it has to.
        tune: Share of the fit data to hold back to choose by, or 0; where the confirm data alone have labels, and plenty
            of them, half of those instead.

    Raises:
        InvalidDataError: The data do not fit the model, or both sets hold the same sample.
        UsageError: One batch of samples, where choices are to be judged.
    """
    confirm = None if eval_data is None else read.open(eval_data, model, seed=seed, config=config)
    given, given_eval = (one.source if isinstance(one, OpenedData) else one for one in (data, eval_data))
    origin = None if confirm is None else ConfirmOrigin(given_eval, read.part, confirm)
    if data is None:
        return DataSplits(confirm=confirm, origin=origin)
    fit, held_back, duplicate_warning = read.open(data, model, seed=seed, config=config), None, None
    if confirm is not None:
        check_disjoint(fit, confirm)
        duplicate_warning = find_near_duplicates(fit, confirm)
    elif fit.run_count > 1:
        fit, confirm = hold_back(fit, CONFIRM_SHARE, seed)
        origin = ConfirmOrigin(given, HeldPart(CONFIRM_SHARE, seed, is_held=True), confirm)
        if (duplicate_warning := find_near_duplicates(fit, confirm)) is not None:
            duplicate_warning += "; --group keeps what belongs together in one set"
    elif tune and (batch := fit.fixed_batch or 1) > 1:
        raise too_few_samples(fit.source, len(fit), 2 * batch, ", a batch to fit on and one to judge by")
    if (
        tune and confirm is not None and confirm.labels is not None and fit.labels is None
        and tune * len(confirm) >= ENOUGH_LABELS
    ):  # fmt: skip
        # Choices are better made on samples like those that will judge. Fit data are often what the model was trained on:
        # it knows those by heart, and every answer that pruning changes there looks like a loss, which it is not on others.
        confirm, held_back = hold_back(confirm, LABELED_TUNE_SHARE, seed + 1)
        origin = ConfirmOrigin(given_eval, HeldPart(LABELED_TUNE_SHARE, seed + 1, is_held=False), confirm)
    elif tune and fit.run_count > 1:
        fit, held_back = hold_back(fit, tune, seed + 1)
    return DataSplits(fit, held_back, confirm, duplicate_warning, origin)
