"""Options that several commands have and not all: data, confirm data, and the gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from .parameter_types import DROP

DATA_HELP = "An .npz of inputs by name, a folder of arrays, images or sounds, texts, a table, or the word random."

F = TypeVar("F", bound=Callable[..., Any])

data = click.option("--data", metavar="D", help=DATA_HELP)
eval_data = click.option(
    "--eval-data",
    metavar="D",
    help="What the result is judged on; otherwise a seeded share of --data is held back.",
)
max_drop = click.option(
    "--max-drop", type=DROP, metavar="1%", help="Write nothing if a judged metric drops by more than so many points."
)
suffix = click.option(
    "--suffix",
    metavar="S",
    help="Write beside IN, or beside each model of a folder, as loaders name it: model_int8.onnx for int8.",
)
for_ort = click.option(
    "--for-ort", metavar="1.23", help="Refuse what this release of onnxruntime does not load, and avoid making it."
)
on = click.option(
    "--on", metavar="HOST:PORT", help="Take times, and what kernels a model gets, where `onnxslim worker` listens."
)
keep_initializer_inputs = click.option(
    "--keep-initializer-inputs",
    is_flag=True,
    help="Keep weights that are listed as inputs too replaceable; without it they become constants.",
)


def workers(what: str) -> Callable[[F], F]:
    """``--backend`` and ``--jobs``; ``what`` is done at the same time."""
    jobs = click.option("--jobs", type=click.IntRange(1), metavar="N", help=f"{what} at a time (1; a cluster's cores).")
    backend = click.option(
        "--backend", metavar="B", help="A running cluster to work on: ray://HOST:PORT or dask://HOST:PORT."
    )
    return lambda function: backend(jobs(function))
