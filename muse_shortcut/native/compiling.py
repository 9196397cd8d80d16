"""Compiles step.c with the C compiler of the package ziglang, for this machine or another.

hatch_build.py loads this file by its path while pip builds, so it imports nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

__all__ = ["ZIGLANG", "CompilationError", "compile_step", "is_supported", "library_path"]

ZIGLANG = "ziglang==0.17.1"
"""The compiler as a requirement, pinned so that the same source is the same library everywhere."""
_SOURCE = Path(__file__).with_name("step.c")
_DIGESTED = (_SOURCE, _SOURCE.with_name("vectors.h"), Path(__file__))
_X86_64 = {"any": "x86_64", "avx2": "x86_64_v3", "avx512": "x86_64_v4"}
_TARGETS: dict[tuple[str, str], tuple[str, dict[str, str]]] = {
    ("linux", "x86_64"): ("x86_64-linux-gnu.2.17", _X86_64),
    ("linux", "aarch64"): ("aarch64-linux-gnu.2.17", {"any": "generic"}),
    ("darwin", "arm64"): ("aarch64-macos.11.0", {"any": "apple_m1"}),
    ("win32", "amd64"): ("x86_64-windows-gnu", _X86_64),
}
"""By system and machine: the target, and the processor of each variant of the step."""
_FLAGS = (
    *("-std=gnu11", "-O3", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"),
    # Without it a square root may call the C library, to set an error number.
    "-fno-math-errno",
    *("-fno-sanitize=all", "-g0"),
)
_SUFFIXES = {"darwin": ".dylib", "win32": ".dll"}


class CompilationError(Exception):
    """The step could not be compiled; the message is one line."""


def _machine() -> str:
    return platform.machine().lower()


def is_supported(system: str = sys.platform, machine: str | None = None) -> bool:
    """Whether the step can be compiled for a system and a machine; None for this one."""
    return (system, machine or _machine()) in _TARGETS


def library_path(folder: Path = _SOURCE.parent, system: str = sys.platform, machine: str | None = None) -> Path:
    """Return the path of the library for a system and a machine, which need not exist.

    Its name has the digest of the source and of how it is compiled, so that no other library is ever loaded.
    """
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in _DIGESTED)).hexdigest()[:12]
    return folder / f"step-{digest}-{machine or _machine()}{_SUFFIXES.get(system, '.so')}"


def compile_step(folder: Path = _SOURCE.parent, system: str = sys.platform, machine: str | None = None) -> Path:
    """Compile the library for a system and a machine, unless it is there, and remove earlier ones from its folder.

    Raises:
        CompilationError: There is no compiler, it does not know the machine, or it failed.
    """
    path = library_path(folder, system, machine)
    if path.is_file():
        return path
    if not is_supported(system, machine):
        raise CompilationError(f"there is no native step for {system} on {machine or _machine()}")
    if find_spec("ziglang") is None:
        raise CompilationError(f"the compiler is missing: pip install '{ZIGLANG}'")
    target, variants = _TARGETS[system, machine or _machine()]
    with tempfile.TemporaryDirectory() as scratch:
        environment = os.environ | dict.fromkeys(("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"), scratch)
        compiler = [sys.executable, "-m", "ziglang", "cc", "-target", target]

        def call(*words: str) -> None:
            done = subprocess.run([*compiler, *words], env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = next((line for line in done.stderr.splitlines() if "error" in line), f"code {done.returncode}")
                raise CompilationError(f"the compiler failed: {reason.strip()}")

        objects: list[str] = []
        for name, processor in variants.items():
            objects.append(str(Path(scratch, f"{name}.o")))
            wide = [] if len(variants) == 1 else ["-mprefer-vector-width=512"]
            entry = [] if objects[1:] else ["-DMUSE_ENTRY"]
            kind = entry if system == "win32" else ["-fPIC"]
            named = [f"-mcpu={processor}", f"-DMUSE_STEP=muse_step_{name}"]
            call(*_FLAGS, *wide, *kind, *named, "-c", str(_SOURCE), "-o", objects[-1])
        linked = Path(scratch, path.name)
        # macOS loads no library that is linked to nothing.
        alone = [] if system == "darwin" else ["-nostdlib"]
        call(*alone, "-shared", "-s", *objects, "-o", str(linked))
        for earlier in folder.glob("step-*-*"):
            if earlier.suffix == path.suffix and earlier.stem.endswith(path.stem.rpartition("-")[2]):
                earlier.unlink()
        _place(linked, path)
    return path


def _place(linked: Path, path: Path) -> None:
    """Move a library to its place in one step: another process may be loading it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(linked.read_bytes())
    partial.replace(path)
