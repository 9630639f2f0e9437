"""``onnxslim worker``."""

from __future__ import annotations

import click

from onnxslim.pipeline.result import Result
from onnxslim.runtime.devices.messages import DEFAULT_PORT
from onnxslim.runtime.devices.worker import start_worker

from ...command import command
from ...console import terminal
from ...options.common_options import CommonOptions


@command("worker")
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, metavar="N",
              help="Where to listen; 0 takes any that is free.")  # fmt: skip
@click.option("--listen", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="The address to listen at; what passes is not encrypted.")  # fmt: skip
def worker(common: CommonOptions, *, port: int, listen: str) -> Result:
    """Time models here for a search on another machine (its --on HOST:PORT), until Ctrl-C.

    Started by hand where models will be served; other machines get in by ssh: `ssh -L 7117:127.0.0.1:7117 HOST`. Who
    knows ONNXSLIM_TOKEN (or what is in the file ONNXSLIM_TOKEN_FILE) may run models; without either a token is made and
    printed. `python -m onnxslim.runtime.devices.worker` is the same, and needs onnxruntime and numpy alone.
    """
    start_worker(listen, port, terminal.print_note)
    return Result("worker")
