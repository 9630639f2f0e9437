"""An encoder and the decoders that read its states, told by what their inputs and outputs are called.

A decoder takes the encoder's states (``encoder_hidden_states``) beside its ids and scores the next token. It comes in one
file that reads the text anew for each token; in one with a cache (``decoder_model_merged``); or in two, one for the prompt,
whose caches the other takes (``decoder_model`` and ``decoder_with_past_model``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.core.errors import UnsupportedError
from onnxslim.data.model_inputs import Dim, ModelInput, get_model_inputs
from onnxslim.data.states.pairs import ModelOutput, find_state_pairs, get_model_outputs, split_state_words
from onnxslim.data.states.token_layout import TokenLayout, find_token_layout
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.model_folders.pipelines.pairing import divide_into_sets, find_set_name

#: Encoders that are named where several could be meant.
_MAX_NAMED = 3
_STATES_WORDS = frozenset(("hidden", "state", "output"))


@dataclass(frozen=True)
class DecoderFile:
    """One file of a decoder, and how it is fed.

    Attributes:
        member: The file.
        inputs: What it takes.
        outputs: What it gives.
        layout: How tokens are fed.
        scores: The output with the scores of the token that follows each, shape [batch, tokens, classes].
        states: The input for the encoder's states, [batch, places, width]; None where only caches know them.
        masks: The inputs that say which of the encoder's places count, [batch, places].
        caches: Its outputs → its inputs that they are fed back to.
    """

    member: FolderModel
    inputs: tuple[ModelInput, ...]
    outputs: tuple[ModelOutput, ...]
    layout: TokenLayout
    scores: str
    states: ModelInput | None
    masks: tuple[ModelInput, ...]
    caches: Mapping[str, str]

    @property
    def cache_inputs(self) -> list[ModelInput]:
        """The inputs that start empty."""
        return [i for i in self.inputs if i.name in self.caches.values()]


@dataclass(frozen=True)
class Decoder:
    """The files of one decoder.

    Attributes:
        first: Reads what a text begins with.
        step: Reads each token after that, ``first`` itself where one file does both; None where ``first`` reads all anew.
        handed: The outputs of ``first`` → the inputs of ``step`` that they are fed to.
    """

    first: DecoderFile
    step: DecoderFile | None
    handed: Mapping[str, str]

    @property
    def files(self) -> tuple[DecoderFile, ...]:
        """Its files, each once."""
        return (self.first,) if self.step is None or self.step is self.first else (self.first, self.step)


@dataclass(frozen=True)
class EncoderDecoder:
    """An encoder with one decoder or several that read the same states.

    Attributes:
        encoder: The file.
        states: Its output that decoders read, shape [batch, places, width].
        mask: Its input that says which places count, [batch, places], where it has one.
        decoders: In order of name.
    """

    encoder: FolderModel
    states: str
    mask: str | None
    decoders: tuple[Decoder, ...]

    @property
    def members(self) -> tuple[FolderModel, ...]:
        """The encoder, then the files of the decoders, each once."""
        return tuple(dict.fromkeys((self.encoder, *(file.member for one in self.decoders for file in one.files))))

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the members."""
        return tuple(member.path for member in self.members)


@dataclass(frozen=True)
class _Interface:
    member: FolderModel
    inputs: tuple[ModelInput, ...]
    outputs: tuple[ModelOutput, ...]


