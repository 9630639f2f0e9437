"""The fastest that keeps its promise, by the library and by the file alone."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxslim.core.cpu_info import count_own_cores, describe_cpu
from onnxslim.model_io import model_file
from onnxslim.runtime.devices import choose as choosing
from onnxslim.runtime.devices.choose import ChoiceError, Feed, ModelChoice, choose, time_in_turn
from tests.support.digits import FEED, MODEL
from tests.support.fatal_models import FATAL_PERMS, dies, divided_by_an_input, run_outcome, transposed_product
from tests.support.receipts import write_receipt

#: Before tests put another in its place.
try_models = choosing.try_models

#: By the content's length: the fake clock of these tests.
Times = Callable[[dict[str, float]], None]


def rename(target: Path, name: str) -> Path:
    """The sample model with another name of its maker: other bytes, the same answers."""
    target.write_bytes(MODEL.read_bytes() + b"\x12" + bytes([len(name)]) + name.encode())
    return target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An original, two variants that passed, and one that did not."""
    original = rename(tmp_path / "original.onnx", "original")
    for name, verdict in (("good", "pass"), ("better", "pass"), ("wrong", "fail")):
        write_receipt(rename(tmp_path / f"{name}.onnx", name), original, verdict)
    return tmp_path


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    """Milliseconds of each model, instead of the clock's."""

    def use(milliseconds: dict[str, float]) -> None:
        def timed(runs: dict[str, object], *_: object, **__: object) -> dict[str, list[float]]:
            return {name: [milliseconds[name.removesuffix(".onnx")] * 1e-3] * 5 for name in runs}

        monkeypatch.setattr(choosing, "time_in_turn", timed)

    return use


@pytest.fixture(autouse=True)
def _without_a_child(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process a test is not worth its seconds: nothing here dies, but where ``dying`` is asked for."""
    if "dying" in request.fixturenames:
        return

    def try_here(models: list[ModelChoice], folder: Path, threads: int, make_feed: Callable[..., Feed]) -> Feed | None:
        started = dict(choosing._start(models, folder, threads))
        return make_feed(onnxruntime.InferenceSession(MODEL).get_inputs()) if started else None

    monkeypatch.setattr(choosing, "try_models", try_here)


@pytest.fixture
def dying(folder: Path) -> Path:
    """The folder with models that end the runtime's process, or that it does not take."""
    unknown = onnx.load(MODEL)
    unknown.graph.node[0].op_type = "NoSuchOp"
    onnx.save(unknown, folder / "a_unknown.onnx")
    write_receipt(folder / "a_unknown.onnx", folder / "original.onnx")
    for name, content in (
        ("b_loads", model_file.to_bytes(transposed_product(*FATAL_PERMS[0]))),
        ("c_runs", divided_by_an_input()),
    ):
        (folder / f"{name}.onnx").write_bytes(content)
        write_receipt(folder / f"{name}.onnx", folder / "original.onnx")
    return folder


def test_what_ends_the_runtimes_process_is_left_out_and_the_rest_is_chosen_from(dying: Path, times: Times) -> None:
    times({"original": 4, "good": 2, "better": 1, "a_unknown": 0.1, "b_loads": 0.1, "c_runs": 0.1})
    report = choose(dying)
    assert report["chosen"] == "better.onnx"
    assert "NoSuchOp" in str(find(report, "a_unknown")["why_not"])
    why = str(find(report, "b_loads")["why_not"])
    if dies(transposed_product(*FATAL_PERMS[0])):
        assert why.startswith(f"onnxruntime {onnxruntime.__version__} dies of loading it: signal ")
    assert str(find(report, "c_runs")["why_not"]).startswith("it does not run with the same inputs")
    for name in ("original", "good", "better", "wrong", "b_loads", "c_runs"):
        (dying / f"{name}.onnx").unlink()
    with pytest.raises(ChoiceError, match="NoSuchOp") as caught:
        choose(dying)
    assert caught.value.hint is None, "it has a receipt"


def test_a_model_that_dies_of_a_run_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "c.onnx").write_bytes(divided_by_an_input())
    feeds = {"x": np.zeros((1, 16, 1), np.float32), "n": np.array(0)}
    choice = ModelChoice("c.onnx", 1, "")
    assert try_models([choice], tmp_path, 1, lambda inputs: feeds) is feeds
    if run_outcome(divided_by_an_input(), feeds) < 0:
        assert "dies of running it: signal 8 (SIGFPE)" in str(choice.why_not)


