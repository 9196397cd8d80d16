"""Tests of evaluation: every id is scored once, equal pieces have distance 0, copies are reported."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_models import make_core, small_config
from small_stores import NumberDomain, Numbers, midi_store, two_sources
from torch.nn import functional as F

from muse_shortcut.api.model import Model
from muse_shortcut.checkpoints import Checkpoint, load_checkpoint
from muse_shortcut.config import SamplingConfig
from muse_shortcut.data.store import Piece, Store, open_store
from muse_shortcut.errors import ArgumentsError, StoreError
from muse_shortcut.evaluation.by_source import pieces_by_source, read_ids
from muse_shortcut.evaluation.continuations import continue_window, measure_windows
from muse_shortcut.evaluation.copy_check import TrainingPieces, find_copies, summarise_copies
from muse_shortcut.evaluation.distances import compare, distances, rates
from muse_shortcut.evaluation.likelihood import (
    Likelihood,
    PieceLikelihood,
    ScoringWindows,
    pool,
    score_pieces,
    windows_of,
)
from muse_shortcut.evaluation.windows import Window, WindowChoice, WindowSelection, choose_windows, shared_out
from muse_tokenizers.loading import domain_of, load_tokenizer
from muse_tokenizers.measures import CopyThreshold, Histogram, Number, distance
from muse_tokenizers.midi.constraints import MidiConstraints


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(two_sources(tmp_path_factory))


@pytest.fixture(scope="module")
def checkpoint(random_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(random_checkpoint)


# Sources


def test_pieces_are_grouped_by_the_first_part_of_their_names(store: Store) -> None:
    sources = pieces_by_source(store, "validation")
    assert list(sources) == ["high", "low"]
    for (source, numbers), label in zip(sources.items(), ("high-1", "low-2"), strict=True):
        assert label.startswith(source)
        assert [store.pieces[n].name for n in numbers] == [f"{label}/{n}.mid" for n in (3, 4, 5, 6)]
    assert list(pieces_by_source(store, "validation", ["low"])) == ["low"]


def test_a_source_that_is_not_there_is_refused_with_those_that_are(store: Store) -> None:
    with pytest.raises(
        ArgumentsError, match=r"^sources is 'flute'; allowed: high, low, those of the validation split of .*$"
    ):
        pieces_by_source(store, "validation", ["low", "flute"])
    with pytest.raises(StoreError, match=r"^there is nothing to evaluate: the test split of .* has no pieces$"):
        pieces_by_source(store, "test")


def test_the_pieces_of_one_source_need_no_name_of_it() -> None:
    assert pieces_by_source(numbers_store([5, 7]), "validation") == {"all": [0, 1]}


# Likelihood


def numbers_store(lengths: list[int], seed: int = 0) -> Store:
    """Pieces of random ids in two streams, under the vocabulary of `Numbers`."""
    ids = np.random.default_rng(seed).integers(0, 97, (sum(lengths), 2)).astype(np.uint16)
    pieces = [
        Piece(name=f"some/{n}", split="validation", group=str(n), tokens=length, seconds=length / 7)
        for n, length in enumerate(lengths)
    ]
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    manifest = {"source": {"sources": ["made by hand"]}, "fingerprint": "", "domain": "numbers"}
    return Store(folder=Path("store"), manifest=manifest, tokens=ids, offsets=offsets, pieces=tuple(pieces))


def numbers_core() -> Any:
    return make_core(small_config(None, vocabulary_size=100, streams=2), dtype=torch.float32)


@pytest.mark.parametrize("context", [1, 2, 5, 13])
@pytest.mark.parametrize("stride", [1, 2, 5])
def test_windows_score_every_step_but_the_first_once_and_with_enough_before_it(context: int, stride: int) -> None:
    if stride > context:
        with pytest.raises(ArgumentsError, match=rf"^stride is {stride}; allowed: 1 to {context}$"):
            ScoringWindows(context=context, stride=stride)
        return
    for steps in range(1, 40):
        windows = windows_of(steps, ScoringWindows(context=context, stride=stride))
        assert [step for _, first, end in windows for step in range(first, end)] == list(range(1, steps))
        for start, first, end in windows:
            assert end - 1 - start <= context
            assert first - start >= min(context - stride, first)


def slow_nats(core: Any, ids: np.ndarray[Any, Any], windows: list[tuple[int, int, int]], pad: int) -> float:
    """One step after another, each from nothing but the steps that its window reads before it."""
    total = 0.0
    for start, first, end in windows:
        for step in range(first, end):
            with torch.inference_mode():
                logits = core(torch.from_numpy(ids[None, start:step]))[0, -1].double()
            for k, i in enumerate(ids[step]):
                total -= 0.0 if i == pad else float(logits[k].log_softmax(-1)[i])
    return total


def test_scores_are_those_of_a_slow_reader_whatever_the_batch() -> None:
    store, core, domain = numbers_store([2, 30, 17, 9, 41]), numbers_core(), NumberDomain(Numbers())
    for context, stride in ((13, 5), (13, 13), (7, 1)):
        scoring = {size: ScoringWindows(context=context, stride=stride, batch_size=size) for size in (1, 3, 64)}
        found = {
            size: score_pieces(core, domain, store, {"all": range(5)}, how)["all"] for size, how in scoring.items()
        }
        for number, piece in enumerate(store.pieces):
            wanted = slow_nats(
                core, read_ids(store, number), windows_of(piece.tokens, scoring[1]), domain.tokenizer.pad
            )
            for pieces in found.values():
                assert pieces[number].tokens == 2 * (piece.tokens - 1)
                assert abs(pieces[number].nats - wanted) / pieces[number].tokens < 1e-5


def test_a_piece_that_fits_is_scored_as_by_one_pass(store: Store, checkpoint: Checkpoint) -> None:
    number = pieces_by_source(store, "validation")["high"][-1]
    ids = torch.from_numpy(read_ids(store, number))[None]
    context = checkpoint.core.config.context
    assert ids.shape[1] <= context
    with torch.inference_mode():
        nats = F.cross_entropy(checkpoint.core(ids[:, :-1]).flatten(0, -2), ids[:, 1:].flatten(), reduction="sum")
    scoring = ScoringWindows(context=context, stride=context)
    (scored,) = score_pieces(checkpoint.core, checkpoint.domain, store, {"high": [number]}, scoring)["high"]
    assert scored.nats == pytest.approx(float(nats), rel=1e-5)
    assert (scored.tokens, scored.notes, scored.seconds) == (ids.shape[1] - 1, 12, pytest.approx(3.0))


def test_pieces_do_not_see_one_another() -> None:
    core, domain, scoring = numbers_core(), NumberDomain(Numbers()), ScoringWindows(context=13, stride=4)
    store, other = numbers_store([20, 30]), numbers_store([20, 30], seed=1)
    other.tokens[20:] = store.tokens[20:]
    nats = [score_pieces(core, domain, one, {"all": [1]}, scoring)["all"][0].nats for one in (store, other)]
    assert nats[0] == nats[1]


def test_padding_inside_a_piece_is_not_scored() -> None:
    store, core, domain = numbers_store([12]), numbers_core(), NumberDomain(Numbers())
    store.tokens[[3, 4], [0, 1]] = domain.tokenizer.pad
    scoring = ScoringWindows(context=13, stride=13)
    (scored,) = score_pieces(core, domain, store, {"all": [0]}, scoring)["all"]
    assert scored.tokens == 2 * 11 - 2
    assert scored.nats == pytest.approx(
        slow_nats(core, read_ids(store, 0), windows_of(12, scoring), domain.tokenizer.pad), rel=1e-5
    )


def test_an_end_that_waits_for_other_streams_is_not_scored() -> None:
    store, core, domain = numbers_store([12]), numbers_core(), NumberDomain(Numbers())
    scoring = ScoringWindows(context=13, stride=13)
    (whole,) = score_pieces(core, domain, store, {"all": [0]}, scoring)["all"]
    assert whole.stream_tokens == (11, 11)
    # The first stream ends a step before the second one, as the delay pattern has it.
    store.tokens[-1] = domain.tokenizer.end
    store.tokens[-2, 0] = domain.tokenizer.end
    (scored,) = score_pieces(core, domain, store, {"all": [0]}, scoring)["all"]
    assert scored.stream_tokens == (10, 11)
    assert scored.tokens == 21
    assert pool([scored]).nats_by_stream == pytest.approx(
        [n / t for n, t in zip(scored.stream_nats, (10, 11), strict=True)]
    )


def test_bfloat16_scores_nearly_the_same() -> None:
    store, core, domain = numbers_store([40]), numbers_core(), NumberDomain(Numbers())
    exact, rough = (
        pool(
            score_pieces(core, domain, store, {"all": [0]}, ScoringWindows(context=13, stride=6, precision=kind))["all"]
        )
        for kind in (torch.float32, torch.bfloat16)
    )
    assert 0 < abs(exact.nats_per_token - rough.nats_per_token) < 0.1


def test_pieces_are_pooled_as_one_long_piece() -> None:
    pieces = [PieceLikelihood(0, (8.0, 2.0), (2, 2), 2, 3.0), PieceLikelihood(1, (1.0, 1.0), (4, 4), 1, 1.0)]
    assert pool(pieces) == Likelihood(
        pieces=2,
        tokens=12,
        nats_per_token=1.0,
        nats_by_stream=(1.5, 0.5),
        bits_per_byte=None,
        bits_per_second=pytest.approx(3 / math.log(2)),
        nats_per_note=4.0,
    )
    untimed = pool([PieceLikelihood(0, (10.0,), (4,), 0, None)])
    assert (untimed.bits_per_second, untimed.nats_per_note) == (None, None)


# Windows


def choose(store: Store, checkpoint: Checkpoint, **changes: Any) -> WindowChoice:
    constraints: dict[str, Any] = {
        "count": 6,
        "prompt_length": 5.0,
        "length": 4.0,
        "unit": "seconds",
        "seed": 0,
    } | changes
    sources = pieces_by_source(store, "validation")
    return choose_windows(store, checkpoint.domain, sources, WindowSelection(**constraints))


def test_windows_are_shared_evenly_as_far_as_pieces_go() -> None:
    assert shared_out(10, {"few": 2, "many": 50, "more": 90}) == {"few": 2, "many": 4, "more": 4}
    assert shared_out(100, {"a": 3, "b": 4}) == {"a": 3, "b": 4}
    assert shared_out(5, {"none": 0, "b": 9}) == {"none": 0, "b": 5}
    for count in range(30):
        assert sum(shared_out(count, {"a": 4, "b": 11, "c": 3}).values()) == min(count, 18)


def test_a_window_has_room_on_both_sides_of_a_bar_line(store: Store, checkpoint: Checkpoint) -> None:
    choice = choose(store, checkpoint)
    assert choice.left_out == {"high": 1, "low": 1}
    assert len({window.number for window in choice.windows}) == 6
    for window in choice.windows:
        length = checkpoint.domain.duration(window.piece)
        assert length is not None
        assert 5.0 <= window.prompt.split_point <= length - 4.0
        # A bar lasts two seconds.
        starts = [window.prompt.split_point, window.repeated, window.other_start, window.elsewhere or 0.0]
        assert [start % 2.0 for start in starts] == [0.0] * 4
        assert window.repeated == window.prompt.split_point - 4.0
        assert window.elsewhere is None or abs(window.elsewhere - window.prompt.split_point) >= 4.0


def test_the_other_piece_is_another_held_out_one_of_the_source(store: Store, checkpoint: Checkpoint) -> None:
    for seed in range(5):
        for window in choose(store, checkpoint, seed=seed).windows:
            mine, other = store.pieces[window.number], store.pieces[window.other_number]
            assert other.name != mine.name
            assert other.split == "validation"
            assert other.name.startswith(f"{window.source}-")
            assert not other.name.endswith("6.mid"), "it is too short"


def test_a_seed_chooses_the_same_windows_and_another_one_others(store: Store, checkpoint: Checkpoint) -> None:
    def places(seed: int) -> list[tuple[int, float, int]]:
        return [
            (window.number, window.prompt.split_point, window.other_number)
            for window in choose(store, checkpoint, seed=seed).windows
        ]

    assert places(1) == places(1)
    assert places(1) != places(2)


def test_pieces_that_are_too_short_are_counted_and_none_left_is_an_error(store: Store, checkpoint: Checkpoint) -> None:
    with pytest.raises(StoreError, match=r"^no piece of .* has 20 seconds before a split point and 20 after it"):
        choose(store, checkpoint, length=20.0)


# Distances


def histogram(*shares: float) -> Histogram:
    return Histogram(shares=np.array(shares), bins=tuple("abcdef"[: len(shares)]))


def test_histograms_are_apart_by_total_variation() -> None:
    assert distance(histogram(1, 0, 0), histogram(1, 0, 0)) == 0
    assert distance(histogram(1, 0, 0), histogram(0, 0.5, 0.5)) == 1
    assert distance(histogram(0.5, 0.5), histogram(0.25, 0.75)) == 0.25


def test_numbers_are_apart_by_difference_or_by_ratio_above_a_floor() -> None:
    def number(value: float, floor: float | None = None) -> Number:
        return Number(value=value, unit="", floor=floor)

    assert distance(number(2), number(5)) == 3
    assert distance(number(2, 0.1), number(8, 0.1)) == pytest.approx(math.log(4))
    assert distance(number(0, 0.1), number(1, 0.1)) == pytest.approx(math.log(10))
    assert distance(number(0, 0.1), number(0.05, 0.1)) == 0


@pytest.fixture(scope="module")
def choice(store: Store, checkpoint: Checkpoint) -> WindowChoice:
    return choose(store, checkpoint)


NOTHING = np.zeros((0, 1), dtype=np.int64)


def after(window: Window) -> np.ndarray[Any, Any]:
    """(T, K): the true ids after a window's cut."""
    return window.ids[len(window.prompt.ids) :]


