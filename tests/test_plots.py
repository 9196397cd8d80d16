"""Tests of pictures: every new token has its place on the time axis, weights add up, bytes are reproducible."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import RunCommand

from muse_shortcut.checkpoints import Checkpoint, load_checkpoint
from muse_shortcut.generation.ablation import SourceSpan
from muse_shortcut.generation.engine import Generation
from muse_shortcut.generation.request import Request
from muse_shortcut.generation.trace import Trace
from muse_shortcut.plots.midi import draw_trace
from muse_shortcut.plots.palette import ACCENT, NEW, PAPER, PROMPT, colours_of_page, depth_colours
from muse_shortcut.plots.roll import Rows, draw_arcs, draw_roll, free_place
from muse_shortcut.plots.style import picture_bytes
from muse_shortcut.plots.timeline import (
    AttendedSpan,
    Note,
    Timeline,
    alternatives_of,
    clock,
    make_timeline,
    percent,
    sources_of,
    telling_step,
)
from muse_tokenizers.base import Token


@pytest.fixture(scope="module")
def checkpoint(random_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(random_checkpoint)


def _trace(checkpoint: Checkpoint, prompt_file: Path | None, steps: int = 80) -> Trace:
    domain = checkpoint.domain
    prompt = domain.prompt(None if prompt_file is None else domain.read(prompt_file), 4.0 if prompt_file else None)
    generation = Generation(checkpoint.core, domain, Request(prompt=prompt, seed=5, max_steps=steps))
    for _ in generation:
        pass
    return generation.trace(0)


@pytest.fixture(scope="module")
def trace(checkpoint: Checkpoint, prompt_file: Path) -> Trace:
    return _trace(checkpoint, prompt_file)


@pytest.fixture(scope="module")
def timeline(checkpoint: Checkpoint, trace: Trace) -> Timeline:
    return make_timeline(checkpoint.tokenizer.describe(trace.ids), trace.prompt_steps)


# The time axis


def _tokens(*starts: float) -> list[list[Token]]:
    return [[Token(id=0, label="x", kind="position", start=start, end=start)] for start in starts]


def test_ids_of_one_moment_share_the_time_up_to_the_next() -> None:
    timeline = make_timeline(_tokens(0, 0, 0, 1, 1, 1, 2), 4)
    # The prompt's bar line at the split point is drawn before it, so that what is new begins there.
    assert timeline.edges.tolist() == [0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.25]
    assert (timeline.split_point, timeline.end) == (1, 2.25)
    assert make_timeline(_tokens(0, 0, 0), 1).edges.tolist() == [0, 0, 0.125, 0.25]


def test_every_position_has_room_of_its_own(timeline: Timeline, trace: Trace) -> None:
    assert len(timeline.edges) == len(trace.ids) + 1
    assert (np.diff(timeline.edges) > 0).all()
    assert timeline.edges[trace.prompt_steps] == pytest.approx(timeline.split_point)


def test_notes_are_those_of_the_piece(checkpoint: Checkpoint, timeline: Timeline, trace: Trace) -> None:
    score = checkpoint.tokenizer.decode(trace.ids).to("second")
    expected = sorted((note.pitch, round(note.time, 3)) for track in score.tracks for note in track.notes)
    # An unfinished note at the end is in the ids, not in the piece.
    found = sorted((note.pitch, round(note.start, 3)) for note in timeline.notes)
    assert len(found) - len(expected) in (0, 1)
    missing = [item for item in expected if not any(np.allclose(item, other, atol=2e-3) for other in found)]
    assert not missing
    assert all(note.is_new == (note.first >= trace.prompt_steps) for note in timeline.notes)


def test_without_a_prompt_all_is_new(checkpoint: Checkpoint) -> None:
    trace = _trace(checkpoint, None)
    timeline = make_timeline(checkpoint.tokenizer.describe(trace.ids), trace.prompt_steps)
    assert timeline.split_point == 0
    assert all(note.is_new for note in timeline.notes)


# Sources


def test_the_sources_of_a_step_add_up_to_its_row(timeline: Timeline, trace: Trace) -> None:
    for step in (0, 11, trace.steps - 1):
        sources = sources_of(trace, timeline, step)
        np.testing.assert_allclose(sum(source.by_depth for source in sources), trace.row(step).sum(1), rtol=1e-4)
        weights = [source.weight for source in sources]
        assert weights == sorted(weights, reverse=True)
        assert all(source.span.first < trace.prompt_steps + step for source in sources)


def test_the_telling_step_has_the_strongest_single_note(timeline: Timeline, trace: Trace) -> None:
    step = telling_step(trace, timeline)
    assert step is not None
    firsts = {note.first for note in timeline.notes}
    assert trace.prompt_steps + step in firsts

    def strongest(other: int) -> float:
        return max((s.weight for s in sources_of(trace, timeline, other) if s.span.first in firsts), default=0.0)

    low, high = (
        timeline.split_point + 0.25 * (timeline.end - timeline.split_point),
        timeline.split_point + 0.75 * (timeline.end - timeline.split_point),
    )
    middle = [note for note in timeline.notes if note.is_new and low <= timeline.edges[note.first] <= high]
    assert len(middle) > 3
    assert strongest(step) == max(strongest(note.first - trace.prompt_steps) for note in middle)


def test_where_there_is_no_new_note_there_is_no_telling_step(checkpoint: Checkpoint, prompt_file: Path) -> None:
    trace = _trace(checkpoint, prompt_file, steps=2)
    timeline = make_timeline(checkpoint.tokenizer.describe(trace.ids), trace.prompt_steps)
    assert telling_step(trace, timeline) is None
    assert picture_bytes(draw_trace(trace, checkpoint.tokenizer, "none"), "png").startswith(b"\x89PNG")


def test_a_source_is_drawn_at_its_second_and_as_high_as_its_weight(
    checkpoint: Checkpoint, trace: Trace, timeline: Timeline
) -> None:
    step = telling_step(trace, timeline)
    assert step is not None
    figure = draw_trace(trace, checkpoint.tokenizer, "bars", step)
    panel = figure.axes[2]
    left = panel.get_xlim()[0]
    width = panel.patches[0].get_width()
    drawn = {round(bar.get_x(), 6) for bar in panel.patches if bar.get_height() > 0}
    starts = {span.start for span in timeline.spans if left <= span.start and span.first < trace.prompt_steps + step}
    assert drawn <= {round(left + int((start - left) / width) * width, 6) for start in starts}
    chosen = next(note for note in timeline.notes if note.first == trace.prompt_steps + step)
    assert chosen.start in [line.get_xdata()[0] for line in panel.lines]
    # The number beside the panel is that of the list, not the sum of all that is at one moment.
    strongest = max(source.weight for source in sources_of(trace, timeline, step) if source.span.start >= left)
    assert panel.get_yticks()[1] == pytest.approx(strongest, rel=1e-5)
    assert [label.get_text() for label in panel.get_yticklabels()] == ["0", percent(strongest)]


def test_alternatives_are_named_as_they_would_have_been(
    checkpoint: Checkpoint, trace: Trace, timeline: Timeline
) -> None:
    step = telling_step(trace, timeline)
    assert step is not None
    found = alternatives_of(trace, checkpoint.tokenizer, step)
    assert len(found) == 4
    assert all(token.id != trace.ids[trace.prompt_steps + step, 0] for token, _ in found)
    chances = [chance for _, chance in found]
    assert chances == sorted(chances, reverse=True)
    assert 0 < sum(chances) < 1


# Colours


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_depths_are_apart_in_lightness_alone(count: int, dark: bool) -> None:
    colours = depth_colours(count, dark=dark)
    assert len(set(colours)) == count
    lightness = [_luminance(colour) for colour in colours]
    assert lightness == sorted(lightness)
    # Seen without any colour, neighbours still differ.
    assert all(_contrast(one, other) > 1.3 for one, other in itertools.pairwise(colours))


def test_notes_of_the_prompt_and_generated_ones_are_apart_without_colour() -> None:
    assert _contrast(PROMPT, NEW) >= 3
    assert _contrast(ACCENT, PAPER) >= 3
    night: dict[str, Any] = colours_of_page(3, dark=True)
    assert _contrast(night["prompt"], night["new"]) >= 3
    assert all(_contrast(colour, night["paper"]) >= 3 for colour in (night["accent"], *night["depths"]))


# The files


def test_the_same_trace_gives_the_same_bytes(checkpoint: Checkpoint, trace: Trace) -> None:
    for kind in ("png", "svg"):
        one, other = (picture_bytes(draw_trace(trace, checkpoint.tokenizer, "a", 9), kind) for _ in range(2))  # type: ignore[arg-type]
        assert one == other


@pytest.mark.parametrize("prompted", [False, True])
def test_a_continuation_of_no_step_has_a_picture_too(checkpoint: Checkpoint, prompt_file: Path, prompted: bool) -> None:
    domain = checkpoint.domain
    request = Request(prompt=domain.prompt(domain.read(prompt_file) if prompted else None, None), seed=1)
    trace = Generation(checkpoint.core, domain, request).trace(0)
    assert trace.steps == 0
    assert picture_bytes(draw_trace(trace, domain.tokenizer, "nothing"), "png").startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("title", ["a $x_$", "\\frac{", "月光 ソナタ", "a\nb"])
def test_any_file_name_is_a_title(checkpoint: Checkpoint, trace: Trace, title: str) -> None:
    for kind in ("png", "svg"):
        picture_bytes(draw_trace(trace, checkpoint.tokenizer, title), kind)  # type: ignore[arg-type]


def test_pictures_are_drawn_for_every_candidate(
    run: RunCommand, random_checkpoint: Path, prompt_file: Path, tmp_path: Path
) -> None:
    words: list[Any] = ["--prompt", prompt_file, "--prompt-seconds", 4, "--max-new-tokens", 60, "--seed", 5]
    quiet = ("--sound", "false", "--trace", "false", "--out", tmp_path)
    done = run("generate", "midi", "--checkpoint", random_checkpoint, *words, "--num-samples", 2, "--picture", *quiet)
    assert done.code == 0, done.err
    for number in (1, 2):
        png, svg = (tmp_path / f"bach-prelude-{number}.{kind}" for kind in ("png", "svg"))
        assert png.read_bytes().startswith(b"\x89PNG")
        assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert not list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize(("share", "text"), [(1.0, "100 %"), (0.0995, "10 %"), (0.0614, "6.1 %"), (0.0041, "0.41 %")])
def test_percentages_have_the_places_that_mean_something(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0:00"), (59.7, "1:00"), (75.2, "1:15"), (3661, "61:01")])
def test_clocks_count_minutes(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_note_however_short_on_the_axis_has_a_width_and_no_edge_that_hides_it(
    checkpoint: Checkpoint, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def widths_and_edges() -> tuple[list[float], list[float]]:
        roll = draw_trace(trace, checkpoint.tokenizer, "t").axes[0]
        left, right = roll.get_xlim()
        paths = [path for one in roll.collections[:2] for path in one.get_paths()]
        edges = [float(edge) for one in roll.collections[:2] for edge in np.atleast_1d(one.get_linewidth())]
        return [float(path.get_extents().width / (right - left)) for path in paths], edges

    widths, edges = widths_and_edges()
    assert min(widths) >= 0.99 / 600
    assert max(edges) > 0
    # As where an hour is on the axis.
    monkeypatch.setattr("muse_shortcut.plots.roll._LEAST_WIDTH", 0.5)
    widths, edges = widths_and_edges()
    assert min(widths) >= 0.49
    assert max(edges) == 0


def _note(pitch: int, start: float, first: int = 0, drum: str = "") -> Note:
    return Note(
        pitch=pitch, start=start, end=start + 2, first=first, is_new=True, is_drum=bool(drum), label=drum or f"p{pitch}"
    )


def test_drums_have_rows_with_their_names_and_pitches_have_octaves() -> None:
    kit = [_note(36, 0, drum="Bass Drum 1"), _note(42, 0, drum="Closed Hi Hat"), _note(36, 4, drum="Bass Drum 1")]
    alone, mixed = Rows(kit), Rows([*kit, _note(61, 0), _note(72, 0)])
    assert [name for _, name in alone.ticks()] == ["Closed Hi Hat", "Bass Drum 1"]
    assert [name for _, name in mixed.ticks()] == ["C4", "C5", "Closed Hi Hat", "Bass Drum 1"]
    for rows in (alone, mixed):
        places = [rows.of(note) for note in kit]
        assert rows.low < places[0] == places[2] < places[1] < rows.high
    assert mixed.of(kit[1]) < 61 - 1
    assert [name for _, name in Rows([_note(61, 0)]).ticks()] == ["C4"]


def test_an_arc_from_a_unison_is_seen_beside_the_chosen_note() -> None:
    from matplotlib.figure import Figure

    notes = (_note(60, 0, 0), _note(67, 5, 3), _note(67, 5, 6))
    timeline = Timeline(spans=(), notes=notes, edges=np.zeros(1), split_point=0, end=7)

    def widths(source: Note) -> list[float]:
        axes = Figure(figsize=(9, 4), dpi=100).add_axes((0, 0, 1, 1))
        rows = Rows(notes)
        draw_roll(axes, rows, timeline, 0, 7)
        span = SourceSpan(label="", kind="pitch", start=source.start, end=source.end, first=source.first, stop=99)
        attended = AttendedSpan(span=span, by_depth=np.array([0.1, 0.05], dtype=np.float32))
        before = len(axes.patches)
        draw_arcs(axes, rows, timeline, notes[2], [attended], depth_colours(2))
        arcs = [patch for patch in axes.patches[before:] if not hasattr(patch, "get_width")]
        return [float(arc.get_window_extent().width) for arc in arcs]

    assert all(width > 20 for width in widths(notes[1]))
    assert len(widths(notes[1])) == len(widths(notes[0])) == 2


def test_the_label_of_a_note_covers_no_other_note_and_no_arc() -> None:
    from matplotlib.figure import Figure

    axes = Figure(figsize=(10, 5), dpi=100).add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 100), ylim=(40, 90))

    chosen = _note(60, 50)
    rows = Rows([chosen])
    alone = free_place(axes, rows, [chosen], chosen, [])
    assert abs(alone[1]) >= 13 or abs(alone[0]) > 10
    # A row of notes above it and an arc that comes from below on the left.
    crowd = [chosen, *(_note(pitch, 44 + 2 * i) for i in range(8) for pitch in (62, 63, 64))]
    x, y = free_place(axes, rows, crowd, chosen, [(40.0, 50.0)])
    across, up = 720 / 100, 360 / 50
    for one in crowd:
        left, right = (one.start - 50) * across, (one.end - 50) * across
        apart = right < x - 8 or left > x + 8 or abs((one.pitch - 60) * up - y) > 6
        assert apart, (one, x, y)
    assert not (x < 0 and y < 0)
