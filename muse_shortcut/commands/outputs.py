"""Writes the candidates of muse-generate as files. What cannot be regenerated from the rest is written first."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muse_shortcut.commands.command_line import say
from muse_shortcut.errors import ArgumentsError, OptionError
from muse_shortcut.files import write_text
from muse_tokenizers.levels import LOUDNESS, QUIETEST

if TYPE_CHECKING:
    from muse_shortcut.api.continuation import Continuation
    from muse_shortcut.evaluation.ranking import Ranked
    from muse_shortcut.generation.ablation import Explanation
    from muse_tokenizers.base import Unit

__all__ = [
    "ExplainedStep",
    "Output",
    "Wanted",
    "choose_output",
    "parse_explained_step",
    "parse_loudness",
    "say_what_next",
    "write_candidates",
]

_LISTED = 8
"""Number of sources of an explained step that are printed; the file has all of them."""
_ENDINGS = (".mid", ".wav", ".txt", ".json", ".trace.npz", ".png", ".svg", ".explain.json")
"""Suffixes of all files that are written."""
_OFTEN_WANTED = (".midi", ".mp3", ".flac", ".ogg", ".m4a", ".text", ".npz")
"""Suffixes of files that are not written, which therefore do not name a folder."""
_WRITTEN = {"midi": (".mid", ".wav"), "audio": (".wav",), "text": (".txt",)}
"""Suffixes of the piece and its sound."""
_CLOCK = re.compile(r"(\d+):([0-5]?\d(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainedStep:
    """The step to explain: by number, or by the time of its note."""

    word: str
    """The argument as the user wrote it."""
    step: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What to write in addition to the piece and its sidecar."""

    keep: int | None = None
    """Number of best candidates to write; None writes all, unranked."""
    trace: bool = True
    picture: bool = False
    explain: ExplainedStep | None = None
    sound: dict[str, Any] | None = None
    """Path of the soundfont; None for no sound."""
    soundfont: Path | None = None
    loudness: float | None = None
    """Loudness in LUFS; None for the level of the soundfont."""
    named: bool = False
    """The user named the single file, so it gets no number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """Destination: a folder, or a named file."""

    folder: Path
    name: str | None = None
    """Name of the single file, without its suffix."""

    def stem(self, name: str, *, alone: bool) -> Path:
        """Return the stem of all files, without their number.

        Args:
            name: Name to use if the user named no file.
            alone: Whether a single candidate is written.

        Raises:
            ArgumentsError: The named file already exists.
        """
        if self.name is None or not alone:
            return self.folder / (self.name or name)
        taken = next(
            (self.folder / (self.name + one) for one in _ENDINGS if (self.folder / (self.name + one)).exists()), None
        )
        if taken is not None:
            raise ArgumentsError(f"{taken} is there already, and nothing is written over; name another --out")
        return self.folder / self.name


def choose_output(place: str, domain: str) -> Output:
    """Parse `--out`.

    Raises:
        ArgumentsError: The suffix belongs to another domain.
    """
    path = Path(place)
    allowed = _WRITTEN[domain]
    if path.is_dir() or path.suffix.lower() not in {*_ENDINGS, *_OFTEN_WANTED}:
        return Output(folder=path)
    if path.suffix.lower() not in allowed:
        raise ArgumentsError(f"--out is {place}; allowed: a folder, or a file that ends in {' or '.join(allowed)}")
    return Output(folder=path.parent, name=path.stem)


def parse_loudness(text: str) -> float | None:
    """Parse a loudness in LUFS; "off" gives None.

    Raises:
        ArgumentsError: The text is neither.
    """
    if text.strip().lower() == "off":
        return None
    with suppress(ValueError):
        if QUIETEST <= float(text) <= 0:
            return float(text)
    raise ArgumentsError(f"--loudness is {text!r}; allowed: LUFS from {QUIETEST:g} to 0 such as {LOUDNESS:g}, or off")


def parse_explained_step(text: str) -> ExplainedStep:
    """Parse the number of a step, or a time in the piece such as 0:31.

    Raises:
        ArgumentsError: The text is neither.
    """
    if text.isdecimal():
        return ExplainedStep(word=text, step=int(text))
    clock = _CLOCK.fullmatch(text)
    if clock is None:
        raise ArgumentsError(f"--explain is {text!r}; allowed: a step from 0, or a time in the piece such as 0:31.5")
    return ExplainedStep(word=text, seconds=60 * int(clock[1]) + float(clock[2]))


def write_candidates(continuations: Sequence[Continuation], stem: Path, wanted: Wanted) -> list[Path]:
    """Write continuations as STEM-NUMBER with their suffixes, and print the names of the files.

    Returns:
        The stem of the files of each candidate.

    Raises:
        OutputError: A file could not be written.
        ArgumentsError: There is no such step to explain; everything else has been written.
    """
    from muse_shortcut.generation.output_names import free_number
    from muse_shortcut.generation.trace import load_trace

    number = free_number(stem.parent, stem.name)
    ranking = None if wanted.keep is None else _rank(continuations)
    order = range(len(continuations)) if ranking is None else [one.candidate for one in ranking[: wanted.keep]]
    written: list[tuple[Continuation, Path]] = []
    for place, candidate in enumerate(order):
        one = continuations[candidate]
        numbered = stem if wanted.named else stem.with_name(f"{stem.name}-{number}")
        number += 1
        ranked = None if ranking is None else ranking[place].to_json()
        _say(one.save(_beside(numbered, one.domain.suffix)))
        sidecar = _beside(numbered, ".json")
        write_text(sidecar, one.sidecar(name=stem.name, sound=wanted.sound, ranking=ranked))
        _say(sidecar)
        written.append((one, numbered))
    for one, numbered in written if wanted.trace else []:
        _say(one.save(_beside(numbered, ".trace.npz")))
    # Sound is slow, and can be rendered again from the rest.
    for one, numbered in written if wanted.sound is not None else []:
        if one.domain.sound_rate is not None and one.domain.suffix != ".wav":
            _say(one.save(_beside(numbered, ".wav"), soundfont=wanted.soundfont, loudness=wanted.loudness))
    problems = []
    for one, numbered in written if wanted.picture or wanted.explain is not None else []:
        if wanted.trace:
            # The saved file is memory-mapped: the rows of an hour need not be in memory.
            one.trace = load_trace(_beside(numbered, ".trace.npz"))
        step = None
        try:
            if wanted.explain is not None:
                step = _find_step(one, wanted.explain)
        except ArgumentsError as error:
            problems.append(f"{numbered.name}: {error}")
        for ending in (".png", ".svg") if wanted.picture else ():
            _say(one.plot(_beside(numbered, ending), step=step, title=numbered.name))
        if step is not None:
            _explain(one, step, numbered)
    if problems:
        raise ArgumentsError("; ".join(problems))
    return [numbered for _, numbered in written]


def say_what_next(written: Sequence[Path], steps: int | None, wanted: Wanted) -> None:
    """Print the last line: what was written, and what can be done with it.

    Args:
        written: Stems of the files of each candidate.
        steps: Step at which the work was interrupted; None if it was not.
        wanted: The requested outputs.
    """
    if not written:
        return
    first = written[0]
    made = [one for one in (".wav", ".mid", ".txt") if _beside(first, one).exists()]
    verb = "listen to" if ".wav" in made else "open" if ".mid" in made else "read"
    kept = "" if steps is None else f"interrupted after {steps} steps, what was written so far is kept; "
    also = " (or open the .mid in a notation program)" if made[:2] == [".wav", ".mid"] else ""
    why = "" if wanted.picture or wanted.explain is not None else "; --picture and --explain show its attention"
    say(f"{kept}{verb} {_beside(first, made[0])}{also}{why}\n")


def _rank(continuations: Sequence[Continuation]) -> list[Ranked]:
    from muse_shortcut.evaluation.ranking import rank

    first = continuations[0]
    found = rank(
        first.domain,
        first.request.prompt,
        [one.piece for one in continuations],
        [one.log_probability for one in continuations],
        [one.ids.size for one in continuations],
    )
    for one in found:
        far = "" if one.distance is None else f", {one.distance:.2f} from the prompt's end"
        faults = "".join(f"; {fault}" for fault in one.faults)
        say(f"place {one.place}: candidate {one.candidate}, {one.nats_per_token:.3f} nats per token{far}{faults}\n")
    return found


def _say(path: Path) -> None:
    say(f"{path}\n")


def _beside(numbered: Path, ending: str) -> Path:
    return numbered.with_name(numbered.name + ending)


def _find_step(one: Continuation, moment: ExplainedStep) -> int:
    from muse_shortcut.plots.timeline import clock

    if moment.step is not None:
        if moment.step >= len(one.ids):
            steps = f"0 to {len(one.ids) - 1}, the steps of this continuation"
            raise ArgumentsError(f"--explain is {moment.word}; allowed: {steps}")
        return moment.step
    assert moment.seconds is not None
    try:
        step = one.step_at(moment.seconds)
    except OptionError as error:
        raise ArgumentsError(f"--explain is {moment.word}; allowed: {error.allowed}") from error
    if moment.seconds < one.start:
        ends = f"in the prompt, which ends at {clock(one.start, 2)}"
        say(f"--explain {moment.word} is {ends}: this is the first new note\n")
    return step


def _explain(one: Continuation, step: int, numbered: Path) -> None:
    found = one.explain(step)
    path = _beside(numbered, ".explain.json")
    write_text(path, json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n")
    _say(path)
    say("\n".join(_lines(found, one.domain.unit)) + "\n")


def _lines(found: Explanation, unit: Unit) -> list[str]:
    """Format an explanation as lines for a terminal."""
    token = found.tokens[0]
    # The number of a codec code has no meaning for a reader: a frame is identified by its time.
    of_sound = token.kind.startswith("codebook")
    what = "a frame" if of_sound else token.label
    codes = f" (codes {', '.join(str(one.id) for one in found.tokens)})" if of_sound else ""

    def place(start: float) -> str:
        return f"{start:.2f} s" if unit == "seconds" else f"byte {start:.0f}"

    lines = [
        f"step {found.step}: {what} at {place(token.start)}{codes}, {sum(found.log_probability):.3f} nats",
        f"{'source':<24}{'at':>10}{'weight':>10}{'ablated, nats':>15}",
    ]
    for ablation in (*found.depths, *found.spans[:_LISTED]):
        name = f"depth {ablation.depth}" if ablation.span is None else "a frame" if of_sound else ablation.span.label
        at = "" if ablation.span is None else place(ablation.span.start)
        lines.append(f"{name:<24}{at:>10}{100 * ablation.weight:>8.1f} %{sum(ablation.change):>+15.3f}")
    return lines
