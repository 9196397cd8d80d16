"""Promises of codec training: every layer teaches, nothing is drawn that a resumed run would draw otherwise, losses are
what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import RunCommand
from small_codecs import HOP, RATE, SHAPE, gather, random_model, tone, write_codec, write_music

from muse_shortcut.codec.config import CodecTrainConfig
from muse_shortcut.codec.metrics import low_passed, measure_codec, measure_controls
from muse_shortcut.codec.sounds import Sounds, open_sounds
from muse_shortcut.codec.trainer import CodecTrainer
from muse_shortcut.errors import ArgumentsError, TrainingError
from muse_shortcut.training.run import RunFolder
from muse_tokenizers.audio.codec import codec_of, load_codec
from muse_tokenizers.errors import CodecError

SHORT = CodecTrainConfig(
    max_steps=6, quantise_after=1, batch_size=2, clip_seconds=0.2, warmup_steps=2, eval_every=3, eval_seconds=1.0,
    save_every=3, tensorboard=False, discriminator_filters=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def sounds(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Sounds:
    folder = tmp_path_factory.mktemp("sounds") / "sounds"
    gather(music, folder)
    return open_sounds(folder, RATE)


def _trainer(sounds: Sounds, folder: Path, config: CodecTrainConfig, seed: int = 0, **how: Any) -> CodecTrainer:
    run = RunFolder(folder)
    run.claim()
    return CodecTrainer(
        SHAPE, sounds, run, config, seed=seed, device=torch.device("cpu"), facts={"made": "here"}, **how
    )


# Judging


def test_a_judgement_has_every_number_of_codebooks_and_three_controls() -> None:
    codec = codec_of(random_model().state_dict(), SHAPE)
    targets = [tone(1.0), tone(0.7, hertz=300.0)]
    found, entropies = measure_codec(codec, targets)
    assert [one.name for one in found] == ["1 codebooks", "2 codebooks", "4 codebooks", "8 codebooks"]
    controls = measure_controls(codec, targets, found[-1].mel_distance)
    assert [one.name for one in controls[:2]] == ["codes shuffled in time", "random codes"]
    assert controls[2].name.startswith("low-passed at ")
    assert measure_controls(codec, targets, found[-1].mel_distance) == controls
    assert len(entropies) == 8
    assert all(0 <= bits <= 6 for bits in entropies)
    again, _ = measure_codec(codec, targets)
    assert again == found


def test_a_low_pass_removes_higher_frequencies() -> None:
    sound = tone(1.0, hertz=1000.0)
    spectrum = np.abs(np.fft.rfft(low_passed(sound, 1500.0, RATE)))
    assert spectrum[1000] > 100 * spectrum[2000]


# Training


def test_a_codec_learns_tones(sounds: Sounds, tmp_path: Path) -> None:
    config = replace(
        SHORT, max_steps=150, batch_size=4, learning_rate=3e-3, decay=0.9, eval_every=1000, save_every=1000
    )
    trainer = _trainer(sounds, tmp_path / "run", config)
    losses: list[float] = []
    before = trainer.evaluate()["mel_distance"]
    trainer.train(lambda status: losses.append(status.loss))
    assert np.mean(losses[-20:]) < 0.6 * np.mean(losses[3:20])
    assert trainer.evaluate()["mel_distance"] < before - 3
    codec = codec_of(trainer.model.state_dict(), SHAPE)
    used = {
        code for f in sounds.of_split("train") for code in codec.encode(sounds.take(f.first, f.stop), 1)[:, 0].tolist()
    }
    assert len(used) > 3


@pytest.mark.parametrize("adversarial", [False, True])
def test_a_resumed_training_ends_with_the_same_bytes(sounds: Sounds, tmp_path: Path, adversarial: bool) -> None:
    config = replace(SHORT, adversarial=adversarial)
    whole = _trainer(sounds, tmp_path / "whole", config)
    whole.train()
    halves = _trainer(sounds, tmp_path / "halves", config)
    steps = iter(range(10))
    halves.train(should_stop=lambda: next(steps) == 2)
    assert halves.progress.step == 3
    latest = RunFolder(tmp_path / "halves").latest()
    assert latest is not None
    rest = _trainer(sounds, tmp_path / "halves", config)
    rest.resume(latest)
    rest.train()
    expected, found = whole.tensors(), rest.tensors()
    assert set(expected) == set(found)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    files = [tmp_path / run / "checkpoints" / "step-000006" / "codec.safetensors" for run in ("whole", "halves")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_checkpoint_is_a_codec(sounds: Sounds, tmp_path: Path) -> None:
    trainer = _trainer(sounds, tmp_path / "run", SHORT)
    trainer.train()
    best = RunFolder(tmp_path / "run").best()
    assert best is not None
    codec = load_codec(best)
    assert codec.shape == SHAPE
    assert codec.encode(tone(1.0), 8).shape == (75, 8)
    assert "made: here" in (best / "README.md").read_text()


@pytest.mark.parametrize("adversarial", [False, True])
def test_training_only_the_decoder_leaves_the_codes_unchanged(
    sounds: Sounds, tmp_path: Path, adversarial: bool
) -> None:
    codec = load_codec(write_codec(tmp_path / "codec"))
    config, sound = replace(SHORT, adversarial=adversarial), tone(1.0)

    def trainer(name: str) -> CodecTrainer:
        return _trainer(sounds, tmp_path / name, config, start=codec.tensors())

    whole, halves = trainer("whole"), trainer("halves")
    whole.train()
    halves.train(should_stop=lambda: halves.progress.step == 3)
    latest = RunFolder(tmp_path / "halves").latest()
    assert latest is not None
    rest = trainer("halves")
    rest.resume(latest)
    rest.train()
    assert all(torch.equal(tensor, rest.tensors()[name]) for name, tensor in whole.tensors().items())
    found = RunFolder(tmp_path / "whole").latest()
    assert found is not None
    trained = load_codec(found)
    assert (trained.encode(sound, 8) == codec.encode(sound, 8)).all()
    codes = codec.encode(sound, 8)
    assert not np.allclose(trained.decode(codes), codec.decode(codes), atol=1e-4)


def test_before_its_codebooks_are_fitted_a_checkpoint_is_no_codec(sounds: Sounds, tmp_path: Path) -> None:
    trainer = _trainer(sounds, tmp_path / "run", replace(SHORT, quantise_after=3))
    trainer.train(should_stop=lambda: trainer.progress.step == 3)
    latest = RunFolder(tmp_path / "run").latest()
    assert latest is not None
    with pytest.raises(CodecError, match=r"cannot read the codec .*codec.json"):
        load_codec(latest)
    # It goes on all the same.
    rest = _trainer(sounds, tmp_path / "run", replace(SHORT, quantise_after=3))
    rest.resume(latest)
    assert rest.train().step == 6
    latest = RunFolder(tmp_path / "run").latest()
    assert latest is not None
    assert load_codec(latest).shape == SHAPE


def test_a_loss_that_is_no_number_stops_the_training(sounds: Sounds, tmp_path: Path) -> None:
    trainer = _trainer(sounds, tmp_path / "run", replace(SHORT, save_every=1))
    trainer.train(should_stop=lambda: True)
    with torch.no_grad():
        next(trainer.model.decoder.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"^step 2: the loss is nan, .*the last good checkpoint is .*step-000001"):
        trainer.train()


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_steps", 0), ("learning_rate", 0.0), ("beta1", 1.0), ("clip_seconds", 0.1), ("batch_size", 1.5),
     ("mel_weight", -1.0), ("softest_gain", 9.0), ("decay", float("nan")), ("adversarial", 1)],
)  # fmt: skip
def test_impossible_training_is_refused_with_the_field(field: str, value: Any) -> None:
    with pytest.raises(ArgumentsError, match=f"^{field} is {value}; allowed: "):
        CodecTrainConfig(**{field: value})


# The command

FAST = (
    "--train.max_steps", 2, "--train.batch_size", 2,
    "--train.quantise_after", 0, "--train.clip_seconds", 0.2, "--train.eval_seconds", 1, "--train.tensorboard", "false",
    "--held-out", 0.2, "--device", "cpu",
)  # fmt: skip
TINY = ("--codec.filters", 4, "--codec.dimension", 16, "--codec.bins", 64, *FAST)


def test_the_command_trains_and_goes_on_as_it_began(run: RunCommand, music: Path, tmp_path: Path) -> None:
    words = ("train", "codec", "--data", music, "--out", tmp_path / "run", *TINY)
    done = run(*words)
    assert done.code == 0, done.err
    assert "left out: " in done.err
    assert "step 2: best mel distance " in done.out
    assert load_codec(tmp_path / "run" / "checkpoints" / "step-000002").shape == replace(SHAPE, codebooks=8, lstm=1)
    done = run(*words)
    assert done.code == 2
    assert "has a training already; resume it with --resume auto" in done.err
    done = run(*words, "--resume", "auto", "--train.batch_size", 3)
    assert done.code == 2
    assert "--train.batch_size is 3, but the training began with 2" in done.err
    done = run(*words, "--resume", "auto")
    assert done.code == 0, done.err
    options = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert options["codec"]["filters"] == 4
    # Its options alone are the whole command; a run of 0.1.0 has them in another file.
    (tmp_path / "run" / "config.yaml").rename(tmp_path / "config.yaml")
    old = {name: options[name] for name in ("data", "group_by", "held_out", "seed", "from", "codec", "train")}
    (tmp_path / "run" / "options.json").write_text(json.dumps(old))
    done = run("train", "--config", tmp_path / "config.yaml", "--resume", "auto")
    assert done.code == 0, done.err
    # Given away, and held against what was held out.
    card = tmp_path / "card.md"
    card.write_text("# Tones\n")
    done = run("export", tmp_path / "run", "--out", tmp_path / "small", "--card", card)
    assert done.code == 0, done.err
    assert {path.name for path in (tmp_path / "small").iterdir()} == {"codec.json", "codec.safetensors", "README.md"}
    assert (tmp_path / "small" / "README.md").read_text() == "# Tones\n"
    sizes = [
        p.stat().st_size for p in (tmp_path / "small", best_of(tmp_path / "run")) for p in [p / "codec.safetensors"]
    ]
    assert sizes[0] < 0.6 * sizes[1]
    found = tmp_path / "found.json"
    words = ("evaluate", "codec", "--checkpoint", tmp_path / "small", "--data", tmp_path / "run")
    done = run(*words, "--seconds", 1, "--json", found)
    assert done.code == 0, done.err
    assert "8 codebooks" in done.out
    assert "low-passed at" in done.out
    judged = json.loads(found.read_text())
    assert [one["name"] for one in judged["all"]][4:6] == ["codes shuffled in time", "random codes"]
    assert len(judged["entropies"]) == 8
    for extra, message in (
        (("--split", "test", "--data", tmp_path), "is not a run of muse-train codec: it has no sounds"),
        (("--seconds", 0.01), "--seconds is 0.01; allowed: 0.11 to 3600"),
        (("--checkpoint", tmp_path), "cannot read the codec"),
    ):
        done = run(*words, *extra)
        assert (done.code, message in done.err) == (2, True), done.err
    # Its decoder alone goes on.
    words = ("train", "codec", "--data", music, "--out", tmp_path / "more", "--from", tmp_path / "small", *FAST)
    done = run(*words)
    assert done.code == 0, done.err
    done = run(*words, "--resume", "auto", "--codec.filters", 8)
    assert done.code == 2
    assert "--codec cannot be changed with --from" in done.err


def best_of(folder: Path) -> Path:
    best = RunFolder(folder).best()
    assert best is not None
    return best


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "nowhere"), "there is no source 'nowhere': it is neither a file nor a folder"),
        (("--data", "{music}", "--held-out", 0.5), "--held-out is 0.5; allowed: 0 to 0.4"),
        (("--data", "maestro={music}"), "the recipe maestro is for midi, not for audio"),
        (("--data", "{music}", "--seed", -1), "--seed is -1"),
        (("--data", "{music}", "--codec.bins", 63), "bins is 63; allowed: a power of 2"),
        (("--data", "{music}", "--train.beta1", 1), "beta1 is 1"),
        (
            ("--data", "{music}", "--train.max_steps", 5),
            "--train.quantise_after is 600; allowed: less than --train.max_steps, 5",
        ),
        ((), "data"),
    ],
)
def test_impossible_arguments(
    run: RunCommand, music: Path, tmp_path: Path, words: tuple[Any, ...], message: str
) -> None:
    words = tuple(str(word).format(music=music) for word in words)
    done = run("train", "codec", "--out", tmp_path / "run", *words)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_the_frame_is_the_same_for_all_presets() -> None:
    from muse_shortcut.codec.config import CODEC_PRESETS

    assert {(shape.hop, shape.frame_rate) for shape in CODEC_PRESETS.values()} == {(HOP, 75.0)}
