"""Tests of the codec: decoding in chunks equals decoding at once, files are checked, torchaudio may be missing."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_codecs import HOP, RATE, SHAPE, random_model, tone, write_codec
from small_models import DEVICES

from muse_shortcut.files import hash_file
from muse_tokenizers.audio.codec import (
    Codec,
    CodecShape,
    _is_used,
    _shapes,
    _Stream,
    build_model,
    codec_of,
    load_codec,
    save_codec,
)
from muse_tokenizers.audio.codecs import META, codec_folder, fetch_codec, find_codec
from muse_tokenizers.audio.package import import_encodec
from muse_tokenizers.errors import CodecError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_codec(tmp_path_factory.mktemp("codec") / "codec")


@pytest.fixture(scope="module")
def codec(folder: Path) -> Codec:
    return load_codec(folder)


@pytest.fixture(scope="module")
def sound() -> np.ndarray[Any, Any]:
    random = np.random.default_rng(0)
    samples = tone(5.0) + random.normal(scale=0.05, size=5 * RATE).astype(np.float32)
    return samples[: len(samples) // HOP * HOP]


@pytest.fixture(scope="module")
def whole(folder: Path, sound: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Codes and decoded samples by encodec itself, the whole sound at once, in the weights' own precision."""
    from safetensors.torch import load_file

    model = build_model(SHAPE).eval()
    model.load_state_dict({k: t.float() for k, t in load_file(folder / "codec.safetensors").items()}, strict=False)
    with torch.inference_mode():
        codes = model.quantizer.vq.encode(model.encoder(torch.from_numpy(sound)[None, None]), n_q=8)
        samples = model.decoder(model.quantizer.decode(codes))
    return codes[:, 0].T.numpy(), samples[0, 0].numpy()


@pytest.mark.parametrize("frames", [1, 3, 8, 20, 75, 1000])
def test_piece_by_piece_is_as_the_whole(codec: Codec, sound: Any, whole: Any, frames: int) -> None:
    codes, samples = whole
    pieces = (sound[at : at + frames * HOP] for at in range(0, len(sound), frames * HOP))
    found = np.concatenate(list(codec.encoding(pieces, 8)))
    # A code may tip over where two are as near, to the last bit of a sum.
    assert (found == codes).mean() >= 0.999
    decoded = np.concatenate(list(codec.decoding(codes[at : at + frames] for at in range(0, len(codes), frames))))
    assert decoded.shape == samples.shape
    np.testing.assert_allclose(decoded, samples, atol=1e-5)


