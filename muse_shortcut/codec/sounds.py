"""All training sound in one memory-mapped file of samples, so that any clip can be read quickly.

sounds/   samples.npy ((N,) int16, memory-mapped)   files.jsonl (name, split, where its samples are)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.arrays import map_array
from muse_shortcut.checks import require_sources
from muse_shortcut.data.scan import SourceFile, source_of
from muse_shortcut.data.splits import draw_splits
from muse_shortcut.errors import ArgumentsError, OutputError
from muse_shortcut.files import atomic_folder
from muse_tokenizers.audio.waveforms import read_waveform
from muse_tokenizers.errors import UnreadablePieceError, Warn, warn_about_file

__all__ = ["Sounds", "gather_sounds", "open_sounds"]

_SAMPLES, _FILES = "samples.npy", "files.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundFile:
    """One sound file."""

    name: str
    split: str
    first: int
    """Index of its first sample."""
    stop: int
    """Index after its last sample."""

    @property
    def source(self) -> str:
        """Name of its source, if there are several: its recipe or the name of its folder."""
        return source_of(self.name)


@dataclass(frozen=True, kw_only=True)
class Sounds:
    """Samples at one rate, and the file and split of each."""

    samples: NDArray[np.int16]
    """(N,), memory-mapped."""
    files: tuple[SoundFile, ...]
    sample_rate: int

    def of_split(self, split: str) -> tuple[SoundFile, ...]:
        return tuple(file for file in self.files if file.split == split)

    def take(self, first: int, stop: int) -> NDArray[np.float32]:
        """Return samples `first` to `stop` as (stop - first,) float32 in [-1, 1]."""
        return self.samples[first:stop].astype(np.float32) / np.float32(2**15)

    def middle(self, file: SoundFile, length: int) -> NDArray[np.float32]:
        """Return the middle of a file, at most `length` samples."""
        first = max(file.first, (file.first + file.stop - length) // 2)
        return self.take(first, min(file.stop, first + length))

    def weights(self, source_weights: Mapping[str, float]) -> NDArray[np.float64]:
        """Probability of drawing a clip from each file of the training split, by its length and the weight of its
        source.

        Raises:
            ArgumentsError: There is no such source, or all weights are 0.
        """
        files = self.of_split("train")
        require_sources(source_weights, sorted({file.source for file in files}))
        weights = np.array([(file.stop - file.first) * source_weights.get(file.source, 1.0) for file in files])
        shares: NDArray[np.float64] = weights / weights.sum()
        return shares

    def clips(
        self, count: int, length: int, random: np.random.Generator, weights: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Draw clips of the training split, (count, length) float32, with files chosen by `weights`; shorter files are
        padded with silence."""
        files = self.of_split("train")
        chosen = random.choice(len(files), size=count, p=weights)
        clips = np.zeros((count, length), dtype=np.float32)
        for row, number in enumerate(chosen.tolist()):
            file = files[number]
            at = file.first + int(random.integers(max(1, file.stop - file.first - length + 1)))
            taken = self.take(at, min(at + length, file.stop))
            clips[row, : len(taken)] = taken
        return clips


