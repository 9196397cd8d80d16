"""Loading models and tokenizers, and continuing prompts with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from muse_shortcut.api.continuation import Continuation, Stream
from muse_shortcut.api.options import Options, build_request, check_prompt_seconds, plain_number
from muse_shortcut.api.prompts import LoadedPrompt, read_prompt
from muse_shortcut.checkpoints import Checkpoint, load_checkpoint
from muse_shortcut.credits import credits_of
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

    A model of fewer than 16 M parameters is decoded with one thread, which is set for the whole process
    (`torch.set_num_threads`): more threads gain little, and lose much when another program is busy.

    Args:
        name: "midi", "audio" or "text" for a shipped model, "hf:OWNER/NAME" for one on the Hugging Face Hub, or the
            folder of a checkpoint or a run.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged.
        ArgumentsError: The device is not available.

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
        name: As for `load`, or the folder of a token store.

    Raises:
        CheckpointError: There is no such model.
        UnknownTokenizerError: The tokenizer is damaged, or its domain is not registered.

    Example:
        >>> import muse_shortcut as muse
        >>> tokenizer = muse.load_tokenizer("text")
        >>> tokenizer.decode(tokenizer.encode(b"The sea"))
        b'The sea'
    """
    return read_tokenizer(find_checkpoint(named_checkpoint(name)) / "tokenizer")


class Model:
    """A network with its tokenizer and default options, ready to continue prompts.

    Attributes:
        checkpoint: The checkpoint: network, tokenizer, training metadata, model card, digest of the weights.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    @property
    def domain(self) -> Domain[Any]:
        """Files, prompts, constraints and measures of the modality; `domain.kind` is "midi", "audio" or "text"."""
        return self.checkpoint.domain

    @property
    def core(self) -> Core:
        """The network, a `torch.nn.Module`."""
        return self.checkpoint.core

    @property
    def tokenizer(self) -> Tokenizer[Any]:
        """Converts pieces to token ids and back."""
        return self.checkpoint.tokenizer

    @property
    def credits(self) -> list[str]:
        """Sources of the training data, one line each: title, licence, and whom to name."""
        return credits_of(self.checkpoint.facts)

    def continue_(
        self, prompt: Any = None, *, trace: bool = True, warn: Warn = warn_about_file, **options: Unpack[Options]
    ) -> list[Continuation]:
        """Continue a prompt.

        Args:
            prompt: A path, bytes, the domain's own object, or None to generate without a prompt; see `read_prompt`.
            trace: Whether to record what each token attends to.
            warn: Called with one line for everything in the prompt's file that was repaired or left out.
            **options: See `Options`.

        Returns:
            `num_samples` continuations; with `keep` the best of them, best first.

        Raises:
            ArgumentsError: An option is unknown or out of its range.
            TokenizerError: The prompt cannot be read, or a constraint cannot be met.
        """
        return self.stream(prompt, trace=trace, warn=warn, **options).run()

    def stream(
        self, prompt: Any = None, *, trace: bool = True, warn: Warn = warn_about_file, **options: Unpack[Options]
    ) -> Stream:
        """Continue a prompt step by step. The partial continuations can be taken from the stream at any time.

        Args:
            prompt: As for `continue_`.
            trace, warn: As for `continue_`.
            **options: See `Options`.

        Raises:
            ArgumentsError, TokenizerError: As for `continue_`.
        """
        if isinstance(prompt, Continuation):
            return prompt.stream(trace=trace, **options)
        seconds = plain_number(options.get("prompt_seconds"))
        check_prompt_seconds(self.domain, seconds, has_prompt=prompt is not None)
        source = read_prompt(self.domain, prompt, limit=seconds, warn=warn)
        split_point = self.domain.prompt(source.piece, seconds)
        request = build_request(self.domain, split_point, self.checkpoint.sampling, options)
        return self.start(request, source, trace=trace, keep=plain_number(options.get("keep")))

    def start(
        self, request: Request, source: LoadedPrompt | None = None, *, trace: bool = True, keep: int | None = None
    ) -> Stream:
        """Start a request that already exists, for example one from a sidecar.

        Args:
            request: The request.
            source: The prompt that the request was built from.
            trace: Whether to record what each token attends to.
            keep: How many of the continuations to keep, the best ones; None keeps all.

        Raises:
            TokenizerError: A constraint cannot be met.
        """
        source = source or LoadedPrompt(request.prompt.piece, "continuation")
        return Stream(self.checkpoint, request, source, trace=trace, keep=keep)

    def __repr__(self) -> str:
        return f"Model({self.domain.kind!r}, {self.core.parameter_count():,} parameters)"
