"""Memory-mapped .npy files. A damaged header is refused, and cannot request more memory than the file has bytes."""

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
    """Map the array of a file, in C order; pages are read when they are accessed.

    Raises:
        OSError: There is no such file.
        ValueError: It is not an array, or an array of objects; the message names the file without its folder.
    """
    with path.open("rb") as file:
        shape, dtype = read_heading(file, path.name, path.stat().st_size)
        start = file.tell()
    # An empty array cannot be mapped.
    return np.memmap(path, dtype, "r", start, shape) if math.prod(shape) else np.zeros(shape, dtype)


def read_heading(file: IO[bytes], name: str, size: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the shape and dtype of an array in C order from the header of a file.

    Args:
        file: The file, at its beginning.
        name: Name of the file, for messages.
        size: Size of the file in bytes.

    Raises:
        ValueError: It is not an array, or its length differs from the one in the header.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"its format is {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            # NumPy warns about a header that Python 2 may have written.
            warnings.simplefilter("ignore", UserWarning)
            shape, fortran, dtype = read(file)
    # The header is a Python expression, and invalid in all the ways in which one can be.
    except (ValueError, TypeError, LookupError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise ValueError(f"{name} is not a NumPy array: its header is damaged, or of another version") from error
    if (fortran and len(shape) > 1) or dtype.hasobject or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"{name} is {dtype} {shape}, columns first: {fortran}; allowed: numbers, rows first")
    if file.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{name} is {dtype} {shape}, which does not take the {size:,} bytes that it has")
    return shape, dtype
