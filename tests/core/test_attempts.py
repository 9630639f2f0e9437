"""A process that goes on in the place of one that died leaves out what that died of, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxslim.core import attempts
from onnxslim.core.attempts import Supervision, attempt, begin_supervision, find_death, find_folder, find_start, is_successor
from onnxslim.core.errors import UnsupportedError

DEATH = UnsupportedError("signal 11", hint="a hint")


@pytest.fixture
def supervision(tmp_path: Path) -> Iterator[Supervision]:
    yield begin_supervision(str(tmp_path))
    attempts._supervision = None


def die(supervision: Supervision, key: str) -> None:
    """Leave everything as a process leaves it that dies in the attempt ``key``."""
    attempt_file, survival = (Path(supervision.folder, name) for name in (attempts._ATTEMPT, attempts._SURVIVAL))
    had_survived = survival.exists()
    with attempt(key, key.upper()):
        content = attempt_file.read_text()
    attempt_file.write_text(content)
    if not had_survived:
        survival.unlink()


def test_what_a_process_died_in_ends_there_with_what_it_died_of(supervision: Supervision) -> None:
    with attempt("a", "A"):
        pass
    die(supervision, "b")
    assert supervision.add_death(DEATH) == "B"
    with pytest.raises(UnsupportedError, match="signal 11") as caught, attempt("b", "B"):
        pytest.fail("it is not done again")
    assert caught.value is not DEATH
    assert caught.value.hint == "a hint"
    assert is_successor()
    assert find_death("b") is DEATH
    assert find_death("a") is None
    with attempt("a", "A"):
        pass


def test_a_death_outside_of_any_attempt_is_the_commands(supervision: Supervision) -> None:
    assert supervision.add_death(DEATH) is None
    with pytest.raises(ValueError, match="as any"), attempt("a", "A"):
        raise ValueError("as any")
    assert supervision.add_death(DEATH) is None
    assert not supervision.deaths
    assert not is_successor()


def test_where_all_attempts_end_the_process_it_is_not_started_for_each(supervision: Supervision) -> None:
    die(supervision, "a")
    assert supervision.add_death(DEATH) == "A"
    die(supervision, "b")
    assert supervision.add_death(DEATH) is None


def test_where_some_are_survived_any_number_may_not_be(supervision: Supervision) -> None:
    with attempt("a", "A"):
        pass
    for key in "bcd":
        die(supervision, key)
        assert supervision.add_death(DEATH) == key.upper()


def test_a_death_outside_of_any_attempt_is_not_taken_for_the_last_one_again(supervision: Supervision) -> None:
    with attempt("a", "A"):
        pass
    die(supervision, "b")
    assert supervision.add_death(DEATH) == "B"
    assert supervision.add_death(DEATH) is None


def test_a_clock_goes_on_from_process_to_process(supervision: Supervision) -> None:
    before = time.monotonic()
    first = find_start("search 0")
    assert before <= first <= time.monotonic()
    assert find_start("search 0") == first
    assert find_start("search 1") > first
    assert find_folder("search 0") == str(Path(supervision.folder, "search 0"))


def test_who_is_not_supervised_keeps_nothing(tmp_path: Path) -> None:
    with attempt("a", "A"):
        pass
    assert find_folder("x") is None
    assert find_start("x") <= find_start("x")
    assert find_death("a") is None


def test_a_folder_that_is_gone_ends_nothing(supervision: Supervision) -> None:
    Path(supervision.folder).rmdir()
    with attempt("a", "A"):
        pass
    assert find_start("x") <= time.monotonic()
    assert supervision.add_death(DEATH) is None