@pytest.mark.parametrize("layers", [2, 4])
def test_more_residual_layers_look_no_farther_than_is_given(layers: int, sound: Any) -> None:
    shape = replace(SHAPE, residual_layers=layers, filters=2)
    torch.manual_seed(0)
    model = build_model(shape).eval()
    with torch.inference_mode():
        expected = model.encoder(torch.from_numpy(sound)[None, None])
        stream = _Stream(model.encoder.model, inward=HOP, outward=1)
        pieces = torch.from_numpy(sound).split(20 * HOP)
        found = torch.cat([stream.push(piece[None, None]) for piece in pieces], dim=-1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("codebooks", [1, 2, 4, 8])
def test_the_first_codebooks_are_the_coarsest(codec: Codec, sound: Any, codebooks: int) -> None:
    assert (codec.encode(sound, codebooks) == codec.encode(sound, 8)[:, :codebooks]).all()


@pytest.mark.parametrize("samples", [0, 1, HOP - 1, HOP, HOP + 1, 7 * HOP, 20 * HOP + 3])
def test_an_unfinished_frame_is_filled_up_with_silence(codec: Codec, sound: Any, samples: int) -> None:
    codes = codec.encode(sound[:samples], 2)
    assert codes.shape == (-(-samples // HOP), 2)
    padded = np.concatenate([sound[:samples], np.zeros(-samples % HOP, np.float32)])
    assert (codes == codec.encode(padded, 2)).all()
    assert codec.decode(codes).shape == (len(codes) * HOP,)


def test_sounds_side_by_side_have_the_codes_of_each_alone(codec: Codec, sound: Any) -> None:
    lengths = (5 * RATE, 3 * HOP, 20 * HOP + 3, 0, 4 * RATE + 1, HOP - 1, 8 * HOP)
    sounds = [sound[:length] * (number + 1) / 8 for number, length in enumerate(lengths)]
    found = codec.encode_many(sounds, 8)
    expected = [codec.encode(one, 8) for one in sounds]
    assert [one.shape for one in found] == [one.shape for one in expected]
    assert (np.concatenate(found) == np.concatenate(expected)).mean() >= 0.999


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_gives_the_codes_of_the_cpu(codec: Codec, folder: Path, sound: Any, device: str) -> None:
    moved, codes = load_codec(folder).to(torch.device(device)), codec.encode(sound, 8)
    assert (moved.encode(sound, 8) == codes).mean() >= 0.99
    np.testing.assert_allclose(moved.decode(codes), codec.decode(codes), atol=1e-3)


def test_the_digest_of_a_codec_covers_everything_that_determines_its_codes(folder: Path) -> None:
    tensors = load_codec(folder).tensors()
    bias = "model.0.conv.conv.bias"
    names = (f"decoder.{bias}", f"encoder.{bias}", "quantizer.vq.layers.3._codebook.embed")
    others = [codec_of(tensors | {name: tensors[name] + 1}, SHAPE) for name in names]
    assert [other.digest == load_codec(folder).digest for other in others] == [True, False, False]


def test_a_device_that_garbles_is_not_used(codec: Codec) -> None:
    assert codec.to(torch.device("mps"))._device.type == "cpu"


# Files


def test_a_codec_is_read_as_it_was_written(tmp_path: Path, sound: Any) -> None:
    save_codec(random_model().state_dict(), SHAPE, tmp_path, half=False, card="# Mine\n")
    read = load_codec(tmp_path)
    assert read.shape == SHAPE
    assert read.digest == codec_of(random_model().state_dict(), SHAPE).digest
    assert (tmp_path / "README.md").read_text() == "# Mine\n"
    model = random_model()
    with torch.inference_mode():
        codes = model.quantizer.vq.encode(model.encoder(torch.from_numpy(sound)[None, None]), n_q=4)
    assert (read.encode(sound, 4) == codes[:, 0].T.numpy()).mean() >= 0.999


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bins": 63}, "bins is 63; allowed: a power of 2"),
        ({"filters": 0}, "filters is 0; allowed: whole numbers from 2 to 256"),
        ({"residual_layers": 5}, "residual_layers is 5; allowed: whole numbers from 1 to 4"),
        ({"ratios": [2] * 9}, "ratios has 9 numbers; allowed: up to 8"),
        ({"ratios": [8, 5, 4, 2.5]}, "ratios is"),
        ({"ratios": 8}, "is damaged: its fields are"),
        ({"colour": 1}, "is damaged: its fields are"),
        ({"filters": 256}, "the weights do not fit the shape: "),
        ({"codebooks": 9}, "the weights do not fit the shape: quantizer"),
    ],
)
def test_a_shape_that_is_not_the_weights_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write_codec(tmp_path / "codec") / "codec.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(CodecError, match=message) as caught:
        load_codec(tmp_path / "codec")
    assert str(tmp_path / "codec") in str(caught.value)


def test_a_changed_bit_of_its_weights_is_seen(tmp_path: Path) -> None:
    write_codec(tmp_path)
    path = tmp_path / "codec.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CodecError, match=r"codec.safetensors is damaged: its SHA-256 differs from the recorded one"):
        load_codec(tmp_path)
    # Those made before their weights had a checksum are read all the same.
    shape = json.loads((tmp_path / "codec.json").read_text())
    del shape["sha256"]
    (tmp_path / "codec.json").write_text(json.dumps(shape))
    load_codec(tmp_path)


def test_damaged_files_are_one_clear_line(tmp_path: Path) -> None:
    folder = write_codec(tmp_path / "codec")
    with pytest.raises(CodecError, match=r"^cannot read the codec .*codec.json: No such file"):
        load_codec(tmp_path)
    (folder / "codec.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(CodecError, match=r"codec.safetensors is damaged"):
        load_codec(folder)
    (folder / "codec.json").write_text("{")
    with pytest.raises(CodecError, match=r"codec.json is damaged"):
        load_codec(folder)


# Meta's


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A loopback server of a folder, and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/", folder
        http.shutdown()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _published(folder: Path, content: Any = None) -> str:
    """Weights as Meta's are published, under a name that ends in the first digits of their SHA-256."""
    torch.save(random_model().state_dict() if content is None else content, folder / "part.th")
    name = f"small-{hash_file(folder / 'part.th')[:8]}.th"
    (folder / "part.th").rename(folder / name)
    return name


def test_metas_codec_is_fetched_checked_and_kept(server: tuple[str, Path], cache: Path, sound: Any) -> None:
    address, folder = server
    name = _published(folder)
    heard: list[tuple[int, int | None]] = []
    with pytest.raises(CodecError, match=f"^the codec {META} is not here: .* put its file .* into {cache}$"):
        find_codec(META)
    kept = fetch_codec(lambda *place: heard.append(place), url=address + name, file_name=name, shape=SHAPE)
    assert kept == codec_folder(META)
    size = (folder / name).stat().st_size
    assert heard[-1] == (size, size)
    codes = find_codec(META).encode(sound, 4)
    assert (codes == codec_of(random_model().state_dict(), SHAPE).encode(sound, 4)).all()
    # Once is enough.
    (folder / name).unlink()
    assert fetch_codec(url=address + name, file_name=name, shape=SHAPE) == kept


def test_its_file_can_be_put_there_without_a_network(cache: Path) -> None:
    cache.mkdir()
    name = _published(cache)
    assert fetch_codec(url="http://127.0.0.1:9/none", file_name=name, shape=SHAPE).is_dir()
    assert find_codec(META).shape == SHAPE


def test_without_a_network_one_line_suggests_a_remedy(cache: Path) -> None:
    with pytest.raises(CodecError, match=r"^cannot fetch http://127[^\n]+ put the file a-12345678.th into [^\n]+$"):
        fetch_codec(url="http://127.0.0.1:9/a-12345678.th", file_name="a-12345678.th")
    assert not codec_folder(META).exists()


def test_another_file_is_not_taken_for_it(server: tuple[str, Path], cache: Path) -> None:
    address, folder = server
    (folder / "a-12345678.th").write_bytes(b"something else")
    with pytest.raises(CodecError, match=r"its SHA-256 begins \w{8}, it should be 12345678; delete it"):
        fetch_codec(url=address + "a-12345678.th", file_name="a-12345678.th")


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("exploded"),))