def test_the_true_continuation_is_at_no_distance_from_itself(choice: WindowChoice, checkpoint: Checkpoint) -> None:
    domain = checkpoint.domain
    outcomes = [measure_windows(domain, window, after(window), 0, 4.0) for window in choice.windows]
    for outcome in outcomes:
        found = distances(outcome)
        assert set(found) >= {"pitch_classes", "note_density", "longest_loop"}
        assert {one["model"] for one in found.values()} == {0.0}
        assert all(value >= 0 for one in found.values() for value in one.values())
    (pitches,) = (one for one in compare(outcomes, 0) if one.measure == "mean_pitch")
    assert pitches.true_mean == pitches.model_mean
    assert pitches.means["model"] == 0 < pitches.means["other"]
    assert pitches.counts == {"model": 6, "other": 6, "repeated": 6, "elsewhere": 6}
    assert pitches.scale == "semitones"
    assert all(rate.model == rate.true for rate in rates(outcomes))


def test_a_feature_missing_on_one_side_is_far_for_histograms_and_skipped_for_numbers(
    choice: WindowChoice, checkpoint: Checkpoint
) -> None:
    window, domain = choice.windows[0], checkpoint.domain
    found = distances(measure_windows(domain, window, NOTHING, 0, 4.0))
    assert found["pitch_classes"]["model"] == found["onset_grid"]["model"] == 1.0
    assert "model" not in found["mean_pitch"]
    assert "other" in found["mean_pitch"]
    # The triads sound 0.25 s notes, four a second; an empty segment counts as 0.1.
    assert found["note_density"]["model"] == pytest.approx(math.log(4 / 0.1))
    assert found["longest_silence"]["model"] > 3.5
    assert "drums" not in found