def test_models_are_tried_with_nothing_from_the_folder_one_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnxruntime", "json", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken in')")
    monkeypatch.chdir(tmp_path)
    choice = ModelChoice(MODEL.name, 1, "kept")
    assert try_models([choice], MODEL.parent, 1, lambda inputs: FEED) is FEED
    assert choice.why_not is None


def test_each_is_timed_in_turn_with_the_base_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that halves between two pairs changes no ratio."""
    speeds = iter((1.0, 0.5))

    def timed(runs: dict[str, float], *_: object, **__: object) -> dict[str, list[float]]:
        speed = next(speeds)
        return {name: [speed * value] * 5 for name, value in runs.items()}

    monkeypatch.setattr(choosing, "time_in_turn", timed)
    found = choosing._time_beside("base", {"a": 2.0, "base": 4.0, "b": 1.0}, {}, 1, 1.0)  # type: ignore[dict-item]
    assert {name: ratio for name, (_, ratio) in found.items()} == {"a": 2.0, "b": 4.0, "base": 1.0}


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_of_one_model_are_quiet_while_another_is_timed(threads: int) -> None:
    ((_, run),) = choosing._start([ModelChoice(MODEL.name, 1, "kept")], MODEL.parent, threads)
    options = run.func.__self__.get_session_options()  # type: ignore[attr-defined]
    if threads > 1:
        assert options.get_session_config_entry("session.force_spinning_stop") == "1"
    else:
        with pytest.raises(RuntimeError):
            options.get_session_config_entry("session.force_spinning_stop")


def find(report: dict[str, list[dict[str, object]]], name: str) -> dict[str, object]:
    return next(model for model in report["models"] if model["name"] == f"{name}.onnx")


def test_the_fastest_that_passed_is_chosen(folder: Path, times: Times) -> None:
    times({"original": 4, "good": 2, "better": 1, "wrong": 0.1})
    report = choose(folder)
    assert report["chosen"] == "better.onnx"
    assert find(report, "better")["ratio"] == pytest.approx(4)
    assert find(report, "original")["promise"] == "the original"
    wrong = find(report, "wrong")
    assert (wrong["median_ms"], wrong["why_not"]) == (None, "wrong.json says fail")


def test_the_original_is_chosen_where_nothing_is_faster_and_the_smaller_of_two_that_are_alike(
    folder: Path, times: Times
) -> None:
    times({"original": 1, "good": 1.005, "better": 1.5})
    assert choose(folder)["chosen"] == "good.onnx"
    times({"original": 1, "good": 1.1, "better": 1.5})
    assert choose(folder)["chosen"] == "original.onnx"


def test_the_speed_that_was_promised_is_held_to(folder: Path, times: Times) -> None:
    write_receipt(folder / "better.onnx", folder / "original.onnx", settings={"max_drop": "1%", "min_speedup": 3})
    times({"original": 4, "good": 3, "better": 2})
    report = choose(folder)
    assert report["chosen"] == "good.onnx"
    assert find(report, "better")["why_not"] == "2.00 times as fast as the original here, 3 is promised"


def test_what_is_another_file_by_now_is_not_what_was_verified(folder: Path, times: Times) -> None:
    times({"original": 4, "good": 2})
    rename(folder / "better.onnx", "other")
    rename(folder / "new.onnx", "new")
    report = choose(folder)
    assert report["chosen"] == "good.onnx"
    assert find(report, "better")["why_not"] == "it is another file than its receipt is about"
    assert find(report, "new")["why_not"] == "it has no receipt"


def test_data_files_are_a_part_of_the_model(folder: Path, times: Times) -> None:
    data = folder / "better.data"
    data.write_bytes(b"weights")
    write_receipt(folder / "better.onnx", folder / "original.onnx", data_files=(data,))
    times({"original": 4, "good": 2, "better": 1})
    report = choose(folder)
    assert report["chosen"] == "better.onnx"
    assert find(report, "better")["bytes"] == (folder / "better.onnx").stat().st_size + 7
    data.write_bytes(b"others")
    assert find(choose(folder), "better")["why_not"] == "its data better.data are not those of better.json"


@pytest.mark.parametrize(
    ("verdict", "chosen"), [("cannot tell", "better.onnx"), ("fail", "good.onnx"), ("who knows", "good.onnx")]
)
def test_of_several_receipts_none_may_fail(verdict: str, chosen: str, folder: Path, times: Times) -> None:
    """A step's own receipt, of the few samples it held back, says nothing against one of enough."""
    passed = folder / "better.json"
    passed.rename(folder / "z.json")
    write_receipt(folder / "better.onnx", folder / "original.onnx", verdict)
    times({"original": 4, "good": 2, "better": 1})
    assert choose(folder)["chosen"] == chosen


