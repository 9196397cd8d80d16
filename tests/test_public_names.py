"""Tests of the public API: its names, their documentation, and the functions behind the commands."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import muse_shortcut as muse

MUSIC = Path(muse.__file__).parent / "shipped" / "prompts"

NAMES = {
    "models": "Model Stream StepEvent Continuation Ranked Options Checkpoint load save_checkpoint",
    "traces": "Trace Explanation load_trace",
    "cores": "Core StepOutput ModelConfig ShortcutConfig MixingConfig SamplingConfig PRESETS register_last_layer",
    "tokenizers": "Tokenizer MidiTokenizer AudioTokenizer TextTokenizer load_tokenizer register_domain Grammar Ids "
    "CopyUnits Prompt Token Variations Waveform Constraints Domain DomainInfo domain_of "
    "AudioConstraints MidiConstraints TextConstraints",
    "data": "prepare Recipe load_recipe Store Piece open_store TrainingBatches evaluation_windows",
    "training": "train TrainConfig TrainingOptions TrainingObserver TrainingPlan TrainingResult Status",
    "evaluation": "evaluate_likelihood LikelihoodResult Likelihood ScoringWindows evaluate_continuations "
    "ContinuationResult evaluate_copies CopyResult",
    "errors": "MuseError ArgumentsError InvalidOptionError OptionError CheckpointError DownloadError HubError "
    "OutputError PluginError RecipeError StoreError TrainingError TokenizerError ConstraintError "
    "UnknownTokenizerError UnreadablePieceError CodecError UnwritablePieceError FileWarning",
    "itself": "__version__",
}


def test_the_public_names_are_these() -> None:
    assert sorted(muse.__all__) == sorted(" ".join(NAMES.values()).split())


@pytest.mark.parametrize(
    "name", [name for name in muse.__all__ if name not in ("PRESETS", "Ids", "__version__", "Options")]
)
def test_every_public_name_and_all_it_has_are_documented(name: str) -> None:
    thing = getattr(muse, name)
    assert thing.__doc__, name
    assert not thing.__doc__.startswith(f"{name}("), "only what dataclasses write of themselves"
    if not inspect.isclass(thing):
        assert "Args:" in thing.__doc__ or len(inspect.signature(thing).parameters) < 2
        return
    for attribute, value in vars(thing).items():
        if not attribute.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            inherited = any(attribute in vars(base) for base in thing.__mro__[1:])
            assert value.__doc__ or inherited, f"{name}.{attribute}"


def test_every_error_is_a_muse_error() -> None:
    errors: list[Any] = [getattr(muse, name) for name in NAMES["errors"].split() if name != "FileWarning"]
    assert all(issubclass(error, muse.MuseError) for error in errors)
    with pytest.raises(muse.MuseError, match="no checkpoint at nowhere"):
        muse.load("nowhere")
    with pytest.raises(muse.MuseError, match="not a token store"):
        muse.open_store("nowhere")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> muse.Store:
    folder = tmp_path_factory.mktemp("public")
    (folder / "words").mkdir()
    for number in range(12):
        (folder / "words" / f"{number}.txt").write_text(f"the sea {number} was blue and wide, {number} times. " * 20)
    return muse.prepare(folder / "words", folder / "store", muse.load_tokenizer("text"), held_out=0.2)


def test_files_are_prepared_read_and_learned_from_in_python(store: muse.Store, tmp_path: Path) -> None:
    assert store.domain == "text"
    assert {piece.split for piece in store.pieces} == {"train", "validation", "test"}
    inputs, targets = muse.TrainingBatches(store.split("train"), context=8, batch=3, seed=1)(0)
    assert inputs.shape == targets.shape == (3, 8, 1)
    assert (inputs[:, 1:] == targets[:, :-1]).all()
    seen: list[int] = []

    class Observer(muse.TrainingObserver):
        def started(self, plan: muse.TrainingPlan) -> None:
            assert isinstance(plan.checkpoint.core, muse.Core)

        def stepped(self, status: muse.Status) -> None:
            seen.append(status.step)

        def should_stop(self) -> bool:
            return seen[-1] == 2

    shape = muse.ModelConfig(context=32, layers=2, width=16, heads=2, feed_forward=16, shortcut=None)
    config = muse.TrainConfig(max_steps=3, batch_size=2, sample_every=0, eval_windows=2, tensorboard=False)
    options = muse.TrainingOptions(data=store.folder, out=tmp_path / "run", model=shape, train=config, device="cpu")
    first = muse.train(options, Observer())
    assert (first.steps, first.stopped, seen) == (2, True, [0, 1, 2])
    with pytest.raises(muse.ArgumentsError, match=r"resume it with resume=True, or choose another out$"):
        muse.train(options)
    again = muse.train(muse.TrainingOptions(**{**vars(options), "resume": True}))
    assert (again.steps, again.stopped, again.folder) == (3, False, tmp_path / "run")
    model = muse.load(again.folder, device="cpu")
    scores = muse.evaluate_likelihood(model, store)
    assert scores.together.nats_per_token == pytest.approx(again.best_validation, abs=1.0)


def test_continuations_are_measured_in_python(store: muse.Store) -> None:
    model = muse.load("text", device="cpu")
    found = muse.evaluate_continuations(model, store, split="train", count=1, prompt_length=200, length=30)
    assert len(found.outcomes) == 1
    assert found.comparisons
    copies = muse.evaluate_copies(model, store, found.outcomes)
    [true] = copies.copies["true"]
    assert true is not None
    assert true.count >= 25
    hidden = muse.evaluate_likelihood(model, store, hidden_depths=model.core.config.depths)
    assert hidden.together.nats_per_token != muse.evaluate_likelihood(model, store).together.nats_per_token


@pytest.mark.parametrize(
    ("options", "line"),
    [({"seed": -1}, "^seed is -1"), ({"preset": "smal"}, "^preset is 'smal'; allowed: tiny")],
)
def test_impossible_training_options_are_one_line(options: dict[str, Any], line: str) -> None:
    with pytest.raises(muse.ArgumentsError, match=line):
        muse.TrainingOptions(data="d", out="o", **options)


def test_a_store_of_another_tokenizer_is_refused(store: muse.Store) -> None:
    with pytest.raises(muse.StoreError, match="allowed: a checkpoint of text"):
        muse.evaluate_likelihood(muse.load("midi", device="cpu"), store)


def test_preparing_refuses_impossible_options(tmp_path: Path) -> None:
    tokenizer = muse.load_tokenizer("midi")
    with pytest.raises(muse.ArgumentsError, match=r"held_out is 0\.6; allowed: 0 to 0\.4"):
        muse.prepare(MUSIC, tmp_path / "s", tokenizer, held_out=0.6)
    with pytest.raises(muse.ArgumentsError, match="is for text, the tokenizer for midi"):
        muse.prepare(muse.load_recipe("gutenberg"), tmp_path / "s", tokenizer)
    with pytest.raises(muse.RecipeError, match="no file or folder"):
        muse.prepare(tmp_path / "nothing", tmp_path / "s", tokenizer)
