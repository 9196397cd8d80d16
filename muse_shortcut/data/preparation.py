"""Makes a token store from files: in parallel, resumable, and without stopping at a bad file."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import numpy as np

from muse_shortcut.data.journal import Entry, Journal
from muse_shortcut.data.scan import SourceFile
from muse_shortcut.data.store import VERSION
from muse_shortcut.data.store_writing import write_store
from muse_shortcut.errors import OutputError, StoreError
from muse_shortcut.files import clear_left_overs, make_folder
from muse_tokenizers.base import Tokenizer
from muse_tokenizers.domain import Domain
from muse_tokenizers.errors import TokenizerError
from muse_tokenizers.loading import domain_kinds, domain_of, load_tokenizer, register_domain

__all__ = ["Preparation", "check_place", "prepare"]

_SIDE_BY_SIDE = 16
"""Largest number of files in a batch on a GPU."""
_LARGEST_BATCH = 2**28
"""Largest size of a batch of files, in bytes."""
_READERS = 8
"""Number of files that are read in parallel for a batch."""

_Done = tuple[Entry, "np.ndarray[Any, Any] | None"]
"""The result of preparing a file, and its ids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """How a store is made."""

    workers: int
    """Number of processes that read files; 0 reads them in this process."""
    device: str = "cpu"
    """Device that computes the ids. On a GPU one worker computes them for batches of files."""
    seed: int
    held_out: float
    source: dict[str, Any]
    """Origin of the files for the manifest: recipe, licence, checksum."""
    unused: tuple[tuple[str, str], ...] = ()
    """Files that are not used, with the reasons, for the manifest."""
    overwrite: bool = False
    """Whether to replace a complete store."""


def prepare(
    sources: Sequence[Sequence[SourceFile]],
    domain: Domain[Any],
    out: Path,
    how: Preparation,
    progress: Callable[[int, int, int], None] = lambda _files, _tokens, _rejects: None,
) -> dict[str, Any]:
    """Make a store of files, and return its manifest.

    It resumes when it is called again after it was killed. The same files give the same bytes, whatever the number of
    workers; on a GPU one code in thousands may differ with the composition of batches.

    Args:
        sources: Files of each source, in the order of the store; a source without an official split is split randomly.
        domain: Domain that reads the files; its tokenizer makes the ids.
        out: Folder of the store.
        how: Workers, seed, splits and origin.
        progress: Called after each file with the numbers of files, tokens and rejected files so far.

    Raises:
        StoreError: No file could be used, or `out` contains something else.
        OutputError: A file could not be written.
    """
    check_place(out, overwrite=how.overwrite)
    files = [file for source in sources for file in source]
    dtype = np.dtype(np.uint16 if domain.tokenizer.vocabulary_size <= 2**16 else np.uint32)
    heading = {
        "version": VERSION,
        "fingerprint": domain.tokenizer.fingerprint(),
        # A setting that does not change the ids may change which part of a file is read.
        "configuration": json.loads(json.dumps(domain.tokenizer.configuration())),
    }
    clear_left_overs(make_folder(out))
    journal = Journal(out / "partial", heading, domain.tokenizer.streams, dtype)
    todo = [file for file in files if not _is_known(journal, file)]
    known = {file.name for file in files} - {file.name for file in todo}
    done = [journal.entries[name] for name in known]
    counts = [len(files) - len(todo), sum(e.tokens for e in done), sum(e.reason is not None for e in done)]
    progress(*counts)
    try:
        for entry, ids in _tokenized(todo, domain, replace(how, workers=min(how.workers, max(1, len(todo))))):
            journal.add(entry, ids)
            counts[0] += 1
            counts[1] += 0 if ids is None else len(ids)
            counts[2] += entry.reason is not None
            progress(*counts)
    finally:
        journal.close()
    return write_store(
        sources,
        journal,
        domain,
        out,
        seed=how.seed,
        held_out=how.held_out,
        source=how.source,
        unused=how.unused,
    )


def check_place(out: Path, *, overwrite: bool) -> None:
    """Check that a store may be made in a folder.

    Raises:
        StoreError: The folder contains other files, or a complete store that may not be replaced.
    """
    finished = (out / "manifest.json").is_file()
    if finished and not overwrite:
        raise StoreError(
            f"{out} is a finished store; replace it with {{overwrite=True}}, or choose another {{out}}",
            options=("overwrite", "out"),
        )
    if not finished and out.is_dir() and any(out.iterdir()) and not (out / "partial").is_dir():
        raise StoreError(f"{out} has other files in it; a store needs a folder of its own")


def _is_known(journal: Journal, file: SourceFile) -> bool:
    entry = journal.entries.get(file.name)
    try:
        stat = file.path.stat()
    except OSError:
        return False
    if entry is None or list(entry.part or ()) != list(file.part or ()) or entry.style != file.style:
        return False
    return (entry.size, entry.modified) == (stat.st_size, stat.st_mtime_ns)


# In a worker process

_domain: Domain[Any]


