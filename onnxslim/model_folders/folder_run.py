"""One command over the models of a folder: each made smaller by itself, those that share data written together."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import posixpath
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from onnxslim.core.errors import InvalidModelError, OnnxslimError, UnsupportedError, UsageError
from onnxslim.model_folders import naming
from onnxslim.model_folders.folder_files import FolderFiles
from onnxslim.model_folders.folder_report import MemberOutcome, Work, describe_folder, write_report
from onnxslim.model_folders.folder_writer import FolderWriter, write_beside, write_folder
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.model_folders.model_folder import DataGroup, ModelFolder, name_in_error
from onnxslim.model_io import model_file
from onnxslim.model_io.external_data.shared_data import save_sharing
from onnxslim.pipeline.result import Result, compute_facts
from onnxslim.runtime.load_check import check_file_loads
from onnxslim.runtime.session_config import SessionConfig

if TYPE_CHECKING:
    from onnxslim.model_folders.pipelines.settlement import Settlement


class Certify(Protocol):
    """Verifies what is written before it takes its place."""

    def certify_model(self, result: Result, place: str, written: str) -> None:
        """Verify what came of a member: the file at ``place``, which is going to be ``written``, its path in the folder."""
        ...

    def certify_folder(self, result: Result, files: FolderFiles) -> None:
        """Verify what came of the folder: ``files``, whose models are verified."""
        ...


def compress_folder(
    folder: ModelFolder, command: str, work: Work, *, out: str | None, suffix: str | None = None,
    settlements: Sequence[Settlement] = (), config: SessionConfig | None = None, force: bool = False,
    certify: Certify | None = None, cautions: Sequence[str] = (),
) -> Result:  # fmt: skip
    """Compress every model of ``folder`` by ``work`` and write the folder, whole or not at all.

    Files that share data files go on sharing one, under the name that it had; other files are copied byte for byte.

    Args:
        folder: What is compressed.
        command: Named in the result.
        work: What is done with one model.
        out: The folder to write; None, with a ``suffix``, writes beside the originals.
        suffix: Results are called by it (``model_int8.onnx``), and the originals stay.
        settlements: Each judges models that serve together before any of them is written, and has some of them made milder.
        config: How sessions run, for trying what was written.
        force: Overwrite files that have the suffix already.
        certify: Verifies each model, and the folder, as they are written, where a receipt is asked for; where it raises,
            nothing is written.
        cautions: What the report is to warn of besides.

    Returns:
        A result without a model; ``extra["folder"]`` has a report of each file.

    Raises:
        UsageError: A name with the suffix is taken.
        UnsupportedError: ``work`` can be done with none of the models; those that others are done without are kept.
        OnnxslimError: Whatever else ``work`` raises, with the file named; nothing was written.
    """
    names = _name_results(folder, suffix, force)
    outcomes: list[MemberOutcome] = []
    copied, lost, written = 0, list[str](), None
    with _open_writer(folder, out) as writer:
        run = _FolderRun(folder, work, writer, names, config or SessionConfig(), beside=suffix is not None, certify=certify)
        todo = [member for member in folder.members if member.variant_of is None]
        kept = [member for member in folder.members if member.variant_of is not None]
        for groups in _join_settled(folder.group_by_data(todo), settlements):
            outcomes += run.compress(groups, kept, settlements)
        if run.errors and all(outcome.fate == "kept" for outcome in outcomes):
            raise run.errors[0]
        kept = _leave_out(kept, outcomes)
        outcomes += [_keep(member, f"another precision of {member.variant_of}") for member in kept]
        outcomes.sort(key=lambda outcome: outcome.member.path)
        if out is not None:
            needed = {name for member in run.untouched + kept for name in folder.list_data_files(member)}
            copied, lost = writer.copy_tree(set() if suffix is not None else run.replaced - needed)
            written = writer.list_files()
        told = [settlement.as_json() for settlement in settlements]
        result = describe_folder(folder, command, outcomes, out, written, copied, pipelines=told)
        result.warnings += [*cautions, *(f"{path}: a link to what is no longer there was left out" for path in lost)]
        if certify is not None:
            certify.certify_folder(result, writer.list_result())
        if out is not None:
            write_report(result, writer)
    return result


class _FolderRun:
    """What is kept while the groups of a folder are compressed one after the other."""

    def __init__(
        self, folder: ModelFolder, work: Work, writer: FolderWriter, names: dict[str, str], config: SessionConfig,
        *, beside: bool, certify: Certify | None,
    ) -> None:  # fmt: skip
        self.folder, self.work, self.writer, self.names = folder, work, writer, names
        self.config, self.beside, self.certify = config, beside, certify
        #: Why members were kept that this could not be done with.
        self.errors: list[OnnxslimError] = []
        #: Data files that no model of the result refers to, unless one that was not compressed does.
        self.replaced: set[str] = set()
        #: Members that are in the result as they were.
        self.untouched: list[FolderModel] = []

    def compress(
        self, groups: Sequence[DataGroup], kept: list[FolderModel], settlements: Sequence[Settlement]
    ) -> list[MemberOutcome]:
        """Compress the members of ``groups`` and write what came out, once the ``settlements`` have judged those of theirs.

        Args:
            groups: One, or all those that have members of some settlements.
            kept: The folder's that are not touched.
            settlements: See :func:`compress_folder`.
        """
        members = [member for group in groups for member in group.members]
        found: dict[str, MemberOutcome] = {}
        for settlement in settlements:
            if not set(members).isdisjoint(settlement.members):
                began = time.monotonic()
                made = {member.path: self._run(member, self.work) for member in settlement.members}
                found |= settlement.settle(made, lambda member, work: self._run(member, work), time.monotonic() - began)
        found |= {member.path: self._run(member, self.work) for member in members if member.path not in found}
        return [one for group in groups for one in self._write(group, [found[m.path] for m in group.members], kept)]

    def _write(self, group: DataGroup, outcomes: list[MemberOutcome], kept: list[FolderModel]) -> list[MemberOutcome]:
        """Write what came of the members of ``group``."""
        results = {outcome.written: outcome for outcome in outcomes if outcome.fate == "compressed"}
        if not results:
            self.untouched += [outcome.member for outcome in outcomes]
        elif not group.data_files:
            for outcome in outcomes:
                assert outcome.result is not None
                outcome.result.save(self.writer.place(outcome.written))
        else:
            self._save_group(group, outcomes, kept)
        return [self._finish(outcome) for outcome in outcomes]

    def _run(self, member: FolderModel, work: Work) -> MemberOutcome:
        path = self.folder.find(member)
        try:
            result, remark = work(member, path)
        except UnsupportedError as error:
            self.errors.append(name_in_error(error, path))
            return _keep(member, error.message)
        except UsageError:  # about the call, whatever the file
            raise
        except OnnxslimError as error:
            raise name_in_error(error, path) from error
        if result.is_original:
            return MemberOutcome(member, "original", result.extra.get("summary"), member.path, result)
        return MemberOutcome(member, "compressed", remark, self.names[member.path], result)

    def _save_group(self, group: DataGroup, outcomes: list[MemberOutcome], kept: list[FolderModel]) -> None:
        """Write what came of models with data beside them into one data file, called as before where that can be."""
        rewritten = [one for one in outcomes if one.fate == "compressed" or (one.fate == "original" and not self.beside)]
        apart = [*(one.member for one in outcomes if one not in rewritten), *_leave_out(kept, rewritten)]
        self.untouched += [one.member for one in outcomes if one not in rewritten]
        needed = {name for member in apart for name in self.folder.list_data_files(member)}
        data_path = _name_data(group, rewritten, needed, beside=self.beside)
        models = {}
        for one in rewritten:
            is_new = one.fate == "compressed" and one.result is not None and one.result.model is not None
            model = one.result.model if is_new and one.result else model_file.load(self.folder.find(one.member))
            models[self.writer.place(one.written)] = model
        place = self.writer.place(data_path)
        save_sharing({path: model for path, model in models.items() if model is not None}, place)
        for path in models:
            check_file_loads(path, self.config)
        if not self.beside:
            self.replaced.update(group.data_files)

    def _finish(self, outcome: MemberOutcome) -> MemberOutcome:
        """Note the facts of what was written, and let the models go."""
        result = outcome.result
        if result is None:
            return outcome
        place = self.writer.place(outcome.written)
        if os.path.exists(place):
            facts = compute_facts(model_file.load(place), place)
            result.output = dataclasses.replace(facts, path=outcome.written)
            if self.certify is not None:
                self.certify.certify_model(result, place, outcome.written)
        elif result.input is not None:
            result.output = dataclasses.replace(result.input, path=outcome.member.path)
        result.model = result.original = result.task = None
        return outcome


def _join_settled(groups: list[DataGroup], settlements: Sequence[Settlement]) -> list[list[DataGroup]]:
    """``groups``, those with members of one of the ``settlements`` together, because they are judged before any is written;
    and those of several, where they share data files.
    """
    parts = [[group for group in groups if not set(group.members).isdisjoint(one.members)] for one in settlements]
    joined: list[list[DataGroup]] = []
    for part in parts:
        sharing = [other for other in joined if any(group in part for group in other)]
        joined = [other for other in joined if other not in sharing]
        joined.append([group for group in groups if group in part or any(group in other for other in sharing)])
    settled = [group for part in joined for group in part]
    return [*joined, *([group] for group in groups if group not in settled)]


def _keep(member: FolderModel, why: str) -> MemberOutcome:
    return MemberOutcome(member, "kept", why, member.path)


def _leave_out(kept: list[FolderModel], outcomes: list[MemberOutcome]) -> list[FolderModel]:
    """``kept`` without results of before that those of ``outcomes`` replace."""
    replaced = {one.written for one in outcomes if one.fate == "compressed"}
    return [member for member in kept if member.path not in replaced]


@contextlib.contextmanager
def _open_writer(folder: ModelFolder, out: str | None) -> Iterator[FolderWriter]:
    with write_beside(folder.files) if out is None else write_folder(folder.files, out) as writer:
        yield writer


def _name_results(folder: ModelFolder, suffix: str | None, force: bool) -> dict[str, str]:
    """What the result of each member is called.

    Raises:
        UsageError: A file of that name is there.
    """
    if suffix is None:
        return {member.path: member.path for member in folder.members}
    names = {member.path: naming.add_suffix(member.path, suffix) for member in folder.members}
    taken = [names[one.path] for one in folder.members if one.variant_of is None and folder.files.has(names[one.path])]
    if taken and not force:
        raise UsageError(
            f"{folder.files.find(taken[0])}: exists already", hint="another --suffix, or --force to overwrite it"
        )
    return names


def _name_data(group: DataGroup, rewritten: list[MemberOutcome], needed: set[str], *, beside: bool) -> str:
    """What the data file of ``rewritten`` is called: as it was, where it was one and nobody else needs that.

    Raises:
        InvalidModelError: No folder is in or below those of all of them.
    """
    if len(group.data_files) == 1 and not beside and group.data_files[0] not in needed:
        return group.data_files[0]
    folders = sorted({posixpath.dirname(one.written) for one in rewritten}, key=len)
    deepest = folders[-1]
    if any(folder and deepest != folder and not deepest.startswith(folder + "/") for folder in folders):
        raise InvalidModelError(f"{rewritten[0].member.path}: shares data files with a model in a folder beside its own")
    first = next(one for one in rewritten if posixpath.dirname(one.written) == deepest)
    name = f"{first.written}_data"
    while name in needed:
        name += "_shared"
    return name
