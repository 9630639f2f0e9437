"""From texts to the ids that a model takes, as the files beside it say: ``tokenizer.json`` and its configuration.

A text has its own length: nothing is padded unless the model fixes how many tokens it takes. It is cut where the tokenizer,
the model or sentence-transformers set the end, whichever comes first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError, UnsupportedError, UsageError
from onnxslim.data.columns import Array
from onnxslim.data.model_inputs import ModelInput

TOKENIZER_NAME = "tokenizer.json"
#: Where the length that a text is cut at is said: file, key.
_LENGTHS = (
    ("tokenizer_config.json", "model_max_length"),
    ("sentence_bert_config.json", "max_seq_length"),
    ("config.json", "max_position_embeddings"),
)
#: A length that means "any": transformers writes 1e30.
_ANY_LENGTH = 1_000_000
#: Models whose positions begin behind the padding's id: so many fewer tokens fit.
_OFFSET_POSITIONS = ("roberta", "camembert", "xlm-roberta", "mpnet", "longformer")
#: What each input is fed with, by its name in exports of transformers and of TensorFlow Hub.
_PARTS = {
    "input_ids": "ids",
    "input_word_ids": "ids",
    "attention_mask": "attention_mask",
    "input_mask": "attention_mask",
    "token_type_ids": "type_ids",
    "segment_ids": "type_ids",
    "input_type_ids": "type_ids",
    "position_ids": "positions",
}


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer for the inputs of one model.

    Attributes:
        path: Its file, for errors.
        tokenizer: A ``tokenizers.Tokenizer``.
        parts: What each input is fed with.
        limits: How many rows the table has that an input is looked up in, where that is known.
    """

    path: Path
    tokenizer: Any
    parts: Mapping[str, str]
    limits: Mapping[str, int]

    def encode(self, texts: Sequence[str | tuple[str, str]]) -> list[dict[str, Array]]:
        """Each text, or pair of texts, as int64 arrays of shape (tokens,) by input.

        Raises:
            InvalidDataError: An id that the model has no row for, or the tokenizer fails.
        """
        try:
            encodings = self.tokenizer.encode_batch(list(texts))
        except Exception as error:  # the package raises bare Exception
            raise InvalidDataError(f"{self.path}: makes no ids of these texts: {error}") from error
        samples = []
        for encoding in encodings:
            rows = {part: getattr(encoding, part) for part in ("ids", "attention_mask", "type_ids")}
            rows["positions"] = list(range(len(encoding.ids)))
            sample = {name: np.array(rows[part], np.int64) for name, part in self.parts.items()}
            for name, limit in self.limits.items():
                if len(sample[name]) and sample[name].max() >= limit:
                    raise InvalidDataError(
                        f"{self.path}: gives '{name}' {sample[name].max()}, and the model looks up one of {limit} rows",
                        hint="the tokenizer of another model?",
                    )
            samples.append(sample)
        return samples


def load_text_encoder(folder: Path, inputs: Sequence[ModelInput], required: Sequence[str]) -> TextEncoder:
    """The tokenizer in ``folder`` for a model with ``inputs``.

    Args:
        folder: Where the model's files are.
        inputs: What the model takes.
        required: Those that have no default.

    Raises:
        UsageError: There is no tokenizer.
        InvalidDataError: It is broken, or makes nothing that the model's inputs could be fed with.
        UnsupportedError: The package that reads it is not installed.
    """
    path = folder / TOKENIZER_NAME
    if not path.is_file():
        raise UsageError(
            f"{folder}: no {TOKENIZER_NAME}, which says how texts become ids",
            hint="save_pretrained() of the model's fast tokenizer writes it; or give the ids as an .npz",
        )
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UnsupportedError("texts need tokenizers", hint="pip install onnxslim-toolkit[text]") from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises bare Exception
        raise InvalidDataError(f"{path}: not a tokenizer: {error}") from error
    parts = _assign_parts(inputs, required, path)
    length = next((i.dims[1] for i in inputs if i.name in parts and i.dims and len(i.dims) == 2), None)
    fixed = length if isinstance(length, int) else None
    tokenizer.no_padding()
    _cut(tokenizer, folder, fixed)
    if fixed is not None:
        token = _find_padding(tokenizer, folder)
        tokenizer.enable_padding(length=fixed, pad_id=tokenizer.token_to_id(token) or 0, pad_token=token)
    limits = {i.name: i.limit for i in inputs if i.name in parts and i.limit is not None}
    return TextEncoder(path, tokenizer, parts, limits)


def _assign_parts(inputs: Sequence[ModelInput], required: Sequence[str], path: Path) -> dict[str, str]:
    parts = {i.name: _PARTS[i.name] for i in inputs if i.name in _PARTS}
    others = [name for name in required if name not in parts]
    if not parts and len(others) == 1:
        parts, others = {others[0]: "ids"}, []
    if others:
        made = ", ".join(_PARTS)
        raise InvalidDataError(f"{path}: the model takes '{others[0]}', which no tokenizer makes (it makes {made})")
    wrong = next((i for i in inputs if i.name in parts and i.number_kind != "integers"), None)
    if wrong is not None:
        raise InvalidDataError(f"{path}: the model takes '{wrong.name}' {wrong}, expected ids of tokens")
    return parts


def _cut(tokenizer: Any, folder: Path, fixed: int | None) -> None:
    """Set where texts are cut: at the least of the lengths that anything says."""
    own = tokenizer.truncation or {}
    lengths = [length for name, key in _LENGTHS if (length := _read_length(folder / name, key)) is not None]
    lengths += [length for length in (own.get("max_length"), fixed) if length is not None]
    if not lengths:
        return
    direction = _read_json(folder / "tokenizer_config.json").get("truncation_side", own.get("direction", "right"))
    tokenizer.enable_truncation(min(lengths), direction=direction if direction == "left" else "right")


def _read_length(path: Path, key: str) -> int | None:
    config = _read_json(path)
    length = config.get(key)
    if not isinstance(length, (int, float)) or isinstance(length, bool) or not 1 <= length < _ANY_LENGTH:
        return None
    if key == "max_position_embeddings" and str(config.get("model_type", "")) in _OFFSET_POSITIONS:
        padding = config.get("pad_token_id", 1)
        return int(length) - (padding if isinstance(padding, int) else 1) - 1
    return int(length)


def _find_padding(tokenizer: Any, folder: Path) -> str:
    """The token that fills up, as the configuration or the vocabulary has it."""
    named = _read_json(folder / "tokenizer_config.json").get("pad_token")
    token = named.get("content") if isinstance(named, dict) else named
    usual = next((word for word in ("[PAD]", "<pad>") if tokenizer.token_to_id(word) is not None), "[PAD]")
    return token if isinstance(token, str) and tokenizer.token_to_id(token) is not None else usual


def _read_json(path: Path) -> Mapping[str, Any]:
    """The object in the file at ``path``; empty where there is none.

    Raises:
        InvalidDataError: It is no JSON.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidDataError(f"{path}: not JSON: {error}") from error
    return content if isinstance(content, dict) else {}
