"""muse-bench web: time to the first note, first sound and attention map; frame rate; twenty concurrent visitors."""

from __future__ import annotations

import json
import math
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muse_web.client import PageClient, browsing, serving

if TYPE_CHECKING:
    from muse_shortcut.commands.bench import BenchOptions

__all__ = ["bench_web"]

_VISITORS = 20
_SECONDS = 5
"""Length of the music that each visitor requests."""
_LONG = 4096
"""Steps of the piece whose notes are clicked and which is played."""
_SEED = "#muse-seed textarea, #muse-seed input"
_CLICKS = 20
_PLAYED = 5.0
"""Seconds of playback during which frames are counted."""
_STATUS = "document.querySelector('.status')"
_DONE = f"/^(Done|Stopped)/.test({_STATUS}.textContent)"
_COUNT_FRAMES = """(milliseconds) => new Promise((resolve) => {
  const gaps = [];
  let before = performance.now();
  const end = before + milliseconds;
  const frame = (now) => {
    gaps.push(now - before);
    before = now;
    if (now < end) requestAnimationFrame(frame);
    else resolve(gaps.slice(1));
  };
  requestAnimationFrame(frame);
})"""
"""Returns the milliseconds between successive frames during the given time."""


def bench_web(options: BenchOptions, device: Any) -> dict[str, Any]:
    """Measure the page in a browser, and as a server for twenty visitors.

    Args:
        options: Options of muse-bench; `rounds` is used.
        device: Device on which the page computes.

    Raises:
        ArgumentsError: No browser is installed.
    """
    with tempfile.TemporaryDirectory(prefix="muse-bench-", ignore_cleanup_errors=True) as folder:
        with browsing() as browser, serving(Path(folder), "--device", device.type) as served:
            found = _in_browser(browser, served.url, options.rounds)
        second = Path(folder) / "visitors"
        second.mkdir()
        with serving(second, "--device", device.type) as served:
            return found | _many(served.url)


def _in_browser(browser: Any, url: str, rounds: int) -> dict[str, Any]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    started = time.perf_counter()
    page.goto(url)
    page.wait_for_function(f"{_STATUS}?.textContent.includes('Choose how much')", timeout=60_000)
    opened = time.perf_counter() - started
    notes, sounds = [], []
    for number in range(rounds + 1):
        page.evaluate(f"performance.clearMarks(); {_STATUS}.textContent = ''")
        page.click("#muse-go")
        page.wait_for_function("performance.getEntriesByName('muse:first-sound').length", timeout=60_000)
        page.wait_for_function(_DONE, timeout=60_000)
        marks = _marks(page)
        if number:
            notes.append(marks["muse:first-note"] - marks["muse:go"])
            sounds.append(marks["muse:first-sound"] - marks["muse:go"])
        page.click("button:has-text('Pause')")
    steps = _long_piece(page)
    return {
        "page_opened_seconds": round(opened, 2),
        **_spread("first_note_milliseconds", notes),
        **_spread("first_sound_milliseconds", sounds),
        "long_piece_steps": steps,
        **_spread("click_to_map_milliseconds", _clicks(page)),
        **_frames(page),
    }


def _long_piece(page: Any) -> int:
    """Generate a long piece, stop it after `_LONG` steps, and return its number of steps."""
    for control, value in (("#muse-amount input[type=number]", "300"), (_SEED, "1")):
        page.fill(control, value)
        page.press(control, "Tab")
    page.uncheck(".bar-row input[type=checkbox]")
    page.evaluate(f"{_STATUS}.textContent = ''")
    page.click("#muse-go")
    steps = f"Number({_STATUS}.textContent.match(/(\\d+) steps/)?.[1] ?? 0)"
    page.wait_for_function(f"{steps} >= {_LONG} || {_DONE}", timeout=300_000)
    page.evaluate("window.muse.stop()")
    page.wait_for_function(_DONE, timeout=60_000)
    return int(page.evaluate(steps))


