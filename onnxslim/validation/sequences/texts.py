"""What texts prove of a decoder beyond its single steps: how likely it finds the tokens that follow, and how it goes on.

The steps of a text are judged as any output is. Beside that: perplexity (Jelinek et al., 1977), where the next token is in
the data, and whether a text that the model writes by itself, each token fed back, is the original's for so many tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import OnnxslimError
from onnxslim.data.samples import Samples
from onnxslim.data.states.token_layout import TokenLayout
from onnxslim.graph.cost import compute_cost
from onnxslim.runtime.stateful_session import StatefulSession
from onnxslim.validation.metrics.accumulator import MetricResult, compare_paired
from onnxslim.validation.metrics.classification import are_probabilities, to_log_probabilities
from onnxslim.validation.output_kinds.kind import OutputKind

#: Tokens that a model goes on by, of at most and at least so many texts, as many as so many multiply-accumulates allow.
CONTINUED_TOKENS, _MAX_TEXTS, _MIN_TEXTS, _MAX_MACS = 32, 16, 4, 2 * 10**10


class NextTokens:
    """The log-likelihood of the tokens that follow, of both models, run by run.

    Args:
        samples: The runs of texts.
        output: The output with the scores, shape (N, tokens, classes).
    """

    def __init__(self, samples: Samples, output: str) -> None:
        self.output = output
        self._following = _list_following(samples)
        self._original: list[np.ndarray] = []
        self._result: list[np.ndarray] = []

    def add(self, result: np.ndarray, original: np.ndarray, indices: range) -> None:
        """Take in the scores of the samples ``indices``, a row each."""
        of_probabilities = are_probabilities(original)
        for row, index in enumerate(indices):
            following = self._following[index]
            for scores, parts in ((original[row], self._original), (result[row], self._result)):
                parts.append(_sum_surprise(scores, following, of_probabilities))

    def compute(self) -> MetricResult | None:
        """Perplexity, exp of the mean surprise a token; None where no next token is known."""
        if not self._original or not sum(parts[1] for parts in self._original):
            return None
        original, result = np.stack(self._original), np.stack(self._result)
        found = compare_paired("perplexity", original, result, _finish_perplexity, higher_is_better=False)
        return _of_output(found, self.output)


def find_scores(samples: Samples, kinds: Sequence[OutputKind]) -> str | None:
    """The output that scores the tokens of texts, where ``samples`` are such."""
    names = [kind.outputs[0] for kind in kinds if "tokens" in kind.metrics]
    return names[0] if samples.layout is not None and names else None


def compare_continuations(
    original: StatefulSession, results: Mapping[str, StatefulSession], samples: Samples, output: str, model: ir.Model
) -> dict[str, MetricResult]:
    """The share of texts that each result goes on with as the original does, for :data:`CONTINUED_TOKENS` tokens or as
    many as the original has positions for; by name.

    Args:
        original: The original.
        results: What is compared with it.
        samples: The runs of texts, whose prompts are gone on with.
        output: The output with the scores.
        model: The original, whose cost says how many texts there is time for.
    """
    layout, times = samples.layout, samples.times
    assert layout is not None
    assert times is not None
    affordable = _MAX_MACS // (2 * CONTINUED_TOKENS * max(compute_cost(model).macs, 1))
    prompts = np.flatnonzero(times == 0)[: int(np.clip(affordable, _MIN_TEXTS, _MAX_TEXTS))]
    if not len(prompts):
        return {}
    kept: dict[str, list[tuple[bool, int]]] = {name: [] for name in results}
    for prompt in samples.take(prompts).batches(1):
        expected = continue_greedily(original, prompt, layout, output, CONTINUED_TOKENS)
        for name, session in results.items():
            found = expected if session is original else continue_greedily(session, prompt, layout, output, len(expected))
            equal = np.cumprod(np.equal(found, expected)) if len(found) == len(expected) else np.zeros(1)
            kept[name].append((bool(equal.all()), int(equal.sum())))
    return {name: summarize_continuations(texts, output, CONTINUED_TOKENS) for name, texts in kept.items()}


def summarize_continuations(texts: Sequence[tuple[bool, int]], output: str, count: int) -> MetricResult:
    """The share of ``texts`` that go on as the original does.

    Args:
        texts: Of each, whether all its tokens are the original's, and how many are before the first that is not.
        output: The output with the scores.
        count: Tokens that each was gone on for, at most.
    """
    shares = np.array([[whole] for whole, _ in texts], float)
    result = compare_paired("continuations", np.ones_like(shares), shares, lambda means: means[:, 0], by_definition=True)
    note = f"equal for {np.mean([equal for _, equal in texts]):.1f} of {count} tokens on average"
    return _of_output(result, output, share=True, note=note)


def continue_greedily(
    session: StatefulSession, prompt: Mapping[str, np.ndarray], layout: TokenLayout, output: str, count: int
) -> list[int]:
    """``count`` tokens behind ``prompt``, each the likeliest and fed back; fewer where the model runs no further."""
    tokens, past, found = prompt[layout.ids.name][0], 0, list[int]()
    while len(found) < count and (layout.limit is None or past + len(tokens) <= layout.limit):
        try:
            feeds = {**prompt, **layout.make_feeds(tokens, past)}
            scores = session.run(feeds, [output], continues=past > 0)[output]
        except OnnxslimError:
            break
        past += len(tokens)
        tokens = np.array([int(np.argmax(np.nan_to_num(scores[0, -1], nan=-np.inf)))])
        found.append(int(tokens[0]))
    return found


def _list_following(samples: Samples) -> list[np.ndarray]:
    """Of every sample the token that follows each of its own, shape (tokens,); -1 where it is not known."""
    layout = samples.layout
    assert layout is not None
    tokens = [np.ravel(row) for (rows,) in samples.read_rows(samples.read_size, only=layout.ids.name) for row in rows]
    continues = samples.continues_previous
    following = []
    for index, own in enumerate(tokens):
        goes_on = index + 1 < len(tokens) and continues[index + 1]
        following.append(np.append(own[1:], tokens[index + 1][0] if goes_on else -1))
    return following


def _sum_surprise(scores: np.ndarray, following: np.ndarray, of_probabilities: bool) -> np.ndarray:
    """The surprise in nats, and the number of tokens that it is of; shape (2,)."""
    known = (following >= 0) & (following < scores.shape[-1])
    if scores.ndim != 2 or len(scores) != len(following) or not known.any():
        return np.zeros(2)
    log_probabilities = to_log_probabilities(scores[known], of_probabilities)
    surprise = -log_probabilities[np.arange(known.sum()), following[known]]
    return np.array([np.nan_to_num(surprise, nan=np.inf).sum(), known.sum()])


def _finish_perplexity(means: np.ndarray) -> np.ndarray:
    surprise = np.divide(means[:, 0], means[:, 1], out=np.full(len(means), np.inf), where=means[:, 1] > 0)
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(surprise))


def _of_output(result: MetricResult, output: str, *, share: bool = False, note: str = "") -> MetricResult:
    return dataclasses.replace(result, output=output, share=share, note=note, higher_is_better=share)
