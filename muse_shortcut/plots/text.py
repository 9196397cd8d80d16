"""The picture of a continued text: its words, under each new token its depth shares, and the sources of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

import numpy as np

from muse_shortcut.generation.trace import Trace
from muse_shortcut.plots.audio import most_telling
from muse_shortcut.plots.palette import ACCENT, INK, MUTED, depth_colours
from muse_shortcut.plots.style import STYLE, depth_legend, fonts, title_of
from muse_shortcut.plots.timeline import percent
from muse_tokenizers.base import Token
from muse_tokenizers.domain import Domain
from muse_tokenizers.text.labels import characters_starting_in, readable
from muse_tokenizers.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_text"]

_COLUMNS = 126
"""Characters of a line."""
_SPACES = (" ", "␣")
"""As they are drawn: within a token, and alone."""
_PROMPT_LINES, _NEW_LINES = 4, 24
"""That are shown at most: the end of the prompt, and the beginning of what is new."""
_BAR = 0.2
"""Its height; that of a line is 1."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """A token on the page."""

    position: int
    """In the ids of the trace."""
    text: str
    """The characters that begin in it."""
    line: int
    column: float
    """Where its first byte is; the bytes of a character share its cell."""
    width: float


def draw_text(trace: Trace, domain: Domain[Any], title: str, step: int | None = None) -> Figure:
    """The whole picture of a continued text.

    Args:
        trace: of the candidate.
        domain: of its ids.
        title: above it.
        step: the new step whose sources are shown; None: the most telling one that is on the page.
    """
    import matplotlib
    from matplotlib.figure import Figure

    tokens = [row[0] for row in domain.tokenizer.describe(trace.ids)]
    placed = _layout(tokens, domain.dumps(domain.tokenizer.decode(trace.ids)), trace.prompt_steps, step)
    new = [one.position - trace.prompt_steps for one in placed if one.position >= trace.prompt_steps]
    chosen = step
    if chosen is None and new:
        chosen = most_telling(trace)
        chosen = chosen if chosen in new else new[len(new) // 2]
    colours = depth_colours(len(trace.depths))
    lines = 1 + max((one.line for one in placed), default=0)
    with matplotlib.rc_context(STYLE):
        height = 1.9 + 0.27 * (lines + 1)
        figure = Figure(figsize=(12.8, height), dpi=150)
        axes = figure.add_axes((0.05, 0.75 / height, 0.8, (height - 1.65) / height))
        axes.set(xlim=(0, _COLUMNS), ylim=(lines, -0.5))
        axes.set_axis_off()
        weights = np.zeros(0, dtype=np.float32) if chosen is None else _weights_of(trace, chosen)
        for one in placed:
            _draw_token(axes, one, tokens[one.position], trace, weights, chosen, colours)
        side = figure.add_axes((0.86, 0.75 / height, 0.13, (height - 1.65) / height))
        side.set_axis_off()
        depth_legend(side, trace, colours)
        if chosen is not None:
            figure.text(
                0.05, 0.32 / height, _in_words(trace, domain, chosen), fontsize=9, color=ACCENT, va="center",
                family=fonts("DejaVu Sans"),
            )  # fmt: skip
        hidden = trace.steps - len(new)
        words = (
            "Under each new token, how its attention divides among the depths; shaded, the sources of the red token."
        )
        title_of(figure, title, words + (f" {counted(hidden, 'token')} not shown." if hidden else ""))
    return figure


def _layout(tokens: Sequence[Token], data: bytes, prompt_steps: int, step: int | None) -> list[_Placed]:
    """The end of the prompt and the new tokens on lines; of a long continuation those around a step."""
    placed: list[_Placed] = []
    line, column, first = 0, 0.0, 0
    for position, token in enumerate(tokens):
        text, width = _cells(token, data)
        if column and text and column + width - text.endswith(("⏎", *_SPACES)) > _COLUMNS:
            # The word that does not fit goes on to the next line with all of its tokens.
            word = _word_start(placed, first, text)
            line, column, first = line + 1, 0.0, word
            moved = [*placed[word:], _Placed(position, text, line, column, width)]
            # A line does not begin with the space before its first word.
            if moved[0].text[:1] == " ":
                moved[0] = replace(moved[0], text=moved[0].text[1:], width=moved[0].width - 1)
            for place, one in enumerate(moved[:-1], start=word):
                placed[place] = replace(one, line=line, column=column)
                column += one.width
            text, width = moved[-1].text, moved[-1].width
        placed.append(_Placed(position, text, line, column, width))
        column += width
        if text.endswith("⏎"):
            line, column, first = line + 1, 0.0, len(placed)
    begins = next((one.line for one in placed if one.position == prompt_steps), line)
    wanted = next((one.line for one in placed if step is not None and one.position == prompt_steps + step), begins)
    first = max(0, begins - _PROMPT_LINES, wanted - _NEW_LINES + 2)
    last = max(begins, first + _PROMPT_LINES) + _NEW_LINES
    return [replace(one, line=one.line - first) for one in placed if first <= one.line < last]


def _word_start(placed: Sequence[_Placed], first: int, text: str) -> int:
    """The first token of the word that `text` goes on with; itself where it is a line long, or no word goes on.

    Args:
        placed: all tokens so far.
        first: of the line, among them.
        text: of the token that follows them.
    """
    word = place = len(placed)
    while place > first:
        place -= 1
        before = placed[place].text
        # The later bytes of a character have no text of their own.
        if not before:
            continue
        if text[0] in _SPACES or before[-1] in _SPACES or 2 in (columns_of(text[0]), columns_of(before[-1])):
            return word
        word, text = place, before
    return len(placed)


def _cells(token: Token, data: bytes) -> tuple[str, float]:
    """What of a text is drawn at a token, and how many columns it takes."""
    if token.kind == "special":
        return "", 0.0
    if token.kind != "byte":
        return token.label, float(sum(map(columns_of, token.label)))
    start, end = int(token.start), int(token.end)
    text = readable(characters_starting_in(data, start, end))
    return text, sum(_share(data, place) for place in range(start, end))


def _share(data: bytes, place: int) -> float:
    """The columns of one byte of a text."""
    lead = place
    while lead > max(0, place - 3) and data[lead] & 0xC0 == 0x80:
        lead -= 1
    character = characters_starting_in(data, lead, lead + 1)
    size = len(character.encode())
    return columns_of(character) / size if len(character) == 1 and lead + size > place else 1.0


def columns_of(character: str) -> int:
    """Cells of a line: wide are East Asian characters and most signs of other planes."""
    return 2 if east_asian_width(character) in "WF" else 1


def _weights_of(trace: Trace, step: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(P + S,): the weight of each position for a new step."""
    begin, row = trace.attended(step)
    weights = np.zeros(len(trace.ids), dtype=np.float32)
    weights[begin : begin + row.shape[1]] = row.sum(0)
    return weights