def test_silence_and_loops_are_counted_beside_the_true_ones(choice: WindowChoice, checkpoint: Checkpoint) -> None:
    domain = checkpoint.domain
    outcomes = [measure_windows(domain, window, NOTHING, 0, 4.0) for window in choice.windows[:2]] + [
        measure_windows(domain, window, after(window), 0, 4.0) for window in choice.windows[2:4]
    ]
    silent, loops = rates(outcomes)
    assert (silent.what, silent.model, silent.true, silent.windows) == ("are silent for more than 2 s", 0.5, 0.0, 4)
    assert (loops.what, loops.model, loops.true) == ("loop for more than 4 bars", 0.0, 0.0)
    # Twelve seconds of one bar over and over: five bars that equal the one before.
    looping = [measure_windows(domain, window, after(window), 0, 12.0) for window in choose_long(choice)]
    assert rates(looping)[1].true == 1.0


def test_a_silence_of_just_the_limit_is_not_more_than_it() -> None:
    def outcome(silence: float) -> Any:
        measured = {"longest_silence": Number(value=silence, unit="s")}
        return SimpleNamespace(candidates={"model": measured}, true=measured)

    (rate,) = rates([outcome(2.0000000000000018), outcome(2.01)])
    assert rate.model == rate.true == 0.5


