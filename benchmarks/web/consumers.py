"""The two places where onnxruntime-web runs: Node, and headless Chromium on a page served on localhost."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: Seconds that all tasks may take in one consumer.
TIMEOUT = 900
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


def run_browser(package: Path, root: Path, provider: str) -> Answers:
    """What Chromium answers with ``provider`` (``wasm`` or ``webgpu``); RuntimeError where it does not start."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise RuntimeError("no Chromium here")
    answers: queue.Queue[Any] = queue.Queue()
    handler = partial(_Handler, folders={"ort": package / "dist", "files": root}, answers=answers)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/page.html?provider={provider}"
    with tempfile.TemporaryDirectory() as profile:
        flags = [
            "--headless",
            "--no-sandbox",
            "--no-first-run",
            "--disable-background-networking",
            f"--user-data-dir={profile}",
        ]
        flags += _SOFTWARE_GPU if provider == "webgpu" else ["--disable-gpu"]
        browser = subprocess.Popen([chromium, *flags, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            found = answers.get(timeout=TIMEOUT)
        except queue.Empty:
            raise RuntimeError("the page did not answer in time") from None
        finally:
            browser.kill()
            browser.wait()
            server.shutdown()
    if "error" in found:
        raise RuntimeError(found["error"])
    return found
