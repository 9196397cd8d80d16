"""Arrays in .npy files, mapped. A damaged heading is refused, and can ask for no more memory than there are bytes."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["map_array", "read_heading"]


def map_array(path: Path) -> NDArray[Any]:
    """The array of a file, in C order, read where it is looked at.

    Raises:
        OSError: there is no such file.
        ValueError: it is no array, or one of objects; the message names the file without its folder.
    """
    with path.open("rb") as file:
        shape, dtype = read_heading(file, path.name, path.stat().st_size)
        start = file.tell()
    # Nothing cannot be mapped.
    return np.memmap(path, dtype, "r", start, shape) if math.prod(shape) else np.zeros(shape, dtype)


def read_heading(file: IO[bytes], name: str, size: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array in C order, from the beginning of what should be its file, `size` bytes long.

    Raises:
        ValueError: it is no array, or not as long as its heading says.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"its format is {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            # Of a heading that Python 2 may have written.
            warnings.simplefilter("ignore", UserWarning)
            shape, fortran, dtype = read(file)
    # The heading is an expression of Python, which can be wrong in all of Python's ways.
    except (ValueError, TypeError, LookupError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{name} is no array: {reason}") from error
    if (fortran and len(shape) > 1) or dtype.hasobject or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"{name} is {dtype} {shape}, columns first: {fortran}; allowed: numbers, rows first")
    if file.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{name} is {dtype} {shape}, which does not take the {size:,} bytes that it has")
    return shape, dtype
