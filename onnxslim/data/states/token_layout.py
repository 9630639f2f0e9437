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
#: Words in the names of numbers that count the tokens so far, and those before this run.
_TOTAL_WORDS = frozenset(("total", "nonpad", "valid"))
_PAST_WORDS = frozenset(("past", "cache", "offset", "write"))
#: Words in the names of masks of something else than the tokens.
_OTHER_MASKS = frozenset(("encoder", "cross", "pixel", "image", "vision", "audio"))


@dataclass(frozen=True)
class TokenLayout:
    """The inputs of a decoder that follow the tokens.

    Attributes:
        ids: Of the tokens, shape [batch, tokens]; [batch, 1] where they are read one by one.
        masks: Of what a token sees: ones for all tokens so far, shape [batch, cached + tokens]; or the causal mask,
            shape [batch, 1, tokens, cached + tokens], floats that are added to scores or booleans. Where the cache is
            static, of its length.
        positions: The place of each token in its text, shape [batch, tokens] or [tokens], or of the first of them,
            shape [1] or [].
        switches: Whether there is a cache to read (``use_cache_branch``), shape [1] or [].
        past_counts: How many tokens there were before, shape [batch] or [].
        total_counts: The same with those of this run.
        capacity: How many tokens the smallest static cache holds; None where caches grow.
    """

    ids: ModelInput
    masks: tuple[ModelInput, ...] = ()
    positions: tuple[ModelInput, ...] = ()
    switches: tuple[ModelInput, ...] = ()
    past_counts: tuple[ModelInput, ...] = ()
    total_counts: tuple[ModelInput, ...] = ()
    capacity: int | None = None

    @property
    def derived(self) -> tuple[ModelInput, ...]:
        """The inputs that the tool fills in, the ids aside."""
        return (*self.masks, *self.positions, *self.switches, *self.past_counts, *self.total_counts)

    @property
    def reads_one_by_one(self) -> bool:
        """Whether a run takes one token, also of a prompt."""
        return self.ids.dims is not None and self.ids.dims[1] == 1

    @property
    def limit(self) -> int | None:
        """The most tokens that a text may have, where the model tells."""
        limits = [*(i.limit for i in self.positions), self.capacity]
        return min((limit for limit in limits if limit is not None), default=None)

    def list_starts(self, length: int) -> list[int]:
        """Where the runs of a text of ``length`` tokens begin: its prompt, then each token by itself."""
        return list(range(length)) if self.reads_one_by_one else [0, *range(count_prompt(length), length)]

    def make_feeds(self, tokens: Array, past: int) -> dict[str, Array]:
        """What one run is fed with for ``tokens``, shape (n,), behind ``past`` others; tensors by input, a batch of one."""
        count = len(tokens)
        feeds = {self.ids.name: tokens[None].astype(self.ids.dtype.numpy())}
        feeds |= {i.name: self._make_mask(i, past, count) for i in self.masks}
        for i in self.positions:
            is_start = not i.dims or (i.dims == (1,) and not self.reads_one_by_one)
            places = np.arange(past, past + (1 if is_start else count)).astype(i.dtype.numpy())
            feeds[i.name] = places.reshape([1] * (len(i.dims or ()) - 1) + [-1] if i.dims else ())
        for i in self.switches:
            feeds[i.name] = np.full((1,) * len(i.dims or ()), past > 0)
        for inputs, number in ((self.past_counts, past), (self.total_counts, past + count)):
            feeds |= {i.name: np.full((1,) * len(i.dims or ()), number, i.dtype.numpy()) for i in inputs}
        return feeds

    def _make_mask(self, mask: ModelInput, past: int, count: int) -> Array:
        dims, dtype = mask.dims or (), mask.dtype.numpy()
        fixed = dims[-1] if dims else None
        keys = np.arange(fixed if isinstance(fixed, int) else self.capacity or past + count)
        if len(dims) <= 2:
            return np.asarray(keys < past + count)[None].astype(dtype)
        seen = keys <= np.arange(past, past + count)[:, None]
        if mask.number_kind == "floats":
            seen = np.where(seen, 0, np.finfo(np.float16 if dtype.itemsize < 4 else np.float32).min)
        return seen.astype(dtype).reshape((1,) * (len(dims) - 2) + seen.shape)


def count_prompt(length: int) -> int:
    """The tokens of a text of ``length`` that are fed at once, as serving does; the rest go one by one."""
    return max(length // 2, length - MAX_STEPS)


def find_token_layout(
    inputs: Sequence[ModelInput], pairs: Mapping[str, str], *, needs_cache: bool = True
) -> TokenLayout | None:
    """Which of ``inputs`` follow the tokens, when the model is a decoder; else None.

    It is one with a cache when something is fed back that is free along another axis than the batch, or that is written by
    position while the model is told positions; and in any case when one integer input [batch, tokens] is left after masks,
    positions and counts are told by their names.

    Args:
        inputs: What the model takes.
        pairs: Output → the input that it is fed back to.
        needs_cache: What has no cache is none.
    """
    states = [i for i in inputs if i.name in pairs.values()]
    static = [size for i in states if i.written_axis is not None and isinstance(size := (i.dims or ())[i.written_axis], int)]
    if needs_cache and not static and not any(_is_free_beside_batch(i) for i in states):
        return None
    open_inputs = [i for i in inputs if i.name not in pairs.values()]
    masks = tuple(i for i in open_inputs if _is_mask(i))
    positions = tuple(i for i in open_inputs if _is_positions(i))
    switches = tuple(i for i in open_inputs if i.number_kind == "booleans" and "cache" in split_state_words(i.name))
    rest = [i for i in open_inputs if i not in (*masks, *positions, *switches) and "mask" not in split_state_words(i.name)]
    total_counts = tuple(i for i in rest if _is_count(i, _TOTAL_WORDS))
    past_counts = tuple(i for i in rest if i not in total_counts and _is_count(i, _PAST_WORDS))
    ids = [i for i in rest if i.number_kind == "integers" and i.dims is not None and len(i.dims) == 2]
    ids = [i for i in ids if _is_free(i, 1) or (i.dims is not None and i.dims[1] == 1 and (static or not needs_cache))]
    if len(ids) != 1 or (static and not (positions or masks or past_counts or total_counts)):
        return None
    return TokenLayout(ids[0], masks, positions, switches, past_counts, total_counts, min(static, default=None))


def _is_mask(model_input: ModelInput) -> bool:
    words = split_state_words(model_input.name)
    return "mask" in words and _OTHER_MASKS.isdisjoint(words) and len(model_input.dims or ()) in (2, 3, 4)


def _is_positions(model_input: ModelInput) -> bool:
    words = split_state_words(model_input.name)
    named = {"position", "positions", "pos"} & {*words}
    has_rank = model_input.dims is not None and len(model_input.dims) <= 2
    return bool(named) and has_rank and model_input.number_kind == "integers"


def _is_count(model_input: ModelInput, words: frozenset[str]) -> bool:
    has_rank = model_input.dims is not None and len(model_input.dims) <= 1
    return has_rank and model_input.number_kind == "integers" and not words.isdisjoint(split_state_words(model_input.name))


def _is_free(model_input: ModelInput, axis: int) -> bool:
    return model_input.dims is not None and not isinstance(model_input.dims[axis], int)


def _is_free_beside_batch(model_input: ModelInput) -> bool:
    axes = range(len(model_input.dims or ()))
    return any(axis != model_input.axis and _is_free(model_input, axis) for axis in axes)
