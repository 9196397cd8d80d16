"""Promises of `import muse_shortcut as muse`: what is public, and that it does what the command line does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from conftest import RunCommand
from symusic import Score

import muse_shortcut as muse
from muse_shortcut.api.prompts import read_prompt
from muse_tokenizers.errors import UnreadablePieceError

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def model() -> muse.Model:
    return muse.load("midi", device="cpu")


@pytest.fixture(scope="module")
def continuation(model: muse.Model) -> muse.Continuation:
    [one] = model.continue_("bach-prelude", prompt_seconds=5, seconds=2, seed=7)
    return one


def test_every_public_name_is_there_and_nothing_else_is_promised() -> None:
    assert set(muse.__all__) == set(muse._HOMES)
    assert set(muse.__all__) <= set(dir(muse))
    for name in muse.__all__:
        assert getattr(muse, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Models'"):
        _ = muse.Models  # type: ignore[attr-defined]


def test_importing_it_imports_no_torch() -> None:
    code = "import sys, muse_shortcut as muse; muse.MuseError; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_public_types_are_typed_for_those_who_import_them() -> None:
    assert (ROOT / "muse_shortcut" / "py.typed").is_file()
    assert (ROOT / "tokenizers" / "muse_tokenizers" / "py.typed").is_file()


def test_the_same_seed_gives_the_bytes_of_the_command_line(
    run: RunCommand, continuation: muse.Continuation, tmp_path: Path
) -> None:
    words = ("--prompt", "bach-prelude", "--prompt-seconds", "5", "--seconds", "2", "--seed", "7", "--sound", "false")
    run("generate", "midi", *words, "--out", tmp_path)
    continuation.save(tmp_path / "api.mid")
    assert (tmp_path / "api.mid").read_bytes() == (tmp_path / "bach-prelude-1.mid").read_bytes()
    continuation.save(tmp_path / "api.npz")
    assert (tmp_path / "api.npz").read_bytes() == (tmp_path / "bach-prelude-1.trace.npz").read_bytes()


def test_the_suffix_of_a_path_determines_the_saved_format(continuation: muse.Continuation, tmp_path: Path) -> None:
    assert mido.MidiFile(continuation.save(tmp_path / "a.mid")).length > continuation.start
    sound, rate = soundfile.read(continuation.save(str(tmp_path / "a.wav")))
    assert len(sound) > 5.5 * rate
    assert np.array_equal(muse.load_trace(continuation.save(tmp_path / "a.trace.npz")).ids, continuation.trace.ids)
    assert continuation.save(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in continuation.plot(tmp_path / "why.svg", step=3).read_bytes()
    assert continuation.save(tmp_path / "a.json").read_text().startswith('{"version"')


@pytest.mark.parametrize("name", ["a.txt", "a", "a.mp3"])
def test_a_suffix_of_another_domain_is_refused(continuation: muse.Continuation, name: str, tmp_path: Path) -> None:
    with pytest.raises(muse.ArgumentsError, match=r"allowed endings for midi: \.mid, \.wav, \.flac, \.json, \.npz"):
        continuation.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_score_its_bytes_and_its_file_are_the_same_prompt(model: muse.Model, tmp_path: Path) -> None:
    path = ROOT / "muse_shortcut" / "shipped" / "prompts" / "midi" / "bach-prelude.mid"
    found = [
        model.continue_(prompt, prompt_seconds=4, max_new_tokens=8, seed=3, trace=False)[0].ids.tolist()
        for prompt in (path, str(path), path.read_bytes(), Score(str(path)), "bach-prelude")
    ]
    assert all(ids == found[0] for ids in found)


def test_every_path_may_be_a_string(model: muse.Model, continuation: muse.Continuation, tmp_path: Path) -> None:
    trace, piece, checkpoint = (str(tmp_path / name) for name in ("a.npz", "a.mid", "checkpoint"))
    continuation.save_trace(trace)
    assert muse.load_trace(trace).steps == len(continuation.ids)
    model.domain.write(continuation.piece, piece)
    assert model.domain.dumps(model.domain.read(piece)) == Path(piece).read_bytes()
    Path(checkpoint).mkdir()
    muse.save_checkpoint(model.checkpoint, checkpoint)
    assert muse.load_tokenizer(checkpoint).fingerprint() == model.tokenizer.fingerprint()
    with pytest.raises(UnreadablePieceError, match=r"cannot read the soundfont nowhere\.sf2"):
        continuation.sound(soundfont="nowhere.sf2")
    for render in (model.domain.sound, model.domain.render):
        with pytest.raises(UnreadablePieceError, match=r"cannot read the soundfont nowhere\.sf2"):
            render(continuation.piece, "nowhere.sf2")
    (tmp_path / "a.txt").write_text("The sea")
    text = muse.domain_of(muse.load_tokenizer("text"))
    assert text.read_part(str(tmp_path / "a.txt"), (4, 7)) == b"sea"


def test_a_continuation_and_its_trace_are_one_line_each(continuation: muse.Continuation) -> None:
    assert re.match(r"Continuation\('bach-prelude', [\d.]+ s after 3\.333 s, \d+ steps, ", str(continuation))
    trace = continuation.trace
    assert repr(trace) == f"Trace({trace.steps} steps after {trace.prompt_steps}, depths 2, 4, 6)"


def test_the_log_probabilities_of_the_ids_add_up_to_that_of_the_continuation(continuation: muse.Continuation) -> None:
    assert continuation.log_probabilities.shape == continuation.ids.shape
    assert continuation.log_probabilities.sum() == pytest.approx(continuation.log_probability, rel=1e-5)


def test_an_array_with_its_rate_is_a_prompt_of_sound() -> None:
    model = muse.load("audio", device="cpu")
    wave = 0.3 * np.sin(np.arange(16000) / 10).astype(np.float32)
    [one] = model.continue_((wave, 16000), seconds=0.2, seed=1, trace=False)
    assert one.piece.sample_rate == 24000
    assert one.start == pytest.approx(1.0, abs=0.05)
    with pytest.raises(muse.ArgumentsError, match="a pair of an array"):
        model.continue_(3.5, seconds=0.2)


def test_words_are_a_prompt_of_text() -> None:
    model = muse.load("text", device="cpu")
    [one] = model.continue_("The sea was", bytes=20, seed=1, trace=False)
    assert one.piece.startswith(b"The sea was")
    assert "nats per token, seed 1" in repr(one)
    with pytest.raises(muse.ArgumentsError, match="generated without a trace"):
        _ = one.trace


def test_a_stream_can_be_saved_at_any_time_and_continues(model: muse.Model) -> None:
    options: muse.Options = {"prompt_seconds": 4, "seconds": 2, "seed": 5}
    stream = model.stream("bach-prelude", **options)
    for _ in range(20):
        next(stream)
    [early] = stream.continuations()
    [late] = stream.run()
    assert 0 < len(early.ids) <= 20 < len(late.ids)
    assert early.trace.steps == len(early.ids)
    assert np.array_equal(late.ids[: len(early.ids)], early.ids)
    assert early.request.max_steps == 20
    assert late.request.max_steps is None
    [whole] = model.continue_("bach-prelude", **options)
    assert np.array_equal(whole.ids, late.ids)


def test_a_continuation_is_continued_further(continuation: muse.Continuation) -> None:
    [further] = continuation.continue_(seconds=1, seed=2)
    assert further.start >= continuation.start + 1.5
    assert further.source.name == "bach-prelude"
    with pytest.raises(muse.ArgumentsError, match="first continuation"):
        continuation.continue_(prompt_seconds=3)


def test_a_branch_replaces_an_id_and_keeps_earlier_ones(continuation: muse.Continuation) -> None:
    step = 10
    other = int(continuation.trace.alternatives[step, 0, 1])
    [branch] = continuation.branch(step, other).run()
    assert np.array_equal(branch.ids[:step], continuation.ids[:step])
    assert branch.ids[step, 0] == other
    with pytest.raises(muse.ArgumentsError, match=r"^step is 10000; allowed: 0 to \d+, of stream 0 to 0$"):
        continuation.branch(10_000, other)


def test_an_explanation_names_the_token_that_was_drawn(continuation: muse.Continuation) -> None:
    found = continuation.explain(step=4)
    assert found.tokens[0].id == continuation.ids[4, 0]
    assert found.depths
    assert repr(found).startswith("Explanation(step 4: ")
    assert len(repr(found)) < 100


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"temprature": 1.0}, "there is no option 'temprature'; allowed: prompt_seconds"),
        ({"prompt_seconds": -1}, "prompt_seconds is -1; allowed: more than 0"),
        ({"num_samples": 0}, "num_samples is 0; allowed: 1 to 64"),
        ({"instruments": " , "}, "instruments is ' , '; allowed: names"),
        ({"key": "  "}, "key is '  '; allowed: a key"),
        ({"tempo": [90]}, r"tempo is \[90\]; allowed: beats per minute, or free"),
        ({"temperature": 0.0}, "temperature is 0.0; allowed: more than 0, up to 10; greedy always takes"),
    ],
)
def test_impossible_options_are_one_clear_error(model: muse.Model, options: dict[str, object], line: str) -> None:
    with pytest.raises(muse.ArgumentsError, match=line):
        model.stream("bach-prelude", **options)  # type: ignore[arg-type]


def test_scores_in_seconds_and_quarters_are_the_same_prompt_as_in_ticks(model: muse.Model) -> None:
    score = Score(str(ROOT / "muse_shortcut" / "shipped" / "prompts" / "midi" / "bach-prelude.mid"))
    expected = read_prompt(model.domain, score).piece
    for unit in ("quarter", "second"):
        assert read_prompt(model.domain, score.to(unit)).piece == expected
        coarse = score.to(unit)
        coarse.ticks_per_quarter = 1
        notes = read_prompt(model.domain, coarse).piece.tracks[0].notes
        assert [note.time for note in notes] == [note.time for note in expected.tracks[0].notes]
    for time in (-1.0, float("nan"), float("inf"), 1e15):
        broken = score.to("second")
        broken.tracks[0].notes[0].time = time
        with pytest.raises(muse.MuseError, match=r"the score (has times that are negative|is too long)"):
            read_prompt(model.domain, broken)
    score.ticks_per_quarter = 70_000
    with pytest.raises(muse.MuseError, match="ticks_per_quarter is 70000; allowed: 1 to 32,767"):
        read_prompt(model.domain, score)


def test_numbers_of_numpy_are_options(model: muse.Model) -> None:
    plain = {
        "prompt_seconds": 4,
        "seconds": 1.0,
        "num_samples": 2,
        "seed": 3,
        "instruments": [0],
        "tempo": 90,
        "top_k": 5,
    }
    of_numpy = {
        "prompt_seconds": np.float32(4), "seconds": np.float32(1), "num_samples": np.int64(2), "seed": np.uint8(3),
        "instruments": np.array([0]), "tempo": np.int32(90), "top_k": np.int16(5), "greedy": np.bool_(False),
    }  # fmt: skip
    first, second = (model.stream("bach-prelude", **options) for options in (plain, of_numpy))  # type: ignore[arg-type]
    for name in ("sampling", "constraints", "candidates", "seed"):
        assert repr(getattr(first.request, name)) == repr(getattr(second.request, name))
    for wrong in (
        {"seed": np.bool_(True)},
        {"num_samples": True},
        {"seconds": np.float64("nan")},
        {"seed": np.float64(3)},
    ):
        with pytest.raises(muse.ArgumentsError, match="allowed: "):
            model.stream("bach-prelude", **wrong)  # type: ignore[arg-type]


def test_an_id_that_does_not_exist_cannot_be_branched_to(continuation: muse.Continuation) -> None:
    last = continuation.tokenizer.vocabulary_size - 1
    for wrong in (-1, last + 1, 999_999):
        with pytest.raises(muse.ArgumentsError, match=rf"^id is {wrong}; allowed: 0 to {last}, the ids of the vocab"):
            continuation.branch(4, wrong)
    with pytest.raises(muse.ArgumentsError, match=r"^id 0 \('PAD.*'\) is not allowed at step 4: the grammar of music"):
        continuation.branch(np.int64(4), np.int64(0)).run()  # type: ignore[arg-type]


def test_an_option_of_another_domain_is_named_as_such(model: muse.Model) -> None:
    with pytest.raises(muse.ConstraintError, match=r"^bytes is an option of text, not of music; music takes seconds$"):
        model.stream("bach-prelude", bytes=3)
    text = muse.load("text", device="cpu")
    with pytest.raises(muse.ConstraintError, match=r"^key is an option of music, not of text$"):
        text.stream("The sea", key="C major")


def test_a_prompt_that_is_nothing_is_an_error(model: muse.Model, tmp_path: Path) -> None:
    with pytest.raises(muse.ArgumentsError, match="there is no file bach-preludium; did you mean bach-prelude"):
        model.continue_("bach-preludium")
    (tmp_path / "x.mid").write_bytes(b"not music")
    with pytest.raises(UnreadablePieceError):
        model.continue_(tmp_path / "x.mid")
