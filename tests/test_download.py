"""Tests of downloads: complete and verified or not at all, unpacked inside one folder, once."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import socket
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from muse_shortcut.data import download
from muse_shortcut.data.download import cache_folder, fetch
from muse_shortcut.data.recipe import Archive, Licence, RandomSplit, Recipe
from muse_shortcut.errors import DownloadError, OutputError

HINT = "; to use files that you have, name their folder (muse-prepare --from-folder DIR, in Python (recipe, folder))"


class Server:
    """A real server on the loopback; `answers` says what it does for each path."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                server.answers.get(self.path, lambda handler: handler.send_error(404))(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        # Else stopping waits for the rest of a half-second poll, for every test.
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def give(self, path: str, content: bytes, length: int | None = None, sent: int | None = None) -> str:
        """Answer with `sent` bytes of the content, promising `length` (-1: promising nothing)."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            if length != -1:
                handler.send_header("Content-Length", str(len(content) if length is None else length))
            handler.end_headers()
            handler.wfile.write(content[:sent])

        self.answers[path] = answer
        return self.address + path

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "*")
    started = Server()
    yield started
    started.stop()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def make_recipe(url: str | None, sha256: str | None = None, archive: Archive | None = "zip") -> Recipe:
    return Recipe(
        name="tunes",
        title="Some tunes",
        domain="midi",
        url=url,
        sha256=sha256,
        archive=archive,
        licence=Licence(name="CC0", url="https://example.org/cc0", weights_may_ship=True),
        include=("**/*.mid",),
        split=RandomSplit(group_by="file"),
        tokenizer="remi",
    )


def make_zip(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return file.getvalue()


def make_tar(mode: str, *members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def kept(cache: Path) -> set[str]:
    return {path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file()}


TUNES = make_zip(("tunes/a.mid", b"MThd one"), ("tunes/b/c.mid", b"MThd two"), ("tunes/empty/", b""))
WHOLE = {"tunes.zip", "tunes.sha256", "tunes/.muse-source", "tunes/tunes/a.mid", "tunes/tunes/b/c.mid"}


# Whole and checked


def test_the_right_file_is_fetched_unpacked_and_kept(server: Server, cache: Path) -> None:
    folder = fetch(make_recipe(server.give("/tunes.zip", TUNES), sha256(TUNES)), cache)
    assert folder == cache / "tunes"
    assert (folder / "tunes/a.mid").read_bytes() == b"MThd one"
    assert (folder / "tunes/empty").is_dir()
    assert kept(cache) == WHOLE


def test_cached_files_are_not_requested_again(server: Server, cache: Path) -> None:
    url = server.give("/tunes.zip", TUNES)
    for recipe in (make_recipe(url), make_recipe(url), make_recipe(url, sha256(TUNES))):
        fetch(recipe, cache)
    assert server.asked == ["/tunes.zip"]


def test_unpacked_files_are_reused_without_their_archive(server: Server, cache: Path) -> None:
    recipe = make_recipe(server.give("/tunes.zip", TUNES))
    folder = fetch(recipe, cache)
    (cache / "tunes.zip").unlink()
    before = (folder / "tunes/a.mid").stat()
    fetch(recipe, cache)
    after = (folder / "tunes/a.mid").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert len(server.asked) == 1


def test_a_lost_folder_is_unpacked_again_without_a_network(server: Server, cache: Path) -> None:
    recipe = make_recipe(server.give("/tunes.zip", TUNES))
    folder = fetch(recipe, cache)
    folder.rename(cache.parent / "moved")
    fetch(recipe, cache)
    assert kept(cache) == WHOLE
    assert len(server.asked) == 1


def test_a_damaged_archive_in_the_cache_is_fetched_again(server: Server, cache: Path) -> None:
    recipe = make_recipe(server.give("/tunes.zip", TUNES), sha256(TUNES))
    fetch(recipe, cache).rename(cache.parent / "moved")
    (cache / "tunes.zip").write_bytes(TUNES[:-1])
    fetch(recipe, cache)
    assert kept(cache) == WHOLE
    assert len(server.asked) == 2


def test_a_new_checksum_in_the_recipe_replaces_the_unpacked_files(server: Server, cache: Path) -> None:
    fetch(make_recipe(server.give("/1.zip", TUNES), sha256(TUNES)), cache)
    newer = make_zip(("new.mid", b"MThd"))
    fetch(make_recipe(server.give("/2.zip", newer), sha256(newer)), cache)
    assert kept(cache) == {"tunes.zip", "tunes.sha256", "tunes/.muse-source", "tunes/new.mid"}


@pytest.mark.parametrize(("kind", "mode"), [("tar.gz", "w:gz"), ("tar.xz", "w:xz"), ("tar.bz2", "w:bz2")])
def test_tar_archives_are_unpacked_too(server: Server, cache: Path, kind: Archive, mode: str) -> None:
    content = make_tar(
        mode,
        (tar_member("./", tarfile.DIRTYPE), b""),
        (tar_member("./tunes", tarfile.DIRTYPE), b""),
        (tar_member("./tunes/a.mid"), b"MThd"),
    )
    folder = fetch(make_recipe(server.give("/tunes", content), sha256(content), kind), cache)
    assert (folder / "tunes/a.mid").read_bytes() == b"MThd"
    assert kept(cache) == {f"tunes.{kind}", "tunes.sha256", "tunes/.muse-source", "tunes/tunes/a.mid"}


def test_a_file_that_is_no_archive_is_given_under_its_own_name(server: Server, cache: Path) -> None:
    url = server.give("/some%20tunes.txt?raw=true", b"X:1\n")
    folder = fetch(make_recipe(url, archive=None), cache)
    assert (folder / "some tunes.txt").read_bytes() == b"X:1\n"


def test_progress_counts_up_to_the_whole(server: Server, cache: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    content = make_zip(("noise.mid", bytes(hashlib.shake_128(b"x").digest(700_000))))
    fetch(make_recipe(server.give("/tunes.zip", content)), cache, lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) > 2
    assert {total for _, total in seen} == {len(content)}
    assert seen[-1][0] == len(content)


def test_a_server_that_promises_no_length_is_read_to_its_end(server: Server, cache: Path) -> None:
    seen: list[int | None] = []
    fetch(make_recipe(server.give("/tunes.zip", TUNES, length=-1)), cache, lambda _, total: seen.append(total))
    assert kept(cache) == WHOLE
    assert set(seen) == {None}


def test_nothing_is_printed(server: Server, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fetch(make_recipe(server.give("/tunes.zip", TUNES)), cache)
    assert capfd.readouterr() == ("", "")


# Not what it should be


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(server: Server, cache: Path) -> None:
    url = server.give("/tunes.zip", TUNES)
    wanted = "0" * 64
    message = (
        f"recipe tunes: what {url} sends has the SHA-256 {sha256(TUNES)}; allowed: {wanted}; nothing of it is kept"
    )
    with pytest.raises(DownloadError, match=f"^{re.escape(message)}$"):
        fetch(make_recipe(url, wanted), cache)
    assert kept(cache) == set()


def test_without_a_stated_checksum_the_first_one_met_is_held_to(server: Server, cache: Path) -> None:
    url = server.give("/tunes.zip", TUNES)
    folder = fetch(make_recipe(url), cache)
    record = cache / "tunes.sha256"
    assert record.read_text("utf-8") == f"{sha256(TUNES)}  {url}\n"

    newer = make_zip(("new.mid", b"MThd"))
    server.give("/tunes.zip", newer)
    folder.rename(cache.parent / "moved")
    (cache / "tunes.zip").unlink()
    message = (
        f"recipe tunes: what {url} sends has the SHA-256 {sha256(newer)}, and had {sha256(TUNES)} when it was first "
        f"downloaded; nothing of it is kept; to accept the new one, delete {record}"
    )
    with pytest.raises(DownloadError, match=f"^{re.escape(message)}$"):
        fetch(make_recipe(url), cache)
    assert kept(cache) == {"tunes.sha256"}

    record.unlink()
    assert (fetch(make_recipe(url), cache) / "new.mid").is_file()


def test_a_checksum_met_at_another_address_does_not_count(server: Server, cache: Path) -> None:
    fetch(make_recipe(server.give("/1.zip", TUNES)), cache)
    newer = make_zip(("new.mid", b"MThd"))
    folder = fetch(make_recipe(server.give("/2.zip", newer)), cache)
    assert (folder / "new.mid").is_file()
    assert not (folder / "tunes").exists()


@pytest.mark.parametrize("content", [b"", b"short http://x", b"\xff\xfe"])
def test_a_damaged_record_of_a_checksum_is_not_passed_over(server: Server, cache: Path, content: bytes) -> None:
    cache.mkdir()
    (cache / "tunes.sha256").write_bytes(content)
    with pytest.raises(
        DownloadError,
        match=r"tunes\.sha256 (is damaged; allowed: a SHA-256 and an address; delete it|cannot be read: )",
    ):
        fetch(make_recipe(server.give("/tunes.zip", TUNES)), cache)


# Half or nothing


def failure(recipe: Recipe, cache: Path) -> str:
    with pytest.raises(DownloadError, match=r"^[^\n]+$") as caught:
        fetch(recipe, cache)
    assert kept(cache) == set()
    return str(caught.value)


def test_half_a_file_is_refused_and_nothing_is_kept(server: Server, cache: Path) -> None:
    url = server.give("/tunes.zip", TUNES, sent=len(TUNES) // 2)
    reason = f"the connection broke off before {len(TUNES)} bytes had come"
    for checksum in (None, sha256(TUNES)):
        assert failure(make_recipe(url, checksum), cache) == f"cannot download recipe tunes from {url}: {reason}{HINT}"


def test_half_a_file_of_no_promised_length_is_refused_as_no_whole_archive(server: Server, cache: Path) -> None:
    url = server.give("/tunes.zip", TUNES[:-30], length=-1)
    message = f"recipe tunes: {url} is not a complete zip archive (File is not a zip file); nothing of it is kept"
    assert failure(make_recipe(url), cache) == message


def test_half_a_file_in_chunks_is_refused(server: Server, cache: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"5\r\nMThd \r\n")

    server.answers["/tunes.zip"] = answer
    message = failure(make_recipe(server.address + "/tunes.zip"), cache)
    assert message.endswith(f": the connection broke off before all bytes had come{HINT}")


def test_an_empty_answer_is_refused(server: Server, cache: Path) -> None:
    url = server.give("/tunes.zip", b"")
    assert failure(make_recipe(url), cache) == f"cannot download recipe tunes from {url}: the server sent nothing{HINT}"


def test_a_server_that_hangs_up_is_named(server: Server, cache: Path) -> None:
    server.answers["/tunes.zip"] = lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)
    message = failure(make_recipe(server.address + "/tunes.zip"), cache)
    assert message.endswith(f": the connection closed without an answer{HINT}")


def test_an_answer_without_sense_is_refused(server: Server, cache: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "many")
        handler.end_headers()

    server.answers["/tunes.zip"] = answer
    assert ": its answer is not valid HTTP (" in failure(make_recipe(server.address + "/tunes.zip"), cache)


def test_a_missing_file_is_refused_with_the_servers_word(server: Server, cache: Path) -> None:
    url = f"{server.address}/none.zip"
    reason = f"cannot download recipe tunes from {url}: the server answered 404 Not Found{HINT}"
    assert failure(make_recipe(url), cache) == reason


def test_a_refused_connection_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.socket() as taken:  # bound and not listening: nobody else answers there
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/tunes.zip"
        reason = f"cannot download recipe tunes from {url}: Connection refused{HINT}"
        assert failure(make_recipe(url), cache) == reason


def test_a_silent_server_is_not_waited_for_for_ever(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    done = threading.Event()

    def wait(handler: BaseHTTPRequestHandler) -> None:
        done.wait(5)

    server.answers["/tunes.zip"] = wait
    message = failure(make_recipe(server.address + "/tunes.zip"), cache)
    done.set()
    assert message.endswith(f": the server was silent for 0.2 seconds{HINT}")


def test_an_interrupted_download_leaves_nothing(server: Server, cache: Path) -> None:
    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(make_recipe(server.give("/tunes.zip", TUNES)), cache, interrupt)
    assert kept(cache) == set()


def test_a_recipe_without_an_address_points_to_a_folder(cache: Path) -> None:
    message = "recipe tunes has no address to download from; name a folder with its files (muse-prepare --from-folder"
    message += " DIR, in Python (recipe, folder))"
    with pytest.raises(DownloadError, match=f"^{re.escape(message)}$"):
        fetch(make_recipe(None, archive=None), cache)


def test_a_cache_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match=r"^cannot make the folder .*cache: File exists$"):
        fetch(make_recipe(server.give("/tunes.zip", TUNES)), tmp_path / "cache")


# Hostile archives


def zip_link(name: str, kind: int = stat.S_IFLNK) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = (kind | 0o777) << 16
    return member


INSIDE = "allowed: names that stay inside a folder"
PLAIN = "a link or a device; allowed: files and folders"


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("../out.mid", f"holds '../out.mid'; {INSIDE}"),
        ("a/../../out.mid", f"holds 'a/../../out.mid'; {INSIDE}"),
        ("/tmp/out.mid", f"holds '/tmp/out.mid'; {INSIDE}"),
        ("C:/out.mid", f"holds 'C:/out.mid'; {INSIDE}"),
        ("..\\out.mid", f"holds '..\\\\out.mid'; {INSIDE}"),
        ("../out/", f"holds '../out/'; {INSIDE}"),
        ("a\nb.mid", f"holds 'a\\nb.mid'; {INSIDE}"),
        (".", f"holds '.'; {INSIDE}"),
        (zip_link("link.mid"), f"holds 'link.mid', {PLAIN}"),
        (zip_link("pipe.mid", stat.S_IFIFO), f"holds 'pipe.mid', {PLAIN}"),
    ],
)
def test_a_zip_member_that_leaves_the_folder_is_refused(
    server: Server, cache: Path, member: str | zipfile.ZipInfo, message: str
) -> None:
    url = server.give("/tunes.zip", make_zip(("good.mid", b"MThd"), (member, b"/etc/passwd")))
    assert failure(make_recipe(url), cache) == f"recipe tunes: {url} {message}; nothing of it is kept"
    assert list(cache.parent.iterdir()) == [cache]


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (tar_member("../out.mid"), f"holds '../out.mid'; {INSIDE}"),
        (tar_member("/tmp/out.mid"), f"holds '/tmp/out.mid'; {INSIDE}"),
        (tar_member("../out", tarfile.DIRTYPE), f"holds '../out'; {INSIDE}"),
        (tar_member("link", tarfile.SYMTYPE, "/etc"), f"holds 'link', {PLAIN}"),
        (tar_member("link", tarfile.LNKTYPE, "good.mid"), f"holds 'link', {PLAIN}"),
        (tar_member("pipe", tarfile.FIFOTYPE), f"holds 'pipe', {PLAIN}"),
        (tar_member("disk", tarfile.BLKTYPE), f"holds 'disk', {PLAIN}"),
        (tar_member("null", tarfile.CHRTYPE), f"holds 'null', {PLAIN}"),
    ],
)
def test_a_tar_member_that_leaves_the_folder_is_refused(
    server: Server, cache: Path, member: tarfile.TarInfo, message: str
) -> None:
    url = server.give("/tunes.tar.gz", make_tar("w:gz", (tar_member("good.mid"), b"MThd"), (member, b"")))
    recipe = make_recipe(url, archive="tar.gz")
    assert failure(recipe, cache) == f"recipe tunes: {url} {message}; nothing of it is kept"
    assert list(cache.parent.iterdir()) == [cache]


@pytest.mark.parametrize("second", ["a.mid", "a.mid/b.mid", "a.mid/b/c.mid", "a.mid/"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_holds_a_name_twice_is_refused(server: Server, cache: Path, second: str) -> None:
    url = server.give("/tunes.zip", make_zip(("a.mid", b"1"), (second, b"")))
    message = f"holds {second!r} twice, or as a file and as a folder; nothing of it is kept"
    assert failure(make_recipe(url), cache) == f"recipe tunes: {url} {message}"


@pytest.mark.parametrize("members", [[("zeros.mid", bytes(200_000))], [(f"{i}.mid", b"") for i in range(30)]])
def test_an_archive_that_would_fill_the_disk_is_refused(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, members: list[tuple[str | zipfile.ZipInfo, bytes]]
) -> None:
    monkeypatch.setattr(download, "UNPACKED_LIMIT", 100_000)
    url = server.give("/tunes.zip", make_zip(*members))
    message = "unpacks to more than 100000 bytes, the most that is allowed"
    assert failure(make_recipe(url), cache) == f"recipe tunes: {url} {message}; nothing of it is kept"


@pytest.mark.parametrize(
    ("kind", "content", "reason"),
    [
        ("zip", b"<html>busy</html>", "File is not a zip file"),
        ("tar.gz", b"<html>busy</html>", r"Not a gzipped file .*"),
        (
            "tar.gz",
            make_tar("w:gz", (tar_member("a.mid"), bytes(range(256)) * 99))[:-40],
            "Compressed file ended before the end-of-stream marker was reached",
        ),
        (
            "tar.xz",
            make_tar("w:xz", (tar_member("a.mid"), bytes(range(256)) * 99))[:-40],
            "Compressed file ended before the end-of-stream marker was reached",
        ),
        ("tar.bz2", b"<html>busy</html>", "Invalid data stream"),
        (
            "tar.bz2",
            make_tar("w:bz2", (tar_member("a.mid"), bytes(range(256)) * 99))[:-40],
            "Compressed file ended before the end-of-stream marker was reached",
        ),
        ("tar.gz", gzip.compress(b"no tar" * 200, mtime=0), "invalid header"),
        ("zip", TUNES.replace(b"tunes/a.mid", b"tunes/z.mid", 1), r"File name in directory.*"),
    ],
)
def test_an_incomplete_archive_is_refused_and_not_kept(
    server: Server, cache: Path, kind: Archive, content: bytes, reason: str
) -> None:
    url = server.give("/tunes", content)
    message = failure(make_recipe(url, archive=kind), cache)
    pattern = (
        rf"recipe tunes: {re.escape(url)} is not a complete {re.escape(kind)} archive \((?:{reason})\); nothing .*kept"
    )
    assert re.fullmatch(pattern, message), message


def test_an_encrypted_zip_is_refused(server: Server, cache: Path) -> None:
    content = bytearray(make_zip(("a.mid", b"MThd")))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    message = failure(make_recipe(server.give("/tunes.zip", bytes(content))), cache)
    assert re.search(r"is not a complete zip archive \(.* is encrypted, password required", message)


def test_permissions_and_owners_of_an_archive_do_not_count(server: Server, cache: Path) -> None:
    member = tar_member("a.mid")
    member.mode, member.uid = 0o6777, 12345
    content = make_tar("w:gz", (member, b"MThd"))
    folder = fetch(make_recipe(server.give("/t", content), archive="tar.gz"), cache)
    assert not (folder / "a.mid").stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IXUSR)


# The cache's place


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("MUSE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder().name == "muse-shortcut"
