"""The delay pattern: code k of a frame is emitted k steps later, so that each step has one code of each codebook.

    frame      0 1 2 3              step       0 1 2 3 4 5
    codebook 0 a b c d     ->       stream 0   a b c d ! !
    codebook 1 e f g h              stream 1   . e f g h !
    codebook 2 i j k l              stream 2   . . i j k l

Source: Copet et al. 2023, arXiv 2306.05284. Before its first code a stream has the padding id (.), and after its last
one the end id (!), so that the model learns the end at the step at which the first stream ends.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.base import Ids

__all__ = ["delayed", "undelayed"]


def delayed(codes: Ids, pad: int, end: int) -> Ids:
    """Apply the delay pattern: (F, K) codes -> (F + K - 1, K) steps; no frames give no steps.

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
    """Undo the delay pattern: (T, K) steps from the first frame on -> (F, K) codes of the complete frames.

    Args:
        steps: (T, K) ids; values that are not codes are ignored.
        is_code: (T, K), which ids are codes.
    """
    total, streams = steps.shape
    whole = np.ones(max(total - streams + 1, 0), dtype=bool)
    for stream in range(streams):
        whole &= is_code[stream : stream + len(whole), stream]
    # An incomplete frame ends the sound: later ones could not be placed.
    frames = len(whole) if whole.all() else int(np.argmin(whole))
    columns = [steps[stream : stream + frames, stream] for stream in range(streams)]
    codes: Ids = np.stack(columns, axis=1) if frames else np.zeros((0, streams), dtype=np.int64)
    return codes
