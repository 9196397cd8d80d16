"""The journal of a preparation, from which it resumes after it was killed.

The ids of a file are written before its line in the journal, so every line that exists is valid.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.errors import OutputError
from muse_shortcut.files import make_folder, write_text

__all__ = ["Entry", "Journal"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """The result of preparing one file."""

    name: str
    size: int
    modified: int
    """Modification time in nanoseconds."""
    tokens: int = 0
    start: int = 0
    """Offset of its ids in the journal's array, in steps."""
    digest: str = ""
    """Digest of the ids, by which duplicates are found."""
    length: float | None = None
    """Length in the unit of the domain."""
    part: tuple[int, int] | None = None
    """Byte range in the file, if the piece is not the whole file."""
    style: str = "any"
    """Style that is in its ids."""
    reason: str | None = None
    """Why it was rejected; None if it was accepted."""
    warnings: tuple[str, ...] = ()
    """What was repaired, converted or left out when it was read."""


class Journal:
    """A folder with `journal.jsonl` and the ids, both of which are only appended to."""

    def __init__(self, folder: Path, heading: dict[str, Any], streams: int, dtype: np.dtype[Any]) -> None:
        """Open a journal or begin one; a journal of another tokenizer or version is discarded."""
        self._folder, self._streams, self._dtype = make_folder(folder), streams, dtype
        self._lines, self._ids = folder / "journal.jsonl", folder / "ids.bin"
        self.entries: dict[str, Entry] = {}
        self._steps = 0
        try:
            first, entries = self._read()
            self._ids.touch()
            if first == heading:
                # After a power cut a line may be on the disk without its ids.
                written = self._ids.stat().st_size // (streams * dtype.itemsize)
                entries = [entry for entry in entries if entry.start + entry.tokens <= written]
                self.entries = {entry.name: entry for entry in entries}
                self._steps = max((entry.start + entry.tokens for entry in entries), default=0)
            kept = [json.dumps(heading), *(json.dumps(asdict(entry)) for entry in self.entries.values())]
            write_text(self._lines, "".join(line + "\n" for line in kept))
            with self._ids.open("r+b") as file:
                file.truncate(self._steps * streams * dtype.itemsize)
            self._journal = self._lines.open("a", encoding="utf-8")
            self._tokens = self._ids.open("ab")
        except OSError as error:
            raise OutputError(f"cannot write {folder}: {error.strerror}") from error

    def _read(self) -> tuple[dict[str, Any] | None, list[Entry]]:
        if not self._lines.is_file():
            return None, []
        heading, entries = None, []
        # An incomplete last line was being written when the process was killed.
        for number, line in enumerate(self._lines.read_bytes().split(b"\n")[:-1]):
            try:
                content = json.loads(line)
                if number == 0:
                    heading = content
                else:
                    entries.append(Entry(**(content | {"warnings": tuple(content.get("warnings", ()))})))
            except (ValueError, TypeError):
                break
        return heading, entries

    def add(self, entry: Entry, ids: NDArray[Any] | None) -> None:
        """Append a file.

        Args:
            entry: The result.
            ids: (T, K) ids; None for a rejected file.

        Raises:
            OutputError: The file could not be written, for example because the disk is full.
        """
        try:
            if ids is not None:
                entry = Entry(**(asdict(entry) | {"start": self._steps, "tokens": len(ids)}))
                self._tokens.write(np.ascontiguousarray(ids, dtype=self._dtype).tobytes())
                self._tokens.flush()
                self._steps += len(ids)
            self._journal.write(json.dumps(asdict(entry)) + "\n")
            self._journal.flush()
        except OSError as error:
            raise OutputError(f"cannot write {self._folder}: {error.strerror}") from error
        self.entries[entry.name] = entry

    def ids(self) -> NDArray[Any]:
        """Return all ids so far, (N, K), memory-mapped."""
        if self._steps == 0:
            return np.zeros((0, self._streams), dtype=self._dtype)
        return np.memmap(self._ids, dtype=self._dtype, mode="r", shape=(self._steps, self._streams))

    def close(self) -> None:
        for file in (self._journal, self._tokens):
            # Everything valid has been flushed; the rest is what `add` failed to write, and has reported.
            with suppress(OSError):
                file.close()
