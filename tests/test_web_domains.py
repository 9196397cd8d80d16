"""Tests of a domain of another package on the page: it is offered, opened, continued, inspected and downloaded."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from small_models import SHORTCUTS, make_core, small_config
from small_visits import Visit, unpacked, visit

import muse_shortcut as muse
from muse_shortcut.errors import ArgumentsError
from muse_tokenizers import loading
from muse_web.checkpoint_registry import CheckpointRegistry
from muse_web.endpoints import Api
from muse_web.exports import export_file, kinds_of_files
from muse_web.inspection import inspect_step
from muse_web.page import page_configuration

ROOT = Path(__file__).parent.parent
TUNE = "X:1\nM:4/4\nL:1/8\nK:G\nGABc d2B2|edcB A2F2|"


@pytest.fixture
def tunes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Visit:
    """A visitor of a page with the domain of the example, and a checkpoint of it."""
    monkeypatch.setattr(loading, "_registered", {})
    example = runpy.run_path(str(ROOT / "examples" / "own_tokenizer_abc.py"), run_name="example")
    tokenizer = example["AbcTokenizer"]()
    core = make_core(small_config(SHORTCUTS["two taps"], vocabulary_size=tokenizer.vocabulary_size)).float()
    folder = tmp_path / "checkpoints" / "reels"
    folder.mkdir(parents=True)
    muse.save_checkpoint(muse.Checkpoint(core=core, tokenizer=tokenizer, card="# Reels\n"), folder)
    return visit(tmp_path, CheckpointRegistry(folder.parent, "cpu"))


def test_the_page_offers_a_domain_that_has_a_checkpoint(tunes: Visit, tmp_path: Path) -> None:
    assert tunes.registry.domains == ("midi", "audio", "text", "abc")
    assert tunes.registry.names("abc") == ["reels"]
    configuration = page_configuration(Api(tunes.registry, tmp_path, tunes.uploads, tunes.limits, 1))
    assert configuration["domains"]["abc"] == {
        "title": "Tunes", "unit": "bytes", "view": "text", "examples": [], "reads": "file (.abc)", "suffixes": [".abc"],
        "kinds": ["abc", "trace", "json", "svg", "png"], "longest": 1_000_000.0,
    }  # fmt: skip


@pytest.mark.parametrize("typed", [True, False])
def test_its_files_and_words_are_continued_shown_and_downloaded(tunes: Visit, typed: bool) -> None:
    how: dict[str, Any] = (
        {"words": TUNE} if typed else {"upload": tunes.upload(TUNE.encode(), "a.abc"), "name": "a.abc"}
    )
    source = tunes.open(domain="abc", **how)
    run = tunes.ask(domain="abc", source=source.id, seed=1, amount=30)
    events = tunes.generate(run)
    json.dumps(events, allow_nan=False)
    [view] = events[-1]["candidates"]
    assert view["text"].startswith(TUNE)
    characters = unpacked(view["characters"])
    seen = "".join(view["text"][first:stop] for first, stop in characters)
    assert view["text"].endswith(seen)
    assert len(seen) > len(view["text"]) - len(TUNE)
    step = inspect_step(run, 0, 3)
    assert step["tokens"][0]["streams"][0]["label"] in view["text"]
    made = run.continuation(0)
    for kind in kinds_of_files(made.domain.info):
        assert export_file(tunes.visitor, run, 0, kind).stat().st_size > 0
    assert export_file(tunes.visitor, run, 0, "abc").read_text() == made.piece == view["text"]


def test_what_it_cannot_open_is_refused(tunes: Visit) -> None:
    with pytest.raises(ArgumentsError, match=r"^notes are not a prompt of abc$"):
        tunes.open(domain="abc", notes=[[60, 80, 0.0, 1.0]])
    with pytest.raises(muse.MuseError, match="what was typed is not ABC notation"):
        tunes.open(domain="abc", words="Grüße")
    with pytest.raises(ArgumentsError, match=r"^text is not a prompt of midi$"):
        tunes.open(domain="midi", words="words")