def test_what_the_runtime_here_does_not_take_is_left_out_with_the_reason(folder: Path, times: Times) -> None:
    model = onnx.load(MODEL)
    model.graph.node[0].op_type = "NoSuchOp"
    onnx.save(model, folder / "better.onnx")
    write_receipt(folder / "better.onnx", folder / "original.onnx")
    times({"original": 4, "good": 2})
    report = choose(folder)
    assert report["chosen"] == "good.onnx"
    why = str(find(report, "better")["why_not"])
    assert why.startswith(f"onnxruntime {onnxruntime.__version__} does not take it: ")
    assert "NoSuchOp" in why


def test_another_machine_than_the_receipts_is_said(folder: Path, times: Times) -> None:
    machine = {"cpu": "an older one"}
    write_receipt(folder / "better.onnx", folder / "original.onnx", runtime="1.0", machine=machine)
    times({"original": 4, "good": 2, "better": 1})
    cautions = find(choose(folder), "better")["cautions"]
    assert isinstance(cautions, list)
    assert cautions[0].startswith("onnxruntime was 1.0 when the receipt was made")


def test_inputs_are_made_up_by_type_and_size_or_read(folder: Path, tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[n,3] x, int64[n,m] ids, bool[2] mask, string[n] s) => (float[n,3] y, int64[n,m] i, bool[2] b, string[n] t)
    { y = Identity (x)  i = Identity (ids)  b = Identity (mask)  t = Identity (s) }"""
    session = onnxruntime.InferenceSession(onnx.parser.parse_model(text).SerializeToString())
    feed = choosing._read_feed(session.get_inputs(), None, {"m": 4})
    assert {name: array.shape for name, array in feed.items()} == {"x": (1, 3), "ids": (1, 4), "mask": (2,), "s": (1,)}
    session.run(None, feed)
    data = tmp_path / "data.npz"
    np.savez(data, image=np.repeat(FEED["image"], 3, 0))
    model = onnxruntime.InferenceSession(str(MODEL))
    np.testing.assert_array_equal(choosing._read_feed(model.get_inputs(), data, {})["image"], FEED["image"])
    with pytest.raises(ChoiceError, match="no input of that name"):
        choosing._read_feed(session.get_inputs(), data, {})
    with pytest.raises(ChoiceError, match=r"not an \.npz"):
        choosing._read_feed(model.get_inputs(), MODEL, {})


def test_numbers_and_fixed_batches_are_taken_whole_from_the_data(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[2,3] x, int64 rate, int64 at) => (float[2,3] y, int64 r, int64 a)
    { y = Identity (x)  r = Identity (rate)  a = Identity (at) }"""
    session = onnxruntime.InferenceSession(onnx.parser.parse_model(text).SerializeToString())
    data = tmp_path / "data.npz"
    np.savez(data, x=np.zeros((5, 3), np.float32), rate=np.int64(16000), at=np.arange(5))
    session.run(None, choosing._read_feed(session.get_inputs(), data, {}))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x93NUMPY\x01\x00"])
