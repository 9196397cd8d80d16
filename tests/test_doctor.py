"""Promises of muse-doctor and `python -m muse_shortcut`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import RunCommand

import muse_shortcut.installation as installation
from muse_shortcut.__main__ import _SUMMARIES, _commands

ROOT = Path(__file__).parents[1]


def test_the_doctor_names_versions_devices_extras_and_models(run: RunCommand) -> None:
    found = run("doctor")
    assert found.code == 0
    assert found.out.endswith("everything that is needed is installed\n")
    for group in ("versions", "devices", "extras", "models", "places"):
        assert f"{group}\n" in found.out
    names = {(one["group"], one["name"]) for one in json.loads(run("doctor", "--json").out)}
    assert {("versions", "torch"), ("devices", "cpu"), ("models", "midi"), ("extras", "media")} <= names


def test_missing_parts_are_listed_with_how_to_install_them(run: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_PACKAGES", ("torch", "no-such-package"))
    monkeypatch.setattr(installation, "find_spec", lambda _: None)
    found = run("doctor")
    assert found.code == 1
    assert "pip install 'no-such-package'" in found.out
    assert "pip install 'muse-shortcut[evaluate]' if you want it" in found.out
    assert found.out.endswith("something is missing\n")


def test_every_hint_installs_an_extra_in_the_one_way_that_works_everywhere() -> None:
    folders = ("muse_shortcut", "tokenizers", "web")
    files = [*ROOT.glob("docs/*.md"), *(file for one in folders for file in (ROOT / one).rglob("*.py"))]
    hints = {
        hint
        for file in files
        for hint in re.findall(r"pip install '?([\w.-]*\[\w+\])", file.read_text(encoding="utf-8"))
    }
    # A path is right in the checkout alone; from an index nothing is fetched where muse-shortcut is installed.
    assert hints == {f"muse-shortcut[{extra}]" for extra in ("media", "evaluate", "bench", "dev")}


def _module(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "muse_shortcut", *words], capture_output=True, text=True, check=False)


def test_every_command_has_a_summary_and_is_listed() -> None:
    assert set(_commands()) <= set(_SUMMARIES)
    listed = _module().stdout
    assert all(f"\n  {name} " in listed for name in _commands())


def test_the_module_runs_a_command_and_refuses_others() -> None:
    assert "usage: muse-export" in _module("export", "--help").stdout
    assert _module("--version").stdout == f"muse_shortcut {version('muse-shortcut')}\n"
    found = _module("continue")
    assert found.returncode == 2
    assert found.stderr.startswith("muse_shortcut: no command 'continue'; allowed: bench, ")
