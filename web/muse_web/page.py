"""The layout of the page: Gradio controls around a stage that our own scripts draw.

The controls are Gradio components. The modules in `static/` draw and play the piece, and call the endpoints of
`muse_web.endpoints`. Buttons pass the values of the controls to `window.muse`.
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
from muse_tokenizers.built_in import STYLES
from muse_tokenizers.loading import domain_class
from muse_tokenizers.midi.labels import drum_name, program_name
from muse_web.endpoints import LABELS, Api, title_of
from muse_web.exports import kinds_of_files
from muse_web.session import lengths_of
from muse_web.views import palette_view

__all__ = ["STATIC", "make_page", "make_theme", "page_configuration"]

STATIC = Path(__file__).parent / "static"
"""Scripts and styles, served without a build step."""

_FIRST = "midi"
"""The domain that is chosen when the page opens."""
_TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


def make_theme() -> gr.themes.Base:
    """Return the theme. It uses system fonts, since the page must work without a network."""
    sans = ["system-ui", "Segoe UI", "Helvetica Neue", "Arial", "sans-serif"]
    return gr.themes.Base(
        primary_hue=gr.themes.colors.slate,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_sm,
        spacing_size=gr.themes.sizes.spacing_sm,
        font=sans,
        font_mono=["ui-monospace", "DejaVu Sans Mono", "monospace"],
    ).set(
        # The default colours have too little contrast.
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
    )


def make_page(api: Api) -> Any:
    """Return the page and its endpoints as a `gr.Blocks`."""
    with gr.Blocks(title="muse-shortcut", fill_width=True, analytics_enabled=False) as page:
        gr.HTML(
            f"<header class='muse-header'><h1>muse-shortcut</h1><p>Continues music, sound and text, and shows "
            f"what every new step attended to.</p><span>{html.escape(__version__)}</span></header>",
            padding=False,
        )
        with gr.Row(elem_id="muse-columns"):
            with gr.Column(scale=0, min_width=300, elem_id="muse-controls"):
                controls = _Controls(api)
            with gr.Column(scale=1, min_width=340, elem_id="muse-main"):
                gr.HTML(
                    "<div id='muse-stage'></div>",
                    js_on_load=_start(page_configuration(api)),
                    padding=False,
                    apply_default_css=False,
                )
        controls.connect()
        api.register()
        page.unload(api.disconnect)
    page.queue(max_size=200, api_open=False)
    return page


def _start(configuration: dict[str, Any]) -> str:
    """Return the script that imports `main.js`, relative to the address of the page."""
    return (
        "import(new URL('muse-static/main.js', document.baseURI).href)"
        f".then((main) => main.start({json.dumps(configuration)}));"
    )


def page_configuration(api: Api) -> dict[str, Any]:
    """Return what the scripts of the page need to know."""
    limits = api.limits
    return {
        "domains": {
            kind: {
                "title": title_of(kind),
                "unit": domain.unit,
                "view": domain.view,
                "examples": prompt_names(kind),
                "reads": domain.info.opened,
                "suffixes": sorted(domain.info.suffixes),
                "kinds": list(kinds_of_files(domain.info)),
                "longest": limits.longest_prompt(kind),
            }
            for kind, domain in ((kind, domain_class(kind)) for kind in api.registry.domains)
        },
        "uploadBytes": limits.upload_bytes,
        "colours": palette_view(3),
        "drums": [drum_name(pitch) for pitch in range(128)],
    }


def _amount_info(domain: str) -> str:
    found = domain_class(domain)
    unit = found.unit if found.constraints_type.length_field else "steps"
    return f"{unit.capitalize()} of new {found.info.noun}."


class _Controls:
    """The controls beside the stage, and their event handlers."""

    def __init__(self, api: Api) -> None:
        self._api = api
        default, lengths = api.registry.get(_FIRST).sampling, lengths_of(_FIRST)
        self.domain = gr.Radio(
            [(title_of(domain), domain) for domain in api.registry.domains], value=_FIRST, label="What to continue",
            elem_id="muse-domain",
        )  # fmt: skip
        gr.HTML("<div id='muse-prompt'></div>", padding=False, apply_default_css=False)
        self.amount = gr.Slider(
            1, lengths.longest, value=lengths.default, step=1, label=LABELS["seconds"], info=_amount_info(_FIRST),
            elem_id="muse-amount",
        )  # fmt: skip
        self.temperature = gr.Slider(
            0.1, 2.0, value=default.temperature, step=0.01, label=LABELS["temperature"],
            info="Lower: more predictable. Higher: more varied.", elem_id="muse-temperature",
        )  # fmt: skip
        # A text box, since a gr.Number cannot be empty.
        self.seed = gr.Textbox(
            "", label=LABELS["seed"], info="The same seed and settings give the same piece.",
            placeholder="random", max_lines=1, elem_id="muse-seed",
        )  # fmt: skip
        with gr.Row(elem_id="muse-seed-row"):
            self.dice = gr.Button("Random seed", size="sm", min_width=56, elem_id="muse-dice")
            self.last = gr.Button("Last seed", size="sm", min_width=90, elem_id="muse-last")
        self.candidates = gr.Slider(
            1, api.limits.candidates, value=1, step=1, label=LABELS["num_samples"],
            info="Generated side by side; keep the best.", elem_id="muse-candidates",
        )  # fmt: skip
        with gr.Row(elem_id="muse-go-row"):
            self.go = gr.Button("Continue", variant="primary", min_width=120, elem_id="muse-go")
            self.stop = gr.Button("Stop", min_width=80, elem_id="muse-stop")
        with gr.Accordion("More options", open=False, elem_id="muse-more"):
            self._more(default)

    def _more(self, default: SamplingConfig) -> None:
        self.checkpoint = gr.Dropdown(
            self._api.registry.names(_FIRST), value=self._api.registry.names(_FIRST)[0], label="Checkpoint",
            info="The model that generates.", elem_id="muse-checkpoint",
        )  # fmt: skip
        self.top_p = gr.Slider(
            0.05, 1.0, value=default.top_p, step=0.01, label=LABELS["top_p"],
            info="Samples from the most likely tokens up to this total probability. 1: off.", elem_id="muse-top-p",
        )  # fmt: skip
        self.min_p = gr.Slider(
            0.0, 0.5, value=default.min_p, step=0.01, label=LABELS["min_p"],
            info="Leaves out tokens below this fraction of the highest probability. 0: off.", elem_id="muse-min-p",
        )  # fmt: skip
        self.top_k = gr.Number(
            default.top_k, label=LABELS["top_k"], info="Samples from the k most likely tokens. 0: off.", precision=0,
            minimum=0, elem_id="muse-top-k",
        )  # fmt: skip
        self.penalty = gr.Slider(
            1.0, 2.0, value=default.repetition_penalty, step=0.01, label=LABELS["repetition_penalty"],
            info="Above 1, tokens that were generated before become less likely.", elem_id="muse-penalty",
        )  # fmt: skip
        self.ngram = gr.Number(
            default.no_repeat_ngram, label=LABELS["no_repeat_ngram"],
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

        self.style = gr.Dropdown(
            [("any", ""), *STYLES[1:]], value="", label=LABELS["style"], info="The kind of music that is asked for.",
            elem_id="muse-style",
        )  # fmt: skip

    @property
    def _request_fields(self) -> dict[str, gr.components.Component]:
        """The components of a request, by field name."""
        return {
            "domain": self.domain, "checkpoint": self.checkpoint, "amount": self.amount,
            "temperature": self.temperature, "seed": self.seed, "candidates": self.candidates, "top_p": self.top_p,
            "min_p": self.min_p, "top_k": self.top_k, "repetition_penalty": self.penalty,
            "no_repeat_ngram": self.ngram, "instruments": self.instruments, "key": self.key, "tempo": self.tempo,
            "style": self.style,
        }  # fmt: skip

    def connect(self) -> None:
        """Connect the controls to the scripts of the page."""
        inputs = self._request_fields
        names = json.dumps(list(inputs))
        private: Any = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
        self.go.click(
            None, list(inputs.values()),
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
        """The components of constraints that not every domain has, by constraint name."""
        return {"instruments": self.instruments, "key": self.key, "tempo": self.tempo, "style": self.style}

    def _sampling(self) -> list[gr.components.Component]:
        """The components whose defaults come from the sampling configuration of a checkpoint."""
        return [self.temperature, self.top_p, self.min_p, self.top_k, self.penalty, self.ngram]

    def _for_domain(self, domain: str) -> list[Any]:
        names = self._api.registry.names(domain)
        lengths, least = lengths_of(domain), 50 if domain_class(domain).unit == "bytes" else 1
        constraints = {field.name for field in fields(domain_class(domain).constraints_type)}
        return [
            gr.update(choices=names, value=names[0]),
            gr.update(
                minimum=least, maximum=lengths.longest, value=lengths.default, step=least, info=_amount_info(domain)
            ),
            *(gr.update(visible=name in constraints) for name in self._constraints()),
            *self._for_checkpoint(domain, names[0]),
        ]

    def _for_checkpoint(self, domain: str, name: str) -> list[Any]:
        try:
            default = self._api.registry.get(domain, name).sampling
        except MuseError as error:
            gr.Warning(str(error))
            return [gr.skip() for _ in self._sampling()]
        return [
            default.temperature, default.top_p, default.min_p, default.top_k, default.repetition_penalty,
            default.no_repeat_ngram,
        ]  # fmt: skip
