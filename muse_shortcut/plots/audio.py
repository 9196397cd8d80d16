"""The picture of a continued sound: its mel spectrogram, the depth shares of each new step, the log-probability of each
code, and the sources of one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from muse_shortcut.generation.trace import Trace
from muse_shortcut.plots.palette import ACCENT, FAINT, INK, MUTED, PAPER, depth_colours
from muse_shortcut.plots.style import STYLE, bare, clock_ticks, draw_shares, title_of
from muse_shortcut.plots.timeline import clock, percent
from muse_tokenizers.audio.measures import log_mel
from muse_tokenizers.base import Waveform

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_sound", "most_telling"]

_BANDS = 96
_WINDOW = 2048
"""Samples of a spectrum."""
_SOFTEST = -90.0
"""Decibels that are as pale as silence."""
_PROMPT_SHARE = 1.5
"""The most time of prompt that is shown, as a multiple of the continuation's."""
_LEAST_PROMPT = 5.0
"""Seconds of prompt that are shown in any case."""
_BINS = 420
"""Of the time axis: what falls into one is drawn as one bar."""
_GREYS = ("#ffffff", "#c9ced6", "#7f8896", "#1d2430")
_SURPRISES = ("#e6e9ee", "#b9c0ca", "#7f8896", "#1d2430")
"""The palest is not the paper's: where the model is certain there is a code too."""


def most_telling(trace: Trace) -> int | None:
    """The new step, in the middle half of the continuation, with the strongest single position; None without steps."""
    if not trace.steps:
        return None
    middle = range(trace.steps // 4, max(trace.steps // 4 + 1, 3 * trace.steps // 4))
    return max(middle, key=lambda step: float(trace.row(step).sum(0).max()))


def draw_sound(
    trace: Trace, piece: Waveform, split_point: float, steps_per_second: float, title: str, step: int | None = None
) -> Figure:
    """The whole picture of a continued sound.

    Args:
        trace: of the candidate.
        piece: prompt and continuation.
        split_point: seconds at which the continuation begins.
        steps_per_second: of the ids.
        title: above it.
        step: the new step whose sources are shown; None: the most telling one.
    """
    import matplotlib
    from matplotlib.figure import Figure

    chosen = most_telling(trace) if step is None else step
    # The last steps complete frames whose first codes came before: there is no sound of them.
    end = max(split_point + 1 / steps_per_second, piece.samples.shape[1] / piece.sample_rate)
    left = max(0.0, split_point - max(_LEAST_PROMPT, _PROMPT_SHARE * (end - split_point)))
    colours = depth_colours(len(trace.depths))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.8, 8.0), dpi=150)
        grid = figure.add_gridspec(
            4, 1, height_ratios=(3.0, 1.1, 0.9, 1.1), hspace=0.2, left=0.07, right=0.965, top=0.885, bottom=0.065
        )
        mel, share, surprise, over_time = (figure.add_subplot(grid[row, 0]) for row in range(4))
        _draw_mel(mel, piece, split_point, left, end)
        edges = (
            split_point + np.arange(trace.steps + 1) / steps_per_second if trace.steps else np.array([split_point, end])
        )
        draw_shares(share, trace, edges, colours)
        _draw_surprise(surprise, trace, edges)
        if chosen is None:
            over_time.set_axis_off()
        else:
            _draw_sources(over_time, trace, chosen, split_point, steps_per_second, left, end, colours)
        for axes in (mel, share, surprise, over_time):
            axes.set_xlim(left, end)
        clock_ticks(over_time, left, end)
        title_of(
            figure,
            title,
            "A mel spectrogram; how each new step's attention divides among the depths; the log-probability of its "
            "codes; and the sources that one step attended to.",
        )
    return figure


