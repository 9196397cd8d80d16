"""The state of visitors: prompts, continuations, folders, and their limits. Knows nothing of Gradio or of drawing."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.api.continuation import Continuation
from muse_shortcut.checkpoints import Checkpoint
from muse_shortcut.errors import ArgumentsError, MuseError
from muse_shortcut.files import make_folder
from muse_shortcut.generation.request import Request
from muse_shortcut.generation.trace import Trace
from muse_tokenizers.base import Ids, Token, Waveform
from muse_tokenizers.domain_info import USUAL_LENGTHS, OfferedLengths
from muse_tokenizers.loading import domain_class

__all__ = ["Candidate", "Limits", "NotFoundError", "Run", "Source", "Visitor", "Visitors", "lengths_of"]


class NotFoundError(MuseError):
    """A source, run or candidate does not exist, or not any more."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits per visitor, and for all visitors together."""

    upload_bytes: int = 25 * 2**20
    piece: dict[str, float] = field(default_factory=dict)
    """Longest prompt per domain, in seconds or bytes, where it is not that of the domain's `OfferedLengths`."""
    prompt_seconds: float | None = None
    """Longest prompt of the other domains that are measured in seconds; None for that of their `OfferedLengths`."""
    bars: int = 100
    """Longest continuation in bars."""
    candidates: int = 4
    runs: int = 24
    """Runs kept per visitor; the oldest are deleted first."""
    kept_bytes: int = 512 * 2**20
    """Size of a visitor's sounds and traces together; the oldest runs are deleted first."""
    sources: int = 6
    visitors: int = 200
    all_bytes: int = 6 * 2**30
    """Size of all visitors' sources, sounds and traces; those idle longest are removed first."""
    waiting_bytes: int = 2 * 2**30
    """Size of all uploads that have not been opened; the oldest are deleted first."""
    waiting_seconds: float = 3600.0
    """Age at which an upload that has not been opened is deleted."""
    idle_seconds: float = 1800.0
    """A visitor is removed after so long without a call; an open page calls every minute."""
    disconnected_seconds: float = 600.0
    """A visitor is removed so long after the connection was lost, unless they call again."""

    def longest_prompt(self, domain: str) -> float:
        """Return the longest prompt of a domain, in seconds or bytes."""
        if self.prompt_seconds is not None and domain_class(domain).unit == "seconds":
            return self.piece.get(domain, self.prompt_seconds)
        return self.piece.get(domain, lengths_of(domain).longest_prompt)


def lengths_of(domain: str) -> OfferedLengths:
    """Return the lengths that the page offers of a domain."""
    found = domain_class(domain)
    return found.info.lengths or USUAL_LENGTHS[found.unit]


@dataclass(kw_only=True)
class Source:
    """A prompt that was opened."""

    id: str
    domain: str
    name: str
    file: str | None
    """Name of its file; None if it was played or typed."""
    checkpoint: Checkpoint
    """The checkpoint whose domain read it."""
    piece: Any
    gain: float | None = None
    """Playback gain, once it is known."""

    @property
    def nbytes(self) -> int:
        """Bytes of sound in memory; scores and texts are small and not counted."""
        return self.piece.samples.nbytes if isinstance(self.piece, Waveform) else 0


@dataclass(kw_only=True)
class Candidate:
    """One continuation of a run; replaced by a new object when it grows, never modified."""

    ids: Ids
    """(T, K), complete frames."""
    ready: float
    """Time in seconds of the piece up to which its sound is final."""
    sound: NDArray[np.float32] | None = None
    """(N,) samples of prompt and continuation, for audio."""
    continuation: Continuation | None = None
    """Set once generation has finished; its trace is stored in the visitor's folder."""
    tokens: list[list[Token]] | None = None
    """Descriptions of all ids, computed on the first inspection; only for music, whose labels depend on context."""

    @property
    def piece(self) -> Any:
        """Prompt and continuation; None until generation has finished."""
        return None if self.continuation is None else self.continuation.piece


@dataclass(kw_only=True)
class Run:
    """One generation: a request and its candidates."""

    id: str
    domain: str
    name: str
    file: str | None
    """Name of the file that the prompt was read from."""
    checkpoint: Checkpoint
    request: Request
    candidates: list[Candidate]
    stop: threading.Event = field(default_factory=threading.Event)
    finished: bool = False
    steps: int = 0
    gain: float | None = None
    """Playback gain, once it is known; constant during generation."""

    def end(self) -> None:
        """Request that generation ends. A finished run is unchanged, since its sidecar records how it ended."""
        if not self.finished:
            self.stop.set()

    @property
    def nbytes(self) -> int:
        """Bytes of sound in memory and of traces on disk."""
        sound = sum(one.sound.nbytes for one in self.candidates if one.sound is not None)
        finished = [one.continuation for one in self.candidates if one.continuation is not None]
        return sound + sum(one.trace.attention.nbytes for one in finished)

    def candidate(self, number: int) -> Candidate:
        """Raises NotFoundError."""
        if not 0 <= number < len(self.candidates):
            raise NotFoundError(
                f"candidate {number} does not exist; this continuation has 0 to {len(self.candidates) - 1}"
            )
        return self.candidates[number]

    def finished_candidate(self, number: int) -> tuple[Candidate, Trace]:
        """A finished candidate and its trace. Raises NotFoundError."""
        return self.candidate(number), self.continuation(number).trace

    def continuation(self, number: int) -> Continuation:
        """The continuation of a finished candidate. Raises NotFoundError."""
        found = self.candidate(number).continuation
        if found is None:
            raise NotFoundError("this continuation is still being generated; its attention can be seen when it is done")
        return found


