"""What a preparation has done so far, so that a killed one goes on where it stopped.

The ids of a file are written before its line in the journal: a line that is there is true.
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
    """What became of one file."""

    name: str
    size: int
    modified: int
    """Nanoseconds."""
    tokens: int = 0
    start: int = 0
    """Where its ids begin in the journal's own file, in steps."""
    digest: str = ""
    """Of the ids, by which duplicates are found."""
    length: float | None = None
    """In the domain's unit."""
    part: tuple[int, int] | None = None
    """The bytes of the file that it is, where it is not all of it."""
    reason: str | None = None
    """Why it was rejected; None for a file that was taken."""
    warnings: tuple[str, ...] = ()
    """What was repaired, converted or left out while it was read."""


class Journal:
    """A folder with `journal.jsonl` and the ids, both only ever appended to."""

    def __init__(self, folder: Path, heading: dict[str, Any], streams: int, dtype: np.dtype[Any]) -> None:
        """Open or begin one; what another tokenizer or another version left there is thrown away."""
        self._folder, self._streams, self._dtype = make_folder(folder), streams, dtype
        self._lines, self._ids = folder / "journal.jsonl", folder / "ids.bin"
        self.entries: dict[str, Entry] = {}
        self._steps = 0
        try:
            first, entries = self._read()
            self._ids.touch()
            if first == heading:
                # After a power cut a line may have lasted and its ids not.
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
        # What follows the last line end was being written when the program was killed.
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
        """Append a file; ids is (T, K), None for a rejected one.

        Raises:
            OutputError: the disk is full, say.
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
        """(N, K): all ids so far, memory-mapped."""
        if self._steps == 0:
            return np.zeros((0, self._streams), dtype=self._dtype)
        return np.memmap(self._ids, dtype=self._dtype, mode="r", shape=(self._steps, self._streams))

    def close(self) -> None:
        for file in (self._journal, self._tokens):
            # All that counts has been flushed: what is left is what `add` failed to write, and that it has said.
            with suppress(OSError):
                file.close()
