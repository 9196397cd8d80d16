"""What muse-generate leaves of its candidates, as files. What cannot be made again from the rest comes first."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muse_shortcut.commands.line import say
from muse_shortcut.errors import ArgumentsError
from muse_tokenizers.levels import LOUDNESS, QUIETEST

if TYPE_CHECKING:
    from muse_shortcut.checkpoints import Checkpoint
    from muse_shortcut.evaluation.ranking import Ranked
    from muse_shortcut.generation.engine import Generation
    from muse_shortcut.generation.explaining import Explanation
    from muse_shortcut.generation.trace import Trace
    from muse_tokenizers.base import Prompt, Tokenizer, Unit

__all__ = [
    "Moment",
    "Output",
    "Wanted",
    "choose_output",
    "parse_loudness",
    "parse_moment",
    "say_what_next",
    "write_candidates",
]

_LISTED = 8
"""Sources of an explained step that are printed; all of them are in its file."""
_ENDINGS = (".mid", ".wav", ".txt", ".json", ".trace.npz", ".png", ".svg", ".explain.json")
"""Of all that is written."""
_OFTEN_WANTED = (".midi", ".mp3", ".flac", ".ogg", ".m4a", ".text", ".npz")
"""Endings of files that are not written: no folder is meant."""
_WRITTEN = {"midi": (".mid", ".wav"), "audio": (".wav",), "text": (".txt",)}
"""Endings of the piece and its sound."""
_CLOCK = re.compile(r"(\d+):([0-5]?\d(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """The step that is to be explained: by number, or by the time of its note."""

    step: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is to be written beside the piece and its sidecar."""

    keep: int | None = None
    """How many, the best first; None: all, as they come."""
    trace: bool = True
    picture: bool = False
    explain: Moment | None = None
    sound: dict[str, Any] | None = None
    """What it is made with; None for no sound."""
    soundfont: Path | None = None
    loudness: float | None = None
    """LUFS; None: as the soundfont has it."""
    named: bool = False
    """The one file was named by whoever asked: it gets no number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """Where is written: a folder, or a file that was named."""

    folder: Path
    name: str | None = None
    """Of the one file, without its ending."""

    def stem(self, name: str, *, alone: bool) -> Path:
        """What all files begin with, but for their number, where they have one.

        Args:
            name: where none was named.
            alone: one candidate alone is written.

        Raises:
            ArgumentsError: the file that was named is there.
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
    """What `--out` names.

    Raises:
        ArgumentsError: it is a file of another domain.
    """
    path = Path(place)
    allowed = _WRITTEN[domain]
    if path.is_dir() or path.suffix.lower() not in {*_ENDINGS, *_OFTEN_WANTED}:
        return Output(folder=path)
    if path.suffix.lower() not in allowed:
        raise ArgumentsError(f"--out is {place}; allowed: a folder, or a file that ends in {' or '.join(allowed)}")
    return Output(folder=path.parent, name=path.stem)


def parse_loudness(text: str) -> float | None:
    """LUFS of a word; None for "off".

    Raises:
        ArgumentsError: it is neither.
    """
    if text.strip().lower() == "off":
        return None
    with suppress(ValueError):
        if QUIETEST <= float(text) <= 0:
            return float(text)
    raise ArgumentsError(f"--loudness is {text!r}; allowed: LUFS from {QUIETEST:g} to 0 such as {LOUDNESS:g}, or off")


def parse_moment(text: str) -> Moment:
    """A step's number, or a time in the piece such as 0:31.

    Raises:
        ArgumentsError: it is neither.
    """
    if text.isdecimal():
        return Moment(step=int(text))
    clock = _CLOCK.fullmatch(text)
    if clock is None:
        raise ArgumentsError(f"--explain is {text!r}; allowed: a step from 0, or a time in the piece such as 0:31.5")
    return Moment(seconds=60 * int(clock[1]) + float(clock[2]))