@dataclass(kw_only=True)
class Visitor:
    """Everything that belongs to one visitor."""

    folder: Path
    sources: dict[str, Source] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    removed: bool = False
    last_call: float = 0.0
    """Time of the last call (`time.monotonic`)."""
    disconnected_at: float | None = None
    """Time when the connection was lost; None while connected or after another call."""

    @property
    def nbytes(self) -> int:
        """Bytes of all sources and runs."""
        sources = sum(one.nbytes for one in list(self.sources.values()))
        return sources + sum(one.nbytes for one in list(self.runs.values()))

    @property
    def is_busy(self) -> bool:
        """Whether a run is being generated."""
        return any(not run.finished for run in list(self.runs.values()))

    def source(self, key: object) -> Source:
        """Raises NotFoundError."""
        if not isinstance(key, str) or key not in self.sources:
            raise NotFoundError("this prompt does not exist any more; open it again")
        return self.sources[key]

    def run(self, key: object) -> Run:
        """Raises NotFoundError."""
        if not isinstance(key, str) or key not in self.runs:
            raise NotFoundError("this continuation does not exist any more; generate it again")
        return self.runs[key]

    def stop(self) -> None:
        """Request that all running generations end."""
        for run in list(self.runs.values()):
            run.end()

    def keep_run(self, run: Run, limits: Limits) -> None:
        """Add a run, and delete the oldest runs beyond the limits."""
        self.runs[run.id] = run
        for key in list(self.runs)[: -limits.runs]:
            self._drop(key)
        while len(self.runs) > 1 and sum(one.nbytes for one in self.runs.values()) > limits.kept_bytes:
            self._drop(next(iter(self.runs)))

    def _drop(self, key: str) -> None:
        self.runs.pop(key).end()
        shutil.rmtree(self.folder / key, ignore_errors=True)

    def keep_source(self, source: Source, most: int) -> None:
        """Add a source, and drop the oldest beyond `most`."""
        self.sources[source.id] = source
        for key in list(self.sources)[:-most]:
            del self.sources[key]


class Visitors:
    """All visitors, by a key that only their browser knows."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._visitors: dict[str, Visitor] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._visitors)

    def get(self, key: str | None) -> Visitor:
        """Return the visitor of a key; a new key creates a new visitor.

        Raises:
            ArgumentsError: The key is missing, or there are too many visitors.
        """
        if not key:
            raise ArgumentsError("a call needs a session_hash, by which a visitor is known")
        with self._lock:
            visitor = self._visitors.pop(key, None)
            if visitor is None:
                if len(self._visitors) >= self._limits.visitors:
                    self._forget_longest_idle()
                # A name that cannot be guessed: whoever knows it can fetch the files in it.
                visitor = Visitor(folder=make_folder(self._folder / secrets.token_hex(16)))
            # The most recent caller is last.
            self._visitors[key] = visitor
            visitor.last_call, visitor.disconnected_at = time.monotonic(), None
            return visitor

    def _forget_longest_idle(self) -> None:
        idle = next((key for key, one in self._visitors.items() if not one.is_busy), None)
        if idle is None:
            raise ArgumentsError(
                f"{self._limits.visitors} visitors are being served, which is the most; try again later"
            )
        self._forget(self._visitors.pop(idle))

    def sweep(self) -> None:
        """Remove visitors who have been away too long, and the longest idle ones beyond the total size."""
        now, limits = time.monotonic(), self._limits
        with self._lock:
            for key, one in list(self._visitors.items()):
                away = one.disconnected_at is not None and now - one.disconnected_at > limits.disconnected_seconds
                if away or (now - one.last_call > limits.idle_seconds and not one.is_busy):
                    self._forget(self._visitors.pop(key))
            # The most recent caller is kept.
            for key, one in list(self._visitors.items())[:-1]:
                if sum(other.nbytes for other in self._visitors.values()) <= limits.all_bytes:
                    break
                if not one.is_busy:
                    self._forget(self._visitors.pop(key))

    def disconnect(self, key: str | None) -> None:
        """Stop the generations of a visitor who lost the connection; unless they return, `sweep` removes them."""
        with self._lock:
            visitor = self._visitors.get(key or "")
        if visitor is not None:
            visitor.stop()
            visitor.disconnected_at = time.monotonic()

    def leave(self, key: str | None) -> None:
        """Remove a visitor: stop their generations and delete their files."""
        with self._lock:
            visitor = self._visitors.pop(key or "", None)
        if visitor is not None:
            self._forget(visitor)

    def _forget(self, visitor: Visitor) -> None:
        visitor.removed = True
        visitor.stop()
        shutil.rmtree(visitor.folder, ignore_errors=True)
