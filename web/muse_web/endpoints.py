"""The endpoints that the page and other clients call, as Gradio functions.

Each is a thin layer. Those of the page take and return JSON, and report errors as `{"problem": "one line"}`. Those for
`gradio_client` take arguments, return files, and raise.
"""

# Without `from __future__ import annotations`: Gradio reads the annotations of these functions.
import re
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import api

from muse_shortcut.errors import ArgumentsError, MuseError
from muse_tokenizers.loading import domain_class
from muse_web.checkpoint_registry import CheckpointRegistry
from muse_web.exports import export_file
from muse_web.generation_requests import new_run, new_source
from muse_web.inspection import ablate, inspect_step, matrix, rows, sound
from muse_web.session import Limits, Run, Source, Visitor, Visitors
from muse_web.streaming import generate
from muse_web.uploads import Uploads
from muse_web.views import piece_view

__all__ = ["LABELS", "Api", "title_of"]

Json = dict[str, Any]

LABELS = {
    "seconds": "Length", "bytes": "Length", "temperature": "Temperature", "seed": "Seed", "num_samples": "Candidates",
    "top_p": "Top-p", "min_p": "Min-p", "top_k": "Top-k", "repetition_penalty": "Repetition penalty",
    "no_repeat_ngram": "No-repeat n-gram", "instruments": "Instruments", "key": "Key", "tempo": "Tempo",
    "style": "Style",
}  # fmt: skip
"""Labels of the options on the page, by their names in Python."""
_CHOICE = re.compile(r"choose (\w+) for it")
_PARAMETERS = {"num_samples": "candidates", "bytes": "length"}
"""Options that have another name in `/continue_*` than in Python."""
_WARNINGS = 8
"""Largest number of warnings shown for one file."""


