"""Tests with junk in every field of every request: it is refused in one line or does no harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from small_visits import DOMAINS, Visit, visit

from muse_shortcut.errors import ArgumentsError, MuseError
from muse_tokenizers.errors import TokenizerError
from muse_web.exports import export_file
from muse_web.inspection import ablate, inspect_step, matrix, rows, sound
from muse_web.session import Run

JUNK: list[Any] = [
    None, True, False, [], {}, [[]], {"a": 1}, "x", "", " ", "\0", "\ud800", "\n", -1, 0, 1, 1.5, 1e-300, 1e308, 1e400,
    float("nan"), 10**18, 10**30, 10**400, -(10**400), "9" * 400, "nan", "../../etc/passwd", "C" * 400,
]  # fmt: skip


def problems(attempt: Callable[[Any], object], values: list[Any] = JUNK) -> list[str]:
    """What went wrong in another way than in one line for a person."""
    found = []
    for value in values:
        try:
            attempt(value)
        except (MuseError, TokenizerError):
            continue
        except Exception as error:
            found.append(f"{str(value)[:20]!r}: {type(error).__name__}: {str(error)[:60]}")
    return found


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Visit, dict[str, Run], str]:
    """Who has finished a run of each domain, and a prompt."""
    one = visit(tmp_path_factory.mktemp("junk"), runs=10**6, sources=10**6)
    runs = {domain: one.finished(domain) for domain in DOMAINS}
    return one, runs, one.open(domain="midi", example="saints").id


RUN_FIELDS = (
    "domain", "checkpoint", "source", "length", "run", "candidate", "amount", "candidates", "seed", "temperature",
    "top_p", "min_p", "repetition_penalty", "top_k", "no_repeat_ngram", "instruments", "key", "tempo",
)  # fmt: skip


@pytest.mark.parametrize("field", RUN_FIELDS)
def test_junk_in_generation_requests_is_refused(visited: tuple[Visit, dict[str, Run], str], field: str) -> None:
    one, runs, source = visited
    begins: list[dict[str, Any]] = [
        {"domain": "midi", "source": source, "length": 2.0, "amount": 1.0},
        {"domain": "text", "run": runs["text"].id, "amount": 10},
        {"domain": "audio", "amount": 0.2},
    ]
    assert [problems(lambda value, payload=payload: one.ask(**payload | {field: value})) for payload in begins] == [
        []
    ] * 3


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_length_of_a_prompt_is_too_much(visited: tuple[Visit, dict[str, Run], str], domain: str) -> None:
    one, *_ = visited
    assert problems(lambda length: one.example(domain, length=length), [1e-300, 1e9, 1e300, 1e308, 10**400]) == []


@pytest.mark.parametrize("field", ["run", "candidate", "step", "stream", "id"])
def test_junk_in_a_branch_is_refused(visited: tuple[Visit, dict[str, Run], str], field: str) -> None:
    one, runs, _ = visited
    for run in runs.values():
        payload = {
            "run": run.id,
            "candidate": 0,
            "step": 7,
            "stream": 0,
            "id": int(run.finished_candidate(0)[1].alternatives[7, 0, 0]),
        }
        assert problems(lambda value, payload=payload: one.ask(**payload | {field: value})) == []


@pytest.mark.parametrize("field", ["domain", "checkpoint", "example", "upload", "name", "notes", "tempo", "words"])
def test_junk_in_prompts_is_refused(visited: tuple[Visit, dict[str, Run], str], field: str) -> None:
    one, *_ = visited
    for payload in (
        {"domain": "midi", "example": "saints"},
        {"domain": "midi", "notes": [[60, 80, 0, 1]]},
        {"domain": "text", "words": "once upon a time"},
    ):
        assert problems(lambda value, payload=payload: one.open(**payload | {field: value})) == []

    def send(value: Any) -> None:
        payload = {"domain": "text", "upload": one.upload(b"once", "a.txt"), "name": "a.txt"}
        one.open(**payload | {field: value})

    assert problems(send) == []


@pytest.mark.parametrize("place", range(4))
def test_junk_in_a_played_note_is_refused(visited: tuple[Visit, dict[str, Run], str], place: int) -> None:
    one, *_ = visited

    def attempt(value: Any) -> None:
        note: list[Any] = [60, 80, 0.0, 1.0]
        note[place] = value
        one.open(notes=[[60, 80, 0.0, 1.0], note])

    assert problems(attempt) == []
    assert problems(lambda notes: one.open(notes=notes)) == []
    assert problems(lambda note: one.open(notes=[note])) == []


@pytest.mark.parametrize("domain", DOMAINS)
def test_junk_in_inspections_is_refused(visited: tuple[Visit, dict[str, Run], str], domain: str) -> None:
    one, runs, _ = visited
    run = runs[domain]
    attempts: list[Callable[[Any], object]] = [
        lambda value: inspect_step(run, 0, value),
        lambda value: rows(run, 0, value),
        lambda value: rows(run, 0, [0, value]),
        lambda value: ablate(run, 0, value, None, None, None),
        lambda value: ablate(run, 0, 5, value, None, None),
        lambda value: ablate(run, 0, 5, None, value, 3),
        lambda value: ablate(run, 0, 5, None, 1, value),
        lambda value: matrix(run, 0, value, [0, 1], [0, 1]),
        lambda value: matrix(run, 0, 0, value, [0, 1]),
        lambda value: matrix(run, 0, 0, [0, value], [0, 1]),
        lambda value: matrix(run, 0, 0, [0, 1], [value, 1]),
        lambda value: export_file(one.visitor, run, 0, value),
    ]
    assert [problems(attempt) for attempt in attempts] == [[]] * len(attempts)
    numbers = [value for value in JUNK if type(value) is float] + [1e15, -0.5, 2.0**60]
    assert problems(lambda start: sound(run, 0, start, 1.0), numbers) == []
    assert problems(lambda end: sound(run, 0, 0.0, end), numbers) == []
    assert problems(lambda start: sound(run, 0, start, start + 5), numbers) == []
    whole = [value for value in JUNK if type(value) is int]
    assert problems(lambda number: inspect_step(run, number, 0), whole) == []
    # Drawing takes a while: of steps those alone that are none.
    steps = [value for value in JUNK if value is not None and not (type(value) is int and 0 <= value < 2)]
    assert problems(lambda step: export_file(one.visitor, run, 0, "png", step), steps) == []


def test_requests_can_be_json_of_any_kind(visited: tuple[Visit, dict[str, Run], str]) -> None:
    one, *_ = visited
    for text in (
        '{"domain": "midi", "seed": 1e999}',
        '{"domain": "midi", "amount": NaN}',
        '{"domain": "midi", "tempo": -Infinity}',
    ):
        with pytest.raises(ArgumentsError, match=r"^\w+ is (inf|nan|-inf); allowed: [^\n]+$"):
            one.ask(**json.loads(text))
