"""Tests of sampling: each rule against its definition, on numbers small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from muse_shortcut.config import SamplingConfig
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.generation.sampling import NgramMemory, Sampler, distribution

LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.1]))


def test_without_rules_the_distribution_is_the_models() -> None:
    np.testing.assert_allclose(distribution(LOGITS, SamplingConfig()), [0.5, 0.25, 0.15, 0.1])


def test_temperature_raises_probabilities_to_a_power() -> None:
    expected = np.array([0.5, 0.25, 0.15, 0.1]) ** 2
    np.testing.assert_allclose(distribution(LOGITS, SamplingConfig(temperature=0.5)), expected / expected.sum())


def test_the_smallest_temperature_is_greedy_and_stays_inside_the_allowed() -> None:
    logits = np.array([-np.inf, 3.0, 2.0])
    np.testing.assert_array_equal(distribution(logits, SamplingConfig(temperature=1e-310)), [0, 1, 0])


def test_top_k_keeps_the_k_likeliest() -> None:
    np.testing.assert_allclose(distribution(LOGITS, SamplingConfig(top_k=2)), [2 / 3, 1 / 3, 0, 0])


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    np.testing.assert_allclose(distribution(LOGITS, SamplingConfig(top_p=0.7)), [2 / 3, 1 / 3, 0, 0])
    np.testing.assert_allclose(distribution(LOGITS, SamplingConfig(top_p=0.01)), [1, 0, 0, 0])


def test_min_p_keeps_ids_relative_to_the_likeliest() -> None:
    np.testing.assert_allclose(distribution(LOGITS, SamplingConfig(min_p=0.29)), np.array([0.5, 0.25, 0.15, 0]) / 0.9)


def test_greedy_takes_the_likeliest() -> None:
    np.testing.assert_array_equal(distribution(LOGITS, SamplingConfig(greedy=True)), [1, 0, 0, 0])


def test_forbidden_ids_are_never_sampled() -> None:
    allowed = np.zeros((3, 2, 5), dtype=bool)
    allowed[:, :, [1, 4]] = True
    sampler = Sampler(SamplingConfig(temperature=9.0), 0, np.zeros((3, 1, 2), dtype=np.int64))
    drawn = {int(i) for _ in range(50) for i in sampler.draw(np.zeros((3, 2, 5), np.float32), allowed)[0].ravel()}
    assert drawn == {1, 4}


def test_draws_follow_the_distribution() -> None:
    sampler = Sampler(SamplingConfig(), 3, np.zeros((1, 1, 1), dtype=np.int64))
    logits = LOGITS.astype(np.float32)[None, None]
    counts = np.bincount([int(sampler.draw(logits, None)[0][0, 0]) for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(counts, [0.5, 0.25, 0.15, 0.1], atol=0.03)


def test_reported_log_probabilities_are_the_models_among_the_allowed() -> None:
    allowed = np.array([[[True, True, False, False]]])
    sampler = Sampler(SamplingConfig(greedy=True, temperature=5.0), 0, np.zeros((1, 1, 1), dtype=np.int64))
    ids, log_probabilities = sampler.draw(LOGITS.astype(np.float32)[None, None], allowed)
    assert ids[0, 0] == 0
    np.testing.assert_allclose(np.exp(log_probabilities), [[[2 / 3, 1 / 3, 0, 0]]], rtol=1e-6)


def test_a_candidate_does_not_depend_on_the_others() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 1, 7)).astype(np.float32)
    alone = Sampler(SamplingConfig(), 5, np.zeros((1, 1, 1), dtype=np.int64))
    together = Sampler(SamplingConfig(), 5, np.zeros((3, 1, 1), dtype=np.int64))
    for _ in range(20):
        assert alone.draw(logits[:1], None)[0][0] == together.draw(logits, None)[0][0]


def test_candidates_draw_differently() -> None:
    sampler = Sampler(SamplingConfig(), 5, np.zeros((2, 1, 1), dtype=np.int64))
    rows = np.stack([sampler.draw(np.zeros((2, 1, 1000), np.float32), None)[0][:, 0] for _ in range(10)])
    assert (rows[:, 0] != rows[:, 1]).all()


def test_repetition_penalty_divides_the_odds_of_recent_ids() -> None:
    history = np.array([[[2], [0]]])
    sampler = Sampler(SamplingConfig(repetition_penalty=2.0), 0, history)
    scores = LOGITS[None, None].copy()
    sampler._penalise(scores)
    np.testing.assert_allclose(np.exp(scores[0, 0]), [0.25, 0.25, 0.075, 0.1])


def test_no_run_of_n_steps_is_written_twice() -> None:
    sampler = Sampler(SamplingConfig(no_repeat_ngram=3), 1, np.zeros((1, 1, 1), dtype=np.int64))
    written = [0] + [int(sampler.draw(np.zeros((1, 1, 4), np.float32), None)[0][0, 0]) for _ in range(40)]
    runs = [tuple(written[i : i + 3]) for i in range(len(written) - 2)]
    assert len(set(runs)) == len(runs)


def test_a_repetition_is_allowed_where_nothing_else_is() -> None:
    memory = NgramMemory(1, np.array([[[1]]]))
    logits = np.array([[[-np.inf, 0.0]]])
    memory.forbid(logits)
    assert logits[0, 0, 1] == 0.0


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("temperature", 0.0, "temperature is 0.0; allowed: more than 0, up to 10"),
        ("temperature", float("nan"), "temperature is nan; allowed"),
        ("top_p", 2.0, "top_p is 2.0; allowed: more than 0, up to 1"),
        ("min_p", 1.0, "min_p is 1.0; allowed: 0 .off. up to but not 1"),
        ("top_k", -1, "top_k is -1; allowed: 0 .off. or more"),
        ("repetition_penalty", 0.5, "repetition_penalty is 0.5; allowed: 1 or more"),
        ("no_repeat_ngram", -2, "no_repeat_ngram is -2; allowed: 0 .off. or more"),
    ],
)
def test_an_impossible_rule_is_refused_by_name(field: str, value: float, message: str) -> None:
    with pytest.raises(ArgumentsError, match=message):
        SamplingConfig(**{field: value})
