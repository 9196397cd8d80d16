"""Builds a soundfont with one sample in a few hundred bytes, by the SoundFont standard (2.04, sections 4 to 7)."""

from __future__ import annotations

from struct import pack

import numpy as np

__all__ = ["small_soundfont"]

_SAMPLES = 600
_GUARD = 46
"""Number of silent samples that the standard requires after every sample."""
_SAMPLE_ID, _SAMPLE_MODES, _INSTRUMENT = 53, 54, 41


def small_soundfont(*, start: int = 0, end: int = _SAMPLES, sample: int = 0) -> bytes:
    """Return a soundfont with a looped sine on every key of program 0.

    Args:
        start: Start of the sample in its header.
        end: End of the sample in its header.
        sample: Index of the sample that the instrument refers to; there is one sample.
    """
    wave = np.concatenate([np.sin(np.arange(_SAMPLES) * 2 * np.pi / 100), np.zeros(_GUARD)])
    smpl = (wave * 20_000).astype("<i2").tobytes()
    records = {
        b"phdr": pack("<20sHHHIII", b"small", 0, 0, 0, 0, 0, 0) + pack("<20sHHHIII", b"EOP", 0, 0, 1, 0, 0, 0),
        b"pbag": pack("<HH", 0, 0) + pack("<HH", 1, 0),
        b"pmod": bytes(10),
        b"pgen": pack("<HH", _INSTRUMENT, 0) + bytes(4),
        b"inst": pack("<20sH", b"small", 0) + pack("<20sH", b"EOI", 1),
        b"ibag": pack("<HH", 0, 0) + pack("<HH", 2, 0),
        b"imod": bytes(10),
        b"igen": pack("<HH", _SAMPLE_MODES, 1) + pack("<HH", _SAMPLE_ID, sample) + bytes(4),
        b"shdr": pack("<20sIIIIIBbHH", b"small", start, end, start + 100, end - 100, 44_100, 69, 0, 0, 1)
        + pack("<20sIIIIIBbHH", b"EOS", 0, 0, 0, 0, 0, 0, 0, 0, 0),
    }
    info = _chunk(b"ifil", pack("<HH", 2, 1)) + _chunk(b"isng", b"EMU8000\0") + _chunk(b"INAM", b"small\0")
    body = b"sfbk"
    body += _chunk(b"LIST", b"INFO" + info)
    body += _chunk(b"LIST", b"sdta" + _chunk(b"smpl", smpl))
    body += _chunk(b"LIST", b"pdta" + b"".join(_chunk(name, data) for name, data in records.items()))
    return _chunk(b"RIFF", body)


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
