"""Tests of the server of the page: endpoints for clients, limits, locks, and no files left behind."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from muse_shortcut.shipped import shipped_prompt
from muse_web.client import PageClient, Process, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving(tmp_path_factory.mktemp("server"), "--upload-mb", "0.5", "--minutes", "1") as found:
        yield found


@pytest.fixture(scope="module")
def client(served: Process) -> Any:
    from gradio_client import Client

    return Client(served.url, verbose=False)


def _sent(served: Process, body: bytes) -> str:
    address = f"{served.url}/gradio_api/upload"
    request = urllib.request.Request(address, body, {"Content-Type": "multipart/form-data; boundary=b"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(json.load(answer)[0])


def _status(url: str, body: bytes | None = None, kind: str = "application/json") -> int:
    try:
        request = urllib.request.Request(url, body, {"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_client_continues_music_sound_and_text(client: Any, tmp_path: Path) -> None:
    import numpy as np
    import soundfile
    from gradio_client import handle_file
    from symusic import Score

    music = client.predict(
        prompt=handle_file(shipped_prompt("midi", "saints")), seconds=3, seed=7, candidates=2, api_name="/continue_midi"
    )
    assert [Path(one).name for one in music] == [
        f"saints-{number}.{ending}" for number in (1, 2) for ending in ("mid", "wav", "trace.npz", "json")
    ]
    assert Score(music[0]).note_num() > 0
    assert json.loads(Path(music[3]).read_text())["seed"] == 7
    sound = client.predict(
        prompt=handle_file(shipped_prompt("audio", "speech")), seconds=1, prompt_seconds=2, api_name="/continue_audio"
    )
    samples, rate = soundfile.read(sound[0])
    assert len(samples) / rate == pytest.approx(3, abs=0.1)
    assert np.load(sound[1])["ids"].shape[1] == 4
    text = client.predict(words="The fog came", length=80, seed=1, api_name="/continue_text")
    assert Path(text[0]).read_text().startswith("The fog came")
    again = client.predict(words="The fog came", length=80, seed=1, api_name="/continue_text")
    assert Path(again[0]).read_bytes() == Path(text[0]).read_bytes()


def test_the_page_and_the_command_write_the_same_bytes(client: Any, run: Any, tmp_path: Path) -> None:
    from gradio_client import handle_file

    prompt = shipped_prompt("midi", "greensleeves")
    payload = {"bars": 2, "silence": 0.0, "repeats": 1, "no_repeat_ngram": 40, "repetition_penalty": 1.1}
    by_page = client.predict(prompt=handle_file(prompt), **payload, seed=11, api_name="/continue_midi")
    words = [word for name, value in payload.items() for word in (f"--{name}", value)]
    run("generate", prompt, *words, "--seed", 11, "--out", tmp_path)
    for path in map(Path, by_page):
        if path.suffix != ".json":
            assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name
    # But for how many threads there were.
    sidecars = [json.loads(path.read_text()) for path in (Path(by_page[3]), tmp_path / "greensleeves-1.json")]
    assert [sidecar.pop("made_with")["muse_shortcut"] for sidecar in sidecars] == ["0.1.0", "0.1.0"]
    assert sidecars[0] == sidecars[1]
    greedy = [client.predict(words="The", length=20, greedy=True, api_name="/continue_text")[0] for _ in range(2)]
    assert Path(greedy[0]).read_bytes() == Path(greedy[1]).read_bytes()
    again = run("generate", "midi", "--from-json", by_page[3], "--out", tmp_path / "again")
    assert again.code == 0
    assert Path(by_page[0]).read_bytes() == (tmp_path / "again" / "greensleeves-1.mid").read_bytes()


def test_a_clients_mistake_is_reported_in_one_line(client: Any, tmp_path: Path) -> None:
    from gradio_client import handle_file

    (tmp_path / "letter.mid").write_text("no music")
    for words, function, given in (
        ("length is 10000000", "/continue_text", {"words": "x", "length": 10**7}),
        ("checkpoint is 'none'", "/continue_midi", {"checkpoint": "none"}),
        ("letter.mid", "/continue_midi", {"prompt": handle_file(tmp_path / "letter.mid")}),
        ("this upload does not exist", "/continue_midi", {"prompt": {"path": "/etc/passwd"}}),
    ):
        with pytest.raises(Exception, match=re.escape(words)) as caught:
            client.predict(**given, api_name=function)
        assert "\n" not in str(caught.value).strip()


def test_clients_cannot_exceed_the_limits_of_the_page(served: Process) -> None:
    assert _status(f"{served.url}/gradio_api/file=/etc/passwd") == 403
    assert _status(f"{served.url}/muse-static/../page.py") == 404
    assert _status(f"{served.url}/muse-static/%2e%2e/page.py") == 404
    assert _status(f"{served.url}/muse-static/main.js") == 200
    caller = PageClient(served.url)
    for path in ("/etc/passwd", "../../etc/passwd", "", None, 3, []):
        problem = caller.open({"domain": "midi", "upload": path or "x"})["problem"]
        assert problem == "this upload does not exist (any more); upload the file again"


def test_a_file_that_is_too_large_or_too_long_is_refused(served: Process, tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    body = (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mid"\r\n\r\n'
        + bytes(2**20)
        + b"\r\n--b--\r\n"
    )
    assert _status(f"{served.url}/gradio_api/upload", body, "multipart/form-data; boundary=b") == 413
    soundfile.write(tmp_path / "long.flac", np.zeros(8000 * 61), 8000)
    data = (tmp_path / "long.flac").read_bytes()
    body = (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="long.flac"\r\n\r\n' + data + b"\r\n--b--\r\n"
    )
    path = _sent(served, body)
    problem = PageClient(served.url).open({"domain": "audio", "upload": path, "name": "long.flac"})["problem"]
    assert problem == "long.flac is too long; allowed: up to 60 seconds"
    # It may still be opened as something else.
    assert Path(path).exists()


def test_two_visitors_who_send_the_same_file_can_both_open_it(served: Process) -> None:
    prompt = shipped_prompt("midi", "saints")
    assert prompt is not None
    data = prompt.read_bytes()
    body = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mid"\r\n\r\n' + data + b"\r\n--b--\r\n"
    paths = [_sent(served, body) for _ in range(2)]
    assert paths[0] == paths[1]
    opened = [PageClient(served.url).open({"domain": "midi", "upload": path, "name": "saints.mid"}) for path in paths]
    assert [(one["name"], one["warnings"]) for one in opened] == [("saints.mid", [])] * 2
    assert not Path(paths[0]).exists()
    assert "upload the file again" in PageClient(served.url).open({"domain": "midi", "upload": paths[0]})["problem"]


def test_files_of_a_client_exist_until_they_leave(served: Process) -> None:
    from gradio_client import Client

    client = Client(served.url, verbose=False, download_files=False)
    files = client.predict(words="The fog came", length=30, api_name="/continue_text")
    paths = [file["path"] for file in files]
    assert PageClient(served.url).fetch(paths[0]).startswith(b"The fog came")
    client.predict({}, api_name="/leave")
    assert [_status(f"{served.url}/gradio_api/file={path}") for path in paths] == [403] * 3
    assert not any(Path(path).exists() for path in paths)
    # Nor is there a copy that gradio serves.
    assert all(Path(path).parents[3].name == "visitors" for path in paths)


def test_the_position_in_the_queue_is_reported(served: Process) -> None:
    import threading

    first, second, told = PageClient(served.url), PageClient(served.url), []
    started = threading.Event()
    thread = threading.Thread(
        target=first.generate,
        args=({"domain": "midi", "amount": 60}, lambda kind, _, part: started.set() if part is not None else None),
    )
    thread.start()
    started.wait(timeout=30)
    waiting = threading.Thread(
        target=second.generate, args=({"domain": "midi", "amount": 1}, lambda kind, seconds, part: told.append(kind))
    )
    waiting.start()
    while "estimation" not in told:
        pass
    first.call("stop", {})
    thread.join()
    waiting.join()
    assert told.index("estimation") < told.index("process_starts")


def test_a_word_is_asked_for_where_there_is_one(tmp_path: Path) -> None:
    with serving(tmp_path, "--username", "ada", "--password", "sound") as served:
        body = json.dumps({"data": [{"domain": "midi", "example": "saints"}], "session_hash": "x"}).encode()
        assert _status(f"{served.url}/gradio_api/run/open", body) == 401
        assert _status(f"{served.url}/gradio_api/call/generate", body) == 401
        assert _status(f"{served.url}/gradio_api/upload", body) == 401
        login = f"{served.url}/login"
        assert _status(login, b"username=ada&password=wrong", "application/x-www-form-urlencoded") == 400
        assert _status(login, b"username=ada&password=sound", "application/x-www-form-urlencoded") == 200


def test_ended_it_leaves_nothing_behind(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        assert "source" in PageClient(served.url).open({"domain": "midi", "example": "saints"})
        assert len(list((tmp_path / "temporary").glob("muse-web-*"))) == 1
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=20) == 0
        assert list((tmp_path / "temporary").glob("muse-web-*")) == []
        assert served.log.read_text() == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "0"], "--port is 0; allowed: 1 to 65535"),
        (["--username", "ada"], "--username and --password go together"),
        (["--checkpoints", "nowhere"], "--checkpoints is nowhere; allowed: a folder"),
        (["--at-once", "0"], "--at-once is 0; allowed: more than 0"),
        (["--minutes", "-1"], "--minutes is -1.0; allowed: more than 0"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_an_invalid_option_is_reported_in_one_line(words: list[str], message: str, run: Any) -> None:
    outcome = run("muse_web.command", *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_port_in_use_is_reported_in_one_line(run: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        outcome = run("muse_web.command", "--port", taken.getsockname()[1])
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "--port" in outcome.err
