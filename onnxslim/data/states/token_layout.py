"""How tokens are fed to a decoder with a cache: its ids, and what has to grow and count along with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim.data.columns import Array
from onnxslim.data.model_inputs import ModelInput
from onnxslim.data.states.pairs import split_state_words

#: Tokens of a text that are fed one by one, at most half of them; what is before them is its prompt.
MAX_STEPS = 32


@dataclass(frozen=True)
class TokenLayout:
    """The inputs of a decoder that follow the tokens.

    Attributes:
        ids: Of the tokens, shape [batch, tokens].
        masks: Ones for all tokens so far, shape [batch, cached + tokens].
        positions: The place of each token in its text, shape [batch, tokens] or [tokens].
        switches: Whether there is a cache to read (``use_cache_branch``), shape [1] or [].
    """

    ids: ModelInput
    masks: tuple[ModelInput, ...] = ()
    positions: tuple[ModelInput, ...] = ()
    switches: tuple[ModelInput, ...] = ()

    @property
    def derived(self) -> tuple[ModelInput, ...]:
        """The inputs that the tool fills in, the ids aside."""
        return (*self.masks, *self.positions, *self.switches)

    def make_feeds(self, tokens: Array, past: int) -> dict[str, Array]:
        """What one run is fed with for ``tokens``, shape (n,), behind ``past`` others; tensors by input, a batch of one."""
        count = len(tokens)
        feeds = {self.ids.name: tokens[None].astype(self.ids.dtype.numpy())}
        feeds |= {i.name: np.ones((1, past + count), i.dtype.numpy()) for i in self.masks}
        for i in self.positions:
            places = np.arange(past, past + count).astype(i.dtype.numpy())
            feeds[i.name] = places if i.dims is not None and len(i.dims) == 1 else places[None]
        for i in self.switches:
            feeds[i.name] = np.full((1,) * len(i.dims or ()), past > 0)
        return feeds


def count_prompt(length: int) -> int:
    """The tokens of a text of ``length`` that are fed at once, as serving does; the rest go one by one."""
    return max(length // 2, length - MAX_STEPS)


def find_token_layout(inputs: Sequence[ModelInput], pairs: Mapping[str, str]) -> TokenLayout | None:
    """Which of ``inputs`` follow the tokens, when the model is a decoder with a cache; else None.

    It is one when something is fed back that is free along another axis than the batch, and one integer input
    [batch, tokens] is left when masks and positions are told by their names.
    """
    states = [i for i in inputs if i.name in pairs.values()]
    if not any(_is_free_beside_batch(i) for i in states):
        return None
    open_inputs = [i for i in inputs if i.name not in pairs.values()]
    masks = tuple(i for i in open_inputs if _is_mask(i))
    positions = tuple(i for i in open_inputs if _is_positions(i))
    switches = tuple(i for i in open_inputs if i.number_kind == "booleans" and "cache" in split_state_words(i.name))
    rest = [i for i in open_inputs if i not in (*masks, *positions, *switches)]
    ids = [i for i in rest if i.number_kind == "integers" and i.dims is not None and len(i.dims) == 2 and _is_free(i, 1)]
    return TokenLayout(ids[0], masks, positions, switches) if len(ids) == 1 else None


def _is_mask(model_input: ModelInput) -> bool:
    words = split_state_words(model_input.name)
    return "mask" in words and not {"encoder", "cross"} & {*words} and len(model_input.dims or ()) == 2


def _is_positions(model_input: ModelInput) -> bool:
    words = split_state_words(model_input.name)
    named = {"position", "positions", "pos"} & {*words}
    return bool(named) and model_input.number_kind == "integers" and len(model_input.dims or ()) in (1, 2)


def _is_free(model_input: ModelInput, axis: int) -> bool:
    return model_input.dims is not None and not isinstance(model_input.dims[axis], int)


def _is_free_beside_batch(model_input: ModelInput) -> bool:
    axes = range(len(model_input.dims or ()))
    return any(axis != model_input.axis and _is_free(model_input, axis) for axis in axes)
