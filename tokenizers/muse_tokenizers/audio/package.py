"""The `encodec` package, whether or not torchaudio loads.

encodec 0.1.1 imports torchaudio, which beside a CPU-only torch does not load (its wheel wants CUDA's libraries). It
needs of it file reading and resampling, which is done elsewhere here, and one spectrogram, which is torch.stft. So
where torchaudio does not import, a stand-in takes its place while encodec is imported, and is taken away again.
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
    """The module `encodec`, with `encodec.msstftd` imported too."""
    with _LOCK:
        if "encodec.msstftd" in sys.modules:
            return sys.modules["encodec"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            stands_in = not _has_torchaudio()
            if stands_in:
                sys.modules.update(_stand_in())
            try:
                importlib.import_module("encodec.msstftd")
                return importlib.import_module("encodec")
            finally:
                if stands_in:
                    for name in _stand_in():
                        sys.modules.pop(name, None)


def _has_torchaudio() -> bool:
    before = set(sys.modules)
    try:
        importlib.import_module("torchaudio.transforms")
    except Exception:  # a wheel for another torch fails in more ways than one
        # Half of it may have been imported before it failed.
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "torchaudio":
                del sys.modules[name]
        return False
    return True


def _stand_in() -> dict[str, types.ModuleType]:
    torchaudio, transforms = types.ModuleType("torchaudio"), types.ModuleType("torchaudio.transforms")
    transforms.Spectrogram = _spectrogram  # type: ignore[attr-defined]
    torchaudio.transforms = transforms  # type: ignore[attr-defined]
    return {"torchaudio": torchaudio, "torchaudio.transforms": transforms}


def _spectrogram(*, n_fft: int, hop_length: int, win_length: int, window_fn: Any, normalized: bool, **_: object) -> Any:
    """What encodec asks of torchaudio.transforms.Spectrogram: complex, not centred, divided by the window's norm."""
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
