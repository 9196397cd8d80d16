"""The page from outside, for measuring and testing: `muse-web` as a process, a real browser, visitors without one."""

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

__all__ = ["Caller", "Process", "browsing", "chromium", "serving"]

_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Nobody clicks here, and sound should begin all the same.
    "--autoplay-policy=no-user-gesture-required",
    # A microphone that beeps.
    "--use-fake-device-for-media-stream",
)


def chromium() -> str | None:
    """Where a Chromium is, None if there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def browsing() -> Iterator[Any]:
    """A headless browser of playwright's.

    Raises:
        ArgumentsError: playwright or Chromium is not there.
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
    """A `muse-web` that runs."""

    process: subprocess.Popen[str]
    url: str
    """Without a slash at its end."""
    log: Path
    """What it wrote to standard error."""


@contextlib.contextmanager
def serving(folder: Path, *words: str) -> Iterator[Process]:
    """`muse-web` with some options, on a port that is free.

    Args:
        folder: for its temporary files and what it says.
        words: options.
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


class Caller:
    """A visitor without a browser, who speaks as the page's scripts do."""

    def __init__(self, url: str) -> None:
        self._url, self._key = f"{url}/gradio_api", secrets.token_hex(16)

    def call(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        """One of the functions that answer at once."""
        found: dict[str, Any] = self._post(f"run/{name}", asked)["data"][0]
        return found

    def open(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Have a prompt read, as of `muse_web.generation_requests.new_source`."""
        found: dict[str, Any] = self.queued("open", asked)[-1]
        return found

    def grow(
        self, asked: dict[str, Any], hear: Callable[[str, float, dict[str, Any] | None], None] = lambda *_: None
    ) -> list[dict[str, Any]]:
        """Have a continuation written -> all its parts.

        Args:
            asked: as of `muse_web.generation_requests.new_run`.
            hear: told of each message as it comes: its kind, the seconds since it was asked for, and its part.
        """
        return self.queued("grow", asked, hear=hear)

    def queued(
        self, name: str, *asked: Any, hear: Callable[[str, float, dict[str, Any] | None], None] = lambda *_: None
    ) -> list[Any]:
        """A function that waits its turn -> all that it says."""
        started = time.perf_counter()
        parts: list[Any] = []
        self._post(f"call/{name}", *asked)
        stream = f"{self._url}/queue/data?session_hash={self._key}"
        with urllib.request.urlopen(stream, timeout=600) as lines:
            for line in lines:
                if not line.startswith(b"data:"):
                    continue
                message = json.loads(line[5:])
                kind, data = message["msg"], (message.get("output") or {}).get("data")
                # What is written in parts ends with the last one once more.
                said = kind == "process_generating" or (kind == "process_completed" and not parts)
                part = data[0] if data and said else None
                hear(kind, time.perf_counter() - started, part)
                if part is not None:
                    parts.append(part)
                if kind in ("close_stream", "unexpected_error", "server_stopped"):
                    break
        return parts

    def fetch(self, path: str) -> bytes:
        """A file that `take` made."""
        with urllib.request.urlopen(f"{self._url}/file={path}", timeout=60) as answer:
            data: bytes = answer.read()
        return data

    def _post(self, path: str, *asked: Any) -> Any:
        body = json.dumps({"data": asked, "session_hash": self._key}).encode()
        request = urllib.request.Request(
            f"{self._url}/{path}", body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
