"""Clients for benchmarks and tests: `muse-web` as a process, a headless browser, and an HTTP client."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muse_shortcut.errors import ArgumentsError

__all__ = ["PageClient", "Process", "browsing", "chromium", "serving"]

_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Sound should start without a click.
    "--autoplay-policy=no-user-gesture-required",
    # A microphone that plays a test tone.
    "--use-fake-device-for-media-stream",
)


def chromium() -> str | None:
    """Return the path of Chromium or Chrome, None if neither is installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def browsing() -> Iterator[Any]:
    """Launch a headless browser with Playwright.

    Raises:
        ArgumentsError: Playwright or Chromium is not installed.
    """
    path = chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        raise ArgumentsError("this needs a browser: pip install playwright, and Chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True)
class Process:
    """A running `muse-web`."""

    process: subprocess.Popen[str]
    url: str
    """Without a trailing slash."""
    log: Path
    """The file that holds its standard error."""


@contextlib.contextmanager
def serving(folder: Path, *words: str) -> Iterator[Process]:
    """Run `muse-web` on a free port.

    Args:
        folder: Folder for its temporary files and its standard error.
        words: Command-line options.
    """
    log, temporary = folder / "stderr.txt", folder / "temporary"
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", "from muse_web.command import main; main()", *words]
    with log.open("w") as complaints:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True, env=environment)
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        url = next((line.strip() for line in lines if line.startswith("http")), None)
        if url is None:
            raise ArgumentsError(f"muse-web did not start: {log.read_text().strip()}")
        yield Process(process, url.rstrip("/"), log)
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)
        process.kill()
        process.wait()
        process.stdout.close()


class PageClient:
    """Calls the page's endpoints as its scripts do, without a browser."""

    def __init__(self, url: str) -> None:
        self._url, self._key = f"{url}/gradio_api", secrets.token_hex(16)

    def call(self, name: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Call a function that is not queued."""
        found: dict[str, Any] = self._post(f"run/{name}", payload)["data"][0]
        return found

    def open(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Open a prompt; `payload` is that of `muse_web.generation_requests.new_source`."""
        found: dict[str, Any] = self.queued("open", payload)[-1]
        return found

    def generate(
        self, payload: dict[str, Any], on_message: Callable[[str, float, dict[str, Any] | None], None] = lambda *_: None
    ) -> list[dict[str, Any]]:
        """Generate a continuation and return all its events.

        Args:
            payload: That of `muse_web.generation_requests.new_run`.
            on_message: Called for each message with its kind, the seconds since the request, and its event.
        """
        return self.queued("generate", payload, on_message=on_message)

    def queued(
        self,
        name: str,
        *payload: Any,
        on_message: Callable[[str, float, dict[str, Any] | None], None] = lambda *_: None,
    ) -> list[Any]:
        """Call a queued function and return everything that it yields."""
        started = time.perf_counter()
        parts: list[Any] = []
        self._post(f"call/{name}", *payload)
        stream = f"{self._url}/queue/data?session_hash={self._key}"
        with urllib.request.urlopen(stream, timeout=600) as lines:
            for line in lines:
                if not line.startswith(b"data:"):
                    continue
                message = json.loads(line[5:])
                kind, data = message["msg"], (message.get("output") or {}).get("data")
                # The last event of a generator arrives a second time, with process_completed.
                is_part = kind == "process_generating" or (kind == "process_completed" and not parts)
                part = data[0] if data and is_part else None
                on_message(kind, time.perf_counter() - started, part)
                if part is not None:
                    parts.append(part)
                if kind in ("close_stream", "unexpected_error", "server_stopped"):
                    break
        return parts

    def fetch(self, path: str) -> bytes:
        """Fetch a file that `export` created."""
        with urllib.request.urlopen(f"{self._url}/file={path}", timeout=60) as answer:
            data: bytes = answer.read()
        return data

    def _post(self, path: str, *payload: Any) -> Any:
        body = json.dumps({"data": payload, "session_hash": self._key}).encode()
        request = urllib.request.Request(
            f"{self._url}/{path}", body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