BARS: CopyThreshold = ("bars", 2.0)


def choose_long(choice: WindowChoice) -> list[Any]:
    return [window for window in choice.windows if window.prompt.split_point <= 16.0][:1]


def test_a_seed_continues_in_the_same_way(choice: WindowChoice, checkpoint: Checkpoint) -> None:
    model, window = Model(checkpoint), choice.windows[0]

    def continued(seed: int) -> bytes:
        return continue_window(model, window, MidiConstraints(seconds=1.0), SamplingConfig(), seed)[0].tobytes()

    made = [continued(seed) for seed in range(4)]
    assert made == [continued(seed) for seed in range(4)]
    assert len(set(made)) > 1


def test_pieces_without_bars_are_cut_and_compared_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = open_store(midi_store(tmp_path_factory))
    domain = domain_of(load_tokenizer(store.tokenizer_folder))
    constraints = WindowSelection(count=2, prompt_length=2.0, length=2.0, unit="seconds", seed=0)
    choice = choose_windows(store, domain, pieces_by_source(store, "validation"), constraints)
    outcomes = [measure_windows(domain, window, after(window), 0, 2.0) for window in choice.windows]
    assert len(outcomes) == 2
    found = compare(outcomes, 0)
    assert {one.measure for one in found} >= {"pitch_classes", "note_density"}
    assert all(one.means["model"] == 0 for one in found)
    assert [rate.what for rate in rates(outcomes)] == ["are silent for more than 2 s"]
    _, true = find_copies(TrainingPieces(store, domain), outcomes)
    assert summarise_copies(true, BARS).bars is None
    assert summarise_copies(true, BARS).passing is None


# Copies


def test_a_transposed_training_piece_is_a_copy(store: Store, checkpoint: Checkpoint, choice: WindowChoice) -> None:
    domain, window = checkpoint.domain, choice.windows[0]
    training = TrainingPieces(store, domain)
    ids, steps = read_ids(store, 0), len(window.prompt.ids)
    # As if that piece had been continued: it is cut at the same step.
    other = replace(window.prompt, ids=ids[:steps], piece=None)
    outcome = measure_windows(domain, replace(window, prompt=other), ids[steps:], 0, 4.0)
    model, true = find_copies(training, [outcome])
    assert training.searched == 2 * (120 + 121 + 122)
    # All pieces are the same broken triad at other pitches: 16 notes from the first onset to the last.
    for (copied,) in (model, true):
        assert (copied.count, copied.length, copied.bars) == (16, pytest.approx(3.75), pytest.approx(1.875))
        assert copied.piece is not None
