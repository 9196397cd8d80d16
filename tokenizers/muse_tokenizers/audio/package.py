"""Imports the `encodec` package, whether or not torchaudio can be imported.

encodec 0.1.1 imports torchaudio, which cannot be loaded with a CPU-only torch (its wheel needs CUDA libraries). encodec
uses its file reading and resampling, which this project does elsewhere, and one spectrogram, which is torch.stft. So if
torchaudio cannot be imported, a stub replaces it while encodec is imported.
"""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from threading import Lock
from typing import Any

__all__ = ["import_encodec"]

_LOCK = Lock()


def import_encodec() -> Any:
    """Import and return the module `encodec`, including `encodec.msstftd`."""
    with _LOCK:
        if "encodec.msstftd" in sys.modules:
            return sys.modules["encodec"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            stands_in = not _has_torchaudio()
            if stands_in:
                sys.modules.update(_stub_modules())
            try:
                importlib.import_module("encodec.msstftd")
                return importlib.import_module("encodec")
            finally:
                if stands_in:
                    for name in _stub_modules():
                        sys.modules.pop(name, None)


def _has_torchaudio() -> bool:
    before = set(sys.modules)
    try:
        importlib.import_module("torchaudio.transforms")
    except Exception:  # a wheel for another torch fails in various ways
        # It may have been partly imported.
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "torchaudio":
                del sys.modules[name]
        return False
    return True


def _stub_modules() -> dict[str, types.ModuleType]:
    torchaudio, transforms = types.ModuleType("torchaudio"), types.ModuleType("torchaudio.transforms")
    transforms.Spectrogram = _spectrogram  # type: ignore[attr-defined]
    torchaudio.transforms = transforms  # type: ignore[attr-defined]
    return {"torchaudio": torchaudio, "torchaudio.transforms": transforms}


def _spectrogram(*, n_fft: int, hop_length: int, win_length: int, window_fn: Any, normalized: bool, **_: object) -> Any:
    """The part of torchaudio.transforms.Spectrogram that encodec uses: complex, not centred, divided by the norm of the
    window."""
    import torch

    class Spectrogram(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("window", window_fn(win_length))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            window: torch.Tensor = self.window  # type: ignore[assignment]
            spectrum = torch.stft(
                x.flatten(0, -2), n_fft, hop_length, win_length, window, center=False, return_complex=True
            )
            spectrum = spectrum.view(*x.shape[:-1], *spectrum.shape[-2:])
            return spectrum / window.pow(2).sum().sqrt() if normalized else spectrum

    return Spectrogram()
