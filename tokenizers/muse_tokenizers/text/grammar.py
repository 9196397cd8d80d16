"""The grammar of text: which ids are allowed next, so that the text is well-formed UTF-8 and ends between two
characters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Grammar, Ids
from muse_tokenizers.text.utf8 import ILL, WHOLE

__all__ = ["TextGrammar"]


class TextGrammar(Grammar):
    """The grammar for C candidates. If a length is requested, a candidate continues until it is exceeded; otherwise it
    may end."""

    def __init__(
        self,
        *,
        state: int,
        candidates: int,
        leads_to: NDArray[np.int8],
        lengths: NDArray[np.int64],
        pad: int,
        end: int,
        requested: int | None,
    ) -> None:
        """
        Args:
            state: State of UTF-8 after the prompt.
            candidates: Number of candidates C.
            leads_to: (STATES, V) next states, including special ids, which lead to no state.
            lengths: (V,) length of each id in bytes.
            pad: The padding id.
            end: The end id.
            requested: Requested length in bytes; None if there is none.
        """
        self._leads_to, self._lengths, self._pad, self._end, self._requested = leads_to, lengths, pad, end, requested
        self._state = np.full(candidates, state, dtype=np.int64)
        self.finished = np.zeros(candidates, dtype=bool)
        self.elapsed = np.zeros(candidates)
        self.complete = self._state == WHOLE

    def allowed(self) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = self._leads_to[self._state] != ILL
        if self._requested is None:
            mask[:, self._end] = self._state == WHOLE
        mask[self.finished] = False
        mask[self.finished, self._pad] = True
        return mask[:, None]

    def advance(self, ids: Ids) -> None:
        goes_on = ~self.finished
        self.finished |= ids[:, 0] == self._end
        goes_on &= ~self.finished
        self._state[goes_on] = self._leads_to[self._state[goes_on], ids[goes_on, 0]]
        self.elapsed[goes_on] += self._lengths[ids[goes_on, 0]]
        if self._requested is not None:
            self.finished |= self.elapsed > self._requested
        self.complete = (self._state == WHOLE) & ~self.finished
