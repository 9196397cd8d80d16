"""Promises of the build: the native step compiles for every system it is made for, once, and no build fails without."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import muse_shortcut.native.compiling as compiling
from muse_shortcut.native.compiling import ZIGLANG, CompilationError, compile_step, library_path

ROOT = Path(__file__).parents[1]
_WITH_COMPILER = pytest.mark.skipif(
    find_spec("ziglang") is None and "CI" not in os.environ, reason="the compiler is missing: pip install ziglang"
)


@_WITH_COMPILER
@pytest.mark.parametrize(
    ("system", "machine", "begins", "ends"),
    [
        ("linux", "x86_64", b"\x7fELF\x02", ".so"),
        ("linux", "aarch64", b"\x7fELF\x02", ".so"),
        ("darwin", "arm64", b"\xcf\xfa\xed\xfe", ".dylib"),
        ("win32", "amd64", b"MZ", ".dll"),
    ],
)
def test_it_compiles_for_every_system(system: str, machine: str, begins: bytes, ends: str, tmp_path: Path) -> None:
    earlier, other = tmp_path / f"step-000000000000-{machine}{ends}", tmp_path / "step-000000000000-sparc.so"
    for path in (earlier, other):
        path.write_bytes(b"")
    path = compile_step(tmp_path, system, machine)
    assert path.name.endswith(f"-{machine}{ends}")
    content = path.read_bytes()
    assert content.startswith(begins)
    variants = ("any", "avx2", "avx512") if machine in ("x86_64", "amd64") else ("any",)
    assert all(f"muse_step_{variant}".encode() in content for variant in variants)
    assert (b"/usr/lib/libSystem" in content) is (system == "darwin")
    assert sorted(tmp_path.iterdir()) == sorted([path, other])


def test_what_is_compiled_is_not_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = library_path(tmp_path, "linux", "x86_64")
    path.write_bytes(b"there")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it was compiled"))
    assert compile_step(tmp_path, "linux", "x86_64") == path
    assert path.read_bytes() == b"there"


@_WITH_COMPILER
def test_what_fails_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_FLAGS", ("-std=no-such-standard",))
    with pytest.raises(CompilationError, match=r"the compiler failed: .*no-such-standard") as failed:
        compile_step(tmp_path, "linux", "x86_64")
    assert "\n" not in str(failed.value)
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_or_for_another_machine_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CompilationError, match="no native step for sunos5 on sparc"):
        compile_step(tmp_path, "sunos5", "sparc")
    monkeypatch.setattr(compiling, "find_spec", lambda _: None)
    with pytest.raises(CompilationError, match=f"pip install '{ZIGLANG}'"):
        compile_step(tmp_path, "linux", "x86_64")


def test_the_compiler_is_the_pinned_one() -> None:
    assert ZIGLANG in (ROOT / "constraints.txt").read_text().splitlines()
    assert f'"{ZIGLANG}"' in (ROOT / "pyproject.toml").read_text()


class _Application:
    """What hatchling gives a hook to speak with."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def display_warning(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def hook(tmp_path: Path) -> Any:
    """The hook on a checkout in which nothing was compiled."""
    folder = tmp_path / "muse_shortcut" / "native"
    folder.mkdir(parents=True)
    for name in ("compiling.py", "step.c", "vectors.h"):
        shutil.copy(ROOT / "muse_shortcut" / "native" / name, folder)
    specification = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert specification is not None
    assert specification.loader is not None
    module: ModuleType = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.NativeStepHook(str(tmp_path), {}, None, None, "", "wheel", _Application())


@_WITH_COMPILER
def test_an_editable_install_has_the_step_beside_its_source_and_a_wheel_carries_it(hook: Any, tmp_path: Path) -> None:
    if not compiling.is_supported():
        pytest.skip("there is no native step for this machine")
    assert hook.dependencies() == [ZIGLANG]
    editable: dict[str, Any] = {"force_include": {}}
    hook.initialize("editable", editable)
    path = library_path(tmp_path / "muse_shortcut" / "native")
    assert path.is_file()
    assert editable == {"force_include": {}}
    assert hook.dependencies() == []
    wheel: dict[str, Any] = {"force_include": {}}
    hook.initialize("standard", wheel)
    assert wheel["force_include"] == {str(path): f"muse_shortcut/native/{path.name}"}
    assert wheel["pure_python"] is False
    assert wheel["tag"].startswith("py3-none-")
    assert not hook.app.warnings


def test_without_a_compiler_the_build_goes_on_and_says_so(hook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ziglang" else find(name))
    build: dict[str, Any] = {"force_include": {}}
    hook.initialize("standard", build)
    assert build == {"force_include": {}}
    [warning] = hook.app.warnings
    assert warning.startswith("without the native decoding step: ")
