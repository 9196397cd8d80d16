"""Writing files: readers see the old or the new content, whatever happens in between."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from muse_shortcut.errors import OutputError
from muse_shortcut.files import (
    atomic_folder,
    atomic_path,
    clear_left_overs,
    hash_file,
    make_folder,
    write_bytes,
    write_text,
)
from muse_tokenizers.errors import UnwritablePieceError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_written_files_can_be_read(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"\x00\r\n")
    write_text(tmp_path / "b", "ä\n")
    assert (tmp_path / "a").read_bytes() == b"\x00\r\n"
    assert (tmp_path / "b").read_bytes() == b"\xc3\xa4\n"
    assert hash_file(tmp_path / "a") == hashlib.sha256(b"\x00\r\n").hexdigest()
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_file_keeps_its_old_content_on_any_error(tmp_path: Path, error: BaseException) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(type(error)), atomic_path(tmp_path / "a") as temporary:  # noqa: PT012
        temporary.write_text("half of the ne")
        raise error
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_keeps_its_old_content_on_a_full_disk(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a", "old")
    monkeypatch.setattr(os, call, no_room)
    with pytest.raises(OutputError, match=r"cannot write .*a: No space left on device"):
        write_text(tmp_path / "a", "new")
    monkeypatch.undo()
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_where_nothing_can_be_written_the_error_names_the_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "a file")
    for path, reason in (
        (tmp_path / "nowhere" / "b", "No such file or directory"),
        (tmp_path / "a" / "b", "Not a directory"),
        (tmp_path / ("long" * 100), "File name too long"),
    ):
        with pytest.raises(OutputError, match=reason) as refused:
            write_text(path, "new")
        assert str(path) in str(refused.value)
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(OutputError, match="Is a directory"):
        write_text(tmp_path / "folder", "new")
    assert names(tmp_path) == ["a", "folder", "inside"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b") == make_folder(tmp_path / "a" / "b")
    write_text(tmp_path / "file", "")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=r"cannot make the folder .*file.*: (File exists|Not a directory)"):
            make_folder(path)


def fill(folder: Path, text: str) -> None:
    (folder / "inner").mkdir()
    for path in (folder / "one", folder / "inner" / "two"):
        path.write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_appears_whole_and_replaces_the_one_before(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic_folder(tmp_path / "f") as temporary:
            fill(temporary, text)
        assert contents(tmp_path / "f") == {"one": text, "inner/two": text}
        assert names(tmp_path) == ["f", "inner", "one", "two"]


@pytest.mark.parametrize("there_before", [True, False])
def test_a_folder_keeps_its_old_content_on_any_error(tmp_path: Path, there_before: bool) -> None:
    expected = {"one": "old", "inner/two": "old"} if there_before else {}
    if there_before:
        (tmp_path / "f").mkdir()
        fill(tmp_path / "f", "old")
    for error in (ValueError("no"), KeyboardInterrupt()):
        with pytest.raises(type(error)), atomic_folder(tmp_path / "f") as temporary:  # noqa: PT012
            fill(temporary, "new")
            raise error
        assert contents(tmp_path) == {f"f/{name}": text for name, text in expected.items()}
        assert len(list(tmp_path.iterdir())) == int(there_before)


@pytest.mark.parametrize(("call", "number"), [("fsync", 0), ("fsync", 1), ("replace", 0), ("replace", 1)])
def test_a_folder_keeps_its_old_content_whichever_call_finds_no_room(
    tmp_path: Path, call: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").mkdir()
    fill(tmp_path / "f", "old")
    real, calls = getattr(os, call), []

    def fails_at_last(*arguments: object, **named: object) -> object:
        calls.append(arguments)
        return no_room() if len(calls) == number + 1 else real(*arguments, **named)

    monkeypatch.setattr(os, call, fails_at_last)
    with (
        pytest.raises(OutputError, match=r"cannot write .*f: No space left on device"),
        atomic_folder(tmp_path / "f") as temporary,
    ):
        fill(temporary, "new")
    monkeypatch.undo()
    assert contents(tmp_path) == {"f/one": "old", "f/inner/two": "old"}
    assert names(tmp_path) == ["f", "inner", "one", "two"]


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG])
def test_a_failed_write_names_the_final_path(tmp_path: Path, reason: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(reason, os.strerror(reason))

    with pytest.raises(OutputError) as refused, atomic_folder(tmp_path / "step-5") as temporary:  # noqa: PT012
        monkeypatch.setattr(os, "fsync", fails)
        write_text(temporary / "model", "new")
    assert str(refused.value) == f"cannot write {tmp_path / 'step-5' / 'model'}: {os.strerror(reason)}"
    with (
        pytest.raises(UnwritablePieceError, match=rf"cannot write {tmp_path / 'step-5' / 'a.mid'}: "),
        atomic_folder(tmp_path / "step-5") as temporary,
    ):
        raise UnwritablePieceError(f"cannot write {temporary / 'a.mid'}: {os.strerror(reason)}")
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", range(1, 5))
def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path: Path, number: int) -> None:
    program = f"""
import os, signal, sys
from pathlib import Path
from muse_shortcut.files import write_text
calls = 0
def deadly(function):
    def counted(*arguments):
        global calls
        calls += 1
        if calls == {number}:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return counted
for name in ("fsync", "replace", "unlink"):
    setattr(os, name, deadly(getattr(os, name)))
write_text(Path(sys.argv[1]), "new" * 1000)
"""
    write_text(tmp_path / "a", "old" * 1000)
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")], check=False)
    assert done.returncode == -signal.SIGKILL
    # fsync of the file, rename, fsync of the folder, removal of what is left over
    assert (tmp_path / "a").read_text() == ("old" if number <= 2 else "new") * 1000


@pytest.mark.parametrize("number", range(1, 6))
def test_a_kill_leaves_the_old_folder_or_the_new_one_once_it_is_cleared(tmp_path: Path, number: int) -> None:
    program = f"""
import os, signal, sys
from pathlib import Path
from muse_shortcut.files import atomic_folder
calls = 0
def deadly(function):
    def counted(*arguments, **named):
        global calls
        calls += 1
        if calls == {number}:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return counted
for name in ("fsync", "replace", "unlink"):
    setattr(os, name, deadly(getattr(os, name)))
with atomic_folder(Path(sys.argv[1])) as temporary:
    (temporary / "one").write_text("new")
"""
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "one").write_text("old")
    (tmp_path / ".mine").write_text("")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "f")], check=False)
    assert done.returncode == -signal.SIGKILL
    clear_left_overs(tmp_path)
    # fsync of the file, the old one steps aside, the new one takes its place, the old one is removed
    assert contents(tmp_path) == {"f/one": "old" if number <= 3 else "new", ".mine": ""}


def test_left_over_files_are_cleared_and_nothing_else(tmp_path: Path) -> None:
    for name in (".latest.999999999.tmp", ".step-1.999999999.tmp/model", ".keep.tmp", "latest", "a.tmp", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    clear_left_overs(tmp_path)
    assert names(tmp_path) == [".hidden", ".keep.tmp", "a.tmp", "latest"]
