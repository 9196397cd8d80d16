"""The page: gradio's frame and controls around our own drawing, and how the two speak.

What a visitor sets are gradio's components. What they see and hear is drawn by the modules in `static/`, which call the
named functions of `muse_web.endpoints`. Buttons hand the values of the controls to `window.muse`.
"""

from __future__ import annotations

import html
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import gradio as gr

from muse_shortcut.config import SamplingConfig
from muse_shortcut.errors import MuseError
from muse_shortcut.shipped import prompt_names
from muse_shortcut.version import __version__
from muse_tokenizers.audio.decoding import kinds_of_sound
from muse_tokenizers.loading import domain_class
from muse_tokenizers.midi.labels import drum_name, program_name
from muse_web.checkpoint_registry import DOMAINS
from muse_web.endpoints import LABELS, Api
from muse_web.exports import KINDS
from muse_web.views import palette_view

__all__ = ["STATIC", "make_page", "make_theme"]

STATIC = Path(__file__).parent / "static"
"""Scripts and styles, served as they are."""

_TITLES = {"midi": "Music", "audio": "Sound", "text": "Text"}
_READS = {"midi": "MIDI file (.mid, .kar, .rmi)", "text": "text (.txt, .md)"}
"""What can be dropped, after "a"; of sound it depends on what is installed."""
_AMOUNTS = {"midi": (20, "seconds"), "audio": (5, "seconds"), "text": (800, "bytes")}
"""Of new piece, where nobody says otherwise."""
_TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


def make_theme() -> gr.themes.Base:
    """One calm design; fonts of the machine, since a page without a network gets no others."""
    sans = ["system-ui", "Segoe UI", "Helvetica Neue", "Arial", "sans-serif"]
    return gr.themes.Base(
        primary_hue=gr.themes.colors.slate,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_sm,
        spacing_size=gr.themes.sizes.spacing_sm,
        font=sans,
        font_mono=["ui-monospace", "DejaVu Sans Mono", "monospace"],
    ).set(
        # The theme's own can hardly be read.
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
    )


def make_page(desk: Api) -> Any:
    """The whole page and its named functions, a `gr.Blocks`."""
    with gr.Blocks(title="muse-shortcut", fill_width=True, analytics_enabled=False) as page:
        gr.HTML(
            f"<header class='muse-header'><h1>muse-shortcut</h1><p>Continues music, sound and text, and shows "
            f"what every new step attended to.</p><span>{html.escape(__version__)}</span></header>",
            padding=False,
        )
        with gr.Row(elem_id="muse-columns"):
            with gr.Column(scale=0, min_width=300, elem_id="muse-controls"):
                controls = _Controls(desk)
            with gr.Column(scale=1, min_width=340, elem_id="muse-main"):
                gr.HTML(
                    "<div id='muse-stage'></div>",
                    js_on_load=_start(_configuration(desk)),
                    padding=False,
                    apply_default_css=False,
                )
        controls.connect()
        desk.register()
        page.unload(desk.lose)
    page.queue(max_size=200, api_open=False)
    return page


def _start(configuration: dict[str, Any]) -> str:
    """The script that begins ours, relative to wherever the page is."""
    return (
        "import(new URL('muse-static/main.js', document.baseURI).href)"
        f".then((main) => main.start({json.dumps(configuration)}));"
    )


def _configuration(desk: Api) -> dict[str, Any]:
    limits = desk.limits
    return {
        "domains": {
            domain: {
                "title": _TITLES[domain],
                "unit": _AMOUNTS[domain][1],
                "view": domain_class(domain).view,
                "examples": prompt_names(domain),
                "reads": _READS.get(domain) or kinds_of_sound(),
                "suffixes": sorted(domain_class(domain).suffixes),
                "kinds": list(KINDS[domain]),
                "longest": limits.piece[domain],
            }
            for domain in DOMAINS
        },
        "uploadBytes": limits.upload_bytes,
        "colours": palette_view(3),
        "drums": [drum_name(pitch) for pitch in range(128)],
    }


