"""What the page, and any other client, can call: gradio's functions, each a thin layer over what it does.

The page's own take and give JSON, and say what is wrong as `{"problem": "one line"}`. Those for `gradio_client` take
arguments and give files, and raise.
"""

# Without `from __future__ import annotations`: gradio reads what a function takes and gives from its annotations.
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import api

from muse_shortcut.errors import ArgumentsError, MuseError
from muse_tokenizers.errors import InvalidOptionError
from muse_web.checkpoint_registry import CheckpointRegistry
from muse_web.exports import take
from muse_web.generation_requests import new_run, new_source
from muse_web.inspection import ablate, look, matrix, rows, sound
from muse_web.session import Limits, Run, Source, Visitor, Visitors
from muse_web.streaming import grow
from muse_web.uploads import Uploads
from muse_web.views import piece_view

__all__ = ["LABELS", "Api"]

Json = dict[str, Any]

LABELS = {
    "seconds": "Length", "bytes": "Length", "temperature": "Temperature", "seed": "Seed", "num_samples": "Candidates",
    "top_p": "Top-p", "min_p": "Min-p", "top_k": "Top-k", "repetition_penalty": "Repetition penalty",
    "no_repeat_ngram": "No-repeat n-gram", "instruments": "Instruments", "key": "Key", "tempo": "Tempo",
}  # fmt: skip
"""What the page calls an option, by its name in Python."""
_PARAMETERS = {"num_samples": "candidates", "bytes": "length"}
"""What `/continue_*` call an option, where it is not its name in Python."""
_WARNINGS = 8
"""Of one file, that are told."""


