"""``onnxslim verify``: exit codes, the receipt, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxslim.runtime.emulation.processor_table import Processor
from onnxslim.verification import examination

Run = Callable[..., "object"]


@pytest.fixture(autouse=True)
def short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "MAX_TIMING_SECONDS", 0.05)


@pytest.fixture
def candidate(cnn: str, tmp_path: Path) -> Path:
    """The network with another name of its maker: other bytes, the same answers."""
    path = tmp_path / "candidate.onnx"
    content = Path(cnn).read_bytes()
    path.write_bytes(content + b"\x12\x04test")  # the field producer_name once more
    return path


def test_pass_fail_and_cannot_tell_have_their_exit_codes_and_write_the_receipt(
    run: Run, candidate: Path, cnn: str, evals: str, tmp_path: Path
) -> None:
    few = tmp_path / "few.npz"
    np.savez(few, image=np.load(evals)["image"][:20])
    call = ["verify", candidate, "--against", cnn]
    for code, verdict, more in (
        (0, "pass", ["--data", evals]),
        (5, "fail", ["--data", evals, "--min-speedup", "100"]),
        (7, "cannot tell", ["--data", few, "--max-drop", "0.1%"]),
        (0, "cannot tell", ["--data", few, "--max-drop", "0.1%", "--inconclusive", "pass"]),
    ):
        receipt = tmp_path / "receipt.json"
        outcome = run(*call, *more, "-o", receipt, "--force")
        assert outcome.code == code, outcome.err
        document = json.loads(receipt.read_text())
        assert document["receipt"]["verdict"] == verdict
        assert document["exit_code"] == code
        assert f"{verdict}: " in (outcome.out + outcome.err)
        again = run("verify", "--receipt", receipt, *more[4:], "--json")
        assert again.code == code
        assert again.json["receipt"]["verdict"] == verdict
        assert again.json["metrics"] == document["metrics"]


def test_junit_sarif_and_a_model_card_are_written_whatever_the_verdict(
    run: Run, candidate: Path, cnn: str, evals: str, tmp_path: Path
) -> None:
    files = {name: tmp_path / f"f.{name}" for name in ("junit", "sarif", "model-card")}
    options = [word for name, path in files.items() for word in (f"--{name}", path)]
    assert run("verify", candidate, "--against", cnn, "--data", evals, "--min-speedup", "100", *options).code == 5
    assert 'failures="1"' in files["junit"].read_text()
    assert '"level": "error"' in files["sarif"].read_text()
    assert ": fail." in files["model-card"].read_text()
    outcome = run("verify", candidate, "--against", cnn, "--data", evals, "--junit", tmp_path / "none" / "f.xml")
    assert outcome.code == 2
    assert "--junit" in outcome.err


def test_a_dry_run_only_says_how_many_samples_it_takes(run: Run, candidate: Path, cnn: str, evals: str) -> None:
    outcome = run("verify", candidate, "--against", cnn, "--data", evals, "--dry-run")
    assert outcome.code == 0
    assert "there are 500" in outcome.out
    assert len(outcome.out.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "no CANDIDATE"),
        (["{candidate}"], 2, "no original"),
        (["{candidate}", "--against", "{cnn}"], 2, "no data given"),
        (["{candidate}", "--against", "{cnn}", "--data", "random"], 2, "random data prove nothing here"),
        (["{candidate}", "--against", "none.onnx", "--data", "{evals}"], 2, "none.onnx: no such file"),
        (["{candidate}", "--against", "{cnn}", "--data", "{evals}", "--max-drop", "2"], 2, "--max-drop 2"),
        (["{candidate}", "--against", "{cnn}", "--data", "{evals}", "--for-ort", "new"], 2, "expected a release"),
        (["--receipt", "none.json"], 2, "none.json"),
        (["--receipt", "{cnn}"], 2, "not JSON"),
        (["--receipt", "{receipt}", "--max-drop", "2%"], 2, "--max-drop: the receipt says it"),
        (["--receipt", "{receipt}", "--seed", "1"], 2, "--seed: the receipt says it"),
        (["{wide}", "--receipt", "{receipt}"], 3, "not the model of"),
        (["--against", "{wide}", "--receipt", "{receipt}"], 3, "not the model of"),
        (["--data", "{calib}", "--receipt", "{receipt}"], 3, "not the data of"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(
    run: Run, candidate: Path, cnn: str, wide: str, evals: str, calib: str, tmp_path: Path,
    *, arguments: list[str], code: int, says: str,
) -> None:  # fmt: skip
    receipt = tmp_path / "receipt.json"
    if "{receipt}" in arguments:
        assert run("verify", candidate, "--against", cnn, "--data", evals, "-o", receipt).code == 0
    names = {"candidate": candidate, "cnn": cnn, "wide": wide, "evals": evals, "calib": calib, "receipt": receipt}
    outcome = run("verify", *(word.format(**names) for word in arguments))
    assert outcome.code == code, outcome.err
    error = next(line for line in outcome.err.splitlines() if line.startswith("error: "))
    assert says in error


def test_a_receipt_loads_no_library_that_the_call_does_not_allow(
    run: Run, candidate: Path, cnn: str, evals: str, tmp_path: Path
) -> None:
    receipt = tmp_path / "receipt.json"
    assert run("verify", candidate, "--against", cnn, "--data", evals, "-o", receipt).code == 0
    document = json.loads(receipt.read_text())
    document["receipt"]["settings"]["custom_ops"] = [str(tmp_path / "theirs.so")]
    receipt.write_text(json.dumps(document))
    refused, allowed = run("verify", "--receipt", receipt), run("verify", "--receipt", receipt, "--allow-code")
    assert (refused.code, "would be loaded and run" in refused.err) == (2, True)
    assert "would be loaded and run" not in allowed.err
    assert "theirs.so" in allowed.err


def test_a_receipt_lets_the_runtime_write_no_file_that_the_call_does_not_allow(
    run: Run, candidate: Path, cnn: str, evals: str, tmp_path: Path
) -> None:
    receipt, theirs = tmp_path / "receipt.json", tmp_path / "theirs.csv"
    assert run("verify", candidate, "--against", cnn, "--data", evals, "-o", receipt).code == 0
    document = json.loads(receipt.read_text())
    document["receipt"]["settings"]["session_option"] = {"session.collect_node_memory_stats_to_file": str(theirs)}
    receipt.write_text(json.dumps(document))
    refused = run("verify", "--receipt", receipt)
    assert (refused.code, "names a file" in refused.err, theirs.exists()) == (2, True, False)
    assert "names a file" not in run("verify", "--receipt", receipt, "--allow-code").err


def test_processors_are_asked_by_name_and_a_receipt_asks_them_again(
    run: Run, candidate: Path, cnn: str, evals: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Processor, "is_here", lambda self: True)
    call, receipt = ["verify", candidate, "--against", cnn, "--data", evals], tmp_path / "receipt.json"
    assert run(*call, "--cpus", "mips").code == 2
    assert run(*call, "--cpus", "arm,avx2", "-o", receipt).code == 0
    document = json.loads(receipt.read_text())
    assert document["receipt"]["settings"]["cpus"] == ["arm", "avx2"]
    again = run("verify", "--receipt", receipt, "--json")
    checks = {check["name"]: check["verdict"] for check in again.json["verification"]["checks"]}
    assert checks["answers on arm"] == checks["answers on avx2"] == checks["receipt"] == "pass"
