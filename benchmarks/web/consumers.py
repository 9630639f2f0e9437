"""The two places where onnxruntime-web runs: Node, and headless Chromium on a page served on localhost."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: Seconds that all tasks may take in Node, and that Chromium may take to open the page.
TIMEOUT, OPENING_SECONDS = 900, 120
#: What a headless Chromium needs to have a WebGPU adapter without a GPU.
_SOFTWARE_GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]

#: By task and file: the answers, the milliseconds of a run, or an error.
Answers = dict[str, dict[str, dict[str, Any]]]


def run_node(package: Path, root: Path) -> Answers:
    """What Node answers to the tasks of ``root/tasks.json``; RuntimeError where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "answers.json"
        command = ["node", str(HERE / "node.mjs"), str(package), str(root / "tasks.json"), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        if done.returncode:
            raise RuntimeError(f"Node ended with {done.returncode}: {done.stderr.strip()[-400:]}")
        return json.loads(out.read_text())


class _Handler(SimpleHTTPRequestHandler):
    """Serves the page, onnxruntime-web and the files; what the page posts goes into a queue."""

    def __init__(self, *args: Any, folders: dict[str, Path], answers: queue.Queue[Any], **kwargs: Any) -> None:
        self._folders, self._answers = folders, answers
        super().__init__(*args, **kwargs)

    def translate_path(self, path: str) -> str:
        parts = [part for part in path.split("?")[0].split("/") if part not in ("", "..")]
        folder = self._folders.get(parts[0] if parts else "")
        return str(folder.joinpath(*parts[1:]) if folder else HERE.joinpath(*parts))

    def do_POST(self) -> None:
        self._answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


_Handler.extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript", ".wasm": "application/wasm"}


def run_browser(package: Path, root: Path, provider: str, deadline: float) -> Answers:
    """What Chromium answers with ``provider`` (``wasm`` or ``webgpu``); RuntimeError where it does not start.

    A file that has not answered after ``deadline`` seconds has that as its error, and a new browser goes on with the next
    one; so it does after any error, since a lost GPU takes what follows with it.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise RuntimeError("no Chromium here")
    tasks = json.loads((root / "tasks.json").read_text())["tasks"]
    files = [(task["name"], key) for task in tasks for key in task["files"]]
    found: list[dict[str, Any]] = []
    posted: queue.Queue[Any] = queue.Queue()
    handler = partial(_Handler, folders={"ort": package / "dist", "files": root}, answers=posted)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/page.html?provider={provider}"
    try:
        while len(found) < len(files):
            with _open_page(chromium, f"{url}&first={len(found)}", provider):
                opened = _await_opening(posted)
                if opened.get("error") and not found:
                    raise RuntimeError(opened["error"])
                found += [opened] if "error" in opened else _await_answers(posted, len(files) - len(found), deadline)
            while not posted.empty():  # of a page that was ended
                posted.get()
    finally:
        server.shutdown()
    answers: Answers = {task["name"]: {} for task in tasks}
    for (name, key), answer in zip(files, found, strict=True):
        answers[name][key] = answer
    return answers


@contextmanager
def _open_page(chromium: str, url: str, provider: str) -> Iterator[None]:
    flags = ["--headless", "--no-sandbox", "--no-first-run", "--disable-background-networking"]
    flags += _SOFTWARE_GPU if provider == "webgpu" else ["--disable-gpu"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium, *flags, f"--user-data-dir={profile}", url]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            yield
        finally:
            os.killpg(browser.pid, signal.SIGKILL)  # its GPU process is what hangs
            browser.wait()


def _await_opening(posted: queue.Queue[Any]) -> dict[str, Any]:
    try:
        return posted.get(timeout=OPENING_SECONDS)
    except queue.Empty:
        return {"error": f"the page did not open in {OPENING_SECONDS} s"}


def _await_answers(posted: queue.Queue[Any], count: int, deadline: float) -> Iterator[dict[str, Any]]:
    """At most ``count`` answers, to the first that is an error."""
    for _ in range(count):
        try:
            message = posted.get(timeout=deadline)
        except queue.Empty:
            yield {"error": f"not finished in {deadline:g} s"}
            return
        answer = message.get("answer") or {"error": message["error"]}
        yield answer
        if "error" in answer:
            return
