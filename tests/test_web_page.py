"""Promises of the page, kept in a real browser: every domain from an example to what is taken away, and each visitor
for themselves."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served_pages import require_chromium

from muse_web.driving import Process, browsing, serving

DONE = "/^(Done|Stopped)/.test(document.querySelector('.status').textContent)"
NAMES = {"midi": "Music", "audio": "Sound", "text": "Text"}
EXAMPLES = {"midi": "greensleeves", "audio": "speech", "text": "garden"}
AMOUNTS = {"midi": "5", "audio": "2", "text": "150"}
MOST = {"midi": "300", "audio": "60", "text": "10000"}
TAKEN = {
    "midi": {"MIDI": ".mid", "MIDI, a file an instrument": ".zip", "WAV": ".wav", "FLAC": ".flac"},
    "audio": {"WAV": ".wav", "FLAC": ".flac"},
    "text": {"text": ".txt"},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving(tmp_path_factory.mktemp("page"), "--upload-mb", "1") as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    require_chromium()
    with browsing() as found:
        yield found


class Visitor:
    """Somebody in front of the page."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        # Nothing is fetched from anywhere else.
        page.on("request", lambda request: self._look_at(request.url, url))
        page.goto(url)
        self.wait_for_status("Choose how much")

    def _look_at(self, address: str, url: str) -> None:
        if not address.startswith((url, "blob:", "data:")):
            self.complaints.append(f"fetched: {address}")

    def wait_for_status(self, words: str) -> None:
        self.page.wait_for_function(
            "(words) => document.querySelector('.status')?.textContent.includes(words)", arg=words, timeout=30_000
        )

    @property
    def status(self) -> str:
        return str(self.page.inner_text(".status"))

    def choose(self, domain: str, example: str | None = None) -> None:
        if domain != "midi":
            self.page.click(f"#muse-domain label:has-text('{NAMES[domain]}')")
            self.page.wait_for_function(
                "(most) => document.querySelector('#muse-amount input[type=number]').max == most", arg=MOST[domain]
            )
        if example is not None:
            self.page.click(f".muse-prompt .chips button:has-text('{example}')")
            self.wait_for_status(example)

    def set(self, control: str, value: str) -> None:
        field = self.page.locator(f"#muse-{control} input, #muse-{control} textarea").first
        if control in ("amount", "candidates", "temperature"):
            field = self.page.locator(f"#muse-{control} input[type=number]")
        field.fill(value)
        field.press("Tab")

    def go(self) -> None:
        self.page.click("#muse-go")

    def wait_until_done(self) -> None:
        self.page.wait_for_function(DONE, timeout=60_000)

    def continue_(self, **settings: str) -> None:
        for control, value in settings.items():
            self.set(control, value)
        self.page.evaluate("document.querySelector('.status').textContent = ''")
        self.go()
        self.wait_until_done()

    def take(self, name: str) -> tuple[str, bytes]:
        with self.page.expect_download() as download:
            self.page.click(f".take-row button >> text='{name}'")
        return download.value.suggested_filename, Path(download.value.path()).read_bytes()

    def problem(self) -> str:
        self.page.wait_for_selector(".problem:not([hidden])")
        return str(self.page.inner_text(".problem"))


@pytest.fixture
def visit(browser: Any, served: Process) -> Iterator[Callable[..., Visitor]]:
    """Visitors with a browser context each; in the end nobody's console and no log says anything."""
    visitors, before = [], served.log.read_text()

    def come(width: int = 1280, height: int = 900, scheme: str = "light") -> Visitor:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
        )
        visitors.append(Visitor(context.new_page(), served.url))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.page.context.close()
        assert visitor.complaints == []
    assert served.log.read_text()[len(before) :] == ""


