"""Tests of inspection and export: views equal the trace, sound equals the piece, every file can be opened."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from midi_pieces import note_rows
from numpy.typing import NDArray
from small_visits import DOMAINS, Visit, unpacked, visit
from symusic import Score

from muse_shortcut.api.continuation import Continuation
from muse_shortcut.api.model import Model
from muse_shortcut.api.prompts import LoadedPrompt
from muse_shortcut.errors import ArgumentsError
from muse_shortcut.files import hash_file
from muse_shortcut.generation.ablation import SourceSpan, ablate_sources, allowed_at
from muse_shortcut.generation.trace import Trace, load_trace
from muse_tokenizers.audio.waveforms import wav_bytes
from muse_tokenizers.loading import domain_class
from muse_web.exports import export_file, kinds_of_files
from muse_web.inspection import ablate, inspect_step, matrix, rows, sound
from muse_web.session import NotFoundError, Run
from muse_web.streaming import generate
from muse_web.views import tile_of

KINDS = {domain: kinds_of_files(domain_class(domain).info) for domain in DOMAINS}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    return visit(tmp_path_factory.mktemp("visit"))


@pytest.fixture(scope="module")
def runs(one: Visit) -> dict[str, Run]:
    """Finished, of two candidates."""
    return {domain: one.finished(domain, candidates=2) for domain in DOMAINS}


# Looking


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_step_is_shown_as_the_trace_has_it(runs: dict[str, Run], domain: str) -> None:
    run = runs[domain]
    tokenizer = run.checkpoint.tokenizer
    for number in range(2):
        candidate, trace = run.finished_candidate(number)
        described = tokenizer.describe(trace.ids)
        for step in (0, 1, 5, trace.steps - 1):
            seen = inspect_step(run, number, step)
            begin, row = trace.attended(step)
            assert (seen["step"], seen["begin"]) == (step, begin)
            np.testing.assert_array_equal(unpacked(seen["row"]), row)
            assert step in [token["step"] for token in seen["tokens"]]
            for token in seen["tokens"]:
                check_token(run, trace, token, described[trace.prompt_steps + token["step"]])
        assert json.dumps(inspect_step(run, number, 0), allow_nan=False)
        assert candidate.ids.shape[1] == len(inspect_step(run, number, 0)["tokens"][0]["streams"])


def check_token(run: Run, trace: Trace, token: dict[str, Any], expected: Any) -> None:
    step, end = token["step"], trace.prompt_steps + token["step"]
    assert not token["forced"]
    for stream, part in enumerate(token["streams"]):
        assert (part["id"], part["label"], part["kind"]) == (
            trace.ids[end, stream],
            expected[stream].label,
            expected[stream].kind,
        )
        assert part["probability"] == pytest.approx(math.exp(trace.log_probability[step, stream]))
        assert part["entropy"] == pytest.approx(float(trace.entropy[step, stream]))
        likely = [
            (int(other), math.exp(nats))
            for other, nats in zip(
                trace.alternatives[step, stream], trace.alternative_log_probability[step, stream], strict=True
            )
            if other >= 0
        ]
        assert [other["id"] for other in part["alternatives"]] == [other for other, _ in likely]
        assert [other["probability"] for other in part["alternatives"]] == pytest.approx(
            [chance for _, chance in likely]
        )
        for other in part["alternatives"]:
            instead = trace.ids[: end + 1].copy()
            instead[end, stream] = other["id"]
            assert other["label"] == run.checkpoint.tokenizer.describe(instead)[end][stream].label


def test_the_ids_of_a_note_are_shown_together(runs: dict[str, Run]) -> None:
    run = runs["midi"]
    _, trace = run.finished_candidate(0)
    tokens = [token for [token] in run.checkpoint.tokenizer.describe(trace.ids)]
    notes = [token.note for token in tokens]
    for step in range(trace.steps):
        note = notes[trace.prompt_steps + step]
        whole = [at - trace.prompt_steps for at, other in enumerate(notes) if other == note]
        seen = inspect_step(run, 0, step)["tokens"]
        assert [token["step"] for token in seen] == ([step] if note is None else whole)
        if note is not None:
            # A velocity is named only where it changes.
            kinds = [token["streams"][0]["kind"] for token in seen]
            assert [kind for kind in kinds if kind != "velocity"] == ["pitch", "duration"]


def test_inherited_steps_of_a_branch_are_shown_as_forced(one: Visit, runs: dict[str, Run]) -> None:
    before = runs["text"]
    _, trace = before.finished_candidate(0)
    run = one.ask(run=before.id, step=6, id=int(trace.alternatives[6, 0, 1]))
    one.generate(run)
    settled = [inspect_step(run, 0, step)["tokens"][0]["forced"] for step in range(9)]
    assert settled == [True] * 7 + [False] * 2


@pytest.mark.parametrize("domain", DOMAINS)
def test_several_rows_are_those_of_each_step(runs: dict[str, Run], domain: str) -> None:
    run = runs[domain]
    _, trace = run.finished_candidate(1)
    wanted = [3, 0, trace.steps - 1, 3]
    found = rows(run, 1, wanted)
    flat, at = unpacked(found["rows"]), 0
    assert found["steps"] == wanted
    for step, begin, length in zip(wanted, found["begins"], found["lengths"], strict=True):
        size = length * len(trace.depths)
        expected = unpacked(inspect_step(run, 1, step)["row"])
        assert begin == inspect_step(run, 1, step)["begin"]
        np.testing.assert_array_equal(flat[at : at + size].reshape(-1, length), expected)
        at += size
    assert at == len(flat)
    assert len(rows(run, 1, [0] * 64)["steps"]) == 64
    for wrong in ([], [0] * 65, [trace.steps], [-1], [True], [0.0], ["0"], None, 3, {}):
        with pytest.raises(ArgumentsError, match=r"^[^\n]+$"):
            rows(run, 1, wrong)


@pytest.mark.parametrize("domain", DOMAINS)
def test_ablation_on_the_page_equals_that_of_the_library(runs: dict[str, Run], domain: str) -> None:
    run = runs[domain]
    _, trace = run.finished_candidate(0)
    step = trace.steps - 2
    allowed = allowed_at(run.checkpoint.domain, run.request, trace, step)
    end, deepest = trace.prompt_steps + step, int(trace.depths[-1])
    for depth, first, stop in ((None, None, None), (deepest, None, None), (None, end - 3, end), (deepest, 1, 4)):
        span = None if first is None else SourceSpan(label="", kind="", start=0.0, end=0.0, first=first, stop=stop)
        (expected,) = ablate_sources(run.checkpoint.core, trace, step, [(depth, span)], allowed)
        found = ablate(run, 0, step, depth, first, stop)
        assert found["step"] == step
        assert found["change"] == pytest.approx(list(expected.change), abs=1e-9)
        assert any(found["change"])
        assert found["weight"] == pytest.approx(expected.weight)
        assert found["before"] == pytest.approx(trace.log_probability[step].tolist())
    for wrong in ((99, None, None), (None, 3, 3), (None, -1, 2), (None, 0, end + 1), (None, 0, None), (True, 0, 1)):
        with pytest.raises(ArgumentsError, match=r"^[^\n]+$"):
            ablate(run, 0, step, *wrong)


# The matrix


def whole_matrix(trace: Trace, depth: int) -> NDArray[np.float32]:
    """(S, P + S) every weight in its place."""
    whole = np.zeros((trace.steps, len(trace.ids)), dtype=np.float32)
    for step in range(trace.steps):
        begin, row = trace.attended(step)
        line = row.sum(0) if depth < 0 else row[depth]
        whole[step, begin : begin + len(line)] = line
    return whole


def decoded(tile: dict[str, Any]) -> NDArray[np.float64]:
    return unpacked(tile["cells"]) / 65535 * tile["scale"]


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("depth", [-1, 0, 2])
def test_the_matrix_at_full_resolution_is_the_rows(runs: dict[str, Run], domain: str, depth: int) -> None:
    run = runs[domain]
    _, trace = run.finished_candidate(0)
    whole = whole_matrix(trace, depth)
    steps, positions = len(whole), min(whole.shape[1], 512)
    for (a, b), (c, d) in (
        ((0, steps), (0, positions)),
        ((3, 9), (whole.shape[1] - 40, whole.shape[1])),
        ((4, 5), (1, 2)),
    ):
        tile = matrix(run, 0, depth, [a, b], [c, d])
        part = whole[a:b, c:d]
        assert (tile["steps"], tile["positions"]) == ([a, b], [c, d])
        assert unpacked(tile["cells"]).shape == part.shape
        assert tile["scale"] == (pytest.approx(float(part.max())) if part.any() else 1.0)
        np.testing.assert_allclose(decoded(tile), part, atol=tile["scale"] / 65535)


@pytest.mark.parametrize("size", [(7, 11), (1, 1), (13, 512), (512, 5)])
def test_the_matrix_at_low_resolution_has_the_largest_of_each_cell(runs: dict[str, Run], size: tuple[int, int]) -> None:
    _, trace = runs["midi"].finished_candidate(0)
    whole = whole_matrix(trace, 1)
    steps, positions = (2, trace.steps - 1), (5, len(trace.ids) - 3)
    part = whole[slice(*steps), slice(*positions)]
    rows_, columns = (min(most, length) for most, length in zip(size, part.shape, strict=True))
    slow = np.zeros((rows_, columns))
    for i in range(part.shape[0]):
        for j in range(part.shape[1]):
            at = i * rows_ // part.shape[0], j * columns // part.shape[1]
            slow[at] = max(slow[at], part[i, j])
    tile = tile_of(trace, 1, steps, positions, size)
    np.testing.assert_allclose(decoded(tile), slow, atol=tile["scale"] / 65535)
    assert tile["scale"] == pytest.approx(float(part.max()))


def test_a_matrix_of_nothing_in_sight_is_empty(runs: dict[str, Run]) -> None:
    _, trace = runs["text"].finished_candidate(0)
    tile = matrix(runs["text"], 0, 0, [0, 1], [len(trace.ids) - 1, len(trace.ids)])
    assert unpacked(tile["cells"]).tolist() == [[0]]
    for depth, steps, positions in (
        (3, [0, 1], [0, 1]), (-2, [0, 1], [0, 1]), (True, [0, 1], [0, 1]), (0, [0, 0], [0, 1]), (0, [1, 0], [0, 1]),
        (0, [0, trace.steps + 1], [0, 1]), (0, [0, 1], [0, len(trace.ids) + 1]), (0, [-1, 1], [0, 1]),
        (0, [0, 1.0], [0, 1]), (0, None, [0, 1]), (0, [0, 1], "01"), (0, [0, 1, 2], [0, 1]),
    ):  # fmt: skip
        with pytest.raises(ArgumentsError, match=r"^[^\n]+$"):
            matrix(runs["text"], 0, depth, steps, positions)


# Sound


@pytest.mark.parametrize("domain", ["midi", "audio"])
def test_sound_is_refused_before_it_is_written_and_then_is_that_of_the_piece(one: Visit, domain: str) -> None:
    run = one.example(domain)
    start = run.request.prompt.split_point
    given = sound(run, 0, 0.0, 1.0)
    assert given["rate"] > 0
    with pytest.raises(NotFoundError, match="have not been generated so far"):
        sound(run, 0, start, start + 0.5)
    events, early = generate(run, one.visitor), []
    for part in events:
        ready = run.candidates[0].ready
        if part["type"] == "progress" and ready > start + 0.5 and not early:
            with pytest.raises(NotFoundError, match="have not been generated so far"):
                sound(run, 0, start, ready + 0.25)
            early.append(sound(run, 0, start, start + 0.5))
    candidate, _ = run.finished_candidate(0)
    for begin, end in ((start, start + 0.5), (0.0, 1.0), (start + 0.2, start + 0.9)):
        found = sound(run, 0, begin, end)
        expected = run.checkpoint.domain.render_between(candidate.piece, begin, end)
        assert expected is not None
        assert (found["rate"], found["start"]) == (expected.sample_rate, begin)
        samples = unpacked(found["samples"]) / 32767 * found["full_scale"]
        assert run.gain == 1.0 if domain == "audio" else (run.gain or 0.0) > 1.5
        np.testing.assert_allclose(
            samples.T, np.clip(expected.samples * run.gain, -4, 4), atol=0.51 * found["full_scale"] / 32767
        )
    # What is said to be ready while the rest is being written does not change any more.
    for found in early:
        later = unpacked(sound(run, 0, start, start + 0.5)["samples"])
        assert np.abs(unpacked(found["samples"]).astype(int) - later).max(initial=0) <= 1


def test_a_source_is_heard_and_text_is_not(one: Visit, runs: dict[str, Run]) -> None:
    source = one.open(domain="midi", example="saints")
    expected = source.checkpoint.domain.render_between(source.piece, 1.0, 2.0)
    assert expected is not None
    found = unpacked(sound(source, 0, 1.0, 2.0)["samples"])
    assert found.shape == expected.samples.T.shape
    assert np.abs(found).max() > 300
    # As loud as the file that can be taken away.
    whole = source.checkpoint.domain.render(source.piece)
    assert whole is not None
    plain = source.checkpoint.domain.render(source.piece, loudness=None)
    assert plain is not None
    assert source.gain == pytest.approx(np.abs(whole.samples).max() / np.abs(plain.samples).max(), rel=0.02)
    for of in (runs["text"], one.open(domain="text", words="once upon a time")):
        with pytest.raises(NotFoundError, match="text has no sound"):
            sound(of, 0, 0.0, 1.0)
    inf, nan = float("inf"), float("nan")
    for pair in ((1.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (0.0, 10.5), (0.0, inf), (inf, inf), (nan, 1.0), (0.0, nan)):
        with pytest.raises(ArgumentsError, match=r"^a segment of sound goes from [^\n]+$"):
            sound(runs["midi"], 0, *pair)


# Taking


def files_of(one: Visit, run: Run) -> Iterator[tuple[str, int, Path]]:
    for kind in KINDS[run.domain]:
        for number in range(len(run.candidates)):
            yield kind, number, export_file(one.visitor, run, number, kind)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_download_has_the_content_of_its_kind_and_the_bytes_that_the_library_saves(
    one: Visit, runs: dict[str, Run], domain: str, tmp_path: Path
) -> None:
    run = runs[domain]
    stem = {"midi": "bach-prelude", "audio": "bach-fugue", "text": "garden"}[domain]
    taken = list(files_of(one, run))
    prompt = LoadedPrompt(run.request.prompt.piece, run.name, run.file)
    made = Model(run.checkpoint).start(run.request, prompt).run()
    assert len({path for *_, path in taken}) == len(taken) == 2 * len(KINDS[domain])
    for kind, number, path in taken:
        assert path.parent.parent == one.visitor.folder / run.id
        endings = {"trace": "trace.npz", "tracks": "tracks.zip"}
        assert path.name == f"{stem}-{number + 1}.{endings.get(kind, kind)}"
        CHECKS[kind](run, number, path)
        if kind != "tracks":
            assert path.read_bytes() == saved(made[number], path, tmp_path)
        before = hash_file(path)
        assert hash_file(export_file(one.visitor, run, number, kind)) == before


def saved(one: Continuation, path: Path, folder: Path) -> bytes:
    """What the library saves under the name of a download."""
    if path.suffix == ".json":
        return one.sidecar(name=path.stem.rpartition("-")[0], sound=one.domain.describe_sound()).encode()
    return one.save(folder / path.name).read_bytes()


def is_piece(run: Run, number: int, path: Path) -> None:
    domain = run.checkpoint.domain
    joined = domain.join(run.request.prompt, run.candidates[number].ids)
    assert path.read_bytes() == domain.dumps(joined)
    if run.domain == "midi":
        assert Score(path).note_num() == joined.note_num() > 20
    else:
        assert path.read_text(encoding="utf-8").startswith(run.request.prompt.piece.decode())


def is_tracks(run: Run, number: int, path: Path) -> None:
    found = []
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            assert name.endswith(".mid")
            assert "/" not in name
            part = run.checkpoint.domain.loads(archive.read(name))
            assert sum(len(track.notes) > 0 for track in part.tracks) == 1
            found += note_rows(part)
    assert sorted(found) == note_rows(
        run.checkpoint.domain.loads(run.checkpoint.domain.dumps(run.candidates[number].piece))
    )


def is_sound(run: Run, number: int, path: Path) -> None:
    candidate = run.candidates[number]
    heard = run.checkpoint.domain.render(candidate.piece) or candidate.piece
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == heard.sample_rate
    np.testing.assert_allclose(samples.T, np.clip(heard.samples, -1, 1), atol=1.01 / 32767)
    assert soundfile.info(path).format == path.suffix[1:].upper()
    if path.suffix == ".wav":
        assert path.read_bytes() == wav_bytes(heard)


def is_trace(run: Run, number: int, path: Path) -> None:
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["ids"][-len(run.candidates[number].ids) :], run.candidates[number].ids)
    np.testing.assert_array_equal(load_trace(path).attention, run.finished_candidate(number)[1].attention)


def is_sidecar(run: Run, number: int, path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["domain"], content["candidate"], content["name"]) == (run.domain, number, run.name)
    assert content["ids"] == run.candidates[number].ids.tolist()


def is_picture(run: Run, number: int, path: Path) -> None:
    data = path.read_bytes()
    if path.suffix == ".png":
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        assert data.endswith(b"IEND\xaeB\x60\x82")
    else:
        assert ElementTree.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"


CHECKS = {
    "mid": is_piece, "txt": is_piece, "tracks": is_tracks, "wav": is_sound, "flac": is_sound, "trace": is_trace,
    "json": is_sidecar, "svg": is_picture, "png": is_picture,
}  # fmt: skip


def test_a_picture_of_another_step_is_another_picture(one: Visit, runs: dict[str, Run]) -> None:
    paths = [export_file(one.visitor, runs["text"], 0, "svg", step) for step in (2, 3)]
    assert [path.name for path in paths] == ["garden-1-step-2.svg", "garden-1-step-3.svg"]
    assert paths[0].read_bytes() != paths[1].read_bytes()


@pytest.mark.parametrize("domain", DOMAINS)
def test_impossible_downloads_are_refused(one: Visit, runs: dict[str, Run], domain: str) -> None:
    foreign = {kind for kinds in KINDS.values() for kind in kinds} - set(KINDS[domain])
    for kind in (*foreign, "exe", "", None, 3, [], {}, "../mid"):
        with pytest.raises(ArgumentsError, match=rf"allowed of {domain}: "):
            export_file(one.visitor, runs[domain], 0, kind)
    with pytest.raises(NotFoundError, match="candidate 2 does not exist"):
        export_file(one.visitor, runs[domain], 2, "json")
    with pytest.raises(NotFoundError, match="still being generated"):
        export_file(one.visitor, one.example(domain), 0, "json")
    for step in (-1, 10**6, True, 1.0, "0"):
        with pytest.raises(ArgumentsError, match=r"^step is [^\n]+$"):
            export_file(one.visitor, runs[domain], 0, "png", step)


@pytest.mark.parametrize(("domain", "kind"), [(domain, kind) for domain in DOMAINS for kind in KINDS[domain]])
def test_a_continuation_stopped_early_can_be_downloaded(one: Visit, domain: str, kind: str) -> None:
    run = one.ask(domain=domain, seed=1)
    run.stop.set()
    told = one.generate(run)
    assert told[-1]["type"] == "done"
    json.dumps(told, allow_nan=False)
    path = export_file(one.visitor, run, 0, kind)
    if kind in ("wav", "flac"):
        assert soundfile.info(path).samplerate > 0
    elif kind in ("png", "svg"):
        is_picture(run, 0, path)
    elif kind == "trace":
        assert load_trace(path).steps == len(run.candidates[0].ids)
    if not len(run.candidates[0].ids):
        with pytest.raises(ArgumentsError, match=r"^step is 0; [^\n]+$"):
            inspect_step(run, 0, 0)
