"""Bounds of what is heard: no silence longer than wished, no more bars repeated than wished, whatever is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from midi_pieces import draw, grammar_of, kinds, scale, tokenizer

from muse_tokenizers.base import Grammar, Ids, Wishes
from muse_tokenizers.errors import ImpossibleWish
from muse_tokenizers.measures import Number
from muse_tokenizers.midi.loops import LoopWatch

FOREVER = 1e9


def _silences(score: Any) -> list[float]:
    """Seconds of the silences up to the last onset."""
    spans = sorted((note.time, note.end) for track in score.to("second").tracks for note in track.notes)
    heard, found = 0.0, []
    for start, end in spans:
        found.append(start - heard)
        heard = max(heard, end)
    return found


@pytest.mark.parametrize("silence", [0.3, 2.0])
@pytest.mark.parametrize("taste", [0.0, 2.0])
def test_no_silence_is_longer_than_wished(silence: float, taste: float) -> None:
    name, midi = "remi", tokenizer("remi")
    wishes = Wishes(seconds=FOREVER, silence=silence)
    bounded = draw(grammar_of(name, 8, wishes), 400, seed=1, kind_of=kinds(midi), spread=taste)
    free = draw(grammar_of(name, 8, Wishes(seconds=FOREVER)), 400, seed=1, kind_of=kinds(midi), spread=taste)
    # A rest is at most as long as the grid of the ids counts it.
    assert max(length for ids in bounded for length in _silences(midi.decode(ids))) <= silence + 0.011
    assert max(length for ids in free for length in _silences(midi.decode(ids))) > silence


def test_in_real_time_no_silence_is_longer_than_wished() -> None:
    midi = tokenizer("performance")
    names = midi.vocabulary()
    grammar = midi.grammar(np.array([[midi.begin]]), 1, Wishes(seconds=FOREVER, silence=0.25))

    def shifts() -> list[int]:
        allowed = grammar.allowed()[0, 0]
        return [i for i, word in enumerate(names) if word.startswith("TimeShift") and allowed[i]]

    def take(word: str) -> None:
        grammar.advance(np.array([[names.index(word)]]))

    assert len(shifts()) == 25  # of 10 ms
    take("NoteOn_60")
    take(next(word for word in names if word.startswith("Velocity")))
    assert len(shifts()) == 100
    grammar.advance(np.array([[shifts()[-1]]]))
    assert len(shifts()) == 100
    take("NoteOff_60")
    assert len(shifts()) == 25
    grammar.advance(np.array([[shifts()[9]]]))
    assert len(shifts()) == 15
    grammar.advance(np.array([[shifts()[-1]]]))
    assert shifts() == []
    assert grammar.allowed()[0, 0, names.index("NoteOn_60")]


def test_what_was_silent_before_the_cut_does_not_count() -> None:
    midi = tokenizer("remi")
    # A note at the start, and the cut four bars (8 seconds) later.
    ids = np.array([midi.begin, *midi.encode(scale(1))[:, 0]])
    names = midi.vocabulary()
    bar, common = names.index("Bar_None"), names.index("TimeSig_4/4")
    prompt = np.array([*ids, *([bar, common] * 3), bar])[:, None]
    grammar = midi.grammar(prompt, 1, Wishes(silence=1.0, seconds=FOREVER))
    grammar.advance(np.array([[common]]))
    allowed = grammar.allowed()[0, 0]
    positions = [i for i, word in enumerate(names) if word.startswith("Position") and allowed[i]]
    assert [names[i] for i in positions] == [f"Position_{n}" for n in range(49)]  # a second is two beats of 24
    assert not allowed[bar]


# Repeats


def _copying(grammar: Grammar, history: list[int], period: int, bars: int, bar: int) -> list[int]:
    """Ids of a piece that does what it did so many bars before, wherever it may."""
    written: list[int] = []
    random = np.random.default_rng(0)
    while sum(i == bar for i in written) < bars:
        starts = [n for n, i in enumerate([*history, *written]) if i == bar]
        whole = [*history, *written]
        place = len(whole) - starts[-1]
        model = starts[-1 - period] + place
        allowed = grammar.allowed()[0, 0]
        copied = whole[model] if model < len(whole) else -1
        chosen = copied if copied >= 0 and allowed[copied] else int(random.choice(np.flatnonzero(allowed)))
        written.append(chosen)
        grammar.advance(np.array([[chosen]]))
    return written


def _loop(midi: Any, ids: list[int], start: float) -> float:
    piece = midi.decode(np.array(ids)[:, None])
    measured = midi.measure(piece, start, midi.duration(piece))["longest_loop"]
    assert isinstance(measured, Number)
    return measured.value


@pytest.mark.parametrize("period", [1, 2, 3])
@pytest.mark.parametrize("most", [1, 4])
def test_no_more_bars_repeat_than_wished(period: int, most: int) -> None:
    midi = tokenizer("remi")
    bar = midi.vocabulary().index("Bar_None")
    prompt = midi.prompt(scale(16 * period))
    history = prompt.ids[:, 0].tolist()

    def loop(wishes: Wishes) -> float:
        written = _copying(midi.grammar(prompt.ids, 1, wishes), history, period, 14, bar)
        return _loop(midi, [*history, *written], prompt.cut)

    assert loop(Wishes(seconds=FOREVER)) >= 10
    # The measure looks inside the continuation alone, which the first copies of the prompt are not.
    assert loop(Wishes(seconds=FOREVER, repeats=most)) <= most


def test_a_bar_that_would_be_one_too_many_lacks_its_last_note_alone() -> None:
    watch = LoopWatch()
    for _ in range(3):
        for note in ((0, 1, 60), (12, 1, 62)):
            watch.strike(*note)
        watch.next_bar(2)
    assert watch.closing_notes() == []
    watch.strike(12, 1, 62)
    assert watch.closing_notes() == [(0, 1, 60)]
    watch.strike(0, 1, 61)
    assert watch.closing_notes() == []


def test_bars_of_nothing_are_no_loop_and_given_bars_do_not_count() -> None:
    watch = LoopWatch()
    for _ in range(9):
        watch.next_bar(1)
    assert watch.closing_notes() == []
    for _ in range(9):
        watch.strike(0, 1, 60)
        watch.next_bar(2)
    assert set(watch.closing_notes()) == {(0, 1, 60)}
    assert watch.from_here().closing_notes() == []


@pytest.mark.parametrize("most", [1, 2, 4])
@pytest.mark.parametrize("pattern", ["a-", "a--", "ab-", "a---", "aab-"])
def test_bars_of_nothing_between_are_part_of_the_loop(pattern: str, most: int) -> None:
    """Whoever goes on in the pattern, but for the note that may not be struck, never loops for longer."""
    midi = tokenizer("remi")
    names = midi.vocabulary()
    word = {name: names.index(name) for name in ("Bar_None", "TimeSig_4/4", "Position_0", "Program_0", "Velocity_63")}
    note = {letter: names.index(f"Pitch_{pitch}") for letter, pitch in (("a", 60), ("b", 67), ("other", 72))}
    beat = names.index("Duration_1.0.12")
    grammar = midi.grammar(np.array([[midi.begin]]), 1, Wishes(seconds=FOREVER, repeats=most))
    written: list[int] = []

    def write(*ids: int) -> None:
        for token in ids:
            assert grammar.allowed()[0, 0, token]
            grammar.advance(np.array([[token]]))
            written.append(token)

    replaced = 0
    for letter in (pattern * 8)[:16]:
        write(word["Bar_None"], word["TimeSig_4/4"])
        if letter != "-":
            write(word["Position_0"])
            # Said once: it holds until another.
            if grammar.allowed()[0, 0, word["Program_0"]] and word["Program_0"] not in written:
                write(word["Program_0"])
            allowed = grammar.allowed()[0, 0]
            others = [key for key in ("other", "b", "a") if key != letter and allowed[note[key]]]
            replaced += not allowed[note[letter]]
            write(note[letter if allowed[note[letter]] else others[replaced % len(others)]])
            write(word["Velocity_63"], beat)
    assert replaced > 0
    assert _loop(midi, [midi.begin, *written], 0.0) <= most


def test_candidates_watch_each_for_itself() -> None:
    midi = tokenizer("remi")
    ids = draw(grammar_of("remi", 6, Wishes(seconds=FOREVER, repeats=1)), 300, seed=3)
    alone = draw(grammar_of("remi", 6, Wishes(seconds=FOREVER)), 300, seed=3)
    assert ids.shape == alone.shape
    for candidate in ids:
        assert _loop(midi, candidate[:, 0].tolist(), 0.0) <= 1


@pytest.mark.parametrize("wish", [{"key": "0", "instruments": ("0",)}, {"tempo": 20}, {"tempo": 260}])
@pytest.mark.parametrize("silence", [0.001, 0.5])
def test_bounds_and_narrow_wishes_together_never_lead_to_a_dead_end(wish: dict[str, Any], silence: float) -> None:
    """`draw` asserts that something is allowed at every step."""
    wishes = Wishes(**wish, seconds=FOREVER, silence=silence, repeats=1)
    kind_of = kinds(tokenizer("remi"))
    bar = np.array([name.startswith("Bar") for name in tokenizer("remi").vocabulary()])
    for kind in (kind_of, np.where(bar, 20, kind_of)):
        draw(grammar_of("remi", 8, wishes), 400, seed=1, kind_of=kind, spread=3.0)


def test_real_time_has_no_bars_that_could_repeat() -> None:
    assert tokenizer("performance").usual_wishes() == Wishes(silence=2.0)
    with pytest.raises(ImpossibleWish, match=r"^repeats cannot be wished for with this checkpoint"):
        grammar_of("performance", 1, Wishes(repeats=4))


def test_usual_wishes_name_no_length() -> None:
    ids: Ids = tokenizer("remi").prompt(None).ids
    wishes = tokenizer("remi").usual_wishes()
    assert (wishes.seconds, wishes.bars) == (None, None)
    assert tokenizer("remi").grammar(ids, 1, wishes).allowed().any()
