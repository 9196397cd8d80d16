"""Serves the page on a port, with a temporary folder that is deleted afterwards."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from muse_shortcut.errors import ArgumentsError
from muse_web.session import Limits
from muse_web.uploads import CountUploads, Uploads

if TYPE_CHECKING:
    from muse_web.endpoints import Api

__all__ = ["Served", "Serving", "serve"]

_SWEEP_PERIOD = 15.0
"""Seconds between two removals of expired visitors and uploads."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Configuration of the server."""

    host: str = "127.0.0.1"
    port: int | None = None
    """None selects the first free port from 7860 on."""
    share: bool = False
    username: str | None = None
    password: str | None = None
    checkpoints: Path | None = None
    device: str = "auto"
    at_once: int = 1
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True)
class Served:
    """Addresses of the page."""

    url: str
    share_url: str | None


def _require_free(host: str, port: int | None) -> None:
    """Check that the address is free before anything is loaded."""
    try:
        with socket.create_server((host, port or 0)):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        where = f"--host {host}" if port is None else f"--host {host} --port {port}"
        raise ArgumentsError(f"{where}: {reason}; allowed: one of this machine's that is free") from error


@contextmanager
def serve(serving: Serving) -> Iterator[Served]:
    """Serve the page while the context is open.

    Raises:
        ArgumentsError: The port is in use, or a setting is invalid.
        CheckpointError: A shipped checkpoint is damaged.
    """
    _require_free(serving.host, serving.port)
    with tempfile.TemporaryDirectory(prefix="muse-web-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        uploads = folder / "uploads"
        uploads.mkdir()
        # Gradio reads these when it is imported, and when a file is uploaded.
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        from starlette.middleware import Middleware
        from starlette.routing import Mount
        from starlette.staticfiles import StaticFiles

        from muse_web.checkpoint_registry import CheckpointRegistry
        from muse_web.endpoints import Api
        from muse_web.page import STATIC, make_page, make_theme

        registry = CheckpointRegistry(serving.checkpoints, serving.device)
        # Inside Gradio's folder: files elsewhere would be copied there when they are fetched, and kept.
        visitors = uploads / "visitors"
        api = Api(registry, visitors, Uploads(uploads), serving.limits, serving.at_once)
        page = make_page(api)
        auth = (serving.username, serving.password) if serving.username and serving.password else None
        try:
            _, url, share_url = page.launch(
                server_name=serving.host,
                server_port=serving.port,
                share=serving.share,
                auth=auth,
                quiet=True,
                show_error=True,
                prevent_thread_lock=True,
                inbrowser=False,
                ssr_mode=False,
                max_file_size=serving.limits.upload_bytes,
                allowed_paths=[str(visitors)],
                footer_links=[],
                theme=make_theme(),
                css_paths=[STATIC / "muse.css"],
                app_kwargs={
                    "routes": [Mount("/muse-static", StaticFiles(directory=STATIC))],
                    "middleware": [Middleware(CountUploads, uploads=api.uploads)],
                },
            )
        except OSError as error:
            raise ArgumentsError(f"--host {serving.host}: {error}") from error
        ended = threading.Event()
        threading.Thread(target=_sweep, args=(api, ended), daemon=True).start()
        try:
            yield Served(url=url, share_url=share_url)
        finally:
            ended.set()
            page.close(verbose=False)


def _sweep(api: Api, ended: threading.Event) -> None:
    while not ended.wait(_SWEEP_PERIOD):
        api.visitors.sweep()
        api.uploads.sweep(api.limits.waiting_seconds, api.limits.waiting_bytes)
