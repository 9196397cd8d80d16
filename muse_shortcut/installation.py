"""Inspects the installation: versions, devices and precisions, extras, shipped models. Changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import Any

from muse_shortcut.shipped import default_checkpoint
from muse_shortcut.version import __version__
from muse_tokenizers.plugins import BUILT_IN_DOMAINS

__all__ = ["Finding", "available_cores", "inspect_installation"]

_PACKAGES = ("torch", "numpy", "miditok", "symusic", "soundfile", "soxr", "encodec", "tokenizers", "gradio")
_EXTRAS = {
    "evaluate": ("sklearn", "a classifier that tells true music from generated"),
    "media": ("av", "reads m4a, AAC, webm and what else FFmpeg reads"),
}
"""Optional dependencies: their modules and purposes."""
_LEAST_FREE = 2**30
"""Space in bytes that the temporary folder should have: long traces and downloads are written there first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One item of the inspection."""

    group: str
    name: str
    value: str
    fix: str | None = None
    """How to fix it; None if nothing is wrong."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def inspect_installation() -> list[Finding]:
    """Inspect everything, most important items first."""
    return [*_versions(), *_devices(), *_extras(), *_models(), *_places()]


def _versions() -> list[Finding]:
    found = [
        Finding(group="versions", name="muse-shortcut", value=__version__),
        Finding(group="versions", name="python", value=platform.python_version()),
        Finding(group="versions", name="system", value=f"{platform.system()} {platform.machine()}"),
    ]
    for name in _PACKAGES:
        try:
            found.append(Finding(group="versions", name=name, value=version(name)))
        except PackageNotFoundError:
            wanted = next((one for one in requires("muse-shortcut") or [] if one.startswith(name)), name)
            found.append(Finding(group="versions", name=name, value="missing", fix=f"pip install '{wanted}'"))
    return found


def available_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    # macOS and Windows.
    return os.cpu_count() or 1


def _devices() -> list[Finding]:
    import torch

    cores = available_cores()
    kind = torch.backends.cpu.get_cpu_capability()
    precision = "float32; bfloat16 where muse-train finds it faster"
    found = [Finding(group="devices", name="cpu", value=f"{cores} cores, {kind}; {precision}")]
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            has_bfloat16 = torch.cuda.get_device_capability(number) >= (8, 0)
            value = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB; "
            found.append(
                Finding(
                    group="devices",
                    name=f"cuda:{number}",
                    value=value + ("bfloat16 and float32" if has_bfloat16 else "float32"),
                )
            )
    else:
        built = torch.version.cuda is not None
        why = "torch is built for it, and finds no NVIDIA driver" if built else "this build of torch has none"
        fix = None if not shutil.which("nvidia-smi") else "install a CUDA build of torch: make music CUDA=1"
        found.append(Finding(group="devices", name="cuda", value=f"no: {why}", fix=fix))
    found.append(
        Finding(group="devices", name="mps", value="yes; float32" if torch.backends.mps.is_available() else "no")
    )
    return [*found, _native_step()]


def _native_step() -> Finding:
    from muse_shortcut.native.compiling import ZIGLANG, is_supported
    from muse_shortcut.native.library import load_step, missing_step

    problem = missing_step()
    if problem is None:
        return Finding(group="devices", name="native step", value=f"yes: decodes with {load_step()[1]}")
    fix = f"pip install muse-shortcut again, where pip can get {ZIGLANG}" if is_supported() else None
    return Finding(group="devices", name="native step", value=f"no: {problem}; torch decodes", fix=fix)


def _extras() -> list[Finding]:
    found = []
    for name, (module, purpose) in _EXTRAS.items():
        there = find_spec(module) is not None
        fix = None if there else f"pip install 'muse-shortcut[{name}]' if you want it"
        found.append(Finding(group="extras", name=name, value=f"{'yes' if there else 'no'}: {purpose}", fix=fix))
    return found


def _models() -> list[Finding]:
    found = []
    for domain in BUILT_IN_DOMAINS:
        path = default_checkpoint(domain) / "model.safetensors"
        if path.is_file():
            value = f"{path.parent.name}, {path.stat().st_size / 2**20:.1f} MiB"
            found.append(Finding(group="models", name=domain, value=value))
        else:
            fix = "install muse-shortcut again: its wheel has the models"
            found.append(Finding(group="models", name=domain, value="missing", fix=fix))
    return found


def _places() -> list[Finding]:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    fix = None if free >= _LEAST_FREE else "free some space there, or set TMPDIR to another folder"
    return [Finding(group="places", name="temporary files", value=f"{folder}, {free / 2**30:.1f} GiB free", fix=fix)]
