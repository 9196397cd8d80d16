"""What all pictures have in common: type, axes, shares of depths, and how a figure becomes a file."""

from __future__ import annotations

import io
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.generation.trace import Trace
from muse_shortcut.plots.palette import FAINT, INK, MUTED, PAPER
from muse_shortcut.plots.timeline import clock

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["STYLE", "bare", "clock_ticks", "depth_legend", "draw_shares", "fonts", "picture_bytes", "title_of"]

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "svg.fonttype": "path",
    "svg.hashsalt": "muse-shortcut",
    # Names of files and tokens are text, whatever dollars stand in them.
    "text.parse_math": False,
}


def picture_bytes(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """A figure as a file; the same figure gives the same bytes."""
    import matplotlib

    buffer = io.BytesIO()
    metadata: dict[str, Any] = {"Software": None} if kind == "png" else {"Date": None, "Creator": "muse-shortcut"}
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes: nothing that a person could mend.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


@cache
def fonts(first: str) -> list[str]:
    """A font, and of this machine's what has the letters that it lacks."""
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    return [first, *(name for name in _OTHER_SCRIPTS if name in there)]


_OTHER_SCRIPTS = (
    "Noto Sans Mono CJK JP", "Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Hiragino Sans",
    "PingFang SC", "Yu Gothic", "MS Gothic", "Microsoft YaHei", "Noto Emoji", "Segoe UI Emoji", "Symbola",
)  # fmt: skip


def bare(axes: Axes) -> None:
    """Axes without a frame and without ticks."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)


def clock_ticks(axes: Axes, left: float, right: float) -> None:
    """Minutes and seconds below a time axis, at most fourteen."""
    every = next(s for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 10**9) if (right - left) / s <= 14)
    # Not where it would stand on the zero of the other axis.
    ticks = np.arange(np.ceil((left + 0.02 * (right - left)) / every) * every, right, every)
    axes.set_xticks(ticks, [clock(tick) for tick in ticks])


def title_of(figure: Figure, title: str, words: str) -> None:
    """A title, and what is to be seen in a sentence or two."""
    height = figure.get_figheight()
    figure.text(0.05, 1 - 0.36 / height, title, fontsize=15, fontweight="bold", ha="left", va="center")
    figure.text(0.05, 1 - 0.664 / height, words, fontsize=9.5, color=MUTED, ha="left", va="center")


def draw_shares(axes: Axes, trace: Trace, edges: NDArray[np.float64], colours: list[str]) -> None:
    """How much of each new step's attention lay at each depth.

    Args:
        axes: to draw on.
        trace: of the candidate.
        edges: (S + 1,) seconds, or the two ends of a continuation without steps.
        colours: of the depths.
    """
    share = trace.depth_share.mean(-1)
    share = share if trace.steps else np.zeros((1, len(colours)))
    upper = np.concatenate([np.zeros((len(share), 1)), np.cumsum(share, axis=1)], axis=1)
    for number, colour in enumerate(colours):
        axes.stairs(
            upper[:, number + 1], edges, baseline=upper[:, number], fill=True, color=colour, linewidth=0, zorder=2
        )
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    axes.set_xticks([])
    bare(axes)
    axes.spines["bottom"].set_visible(False)
    depth_legend(axes, trace, colours)


def depth_legend(axes: Axes, trace: Trace, colours: list[str]) -> None:
    """Which colour is which depth."""
    from matplotlib.patches import Patch

    handles = [Patch(color=c, label=f"depth {d}") for d, c in zip(trace.depths.tolist(), colours, strict=True)]
    axes.legend(
        handles=handles[::-1], loc="center left", bbox_to_anchor=(0.0, 0.5), frameon=False, title="share of attention",
        alignment="left", fontsize=8.5, title_fontsize=8.5, handlelength=1.0, handleheight=1.0, borderaxespad=0.2,
    )  # fmt: skip
