"""Bounds of what is heard: no silence longer than requested, no more bars repeated than requested, whatever is
drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from midi_pieces import domain, draw, grammar_of, kinds, scale

from muse_tokenizers.base import Grammar, Ids
from muse_tokenizers.errors import ConstraintError
from muse_tokenizers.measures import Number
from muse_tokenizers.midi.constraints import MidiConstraints
from muse_tokenizers.midi.earlier import ExactLoopWatch
from muse_tokenizers.midi.loops import LoopWatch, is_near_equal, is_repeat

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
@pytest.mark.parametrize("name", ["parts", "remi"])
def test_no_silence_is_longer_than_allowed(name: str, silence: float, taste: float) -> None:
    midi = domain(name)
    constraints = MidiConstraints(seconds=FOREVER, silence=silence)
    bounded = draw(grammar_of(name, 8, constraints), 400, seed=1, kind_of=kinds(midi), spread=taste)
    free = draw(grammar_of(name, 8, MidiConstraints(seconds=FOREVER)), 400, seed=1, kind_of=kinds(midi), spread=taste)
    # A rest is at most as long as the grid of the ids counts it.
    assert max(length for ids in bounded for length in _silences(midi.tokenizer.decode(ids))) <= silence + 0.011
    assert max(length for ids in free for length in _silences(midi.tokenizer.decode(ids))) > silence


def test_in_real_time_no_silence_is_longer_than_allowed() -> None:
    midi = domain("performance")
    names = midi.tokenizer.vocabulary()
    grammar = midi.grammar(np.array([[midi.tokenizer.begin]]), 1, MidiConstraints(seconds=FOREVER, silence=0.25))

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


def test_silence_before_the_split_point_does_not_count() -> None:
    midi = domain("remi")
    # A note at the start, and the split point four bars (8 seconds) later.
    ids = np.array([midi.tokenizer.begin, *midi.tokenizer.encode(scale(1))[:, 0]])
    names = midi.tokenizer.vocabulary()
    bar, common = names.index("Bar_None"), names.index("TimeSig_4/4")
    prompt = np.array([*ids, *([bar, common] * 3), bar])[:, None]
    grammar = midi.grammar(prompt, 1, MidiConstraints(silence=1.0, seconds=FOREVER))
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
    piece = midi.tokenizer.decode(np.array(ids)[:, None])
    measured = midi.measure(piece, start, midi.duration(piece))["longest_loop"]
    assert isinstance(measured, Number)
    return measured.value


@pytest.mark.parametrize("period", [1, 2, 3])
@pytest.mark.parametrize("most", [1, 4])
def test_no_more_bars_repeat_than_allowed(period: int, most: int) -> None:
    midi = domain("remi")
    bar = midi.tokenizer.vocabulary().index("Bar_None")
    prompt = midi.prompt(scale(16 * period))
    history = prompt.ids[:, 0].tolist()

    def loop(constraints: MidiConstraints) -> float:
        written = _copying(midi.grammar(prompt.ids, 1, constraints), history, period, 14, bar)
        return _loop(midi, [*history, *written], prompt.split_point)

    assert loop(MidiConstraints(seconds=FOREVER)) >= 10
    # The measure looks inside the continuation alone, which the first copies of the prompt are not.
    assert loop(MidiConstraints(seconds=FOREVER, repeats=most)) <= most


def bar_of(*pitches: int) -> list[tuple[int, int, int]]:
    return [(6 * place, 1, pitch) for place, pitch in enumerate(pitches)]


def watching(bars: Any, most: int) -> LoopWatch:
    watch = LoopWatch()
    for bar in bars:
        for note in bar:
            watch.strike(*note)
        watch.next_bar(most)
    return watch


def test_bars_are_near_equal_up_to_a_tenth_of_their_notes_and_one_at_least() -> None:
    def near(notes: int, altered: int, added: int = 0) -> bool:
        bar = frozenset(bar_of(*range(40, 40 + notes)))
        other = {(place, 1, pitch + 50 * (place < 6 * altered)) for place, _, pitch in bar}
        other |= {(place, 2, 40) for place in range(added)}
        found = is_near_equal(bar, frozenset(other))
        assert found == is_near_equal(frozenset(other), bar)
        return found

    assert near(20, 2)
    assert not near(20, 3)
    assert near(10, 1)
    assert near(5, 1)
    assert near(5, 0, added=1)
    assert not near(10, 1, added=1)
    # Of a few notes each counts.
    assert near(4, 0)
    assert not near(4, 1)


def test_from_the_middle_of_a_bar_too_many_on_no_note_of_its_model_is_left_until_enough_is_otherwise() -> None:
    figure = bar_of(60, 64, 67, 72, 67, 64, 60, 64)
    watch = watching([figure] * 3, most=2)
    for note in figure[:4]:
        assert watch.withheld(*note[:2]) == set()
        watch.strike(*note)
    assert [watch.withheld(*note[:2]) for note in figure[4:]] == [{67}, {64}, set(), set()]
    watch.strike(24, 1, 69)
    assert watch.withheld(30, 1) == {64}
    watch.strike(30, 1, 65)
    # Two of eight are otherwise: it has become another bar, whatever follows.
    assert watch.withheld(36, 1) == watch.withheld(42, 1) == set()
    assert watch.withheld(36, 2) == set()


@pytest.mark.parametrize("distance", [1, 2, 5, 16])
def test_a_bar_repeats_a_similar_bar_up_to_sixteen_bars_before(distance: int) -> None:
    phrase = [bar_of(*(40 + 3 * number + step for step in range(8))) for number in range(distance)]
    # In every bar another note is another one, and it makes no difference.
    altered = [[*bar[: place % 8], (1, 1, 100 + place), *bar[place % 8 + 1 :]] for place, bar in enumerate(phrase)]
    whole = [*phrase, *(altered * 3)][: distance + 3]
    watch = watching(whole, most=3)
    following = phrase[3 % distance]
    for note in following[:5]:
        watch.strike(*note)
    assert watch.withheld(*following[5][:2]) == {following[5][2]}
    assert watching(whole, most=4).withheld(*following[5][:2]) == set()


def test_bars_further_back_and_slow_recurring_notes_are_no_repeats() -> None:
    phrase = [bar_of(*(30 + 3 * number + step for step in range(8))) for number in range(17)]
    watch = watching([*phrase, *phrase, *phrase], most=1)
    assert all(watch.withheld(*note[:2]) == set() for note in phrase[0])
    slow = [bar_of(pitch) for pitch in (60, 62, 64, 65, 67)]
    assert is_repeat(frozenset(slow[0]), [frozenset(bar) for bar in slow]) is False
    assert is_repeat(frozenset(slow[1]), [frozenset(bar) for bar in slow]) is True


def test_empty_bars_are_no_loop_and_bars_of_the_prompt_do_not_count() -> None:
    assert watching([[]] * 9, most=1).withheld(0, 1) == set()
    watch = watching([bar_of(60)] * 9, most=2)
    assert watch.withheld(0, 1) == {60}
    given = watch.from_here()
    assert given.withheld(0, 1) == set()
    for _ in range(2):
        given.strike(0, 1, 60)
        given.next_bar(2)
    assert given.withheld(0, 1) == {60}


def test_no_pattern_leads_to_more_near_equal_bars_in_a_row_than_allowed() -> None:
    """Whoever always takes the note of some earlier bar, if it is allowed, and rarely another one, never loops."""
    random = np.random.default_rng(0)
    for most in (1, 2, 4):
        for notes in (1, 3, 5, 8, 20):
            figures = [bar_of(*random.integers(40, 80, notes).tolist()) for _ in range(3)]
            watch, bars, run = LoopWatch(), [], 0
            for _ in range(60):
                bar = set()
                for place, program, pitch in figures[random.integers(3)]:
                    chosen = pitch if random.random() > 0.04 else int(random.integers(40, 80))
                    while chosen in watch.withheld(place, program):
                        chosen = int(random.integers(40, 80))
                    watch.strike(place, program, chosen)
                    bar.add((place, program, chosen))
                watch.next_bar(most)
                run = run + 1 if is_repeat(frozenset(bar), bars) else 0
                bars.append(frozenset(bar))
                assert run <= most


def test_rules_1_withhold_only_the_last_note() -> None:
    watch = ExactLoopWatch()
    for _ in range(3):
        for note in ((0, 1, 60), (12, 1, 62)):
            watch.strike(*note)
        watch.next_bar(2)
    assert watch.withheld(0, 1) == watch.withheld(12, 1) == set()
    watch.strike(12, 1, 62)
    assert (watch.withheld(0, 1), watch.withheld(12, 1), watch.withheld(0, 2)) == ({60}, set(), set())
    watch.strike(0, 1, 61)
    assert watch.withheld(0, 1) == set()


@pytest.mark.parametrize("most", [1, 2, 4])
@pytest.mark.parametrize("pattern", ["a-", "a--", "ab-", "a---", "aab-"])
def test_bars_of_nothing_between_are_part_of_the_loop(pattern: str, most: int) -> None:
    """Whoever goes on in the pattern, but for the note that may not be struck, never loops for longer."""
    midi = domain("remi")
    names = midi.tokenizer.vocabulary()
    word = {name: names.index(name) for name in ("Bar_None", "TimeSig_4/4", "Position_0", "Program_0", "Velocity_63")}
    note = {letter: names.index(f"Pitch_{pitch}") for letter, pitch in (("a", 60), ("b", 67))}
    note |= {f"other {pitch}": names.index(f"Pitch_{pitch}") for pitch in range(70, 76)}
    beat = names.index("Duration_1.0.12")
    grammar = midi.grammar(np.array([[midi.tokenizer.begin]]), 1, MidiConstraints(seconds=FOREVER, repeats=most))
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
            others = [key for key in reversed(note) if key != letter and allowed[note[key]]]
            replaced += not allowed[note[letter]]
            write(note[letter if allowed[note[letter]] else others[replaced % len(others)]])
            write(word["Velocity_63"], beat)
    assert replaced > 0
    assert _loop(midi, [midi.tokenizer.begin, *written], 0.0) <= most


@pytest.mark.parametrize("name", ["parts", "remi"])
def test_candidates_watch_each_for_itself(name: str) -> None:
    midi = domain(name)
    ids = draw(grammar_of(name, 6, MidiConstraints(seconds=FOREVER, repeats=1)), 300, seed=3)
    alone = draw(grammar_of(name, 6, MidiConstraints(seconds=FOREVER)), 300, seed=3)
    assert ids.shape == alone.shape
    for candidate in ids:
        assert _loop(midi, candidate[:, 0].tolist(), 0.0) <= 1


@pytest.mark.parametrize("wish", [{"key": "0", "instruments": ("0",)}, {"tempo": 20}, {"tempo": 260}])
@pytest.mark.parametrize("silence", [0.001, 0.5])
@pytest.mark.parametrize("name", ["parts", "remi"])
def test_bounds_and_narrow_constraints_together_never_lead_to_a_dead_end(
    name: str, wish: dict[str, Any], silence: float
) -> None:
    """`draw` asserts that something is allowed at every step."""
    constraints = MidiConstraints(**wish, seconds=FOREVER, silence=silence, repeats=1)
    kind_of = kinds(domain(name))
    bar = np.array([name.startswith("Bar") for name in domain(name).tokenizer.vocabulary()])
    for kind in (kind_of, np.where(bar, 20, kind_of)):
        draw(grammar_of(name, 8, constraints), 400, seed=1, kind_of=kind, spread=3.0)


def test_real_time_has_no_bars_that_could_repeat() -> None:
    assert domain("performance").default_constraints() == MidiConstraints(silence=2.0)
    with pytest.raises(ConstraintError, match=r"^repeats is \d+; allowed: none with this checkpoint"):
        grammar_of("performance", 1, MidiConstraints(repeats=4))


def test_default_constraints_have_no_length() -> None:
    ids: Ids = domain("remi").prompt(None).ids
    constraints = domain("remi").default_constraints()
    assert (constraints.seconds, constraints.bars) == (None, None)
    assert domain("remi").grammar(ids, 1, constraints).allowed().any()