def _draw_mel(axes: Axes, piece: Waveform, split_point: float, left: float, end: float) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    rate = piece.sample_rate
    shown = Waveform(samples=piece.samples[:, round(left * rate) : round(end * rate)], sample_rate=rate)
    # Spectra are of windows; with half a window before and after, they are drawn at their middles.
    around = np.pad(shown.samples, ((0, 0), (_WINDOW // 2, _WINDOW // 2)))
    mel = log_mel(Waveform(samples=around, sample_rate=rate), bands=_BANDS, window=_WINDOW)
    loudest = max(float(mel.max()), _SOFTEST + 20)
    greys = LinearSegmentedColormap.from_list("greys", _GREYS)
    axes.imshow(
        mel.T, origin="lower", aspect="auto", extent=(left, end, 0, _BANDS), cmap=greys, vmin=_SOFTEST, vmax=loudest,
        interpolation="antialiased", zorder=0,
    )  # fmt: skip
    axes.axvline(split_point, color=ACCENT, linewidth=1.2)
    axes.set_ylim(0, _BANDS)
    top = 2595 * np.log10(1 + rate / 2 / 700)
    ticks = [hertz for hertz in (100, 500, 1000, 2000, 4000, 8000) if hertz < rate / 2]
    axes.set_yticks(
        [2595 * np.log10(1 + hertz / 700) / top * (_BANDS + 1) - 0.5 for hertz in ticks],
        [f"{hertz / 1000:g} kHz" if hertz >= 1000 else f"{hertz} Hz" for hertz in ticks],
    )
    axes.set_xticks([])
    bare(axes)
    axes.spines["bottom"].set_visible(False)
    axes.text(split_point, _BANDS * 1.01, "  generated", ha="left", va="bottom", color=INK, fontsize=9)
    if split_point > left:
        axes.text(split_point, _BANDS * 1.01, "prompt  ", ha="right", va="bottom", color=MUTED, fontsize=9)


def _draw_surprise(axes: Axes, trace: Trace, edges: NDArray[np.float64]) -> None:
    """A strip for each codebook, dark where its code was unlikely."""
    from matplotlib.colors import LinearSegmentedColormap

    nats = -trace.log_probability
    streams = nats.shape[1] if trace.steps else trace.ids.shape[1]
    greys = LinearSegmentedColormap.from_list("surprises", _SURPRISES)
    darkest = float(max(nats.max(initial=0.0), 1.0))
    for stream in range(streams if trace.steps else 0):
        # A code is drawn where its own frame is; frames that began in the prompt are before the split point.
        own = nats[stream:, stream][None]
        if own.size:
            axes.pcolormesh(
                edges[: own.size + 1], np.array([streams - stream - 1, streams - stream]), own, cmap=greys, vmin=0.0,
                vmax=darkest, edgecolors="none", rasterized=True,
            )  # fmt: skip
    axes.set_ylim(0, streams)
    if trace.steps:
        key = f"log-probability of each code: pale 0, dark -{darkest:.1f} nats"
        axes.text(0.0, 1.03, key, transform=axes.transAxes, fontsize=8.5, color=INK, va="bottom")
    axes.set_yticks(np.arange(streams) + 0.5, [f"codebook {stream}" for stream in range(streams, 0, -1)], fontsize=7.5)
    axes.set_xticks([])
    for line in range(1, streams):
        axes.axhline(line, color=PAPER, linewidth=1.0)
    bare(axes)
    axes.spines["bottom"].set_visible(False)


def _draw_sources(
    axes: Axes,
    trace: Trace,
    step: int,
    split_point: float,
    steps_per_second: float,
    left: float,
    right: float,
    colours: list[str],
) -> None:
    """The frames that a step attended to, each as high as its weight; of those in one place the strongest."""
    begin, row = trace.attended(step)
    # A position is drawn where its first codebook's frame is.
    times = split_point + (begin + np.arange(row.shape[1]) - trace.prompt_steps) / steps_per_second
    width = (right - left) / _BINS
    heights = np.zeros((_BINS + 1, len(colours)))
    inside = (times >= left) & (times <= right)
    # The weakest first, so that the strongest of a place stays.
    order = np.argsort(row[:, inside].sum(0))
    heights[((times[inside] - left) / width).astype(np.int64)[order]] = row[:, inside].T[order]
    upper = np.cumsum(heights, axis=1)
    starts = left + width * np.arange(_BINS + 1)
    for number, colour in enumerate(colours):
        below = upper[:, number] - heights[:, number]
        axes.bar(starts, heights[:, number], width=width, bottom=below, color=colour, align="edge", zorder=2)
    moment = split_point + step / steps_per_second
    axes.axvline(moment, color=ACCENT, linewidth=1.2, zorder=3)
    top = float(upper[:, -1].max()) or 1.0
    axes.set_ylim(0, 1.2 * top)
    axes.set_yticks([0, top], ["0", percent(top)])
    axes.spines["bottom"].set_color(FAINT)
    bare(axes)
    on_left = moment > (left + right) / 2
    axes.text(
        moment, 1.15 * top, f"  step {step} at {clock(moment)}  ", color=ACCENT, fontsize=9, fontweight="bold",
        ha="right" if on_left else "left", va="top",
    )  # fmt: skip
    axes.text(0.0, 1.0, "weight of each source frame", transform=axes.transAxes, fontsize=8.5, color=INK, va="top")
    before = float(row[:, times < left].sum())
    if before >= 0.005:
        words = f"◂ {percent(before)} before {clock(left)}, together"
        axes.text(0.0, 0.84, words, transform=axes.transAxes, fontsize=8, color=MUTED, va="top")