def write_candidates(
    generation: Generation,
    checkpoint: Checkpoint,
    stem: Path,
    source: str | None,
    wanted: Wanted,
    only: int | None,
    *,
    interrupted: bool,
) -> list[Path]:
    """Write every candidate, or only one, as STEM-NUMBER and their endings; print what was written.

    Returns:
        What the files of each begin with.

    Raises:
        OutputError: a file could not be written.
        ArgumentsError: there is no such step to explain; everything else has been written.
    """
    from muse_shortcut.files import write_text
    from muse_shortcut.generation.outputs import free_number, write_piece, write_sound
    from muse_shortcut.generation.sidecar import sidecar_text
    from muse_shortcut.generation.trace import load_trace

    tokenizer, request = checkpoint.tokenizer, generation.request
    if interrupted:
        request = request.stopped_after(generation.steps)
    number = free_number(stem.parent, stem.name)
    written: list[tuple[int, Path, Any]] = []
    continuations = generation.continuations()
    pieces = [
        tokenizer.join(request.prompt, ids) if only in (None, candidate) else None
        for candidate, ids in enumerate(continuations)
    ]
    ranking = None if wanted.keep is None else _rank(generation, tokenizer, pieces)
    order = range(len(pieces)) if ranking is None else [one.candidate for one in ranking[: wanted.keep]]
    for place, candidate in enumerate(order):
        ids, piece = continuations[candidate], pieces[candidate]
        if piece is None:
            continue
        numbered = stem if wanted.named else stem.with_name(f"{stem.name}-{number}")
        number += 1
        text = sidecar_text(
            tokenizer,
            request,
            checkpoint=checkpoint.digest,
            candidate=candidate,
            ids=ids,
            log_probability=generation.log_probabilities()[candidate],
            name=stem.name,
            source=source,
            sound=wanted.sound,
            ranking=None if ranking is None else ranking[place].to_json(),
        )
        _say(write_piece(tokenizer, piece, numbered))
        sidecar = _beside(numbered, ".json")
        write_text(sidecar, text)
        _say(sidecar)
        written.append((candidate, numbered, piece))
    for candidate, numbered, _ in written if wanted.trace else []:
        path = _beside(numbered, ".trace.npz")
        generation.save_trace(candidate, path)
        _say(path)
    # Sound takes long, and can be made again from the rest.
    for _, numbered, piece in written if wanted.sound is not None else []:
        sound = write_sound(tokenizer, piece, numbered, wanted.soundfont, wanted.loudness)
        if sound is not None:
            _say(sound)
    problems = []
    for candidate, numbered, piece in written if wanted.picture or wanted.explain is not None else []:
        # What was saved is read where it lies: an hour's rows need not be in memory.
        saved = load_trace(_beside(numbered, ".trace.npz")) if wanted.trace else generation.trace(candidate)
        try:
            step = None
            if wanted.explain is not None:
                step = _find_step(tokenizer, saved, wanted.explain, request.prompt)
        except ArgumentsError as error:
            step, problem = None, f"{numbered.name}: {error}"
            problems.append(problem)
        if wanted.picture:
            _draw(checkpoint.tokenizer, saved, piece, request.prompt, numbered, step)
        if step is not None:
            _explain(generation, checkpoint, saved, step, numbered)
    if problems:
        raise ArgumentsError("; ".join(problems))
    return [numbered for _, numbered, _ in written]


