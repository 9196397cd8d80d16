"""Tests of model cards: each checkpoint has its own, which names its parent and both licences."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import RunCommand
from small_commands import FAST, SMALL_CORE
from small_stores import midi_store, two_sources

from muse_shortcut.cards import licence_of, model_card, parent_facts
from muse_shortcut.credits import credits_of
from muse_shortcut.data.recipe import load_recipe
from muse_shortcut.presets import PRESETS
from muse_shortcut.shipped import default_checkpoint

FACTS: dict[str, Any] = {
    "data": {"sources": [
        {"recipe": "a", "title": "Songs of A", "files": 7, "licence": "CC BY 4.0", "weights_may_ship": True},
        {"recipe": None, "files": 3},
    ]},
    "splits": {"train": {"pieces": 9, "tokens": 1234}, "validation": {"pieces": 1, "tokens": 56}},
    "steps": 2000, "tokens_seen": 3000000, "training_seconds": 5.0, "seed": 4,
    "train": {"optimiser": "muon", "learning_rate": 0.006, "batch_size": 8, "eval_windows": 64},
    "best_validation_nats_per_token": 1.25,
}  # fmt: skip


def card_of(facts: dict[str, Any]) -> str:
    return " ".join(model_card("mine", "midi", PRESETS["tiny"], 372928, facts).split())


def test_a_card_says_data_steps_figures_and_licences() -> None:
    card = card_of(FACTS)
    for words in (
        "# mine", "372,928 parameters: 4 layers", "| Songs of A | 7 | CC BY 4.0 |",
        "| local files | 3 | not stated |", "train: 9 pieces, 1,234 tokens",
        "2,000 steps, 3,000,000 tokens",
        "Validation 1.2500 nats per token", "Licences of the data: CC BY 4.0.", "The licences of local files are not",
    ):  # fmt: skip
        assert words in card, words


def test_the_card_of_a_fine_tuned_checkpoint_names_its_parent_and_the_licences_of_both() -> None:
    own = {
        "data": {"sources": [{"recipe": "b", "title": "B", "files": 1, "licence": "CC0", "weights_may_ship": False}]}
    }
    parent = parent_facts("first", "a" * 64, FACTS, "# First\n\n## Licence\n\nMIT, as\nthe program.\n")
    card = card_of(own | {"parent": parent})
    for words in (
        f"Fine-tuned from first (SHA-256 of its weights: {'a' * 64})", "trained for 2,000 steps, over 3,000,000 tokens",
        "The parent first was trained on: | source | files | licence | | --- | --- | --- | | Songs of A",
        "Licences of the data: CC BY 4.0, CC0.", "not be distributed: B.", "The parent first: MIT, as the program.",
    ):  # fmt: skip
        assert words in card, words
    grandchild = card_of({"parent": parent_facts("second", "b" * 64, own | {"parent": parent}, "")})
    assert "Fine-tuned from second" in grandchild
    assert "The parent second: its card states no licence." in grandchild
    assert "The parent first: MIT, as the program." in grandchild


@pytest.mark.parametrize("facts", [{}, {"parent": 3}, {"parent": {}}, {"data": [1]}, {"data": {"sources": [3]}},
                                   {"splits": 3}, {"splits": {"train": 3}}, {"train": 3, "steps": 1},
                                   {"parent": {"facts": {"parent": {"name": "x"}}}}])  # fmt: skip
def test_a_card_is_written_of_whatever_is_known(facts: dict[str, Any]) -> None:
    assert (
        card_of(facts)
        .removeprefix("--- library_name: muse-shortcut tags: - music - midi - muse-shortcut --- ")
        .startswith("# mine Continues MIDI with muse-shortcut.")
    )


def test_the_shipped_cards_have_a_licence() -> None:
    for domain in ("midi", "audio", "text"):
        assert licence_of((default_checkpoint(domain) / "README.md").read_text())


def test_trained_and_tuned_checkpoints_are_exported_with_cards_of_their_own(
    run: RunCommand, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    store = midi_store(tmp_path_factory)
    words = ("train", "midi", "--data", store, *SMALL_CORE, *FAST, "--train.sample_every", 0)
    done = run(*words, "--out", tmp_path / "first")
    assert done.code == 0, done.err
    assert run("export", tmp_path / "first", "--out", tmp_path / "given").code == 0
    card = (tmp_path / "given" / "README.md").read_text()
    assert "\n---\n\n# given\n" in card
    assert "Parent" not in card
    done = run("train", "midi", "--data", store, *FAST, "--train.sample_every", 0,
               "--from", tmp_path / "first", "--out", tmp_path / "second")  # fmt: skip
    assert done.code == 0, done.err
    assert run("export", tmp_path / "second", "--out", tmp_path / "second-given").code == 0
    card = (tmp_path / "second-given" / "README.md").read_text()
    assert "Fine-tuned from first/step-00000" in card
    facts = json.loads((tmp_path / "second-given" / "config.json").read_text())["facts"]
    assert facts["parent"]["name"].startswith("first/step-")
    assert len(facts["parent"]["sha256"]) == 64
    # Given on, it keeps the card that it has.
    (tmp_path / "second-given" / "README.md").write_text("# By hand\n")
    assert run("export", tmp_path / "second-given", "--out", tmp_path / "third").code == 0
    assert (tmp_path / "third" / "README.md").read_text() == "# By hand\n"


def test_an_old_run_does_not_pass_its_parents_card_on(run: RunCommand, random_checkpoint: Path, tmp_path: Path) -> None:
    step = tmp_path / "run" / "checkpoints" / "step-000003"
    shutil.copytree(random_checkpoint, step)
    (step / "training").mkdir()
    (step.parent / "best").write_text("step-000003\n")
    (tmp_path / "run" / "config.yaml").write_text("from: somewhere/midi-small\n")
    assert run("export", tmp_path / "run", "--out", tmp_path / "given").code == 0
    card = (tmp_path / "given" / "README.md").read_text()
    assert "# Random" not in card
    assert "Fine-tuned from midi-small (SHA-256 of its weights: not known)" in card


def test_a_fine_tuning_that_never_improves_says_that_its_weights_are_the_parents(
    run: RunCommand, random_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(random_checkpoint, parent)
    words = ("--data", two_sources(tmp_path_factory), *FAST, "--train.sample_every", 0)
    # So small a rate leaves every weight as it is.
    still = [
        f"--train.{name}learning_rate={rate}" for name, rate in (("", 1e-30), ("final_", 0), ("embedding_", 1e-30))
    ]
    done = run("train", "midi", *words, *still, "--from", parent, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    said = "which has the weights of its parent parent, unchanged: no evaluation after step 0 improved the validation"
    [line] = [line for line in done.err.splitlines() if said in line]
    assert "the best checkpoint is step-000000" in line
    assert line.endswith("checkpoints/latest; a smaller --train.learning_rate or more data may help")
    made = tmp_path / "run"
    quiet = ("--max-new-tokens", 5, "--sound", "false", "--out", tmp_path / "out")
    for command in (("generate", "midi", "--checkpoint", made, *quiet), ("export", made, "--out", tmp_path / "given")):
        done = run(*command)
        assert done.code == 0, done.err
        assert f"run is a run: using its checkpoint step-000000, {said}" in done.err
    card = " ".join((tmp_path / "given" / "README.md").read_text().split())
    for statement in (
        "These weights are those of parent (SHA-256 of its weights: ", "none of 3 steps of fine-tuning improved",
        "Data of the fine-tuning, which did not change the weights:",
        "These weights are those of the parent, before any training step",
        "nats per token, of the parent",
    ):  # fmt: skip
        assert statement in card, statement
    assert "Fine-tuned from" not in card
    # The last step is there for whoever wants it, under its own name.
    done = run("export", made / "checkpoints" / "latest", "--out", tmp_path / "last")
    assert done.code == 0, done.err
    assert "latest is step-000003\n" in done.err
    card = (tmp_path / "last" / "README.md").read_text()
    assert "Fine-tuned from parent" in card
    assert "3 steps" in card


def test_credits_name_the_sources_of_a_checkpoint_and_of_its_parents() -> None:
    folk = {"title": "Folk songs", "licence": "CC BY 4.0", "credit": "A. Singer"}
    parent = {"name": "first", "facts": {"data": {"sources": [folk, {"recipe": "groove", "title": "Groove"}]}}}
    facts = {"data": {"sources": [{"recipe": None, "files": 3}, folk]}, "parent": parent}
    assert credits_of(facts) == [
        "local files (licence not stated)",
        "Folk songs (CC BY 4.0): A. Singer",
        # A store from before credits were recorded has those of the recipe.
        f"Groove (licence not stated): {load_recipe('groove').licence.credit}",
    ]
    assert credits_of({}) == []


def test_a_card_names_whom_the_licences_ask_for() -> None:
    facts = {"data": {"sources": [{"title": "Folk songs", "licence": "CC BY 4.0", "credit": "A. Singer"}]}}
    assert "- Folk songs: A. Singer" in card_of(facts)


def test_muse_generate_credits_prints_the_sources_of_the_model(run: RunCommand) -> None:
    done = run("generate", "midi", "--credits")
    assert done.code == 0
    assert "GiantMIDI" in done.out
    assert json.loads(run("generate", "midi", "--credits", "--json").out)["credits"] == done.out.splitlines()
