"""The grammar of sound: which ids are allowed next (codes, padding at the edges of the delay pattern, and codes that
the prompt determines)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Grammar, Ids

__all__ = ["AudioGrammar"]

_ENDLESS = 2**62


class AudioGrammar(Grammar):
    """The grammar for C candidates. If a length is requested, a candidate continues until it is reached; otherwise the
    first stream may end, and each other stream ends after its delay."""

    def __init__(
        self,
        *,
        steps: int,
        partial_frames: Ids,
        candidates: int,
        vocabulary_size: int,
        codes: int,
        pad: int,
        end: int,
        frame_rate: float,
        seconds: float | None,
    ) -> None:
        """
        Args:
            steps: Number of steps of the prompt, without begin.
            partial_frames: (B, K) known ids of the next steps; -1 for unknown ones.
            candidates: Number of candidates C.
            vocabulary_size: V.
            codes: Number of ids that are codes, from 0.
            pad: The padding id.
            end: The end id.
            frame_rate: Frames per second.
            seconds: Requested length in seconds; None if there is none.
        """
        self._steps, self._partial_frames, self._candidates = steps, partial_frames, candidates
        self._vocabulary_size, self._codes, self._pad, self._end = vocabulary_size, codes, pad, end
        self._frame_rate, self._seconds = frame_rate, seconds
        streams = partial_frames.shape[1]
        # All codes of partial frames belong to the prompt.
        self._given = steps - (streams - 1) + len(partial_frames)
        self._new = 0
        self._frames = np.full(candidates, _ENDLESS)
        """Number of frames of the sound, once the first stream has ended."""
        self.complete = np.ones(candidates, dtype=bool)
        self.finished = np.zeros(candidates, dtype=bool)
        self.elapsed = np.zeros(candidates)

    def allowed(self) -> NDArray[np.bool_]:
        streams, step = self._partial_frames.shape[1], self._steps + self._new
        mask = np.zeros((self._candidates, streams, self._vocabulary_size), dtype=bool)
        for stream in range(streams):
            known = self._partial_frames[self._new, stream] if self._new < len(self._partial_frames) else -1
            if step < stream:
                mask[:, stream, self._pad] = True
            elif known >= 0:
                mask[:, stream, known] = True
            else:
                mask[:, stream, : self._codes] = True
            over = step - stream >= self._frames
            mask[over, stream] = False
            mask[over, stream, self._end] = True
        if self._seconds is None and step > 0:
            mask[:, 0, self._end] = True
        mask[self.finished] = False
        mask[self.finished, :, self._pad] = True
        return mask

    def advance(self, ids: Ids) -> None:
        self._frames[(ids[:, 0] == self._end) & (self._frames == _ENDLESS)] = self._steps + self._new
        self.finished |= (ids == self._end).all(axis=1)
        self._new += 1
        frames = np.minimum(self._steps + self._new - (self._partial_frames.shape[1] - 1), self._frames)
        self.elapsed = np.maximum(frames - max(self._given, 0), 0) / self._frame_rate
        if self._seconds is not None:
            # Round up with a tolerance: 0.1 s are 7.5 frames, which need 8.
            self.finished |= self.elapsed > self._seconds + 1e-9
        self.complete = ~self.finished