class _Controls:
    """The controls beside the stage, and what happens when one is changed."""

    def __init__(self, desk: Api) -> None:
        self._desk = desk
        usual = desk.registry.take("midi").sampling
        self.domain = gr.Radio(
            [(title, domain) for domain, title in _TITLES.items()], value="midi", label="What to continue",
            elem_id="muse-domain",
        )  # fmt: skip
        gr.HTML("<div id='muse-prompt'></div>", padding=False, apply_default_css=False)
        most = desk.limits.new["midi"]
        self.amount = gr.Slider(
            1, most, value=20, step=1, label=LABELS["seconds"], info="Seconds of new music.", elem_id="muse-amount"
        )
        self.temperature = gr.Slider(
            0.1, 2.0, value=usual.temperature, step=0.01, label=LABELS["temperature"],
            info="Lower: more predictable. Higher: more varied.", elem_id="muse-temperature",
        )  # fmt: skip
        # A text, since a number of gradio's is never empty.
        self.seed = gr.Textbox(
            "", label=LABELS["seed"], info="The same seed and settings give the same piece.",
            placeholder="random", max_lines=1, elem_id="muse-seed",
        )  # fmt: skip
        with gr.Row(elem_id="muse-seed-row"):
            self.dice = gr.Button("Random seed", size="sm", min_width=56, elem_id="muse-dice")
            self.last = gr.Button("Last seed", size="sm", min_width=90, elem_id="muse-last")
        self.candidates = gr.Slider(
            1, desk.limits.candidates, value=1, step=1, label=LABELS["num_samples"],
            info="Generated side by side; keep the best.", elem_id="muse-candidates",
        )  # fmt: skip
        with gr.Row(elem_id="muse-go-row"):
            self.go = gr.Button("Continue", variant="primary", min_width=120, elem_id="muse-go")
            self.stop = gr.Button("Stop", min_width=80, elem_id="muse-stop")
        with gr.Accordion("More options", open=False, elem_id="muse-more"):
            self._more(usual)

    def _more(self, usual: SamplingConfig) -> None:
        self.checkpoint = gr.Dropdown(
            self._desk.registry.names("midi"), value=self._desk.registry.names("midi")[0], label="Checkpoint",
            info="The model that generates.", elem_id="muse-checkpoint",
        )  # fmt: skip
        self.top_p = gr.Slider(
            0.05, 1.0, value=usual.top_p, step=0.01, label=LABELS["top_p"],
            info="Samples from the most likely tokens up to this total probability. 1: off.", elem_id="muse-top-p",
        )  # fmt: skip
        self.min_p = gr.Slider(
            0.0, 0.5, value=usual.min_p, step=0.01, label=LABELS["min_p"],
            info="Leaves out tokens below this fraction of the highest probability. 0: off.", elem_id="muse-min-p",
        )  # fmt: skip
        self.top_k = gr.Number(
            usual.top_k, label=LABELS["top_k"], info="Samples from the k most likely tokens. 0: off.", precision=0,
            minimum=0, elem_id="muse-top-k",
        )  # fmt: skip
        self.penalty = gr.Slider(
            1.0, 2.0, value=usual.repetition_penalty, step=0.01, label=LABELS["repetition_penalty"],
            info="Above 1, tokens that were generated before become less likely.", elem_id="muse-penalty",
        )  # fmt: skip
        self.ngram = gr.Number(
            usual.no_repeat_ngram, label=LABELS["no_repeat_ngram"],
            info="Never generates the same n steps twice. 0: off.", precision=0, minimum=0, elem_id="muse-ngram",
        )  # fmt: skip
        self.instruments = gr.Dropdown(
            ["any", *(program_name(program) for program in range(-1, 128))], value=[], multiselect=True,
            allow_custom_value=True, label=LABELS["instruments"],
            info="The only ones allowed; families too, such as strings. Empty: those of the prompt.",
            elem_id="muse-instruments",
        )  # fmt: skip
        self.key = gr.Dropdown(
            [("any", ""), *(f"{tonic} {mode}" for tonic in _TONICS for mode in ("major", "minor"))], value="",
            allow_custom_value=True, label=LABELS["key"],
            info="The only pitches allowed: a key, or pitch classes such as 0,4,7.", elem_id="muse-key",
        )  # fmt: skip
        self.tempo = gr.Textbox(
            "", label=LABELS["tempo"], info="Beats per minute; free: any.", placeholder="that of the prompt",
            max_lines=1, elem_id="muse-tempo",
        )  # fmt: skip

    @property
    def _asked(self) -> dict[str, gr.components.Component]:
        """What a request has, by its name."""
        return {
            "domain": self.domain, "checkpoint": self.checkpoint, "amount": self.amount,
            "temperature": self.temperature, "seed": self.seed, "candidates": self.candidates, "top_p": self.top_p,
            "min_p": self.min_p, "top_k": self.top_k, "repetition_penalty": self.penalty,
            "no_repeat_ngram": self.ngram, "instruments": self.instruments, "key": self.key, "tempo": self.tempo,
        }  # fmt: skip

    def connect(self) -> None:
        """Connect the controls to the scripts of the page."""
        asked = self._asked
        names = json.dumps(list(asked))
        private: Any = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
        self.go.click(
            None, list(asked.values()),
            js=f"(...values) => {{ window.muse.go(Object.fromEntries({names}.map((name, i) => [name, values[i]]))); }}",
            **private,
        )  # fmt: skip
        self.stop.click(None, js="() => { window.muse.stop(); }", **private)
        self.dice.click(None, None, self.seed, js="() => String(Math.floor(Math.random() * 2147483648))", **private)
        self.last.click(None, None, self.seed, js="() => window.muse.lastSeed()", **private)
        self.domain.change(
            self._for_domain, self.domain,
            [self.checkpoint, self.amount, *self._constraints().values(), *self._sampling()],
            js="(domain) => { window.muse.choose(domain); return domain; }", **private,
        )  # fmt: skip
        self.checkpoint.input(
            self._for_checkpoint, [self.domain, self.checkpoint], self._sampling(), **(private | {"queue": True})
        )

    def _constraints(self) -> dict[str, gr.components.Component]:
        """What not every domain can be asked for, by the names of the constraints."""
        return {"instruments": self.instruments, "key": self.key, "tempo": self.tempo}

    def _sampling(self) -> list[gr.components.Component]:
        """What a checkpoint says of how it is best sampled."""
        return [self.temperature, self.top_p, self.min_p, self.top_k, self.penalty, self.ngram]

    def _for_domain(self, domain: str) -> list[Any]:
        names = self._desk.registry.names(domain)
        usual, unit = _AMOUNTS[domain]
        info = {"midi": "Seconds of new music.", "audio": "Seconds of new sound.", "text": "Bytes of new text."}
        constraints = {field.name for field in fields(domain_class(domain).constraints_type)}
        step, least = (50, 50) if unit == "bytes" else (1, 1)
        return [
            gr.update(choices=names, value=names[0]),
            gr.update(minimum=least, maximum=self._desk.limits.new[domain], value=usual, step=step, info=info[domain]),
            *(gr.update(visible=name in constraints) for name in self._constraints()),
            *self._for_checkpoint(domain, names[0]),
        ]

    def _for_checkpoint(self, domain: str, name: str) -> list[Any]:
        try:
            usual = self._desk.registry.take(domain, name).sampling
        except MuseError as error:
            gr.Warning(str(error))
            return [gr.skip() for _ in self._sampling()]
        return [
            usual.temperature, usual.top_p, usual.min_p, usual.top_k, usual.repetition_penalty, usual.no_repeat_ngram,
        ]  # fmt: skip
