"""Promises of the page, kept in a real browser: every domain from an example to what is taken away, and each visitor
for themselves."""

from __future__ import annotations

import io
import json
import re
import zipfile

import numpy as np
import pytest
from served_pages import DONE, MOST, Visit

pytest_plugins = ["served_pages"]

EXAMPLES = {"midi": "greensleeves", "audio": "speech", "text": "garden"}
AMOUNTS = {"midi": "5", "audio": "2", "text": "150"}
TAKEN = {
    "midi": {"MIDI": ".mid", "MIDI per instrument (zip)": ".zip", "WAV": ".wav", "FLAC": ".flac"},
    "audio": {"WAV": ".wav", "FLAC": ".flac"},
    "text": {"Text": ".txt"},
}


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
def test_a_visitor_continues_an_example_and_downloads_every_file(visit: Visit, domain: str) -> None:
    visitor = visit()
    page = visitor.page
    visitor.choose(domain, EXAMPLES[domain])
    visitor.continue_(amount=AMOUNTS[domain], candidates="2", seed="5")
    assert "seed 5" in visitor.status

    # Stopped, it keeps what there is.
    page.evaluate("document.querySelector('.status').textContent = ''")
    visitor.set("amount", MOST[domain])
    visitor.go()
    visitor.wait_for_status("Generating")
    page.wait_for_function("Number(document.querySelector('.status').textContent.match(/\\d+/)?.[0] ?? 0) > 60")
    page.click("#muse-stop")
    visitor.wait_for_status("Stopped")

    # One is kept, and continued.
    page.click(".muse-strip .card:nth-child(2) button:has-text('Keep')")
    assert page.is_hidden(".muse-strip")
    page.click("button:has-text('Continue from this')")
    visitor.wait_for_status("prompt now")
    visitor.continue_(amount=AMOUNTS[domain], candidates="1")
    # Back through all that was here: the prompt of the second, the one that was kept, the two of them.
    for _ in range(3):
        page.click("button:has-text('Back')")
    assert page.locator(".muse-strip .card").count() == 2
    page.click(".muse-strip .card:nth-child(2) .pick")

    # A token is clicked, its sources read, one of them ablated.
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
    page.locator(".muse-why button:has-text('Ablate')").nth(1).click()
    page.wait_for_selector(".muse-why .change:not(:empty)")
    assert "nats" in page.inner_text(".muse-why .change")
    page.click(".muse-matrix-box summary")
    page.select_option(".muse-matrix-box select", "0")
    page.wait_for_timeout(300)
    page.hover(".muse-matrix", position={"x": 120, "y": 30})
    assert "%" in page.inner_text(".muse-matrix-box output")

    for name, ending in TAKEN[domain].items():
        file, data = visitor.download(name)
        assert file.endswith(ending)
        _parsed(ending, data)
    assert json.loads(visitor.download("Sidecar (json)")[1])["domain"] == domain
    arrays = np.load(io.BytesIO(visitor.download("Trace (npz)")[1]), allow_pickle=False)
    assert arrays["depths"].tolist() == [2, 4, 6]
    assert visitor.download("Picture (png)")[1].startswith(b"\x89PNG")
    assert b"<svg" in visitor.download("Picture (svg)")[1][:2000]


def test_another_way_is_taken_from_an_alternative(visit: Visit) -> None:
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
    assert "alternative that you chose" in page.inner_text(".muse-why")


def test_two_visitors_neither_see_nor_stop_each_other(visit: Visit) -> None:
    one, other = visit(), visit()
    one.choose("midi", "saints")
    one.set("amount", "60")
    one.go()
    one.wait_for_status("Generating")
    other.set("amount", "4")
    other.go()
    other.wait_for_status("Waiting: position 1")
    # A stop is one's own: it gives up one's place in the queue, and nobody else's writing.
    other.page.click("#muse-stop")
    other.wait_for_status("Stopped before it started")
    assert "Generating" in one.status
    other.go()
    other.wait_for_status("Waiting: position 1")
    one.page.click("#muse-stop")
    other.page.wait_for_function("document.querySelector('.status').textContent.startsWith('Done')", timeout=30_000)
    one.wait_until_done()
    assert one.page.inner_text(".bar-row h2") == "saints.mid"
    assert other.page.inner_text(".bar-row h2") == "bach-prelude.mid"


@pytest.mark.parametrize("milliseconds", [0, 15, 30, 60])
def test_a_stop_is_heard_however_early_it_comes(visit: Visit, milliseconds: int) -> None:
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


def test_back_leads_to_the_prompt_and_its_cut(visit: Visit) -> None:
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


def test_the_latest_request_is_the_one_shown(visit: Visit) -> None:
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


def test_no_prompt_is_opened_during_generation(visit: Visit) -> None:
    visitor = visit()
    visitor.set("amount", "200")
    visitor.go()
    visitor.wait_for_status("Generating")
    visitor.page.click(".muse-prompt .chips button:has-text('saints')")
    assert visitor.problem() == "bach-prelude.mid is still being generated; press Stop first"
    # Leaving its domain ends it, and keeps what there is.
    visitor.page.click("#muse-domain label:has-text('Text')")
    visitor.wait_for_status("fog")
    visitor.page.click("#muse-domain label:has-text('Music')")
    visitor.wait_for_status("Stopped")


def test_a_refresh_leaves_no_orphan_running(visit: Visit) -> None:
    visitor = visit()
    visitor.set("amount", "300")
    visitor.go()
    visitor.wait_for_status("Generating")
    visitor.page.reload()
    visitor.wait_for_status("Choose how much")
    visitor.set("amount", "2")
    visitor.go()
    # One at a time is written: were the other still running, this would wait for half a minute.
    visitor.page.wait_for_function(DONE, timeout=10_000)


def test_the_music_is_heard_and_the_map_follows_it(visit: Visit) -> None:
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
def test_it_fits_the_screen_in_light_and_dark(visit: Visit, width: int, scheme: str) -> None:
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


def test_a_seed_is_random_or_used_again(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    visitor.continue_(amount="2")
    found = re.search(r"seed (\d+)", visitor.status)
    assert found is not None
    seed = found[1]
    first = visitor.download("MIDI")[1]
    page.click("#muse-dice")
    page.wait_for_function("document.querySelector('#muse-seed textarea, #muse-seed input').value !== ''")
    page.click("#muse-last")
    page.wait_for_function(
        "(seed) => document.querySelector('#muse-seed textarea, #muse-seed input').value === seed", arg=seed
    )
    visitor.continue_()
    assert visitor.download("MIDI")[1] == first


def test_everything_can_be_reached_with_the_keyboard(visit: Visit) -> None:
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
    for wanted in (
        "Continue",
        "greensleeves",
        "Play",
        "Continue from this",
        "MIDI",
        "Attention head of the depth shares",
    ):
        assert any(str(one).strip().startswith(wanted) for one in reached), wanted
    assert any("Left and right arrow keys" in str(one) for one in reached)
