"""``onnxslim verify``."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import click
from click.core import ParameterSource

from onnxslim.core.errors import UsageError
from onnxslim.pipeline.result import Result
from onnxslim.reporting.junit import render_junit
from onnxslim.reporting.sarif import render_sarif
from onnxslim.runtime.emulation.processor_table import PROCESSORS
from onnxslim.runtime.option_names import find_file_option
from onnxslim.verification.receipt import Settings
from onnxslim.verification.receipt_file import ReceiptFile, read_receipt
from onnxslim.verification.verification import verify as judge

from ..command import command
from ..console import terminal
from ..folder_verification import verify_model_folder
from ..options import shared_options
from ..options.common_options import CommonOptions
from ..options.parameter_types import DROP, MODEL_OR_FOLDER, POSITIVE, NamesType

#: What may be said beside a receipt: where its files are by now, and what becomes of the outcome.
_BESIDE_RECEIPT = frozenset(
    "candidate against data receipt inconclusive out force report json explain quiet verbose debug junit sarif model_card"
    " mlflow on timeout max_memory allow_hardlinks allow_code custom_ops dry_run".split()
)
#: Made-up data, which other commands take, prove nothing.
_DATA_HELP = "An .npz of inputs by name, a folder of arrays, images or sounds, texts, or a table."


@command("verify", recipe=True, has_result=True, writers={"junit": render_junit, "sarif": render_sarif})
@click.argument("candidate", metavar="CANDIDATE", type=MODEL_OR_FOLDER, required=False)
@click.option("--against", type=MODEL_OR_FOLDER, metavar="ORIGINAL",
              help="The model, or folder, that CANDIDATE has to be as right as.")  # fmt: skip
@click.option("--data", metavar="D", help=_DATA_HELP)
@click.option("--max-drop", type=DROP, metavar="1%", default="1%", show_default=True,
              help="How many points each judged metric may drop.")  # fmt: skip
@click.option("--min-speedup", type=POSITIVE, metavar="R", help="Times faster, at least.")
@shared_options.for_ort
@click.option("--cpus", type=NamesType(list(PROCESSORS)), metavar="C,C", default=(),
              help="Where it must answer as it does here: avx2, vnni, arm, armv8 (under QEMU).")  # fmt: skip
@click.option("--inconclusive", type=click.Choice(("fail", "pass")), default="fail", show_default=True,
              help="What data that cannot decide come to: exit 7, or 0.")  # fmt: skip
@click.option("--receipt", metavar="R.json",
              help="Repeat what this receipt (-o of verify, --receipt of others) says, on the same files.")  # fmt: skip
@shared_options.on
@click.option("--junit", metavar="F", help="Write the checks as JUnit's XML, for CI servers: F.xml.")
@click.option("--sarif", metavar="F", help="Write the checks as SARIF, for code scanning: F.sarif.")
def verify(
    common: CommonOptions,
    *,
    candidate: str | None,
    against: str | None,
    data: str | None,
    receipt: str | None,
    **asked: Any,
) -> Result:
    """Exit 0 when CANDIDATE is as right as ORIGINAL, 5 when not, 7 when DATA cannot tell.

    The whole 95 % interval of each metric's drop must lie on one side of --max-drop. How many samples that takes is found
    on some of them and said; no more are run. With --dry-run nothing else is. -o writes the JSON document, which is a
    receipt: hashes of both models and the data, what was asked, every figure with its interval. Of two folders each model
    is judged by what has its role in the other, an encoder and its decoders together too, and all other files have to be
    the same.
    """
    file = None if receipt is None else read_receipt(receipt)
    if file is not None:
        settings, common = _read_settings(file, common)
        candidate = candidate or file.receipt.candidate.path
        against = against or file.receipt.original.path
        asked |= {name: getattr(settings, name) for name in ("max_drop", "min_speedup", "for_ort", "cpus")}
    for name, value, hint in (
        ("no CANDIDATE", candidate, "onnxslim verify CANDIDATE --against ORIGINAL --data D"),
        ("no original", against, "--against ORIGINAL: what CANDIDATE has to be as right as"),
    ):
        if value is None:
            raise UsageError(name, hint=hint)
    candidate, against = (MODEL_OR_FOLDER.convert(path, None, None) for path in (candidate, against))
    if os.path.isdir(candidate) != os.path.isdir(against):
        folder, one = (candidate, against) if os.path.isdir(candidate) else (against, candidate)
        raise UsageError(f"{folder} is a folder and {one} a file", hint="both have to be one or the other")
    if os.path.isdir(candidate):
        return verify_model_folder(common, candidate, against, data=data, file=file, **asked)
    if file is not None:
        data = _find_data(file, data)
    if data is None and (file is None or file.receipt.data is not None):
        raise UsageError("no data given", hint=f"--data: {_DATA_HELP}")
    return judge(
        candidate,
        against=against,
        data=data,
        **asked,
        seed=common.seed,
        config=common.config,
        read=common.data_options,
        judge=common.evaluation_options,
        receipt=file,
        only_plan=common.dry_run,
        announce=(lambda line: None) if common.quiet else terminal.print_note,
        progress=common.progress,
    )


def _find_data(file: ReceiptFile, data: str | None) -> str | None:
    """Where the data of a receipt are: as the call says, else where they were.

    Raises:
        UsageError: The call names some, and the receipt is of none.
    """
    if file.receipt.data is None:
        if data is not None:
            raise UsageError(f"--data: {file.path} was made without data", hint="verify on these without --receipt")
        return None
    return data or file.receipt.data.source


def _read_settings(file: ReceiptFile, common: CommonOptions) -> tuple[Settings, CommonOptions]:
    """What the receipt asked, and the options of its call beside those of this one.

    Raises:
        UsageError: An option says what the receipt says; or it names code to run, or a file for the runtime, which the
            call does not allow.
    """
    context = click.get_current_context()
    for option in context.command.params:
        given = context.get_parameter_source(str(option.name)) is not ParameterSource.DEFAULT
        if given and option.name not in _BESIDE_RECEIPT:
            raise UsageError(
                f"{max(option.opts, key=len)}: the receipt says it", hint="without --receipt it is yours to say"
            )
    settings = file.receipt.settings
    if settings.custom_ops and not (common.custom_ops or common.allow_code):
        raise UsageError(
            f"{file.path}: names a library of custom ops, {settings.custom_ops[0]}, which would be loaded and run",
            hint="--custom-ops LIB says which to load, --allow-code that those of the receipt may be",
        )
    named = find_file_option(settings.session_option, settings.provider_option)
    if named is not None and not common.allow_code:
        raise UsageError(
            f"{file.path}: its option {named} names a file, which the runtime would read or write",
            hint="--allow-code lets it; or verify without --receipt",
        )
    names = {field.name for field in dataclasses.fields(CommonOptions)}
    kept = {"custom_ops"} if common.custom_ops else set()
    recorded = {name: value for name, value in vars(settings).items() if name in names - kept}
    return settings, dataclasses.replace(common, **recorded)
