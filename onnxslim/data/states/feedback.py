"""How a model's state goes from one step to the next: which output is fed back to which input, and what runs the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.columns import Array
from onnxslim.data.model_inputs import Dim, ModelInput, format_shape
from onnxslim.data.states.pairs import ModelOutput, find_candidates, find_fixed_difference


@dataclass(frozen=True)
class StateFeedback:
    """How state is carried.

    Attributes:
        pairs: Output → the input it is fed back to.
        outputs: The outputs that the model has.
        run: One inference of the original: feeds by input → outputs by name.
        declared: The outputs with their types and shapes, as far as they are known.
        notes: What is to be said of the pairs.
    """

    pairs: Mapping[str, str]
    outputs: Sequence[str]
    run: Callable[[Mapping[str, Array]], Mapping[str, Any]]
    declared: Sequence[ModelOutput] = ()
    notes: Sequence[str] = ()

    def get_output_dims(self, input_name: str) -> tuple[Dim, ...] | None:
        """The shape that the output declares which is fed back to ``input_name``; None where it is unknown."""
        outputs = [output for output, name in self.pairs.items() if name == input_name]
        return next((o.dims for o in self.declared if o.name in outputs), None)

    def check(self, inputs: Sequence[ModelInput]) -> None:
        """Refuse pairs that the model does not have, or that cannot go together.

        Raises:
            UsageError: No such output or input, or one that appears twice.
            InvalidDataError: The two sides differ in a dimension that both fix.
        """
        known = {i.name for i in inputs}
        for output, input_name in self.pairs.items():
            if output not in self.outputs:
                raise UsageError(
                    f"--state {output}={input_name}: the model has no output {output}",
                    hint=f"it has {', '.join(self.outputs)}; the form is OUT=IN, or auto",
                )
            if input_name not in known:
                raise UsageError(
                    f"--state {output}={input_name}: the model has no input {input_name}",
                    hint=f"it has {', '.join(sorted(known))}; the form is OUT=IN, or auto",
                )
        if len(set(self.pairs.values())) < len(self.pairs):
            raise UsageError("--state: two outputs are fed back to one input")
        if not known - set(self.pairs.values()):
            raise UsageError("--state: every input would be fed back, and none is left for data")
        self._check_shapes(inputs)

    def check_fed(self, inputs: Sequence[ModelInput], fed: Sequence[str]) -> None:
        """Refuse data that leave open an input which nothing is fed back to, although an output could be.

        Args:
            inputs: All that the model takes.
            fed: The inputs that the data have something for.

        Raises:
            UsageError: There is such an input; the hint has the outputs that go with it.
        """
        for model_input in inputs:
            if model_input.required and model_input.name not in (*fed, *self.pairs.values()):
                free = [output for output in self.declared if output.name not in self.pairs]
                candidates = find_candidates(model_input, free)
                if candidates and fed:
                    options = " or ".join(f"--state {output}={model_input.name}" for output in candidates)
                    raise UsageError(
                        f"--state: the data have no '{model_input.name}' {model_input}, and nothing is fed back to it",
                        hint=f"by its shape it could be {options}",
                    )

    def _check_shapes(self, inputs: Sequence[ModelInput]) -> None:
        by_name = {i.name: i for i in inputs}
        for output in self.declared:
            if output.name not in self.pairs:
                continue
            model_input = by_name[self.pairs[output.name]]
            if (axis := find_fixed_difference(output.dims, model_input.dims)) is not None:
                where = "their ranks differ" if axis < 0 else f"axis {axis} is fixed at another size"
                raise InvalidDataError(
                    f"--state {output.name}={model_input.name}: the output has shape {format_shape(output.dims or ())}, "
                    f"expected {format_shape(model_input.dims or ())} as the input: {where}",
                    hint="what is fed back has to be what the input takes",
                )
