"""Every trial of a search, on disk as soon as it is finished: a SQLite file and the models, in one folder.

A search that was killed goes on from here. A trial is written in one transaction after its model is in place, so that
what the file knows is whole, whenever the process ends.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from onnxslim.core.errors import InvalidDataError, LimitError, OnnxslimError, UsageError
from onnxslim.model_io import model_file

logger = logging.getLogger(__name__)

_DATABASE_NAME = "study.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS study (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trials (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    asked TEXT NOT NULL UNIQUE,   -- the recipe as it was asked for, as YAML
    outcome TEXT NOT NULL,        -- JSON
    model TEXT,                   -- file beside this one; NULL where there is none
    finished REAL NOT NULL        -- seconds since the epoch
);
"""


class Study:
    """The trials of one search.

    Args:
        folder: Made when it is not there.
        identity: What the search is about: model, data, seed, version. A study that is about something else is refused.
        max_bytes: Trials with larger models are not kept, nor those that there is no room for; None: all are.

    Raises:
        UsageError: The folder holds another search's study, or cannot be made.
        InvalidDataError: What is there is not a study.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, str], *, max_bytes: int | None = None) -> None:
        if not os.fspath(folder):  # which would be the current one
            raise UsageError("--study: an empty name, expected that of a folder")
        self.folder, self._max_bytes = os.path.abspath(folder), max_bytes
        try:
            os.makedirs(self.folder, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--study {folder}: {error.strerror or error}", hint="name a folder of its own") from None
        try:
            self._db = sqlite3.connect(os.path.join(self.folder, _DATABASE_NAME))
            self._db.executescript(_SCHEMA)
            stored = dict(self._db.execute("SELECT key, value FROM study"))
        except sqlite3.Error as error:
            raise InvalidDataError(f"--study {folder}: {_DATABASE_NAME} is not a study ({error})") from None
        for key, value in stored.items():
            if identity.get(key) != value:
                raise UsageError(f"--study {folder}: it is about another {key}", hint="give each search a folder of its own")
        with self._db:
            self._db.executemany("INSERT OR IGNORE INTO study VALUES (?, ?)", list(identity.items()))

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def find(self, recipe_text: str) -> tuple[dict[str, Any], str | None] | None:
        """The outcome of the trial of the recipe ``recipe_text`` (YAML), and the path of its model; None when there is
        none.
        """
        row = self._db.execute("SELECT outcome, model FROM trials WHERE asked = ?", (recipe_text,)).fetchone()
        if row is None:
            return None
        outcome, model = row
        path = None if model is None else os.path.join(self.folder, model)
        if path is not None and not os.path.isfile(path):
            return None
        return json.loads(outcome), path

    def list_recipes(self, name: str) -> list[str]:
        """The recipes of the trials of this ``name``, as YAML, the latest last."""
        rows = self._db.execute("SELECT asked FROM trials WHERE name = ? ORDER BY finished", (name,))
        return [row[0] for row in rows]

    def add(self, name: str, recipe_text: str, outcome: Mapping[str, Any], model: ir.Model | None) -> None:
        """Write down a finished trial; its model first.

        Raises:
            LimitError: The disk is full, where all are kept.
        """
        try:
            if model is None or self._max_bytes is None or model_file.count_tensor_bytes(model) <= self._max_bytes:
                self._write(name, recipe_text, outcome, model)
        except (OnnxslimError, sqlite3.Error) as error:
            if self._max_bytes is not None:
                logger.debug("trial %s is not kept: %s", name, error)
            elif isinstance(error, sqlite3.Error):
                raise LimitError(
                    f"--study {self.folder}: {error}", hint="make room, and go on with the same command"
                ) from error
            else:
                raise

    def _write(self, name: str, recipe_text: str, outcome: Mapping[str, Any], model: ir.Model | None) -> None:
        file = None
        if model is not None:
            file = f"{hashlib.sha256(recipe_text.encode()).hexdigest()[:16]}.onnx"
            model_file.save(model, os.path.join(self.folder, file))
        with self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO trials (name, asked, outcome, model, finished) VALUES (?, ?, ?, ?, ?)",
                (name, recipe_text, json.dumps(outcome), file, time.time()),
            )

    def __len__(self) -> int:
        return int(self._db.execute("SELECT COUNT(*) FROM trials").fetchone()[0])
