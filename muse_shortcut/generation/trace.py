"""Traces: probabilities and attention of every new step, and their file.

    NAME-1.trace.npz   plain arrays, uncompressed, no pickles

The weights are those that the last layer used during sampling. A weight is not a cause: see
`muse_shortcut.generation.ablation` for ablations. Does not know how anything is drawn, nor what an id means.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.arrays import read_heading
from muse_shortcut.errors import ArgumentsError, OutputError
from muse_shortcut.files import atomic_path
from muse_tokenizers.base import Ids
from muse_tokenizers.json_files import version_problem
from muse_tokenizers.wording import counted

__all__ = ["ALTERNATIVES", "Trace", "load_trace", "save_trace"]

ALTERNATIVES = 5
"""Number of likeliest ids that are recorded at each step."""

_LOCAL_HEADER = 30
"""Size of the local header of a zip member before its name, in bytes; the last four bytes have the lengths of name and
extra field."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The trace of one candidate: S new steps after P steps of prompt. Positions count from the first id of the prompt.

    All probabilities are those of the model under the grammar, before temperature and truncation.
    """

    VERSION: ClassVar[int] = 1

    ids: Ids
    """(P + S, K) ids of prompt and continuation."""
    depths: NDArray[np.int64]
    """(n,) depths that the last layer attends to, in ascending order."""
    log_probability: NDArray[np.float32]
    """(S, K) log-probability of the sampled id, in nats."""
    entropy: NDArray[np.float32]
    """(S, K) entropy of the distribution, in nats."""
    alternatives: NDArray[np.int32]
    """(S, K, 5) likeliest ids in descending order; -1 if fewer are allowed."""
    alternative_log_probability: NDArray[np.float32]
    """(S, K, 5) log-probabilities of these ids in nats; -inf if there is none."""
    depth_share: NDArray[np.float32]
    """(S, n, H) share of each head's attention at each depth; sums to 1 over n."""
    first: NDArray[np.int64]
    """(S,) first visible position, which advances when the context is full. A row begins here and ends at the last
    position before its step; for scope `column` it is that last position only."""
    offsets: NDArray[np.int64]
    """(S + 1,) beginning of each row in `attention`."""
    attention: NDArray[np.float16]
    """(R,) rows (n, T) one after another, averaged over heads; memory-mapped after loading."""

    @property
    def steps(self) -> int:
        """S, the number of new steps."""
        return len(self.log_probability)

    @property
    def prompt_steps(self) -> int:
        """P, the number of steps of the prompt."""
        return len(self.ids) - self.steps

    def row(self, step: int) -> NDArray[np.float32]:
        """Return the weights with which a new step attended to the last T positions before it, (n, T); they sum to
        1."""
        row = self.attention[self.offsets[step] : self.offsets[step + 1]]
        return row.reshape(len(self.depths), -1).astype(np.float32)

    def attended(self, step: int) -> tuple[int, NDArray[np.float32]]:
        """Return the position of the first column of `row`, and the row."""
        row = self.row(step)
        return self.prompt_steps + step - row.shape[1], row

    def __repr__(self) -> str:
        depths = ", ".join(map(str, self.depths.tolist()))
        return f"Trace({counted(self.steps, 'step', 'd')} after {self.prompt_steps}, depths {depths})"

    def check(self, name: str) -> None:
        """Check that the arrays belong together. Raises ArgumentsError with `name` in the message."""
        kinds = {"ids": "iu", "depths": "iu", "first": "iu", "offsets": "iu", "alternatives": "iu"}
        axes = {"ids": 2, "depths": 1, "log_probability": 2, "depth_share": 3, "attention": 1}
        for field in fields(self):
            array = getattr(self, field.name)
            if array.dtype.kind not in kinds.get(field.name, "f") or array.ndim != axes.get(field.name, array.ndim):
                raise ArgumentsError(f"{name} is not a complete trace: {field.name} is {array.dtype} {array.shape}")
        steps, streams, depths = self.steps, self.ids.shape[-1], len(self.depths)
        expected = {
            "ids": (len(self.ids), streams),
            "log_probability": (steps, streams),
            "entropy": (steps, streams),
            "alternatives": (steps, streams, ALTERNATIVES),
            "alternative_log_probability": (steps, streams, ALTERNATIVES),
            "depth_share": (steps, depths, self.depth_share.shape[-1]),
            "first": (steps,),
            "offsets": (steps + 1,),
            "attention": (len(self.attention),),
        }
        wrong = [name for name, shape in expected.items() if getattr(self, name).shape != shape]
        if not wrong:
            seen, last = np.diff(self.offsets), self.prompt_steps + np.arange(steps)
            ends = [*self.offsets[:1], *self.offsets[-1:]]
            sound = (
                steps < len(self.ids)
                and int(self.ids.min()) >= 0
                and ends == [0, len(self.attention)]
                and bool((seen > 0).all() and (seen % max(depths, 1) == 0).all())
                and bool((self.first >= 0).all() and (self.first + seen // max(depths, 1) <= last).all())
            )
            wrong = [] if sound else ["offsets"]
        if wrong:
            raise ArgumentsError(f"{name} is not a complete trace: {wrong[0]} does not fit the other arrays")


def save_trace(trace: Trace, path: Path, rows: Iterable[NDArray[np.float16]] | None = None) -> None:
    """Write a trace; equal traces give equal bytes.

    Args:
        trace: The trace; its `attention` is empty if `rows` is given.
        path: Path of the file.
        rows: Rows of `attention` one after another, so that they need not be in memory together.

    Raises:
        OutputError: The file could not be written.
    """
    arrays = {field.name: getattr(trace, field.name) for field in fields(trace) if field.name != "attention"}
    with atomic_path(path) as temporary:
        try:
            with ZipFile(temporary, "w") as archive:
                for name, array in {"version": np.array([Trace.VERSION]), **arrays}.items():
                    with archive.open(f"{name}.npy", "w") as file:
                        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
                with archive.open("attention.npy", "w", force_zip64=True) as file:
                    heading = {"descr": "<f2", "fortran_order": False, "shape": (int(trace.offsets[-1]),)}
                    np.lib.format.write_array_header_1_0(file, heading)
                    for row in [trace.attention] if rows is None else rows:
                        file.write(row.astype("<f2").tobytes())
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from error


def load_trace(path: str | Path) -> Trace:
    """Read a trace; the rows stay on disk until they are accessed.

    Raises:
        ArgumentsError: The file is missing, damaged, or of another version.
    """
    path = Path(path)
    names = [field.name for field in fields(Trace)]
    try:
        with ZipFile(path) as archive, path.open("rb") as file:
            version = _member(archive, "version")
            found = version.flat[0].item() if version.size else None
            problem = version_problem(found, Trace.VERSION)
            if problem is not None:
                raise ArgumentsError(f"{path} cannot be read: {problem}")
            arrays = {name: _member(archive, name) for name in names if name != "attention"}
            attention = _mapped(archive, path, file)
    except OSError as error:
        raise ArgumentsError(f"cannot read {path}: {error.strerror or error}") from error
    # zipfile raises the last two for an encrypted member and for an unavailable compression method.
    except (BadZipFile, ValueError, LookupError, EOFError, TypeError, struct.error, RuntimeError) as error:
        raise ArgumentsError(f"{path} is not a complete trace: {(str(error).splitlines() or [''])[0]}") from error
    trace = Trace(**arrays, attention=attention)
    trace.check(str(path))
    return trace


def _member(archive: ZipFile, name: str) -> Any:
    member = _stored(archive, name)
    with archive.open(member) as file:
        shape, dtype = read_heading(file, member.filename, member.file_size)
        return np.frombuffer(file.read(), dtype).reshape(shape).copy()


def _stored(archive: ZipFile, name: str) -> ZipInfo:
    """Return an uncompressed member: then nothing takes more memory than its file has bytes."""
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type != ZIP_STORED or member.file_size != member.compress_size:
        raise ValueError(f"{name} is compressed")
    return member


def _mapped(archive: ZipFile, path: Path, file: BinaryIO) -> NDArray[np.float16]:
    """Map the rows from the uncompressed member."""
    member = _stored(archive, "attention")
    file.seek(member.header_offset)
    name, extra = struct.unpack("<HH", file.read(_LOCAL_HEADER)[-4:])
    file.seek(start := member.header_offset + _LOCAL_HEADER + name + extra)
    shape, dtype = read_heading(file, "attention.npy", start + member.file_size)
    if dtype != np.float16 or len(shape) != 1:
        raise ValueError(f"attention is {dtype} {shape}")
    if start + member.file_size > path.stat().st_size:
        raise ValueError("attention is cut short")
    if not shape[0]:
        return np.zeros(0, dtype=np.float16)
    return np.memmap(path, dtype="<f2", mode="r", offset=file.tell(), shape=shape)