def say_what_next(written: Sequence[Path], steps: int | None, wanted: Wanted) -> None:
    """The last line: what there is now, and what can be done with it.

    Args:
        written: what the files of each candidate begin with.
        steps: at which the work was interrupted; None: it was not.
        wanted: what was asked for.
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


def _rank(generation: Generation, tokenizer: Tokenizer[Any], pieces: Sequence[Any]) -> list[Ranked]:
    from muse_shortcut.evaluation.ranking import rank

    tokens = [ids.size for ids in generation.continuations()]
    found = rank(tokenizer, generation.request.prompt, pieces, generation.log_probabilities(), tokens)
    for one in found:
        far = "" if one.distance is None else f", {one.distance:.2f} from the prompt's end"
        faults = "".join(f"; {fault}" for fault in one.faults)
        say(f"place {one.place}: candidate {one.candidate}, {one.nats_a_token:.3f} nats a token{far}{faults}\n")
    return found


def _say(path: Path) -> None:
    say(f"{path}\n")


def _beside(numbered: Path, ending: str) -> Path:
    return numbered.with_name(numbered.name + ending)


def _draw(
    tokenizer: Tokenizer[Any], trace: Trace, piece: Any, prompt: Prompt[Any], numbered: Path, step: int | None
) -> None:
    from muse_shortcut.files import write_bytes
    from muse_shortcut.pictures.continuation import draw_continuation
    from muse_shortcut.pictures.style import picture_bytes

    figure = draw_continuation(tokenizer, trace, piece, prompt, numbered.name, step)
    for kind in ("png", "svg"):
        path = _beside(numbered, f".{kind}")
        write_bytes(path, picture_bytes(figure, kind))
        _say(path)


def _find_step(tokenizer: Tokenizer[Any], trace: Trace, moment: Moment, prompt: Prompt[Any]) -> int:
    cut = prompt.cut
    if moment.step is not None:
        if moment.step >= trace.steps:
            raise ArgumentsError(f"--explain is {moment.step}; this continuation has {trace.steps} steps, from 0")
        return moment.step
    assert moment.seconds is not None
    if tokenizer.unit != "seconds":
        raise ArgumentsError(f"--explain is a time; allowed of {tokenizer.kind}: a step from 0 to {trace.steps - 1}")
    if tokenizer.steps_per_second is not None:
        step = int((moment.seconds - cut) * tokenizer.steps_per_second + 1e-6)
        if not 0 <= step < trace.steps:
            end = cut + trace.steps / tokenizer.steps_per_second
            where = f"this continuation goes from {cut:.2f} to {end:.2f}"
            raise ArgumentsError(f"--explain is at {moment.seconds:g} seconds; {where}")
        return step
    if moment.seconds < cut:
        say(f"--explain is at {moment.seconds:g} seconds, before the cut at {cut:.2f}: this is the first new note\n")
    tokens = tokenizer.describe(trace.ids, prompt)[trace.prompt_steps :]
    begins = tokenizer.note_starts()[trace.ids[trace.prompt_steps :, 0]]
    late = (s for s, step in enumerate(tokens) if begins[s] and step[0].start >= moment.seconds)
    found = next(late, None)
    if found is None:
        raise ArgumentsError(f"--explain: no new note begins at {moment.seconds:g} seconds or later")
    return found


def _explain(generation: Generation, checkpoint: Checkpoint, trace: Trace, step: int, numbered: Path) -> None:
    from muse_shortcut.files import write_text
    from muse_shortcut.generation.explaining import explain

    found = explain(checkpoint.core, checkpoint.tokenizer, generation.request, trace, step)
    path = _beside(numbered, ".explain.json")
    write_text(path, json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n")
    _say(path)
    say("\n".join(_lines(found, checkpoint.tokenizer.unit)) + "\n")


def _lines(found: Explanation, unit: Unit) -> list[str]:
    """What was found of a step, as lines for a terminal."""
    token = found.tokens[0]
    # A code of sound tells nobody anything: a frame is known by when it is.
    of_sound = token.kind.startswith("codebook")
    what = "a frame" if of_sound else token.label
    codes = f" (codes {', '.join(str(one.id) for one in found.tokens)})" if of_sound else ""

    def place(start: float) -> str:
        return f"{start:.2f} s" if unit == "seconds" else f"byte {start:.0f}"

    lines = [
        f"step {found.step}: {what} at {place(token.start)}{codes}, {sum(found.log_probability):.3f} nats",
        f"{'source':<24}{'at':>10}{'weight':>10}{'if cut, nats':>15}",
    ]
    for cut in (*found.depths, *found.spans[:_LISTED]):
        name = f"depth {cut.depth}" if cut.span is None else "a frame" if of_sound else cut.span.label
        at = "" if cut.span is None else place(cut.span.start)
        lines.append(f"{name:<24}{at:>10}{100 * cut.weight:>8.1f} %{sum(cut.change):>+15.3f}")
    return lines
