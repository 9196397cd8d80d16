"""The step of `--explain`: parsing, checks before and after the generation, output."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from muse_shortcut.errors import ArgumentsError, OptionError

if TYPE_CHECKING:
    from muse_shortcut.api.continuation import Continuation
    from muse_shortcut.generation.ablation import Explanation
    from muse_shortcut.generation.request import Request
    from muse_tokenizers.base import Unit
    from muse_tokenizers.domain import Domain

__all__ = ["ExplainedStep", "check_explained_step", "explanation_lines", "find_step", "parse_explained_step"]

_LISTED = 8
"""Number of sources of an explained step that are printed; the file has all of them."""
_CLOCK = re.compile(r"(\d{1,9}):([0-5]?\d(?:\.\d+)?)")
_STEP = re.compile(r"\d{1,15}")
_SECONDS = re.compile(r"\d{1,15}\.\d*|\.\d+")
"""Seconds have a decimal point; a whole number is a step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainedStep:
    """The step to explain: by number, or by the time of its note."""

    word: str
    """The argument as the user wrote it."""
    step: int | None = None
    seconds: float | None = None


def parse_explained_step(text: str) -> ExplainedStep:
    """Parse the number of a step, or a time in the piece such as 0:31 or 31.5.

    Raises:
        ArgumentsError: The text is neither.
    """
    if _STEP.fullmatch(text):
        return ExplainedStep(word=text, step=int(text))
    if _SECONDS.fullmatch(text):
        return ExplainedStep(word=text, seconds=float(text))
    clock = _CLOCK.fullmatch(text)
    if clock is None:
        raise ArgumentsError(
            f"--explain is {text[:60]!r}; allowed: a step from 0 such as 150, or a time in the piece such as 0:31.5 or "
            "31.5"
        )
    return ExplainedStep(word=text, seconds=60 * int(clock[1]) + float(clock[2]))


def check_explained_step(explained: ExplainedStep, domain: Domain[object], request: Request, steps: int | None) -> None:
    """Check the step before the continuation is generated.

    Args:
        explained: The step to explain.
        domain: Domain of the continuation.
        request: The request that will be run.
        steps: Number of steps of the continuation, if it is known.

    Raises:
        ArgumentsError: No continuation of this request reaches the step or time.
    """
    from muse_shortcut.plots.timeline import clock

    most = _most_steps(domain, request) if steps is None else steps
    if explained.step is not None:
        if explained.step >= most:
            raise ArgumentsError(
                f"--explain is {explained.word}; allowed: steps from 0 to {most - 1}, since there will be no more"
            )
        return
    assert explained.seconds is not None
    if domain.unit != "seconds":
        raise ArgumentsError(
            f"--explain is {explained.word}; allowed: a step from 0, since {domain.info.noun} has no times"
        )
    start, length, first = request.prompt.split_point, request.constraints.length, 0.0
    if domain.steps_per_second is not None:
        # Every frame has its own time, so a time in the prompt is not a new frame.
        in_steps, first = most / domain.steps_per_second, start
        length = in_steps if length is None else min(length, in_steps)
    if length is not None and not first <= explained.seconds < start + length:
        times = f"times from {clock(start, 2)} to {clock(start + length, 2)}, when the continuation will end"
        raise ArgumentsError(f"--explain is {explained.word}; allowed: {times}")


def _most_steps(domain: Domain[object], request: Request) -> int:
    """Return an upper bound on the number of steps."""
    length = request.constraints.length
    if length is None:
        return request.limit
    if domain.unit == "bytes":
        # Every token but the end has at least one byte.
        return min(request.limit, int(length) + 1)
    if domain.steps_per_second is not None:
        # The codes of a frame are spread over as many steps as there are streams.
        return min(request.limit, int(length * domain.steps_per_second) + domain.tokenizer.streams + 1)
    return request.limit


def find_step(one: Continuation, explained: ExplainedStep) -> tuple[int, str]:
    """Find the step in a continuation.

    Returns:
        The step, and a remark for the user, which may be empty.

    Raises:
        ArgumentsError: There is no such step.
    """
    from muse_shortcut.plots.timeline import clock

    if explained.step is not None:
        if explained.step >= len(one.ids):
            steps = f"0 to {len(one.ids) - 1}, the steps of this continuation"
            raise ArgumentsError(f"--explain is {explained.word}; allowed: {steps}")
        return explained.step, ""
    assert explained.seconds is not None
    try:
        step = one.step_at(explained.seconds)
    except OptionError as error:
        raise ArgumentsError(f"--explain is {explained.word}; allowed: {error.allowed}") from error
    if explained.seconds >= one.start:
        return step, ""
    ends = f"in the prompt, which ends at {clock(one.start, 2)}"
    return step, f"--explain {explained.word} is {ends}: this is the first new note"


def explanation_lines(found: Explanation, unit: Unit) -> list[str]:
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
