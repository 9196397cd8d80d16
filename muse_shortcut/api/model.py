"""A model that is loaded: what it is, and how it continues."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from muse_shortcut.api.continuation import Continuation, Stream
from muse_shortcut.api.options import Options, build_request, check_prompt_seconds
from muse_shortcut.api.prompts import LoadedPrompt, read_prompt
from muse_shortcut.checkpoints import Checkpoint, load_checkpoint
from muse_shortcut.devices import choose_device, use_decoding_threads
from muse_shortcut.generation.request import Request
from muse_shortcut.model.core import Core
from muse_shortcut.runs import find_checkpoint
from muse_shortcut.shipped import named_checkpoint
from muse_tokenizers.base import Tokenizer
from muse_tokenizers.domain import Domain
from muse_tokenizers.errors import Warn, warn_about_file
from muse_tokenizers.loading import load_tokenizer as read_tokenizer

__all__ = ["Model", "load", "load_tokenizer"]


def load(name: str | Path, *, device: str = "auto") -> Model:
    """Load a model.

    A model of less than 16 M parameters is decoded with one thread, for the whole process (`torch.set_num_threads`):
    more gain little and lose much beside another busy program.

    Args:
        name: "midi", "audio" or "text" for the one that ships; otherwise the folder of a checkpoint.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        CheckpointError: there is none, or it is damaged.
        ArgumentsError: there is no such device.

    Example:
        >>> import muse_shortcut as muse
        >>> model = muse.load("midi")
        >>> [best] = model.continue_("bach-prelude", seconds=4, seed=7)
    """
    model = Model(load_checkpoint(named_checkpoint(name), choose_device(device)))
    use_decoding_threads(model.core.parameter_count())
    return model


def load_tokenizer(name: str | Path) -> Tokenizer[Any]:
    """Load the tokenizer of a model or of a token store, without the model's weights.

    Args:
        name: as for `load`, or the folder of a store.

    Raises:
        CheckpointError: there is no such model.
        UnknownTokenizerError: its tokenizer is damaged, or of a domain that is not registered.

    Example:
        >>> import muse_shortcut as muse
        >>> tokenizer = muse.load_tokenizer("text")
        >>> tokenizer.decode(tokenizer.encode(b"The sea"))
        b'The sea'
    """
    return read_tokenizer(find_checkpoint(named_checkpoint(name)) / "tokenizer")


class Model:
    """A core, its tokenizer and its defaults, ready to continue prompts.

    Attributes:
        checkpoint: what it was loaded from: facts of its training, card, digest of its weights.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    @property
    def domain(self) -> Domain[Any]:
        """Its files, prompts, constraints and measures; `domain.kind` is "midi", "audio" or "text"."""
        return self.checkpoint.domain

    @property
    def core(self) -> Core:
        """The network, a `torch.nn.Module`."""
        return self.checkpoint.core

    @property
    def tokenizer(self) -> Tokenizer[Any]:
        """Pieces to token ids, and back."""
        return self.checkpoint.tokenizer

    def continue_(self, prompt: Any = None, *, trace: bool = True, **options: Unpack[Options]) -> list[Continuation]:
        """Continue a prompt.

        Args:
            prompt: see `read_prompt`: a path, bytes, the domain's own object, or None to begin from nothing.
            trace: keep what each token attended to.
            **options: see `Options`.

        Returns:
            `num_samples` continuations.

        Raises:
            ArgumentsError: an option is unknown or out of its range.
            TokenizerError: the prompt cannot be read, or a constraint cannot be met.
        """
        return self.stream(prompt, trace=trace, **options).run()

    def stream(
        self, prompt: Any = None, *, trace: bool = True, warn: Warn = warn_about_file, **options: Unpack[Options]
    ) -> Stream:
        """Continue a prompt step by step: an iterator of `StepEvent`. What exists so far can be taken at any time.

        Args:
            prompt: see `continue_`.
            trace: keep what each token attended to.
            warn: called with one line for each thing in the prompt's file that was repaired or left out.
            **options: see `Options`.

        Raises:
            ArgumentsError, TokenizerError: see `continue_`.
        """
        if isinstance(prompt, Continuation):
            return prompt.stream(trace=trace, **options)
        seconds = options.get("prompt_seconds")
        check_prompt_seconds(self.domain, seconds, has_prompt=prompt is not None)
        source = read_prompt(self.domain, prompt, limit=seconds, warn=warn)
        split_point = self.domain.prompt(source.piece, seconds)
        return self.start(
            build_request(self.domain, split_point, self.checkpoint.sampling, options), source, trace=trace
        )

    def start(self, request: Request, source: LoadedPrompt | None = None, *, trace: bool = True) -> Stream:
        """Run a request that has been built: for whoever has one, from a sidecar say.

        Args:
            request: what to generate.
            source: what its prompt was read from.
            trace: keep what each token attended to.

        Raises:
            TokenizerError: a constraint cannot be met.
        """
        return Stream(
            self.checkpoint, request, source or LoadedPrompt(request.prompt.piece, "continuation"), trace=trace
        )

    def __repr__(self) -> str:
        return f"Model({self.domain.kind!r}, {self.core.parameter_count():,} parameters)"