def _parsed(ending: str, data: bytes) -> None:
    """What came is what its ending says."""
    import soundfile
    from symusic import Score

    if ending == ".mid":
        assert Score.from_midi(data).note_num() > 0
    elif ending == ".zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert all(Score.from_midi(archive.read(name)).note_num() for name in archive.namelist())
    elif ending in (".wav", ".flac"):
        samples, rate = soundfile.read(io.BytesIO(data))
        assert len(samples) > rate
        assert np.abs(samples).max() > 0.01
    elif ending == ".txt":
        assert len(data.decode()) > 100


@pytest.mark.parametrize("domain", ["midi", "audio", "text"])
def test_a_domain_from_an_example_to_what_is_taken_away(visit: Callable[..., Visitor], domain: str) -> None:
    visitor = visit()
    page = visitor.page
    visitor.choose(domain, EXAMPLES[domain])
    visitor.continue_(amount=AMOUNTS[domain], candidates="2", seed="5")
    assert "seed 5" in visitor.status

    # Stopped, it keeps what there is.
    page.evaluate("document.querySelector('.status').textContent = ''")
    visitor.set("amount", MOST[domain])
    visitor.go()
    visitor.wait_for_status("Writing")
    page.wait_for_function("Number(document.querySelector('.status').textContent.match(/\\d+/)?.[0] ?? 0) > 60")
    page.click("#muse-stop")
    visitor.wait_for_status("Stopped")

    # One is kept, and continued.
    page.click(".muse-strip .card:nth-child(2) button:has-text('Keep')")
    assert page.is_hidden(".muse-strip")
    page.click("button:has-text('Go on from this')")
    visitor.wait_for_status("prompt now")
    visitor.continue_(amount=AMOUNTS[domain], candidates="1")
    # Back through all that stood here: the prompt of the second, the one that was kept, the two of them.
    for _ in range(3):
        page.click("button:has-text('Back')")
    assert page.locator(".muse-strip .card").count() == 2
    page.click(".muse-strip .card:nth-child(2) .pick")

    # Why: a token is clicked, its map read, a source cut.
    if domain == "text":
        page.click(".muse-words .token[data-step='30']")
    else:
        page.focus(".muse-roll")
        for _ in range(4):
            page.keyboard.press("ArrowRight")
    page.wait_for_selector(".muse-why h3")
    weights = [
        float(one.removesuffix(" %")) for one in page.locator(".muse-why .bars >> nth=1 >> .number").all_inner_texts()
    ]
    assert sum(weights[:3]) == pytest.approx(100, abs=2)
    assert weights[3:] == sorted(weights[3:], reverse=True)
    cut = page.locator(".muse-why button:has-text('cut this source')").nth(1)
    cut.click()
    page.wait_for_selector(".muse-why .change:not(:empty)")
    assert "nats" in page.inner_text(".muse-why .change")
    page.click(".muse-matrix-box summary")
    page.select_option(".muse-matrix-box select", "0")
    page.wait_for_timeout(300)
    page.hover(".muse-matrix", position={"x": 120, "y": 30})
    assert "%" in page.inner_text(".muse-matrix-box output")

    for name, ending in TAKEN[domain].items():
        file, data = visitor.take(name)
        assert file.endswith(ending)
        _parsed(ending, data)
    assert json.loads(visitor.take("recipe (json)")[1])["domain"] == domain
    arrays = np.load(io.BytesIO(visitor.take("numbers (npz)")[1]), allow_pickle=False)
    assert arrays["depths"].tolist() == [2, 4, 6]
    assert visitor.take("picture (png)")[1].startswith(b"\x89PNG")
    assert b"<svg" in visitor.take("picture (svg)")[1][:2000]


