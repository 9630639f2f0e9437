"""Opening data: whatever the user has becomes :class:`~onnxslim.data.samples.Samples`, checked against the model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import islice
from types import ModuleType
from typing import Any

import onnx_ir as ir

from onnxslim.core.errors import LimitError, OnnxslimError, UnsupportedError, UsageError
from onnxslim.core.user_functions import is_function_reference
from onnxslim.data.columns import Array
from onnxslim.data.model_inputs import get_model_inputs
from onnxslim.data.reader import ReaderRequest
from onnxslim.data.readers import array_folder, arrays, images, iterables, npz, random_data, sounds, tables, text_files
from onnxslim.data.sample_building import build_samples
from onnxslim.data.samples import Samples, too_few_samples
from onnxslim.data.split import draw_samples
from onnxslim.data.states.feedback import StateFeedback
from onnxslim.data.states.pairs import get_model_outputs
from onnxslim.data.states.sequence_samples import open_sequences
from onnxslim.data.user_functions import call_reader

#: Why a model does not run with some inputs; None where it does.
RunCheck = Callable[[Mapping[str, Array]], OnnxslimError | None]
#: Element types that numpy does not have; the runtime's interface takes numpy's.
_UNFED_TYPES = frozenset(
    kind
    for kind in ir.DataType
    if (kind.is_floating_point() and kind not in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE))
    or (kind.is_integer() and kind.bitwidth < 8)
)
#: Made-up samples that a model is tried with where it takes integers.
_TRIED_SAMPLES = 4
#: The sources, in the order they are asked whether a source is theirs. To add one, write a module with ``accepts``
#: and ``read`` (see :mod:`onnxslim.data.reader`) and put it here.
READERS: tuple[ModuleType, ...] = (random_data, npz, array_folder, images, sounds, text_files, tables, arrays, iterables)


def open_samples(
    source: Any,
    model: ir.Model,
    *,
    labels: Any = None,
    preprocess: str | None = None,
    max_samples: int | None = None,
    seed: int = 0,
    group: Any = None,
    dims: Mapping[str, int] | None = None,
    allow_random: bool = True,
    allow_code: bool = False,
    run_check: RunCheck | None = None,
    feedback: StateFeedback | None = None,
    input_configs: str | None = None,
) -> Samples:
    """Samples for ``model`` from ``source``, checked for names, dtypes, ranks and fixed dimensions.

    Args:
        source: The path of an ``.npz`` with an array per input, of an ``.npy`` (a model with one input), of a folder
            of such files, of images or of sounds, of a csv ``file,label``, of texts (``.txt``, ``.jsonl``), or of a table
            (csv, parquet, arrow); the word
            ``random``; ``package.module:function``; an array, a mapping of arrays by input, an iterable of samples or
            feeds, or an object with ``get_next()``.
            In arrays the first axis counts samples.
        model: What the samples are for.
        labels: The key of the labels (``labels`` when there is one), the csv of a folder, or the labels themselves.
        preprocess: How images become arrays: see :mod:`onnxslim.data.preprocessing.image_transform`, or the path of a
            Hugging Face ``preprocessor_config.json``, or of a folder with one: then as ``input_configs``.
        max_samples: Draw at most so many, by ``seed``, in proportion to the labels.
        seed: Of every draw.
        group: What must stay together when a share is held back: a key, ``subfolder``, or one group per sample.
        dims: Sizes of free dimensions, for random data.
        allow_random: Take ``random`` for an answer.
        allow_code: Import and call a function that the source names.
        run_check: Why the model does not run with these inputs, if it does not; random data then get larger free
            dimensions.
        feedback: The data are sequences whose state is fed back (:mod:`onnxslim.data.sequences`); then ``max_samples``
            counts sequences, and what stays together is a sequence.
        input_configs: The folder of the model's ``tokenizer.json`` and ``preprocessor_config.json``, which say how texts,
            sounds and, where ``preprocess`` does not, images become inputs.

    Raises:
        UsageError: No data, no such file or kind of source, a wrong ``preprocess``, code that was not allowed; or random
            data that the model does not run with.
        InvalidDataError: The data do not fit the model, or are broken; names the key and what was expected.
        UnsupportedError: The model's inputs are not tensors, or of a type that numpy does not have (bfloat16, float8, int4).
        LimitError: The data are too large for any use.
    """
    if source is None:
        raise UsageError("no data given", hint="give the data the model was made for with --data")
    if isinstance(source, (str, os.PathLike)) and not os.fspath(source):  # which pathlib would take for the current folder
        raise UsageError("data: an empty name, expected that of a file or folder")
    if max_samples is not None and max_samples < 1:
        raise UsageError(f"--max-samples {max_samples}: expected at least 1")
    if is_function_reference(source) and not os.path.exists(source):
        source = call_reader(source, allow_code)
    if preprocess is not None and os.path.isdir(preprocess):
        preprocess, input_configs = None, preprocess
    inputs = get_model_inputs(model)
    if not inputs:
        raise UnsupportedError("the model takes no inputs, so there is nothing to feed it with")
    if (unfed := next((i for i in inputs if i.required and i.dtype in _UNFED_TYPES), None)) is not None:
        raise UnsupportedError(
            f"input '{unfed.name}' is {unfed}: the runtime takes no arrays of that type",
            hint="export the model with inputs of float32 or float16 and a Cast behind them",
        )
    required = [i for i in inputs if i.required]
    if required and all(0 in (i.dims or ()) for i in required):
        raise UnsupportedError(
            f"input '{required[0].name}' is {required[0]}: with a size fixed at 0 in every input nothing can be fed",
            hint="export the model with a free batch, or one of 1",
        )
    request = ReaderRequest(
        source,
        inputs,
        labels,
        group,
        preprocess,
        max_samples,
        seed,
        dict(dims or {}),
        outputs=get_model_outputs(model),
        input_configs=input_configs,
    )
    reader = _find_reader(request, allow_random)
    if feedback is not None:
        return open_sequences(request, reader, feedback)
    samples = build_samples(reader.read(request), request)
    if reader is random_data and run_check is not None:
        samples = _find_runnable(samples, request, run_check)
    total = len(samples)
    if max_samples is None or max_samples >= total or reader is random_data:
        return samples
    if max_samples < (samples.fixed_batch or 1):
        raise too_few_samples(f"--max-samples {max_samples}", max_samples, samples.fixed_batch)
    drawn = draw_samples(samples, max_samples, seed)
    return samples.take(drawn, source=f"{samples.source}, {len(drawn)} of {total} samples (seed {seed})")


def _find_reader(request: ReaderRequest, allow_random: bool) -> ModuleType:
    source = request.source
    reader = next((reader for reader in READERS if reader.accepts(source)), None)
    if reader is random_data and not allow_random:
        raise UsageError("random data prove nothing here", hint="give real data")
    if reader is None:
        if isinstance(source, (str, os.PathLike)) and not os.path.exists(source):
            raise UsageError(f"{os.fspath(source)}: no such file or folder")
        raise UsageError(
            f"{source!r:.80} is not data this tool reads",
            hint="an .npz of arrays by input name is the simplest form; see the data formats in the README",
        )
    if request.preprocess is not None and reader is not images:
        raise UsageError("--preprocess applies to image folders only", hint="store arrays as the model takes them")
    return reader


def _find_runnable(initial: Samples, request: ReaderRequest, run_check: RunCheck) -> Samples:
    """Made-up samples of the first sizes that the model runs with.

    Floats of the sizes that a model fixes are not tried: it runs with any.

    Raises:
        UsageError: It runs with none.
        OnnxslimError: It does not run here, or is refused, whatever the inputs.
    """
    required = request.required_inputs
    if all(i.number_kind == "floats" and all(isinstance(d, int) for d in i.sample_dims) for i in required):
        return initial
    # integers can be sizes and places, so that one sample runs and the next does not; of floats all run where one does
    count = 1 if all(i.number_kind == "floats" for i in required) else _TRIED_SAMPLES

    def find_failure(samples: Samples) -> OnnxslimError | None:
        reasons = (run_check(batch) for batch in islice(samples.batches(1), count))
        return next((reason for reason in reasons if reason is not None), None)

    if (reason := find_failure(initial)) is None:
        return initial
    candidates = (build_samples(random_data.read(larger), request) for larger in random_data.enlarge_dims(request))
    found = next((samples for samples in candidates if find_failure(samples) is None), None)
    if found is not None:
        return found
    if isinstance(reason, (UnsupportedError, LimitError)):
        raise reason
    raise UsageError(
        f"the model does not run with inputs made up at random: {reason.message}",
        hint=f"{random_data.REAL_DATA_HINT}; --dim NAME=SIZE sets a free dimension",
    )
