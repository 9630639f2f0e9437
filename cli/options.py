"""Options that several commands have and not all: data, confirm data, and the gate."""

from __future__ import annotations

import click

from .params import SHARE

DATA_HELP = "An .npz of inputs by name, a folder of arrays or images, a table, or the word random."

data = click.option("--data", metavar="D", help=DATA_HELP)
eval_data = click.option(
    "--eval-data",
    metavar="D",
    help="What the result is judged on; otherwise a seeded share of --data is held back.",
)
max_drop = click.option(
    "--max-drop", type=SHARE, metavar="1%", help="Write nothing if the judged metric drops by more than this."
)
for_ort = click.option(
    "--for-ort", metavar="1.23", help="Refuse what this release of onnxruntime does not load, and avoid making it."
)