def _clicks(page: Any) -> list[float]:
    """Return the milliseconds from selecting a note to its attention map, for the last notes (the longest context)."""
    taken = []
    page.focus(".muse-roll")
    for _ in range(_CLICKS):
        page.evaluate("performance.clearMarks()")
        # A note selected with the arrow keys is drawn like one that was clicked, and a key press cannot miss it.
        page.evaluate(
            "() => { performance.mark('muse:click'); document.querySelector('.muse-roll')"
            ".dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft' })); }"
        )
        page.wait_for_function("performance.getEntriesByName('muse:map').length", timeout=30_000)
        marks = _marks(page)
        taken.append(marks["muse:map"] - marks["muse:click"])
    return taken


def _marks(page: Any) -> dict[str, float]:
    """Return the times in milliseconds of the performance marks that the page's scripts set."""
    found: dict[str, float] = page.evaluate(
        "Object.fromEntries(performance.getEntriesByType('mark').map((mark) => [mark.name, mark.startTime]))"
    )
    return found


def _frames(page: Any) -> dict[str, Any]:
    """Measure the frame rate during playback, with the whole piece visible and its map following the playhead."""
    page.click("button:has-text('Show all')")
    page.click(".bar-row button:has-text('Play')")
    page.wait_for_timeout(1500)
    gaps = page.evaluate(_COUNT_FRAMES, 1000 * _PLAYED)
    page.click("button:has-text('Pause')")
    return {
        "frames_per_second": round(1000 * len(gaps) / sum(gaps), 1),
        "frame_p95_milliseconds": round(_percentile(gaps, 0.95), 1),
    }


def _many(url: str) -> dict[str, Any]:
    """Serve twenty visitors at once; check that each gets the piece requested and that a stop reaches its owner."""
    waits, totals, wrong = [0.0] * _VISITORS, [0.0] * _VISITORS, []
    ready = threading.Barrier(_VISITORS)

    def visit(number: int) -> None:
        caller = PageClient(url)
        source = caller.open({"domain": "midi", "example": ("saints", "greensleeves")[number % 2]})
        ready.wait()
        payload = {"domain": "midi", "source": source["source"], "amount": _SECONDS, "seed": 1000 + number}

        def on_message(kind: str, seconds: float, part: dict[str, Any] | None) -> None:
            if kind == "process_starts":
                waits[number] = seconds
            totals[number] = seconds

        parts = caller.generate(payload, on_message)
        done = parts[-1] if parts else {}
        sidecar = caller.call("export", {"run": parts[0].get("run"), "candidate": 0, "kind": "json"}) if parts else {}
        content = json.loads(caller.fetch(sidecar["path"])) if "path" in sidecar else {}
        own = content.get("seed") == 1000 + number and content.get("source") == source["name"].removesuffix(".mid")
        if done.get("type") != "done" or not own:
            wrong.append(number)

    _together(visit)
    return {
        "visitors": _VISITORS,
        "visitors_served": _VISITORS - len(wrong),
        "wait_p50_seconds": round(statistics.median(waits), 2),
        "wait_p95_seconds": round(_percentile(waits, 0.95), 2),
        "served_p95_seconds": round(_percentile(totals, 0.95), 2),
        "stop_milliseconds": round(1000 * _stop(url), 1),
    }


def _together(work: Any) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(_VISITORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _stop(url: str) -> float:
    """Return the seconds from a stop request to the last event of its owner, while nineteen others wait."""
    owner, others = PageClient(url), [PageClient(url) for _ in range(_VISITORS - 1)]
    started, stopped = threading.Event(), [0.0, 0.0]

    def write() -> None:
        def on_message(kind: str, _: float, part: dict[str, Any] | None) -> None:
            if part is not None and part["type"] == "progress":
                started.set()
            if part is not None and part["type"] == "done":
                stopped[1] = time.perf_counter()

        owner.generate({"domain": "midi", "amount": 200}, on_message)

    threads = [threading.Thread(target=write)]
    threads[0].start()
    started.wait(timeout=60)
    for other in others:
        threads.append(threading.Thread(target=other.generate, args=({"domain": "midi", "amount": 1},)))
        threads[-1].start()
    time.sleep(1.0)
    stopped[0] = time.perf_counter()
    owner.call("stop", {})
    for thread in threads:
        thread.join()
    return stopped[1] - stopped[0]


def _spread(name: str, values: list[float]) -> dict[str, Any]:
    return {name: round(statistics.median(values), 1), f"{name}_range": [round(min(values), 1), round(max(values), 1)]}


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]
