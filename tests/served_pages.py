"""The browser that tests of the page need."""

from __future__ import annotations

import os

import pytest

from muse_web.driving import chromium

__all__ = ["require_chromium"]


def require_chromium() -> None:
    """Without a Chromium a test is left out, but never under CI."""
    if chromium() is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium: .ci/run installs it")
        pytest.skip("no Chromium on this machine: apt-get install chromium")