class Api:
    """Where visitors are served."""

    def __init__(
        self, registry: CheckpointRegistry, folder: Path, uploads: Uploads, limits: Limits, at_once: int
    ) -> None:
        """
        Args:
            registry: of checkpoints.
            folder: where visitors' folders are made.
            uploads: what waits where gradio puts what is uploaded.
            limits: of one visitor.
            at_once: how many generations run side by side; the others wait.
        """
        self.registry, self.limits, self.at_once = registry, limits, at_once
        self.visitors = Visitors(folder, limits)
        self.uploads = uploads

    def register(self) -> None:
        """Give the functions their names; inside a `gr.Blocks`."""
        for name, function in self._quick().items():
            api(function, api_name=name, queue=False, api_visibility="undocumented")
        api(self.bye, api_name="bye", queue=False, api_visibility="undocumented")
        # What is opened may be large: no more than two are read at once, whoever sent them.
        reading: Json = {"concurrency_limit": 2, "concurrency_id": "reading"}
        api(self._plainly(self._open), api_name="open", api_visibility="undocumented", **reading)
        queued: Json = {"concurrency_limit": self.at_once, "concurrency_id": "generation"}
        api(self._plainly_many(self._grow), api_name="grow", api_visibility="undocumented", **queued)
        api(self.continue_midi, api_name="continue_midi", **queued)
        api(self.continue_audio, api_name="continue_audio", **queued)
        api(self.continue_text, api_name="continue_text", **queued)

    # The page's own

    def _quick(self) -> dict[str, Callable[..., Json]]:
        served = {
            "here": lambda visitor, asked: {},
            "stop": self._stop,
            "look": self._look,
            "rows": self._rows,
            "ablate": self._ablate,
            "matrix": self._matrix,
            "sound": self._sound,
            "take": self._take,
        }
        return {name: self._plainly(serve) for name, serve in served.items()}

    def _plainly(self, serve: Callable[[Visitor, Json], Json]) -> Callable[[Json, gr.Request], Json]:
        def served(asked: Json, request: gr.Request) -> Json:
            try:
                return serve(self.visitors.of(request.session_hash), _object(asked))
            except MuseError as error:
                return _problem(error)

        return served

    def _plainly_many(self, serve: Callable[[Visitor, Json], Iterator[Json]]) -> Callable[..., Iterator[Json]]:
        def served(asked: Json, request: gr.Request) -> Iterator[Json]:
            try:
                yield from serve(self.visitors.of(request.session_hash), _object(asked))
            except MuseError as error:
                yield _problem(error)

        return served

    def _open(self, visitor: Visitor, asked: Json) -> Json:
        warnings: list[str] = []
        source = new_source(visitor, self.registry, self.limits, asked, self.uploads, warnings.append)
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

    def _grow(self, visitor: Visitor, asked: Json) -> Iterator[Json]:
        run = new_run(visitor, self.registry, self.limits, asked)
        yield from grow(run, visitor)
        if run.id in visitor.runs:
            # Now it is known how large it is.
            visitor.keep(run, self.limits)

    def _stop(self, visitor: Visitor, asked: Json) -> Json:
        visitor.stop()
        return {}

    def _look(self, visitor: Visitor, asked: Json) -> Json:
        return look(visitor.run(asked.get("run")), _number(asked), asked.get("step"))

    def _rows(self, visitor: Visitor, asked: Json) -> Json:
        return rows(visitor.run(asked.get("run")), _number(asked), asked.get("steps"))

    def _ablate(self, visitor: Visitor, asked: Json) -> Json:
        run = visitor.run(asked.get("run"))
        source = (asked.get("depth"), asked.get("first"), asked.get("stop"))
        return ablate(run, _number(asked), asked.get("step"), *source)

    def _matrix(self, visitor: Visitor, asked: Json) -> Json:
        run = visitor.run(asked.get("run"))
        return matrix(run, _number(asked), asked.get("depth"), asked.get("steps"), asked.get("positions"))

    def _sound(self, visitor: Visitor, asked: Json) -> Json:
        of: Run | Source = visitor.run(asked["run"]) if asked.get("run") else visitor.source(asked.get("source"))
        start, end = asked.get("start"), asked.get("end")
        if not isinstance(start, int | float) or not isinstance(end, int | float) or max(abs(start), abs(end)) > 2**60:
            raise ArgumentsError(f"a segment of sound goes from {start!r} to {end!r}; allowed: numbers")
        return sound(of, _number(asked), float(start), float(end))

    def _take(self, visitor: Visitor, asked: Json) -> Json:
        path = take(visitor, visitor.run(asked.get("run")), _number(asked), asked.get("kind"), asked.get("step"))
        return {"path": str(path), "name": path.name}

    # For clients

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
        checkpoint: str = "",
    ) -> list[Json]:
        """Continue a MIDI file by seconds (20) or by bars, or begin from nothing: of each candidate .mid, .wav, the
        trace and the sidecar."""
        asked = {
            "domain": "midi", "checkpoint": checkpoint, "amount": seconds, "length": prompt_seconds,
            "candidates": candidates, "seed": seed, "temperature": temperature, "top_k": top_k, "top_p": top_p,
            "min_p": min_p, "repetition_penalty": repetition_penalty, "no_repeat_ngram": no_repeat_ngram,
            "greedy": greedy, "bars": bars, "silence": silence, "repeats": repeats, "instruments": instruments,
            "key": key, "tempo": tempo,
        }  # fmt: skip
        return self._continued(request, asked, prompt, ("mid", "wav", "trace", "json"))

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
        """Continue a recording, or begin from nothing: of each candidate the .wav, the trace and the sidecar."""
        asked = {
            "domain": "audio", "checkpoint": checkpoint, "amount": seconds, "length": prompt_seconds,
            "candidates": candidates, "seed": seed, "temperature": temperature, "top_k": top_k, "top_p": top_p,
            "min_p": min_p, "repetition_penalty": repetition_penalty, "no_repeat_ngram": no_repeat_ngram,
            "greedy": greedy,
        }  # fmt: skip
        return self._continued(request, asked, prompt, ("wav", "trace", "json"))

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
        """Continue words by `length` bytes, or begin from nothing: of each candidate .txt, trace and sidecar."""
        asked = {
            "domain": "text", "checkpoint": checkpoint, "amount": length, "candidates": candidates, "seed": seed,
            "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "words": words or None,
            "repetition_penalty": repetition_penalty, "no_repeat_ngram": no_repeat_ngram,
            "greedy": greedy,
        }  # fmt: skip
        return self._continued(request, asked, None, ("txt", "trace", "json"))

    def _continued(self, request: gr.Request, asked: Json, prompt: Json | None, kinds: tuple[str, ...]) -> list[Json]:
        try:
            visitor = self.visitors.of(request.session_hash)
            if prompt is not None:
                given = _object(prompt)
                asked |= {"upload": given.get("path"), "name": given.get("orig_name")}
            if prompt is not None or asked.get("words"):
                source = new_source(visitor, self.registry, self.limits, asked, self.uploads, _warn_client)
                asked["source"] = source.id
            run = new_run(visitor, self.registry, self.limits, asked)
            for _ in grow(run, visitor):
                pass
            paths = [take(visitor, run, number, kind) for number in range(len(run.candidates)) for kind in kinds]
        except MuseError as error:
            said = (
                error.worded(lambda option: _PARAMETERS.get(option, option))
                if isinstance(error, InvalidOptionError)
                else error
            )
            raise gr.Error(str(said), print_exception=False) from error
        return [{"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}} for path in paths]

    def bye(self, asked: Json, request: gr.Request) -> Json:
        """A visitor leaves."""
        del asked
        self.visitors.leave(request.session_hash)
        return {}

    def lose(self, request: gr.Request) -> None:
        """A visitor's connection has ended: they have gone, or will be back in a moment."""
        self.visitors.lose(request.session_hash)


def _problem(error: Exception) -> Json:
    said = (
        error.worded(lambda option: LABELS.get(option, option)) if isinstance(error, InvalidOptionError) else str(error)
    )
    return {"problem": _line(said)}


def _line(message: str) -> str:
    return " ".join(message.split())


def _warn_client(message: str) -> None:
    # Gradio shows it as HTML where it is shown.
    gr.Warning(escape(_line(message)))


def _object(asked: object) -> Json:
    if not isinstance(asked, dict):
        raise ArgumentsError("the request should be a JSON object")
    return asked


def _number(asked: Json) -> int:
    number = asked.get("candidate", 0)
    if type(number) is not int:
        raise ArgumentsError(f"candidate is {number!r}; allowed: a whole number")
    return number