def test_data_that_are_damaged_are_a_wrong_call(tmp_path: Path, content: bytes) -> None:
    data = tmp_path / "data.npz"
    data.write_bytes(content)
    session = onnxruntime.InferenceSession(str(MODEL))
    with pytest.raises(ChoiceError, match=r"not an \.npz") as caught:
        choosing._read_feed(session.get_inputs(), data, {})
    assert caught.value.exit_code == 2
    np.save(tmp_path / "data.npy", FEED["image"])
    with pytest.raises(ChoiceError, match=r"not an \.npz"):
        choosing._read_feed(session.get_inputs(), tmp_path / "data.npy", {})


@pytest.mark.parametrize("rows", [None, 3, 20])
def test_as_many_samples_at_a_time_as_asked_are_timed(rows: int | None, folder: Path, times: Times, tmp_path: Path) -> None:
    data = None
    if rows is not None:
        data = tmp_path / "d.npz"
        np.savez(data, image=np.resize(FEED["image"], (rows, 1, 8, 8)))
    session = onnxruntime.InferenceSession(MODEL)
    assert choosing._read_feed(session.get_inputs(), data, {}, 8)["image"].shape == (8, 1, 8, 8)
    times({"original": 4, "good": 2, "better": 1, "wrong": 0.1})
    report = choose(folder, data=data, batch_size=8, threads=2)
    assert (report["batch"], report["threads"]) == (8, 2)
    assert "the batch was 1 when the receipt was made, and is 8" in find(report, "better")["cautions"]
    assert "the number of threads was 1 when the receipt was made, and is 2" in find(report, "better")["cautions"]


