"""Visitors of the page without a browser: their requests and runs, and unpacking of arrays."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.files import make_folder
from muse_web.checkpoint_registry import CheckpointRegistry
from muse_web.generation_requests import new_run, new_source
from muse_web.session import Limits, Run, Source, Visitor
from muse_web.streaming import generate
from muse_web.uploads import Uploads

DOMAINS = ("midi", "audio", "text")
EXAMPLES: dict[str, dict[str, Any]] = {
    "midi": {"example": "bach-prelude", "length": 7.0, "amount": 3.0},
    "audio": {"example": "bach-fugue", "length": 2.0, "amount": 1.2},
    "text": {"example": "garden", "length": 90, "amount": 60},
}
"""Example, prompt length and amount per domain: small, but long enough to inspect."""


@cache
def registry() -> CheckpointRegistry:
    """Return the registry of the shipped checkpoints."""
    return CheckpointRegistry(None, "cpu")


@dataclass
class Visit:
    """One visitor with their limits."""

    visitor: Visitor
    uploads: Uploads
    limits: Limits
    registry: CheckpointRegistry

    def open(self, **payload: Any) -> Source:
        return new_source(self.visitor, self.registry, self.limits, payload, self.uploads)

    def ask(self, **payload: Any) -> Run:
        return new_run(self.visitor, self.registry, self.limits, payload)

    def example(self, domain: str, **how: Any) -> Run:
        """Return a run that continues a shipped example, before generation."""
        payload = EXAMPLES[domain] | {"domain": domain, "seed": 3} | how
        return self.ask(**payload, source=self.open(**payload).id)

    def generate(self, run: Run) -> list[dict[str, Any]]:
        """Return all events of a run."""
        return list(generate(run, self.visitor))

    def finished(self, domain: str, **how: Any) -> Run:
        run = self.example(domain, **how)
        assert self.generate(run)[-1]["type"] == "done"
        return run

    def upload(self, data: bytes, name: str = "piece.mid") -> str:
        """Store a file as an upload, and return its path."""
        self.uploads.begin()
        path = make_folder(self.uploads.folder / hashlib.sha256(data).hexdigest()) / name
        path.write_bytes(data)
        self.uploads.end([str(path)])
        return str(path)


def visit(folder: Path, shelf_: CheckpointRegistry | None = None, **limits: Any) -> Visit:
    """Return a visitor with a folder of their own."""
    visitor = Visitor(folder=make_folder(folder / "visitors" / "one"))
    return Visit(visitor, Uploads(make_folder(folder / "uploads")), Limits(**limits), shelf_ or registry())


def unpacked(view: dict[str, Any]) -> NDArray[Any]:
    """Unpack an array that was sent to the page."""
    flat = np.frombuffer(base64.b64decode(view["data"], validate=True), dtype=np.dtype(f"<{view['kind']}"))
    return flat.reshape(view["shape"])