def test_nothing_in_it_is_executed(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cache.mkdir()
    for content in (Bomb(), {"a": Bomb()}, [1, 2]):
        name = _published(cache, content)
        with pytest.raises(CodecError, match=r"holds no weights that can be read safely"):
            fetch_codec(file_name=name, shape=SHAPE)
    assert not (tmp_path / "exploded").exists()


def test_weights_of_another_shape_are_not_kept(cache: Path) -> None:
    cache.mkdir()
    name = _published(cache)
    with pytest.raises(CodecError, match=r"the weights do not fit the shape"):
        fetch_codec(file_name=name, shape=CodecShape())
    assert not codec_folder(META).exists()


# The package


@pytest.mark.parametrize("how", ["missing", "broken"])
def test_encodec_is_imported_without_torchaudio(how: str, tmp_path: Path) -> None:
    """And torchaudio is afterwards as missing or as broken as it was."""
    if how == "broken":
        (tmp_path / "torchaudio").mkdir()
        (tmp_path / "torchaudio" / "__init__.py").write_text("raise OSError('libc10_cuda.so: cannot open')\n")
    code = """
        import sys, importlib
        if sys.argv[1] == "missing":
            sys.modules["torchaudio"] = None
        import torch
        from muse_tokenizers.audio.package import import_encodec
        encodec = import_encodec()
        assert import_encodec() is encodec
        discriminator = encodec.msstftd.MultiScaleSTFTDiscriminator(filters=2)
        outs, maps = discriminator(torch.randn(1, 1, 6000))
        assert len(outs) == 3
        try:
            importlib.import_module("torchaudio")
        except (ImportError, OSError):
            print("still", sys.argv[1])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), how],
        env={"PYTHONPATH": str(tmp_path), "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"still {how}\n"


@pytest.mark.parametrize("normalized", [False, True])
def test_the_stand_ins_spectrogram_is_the_short_time_fourier_transform(normalized: bool) -> None:
    from muse_tokenizers.audio.package import _spectrogram

    spectrum = _spectrogram(
        n_fft=64, hop_length=16, win_length=64, window_fn=torch.hann_window, normalized=normalized, center=False,
        pad_mode=None, power=None,
    )  # fmt: skip
    x = torch.randn(2, 1, 200, dtype=torch.float32)
    found = spectrum(x)
    window = torch.hann_window(64)
    for frame in range(found.shape[-1]):
        expected = torch.fft.rfft(x[..., 16 * frame : 16 * frame + 64] * window)
        if normalized:
            expected = expected / window.pow(2).sum().sqrt()
        torch.testing.assert_close(found[..., frame], expected, atol=1e-5, rtol=1e-4)
    assert import_encodec().__version__ == "0.1.1"


WITHOUT_A_COMPILER = """
import sys
from pathlib import Path
from muse_tokenizers.audio.codec import load_codec
load_codec(Path(sys.argv[1]))
print("torch" in sys.modules, "torch._dynamo" in sys.modules, "sympy" in sys.modules)
"""


def test_a_codec_is_loaded_without_torchs_compiler(folder: Path) -> None:
    words = [sys.executable, "-c", WITHOUT_A_COMPILER, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]


@pytest.mark.parametrize("shape", [SHAPE, replace(SHAPE, residual_layers=2, lstm=1, ratios=(5, 3))])
def test_the_shapes_that_are_expected_are_those_of_a_model(shape: CodecShape) -> None:
    built = build_model(shape).state_dict()
    assert _shapes(shape) == {name: tuple(tensor.shape) for name, tensor in built.items() if _is_used(name)}
