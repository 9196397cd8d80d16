"""Tests of visitors: no access to the pieces of others, limits, and names that are not paths."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_codecs import tone
from small_models import SHORTCUTS, make_core, small_config
from small_visits import DOMAINS, EXAMPLES, Visit, registry, visit

from muse_shortcut.checkpoints import Checkpoint, save_checkpoint
from muse_shortcut.errors import ArgumentsError, CheckpointError, MuseError
from muse_shortcut.files import make_folder
from muse_shortcut.shipped import shipped_prompt
from muse_tokenizers.audio.waveforms import wav_bytes
from muse_tokenizers.base import Waveform
from muse_tokenizers.errors import UnreadablePieceError, Warn
from muse_tokenizers.midi.configuration import CONFIGURATIONS
from muse_tokenizers.midi.tokenizer import MidiTokenizer
from muse_web.checkpoint_registry import CheckpointRegistry
from muse_web.exports import export_file
from muse_web.generation_requests import new_source
from muse_web.session import Limits, NotFoundError, Visitors, lengths_of


@pytest.fixture
def one(tmp_path: Path) -> Visit:
    return visit(tmp_path)


def shipped_bytes(domain: str, name: str) -> bytes:
    path = shipped_prompt(domain, name)
    assert path is not None
    return path.read_bytes()


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# Sources


def test_an_upload_is_read_and_nothing_of_it_stays_on_the_disk(one: Visit, tmp_path: Path) -> None:
    data = shipped_bytes("midi", "saints")
    path = one.upload(data, "Saints (take 2).MID")
    source = one.open(domain="midi", upload=path, name="Saints (take 2).MID")
    assert (source.domain, source.name) == ("midi", "Saints (take 2).MID")
    assert files_in(tmp_path) == []
    assert source.file == "Saints (take 2).MID"
    assert one.visitor.source(source.id) is source
    run = one.ask(domain="midi", source=source.id, amount=2)
    assert (run.name, run.request.prompt.ids.tolist()) == (
        "Saints (take 2)",
        source.checkpoint.domain.prompt(source.piece).ids.tolist(),
    )


def test_two_visitors_who_send_the_same_file_can_both_open_it(tmp_path: Path) -> None:
    one, data = visit(tmp_path), shipped_bytes("midi", "saints")
    other = visit(tmp_path)
    other.uploads, other.visitor.folder = one.uploads, make_folder(tmp_path / "visitors" / "other")
    paths = [visitor.upload(data, "saints.mid") for visitor in (one, other)]
    assert paths[0] == paths[1]
    # Read again by the same, it counts for nobody; refused neither.
    for _ in range(3):
        assert one.open(domain="midi", upload=paths[0]).name == "saints.mid"
        with pytest.raises(UnreadablePieceError, match="it is MIDI; choose midi for it"):
            one.open(domain="audio", upload=paths[0])
        with pytest.raises(MuseError, match="checkpoint"):
            other.open(domain="midi", upload=paths[1], checkpoint="none")
    assert Path(paths[1]).read_bytes() == data
    # One more is on its way: where it will lie is not known before it is there.
    one.uploads.begin()
    assert other.open(domain="midi", upload=paths[1]).name == "saints.mid"
    one.uploads.end([paths[0]])
    assert one.open(domain="midi", upload=paths[0]).name == "saints.mid"
    assert files_in(tmp_path) == []
    with pytest.raises(ArgumentsError, match=r"^this upload does not exist \(any more\); upload the file again$"):
        other.open(domain="midi", upload=paths[1])


def test_uploads_that_nobody_opens_go_in_the_end_and_those_sent_first_where_there_is_too_much(one: Visit) -> None:
    paths = []
    for number in range(4):
        paths.append(Path(one.upload(bytes([number]) * 1000)))
        os.utime(paths[-1])
        time.sleep(0.01)
    (one.uploads.folder / "half-sent").write_bytes(b"x")
    # What visitors have lies there too, and is none.
    kept = make_folder(one.uploads.folder / "visitors" / "one") / "piece.mid"
    kept.write_bytes(b"x" * 5000)
    one.uploads.sweep(60.0, 2500)
    assert [path.exists() for path in paths] == [False, False, True, True]
    one.uploads.sweep(0.0, 10**9)
    assert files_in(one.uploads.folder) == [kept]


def test_repairs_are_reported_with_the_visitors_name_of_the_file(one: Visit, tmp_path: Path) -> None:
    class Mending:
        """A domain that mends what it reads."""

        def __init__(self, domain: Any) -> None:
            self._domain = domain

        def __getattr__(self, name: str) -> Any:
            return getattr(self._domain, name)

        def read(self, path: Path, *, limit: float | None, warn: Warn) -> Any:
            warn(f"{path}: 3 notes had no end")
            assert limit == one.limits.longest_prompt("midi") + 1
            return self._domain.read(path, limit=limit)

    class Mended(CheckpointRegistry):
        def get(self, domain: object, name: object = None) -> Any:
            return SimpleNamespace(domain=Mending(super().get(domain, name).domain))

    told: list[str] = []
    path = one.upload(shipped_bytes("midi", "saints"))
    payload = {"domain": "midi", "upload": path, "name": "<b>mine.mid"}
    new_source(one.visitor, Mended(None, "cpu"), one.limits, payload, one.uploads, told.append)
    assert told == ["<b>mine.mid: 3 notes had no end"]


def test_no_file_but_an_upload_can_be_named(one: Visit, tmp_path: Path) -> None:
    secret = tmp_path / "secret.mid"
    secret.write_bytes(shipped_bytes("midi", "saints"))
    beside = tmp_path / "uploads-of-others" / "x.mid"
    beside.parent.mkdir()
    beside.write_bytes(secret.read_bytes())
    uploads = one.uploads.folder
    (uploads / "link.mid").symlink_to(secret)
    (uploads / "folder").symlink_to(beside.parent)
    anothers = make_folder(uploads / "visitors" / "another" / "run") / "piece.mid"
    anothers.write_bytes(secret.read_bytes())
    refused = [
        secret, beside, uploads / ".." / "secret.mid", f"{uploads}/../uploads/../secret.mid", uploads, anothers,
        uploads / "link.mid", uploads / "folder" / "x.mid", uploads / "none.mid", "secret.mid", ".", "/",
        shipped_prompt("midi", "saints"), uploads / ("x" * 300), "\0", "\ud800", {"path": str(secret)},
        [str(secret)],
    ]  # fmt: skip
    for path in refused:
        named = path if isinstance(path, dict | list) else str(path)
        with pytest.raises(ArgumentsError, match=r"^this upload does not exist \(any more\); upload the file again$"):
            one.open(domain="midi", upload=named)
    assert secret.exists()
    assert beside.exists()
    assert files_in(one.visitor.folder) == []


UNREADABLE: list[tuple[str, bytes, str]] = [
    ("midi", b"dear all, no music here\n", "letter.mid is not a MIDI file: it is text; choose text for it"),
    ("midi", b"MThd\0\0\0\6\0\1", "letter.mid is a damaged MIDI file"),
    ("midi", b"", "letter.mid is empty"),
    ("audio", b"dear all, no sound here\n", "letter.wav is not a sound file that can be read"),
    ("audio", wav_bytes(Waveform(samples=np.zeros((1, 0), np.float32), sample_rate=24_000)), "letter.wav is empty"),
    ("audio", wav_bytes(Waveform(samples=np.zeros((1, 9), np.float32), sample_rate=24_000)), "letter.wav is too short"),
    ("text", b"", "letter.txt "),
    ("text", b"\0\1\2 no text", "letter.txt "),
]


@pytest.mark.parametrize(("domain", "data", "message"), UNREADABLE)
def test_unreadable_files_give_one_line_with_the_visitors_name_of_the_file(
    one: Visit, tmp_path: Path, domain: str, data: bytes, message: str
) -> None:
    name = {"midi": "letter.mid", "audio": "letter.wav", "text": "letter.txt"}[domain]
    path = one.upload(data, name)
    with pytest.raises(UnreadablePieceError, match=r"^[^\n]+$") as caught:
        one.open(domain=domain, upload=path, name=name)
    assert str(caught.value).startswith(message)
    assert str(tmp_path) not in str(caught.value)
    assert one.visitor.folder.name not in str(caught.value).split()
    # It may be another domain's.
    assert files_in(tmp_path) == [Path(path)]
    one.uploads.sweep(0.0, 10**9)
    assert files_in(tmp_path) == []
    assert one.visitor.sources == {}


def test_a_name_is_a_name_and_no_path(one: Visit, tmp_path: Path) -> None:
    for number, name in enumerate(("../../../evil.mid", "/etc/evil.mid", "a/b\0c.mid", "", "..", "𠀀" * 80 + ".mid")):
        source = one.open(domain="midi", upload=one.upload(shipped_bytes("midi", "saints")), name=name)
        assert "/" not in source.name
        run = one.ask(domain="midi", source=source.id, length=3, amount=0.5, seed=number)
        one.generate(run)
        path = export_file(one.visitor, run, 0, "trace")
        assert one.visitor.folder in path.resolve().parents
        assert len(path.name.encode()) < 256


def test_too_large_or_too_long_prompts_are_refused_with_the_limit(tmp_path: Path) -> None:
    one = visit(tmp_path, upload_bytes=3 * 2**20, piece={"midi": 10.0, "audio": 2.0, "text": 90})
    path = one.upload(b"x" * (3 * 2**20 + 1), "large.txt")
    with pytest.raises(ArgumentsError, match=r"^large\.txt has 3\.0 MiB; allowed: up to 3$"):
        one.open(domain="text", upload=path, name="large.txt")
    long = "is too long; allowed: up to 90 bytes"
    with pytest.raises(ArgumentsError, match=f"^words {long}$"):
        one.open(domain="text", words="why " * 30)
    with pytest.raises(ArgumentsError, match=f"^long.txt {long}$"):
        one.open(domain="text", upload=one.upload(b"why " * 30, "l.txt"), name="long.txt")
    with pytest.raises(ArgumentsError, match=r"^saints\.mid is too long; allowed: up to 10 seconds$"):
        one.open(domain="midi", example="saints")
    with pytest.raises(ArgumentsError, match=r"^played is too long; allowed: up to 10 seconds$"):
        one.open(domain="midi", notes=[[60, 80, 1, 2], [60, 80, 61, 62]])
    sound_ = wav_bytes(Waveform(samples=tone(2.5)[None], sample_rate=24_000))
    with pytest.raises(ArgumentsError, match=r"^hum\.wav is too long; allowed: up to 2 seconds$"):
        one.open(domain="audio", upload=one.upload(sound_, "u.wav"), name="hum.wav")
    with pytest.raises(ArgumentsError, match=r"^20,001 notes were played; allowed: up to 20,000$"):
        one.open(domain="midi", notes=[[60, 80, 0, 1]] * 20_001)
    one.uploads.sweep(0.0, 10**9)
    assert files_in(tmp_path) == []
    assert one.visitor.sources == {}


@pytest.mark.parametrize("domain", DOMAINS)
def test_lengths_and_candidates_have_limits(one: Visit, domain: str) -> None:
    most = lengths_of(domain).longest
    for amount in (0, -1, most * 1.01, "nothing"):
        with pytest.raises(ArgumentsError, match=r"^(seconds|bytes) is [^\n]+; allowed: [^\n]+$"):
            one.example(domain, amount=amount)
    assert one.example(domain, amount=most).request.constraints.length == most
    for candidates in (0, 5, 1.5):
        with pytest.raises(ArgumentsError, match=r"^num_samples is [^\n]+; allowed: [^\n]+$"):
            one.example(domain, candidates=candidates)


def test_the_oldest_prompts_and_runs_go(tmp_path: Path) -> None:
    one = visit(tmp_path, sources=2, runs=3)
    sources = [one.open(domain="text", upload=one.upload(b"once upon a time", "a.txt")) for _ in range(4)]
    assert list(one.visitor.sources) == [source.id for source in sources[2:]]
    with pytest.raises(NotFoundError, match=r"^this prompt does not exist any more; open it again$"):
        one.ask(domain="text", source=sources[1].id, amount=10)
    examples = [one.open(domain="text", example="garden") for _ in range(3)]
    runs = [one.ask(domain="text", source=examples[-1].id, length=40, amount=12, seed=seed) for seed in range(5)]
    for run in runs[:1]:
        assert run.stop.is_set()
    assert [run.id in one.visitor.runs for run in runs] == [False, False, True, True, True]
    for run in runs[2:]:
        one.generate(run)
    folders = [one.visitor.folder / run.id for run in runs]
    assert [folder.is_dir() for folder in folders] == [False, False, True, True, True]
    one.ask(domain="text", amount=10)
    assert [folder.is_dir() for folder in folders] == [False, False, False, True, True]
    with pytest.raises(NotFoundError, match=r"^this continuation does not exist any more; generate it again$"):
        one.visitor.run(runs[2].id)


# Going on


@pytest.mark.parametrize("kind", DOMAINS)
def test_a_continuation_of_a_continuation_begins_with_it(one: Visit, kind: str) -> None:
    before = one.finished(kind, candidates=2)
    run = one.ask(domain=kind, run=before.id, candidate=1, amount=EXAMPLES[kind]["amount"], seed=8)
    candidate, _ = before.finished_candidate(1)
    domain, prompt = run.checkpoint.domain, run.request.prompt
    assert prompt.split_point >= before.request.prompt.split_point + 0.8 * EXAMPLES[kind]["amount"]
    nothing = np.zeros((0, domain.tokenizer.streams), dtype=np.int64)
    if kind == "audio":
        assert prompt.ids.tolist() == np.concatenate([before.request.prompt.ids, candidate.ids]).tolist()
        np.testing.assert_allclose(domain.join(prompt, nothing).samples, candidate.piece.samples, atol=1e-4)
    else:
        assert domain.tokenizer.encode(prompt.piece).tolist() == domain.tokenizer.encode(candidate.piece).tolist()
    assert one.generate(run)[-1]["type"] == "done"
    longer = run.finished_candidate(0)[0].piece
    assert domain.duration(longer) > domain.duration(candidate.piece)
    assert run.name == before.name
    with pytest.raises(NotFoundError, match="candidate 2 does not exist"):
        one.ask(domain=kind, run=before.id, candidate=2)
    other = "text" if kind == "midi" else "midi"
    with pytest.raises(ArgumentsError, match=f"^a continuation of {kind} cannot be continued as {other}$"):
        one.ask(domain=other, run=before.id)
    with pytest.raises(ArgumentsError, match=f"^[^\n]+ is {kind}, not {other}$"):
        one.ask(domain=other, source=next(iter(one.visitor.sources)))


def test_an_unfinished_continuation_cannot_be_continued(one: Visit) -> None:
    run = one.example("text")
    for payload in ({}, {"step": 0, "id": 1}):
        with pytest.raises(NotFoundError, match="still being generated"):
            one.ask(domain="text", run=run.id, **payload)


# Visitors


def test_visitors_cannot_reach_the_pieces_of_others(tmp_path: Path) -> None:
    mine, other = visit(tmp_path / "a"), visit(tmp_path / "b")
    run = mine.finished("text")
    source = next(iter(mine.visitor.sources))
    with pytest.raises(NotFoundError):
        other.ask(domain="text", source=source)
    for payload in ({}, {"step": 0, "id": 1}):
        with pytest.raises(NotFoundError):
            other.ask(domain="text", run=run.id, **payload)
    for key in (run.id, source, None, [], {}, 0, "", "../one"):
        with pytest.raises(NotFoundError):
            other.visitor.run(key)
        with pytest.raises(NotFoundError):
            other.visitor.source(key)
    visitors = Visitors(tmp_path / "c", Limits())
    first, second = visitors.get("a"), visitors.get("b")
    assert visitors.get("a") is first
    assert first.folder != second.folder
    # Whoever could guess a folder could fetch what lies there.
    assert all(len(one.folder.name) >= 32 for one in (first, second))
    for key in (None, ""):
        with pytest.raises(ArgumentsError, match="session_hash"):
            visitors.get(key)


# Checkpoints


def performance_checkpoint(folder: Path) -> None:
    tokenizer = MidiTokenizer.of(CONFIGURATIONS["performance"])
    config = small_config(SHORTCUTS["two taps"], vocabulary_size=tokenizer.vocabulary_size, context=64)
    folder.mkdir(parents=True)
    core = make_core(config, dtype=torch.float32)
    save_checkpoint(Checkpoint(core=core, tokenizer=tokenizer, card="# Random\n"), folder)


def test_a_shelf_has_the_checkpoints_of_a_folder_by_their_places_in_it(random_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for name in ("mine", "runs/first/best", "midi-small"):
        shutil.copytree(random_checkpoint, folder / name)
    performance_checkpoint(folder / "piano")
    # None of these is one.
    for name, content in {"no": "{}", "list": "[]", "strange": '{"kind": ["midi"]}', "other": '{"kind": "flute"}',
                          "deep": "[" * 100_000, "word": "{"}.items():  # fmt: skip
        (folder / name / "tokenizer").mkdir(parents=True)
        (folder / name / "config.json").write_text("{}")
        (folder / name / "tokenizer" / "tokenizer.json").write_text(content)
    (folder / "bare").mkdir()
    (folder / "bare" / "config.json").write_text("{}")
    (folder / "mine" / "model.safetensors").write_bytes(b"damaged")
    found = CheckpointRegistry(folder, "cpu")
    assert found.names("midi") == ["midi-small", "mine", "piano", "runs/first/best"]
    assert (found.names("audio"), found.names("text")) == (["audio-small"], ["text-small"])
    # What ships keeps its name.
    assert found.get("midi").digest == found.get("midi", "midi-small").digest == registry().get("midi").digest
    best = found.get("midi", "runs/first/best")
    assert best is found.get("midi", "runs/first/best")
    assert best.digest != found.get("midi").digest
    with pytest.raises(CheckpointError, match=r"^[^\n]+ is damaged[^\n]+$"):
        found.get("midi", "mine")
    for name in ("none", "../checkpoints/mine", str(folder / "mine"), "text-small", 3, ["mine"], {"a": 1}, True):
        with pytest.raises(ArgumentsError, match=r"^checkpoint is [^\n]+; allowed of midi: midi-small, mine, piano, "):
            found.get("midi", name)
    for domain in (None, "", "flute", 3, [], {}, ["midi"]):
        with pytest.raises(ArgumentsError, match=r"^domain is [^\n]+; allowed: midi, audio, text$"):
            found.get(domain)
    assert CheckpointRegistry(folder / "piano", "cpu").names("midi") == ["midi-small", "piano"]
    for nowhere in (tmp_path / "none", random_checkpoint / "config.json"):
        with pytest.raises(
            ArgumentsError, match=r"^--checkpoints is [^\n]+; allowed: a folder that holds checkpoints$"
        ):
            CheckpointRegistry(nowhere, "cpu")


def test_a_continuation_is_continued_by_a_checkpoint_with_another_vocabulary(tmp_path: Path) -> None:
    performance_checkpoint(tmp_path / "checkpoints" / "piano")
    one = visit(tmp_path, CheckpointRegistry(tmp_path / "checkpoints", "cpu"))
    before = one.finished("midi")
    candidate, _ = before.finished_candidate(0)
    for payload in ({"run": before.id}, {"source": next(iter(one.visitor.sources))}):
        run = one.ask(domain="midi", checkpoint="piano", amount=0.5, seed=1, **payload)
        assert run.checkpoint.tokenizer.fingerprint() != before.checkpoint.tokenizer.fingerprint()
        piece = candidate.piece if "run" in payload else one.visitor.source(payload["source"]).piece
        assert run.request.prompt.ids[1:].tolist() == run.checkpoint.tokenizer.encode(piece).tolist()
        assert one.generate(run)[-1]["type"] == "done"


def test_a_problem_names_the_buttons_of_the_page() -> None:
    from muse_web.endpoints import _problem

    error = UnreadablePieceError("loud.mid is not a MIDI file: it is FLAC; choose audio for it")
    assert _problem(error) == {"problem": "loud.mid is not a MIDI file: it is FLAC; choose Sound for it"}
