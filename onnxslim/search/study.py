"""Every trial of a search, on disk as soon as it is finished: a SQLite file and the models, in one folder.

A search that was killed goes on from here. A trial is written in one transaction after its model is in place, so that
what the file knows is whole, whenever the process ends.

A study is asked for, and keeps everything; or it is temporary, for a process that goes on where this one dies. That one
needs the figures of every trial, which are small, and the models of the few that may still be chosen: others are let go, and
so is what the disk has no room for. A model that is wanted all the same is made again by the recipe that its trial resolved.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
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

#: Of the disk's room what the model of one trial in a temporary study may take: the others, what the runtime maps meanwhile
#: and whoever else writes there share the rest, and each takes less than the one before.
_MAX_ROOM_SHARE = 0.25


class Study:
    """The trials of one search.

    Args:
        folder: Made when it is not there.
        identity: What the search is about: model, data, seed, version. A study that is about something else is refused.
        is_temporary: It was not asked for: what there is no room for is not kept, and what is superseded is let go.

    Raises:
        UsageError: The folder holds another search's study, or cannot be made.
        InvalidDataError: What is there is not a study.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, str], *, is_temporary: bool = False) -> None:
        if not os.fspath(folder):  # which would be the current one
            raise UsageError("--study: an empty name, expected that of a folder")
        self.folder, self.is_temporary = os.path.abspath(folder), is_temporary
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
        """The outcome of the trial of the recipe ``recipe_text`` (YAML), and the path of its model, None where it has none
        or that was let go; None when there is no such trial.
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
            LimitError: The disk is full, of a study that was asked for.
        """
        if not self.is_temporary:
            try:
                self._write(name, recipe_text, outcome, None if model is None else self._save(recipe_text, model))
            except (sqlite3.Error, OSError) as error:
                raise LimitError(
                    f"--study {self.folder}: {error}", hint="make room, and go on with the same command"
                ) from error
            return
        try:
            has_room = model is not None and self._has_room(model_file.count_tensor_bytes(model))
            file = self._save(recipe_text, model) if model is not None and has_room else None
        except (OnnxslimError, OSError) as error:
            logger.debug("the model of trial %s is not kept: %s", name, error)
            file = None
        try:
            self._write(name, recipe_text, outcome, file)
        except sqlite3.Error as error:
            logger.debug("trial %s is not kept: %s", name, error)

    def release_model(self, recipe_text: str) -> None:
        """Let the model of the trial of ``recipe_text`` go, not its outcome; of a study that was asked for nothing goes."""
        if not self.is_temporary:
            return
        with contextlib.suppress(sqlite3.Error), self._db:
            self._db.execute("UPDATE trials SET model = NULL WHERE asked = ?", (recipe_text,))
        shutil.rmtree(os.path.join(self.folder, _name_folder(recipe_text)), ignore_errors=True)

    def _has_room(self, count: int) -> bool:
        return count <= _MAX_ROOM_SHARE * shutil.disk_usage(self.folder).free

    def _save(self, recipe_text: str, model: ir.Model) -> str:
        """Write ``model`` into a folder of its own, whatever is beside it; its path in the study's."""
        folder = _name_folder(recipe_text)
        os.makedirs(os.path.join(self.folder, folder), exist_ok=True)
        file = os.path.join(folder, "model.onnx")
        model_file.save(model, os.path.join(self.folder, file))
        return file

    def _write(self, name: str, recipe_text: str, outcome: Mapping[str, Any], file: str | None) -> None:
        with self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO trials (name, asked, outcome, model, finished) VALUES (?, ?, ?, ?, ?)",
                (name, recipe_text, json.dumps(outcome), file, time.time()),
            )

    def __len__(self) -> int:
        return int(self._db.execute("SELECT COUNT(*) FROM trials").fetchone()[0])


def _name_folder(recipe_text: str) -> str:
    return hashlib.sha256(recipe_text.encode()).hexdigest()[:16]
