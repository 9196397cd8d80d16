"""Tests of streaming: the events of a generation add up to its result, and it can be stopped."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_visits import DOMAINS, EXAMPLES, Visit, unpacked, visit

from muse_shortcut.errors import ArgumentsError
from muse_shortcut.generation.engine import Generation
from muse_shortcut.generation.sidecar import read_sidecar
from muse_shortcut.generation.trace import load_trace
from muse_shortcut.plots.timeline import make_timeline
from muse_tokenizers.errors import ConstraintError
from muse_web import streaming
from muse_web.exports import export_file
from muse_web.session import NotFoundError, Run
from muse_web.streaming import generate
from muse_web.views import SoundGrid


@pytest.fixture
def one(tmp_path: Path) -> Visit:
    return visit(tmp_path)


def send_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send an event for every step, independent of the speed of the machine."""
    monkeypatch.setattr(streaming, "_MIN_PERIOD", 0.0)
    monkeypatch.setattr(streaming, "_MAX_SHARE", float("inf"))


def parts_of(events: list[dict[str, Any]], candidate: int) -> list[dict[str, Any]]:
    return [part["candidates"][candidate] for part in events if part["type"] == "progress"]


def check_order(parts: list[dict[str, Any]], run: Run) -> None:
    kinds = [part["type"] for part in parts]
    assert kinds == ["started", *["progress"] * (len(parts) - 2), "done"]
    json.dumps(parts, allow_nan=False)
    started, request = parts[0], run.request
    assert (started["run"], started["domain"], started["seed"]) == (run.id, run.domain, request.seed)
    assert (started["split_point"], started["prompt_steps"]) == (request.prompt.split_point, len(request.prompt.ids))
    assert started["requested"] == EXAMPLES[run.domain]["amount"]
    assert (
        len(started["colours"]["light"]["depths"])
        == len(started["colours"]["dark"]["depths"])
        == len(started["depths"])
    )
    steps = [part["steps"] for part in parts[1:]]
    assert steps == sorted(steps)
    assert run.finished
    assert not parts[-1]["stopped"]