def _draw_token(
    axes: Axes,
    one: _Placed,
    token: Token,
    trace: Trace,
    weights: np.ndarray[Any, np.dtype[np.float32]],
    chosen: int | None,
    colours: list[str],
) -> None:
    from matplotlib.patches import Rectangle

    step, width = one.position - trace.prompt_steps, one.width
    strongest = float(weights.max(initial=0.0))
    if len(weights) and strongest > 0 and weights[one.position] > 0.02 * strongest:
        axes.add_patch(
            Rectangle(
                (one.column, one.line - 0.38), width, 0.72, color=ACCENT, linewidth=0, zorder=1,
                alpha=0.45 * float(weights[one.position]) / strongest,
            )
        )  # fmt: skip
    is_chosen = chosen is not None and step == chosen
    colour = ACCENT if is_chosen else INK if step >= 0 else MUTED
    column = one.column
    for part in _of_one_width(one.text):
        axes.text(
            column, one.line, part, family=fonts("DejaVu Sans Mono"), fontsize=9.4, color=colour, va="center", zorder=3,
            fontweight="bold" if is_chosen else "normal",
        )  # fmt: skip
        column += sum(map(columns_of, part))
    if step < 0 or not width:
        return
    room = min(0.06, width / 8)
    left = one.column + room
    for share, depth_colour in zip(trace.depth_share[step].mean(-1).tolist(), colours, strict=True):
        part_width = (width - 2 * room) * share
        axes.add_patch(Rectangle((left, one.line + 0.36), part_width, _BAR, color=depth_colour, linewidth=0, zorder=2))
        left += part_width


def _of_one_width(text: str) -> list[str]:
    """Narrow characters together, wide ones one by one: a font has its own width for them."""
    parts: list[str] = []
    for character in text:
        if parts and columns_of(character) == columns_of(parts[-1][0]) == 1:
            parts[-1] += character
        else:
            parts.append(character)
    return parts


def _in_words(trace: Trace, domain: Domain[Any], step: int) -> str:
    """The chosen token, its probability, and its alternatives."""
    before = trace.ids[: trace.prompt_steps + step]
    own = int(trace.ids[len(before), 0])
    nats = float(trace.log_probability[step, 0])
    chances = {
        number: percent(float(np.exp(one)))
        for number, one in zip(
            trace.alternatives[step, 0].tolist(), trace.alternative_log_probability[step, 0], strict=True
        )
        if number >= 0 and number != own
    }
    label, *labels = (name.strip() for name in domain.labels_after(before, 0, [own, *chances]))
    others = ", ".join(f"“{name}” {chance}" for name, chance in zip(labels, chances.values(), strict=True))
    words = f"“{label}”: probability {percent(float(np.exp(nats)))} (log-probability {nats:.2f} nats)"
    return f"{words}; alternatives: {others}" if others else words