def gather_sounds(
    sources: Sequence[Sequence[SourceFile]],
    out: Path,
    sample_rate: int,
    *,
    seed: int,
    held_out: float,
    made_of: dict[str, object],
    watch: Callable[[int, int], None] = lambda _done, _total: None,
    warn: Warn = warn_about_file,
) -> list[str]:
    """Read sound files into one folder, which appears when it is complete.

    Args:
        sources: Files of each source. Files of one group stay in one split; a source without an official split is split
            randomly.
        out: Folder to write.
        sample_rate: Sample rate in Hz.
        seed: Seed of the random split.
        held_out: Fraction of the groups of a source for validation, and again for test.
        made_of: Description of the inputs, stored with the sounds and compared when they are opened.
        watch: Called with the number of files that have been read, and their total.
        warn: Called with one line for everything that was repaired in a file.

    Returns:
        One line for each file that was left out: unreadable, or a duplicate of another.

    Raises:
        ArgumentsError: There is nothing to train on.
        OutputError: A file could not be written.
    """
    files = [file for source in sources for file in source]
    readable: dict[int, list[tuple[SourceFile, str]]] = {number: [] for number in range(len(sources))}
    rejects, kept, seen, first = list[str](), list[SoundFile](), dict[str, SoundFile](), 0
    with atomic_folder(out) as temporary:
        try:
            with (temporary / _SAMPLES).open("wb") as samples_file:
                # The header is rewritten when the length is known: numpy leaves room for it to grow.
                _write_header(samples_file, 0)
                numbered = [(number, file) for number, source in enumerate(sources) for file in source]
                for done, (number, file) in enumerate(numbered):
                    watch(done, len(files))
                    try:
                        samples = read_waveform(file.path, sample_rate, warn=warn).samples[0]
                    except UnreadablePieceError as error:
                        rejects.append(str(error))
                        continue
                    data = np.round(samples * (2**15 - 1)).astype("<i2").tobytes()
                    digest = hashlib.sha256(data).hexdigest()
                    readable[number].append((file, digest))
                    if digest in seen:
                        rejects.append(f"{file.path} is the same sound as {seen[digest].name}")
                        continue
                    samples_file.write(data)
                    seen[digest] = SoundFile(name=file.name, split="", first=first, stop=first + len(samples))
                    kept.append(seen[digest])
                    first += len(samples)
                samples_file.seek(0)
                _write_header(samples_file, first)
            splits, gone = draw_splits([*readable.values()], seed, held_out)
            # Of duplicates the first one has been written, and takes the split of the one that is kept.
            kept = [replace(file, split=splits[gone.get(file.name, file.name)]) for file in kept]
            heading = {"sample_rate": sample_rate, "source": made_of}
            lines = [json.dumps(heading), *(json.dumps(asdict(f)) for f in kept)]
            (temporary / _FILES).write_text("\n".join(lines) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write {out}: {error.strerror}") from error
        if not any(file.split == "train" for file in kept):
            reason = rejects[0] if rejects else "all are held out"
            raise ArgumentsError(f"none of the {len(files)} sound files can be trained on: {reason}")
    return rejects


def _write_header(file: BinaryIO, samples: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": (samples,)})


def open_sounds(folder: Path, sample_rate: int, source: dict[str, object] | None = None) -> Sounds:
    """Open a folder that `gather_sounds` wrote.

    Args:
        folder: The folder.
        sample_rate: Expected sample rate in Hz.
        source: Expected description of the inputs; None accepts any.

    Raises:
        ArgumentsError: The folder is damaged, or was made from other inputs.
    """
    try:
        heading, *lines = (folder / _FILES).read_text(encoding="utf-8").splitlines()
        files = tuple(SoundFile(**json.loads(line)) for line in lines)
        samples = map_array(folder / _SAMPLES)
        content = json.loads(heading)
        rate, made_of = content["sample_rate"], content["source"]
    except FileNotFoundError as error:
        raise ArgumentsError(f"{folder.parent} is not a run of muse-train codec: it has no {folder.name}") from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArgumentsError(f"{folder} is damaged: {reason}; delete it to read the sounds again") from error
    if samples.dtype != np.int16 or samples.ndim != 1 or type(rate) is not int or not _follow(files, len(samples)):
        raise ArgumentsError(f"{folder} is damaged: its files do not fit its samples; delete it to read them again")
    if source is None and rate != sample_rate:
        raise ArgumentsError(f"{folder} holds sounds of {rate} Hz; the codec is of {sample_rate}")
    if rate != sample_rate or (source is not None and made_of != source):
        raise ArgumentsError(f"{folder} holds sounds of another rate, seed or folder; delete it to read them again")
    return Sounds(samples=samples, files=files, sample_rate=rate)


def _follow(files: Sequence[SoundFile], samples: int) -> bool:
    """Whether the files are contiguous and cover all samples."""
    ends = [0, *(file.stop for file in files)]
    return ends[-1] == samples and all(
        isinstance(file.name, str) and isinstance(file.split, str) and type(file.stop) is int and file.first == end
        and file.stop >= end for file, end in zip(files, ends, strict=False)
    )  # fmt: skip
