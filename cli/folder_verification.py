"""``verify`` of a folder by its original, and receipts of folders that commands write."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from onnxslim.core.errors import UsageError
from onnxslim.data.split import HeldPart
from onnxslim.model_folders.folder_comparison import MemberPair, compare_folders, find_served_sets
from onnxslim.model_folders.folder_data import MemberData, assign_data
from onnxslim.model_folders.folder_files import FolderFiles
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.model_folders.model_folder import ModelFolder, arrange_models, open_model_folder
from onnxslim.model_folders.pipelines.composition import JudgedComposition
from onnxslim.model_folders.pipelines.served_texts import ServedRuns
from onnxslim.model_folders.pipelines.settlement import Settlement
from onnxslim.model_io import model_file
from onnxslim.pipeline.data_splits import ConfirmOrigin
from onnxslim.pipeline.result import Result
from onnxslim.runtime.session import Session
from onnxslim.verification.data_record import EncoderRecord
from onnxslim.verification.folder_verification import certify_folder, record_folder, verify_folder
from onnxslim.verification.receipt import Settings
from onnxslim.verification.receipt_file import ReceiptFile
from onnxslim.verification.verification import certify, verify

from .console import terminal
from .folder_options import Configure, make_configure, make_try_open
from .folder_pipeline import FolderPipelines
from .options.common_options import CommonOptions


def verify_model_folder(
    common: CommonOptions, candidate: str, against: str, *, data: str | None, file: ReceiptFile | None,
    inconclusive: Literal["fail", "pass"], **asked: Any,
) -> Result:  # fmt: skip
    """Verify the folder ``candidate`` by ``against``, or repeat its receipt, ``file``.

    Raises:
        UsageError: No data, and a model that is not as it was.
        OnnxslimError: As :func:`~onnxslim.verification.folder_verification.verify_folder` raises.
    """
    folder, original = open_model_folder(candidate), open_model_folder(against)
    known = None
    if file is not None:
        known = {path: member.original for path, member in file.receipt.models.items()}
        file.receipt.candidate.check_same_folder(record_folder(folder), file.path)
        file.receipt.original.check_same_folder(record_folder(original), file.path)
    comparison = compare_folders(folder, original, known)
    todo = [pair for pair in comparison.pairs if not pair.is_same and pair.original is not None]
    parts, encoders = ({}, {}) if file is None else (_list_parts(file), file.receipt.encoders)
    configure = _make_configure(original, common, parts)
    configure_encoder = _make_configure(original, common, parts | {path: one.part for path, one in encoders.items()})
    pipelines = FolderPipelines(original, original.members if todo else (), common, configure_encoder)
    found = _find_data(todo, data, file, original, configure, pipelines)

    def tell(line: str) -> None:
        if not common.quiet:
            terminal.print_note(line)

    def work(pair: MemberPair) -> Result:
        assert pair.original is not None
        path = pair.candidate.path
        paths, own = (folder.find(pair.candidate), original.find(pair.original)), found.get(path, MemberData(None))
        mine = None if file is None else file.get_member(path, *paths)
        options = configure(pair.original, own.source)
        if own.why is not None:
            tell(f"{path}: {own.why}")
        return verify(
            paths[0], against=paths[1], data=own.eval_data, **asked, inconclusive=inconclusive, seed=common.seed,
            config=options.config, read=options.data_options, judge=options.evaluation_options, receipt=mine,
            only_plan=common.dry_run, announce=lambda line: tell(f"{path}: {line}"), progress=common.progress,
        )  # fmt: skip

    def judge_together() -> list[JudgedComposition]:
        judged = []
        for composition, _ in pipelines.compositions:
            for served in find_served_sets(comparison, composition.pipeline.paths):
                paths = {path: folder.find(member) for path, member in served.items()}
                one = composition.judge(lambda paths=paths: _open_sessions(paths, common))  # type: ignore[misc]
                judged.append(dataclasses.replace(one, names={path: member.path for path, member in served.items()}))
                told = "; ".join(" → ".join(files) for files in judged[-1].files)
                tell(f"{told}: judged together on {len(composition.texts.tokens)} texts")
        return judged

    settings = Settings.of(common.config, common.data_options, common.evaluation_options, seed=common.seed, **asked)
    return verify_folder(
        folder, original, comparison, work, asked=settings, inconclusive=inconclusive, receipt=file,
        only_plan=common.dry_run, judge_together=judge_together, encoders=_record_encoders(pipelines.origins),
        cautions=pipelines.cautions,
    )  # fmt: skip


def _open_sessions(paths: Mapping[str, str], common: CommonOptions) -> dict[str, Session]:
    """Sessions of the files ``paths``, by their names there."""
    return {name: Session(model_file.load(path), common.config) for name, path in paths.items()}


def _list_parts(file: ReceiptFile) -> dict[str, HeldPart | None]:
    """The part of its data that each model of a receipt was judged on, by the path of its original."""
    return {member.original: member.part for member in file.receipt.models.values()}


def _record_encoders(origins: Mapping[str, ConfirmOrigin]) -> dict[str, EncoderRecord]:
    return {path: EncoderRecord.of(origin) for path, origin in origins.items()}


def _make_configure(original: ModelFolder, common: CommonOptions, parts: Mapping[str, HeldPart | None]) -> Configure:
    """How ``common`` becomes the options of one model of ``original``; with the part of its data that ``parts`` says."""
    configure = make_configure(original, common)

    def configure_part(member: FolderModel, data: Any) -> CommonOptions:
        part = None if isinstance(data, ServedRuns) else parts.get(member.path)
        return dataclasses.replace(configure(member, data), part=part)

    return configure_part


def _find_data(
    todo: list[MemberPair],
    data: str | None,
    file: ReceiptFile | None,
    original: ModelFolder,
    configure: Configure,
    pipelines: FolderPipelines,
) -> dict[str, MemberData]:
    """The data of each model that is judged, by its path; a receipt's where they were, unless ``data`` says where they are.

    Raises:
        UsageError: There are none, and something to judge.
    """
    if file is not None and data is None:
        return _find_recorded_data(todo, file, original, pipelines)
    if data is None and todo:
        raise UsageError("no data given", hint=f"--data: {todo[0].candidate.path} is not as its original")
    needed = [pair.original for pair in todo if pair.original is not None]
    if pipelines.readers:  # they are fed by others, which may be as they were
        needed = [member for member in original.members if member.variant_of is None]
    try_open = make_try_open(original, configure, allow_random=False)
    found = pipelines.feed(assign_data(needed, None, data, try_open, pipelines.readers))
    return {pair.candidate.path: found[pair.original.path] for pair in todo if pair.original and pair.original.path in found}


def _find_recorded_data(
    todo: list[MemberPair], file: ReceiptFile, original: ModelFolder, pipelines: FolderPipelines
) -> dict[str, MemberData]:
    """The data of each model that is judged, by its path, where the receipt says that they were.

    Raises:
        UsageError: It does not say where.
    """
    members, encoders = file.receipt.models, file.receipt.encoders
    recorded = {pair.candidate.path: members.get(pair.candidate.path) for pair in todo}
    judged = {path: one for path, one in recorded.items() if one is not None and one.data is not None}
    sources = {one.original: one.data.source for one in judged.values() if one.data is not None}
    sources |= {path: one.source for path, one in encoders.items() if one.source is not None}
    fed = pipelines.feed({member.path: MemberData(None, sources.get(member.path)) for member in original.members})
    for path, one in judged.items():
        found = fed[one.original]
        if found.source is None and found.why is None:
            told = f"no data given: {file.path} does not say where those of {path} are"
            raise UsageError(told, hint="--data: what the folder was judged on")
    return {path: fed[one.original] for path, one in judged.items()}


class FolderCertifier:
    """Verifies what a command makes of ``folder``, with or without a ``suffix``, before it takes its place; ``settlements``
    have judged what serves together, on what the ``origins`` of the encoders' data gave.
    """

    def __init__(
        self, folder: ModelFolder, suffix: str | None, common: CommonOptions, settlements: Sequence[Settlement],
        origins: Mapping[str, ConfirmOrigin],
    ) -> None:  # fmt: skip
        self._folder, self._suffix, self._common, self._settlements = folder, suffix, common, settlements
        self._origins = origins

    def certify_model(self, result: Result, place: str, written: str) -> None:
        """See :class:`~onnxslim.model_folders.folder_run.Certify`."""
        out = self._common.out or self._folder.files.root
        certify(result, place, recorded_as=os.path.join(out, written), progress=self._common.progress)

    def certify_folder(self, result: Result, files: FolderFiles) -> None:
        """Likewise; the receipt is in ``result`` then."""
        common = self._common
        given = Settings.of(common.config, common.data_options, common.evaluation_options, seed=common.seed)

        def describe(judged: Settings | None) -> Settings:
            if judged is None:
                return given
            # what is meant for some of the models is said for all; a recipe may have said the rest
            return dataclasses.replace(
                given, max_drop=judged.max_drop, min_speedup=judged.min_speedup, for_ort=judged.for_ort, seed=judged.seed,
                provider=judged.provider,
            )  # fmt: skip

        together = [settlement.judged for settlement in self._settlements]
        encoders = _record_encoders(self._origins)
        certify_folder(result, arrange_models(files, self._suffix), self._folder, describe, together, encoders)
