"""A folder of models by its original: each model by its role, every other file byte for byte, one verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from onnxslim.core.converter import JSON
from onnxslim.core.errors import GateError, InconclusiveError, OnnxslimError
from onnxslim.model_folders.folder_comparison import (
    FolderComparison,
    MemberPair,
    compare_folders,
    find_served_sets,
    name_some,
)
from onnxslim.model_folders.folder_report import Fate, MemberOutcome, describe_folder
from onnxslim.model_folders.model_folder import ModelFolder, name_in_error
from onnxslim.model_folders.pipelines.composition import JudgedComposition
from onnxslim.pipeline.result import Result
from onnxslim.validation.latency import LatencyRecord
from onnxslim.verification.check import Check, conclude
from onnxslim.verification.data_record import DataRecord, EncoderRecord
from onnxslim.verification.outcome import Verification, describe_verdict, raise_unless_passed
from onnxslim.verification.receipt import SCHEMA, MemberReceipt, ModelRecord, Receipt, Settings, describe_machine
from onnxslim.verification.receipt_file import ReceiptFile
from onnxslim.verification.sample_size import judge_drop

#: (a model that is not as it was, and its original) -> what :func:`~onnxslim.verification.verification.verify` found.
Work = Callable[[MemberPair], Result]
#: What was found of a model, as the document of its own verification or of the command that made it.
Document = Mapping[str, Any]
NOTHING_FED: Mapping[str, EncoderRecord] = MappingProxyType({})


def verify_folder(
    candidate: ModelFolder,
    original: ModelFolder,
    comparison: FolderComparison,
    work: Work,
    *,
    asked: Settings,
    inconclusive: Literal["fail", "pass"] = "fail",
    receipt: ReceiptFile | None = None,
    only_plan: bool = False,
    judge_together: Callable[[], Sequence[JudgedComposition]] = tuple,
    encoders: Mapping[str, EncoderRecord] = NOTHING_FED,
    cautions: Sequence[str] = (),
) -> Result:
    """Judge every model of ``candidate`` that is not as it was by ``work``, and the folder as a whole.

    Args:
        candidate: The folder that is judged.
        original: What it is held against.
        comparison: Of both.
        work: Verifies one model; may raise as :func:`~onnxslim.verification.verification.verify` does.
        asked: For the receipt.
        inconclusive: What ``cannot tell`` counts as.
        receipt: The receipt that is repeated.
        only_plan: Only how many samples it takes is asked.
        judge_together: What models that serve together came to, asked once each was judged by itself.
        encoders: What the encoders among the originals were fed with, by their paths.
        cautions: What the report is to warn of besides.

    Returns:
        The evidence; ``extra["folder"]`` has a report of each model, ``extra["verification"]`` the verdict.

    Raises:
        GateError: The verdict is ``fail``; ``result`` of the error holds the evidence.
        InconclusiveError: It is ``cannot tell``, and that counts as a failure; likewise.
        OnnxslimError: Whatever else ``work`` raises, with the file named.
    """
    outcomes, documents = [], dict[str, Document]()
    for pair in comparison.pairs:
        path = pair.candidate.path
        found = None if pair.is_same or pair.original is None else _run(work, pair, candidate.files.find(path))
        if found is not None:
            documents[path] = found.as_json()
        fate, why = _describe_fate(pair, documents.get(path))
        outcomes.append(MemberOutcome(pair.candidate, fate, why, path, found))
    together = () if only_plan else judge_together()
    result = describe_folder(
        original, "verify", outcomes, candidate.files.root, candidate.files, pipelines=[one.as_json() for one in together]
    )
    result.warnings += cautions
    if only_plan:
        plans = [_describe_plan(outcome.member.path, outcome.result) for outcome in outcomes if outcome.result is not None]
        result.recipe = "".join(plans) or "no model differs from its original\n"
        return result
    checks, made = conclude_folder(candidate, original, comparison, documents, asked, together=together, encoders=encoders)
    if receipt is not None:
        checks.append(receipt.check_verdict(conclude(checks)))
        result.warnings += receipt.list_differences(made)
    made = dataclasses.replace(made, verdict=conclude(checks))
    result.extra |= {
        "receipt": made.as_json(),
        "verification": Verification(made.verdict, checks, None, inconclusive),
        "summary": describe_verdict(checks),
    }
    raise_unless_passed(checks, None, result, inconclusive)
    return result


def certify_folder(
    result: Result, candidate: ModelFolder, original: ModelFolder, asked: Callable[[Settings | None], Settings],
    together: Sequence[JudgedComposition] = (), encoders: Mapping[str, EncoderRecord] = NOTHING_FED,
) -> None:  # fmt: skip
    """Put the receipt of a folder that was written, whose models are certified, into ``result``.

    Args:
        result: Of :func:`~onnxslim.model_folders.folder_run.compress_folder`.
        candidate: What was written.
        original: What it was made of.
        asked: The settings of the whole, by those of a model, if one was judged.
        together: What models that serve together came to.
        encoders: What the encoders among the originals were fed with, by their paths.
    """
    entries = [entry for entry in result.extra["folder"]["models"] if (entry["report"] or {}).get("receipt")]
    documents = {entry["written"]: entry["report"] for entry in entries}
    known = {entry["written"]: entry["path"] for entry in entries}
    receipts = [document["receipt"] for document in documents.values()]
    own = [JSON.read(one["settings"], Settings, "settings") for one in receipts if one["data"] is not None]
    comparison = compare_folders(candidate, original, known)
    settings = asked(own[0] if own else None)
    names = {entry["path"]: entry["written"] for entry in result.extra["folder"]["models"]}
    judged = [
        dataclasses.replace(one, names=names)
        for one in together
        if find_served_sets(comparison, one.composition.pipeline.paths)
    ]
    checks, made = conclude_folder(candidate, original, comparison, documents, settings, together=judged, encoders=encoders)
    result.extra |= {"receipt": made.as_json(), "verification": Verification(made.verdict, checks, None, "fail")}


def conclude_folder(
    candidate: ModelFolder, original: ModelFolder, comparison: FolderComparison, documents: Mapping[str, Document],
    asked: Settings, *, together: Sequence[JudgedComposition] = (), encoders: Mapping[str, EncoderRecord] = NOTHING_FED,
) -> tuple[list[Check], Receipt]:  # fmt: skip
    """What was found of the models, a document each by its path, of those that serve ``together``, and of all other files:
    the checks, and the receipt.
    """
    checks = [check for one in together for check in _judge_together(one, asked.max_drop)]
    checks += _list_checks(comparison, documents)
    named = {pair.candidate.path: pair.original.path for pair in comparison.pairs if pair.original is not None}
    receipt = Receipt(
        schema=SCHEMA, verdict=conclude(checks), candidate=record_folder(candidate), original=record_folder(original),
        data=None, settings=asked, samples_used=0, recipe=None, machine=describe_machine(),
        models={path: _make_member_receipt(document, named[path]) for path, document in documents.items() if path in named},
        encoders=encoders,
    )  # fmt: skip
    return checks, receipt


def record_folder(folder: ModelFolder) -> ModelRecord:
    """All files of ``folder``."""
    return ModelRecord(folder.files.root, folder.files.digest())


def _run(work: Work, pair: MemberPair, path: str) -> Result:
    try:
        return work(pair)
    except (GateError, InconclusiveError) as error:
        found = getattr(error, "result", None)
        if not isinstance(found, Result):
            raise
        return found
    except OnnxslimError as error:
        raise name_in_error(error, path) from error


def _describe_plan(path: str, found: Result) -> str:
    """How many samples a model takes, or why it needs none: what fails already."""
    summary = found.extra.get("summary")
    return f"{path}: {summary}\n" if summary else f"{path}: {found.recipe}"


def _describe_fate(pair: MemberPair, document: Document | None) -> tuple[Fate, str | None]:
    if pair.is_same:
        return "pass", "the same, byte for byte"
    if pair.original is None:
        return "cannot tell", _UNKNOWN
    found = (document or {}).get("verification") or {}
    verdict: Fate = found.get("verdict") or "planned"
    return verdict, None


_UNKNOWN = "the original has no model of its role"


def _list_checks(comparison: FolderComparison, documents: Mapping[str, Document]) -> Iterator[Check]:
    for pair in comparison.pairs:
        path = pair.candidate.path
        if pair.is_same:
            yield Check("drop", "pass", "the same, byte for byte", 0.0, (0.0, 0.0), model=path)
        elif pair.original is None:
            yield Check("role", "cannot tell", _UNKNOWN, model=path)
        elif (found := (documents.get(path) or {}).get("verification")) is None:
            yield Check("drop", "cannot tell", "it was not judged", model=path)
        else:
            yield from (dataclasses.replace(JSON.read(one, Check, path), model=path) for one in found["checks"])
    if comparison.missing:
        roles = name_some(tuple(f"{member.path} ({member.role})" for member in comparison.missing))
        yield Check("models", "fail", f"missing: {roles}")
    told = [("changed", comparison.changed), ("missing", comparison.gone), ("new", comparison.new)]
    lines = [f"{word}: {name_some(paths)}" for word, paths in told if paths]
    is_same = not comparison.changed and not comparison.gone
    yield Check("files", "pass" if is_same else "fail", "; ".join(lines) or "all other files are the same")


def _judge_together(judged: JudgedComposition, limit: float) -> Iterator[Check]:
    """What the decoders that read one encoder lose by all of them."""
    encoder, *_ = judged.files[0]
    if judged.error is not None:
        yield Check("run", "fail", judged.error, model=encoder)
    for (_, decoder, *_), evaluation in zip(judged.files, judged.evaluations, strict=False):
        for check in (judge_drop(metric, limit) for metric in evaluation.gating):
            yield dataclasses.replace(check, name=f"{check.name} with {encoder}", model=decoder)


def _make_member_receipt(document: Document, original: str) -> MemberReceipt:
    entry, latency = document["receipt"], document["latency"]
    return MemberReceipt(
        original=original, verdict=entry["verdict"],
        data=None if entry["data"] is None else JSON.read(entry["data"], DataRecord, "data"),
        part=JSON.read(entry["settings"], Settings, "settings").part, samples_used=entry["samples_used"],
        recipe=entry["recipe"], latency=None if latency is None else JSON.read(latency, LatencyRecord, "latency"),
    )  # fmt: skip
