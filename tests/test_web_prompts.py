"""Tests of prompts in a real browser: files, played notes, recordings, typed text, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from served_pages import Visit

from muse_tokenizers.audio.waveforms import wav_bytes
from muse_tokenizers.base import Waveform

pytest_plugins = ["served_pages"]


def test_letters_of_any_writing_are_shown_as_they_are_in_the_file(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    visitor.choose("text", "fog")
    page.fill(".muse-prompt textarea", "Four cats \U0001f600\U0001f600 and a clef \U0001d11e; naïve, 鐘. Then she said")
    visitor.continue_(amount="120", seed="4")
    assert page.evaluate("document.querySelector('.muse-words').textContent") == visitor.download("Text")[1].decode()
    token = page.locator(".muse-words .token[data-step='9']")
    token.click()
    page.wait_for_selector(".muse-why h3 strong")
    assert page.inner_text(".muse-why h3 strong").strip() == token.inner_text().strip()


def test_a_text_dropped_as_midi_is_reported_in_one_line(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    (tmp_path / "letter.mid").write_text("Dear all, this is no music.\n")
    visitor.page.set_input_files(".muse-prompt input[type=file]", tmp_path / "letter.mid")
    assert "letter.mid" in visitor.problem()
    assert "/" not in visitor.problem()
    (tmp_path / "letter.txt").write_text("Dear all\n")
    visitor.page.set_input_files(".muse-prompt input[type=file]", tmp_path / "letter.txt")
    says = "document.querySelector('.problem').textContent.includes('it is text; choose Text for it')"
    visitor.page.wait_for_function(says)


def test_repairs_of_a_file_are_shown_under_the_prompt(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    visitor.choose("audio", "speech")
    whole = wav_bytes(Waveform(samples=np.full((1, 24_000), 0.1, np.float32), sample_rate=24_000))
    # Its name is no mark-up.
    (tmp_path / "take <i>2.wav").write_bytes(whole[:30_000])
    visitor.page.set_input_files(".muse-prompt input[type=file]", tmp_path / "take <i>2.wav")
    visitor.page.wait_for_selector(".warnings:not([hidden])")
    assert visitor.page.inner_text(".warnings").startswith("take <i>2.wav is cut off: ")
    assert visitor.page.locator(".warnings i").count() == 0
    visitor.page.click(".muse-prompt .chips button:has-text('bach-fugue')")
    visitor.wait_for_status("bach-fugue")
    assert visitor.page.locator(".warnings").is_hidden()


def test_an_upload_that_is_too_large_is_refused_before_it_is_sent(visit: Visit, tmp_path: Path) -> None:
    visitor = visit()
    (tmp_path / "long.mid").write_bytes(b"MThd" + bytes(2**21))
    visitor.page.set_input_files(".muse-prompt input[type=file]", tmp_path / "long.mid")
    assert visitor.problem() == "long.mid has 2.0 MiB; allowed: up to 1.0 MiB"


def test_a_file_is_opened_and_the_cut_is_dragged(visit: Visit, prompt_file: Path) -> None:
    visitor = visit()
    page = visitor.page
    page.set_input_files(".muse-prompt input[type=file]", prompt_file)
    visitor.wait_for_status("bach-prelude")
    box, edge = (
        page.locator(".muse-roll").bounding_box(),
        page.evaluate("document.querySelector('.muse-roll').clientWidth"),
    )
    # The split point is at the end of the piece; it is dragged to its middle, and stays on a bar line.
    page.mouse.move(box["x"] + edge - 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + edge / 2, box["y"] + 40, steps=5)
    page.mouse.up()
    assert page.inner_text(".cut-row output") == "0:13.3"
    visitor.continue_(amount="3", seed="1")
    assert json.loads(visitor.download("Sidecar (json)")[1])["prompt"]["split_point"] == pytest.approx(13.333, abs=0.01)


def test_a_click_in_a_text_sets_where_the_continuation_begins(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    visitor.choose("text", "fog")
    page.click(".muse-words", position={"x": 120, "y": 30})
    kept = page.inner_text(".muse-words .now")
    assert 0 < len(kept) < 60
    assert page.inner_text(".cut-row output") == f"{len(kept.encode())} bytes"


def test_the_player_changes_no_sample_below_full_scale_and_rounds_off_those_beyond(visit: Visit) -> None:
    peaks = visit().page.evaluate(
        """async (amplitudes) => {
          const { limiter } = await import(new URL('muse-static/player.js', document.baseURI).href);
          const peaks = [];
          for (const amplitude of amplitudes) {
            const context = new OfflineAudioContext(1, 2400, 24000);
            const tone = new OscillatorNode(context, { frequency: 250 });
            tone.connect(new GainNode(context, { gain: amplitude })).connect(limiter(context, context.destination));
            tone.start();
            peaks.push(Math.max(...(await context.startRendering()).getChannelData(0)));
          }
          return peaks;
        }""",
        [0.01, 0.3, 0.88, 3.0],
    )
    assert peaks[:3] == pytest.approx([0.01, 0.3, 0.88], rel=1e-4)
    assert 0.9 < peaks[3] <= 1


def test_notes_that_are_played_and_words_that_are_typed_are_continued(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    page.click(".muse-prompt summary")
    page.focus(".muse-piano")
    for letter in "adgj":
        page.keyboard.down(letter)
        page.wait_for_timeout(120)
        page.keyboard.up(letter)
    assert page.inner_text(".muse-prompt details .quiet >> nth=0") == "4 notes"
    page.click("button:has-text('Use these notes')")
    visitor.wait_for_status("played")
    visitor.continue_(amount="4")
    visitor.choose("text", "fog")
    # An example that is still on its way when words are typed does not take their place.
    page.click(".muse-prompt .chips button:has-text('garden')")
    # At once: filling a field selects what is in it first, and the example may come between the two.
    page.eval_on_selector(
        ".muse-prompt textarea",
        "(field, words) => { field.value = words; field.dispatchEvent(new Event('input')); }",
        "The harbour lay still, and nobody came.",
    )
    visitor.continue_(amount="100")
    assert page.inner_text(".muse-words").startswith("The harbour lay still, and nobody came.")


def test_a_recording_is_continued(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    page.context.grant_permissions(["microphone"])
    visitor.choose("audio", "speech")
    page.click("button:has-text('Record')")
    page.wait_for_function("document.querySelector('.muse-prompt').textContent.includes('0:02')")
    page.click("button:has-text('Stop recording')")
    visitor.wait_for_status("recording.wav: 0:02")
    visitor.continue_(amount="1")


def test_without_a_microphone_it_says_so(visit: Visit) -> None:
    visitor = visit()
    visitor.choose("audio", "speech")
    visitor.page.evaluate("() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('no')); }")
    visitor.page.click("button:has-text('Record')")
    assert "microphone" in visitor.problem()


def test_a_midi_keyboard_is_listened_to(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    page.evaluate(
        "() => { window.keyboard = { name: 'Keys 49' }; navigator.requestMIDIAccess = () =>"
        " Promise.resolve({ inputs: new Map([['1', window.keyboard]]) }); }"
    )
    page.click(".muse-prompt summary")
    page.click("button:has-text('MIDI keyboard')")
    page.wait_for_function("document.querySelector('.muse-prompt').textContent.includes('Connected: Keys 49.')")
    for pitch in (60, 64):
        page.evaluate("(pitch) => window.keyboard.onmidimessage({ data: [0x91, pitch, 100] })", pitch)
        page.wait_for_timeout(150)
        # A note that is begun with velocity 0 ends.
        page.evaluate("(pitch) => window.keyboard.onmidimessage({ data: [pitch < 62 ? 0x81 : 0x91, pitch, 0] })", pitch)
    page.click("button:has-text('Use these notes')")
    visitor.wait_for_status("played")
    visitor.continue_(amount="2")
