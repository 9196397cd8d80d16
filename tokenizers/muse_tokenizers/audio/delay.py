"""The delay pattern: of K codes of a frame the k-th is said k steps later, so that one step says one code of each.

    frame      0 1 2 3              step       0 1 2 3 4 5
    codebook 0 a b c d     ->       stream 0   a b c d ! !
    codebook 1 e f g h              stream 1   . e f g h !
    codebook 2 i j k l              stream 2   . . i j k l

Source: Copet et al. 2023, arXiv 2306.05284. Before its first code a stream says the padding id (.), after its last one
the end (!), so that the end is learned where it is decided: at the step at which the first stream has no more to say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Ids

__all__ = ["delayed", "undelayed"]


def delayed(codes: Ids, pad: int, end: int) -> Ids:
    """(F, K) codes -> (F + K - 1, K) steps; no steps for no frames.

    >>> delayed(np.array([[1, 2], [3, 4]]), 0, 9).tolist()
    [[1, 0], [3, 2], [9, 4]]
    """
    frames, streams = codes.shape
    steps = np.full((frames + streams - 1 if frames else 0, streams), pad, dtype=np.int64)
    for stream in range(streams if frames else 0):
        steps[stream : stream + frames, stream] = codes[:, stream]
        steps[stream + frames :, stream] = end
    return steps


def undelayed(steps: Ids, is_code: NDArray[np.bool_]) -> Ids:
    """(T, K) steps from the first frame on -> (F, K) codes: the frames of which all codes are there.

    Args:
        steps: with anything where nothing is said.
        is_code: (T, K).
    """
    total, streams = steps.shape
    whole = np.ones(max(total - streams + 1, 0), dtype=bool)
    for stream in range(streams):
        whole &= is_code[stream : stream + len(whole), stream]
    # A frame that lacks one ends the sound: what comes after it could not be placed.
    frames = len(whole) if whole.all() else int(np.argmin(whole))
    columns = [steps[stream : stream + frames, stream] for stream in range(streams)]
    codes: Ids = np.stack(columns, axis=1) if frames else np.zeros((0, streams), dtype=np.int64)
    return codes