def test_another_way_is_taken_from_an_alternative(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.page
    visitor.continue_(amount="5", seed="3")
    page.focus(".muse-roll")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_selector(".muse-why h3")
    row = page.locator(".muse-why .bars").first.locator("button").first
    before = page.inner_text(".muse-why h3 strong")
    labels = page.locator(".muse-why .bars >> nth=0 >> .label").all_inner_texts()
    wanted = next(label for label in labels if label != before)
    page.evaluate("document.querySelector('.status').textContent = ''")
    row.click()
    visitor.wait_until_done()
    page.focus(".muse-roll")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(60)
    page.wait_for_function(
        "(label) => document.querySelector('.muse-why h3 strong')?.textContent === label", arg=wanted
    )
    assert "settled" in page.inner_text(".muse-why")


def test_two_visitors_neither_see_nor_stop_each_other(visit: Callable[..., Visitor]) -> None:
    one, other = visit(), visit()
    one.choose("midi", "saints")
    one.set("amount", "60")
    one.go()
    one.wait_for_status("Writing")
    other.set("amount", "4")
    other.go()
    other.wait_for_status("Waiting: place 1")
    # A stop is one's own: it gives up one's place in the queue, and nobody else's writing.
    other.page.click("#muse-stop")
    other.wait_for_status("Stopped before it began")
    assert "Writing" in one.status
    other.go()
    other.wait_for_status("Waiting: place 1")
    one.page.click("#muse-stop")
    other.page.wait_for_function("document.querySelector('.status').textContent.startsWith('Done')", timeout=30_000)
    one.wait_until_done()
    assert one.page.inner_text(".bar-row h2") == "saints.mid"
    assert other.page.inner_text(".bar-row h2") == "bach-prelude.mid"


@pytest.mark.parametrize("milliseconds", [0, 15, 30, 60])
def test_a_stop_is_heard_however_early_it_comes(visit: Callable[..., Visitor], milliseconds: int) -> None:
    visitor = visit()
    page = visitor.page
    visitor.set("amount", "120")
    page.evaluate(
        "(wait) => { document.getElementById('muse-go').click(); setTimeout(() => window.muse.stop(), wait); }",
        milliseconds,
    )
    page.wait_for_function("document.querySelector('.status').textContent.startsWith('Stopped')", timeout=10_000)
    page.wait_for_function("!document.getElementById('muse-go').disabled")
    visitor.continue_(amount="2")
    assert visitor.status.startswith("Done")


def test_back_leads_to_the_prompt_and_its_cut(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.page
    page.click(".muse-prompt .chips button:has-text('saints')")
    visitor.wait_for_status("saints")
    visitor.continue_(amount="2")
    assert page.is_hidden(".cut-row")
    page.click("button:has-text('Back')")
    assert page.is_visible(".cut-row")
    page.click("button:has-text('Back')")
    visitor.wait_for_status("bach-prelude")


def test_what_was_asked_for_last_is_what_stands_there(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.page
    page.evaluate(
        "() => { const chips = [...document.querySelectorAll('.muse-prompt .chips button')];"
        " chips.find((one) => one.textContent === 'saints').click();"
        " chips.find((one) => one.textContent === 'greensleeves').click(); }"
    )
    visitor.go()
    visitor.wait_until_done()
    assert page.inner_text(".bar-row h2") == "greensleeves.mid"
    # Another domain has a place of its own, and this one is still there after it.
    for name in ("Sound", "Text"):
        page.click(f"#muse-domain label:has-text('{name}')")
    visitor.wait_for_status("fog")
    assert page.is_visible(".muse-words")
    page.click("#muse-domain label:has-text('Music')")
    visitor.wait_for_status("Done")
    assert page.inner_text(".bar-row h2") == "greensleeves.mid"


def test_nothing_is_opened_over_what_is_being_written(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.set("amount", "200")
    visitor.go()
    visitor.wait_for_status("Writing")
    visitor.page.click(".muse-prompt .chips button:has-text('saints')")
    assert visitor.problem() == "bach-prelude.mid is still being written; press Stop first"
    # Leaving its domain ends it, and keeps what there is.
    visitor.page.click("#muse-domain label:has-text('Text')")
    visitor.wait_for_status("fog")
    visitor.page.click("#muse-domain label:has-text('Music')")
    visitor.wait_for_status("Stopped")


def test_letters_of_any_writing_are_shown_as_they_are_in_the_file(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.page
    visitor.choose("text", "fog")
    page.fill(".muse-prompt textarea", "Four cats \U0001f600\U0001f600 and a clef \U0001d11e; naïve, 鐘. Then she said")
    visitor.continue_(amount="120", seed="4")
    assert page.evaluate("document.querySelector('.muse-words').textContent") == visitor.take("text")[1].decode()
    token = page.locator(".muse-words .token[data-step='9']")
    token.click()
    page.wait_for_selector(".muse-why h3 strong")
    assert page.inner_text(".muse-why h3 strong").strip() == token.inner_text().strip()


def test_a_refresh_leaves_no_orphan_running(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.set("amount", "300")
    visitor.go()
    visitor.wait_for_status("Writing")
    visitor.page.reload()
    visitor.wait_for_status("Choose how much")
    visitor.set("amount", "2")
    visitor.go()
    # One at a time is written: were the other still running, this would wait for half a minute.
    visitor.page.wait_for_function(DONE, timeout=10_000)


def test_a_text_dropped_as_midi_is_told_in_one_line(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    visitor = visit()
    (tmp_path / "letter.mid").write_text("Dear all, this is no music.\n")
    visitor.page.set_input_files(".muse-prompt input[type=file]", tmp_path / "letter.mid")
    assert "letter.mid" in visitor.problem()
    assert "/" not in visitor.problem()
    (tmp_path / "letter.txt").write_text("Dear all\n")
    visitor.page.set_input_files(".muse-prompt input[type=file]", tmp_path / "letter.txt")
    visitor.page.wait_for_function("document.querySelector('.problem').textContent.includes('letter.txt is for Text')")


def test_an_upload_that_is_too_large_is_told_before_it_is_sent(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    visitor = visit()
    (tmp_path / "long.mid").write_bytes(b"MThd" + bytes(2**21))
    visitor.page.set_input_files(".muse-prompt input[type=file]", tmp_path / "long.mid")
    assert visitor.problem() == "long.mid has 2.0 MiB; allowed: up to 1.0 MiB"


def test_a_file_is_opened_and_the_cut_is_dragged(visit: Callable[..., Visitor], prompt_file: Path) -> None:
    visitor = visit()
    page = visitor.page
    page.set_input_files(".muse-prompt input[type=file]", prompt_file)
    visitor.wait_for_status("bach-prelude")
    box, edge = (
        page.locator(".muse-roll").bounding_box(),
        page.evaluate("document.querySelector('.muse-roll').clientWidth"),
    )
    # The cut stands at the end of the piece; it is dragged to its middle, and stays on a bar line.
    page.mouse.move(box["x"] + edge - 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + edge / 2, box["y"] + 40, steps=5)
    page.mouse.up()
    assert page.inner_text(".cut-row output") == "0:13.3"
    visitor.continue_(amount="3", seed="1")
    assert json.loads(visitor.take("recipe (json)")[1])["prompt"]["cut"] == pytest.approx(13.333, abs=0.01)


def test_notes_that_are_played_and_words_that_are_typed_are_continued(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.page
    page.click(".muse-prompt summary")
    page.focus(".muse-piano")
    for letter in "adgj":
        page.keyboard.down(letter)
        page.wait_for_timeout(120)
        page.keyboard.up(letter)
    assert page.inner_text(".muse-prompt details .quiet >> nth=0") == "4 notes"
    page.click("button:has-text('Continue these')")
    visitor.wait_for_status("played")
    visitor.continue_(amount="4")
    visitor.choose("text", "fog")
    page.fill(".muse-prompt textarea", "The harbour lay still, and nobody came.")
    visitor.continue_(amount="100")
    assert page.inner_text(".muse-words").startswith("The harbour lay still, and nobody came.")


def test_a_recording_is_continued(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.page
    page.context.grant_permissions(["microphone"])
    visitor.choose("audio", "speech")
    page.click("button:has-text('Record')")
    page.wait_for_function("document.querySelector('.muse-prompt').textContent.includes('0:02')")
    page.click("button:has-text('End the recording')")
    visitor.wait_for_status("recording.wav: 0:02")
    visitor.continue_(amount="1")


def test_without_a_microphone_it_says_so(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.choose("audio", "speech")
    visitor.page.evaluate("() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('no')); }")
    visitor.page.click("button:has-text('Record')")
    assert "microphone" in visitor.problem()


def test_a_midi_keyboard_is_listened_to(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.page
    page.evaluate(
        "() => { window.keyboard = { name: 'Keys 49' }; navigator.requestMIDIAccess = () =>"
        " Promise.resolve({ inputs: new Map([['1', window.keyboard]]) }); }"
    )
    page.click(".muse-prompt summary")
    page.click("button:has-text('MIDI keyboard')")
    page.wait_for_function("document.querySelector('.muse-prompt').textContent.includes('Listening to Keys 49.')")
    for pitch in (60, 64):
        page.evaluate("(pitch) => window.keyboard.onmidimessage({ data: [0x91, pitch, 100] })", pitch)
        page.wait_for_timeout(150)
        # A note that is begun with velocity 0 ends.
        page.evaluate("(pitch) => window.keyboard.onmidimessage({ data: [pitch < 62 ? 0x81 : 0x91, pitch, 0] })", pitch)
    page.click("button:has-text('Continue these')")
    visitor.wait_for_status("played")
    visitor.continue_(amount="2")


def test_the_music_is_heard_and_the_map_follows_it(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.page
    visitor.continue_(amount="6", seed="2")
    page.wait_for_function("performance.getEntriesByName('muse:first-sound').length > 0")
    page.wait_for_function("parseFloat(document.querySelector('.time').textContent.split(':')[1]) > 28", timeout=15_000)
    assert page.inner_text(".bar-row button >> nth=0") == "Pause"
    page.keyboard.press("Escape")
    page.focus(".muse-roll")
    page.keyboard.press(" ")
    assert page.inner_text(".bar-row button >> nth=0") == "Play"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_in_light_and_dark(visit: Callable[..., Visitor], width: int, scheme: str) -> None:
    visitor = visit(width=width, height=844, scheme=scheme)
    visitor.continue_(amount="3")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
    outside = visitor.page.evaluate(
        "(width) => [...document.querySelectorAll('.muse-stage *, .muse-prompt *')].filter((one) => {"
        " const box = one.getBoundingClientRect(); return box.width && (box.right > width + 1 || box.left < -1);"
        "}).map((one) => one.outerHTML.slice(0, 80))",
        width,
    )
    assert [one for one in outside if "muse-piano" not in one and 'class="white' not in one] == []


def test_a_seed_is_diced_or_used_again(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.page
    visitor.continue_(amount="2")
    found = re.search(r"seed (\d+)", visitor.status)
    assert found is not None
    seed = found[1]
    first = visitor.take("MIDI")[1]
    page.click("#muse-dice")
    page.wait_for_function("document.querySelector('#muse-seed textarea, #muse-seed input').value !== ''")
    page.click("#muse-last")
    page.wait_for_function(
        "(seed) => document.querySelector('#muse-seed textarea, #muse-seed input').value === seed", arg=seed
    )
    visitor.continue_()
    assert visitor.take("MIDI")[1] == first


def test_everything_can_be_reached_with_the_keyboard(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.page
    visitor.continue_(amount="3", seed="4")
    reached = set()
    page.focus("#muse-domain input >> nth=0")
    for _ in range(90):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent")
        )
    for wanted in ("Continue", "greensleeves", "Play", "Go on from this", "MIDI", "Heads of the bands"):
        assert any(str(one).strip().startswith(wanted) for one in reached), wanted
    assert any("Left and right arrows" in str(one) for one in reached)