class Api:
    """The endpoints, with the state that they share."""

    def __init__(
        self, registry: CheckpointRegistry, folder: Path, uploads: Uploads, limits: Limits, at_once: int
    ) -> None:
        """
        Args:
            registry: Checkpoints that visitors may use.
            folder: Parent of the visitors' folders.
            uploads: Files that visitors have uploaded.
            limits: Limits per visitor and for all visitors together.
            at_once: Number of concurrent generations; others wait in the queue.
        """
        self.registry, self.limits, self.at_once = registry, limits, at_once
        self.visitors = Visitors(folder, limits)
        self.uploads = uploads

    def register(self) -> None:
        """Register the endpoints; call this inside a `gr.Blocks`."""
        for name, function in self._unqueued().items():
            api(function, api_name=name, queue=False, api_visibility="undocumented")
        api(self.leave, api_name="leave", queue=False, api_visibility="undocumented")
        # Prompts may be large, so at most two are read at the same time.
        reading: Json = {"concurrency_limit": 2, "concurrency_id": "reading"}
        api(self._reporting_problems(self._open), api_name="open", api_visibility="undocumented", **reading)
        queued: Json = {"concurrency_limit": self.at_once, "concurrency_id": "generation"}
        api(self._streaming_problems(self._generate), api_name="generate", api_visibility="undocumented", **queued)
        api(self.continue_midi, api_name="continue_midi", **queued)
        api(self.continue_audio, api_name="continue_audio", **queued)
        api(self.continue_text, api_name="continue_text", **queued)

    # Endpoints of the page

    def _unqueued(self) -> dict[str, Callable[..., Json]]:
        served = {
            "ping": lambda visitor, payload: {},
            "stop": self._stop,
            "inspect": self._inspect,
            "rows": self._rows,
            "ablate": self._ablate,
            "matrix": self._matrix,
            "sound": self._sound,
            "export": self._export,
        }
        return {name: self._reporting_problems(serve) for name, serve in served.items()}

    def _reporting_problems(self, serve: Callable[[Visitor, Json], Json]) -> Callable[[Json, gr.Request], Json]:
        def served(payload: Json, request: gr.Request) -> Json:
            try:
                return serve(self.visitors.get(request.session_hash), _object(payload))
            except MuseError as error:
                return _problem(error)

        return served

    def _streaming_problems(self, serve: Callable[[Visitor, Json], Iterator[Json]]) -> Callable[..., Iterator[Json]]:
        def served(payload: Json, request: gr.Request) -> Iterator[Json]:
            try:
                yield from serve(self.visitors.get(request.session_hash), _object(payload))
            except MuseError as error:
                yield _problem(error)

        return served

    def _open(self, visitor: Visitor, payload: Json) -> Json:
        warnings: list[str] = []
        source = new_source(visitor, self.registry, self.limits, payload, self.uploads, warnings.append)
        domain = source.checkpoint.domain
        return {
            "source": source.id,
            "domain": source.domain,
            "name": source.name,
            "length": domain.duration(source.piece),
            "sound_rate": domain.sound_rate,
            "view": piece_view(domain, source.piece),
            "warnings": [_line(message) for message in warnings[:_WARNINGS]],
        }

    def _generate(self, visitor: Visitor, payload: Json) -> Iterator[Json]:
        run = new_run(visitor, self.registry, self.limits, payload)
        yield from generate(run, visitor)
        if run.id in visitor.runs:
            # Its size is known only now.
            visitor.keep_run(run, self.limits)

    def _stop(self, visitor: Visitor, payload: Json) -> Json:
        visitor.stop()
        return {}

    def _inspect(self, visitor: Visitor, payload: Json) -> Json:
        return inspect_step(visitor.run(payload.get("run")), _number(payload), payload.get("step"))

    def _rows(self, visitor: Visitor, payload: Json) -> Json:
        return rows(visitor.run(payload.get("run")), _number(payload), payload.get("steps"))

    def _ablate(self, visitor: Visitor, payload: Json) -> Json:
        run = visitor.run(payload.get("run"))
        source = (payload.get("depth"), payload.get("first"), payload.get("stop"))
        return ablate(run, _number(payload), payload.get("step"), *source)

    def _matrix(self, visitor: Visitor, payload: Json) -> Json:
        run = visitor.run(payload.get("run"))
        return matrix(run, _number(payload), payload.get("depth"), payload.get("steps"), payload.get("positions"))

    def _sound(self, visitor: Visitor, payload: Json) -> Json:
        of: Run | Source = visitor.run(payload["run"]) if payload.get("run") else visitor.source(payload.get("source"))
        start, end = payload.get("start"), payload.get("end")
        if not isinstance(start, int | float) or not isinstance(end, int | float) or max(abs(start), abs(end)) > 2**60:
            raise ArgumentsError(f"a segment of sound goes from {start!r} to {end!r}; allowed: numbers")
        return sound(of, _number(payload), float(start), float(end))

    def _export(self, visitor: Visitor, payload: Json) -> Json:
        path = export_file(
            visitor, visitor.run(payload.get("run")), _number(payload), payload.get("kind"), payload.get("step")
        )
        return {"path": str(path), "name": path.name}

    # Endpoints for gradio_client

    def continue_midi(
        self,
        request: gr.Request,
        prompt: Json | None = None,
        seconds: float | None = None,
        prompt_seconds: float | None = None,
        candidates: int = 1,
        seed: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        no_repeat_ngram: int | None = None,
        greedy: bool | None = None,
        bars: int | None = None,
        silence: float | None = None,
        repeats: int | None = None,
        instruments: str = "",
        key: str = "",
        tempo: float | str | None = None,
        style: str = "",
        hold: str = "",
        checkpoint: str = "",
    ) -> list[Json]:
        """Continue a MIDI file by seconds (default 20) or bars, or generate without a prompt. Returns the .mid, .wav,
        trace and sidecar of each candidate."""
        payload = {
            "domain": "midi", "checkpoint": checkpoint, "amount": seconds, "length": prompt_seconds,
            "candidates": candidates, "seed": seed, "temperature": temperature, "top_k": top_k, "top_p": top_p,
            "min_p": min_p, "repetition_penalty": repetition_penalty, "no_repeat_ngram": no_repeat_ngram,
            "greedy": greedy, "bars": bars, "silence": silence, "repeats": repeats, "instruments": instruments,
            "key": key, "tempo": tempo, "style": style, "hold": hold,
        }  # fmt: skip
        return self._continue(request, payload, prompt, ("mid", "wav", "trace", "json"))

    def continue_audio(
        self,
        request: gr.Request,
        prompt: Json | None = None,
        seconds: float = 5.0,
        prompt_seconds: float | None = None,
        candidates: int = 1,
        seed: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        no_repeat_ngram: int | None = None,
        greedy: bool | None = None,
        checkpoint: str = "",
    ) -> list[Json]:
        """Continue a recording, or generate without a prompt. Returns .wav, trace and sidecar of each candidate."""
        payload = {
            "domain": "audio", "checkpoint": checkpoint, "amount": seconds, "length": prompt_seconds,
            "candidates": candidates, "seed": seed, "temperature": temperature, "top_k": top_k, "top_p": top_p,
            "min_p": min_p, "repetition_penalty": repetition_penalty, "no_repeat_ngram": no_repeat_ngram,
            "greedy": greedy,
        }  # fmt: skip
        return self._continue(request, payload, prompt, ("wav", "trace", "json"))

    def continue_text(
        self,
        request: gr.Request,
        words: str = "",
        length: int = 800,
        candidates: int = 1,
        seed: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        no_repeat_ngram: int | None = None,
        greedy: bool | None = None,
        checkpoint: str = "",
    ) -> list[Json]:
        """Continue a text by `length` bytes, or generate without a prompt. Returns .txt, trace and sidecar each."""
        payload = {
            "domain": "text", "checkpoint": checkpoint, "amount": length, "candidates": candidates, "seed": seed,
            "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "words": words or None,
            "repetition_penalty": repetition_penalty, "no_repeat_ngram": no_repeat_ngram,
            "greedy": greedy,
        }  # fmt: skip
        return self._continue(request, payload, None, ("txt", "trace", "json"))

    def _continue(self, request: gr.Request, payload: Json, prompt: Json | None, kinds: tuple[str, ...]) -> list[Json]:
        try:
            visitor = self.visitors.get(request.session_hash)
            if prompt is not None:
                upload = _object(prompt)
                payload |= {"upload": upload.get("path"), "name": upload.get("orig_name")}
            if prompt is not None or payload.get("words"):
                source = new_source(visitor, self.registry, self.limits, payload, self.uploads, _warn_client)
                payload["source"] = source.id
            run = new_run(visitor, self.registry, self.limits, payload)
            for _ in generate(run, visitor):
                pass
            paths = [export_file(visitor, run, number, kind) for number in range(len(run.candidates)) for kind in kinds]
        except MuseError as error:
            message = error.worded(lambda option: _PARAMETERS.get(option, option))
            raise gr.Error(message, print_exception=False) from error
        return [{"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}} for path in paths]

    def leave(self, payload: Json, request: gr.Request) -> Json:
        """Delete everything of a visitor who leaves."""
        del payload
        self.visitors.leave(request.session_hash)
        return {}

    def disconnect(self, request: gr.Request) -> None:
        """Record that a visitor's connection has ended; they may reconnect."""
        self.visitors.disconnect(request.session_hash)


def title_of(domain: str) -> str:
    """Return the title of the button by which a visitor chooses a domain."""
    return domain_class(domain).info.title or domain.capitalize()


def _problem(error: MuseError) -> Json:
    message = error.worded(lambda option: LABELS.get(option, option))
    return {"problem": _line(_CHOICE.sub(lambda found: f"choose {title_of(found[1])} for it", message))}


def _line(message: str) -> str:
    return " ".join(message.split())


def _warn_client(message: str) -> None:
    # Gradio renders warnings as HTML.
    gr.Warning(escape(_line(message)))


def _object(payload: object) -> Json:
    if not isinstance(payload, dict):
        raise ArgumentsError("the request should be a JSON object")
    return payload


def _number(payload: Json) -> int:
    number = payload.get("candidate", 0)
    if type(number) is not int:
        raise ArgumentsError(f"candidate is {number!r}; allowed: a whole number")
    return number
