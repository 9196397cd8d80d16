"""A neural codec (EnCodec, Défossez et al. 2022, arXiv 2210.13438): samples to codes and back, in chunks of any length.

Processing in chunks gives the same result as processing the whole: the convolutions are causal, so each chunk is
prepended with the end of the previous one, and the recurrent layers carry their state.

    codec/   codec.json (its shape, SHA-256 of its weights)   codec.safetensors   README.md
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from muse_tokenizers.audio.codec_shape import CodecShape
from muse_tokenizers.audio.package import import_encodec
from muse_tokenizers.base import Ids
from muse_tokenizers.errors import CodecError
from muse_tokenizers.json_files import parse_json

if TYPE_CHECKING:
    import torch

__all__ = ["Codec", "build_model", "codec_of", "load_codec", "save_codec"]

_WEIGHTS, _SHAPE = "codec.safetensors", "codec.json"
_SUM = "sha256"
"""Key of the digest of the weights in codec.json."""
_CONTEXT = 8
"""Past frames that are prepended to each chunk for convolutions. The largest receptive field is 6 frames, from a
convolution of width seven at the frame rate."""
_FIRST = 8
"""Smallest first chunk in frames: the padding before the beginning mirrors up to 6 frames."""
_CHUNK_SECONDS = 10.0
"""Seconds of sound per chunk."""


def build_model(shape: CodecShape, *, norm: Literal["weight_norm", "none"] = "weight_norm") -> Any:
    """Build an `encodec.EncodecModel` with new weights, in training mode, with or without weight normalisation of its
    convolutions."""
    encodec = import_encodec()
    common: dict[str, Any] = {
        "channels": 1, "dimension": shape.dimension, "n_filters": shape.filters, "causal": True,
        "n_residual_layers": shape.residual_layers, "ratios": list(shape.ratios), "lstm": shape.lstm,
        "norm": norm,
    }  # fmt: skip
    with warnings.catch_warnings():
        # It uses torch's deprecated form of weight normalisation, which warns.
        warnings.simplefilter("ignore", FutureWarning)
        return encodec.EncodecModel(
            encodec.modules.SEANetEncoder(**common),
            encodec.modules.SEANetDecoder(**common),
            encodec.quantization.ResidualVectorQuantizer(
                dimension=shape.dimension, n_q=shape.codebooks, bins=shape.bins
            ),
            target_bandwidths=[math.log2(shape.bins) * shape.frame_rate * shape.codebooks / 1000],
            sample_rate=shape.sample_rate,
            channels=1,
        )


class Codec:
    """A codec for inference."""

    def __init__(self, model: Any, shape: CodecShape, files: Mapping[str, bytes]) -> None:
        """
        Args:
            model: A model from `build_model`; it is put into evaluation mode, and its weight normalisation is removed.
            shape: Configuration of the model.
            files: Content of its files by name, empty if it has none. They are kept so that a tokenizer can be saved
                with its codec after the folder is gone.
        """
        self.shape, self.files = shape, dict(files)
        self.digest = _digest(model)
        """SHA-256 of encoder and codebooks, which determine the codes. The decoder does not affect the meaning of
        codes."""
        self._model = _for_use(model)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the weights by name, as in its files."""
        from safetensors.torch import load

        return load(self.files[_WEIGHTS])

    def to(self, device: torch.device) -> Codec:
        """Move the codec to a device; to the CPU instead of MPS, which gives wrong results."""
        self._model.to("cpu" if device.type == "mps" else device)
        return self

    def use_device(self, name: str) -> None:
        """Move the codec to a device by name, and make it compute as exactly as on the CPU."""
        import torch

        # Reduced precision (TF32) would change codes.
        torch.backends.cudnn.allow_tf32 = False
        self.to(torch.device(name))

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self._model.parameters()).device
        return device

    def encode(self, samples: NDArray[np.float32], codebooks: int) -> Ids:
        """Encode (N,) samples as (ceil(N / hop), codebooks) codes; an incomplete last frame is padded with silence."""
        return self.encode_many([samples], codebooks)[0]

    def encode_many(self, sounds: Sequence[NDArray[np.float32]], codebooks: int) -> list[Ids]:
        """Encode several sounds in a batch. Padding after the end of a sound does not change its codes; sounds shorter
        than the mirrored padding before the beginning are encoded separately."""
        hop = self.shape.hop
        frames = [-(-len(samples) // hop) for samples in sounds]
        if len(sounds) > 1 and min(frames) < _FIRST:
            longer = iter(self.encode_many([s for s, n in zip(sounds, frames, strict=True) if n >= _FIRST], codebooks))
            pairs = zip(sounds, frames, strict=True)
            return [next(longer) if count >= _FIRST else self.encode(samples, codebooks) for samples, count in pairs]
        chunk = hop * max(_FIRST, round(_CHUNK_SECONDS * self.shape.frame_rate))

        def pieces() -> Iterator[NDArray[np.float32]]:
            for at in range(0, hop * max(frames, default=0), chunk):
                piece = np.zeros((min(chunk, hop * max(frames) - at), len(sounds)), dtype=np.float32)
                for number, samples in enumerate(sounds):
                    part = samples[at : at + len(piece)]
                    piece[: len(part), number] = part
                yield piece

        parts = list(self._encoding(pieces(), codebooks))
        codes = np.concatenate(parts) if parts else np.zeros((0, len(sounds), codebooks), dtype=np.int64)
        return [codes[:count, number] for number, count in enumerate(frames)]

    def encoding(self, pieces: Iterable[NDArray[np.float32]], codebooks: int) -> Iterator[Ids]:
        """Yield the codes (F, codebooks) of each chunk of samples (F hop,) of one sound, in order."""
        for codes in self._encoding((samples[:, None] for samples in pieces), codebooks):
            yield codes[:, 0]

    def _encoding(self, pieces: Iterable[NDArray[np.float32]], codebooks: int) -> Iterator[NDArray[np.int64]]:
        """Yield the codes (F, B, codebooks) of each chunk of samples (F hop, B) of B sounds, in order."""
        import torch

        stream = _Stream(self._model.encoder.model, inward=self.shape.hop, outward=1)
        for samples in _merged_first(pieces, _FIRST * self.shape.hop):
            with torch.inference_mode():
                put = torch.from_numpy(np.ascontiguousarray(samples.T)).to(self._device)
                found = self._model.quantizer.vq.encode(stream.push(put[:, None]), n_q=codebooks)
                codes = found.permute(2, 1, 0).cpu().numpy()
            yield codes

    def decode(self, codes: Ids) -> NDArray[np.float32]:
        """Decode (F, K) codes to (F hop,) samples."""
        parts = list(self.decoding([codes]))
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)

    def decoding(self, pieces: Iterable[Ids]) -> Iterator[NDArray[np.float32]]:
        """Yield the samples of chunks of codes (F, K) of one sound, in order, as soon as the codes arrive.

        Long chunks are decoded in parts: all at once they would take gigabytes.
        """
        import torch

        stream = _Stream(self._model.decoder.model, inward=1, outward=self.shape.hop)
        chunk = max(_FIRST, round(_CHUNK_SECONDS * self.shape.frame_rate))
        parts = (piece[at : at + chunk] for piece in pieces for at in range(0, len(piece), chunk))
        for codes in _merged_first(parts, _FIRST):
            with torch.inference_mode():
                put = torch.from_numpy(np.ascontiguousarray(codes.T)).to(self._device)
                samples = stream.push(self._model.quantizer.decode(put[:, None]))[0, 0].float().cpu().numpy()
            yield samples


def _merged_first(pieces: Iterable[Any], least: int) -> Iterator[Any]:
    """Yield chunks of an array; the first ones are joined until they have the least length, and empty ones are
    skipped."""
    waiting: list[Any] | None = []
    for piece in pieces:
        if waiting is None:
            if len(piece):
                yield piece
            continue
        waiting.append(piece)
        if sum(map(len, waiting)) >= least:
            yield np.concatenate(waiting)
            waiting = None
    if waiting and sum(map(len, waiting)):
        yield np.concatenate(waiting)


class _Stream:
    """The encoder or the decoder of a codec, processing a sound in chunks."""

    def __init__(self, layers: Any, *, inward: int, outward: int) -> None:
        """
        Args:
            layers: Convolutions, recurrent layers, convolutions.
            inward: Input steps per frame.
            outward: Output steps per frame.
        """
        place = next(number for number, layer in enumerate(layers) if hasattr(layer, "lstm"))
        self._recurrent = layers[place]
        self._state: Any = None
        self._before = _Convolutions(layers[:place], step_in=inward, step_out=1)
        self._after = _Convolutions(layers[place + 1 :], step_in=1, step_out=outward)

    def push(self, x: torch.Tensor) -> torch.Tensor:
        x = self._before.push(x)
        seen, self._state = self._recurrent.lstm(x.permute(2, 0, 1), self._state)
        seen = seen.permute(1, 2, 0)
        return self._after.push(seen + x if self._recurrent.skip else seen)


class _Convolutions:
    """Causal convolutions that process their input in chunks."""

    def __init__(self, layers: Any, *, step_in: int, step_out: int) -> None:
        self._layers, self._step_in, self._step_out = layers, step_in, step_out
        self._past: torch.Tensor | None = None

    def push(self, x: torch.Tensor) -> torch.Tensor:
        import torch

        past = 0 if self._past is None else self._past.shape[-1]
        joined = x if self._past is None else torch.cat((self._past, x), dim=-1)
        self._past = joined[..., -_CONTEXT * self._step_in :]
        out: torch.Tensor = self._layers(joined)
        return out[..., past // self._step_in * self._step_out :]


def _digest(model: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if _is_used(name) and not name.startswith("decoder."):
            digest.update(f"{name} {tuple(tensor.shape)} ".encode() + tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def _for_use(model: Any) -> Any:
    import torch

    model.eval().requires_grad_(False)
    for module in model.modules():
        if hasattr(module, "weight_g"):
            torch.nn.utils.remove_weight_norm(module)
    return model


def save_codec(
    tensors: Mapping[str, torch.Tensor], shape: CodecShape, folder: Path, *, half: bool = True, card: str = ""
) -> None:
    """Write the weights of a model from `build_model`, by name, to a folder, in half or single precision."""
    import torch
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    kept = {
        name: (tensor.half() if half and tensor.dtype == torch.float32 else tensor).detach().cpu().contiguous()
        for name, tensor in tensors.items()
        if _is_used(name)
    }
    # Not safetensors' own `save_file`: its files are readable only by their owner, and it reports a full disk
    # differently.
    data = save(kept)
    (folder / _WEIGHTS).write_bytes(data)
    content = asdict(shape) | {_SUM: hashlib.sha256(data).hexdigest()}
    (folder / _SHAPE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card, encoding="utf-8")


def load_codec(folder: Path) -> Codec:
    """Load a codec that `save_codec` wrote.

    Raises:
        CodecError: There is no codec, or it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        files = {name: (folder / name).read_bytes() for name in (_SHAPE, _WEIGHTS)}
    except OSError as error:
        raise CodecError(f"cannot read the codec {error.filename}: {error.strerror}") from error
    content = parse_json(files[_SHAPE], str(folder / _SHAPE), CodecError)
    names = {field.name for field in fields(CodecShape)}
    if not isinstance(content, dict) or set(content) - {_SUM} != names or not isinstance(content["ratios"], list):
        raise CodecError(f"{folder / _SHAPE} is damaged: its fields are {', '.join(sorted(names))}")
    digest = hashlib.sha256(files[_WEIGHTS]).hexdigest()
    # Older codecs lack the digest.
    if content.pop(_SUM, digest) != digest:
        raise CodecError(f"{folder / _WEIGHTS} is damaged: its SHA-256 differs from the recorded one")
    try:
        shape = CodecShape(**{**content, "ratios": tuple(content["ratios"])})
        return codec_of(load(files[_WEIGHTS]), shape, files)
    except CodecError as error:
        raise CodecError(f"{folder}: {error}") from error
    except (SafetensorError, KeyError) as error:  # KeyError: a data type that torch does not have
        reason = (str(error).splitlines() or [""])[0]
        raise CodecError(f"{folder / _WEIGHTS} is damaged: {reason}") from error


def codec_of(tensors: Mapping[str, torch.Tensor], shape: CodecShape, files: Mapping[str, bytes] | None = None) -> Codec:
    """Build a codec from weights by name, which were read from `files` if given. Raises CodecError if they do not have
    the configured shapes."""
    import torch

    expected = _shapes(shape)
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items() if _is_used(name)}
    wrong = next((name for name in sorted(expected | given) if expected.get(name) != given.get(name)), None)
    if wrong is not None:
        raise CodecError(f"the weights do not fit the shape: {wrong}")
    for name in given:
        if not bool(torch.isfinite(tensors[name].float()).all()):
            raise CodecError(f"the weights are damaged: {name} has entries that are infinite or no numbers")
    model = build_model(shape)
    model.load_state_dict({name: tensors[name].float() for name in given}, strict=False)
    return Codec(model, shape, files or {})


def _shapes(shape: CodecShape) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights of `build_model` by name, without allocating them: a file must not request more
    memory than its own weights take."""
    import torch

    with torch.device("meta"):
        # Without weight normalisation, for which torch would import its compiler and add a second to every start.
        model = build_model(shape, norm="none")
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if _is_used(name)}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            direction = shapes.pop(f"{name}.weight")
            shapes |= {f"{name}.weight_g": (direction[0], 1, 1), f"{name}.weight_v": direction}
    return shapes


def _is_used(name: str) -> bool:
    """Usage counts of codes are needed for training only."""
    return not name.endswith(("cluster_size", "embed_avg", "inited"))