@pytest.mark.parametrize("kind", DOMAINS)
def test_progress_events_add_up_to_the_result(one: Visit, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    send_every_step(monkeypatch)
    run = one.example(kind, candidates=2)
    events = one.generate(run)
    check_order(events, run)
    assert len(events) > 15
    domain, prompt = run.checkpoint.domain, run.request.prompt
    for number, view in enumerate(events[-1]["candidates"]):
        candidate, trace = run.finished_candidate(number)
        parts = parts_of(events, number)
        assert parts[-1]["steps"] == view["steps"] == trace.steps == len(candidate.ids)
        assert view["prompt_steps"] == len(prompt.ids) == trace.prompt_steps
        np.testing.assert_array_equal(trace.ids, np.concatenate([prompt.ids, candidate.ids]))
        assert domain.dumps(candidate.piece) == domain.dumps(domain.join(prompt, candidate.ids))
        shares = unpacked(view["shares"])
        np.testing.assert_array_equal(np.concatenate([unpacked(part["shares"]) for part in parts]), shares)
        np.testing.assert_array_equal(shares, np.round(trace.depth_share * 255))
        np.testing.assert_allclose(unpacked(view["log_probability"]), trace.log_probability.sum(1))
        assert view["nats_per_token"] * candidate.ids.size == pytest.approx(-trace.log_probability.sum(), rel=1e-4)
        edges, spans = unpacked(view["edges"]), unpacked(view["spans"])
        assert len(edges) == len(trace.ids) - view["base"] + 1
        assert (np.diff(edges) >= 0).all()
        assert spans[-1, 1] == len(trace.ids)
        assert (spans[1:, 0] == spans[:-1, 1]).all()
        ADDS_UP[kind](run, number, parts, view)


def notes_add_up(run: Run, number: int, parts: list[dict[str, Any]], view: dict[str, Any]) -> None:
    _, trace = run.finished_candidate(number)
    tokens = run.checkpoint.tokenizer.describe(trace.ids, run.request.prompt)
    timeline = make_timeline(tokens, trace.prompt_steps)
    expected = [(note.start, note.end, note.pitch, note.first, note.is_drum) for note in timeline.notes]
    notes = unpacked(view["notes"])
    np.testing.assert_array_equal(notes, np.array(expected, dtype=np.float32))
    new = notes[notes[:, 3] >= trace.prompt_steps]
    assert len(new) > 3
    assert len(new) < len(notes)
    np.testing.assert_array_equal(np.concatenate([unpacked(part["notes"]) for part in parts]), new)
    starts = np.concatenate([unpacked(part["starts"]) for part in parts])
    np.testing.assert_allclose(starts, [token.start for [token] in tokens[trace.prompt_steps :]], rtol=1e-6)
    readies = [part["ready"] for part in parts]
    assert readies == sorted(readies)
    # Nothing that is sent later starts before the time that was reported as ready.
    for ready, part in zip(readies, parts[1:], strict=False):
        assert (unpacked(part["notes"])[:, 0] >= np.float32(ready)).all()


def words_add_up(run: Run, number: int, parts: list[dict[str, Any]], view: dict[str, Any]) -> None:
    candidate, trace = run.finished_candidate(number)
    text = ""
    for part in parts:
        text = text[: part["from"]] + part["text"]
    given = run.request.prompt.piece.decode()
    assert given + text == view["text"] == candidate.piece.decode()
    characters = unpacked(view["characters"])
    assert len(characters) == len(trace.ids) - view["base"]
    new = characters[trace.prompt_steps - view["base"] :] - len(given)
    np.testing.assert_array_equal(np.concatenate([unpacked(part["characters"]) for part in parts]), new)
    vocabulary = [text[first:stop] for first, stop in new]
    assert "".join(vocabulary) == text


def sound_adds_up(run: Run, number: int, parts: list[dict[str, Any]], view: dict[str, Any]) -> None:
    candidate, _ = run.finished_candidate(number)
    assert candidate.sound is not None
    rate = candidate.piece.sample_rate
    grid = SoundGrid(rate, len(candidate.sound))
    columns, peaks = unpacked(view["sound"]["columns"]).astype(int), unpacked(view["sound"]["peaks"]).astype(int)
    np.testing.assert_array_equal(
        peaks, np.round(np.abs(candidate.sound[: len(peaks) * grid.hop]).reshape(-1, grid.hop).max(1) * 255)
    )
    shown = round(run.request.prompt.split_point * rate) // grid.hop
    started = shown
    for part in parts:
        sheet = part["sound"]
        assert sheet["first"] == shown
        assert sheet["per_second"] == view["sound"]["per_second"]
        count = sheet["peaks"]["shape"][0]
        assert shown + count <= round(part["ready"] * rate) // grid.hop or not count
        assert np.abs(peaks[shown : shown + count] - unpacked(sheet["peaks"])).max(initial=0) <= 1
        # The spectra of a part's last columns reach beyond the sound that there was.
        sure = max(0, count - 3)
        assert np.abs(columns[shown : shown + sure] - unpacked(sheet["columns"])[:sure]).max(initial=0) <= 1
        shown += count
    assert shown <= len(peaks)
    assert started < len(peaks)


ADDS_UP = {"midi": notes_add_up, "audio": sound_adds_up, "text": words_add_up}


@pytest.mark.parametrize("domain", DOMAINS)
def test_steps_without_a_progress_event_are_in_the_result(
    one: Visit, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_MIN_PERIOD", 1e9)
    run = one.example(domain)
    events = one.generate(run)
    check_order(events, run)
    (part,) = parts_of(events, 0)
    candidate, trace = run.finished_candidate(0)
    assert unpacked(part["shares"]).shape[0] == part["steps"] < len(candidate.ids)
    assert events[-1]["candidates"][0]["steps"] == len(candidate.ids) == trace.steps
    assert candidate.ready == float("inf")


def stopped(run: Run, events: Iterator[dict[str, Any]], after: int) -> list[dict[str, Any]]:
    parts = []
    for part in events:
        parts.append(part)
        if part["type"] == "progress" and part["steps"] >= after:
            run.stop.set()
    return parts


@pytest.mark.parametrize("kind", DOMAINS)
def test_a_stopped_continuation_is_kept_and_reproduced_by_its_sidecar(
    one: Visit, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_every_step(monkeypatch)
    whole = one.example(kind, candidates=2)
    one.generate(whole)
    run = one.example(kind, candidates=2)
    parts = stopped(run, generate(run, one.visitor), after=12)
    assert parts[-1]["type"] == "done"
    assert parts[-1]["stopped"]
    assert parts[-1]["steps"] < 16
    domain = run.checkpoint.domain
    for number in range(2):
        candidate, trace = run.finished_candidate(number)
        assert 0 < len(candidate.ids) < len(whole.finished_candidate(number)[0].ids)
        np.testing.assert_array_equal(candidate.ids, whole.finished_candidate(number)[0].ids[: len(candidate.ids)])
        assert trace.steps == len(candidate.ids)
        path = export_file(one.visitor, run, number, "json")
        sidecar = read_sidecar(path, domain)
        assert (sidecar.candidate, sidecar.checkpoint) == (number, run.checkpoint.digest)
        np.testing.assert_array_equal(sidecar.ids, candidate.ids)
        again = Generation(run.checkpoint.core, domain, sidecar.request, trace=False)
        for _ in again:
            pass
        np.testing.assert_array_equal(again.continuations()[number], candidate.ids)
        assert again.log_probabilities()[number] == pytest.approx(run.continuation(number).log_probability, abs=1e-9)


def test_a_branch_takes_the_way_it_was_shown_and_can_be_made_again(one: Visit) -> None:
    before = one.finished("midi", candidates=2)
    candidate, trace = before.finished_candidate(1)
    step = 9
    other = next(int(i) for i in trace.alternatives[step, 0] if i not in (-1, candidate.ids[step, 0]))
    run = one.ask(run=before.id, candidate=1, step=step, stream=0, id=other)
    assert (run.request.candidates, run.request.seed) == (1, before.request.seed)
    assert run.request.forced_ids is not None
    assert run.request.forced_ids.shape == (step + 1, 1)
    assert one.generate(run)[-1]["type"] == "done"
    branch, its = run.finished_candidate(0)
    assert branch.ids[: step + 1, 0].tolist() == [*candidate.ids[:step, 0].tolist(), other]
    (chance,) = trace.alternative_log_probability[step, 0][trace.alternatives[step, 0] == other]
    assert its.log_probability[step, 0] == pytest.approx(float(chance), abs=1e-4)
    sidecar = read_sidecar(export_file(one.visitor, run, 0, "json"), run.checkpoint.domain)
    again = Generation(run.checkpoint.core, run.checkpoint.domain, sidecar.request, trace=False)
    for _ in again:
        pass
    np.testing.assert_array_equal(again.continuations()[0], branch.ids)


def test_a_branch_takes_one_of_the_five_alternatives_alone(one: Visit) -> None:
    before = one.finished("audio")
    candidate, trace = before.finished_candidate(0)
    # Here the prompt has settled the finer codes: one is allowed, and four of the five are none.
    assert (trace.alternatives[0] == -1).any()
    stream = int(np.argmax((trace.alternatives[0] == -1).any(axis=1)))
    refused = [{"id": -1}, {}, {"id": None}, {"id": int(candidate.ids[0, stream]) + 1}, {"id": 5000}]
    for payload in refused:
        with pytest.raises(ArgumentsError, match=r"^id is -?\d+; allowed: one of the five alternatives of that step$"):
            one.ask(run=before.id, step=0, stream=stream, **payload)
    unlikely = next(i for i in range(1000) if i not in trace.alternatives[20, 0])
    with pytest.raises(ArgumentsError, match=rf"^id is {unlikely}; allowed"):
        one.ask(run=before.id, step=20, stream=0, id=unlikely)
    other = int(trace.alternatives[20, 0, 4])
    for where in ({"step": trace.steps}, {"step": -1}, {"step": 20, "stream": 4}, {"step": 20, "stream": -1}):
        with pytest.raises(ArgumentsError, match=r"^step is -?\d+, stream -?\d+; this continuation has \d+ steps$"):
            one.ask(run=before.id, id=other, **where)
    with pytest.raises(NotFoundError, match="candidate 1 does not exist"):
        one.ask(run=before.id, candidate=1, step=20, id=other)
    assert one.ask(run=before.id, step=20, stream=0, id=other).request.forced_ids is not None


def test_a_decoding_error_is_raised_instead_of_shortening_the_sound(
    one: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = one.example("audio")

    def joining(_: Any, __: Any, steps: Iterator[Any]) -> Iterator[Any]:
        next(steps)
        raise MemoryError("no room")

    monkeypatch.setattr(type(run.checkpoint.domain), "joining", joining)
    with pytest.raises(MemoryError, match="no room"):
        one.generate(run)
    assert run.finished


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_generation_ends_when_its_visitor_leaves(one: Visit, domain: str) -> None:
    run = one.example(domain)
    events = generate(run, one.visitor)
    assert next(events)["type"] == "started"
    assert next(events)["type"] == "progress"
    one.visitor.removed = True
    assert "done" not in [part["type"] for part in events]
    assert run.finished
    assert not (one.visitor.folder / run.id).exists()


@pytest.mark.parametrize("after", ["started", "progress"])
def test_a_generation_ends_when_its_connection_closes(one: Visit, after: str) -> None:
    """Else the visitor would be served for ever, and a thread would wait for sound that never comes."""
    threads = threading.active_count()
    run = one.example("audio")
    events = generate(run, one.visitor)
    while next(events)["type"] != after:
        pass
    events.close()
    assert run.finished
    # The decoder's thread ends with what it has in hand.
    deadline = time.monotonic() + 20
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() == threads


def test_a_constraint_of_another_domain_begins_no_run(one: Visit) -> None:
    with pytest.raises(ConstraintError, match=r"^key is an option of music, not of text$"):
        one.example("text", key="C major")


@pytest.mark.parametrize("wish", [{"key": "H sharp"}, {"instruments": "kazoo"}])
def test_a_run_that_cannot_be_granted_is_over(one: Visit, wish: dict[str, str]) -> None:
    run = one.example("midi", **wish)
    with pytest.raises(ConstraintError, match=r"^[^\n]+$"):
        one.generate(run)
    assert run.finished


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_trace_lies_in_the_visitors_folder(one: Visit, domain: str) -> None:
    run = one.finished(domain, candidates=2)
    for number in range(2):
        trace = load_trace(one.visitor.folder / run.id / f"trace-{number}.npz")
        np.testing.assert_array_equal(trace.ids, run.finished_candidate(number)[1].ids)