def test_what_cannot_be_made_up_is_told() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[n,m,k] x) => (float[n,m,k] y) { y = Identity (x) }"""
    session = onnxruntime.InferenceSession(onnx.parser.parse_model(text).SerializeToString())
    with pytest.raises(ChoiceError, match="no inputs of such sizes"):
        choosing._read_feed(session.get_inputs(), None, dict.fromkeys("nmk", 10**6))
    for kind in ("seq(tensor(float))", "map(int64,tensor(float))", "tensor(none)"):
        with pytest.raises(ChoiceError, match="no values can be made up"):
            choosing._make_up(np.random.default_rng(0), kind, [1])


@pytest.mark.parametrize(
    "damage",
    [
        {"verdict": ["pass"]},
        {"candidate": "good.onnx"},
        {"candidate": {"files": ["1" * 64]}},
        {"original": {"files": {"original.onnx": 3}}},
        {"settings": "none"},
        {"settings": {"min_speedup": "fast"}},
        {"settings": {"min_speedup": float("nan")}},
        {"machine": [1]},
        {"candidate": {"files": {"good.onnx": "1" * 64, "/etc/hostname": "2" * 64}}},
        {"candidate": {"files": {"good.onnx": "1" * 64, "../above.data": "2" * 64}}},
    ],
)
def test_a_damaged_receipt_is_named_and_reads_nothing_outside_the_folder(folder: Path, damage: dict[str, object]) -> None:
    path = folder / "good.json"
    document = json.loads(path.read_text())
    document["receipt"] |= damage
    path.write_text(json.dumps(document))
    with pytest.raises(ChoiceError, match=r"good\.json: a receipt without .* or a damaged one"):
        choose(folder)


def test_a_promise_that_cannot_be_held_against_the_original_is_said(folder: Path, times: Times) -> None:
    write_receipt(folder / "better.onnx", folder / "original.onnx", settings={"min_speedup": 3})
    (folder / "original.onnx").unlink()
    times({"good": 3, "better": 2})
    report = choose(folder)
    assert report["chosen"] == "better.onnx"
    assert find(report, "better")["cautions"] == ["3 times the original's speed is promised, which is not here"]


@pytest.mark.parametrize(
    "told", [None, "", "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\nprocessor\t: 1\nCPU part\t: 0xd05\n"]
)
def test_the_processor_is_called_as_receipts_call_it(told: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if told is not None:
        monkeypatch.setattr("builtins.open", lambda *_, **__: io.StringIO(told))
    assert choosing._read_cpu() == describe_cpu()["cpu"]


def test_what_strangers_wrote_commands_no_terminal(folder: Path, times: Times) -> None:
    write_receipt(folder / "better.onnx", folder / "original.onnx", settings={"max_drop": "\x1b[2J\n\ud800"})
    times({"original": 4, "good": 2, "better": 1})
    lines = choosing.format_lines(choose(folder))
    assert all(line.isprintable() for line in lines)


def test_a_round_times_everybody_and_the_order_rotates() -> None:
    ran: list[str] = []
    clock = iter(range(10**6)).__next__
    runs = {name: lambda feed, name=name: ran.append(name) for name in "abc"}
    found = time_in_turn(runs, [{}], clock, rounds=6, seconds=10, warmup=1)
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys("abc", 6)
    assert "".join(ran[3:12]) == "abcbcacab"


@pytest.mark.parametrize(
    ("change", "told", "code"),
    [
        (lambda folder: shutil.rmtree(folder), "no such folder", 2),
        (lambda folder: [path.unlink() for path in folder.glob("*.onnx")], "no models in it", 4),
        (lambda folder: [path.unlink() for path in folder.glob("*.json")], "it has no receipt", 4),
        (lambda folder: (folder / "good.json").write_text('{"receipt": {"schema": 9}}'), "schema 9, expected 1", 4),
        (lambda folder: (folder / "good.json").write_text('{"receipt": {"schema": 1}}'), "without its verdict", 4),
    ],
)
def test_the_file_alone_chooses_and_says_in_one_line_why_it_cannot(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, change: Callable[[Path], object], told: str, code: int
) -> None:
    alone = tmp_path_factory.mktemp("alone") / "choose.py"
    shutil.copy(choosing.__file__, alone)
    change(folder)
    command = [sys.executable, "-I", str(alone), str(folder), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=alone.parent)
    assert (ended.returncode, ended.stdout) == (code, "")
    first, *hint = ended.stderr.splitlines()
    assert first.startswith("error: ")
    assert told in first
    assert len(hint) <= 1


def test_what_is_no_file_is_passed_over_and_what_cannot_be_read_is_a_line(
    folder: Path, times: Times, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "folder.onnx").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.json")
    times({"original": 4, "good": 2, "better": 1})
    assert choose(folder)["chosen"] == "better.onnx"

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(choosing, "_hash", refuse)
    assert choosing.main([str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


def test_the_file_alone_gives_what_the_library_does(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    alone = tmp_path_factory.mktemp("alone") / "choose.py"
    shutil.copy(choosing.__file__, alone)
    (folder / "good.onnx").unlink()
    (folder / "better.onnx").unlink()
    command = [sys.executable, "-I", str(alone), str(folder), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=alone.parent)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["chosen"] in {model["name"] for model in report["models"] if model["why_not"] is None}
    assert find(report, "wrong")["median_ms"] is None
    names = {path.partition(".")[0] for path in _list_imports(alone)}
    assert names <= {*sys.stdlib_module_names, "numpy", "onnxruntime"}


def _list_imports(path: Path) -> list[str]:
    words = [line.split() for line in path.read_text().splitlines() if line.startswith(("import ", "from "))]
    return [line[1] for line in words]


def test_threads_are_a_number_or_all_that_this_process_may_use() -> None:
    assert choosing._parse_threads("3") == 3
    assert choosing._parse_threads("all") == count_own_cores()
    for wrong in ("0", "-1", "some", "", "9" * 5000):
        with pytest.raises(ChoiceError, match="--threads"):
            choosing._parse_threads(wrong)


@pytest.mark.skipif(sys.platform == "win32", reason="closed pipes")
def test_who_reads_only_the_beginning_ends_nothing(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        command = [sys.executable, choosing.__file__, str(folder)]
        ended = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_empty_name_is_not_the_folder_that_it_is_called_in() -> None:
    with pytest.raises(ChoiceError, match="an empty name") as caught:
        choose("")
    assert caught.value.exit_code == 2


def test_a_child_that_ended_before_it_was_told_anything_gives_no_answer() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", ""], **pipes) as child:
        child.wait()
        assert choosing._read_answer(child, "{}" * 10**6) is None