def _start_worker(folder: Path, kind: type[Tokenizer[Any]], of: type[Domain[Any]], device: str) -> None:
    global _domain
    if kind.kind not in domain_kinds():
        # Classes that the main process has registered.
        register_domain(kind, of)
    # Ctrl-C is handled by the main process, which then sends no more work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Each worker uses one core.
    os.environ["OMP_NUM_THREADS"] = "1"
    _domain = domain_of(load_tokenizer(folder))
    _domain.tokenizer.use_device(device)
    parent = parent_process()
    if parent is not None:
        # A worker whose parent was killed would wait for work forever.
        threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that has been read as a piece but not yet encoded."""

    file: SourceFile
    entry: Entry
    piece: Any = None

    @classmethod
    def of(cls, file: SourceFile) -> _Read:
        entry = Entry(name=file.name, size=0, modified=0, part=file.part, style=file.style, reason=file.reason)
        try:
            stat = file.path.stat()
            entry = replace(entry, size=stat.st_size, modified=stat.st_mtime_ns)
            if file.reason is not None:
                return cls(file, entry)
            warnings: list[str] = []
            piece = _domain.read_part(file.path, file.part, warn=warnings.append)
            lines = tuple(_inside(warning, file) for warning in dict.fromkeys(warnings))
            return cls(file, replace(entry, length=_domain.duration(piece), warnings=lines), piece)
        except Exception as error:  # no file may stop a preparation
            return cls(file, replace(entry, reason=file.reason or _reason(error, file)))

    def done(self, ids: np.ndarray[Any, Any]) -> _Done:
        ids = _domain.styled(ids, self.file.style)
        edge = np.ones((1, _domain.tokenizer.streams), dtype=np.int64)
        ids = np.concatenate([edge * _domain.tokenizer.begin, ids, edge * _domain.tokenizer.end])
        return replace(self.entry, digest=hashlib.sha256(ids.tobytes()).hexdigest()), ids


def _reason(error: Exception, file: SourceFile) -> str:
    """Return why a file was rejected. Reasons are stored next to names relative to the source, so the absolute path is
    removed."""
    if isinstance(error, TokenizerError):
        return _inside(str(error), file).removeprefix(f"cannot read {file.name}: ")
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}".replace(str(file.path), file.name)


def _inside(message: str, file: SourceFile) -> str:
    """Replace the path at the beginning of a message by the name in the source."""
    inside = " ".join(message.split()).replace(str(file.path), file.name)
    return inside.removeprefix(f"{file.name} ").removeprefix(f"{file.name}: ")


def _tokenize(files: Sequence[SourceFile]) -> list[_Done]:
    with ThreadPoolExecutor(min(len(files), _READERS)) as readers:
        found = list(readers.map(_Read.of, files))
    good = [one for one in found if one.entry.reason is None]
    try:
        made = iter(_domain.tokenizer.encode_many([one.piece for one in good]))
        return [one.done(next(made)) if one.entry.reason is None else (one.entry, None) for one in found]
    except Exception as error:  # as above
        if len(files) > 1:
            # Encoding them one by one shows which file it is.
            return [done for file in files for done in _tokenize([file])]
        return [(replace(found[0].entry, length=None, reason=_reason(error, files[0])), None)]


# In the main process


def _tokenized(files: list[SourceFile], domain: Domain[Any], how: Preparation) -> Iterator[_Done]:
    """Yield the result of each file in order. A file that kills its worker is rejected like any other."""
    if how.workers == 0:
        global _domain
        _domain = domain
        for file in files:
            yield from _tokenize([file])
        return
    if how.device != "cpu":
        # A batch takes as long as its longest file: files of similar size go together.
        files = sorted(files, key=lambda file: (file.size(), file.name))
    waiting = deque(files)
    with TemporaryDirectory() as folder:
        try:
            domain.tokenizer.save(Path(folder))
        except TokenizerError as error:
            raise OutputError(f"{error}; it is in the folder of temporary files, {gettempdir()}") from error
        yield from _read_all(waiting, Path(folder), domain, how)


def _read_all(waiting: deque[SourceFile], tokenizer: Path, domain: Domain[Any], how: Preparation) -> Iterator[_Done]:
    """Like `_tokenized`, with the tokenizer in a folder from which every worker loads it."""
    suspects = 0
    """Number of files at the front that were in progress when a worker died. They are repeated one at a time to find
    the one that killed it."""
    on_gpu = how.device != "cpu"
    while waiting:
        workers = 1 if suspects or on_gpu else how.workers
        ahead, together = (1, 1) if suspects else (2 if on_gpu else 4 * workers, _SIDE_BY_SIDE if on_gpu else 1)
        with _pool(tokenizer, domain, workers, how.device) as pool:
            under_way: deque[tuple[int, Future[list[_Done]]]] = deque()
            sent = 0
            try:
                while waiting:
                    while len(under_way) < ahead and sent < len(waiting):
                        files = _next(waiting, sent, together)
                        under_way.append((len(files), pool.submit(_tokenize, files)))
                        sent += len(files)
                    count, future = under_way[0]
                    yield from future.result()
                    under_way.popleft()
                    for _ in range(count):
                        waiting.popleft()
                    sent -= count
                    if suspects:
                        suspects -= 1
                        if not suspects:
                            break
            except BrokenProcessPool:
                if suspects:
                    yield _killer(waiting.popleft()), None
                    suspects -= 1
                else:
                    suspects = max(1, sent)


def _next(waiting: deque[SourceFile], sent: int, together: int) -> list[SourceFile]:
    """Take the next files for a batch, within the limits of number and size."""
    files: list[SourceFile] = []
    size = 0
    for file in islice(waiting, sent, sent + together):
        size += file.size()
        if files and size > _LARGEST_BATCH:
            break
        files.append(file)
    return files


def _pool(tokenizer: Path, domain: Domain[Any], workers: int, device: str) -> ProcessPoolExecutor:
    # Spawned, not forked: a fork of a process with threads may deadlock.
    return ProcessPoolExecutor(
        max_workers=workers,
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=(tokenizer, type(domain.tokenizer), type(domain), device),
    )


def _killer(file: SourceFile) -> Entry:
    size = modified = 0
    with suppress(OSError):
        stat = file.path.stat()
        size, modified = stat.st_size, stat.st_mtime_ns
    return Entry(name=file.name, size=size, modified=modified, reason="crashed its reader")
