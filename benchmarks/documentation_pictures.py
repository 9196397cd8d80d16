"""Regenerates the pictures of README.md and docs/ from the shipped models and the page.

    python benchmarks/documentation_pictures.py            # all of them, into docs/
    python benchmarks/documentation_pictures.py --only page.png --out output

Pictures of the page need playwright and Chromium.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

import muse_shortcut as muse
from muse_shortcut.files import write_bytes
from muse_web.client import browsing, serving

_DONE = "/^(Done|Stopped)/.test(document.querySelector('.status').textContent)"
_TEXT = "It was a dark and stormy night; the rain fell"


def _continuation(path: Path) -> None:
    """Draw the arcs of a note, and the depth shares of all."""
    [best] = muse.load("midi").continue_("bach-prelude", prompt_seconds=20, seconds=14, seed=3)
    best.plot(path, step=149, title="bach-prelude")


def _text(path: Path) -> None:
    """Draw a text of several lines."""
    [best] = muse.load("text").continue_(_TEXT, bytes=500, seed=7)
    best.plot(path, title="a dark and stormy night")


def _page(path: Path) -> None:
    """Capture the page with three candidates of music and one note explained, split by depth."""
    with tempfile.TemporaryDirectory() as folder, browsing() as browser, serving(Path(folder)) as served:
        page = browser.new_page(viewport={"width": 1280, "height": 980}, color_scheme="light")
        page.goto(served.url)
        _wait(page, "Choose how much")
        _continue(page, amount="14", seed="3", candidates="3")
        page.check(".view-row input[type=checkbox]")
        _choose_note(page, 34.2)
        ablate = page.locator(".muse-why button:has-text('Ablate')")
        for _ in range(5):
            left = ablate.count()
            ablate.first.click()
            page.wait_for_function(
                "(left) => [...document.querySelectorAll('.muse-why button')]"
                ".filter((one) => one.textContent === 'Ablate').length < left",
                arg=left,
            )
        _shoot(page, path)


def _page_text(path: Path) -> None:
    """Capture the page in dark mode with a text and one token explained."""
    with tempfile.TemporaryDirectory() as folder, browsing() as browser, serving(Path(folder)) as served:
        page = browser.new_page(viewport={"width": 1280, "height": 860}, color_scheme="dark")
        page.goto(served.url)
        _wait(page, "Choose how much")
        page.click("#muse-domain label:has-text('Text')")
        page.click(".muse-prompt .chips button:has-text('garden')")
        _wait(page, "garden")
        _continue(page, amount="800", seed="5")
        page.locator(".muse-words .token[data-step]", has_text="body").first.click()
        page.wait_for_selector(".muse-why .bars")
        _shoot(page, path)


def _continue(page: Any, **settings: str) -> None:
    for control, value in settings.items():
        number = page.locator(f"#muse-{control} input[type=number]")
        field = number if number.count() else page.locator(f"#muse-{control} input, #muse-{control} textarea").first
        field.fill(value)
        field.press("Tab")
    if page.is_visible(".bar-row input[type=checkbox]"):
        page.uncheck(".bar-row input[type=checkbox]")
    page.evaluate("document.querySelector('.status').textContent = ''")
    page.click("#muse-go")
    page.wait_for_function(_DONE, timeout=120_000)


def _choose_note(page: Any, seconds: float) -> None:
    """Select the first note from `seconds` on with the arrow key."""
    page.focus(".muse-roll")
    shown = ""
    for _ in range(400):
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "(shown) => ![shown, undefined].includes(document.querySelector('.muse-why h3')?.textContent)", arg=shown
        )
        shown = page.inner_text(".muse-why h3")
        minutes, rest = shown.rpartition(", ")[2].split(":")
        if 60 * float(minutes) + float(rest) >= seconds:
            return


def _wait(page: Any, words: str) -> None:
    page.wait_for_function(
        "(words) => document.querySelector('.status')?.textContent.includes(words)", arg=words, timeout=60_000
    )


def _shoot(page: Any, path: Path) -> None:
    page.mouse.move(5, 5)
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(300)
    path.write_bytes(page.screenshot())


_PICTURES: dict[str, Callable[[Path], None]] = {
    "continuation.png": _continuation,
    "text.png": _text,
    "page.png": _page,
    "page-text.png": _page_text,
}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--only", choices=list(_PICTURES), action="append", help="make these alone")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only or _PICTURES:
            drawn = Path(folder) / name
            _PICTURES[name](drawn)
            buffer = io.BytesIO()
            Image.open(drawn).convert("RGB").save(buffer, "PNG", optimize=True)
            write_bytes(arguments.out / name, buffer.getvalue())
            print(f"{arguments.out / name}: {len(buffer.getvalue()) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
