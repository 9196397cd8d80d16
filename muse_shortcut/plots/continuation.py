"""The picture of a continuation, whatever its domain."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from muse_shortcut.generation.trace import Trace
from muse_shortcut.plots.audio import draw_sound
from muse_shortcut.plots.midi import draw_trace
from muse_shortcut.plots.text import draw_text
from muse_tokenizers.base import Prompt
from muse_tokenizers.domain import Domain, View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_continuation"]


def draw_continuation(
    domain: Domain[Any], trace: Trace, piece: Any, prompt: Prompt[Any], title: str, step: int | None = None
) -> Figure:
    """Notes, sound or words, the depth shares of each new token, and the sources of one of them.

    Args:
        domain: of the trace's ids.
        trace: of the candidate.
        piece: prompt and continuation.
        prompt: what was continued.
        title: above it.
        step: the new step whose sources are shown; None: the most telling one.
    """
    return _PICTURES[domain.view](domain, trace, piece, prompt, title, step)


def _draw_notes(
    domain: Domain[Any], trace: Trace, piece: Any, prompt: Prompt[Any], title: str, step: int | None
) -> Figure:
    return draw_trace(trace, domain.tokenizer, title, step, prompt)


def _draw_sound(
    domain: Domain[Any], trace: Trace, piece: Any, prompt: Prompt[Any], title: str, step: int | None
) -> Figure:
    assert domain.steps_per_second is not None
    return draw_sound(trace, piece, prompt.split_point, domain.steps_per_second, title, step)


def _draw_text(
    domain: Domain[Any], trace: Trace, piece: Any, prompt: Prompt[Any], title: str, step: int | None
) -> Figure:
    return draw_text(trace, domain, title, step)


_Draw = Callable[[Domain[Any], Trace, Any, Prompt[Any], str, int | None], "Figure"]
_PICTURES: dict[View, _Draw] = {"notes": _draw_notes, "sound": _draw_sound, "text": _draw_text}