def find_encoder_decoders(
    members: Sequence[FolderModel],
    load: Callable[[FolderModel], ir.Model],
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[EncoderDecoder, ...]:
    """Every encoder among ``members`` with the decoders that read it; of a set where two encoders could be meant none, and
    ``tell`` is told so of each of its decoders.
    """
    interfaces = [found for member in members if (found := _read_interface(member, load(member))) is not None]
    sets = divide_into_sets(interfaces, lambda one: one.member.path, lambda some: _pair(some) is not None)
    pairs = tuple(pair for some in sets if (pair := _pair(some)) is not None)
    for line in _describe_unpaired(interfaces, {member for pair in pairs for member in pair.members}):
        tell(line)
    return pairs


def _pair(interfaces: Sequence[_Interface]) -> EncoderDecoder | None:
    """The one encoder of ``interfaces`` and its decoders; None where there are none, or more than one could be meant."""
    firsts = [first for one in interfaces if (first := _find_first(one)) is not None]
    if not firsts:
        return None
    firsts = [first for first in firsts if not any(_goes_on(first, other) for other in firsts)]
    others = [one for one in interfaces if all(one.member != first.member for first in firsts)]
    decoders = tuple(_complete(first, _list_own(first, firsts, others)) for first in firsts)
    taken = {file.member for decoder in decoders for file in decoder.files}
    width = next((i.dims[-1] for one in firsts if (i := one.states) is not None and i.dims), None)
    encoders = [(one, states) for one in interfaces if one.member not in taken for states in _find_states(one, width)]
    named = [(one, states) for one, states in encoders if "encoder" in split_state_words(one.member.role)]
    chosen = named if len(encoders) > 1 else encoders
    if len(chosen) != 1:
        return None
    encoder, states = chosen[0]
    masks = [i.name for i in encoder.inputs if _is_mask(i)]
    return EncoderDecoder(encoder.member, states, masks[0] if len(masks) == 1 else None, decoders)


def _describe_unpaired(interfaces: Sequence[_Interface], taken: Collection[FolderModel]) -> Iterator[str]:
    """A line for each decoder that is none of those ``taken`` although there are encoders."""
    rest = [(one, _find_first(one)) for one in interfaces if one.member not in taken]
    for one, first in rest:
        if first is None or any(other is not None and _goes_on(first, other) for _, other in rest):
            continue
        width = first.states.dims[-1] if first.states is not None and first.states.dims else None
        could = [other.member.path for other, decoder in rest if decoder is None and _find_states(other, width)]
        could = [path for path in could if "decoder" not in split_state_words(path)]
        if could and (taken or len(could) > 1):
            names = " or ".join(could[:_MAX_NAMED]) + (" …" if len(could) > _MAX_NAMED else "")
            yield f"{one.member.path}: its encoder could be {names}: it is judged by itself, not together with one"
        elif taken:
            yield f"{one.member.path}: no encoder is called as it is: it is judged by itself, not together with one"


def _list_own(first: DecoderFile, firsts: Sequence[DecoderFile], others: Sequence[_Interface]) -> list[_Interface]:
    """Those of ``others`` that may go on where ``first`` stopped: of its name, or of the name of none of ``firsts``."""
    name = find_set_name(first.member.path)
    foreign = {find_set_name(one.member.path) for one in firsts} - {name}
    return [one for one in others if find_set_name(one.member.path) not in foreign]


def _read_interface(member: FolderModel, model: ir.Model) -> _Interface | None:
    try:
        return _Interface(member, get_model_inputs(model), get_model_outputs(model))
    except UnsupportedError:  # sequences and the like: no part of this
        return None


def _find_first(one: _Interface) -> DecoderFile | None:
    """``one`` as the file that begins a text; None where it takes no states, or something that nobody could feed."""
    states = next((i for i in one.inputs if _takes_states(i)), None)
    if states is None:
        return None
    pairs = find_state_pairs([i for i in one.inputs if i is not states], one.outputs)
    return _make_file(one, states, pairs, pairs)


def _goes_on(one: DecoderFile, first: DecoderFile) -> bool:
    """Whether all caches of ``one`` are what ``first``, which has none, hands on: older exports give the states to both. A
    file with a switch begins by itself.
    """
    handed = {} if first.caches or one.layout.switches else find_state_pairs(one.inputs, first.outputs)
    return bool(one.caches) and set(one.caches.values()) <= set(handed.values())


def _complete(first: DecoderFile, others: Sequence[_Interface]) -> Decoder:
    """``first`` with the one of ``others`` that goes on where it stopped, if there is one."""
    if first.caches:
        return Decoder(first, first, first.caches)
    for one in others:
        if handed := find_state_pairs(one.inputs, first.outputs):
            own = {a: b for a, b in find_state_pairs(one.inputs, one.outputs).items() if b in handed.values()}
            states = next((i for i in one.inputs if _takes_states(i)), None)
            if (step := _make_file(one, states, handed, own)) is not None:
                return Decoder(first, step, handed)
    return Decoder(first, None, {})


def _make_file(
    one: _Interface, states: ModelInput | None, fed: Mapping[str, str], caches: Mapping[str, str]
) -> DecoderFile | None:
    """``one`` as a file of a decoder whose inputs ``fed`` hold caches; None where it is none."""
    layout = find_token_layout([i for i in one.inputs if i is not states], fed, needs_cache=bool(fed))
    scores = _find_scores(one.outputs, fed)
    masks = tuple(i for i in one.inputs if layout is not None and _is_mask(i) and i not in layout.masks)
    if layout is None or scores is None:
        return None
    known = {layout.ids, *layout.derived, *masks, states}
    if any(i.required and i not in known and i.name not in fed.values() for i in one.inputs):
        return None
    return DecoderFile(one.member, one.inputs, one.outputs, layout, scores, states, masks, caches)


def _takes_states(model_input: ModelInput) -> bool:
    words = set(split_state_words(model_input.name))
    has_rank = model_input.dims is not None and len(model_input.dims) == 3
    return model_input.number_kind == "floats" and has_rank and "encoder" in words and not words.isdisjoint(_STATES_WORDS)


def _is_mask(model_input: ModelInput) -> bool:
    has_rank = model_input.dims is not None and len(model_input.dims) == 2
    return "mask" in split_state_words(model_input.name) and has_rank and model_input.number_kind != "strings"


def _find_scores(outputs: Sequence[ModelOutput], fed: Mapping[str, str]) -> str | None:
    found = [o for o in _list_sequences(outputs) if o.name not in fed]
    named = [o for o in found if "logits" in split_state_words(o.name)]
    chosen = named if len(found) > 1 else found
    return chosen[0].name if len(chosen) == 1 else None


def _find_states(one: _Interface, width: Dim) -> list[str]:
    """The outputs of an encoder that decoders of so many numbers a place could read."""
    found = [o for o in _list_sequences(one.outputs) if o.dims and _agree(o.dims[-1], width)]
    named = [o for o in found if {"hidden", "state"} & set(split_state_words(o.name))]
    chosen = named if len(found) > 1 else found
    return [chosen[0].name] if len(chosen) == 1 else []


def _list_sequences(outputs: Sequence[ModelOutput]) -> list[ModelOutput]:
    return [o for o in outputs if o.dtype is not None and o.dtype.is_floating_point() and len(o.dims or ()) == 3]


def _agree(a: Dim, b: Dim) -> bool:
    return not (isinstance(a, int) and isinstance(b, int)) or a == b
