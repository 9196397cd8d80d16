"""Loads tokenizers and domains by name, from a folder, or from a tokenizer; and registers them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from muse_tokenizers.base import Tokenizer
from muse_tokenizers.domain import Domain, View
from muse_tokenizers.domain_info import DomainInfo
from muse_tokenizers.errors import PluginError, UnknownTokenizerError
from muse_tokenizers.json_files import read_json
from muse_tokenizers.plugins import DOMAINS, installed_domains, load_plugin

__all__ = ["domain_class", "domain_kinds", "domain_of", "load_tokenizer", "register_domain", "tokenizer_class"]

_BUILT_IN = {
    "midi": ("MidiTokenizer", "MidiDomain"),
    "audio": ("AudioTokenizer", "AudioDomain"),
    "text": ("TextTokenizer", "TextDomain"),
}
"""Classes by kind, imported when they are first used."""
_registered: dict[str, tuple[type[Tokenizer[Any]], type[Domain[Any]]]] = {}


def register_domain(tokenizer: type[Tokenizer[Any]], domain: type[Domain[Any]]) -> None:
    """Register a custom domain under the `kind` of its tokenizer.

    It must be registered before a checkpoint or a store of the domain is loaded: files contain its name, and no code.

    Args:
        tokenizer: Class of the tokenizer; an existing one of the same kind is replaced.
        domain: Class of the domain.

    Raises:
        UnknownTokenizerError: The kind is that of a built-in domain or is missing, a class lacks a method or
            `info`, or the view of the domain does not exist.
    """
    kind = getattr(tokenizer, "kind", None)
    if not isinstance(kind, str) or not kind.isidentifier() or kind in _BUILT_IN:
        raise UnknownTokenizerError(
            f"kind is {kind!r}; allowed: a name such as 'abc', other than {', '.join(_BUILT_IN)}"
        )
    for one, noun in ((tokenizer, "tokenizer"), (domain, "domain")):
        lacking = sorted(getattr(one, "__abstractmethods__", ()))
        if lacking:
            raise UnknownTokenizerError(f"the {noun} {one.__name__} lacks {', '.join(lacking)}")
    if not isinstance(getattr(domain, "info", None), DomainInfo):
        raise UnknownTokenizerError(f"the domain {domain.__name__} lacks info, a DomainInfo with its suffixes")
    if domain.view not in get_args(View):
        raise UnknownTokenizerError(
            f"the domain {domain.__name__} has the view {domain.view!r}; allowed: {', '.join(get_args(View))}"
        )
    _registered[kind] = (tokenizer, domain)


def domain_kinds() -> tuple[str, ...]:
    """Return the names of all domains: built-in, registered, and of installed packages."""
    return tuple(dict.fromkeys((*_BUILT_IN, *_registered, *installed_domains())))


def _classes(kind: str) -> tuple[type[Tokenizer[Any]], type[Domain[Any]]]:
    if isinstance(kind, str) and kind in _BUILT_IN:
        names, package = _BUILT_IN[kind], f"muse_tokenizers.{kind}"
        tokenizer = getattr(import_module(f"{package}.tokenizer"), names[0])
        return tokenizer, getattr(import_module(f"{package}.domain"), names[1])
    if isinstance(kind, str):
        if kind not in _registered and (plugin := load_plugin(DOMAINS, kind)) and kind not in _registered:
            raise PluginError(f"{plugin} does not register that domain when it is imported")
        if kind in _registered:
            return _registered[kind]
    raise UnknownTokenizerError(
        f"no tokenizer is called {kind!r}; allowed: {', '.join(domain_kinds())}, or one that is registered first "
        "(muse_shortcut.register_domain) or whose package is installed"
    )


def tokenizer_class(kind: str) -> type[Tokenizer[Any]]:
    """Return the tokenizer class of a kind. Raises UnknownTokenizerError if there is no such kind."""
    return _classes(kind)[0]


def domain_class(kind: str) -> type[Domain[Any]]:
    """Return the class of a domain. Raises UnknownTokenizerError if there is no such domain."""
    return _classes(kind)[1]


def domain_of(tokenizer: Tokenizer[Any]) -> Domain[Any]:
    """Return the domain of a tokenizer. Raises UnknownTokenizerError if no domain of its kind is registered."""
    return domain_class(tokenizer.kind).of(tokenizer)


def load_tokenizer(folder: Path) -> Tokenizer[Any]:
    """Load a tokenizer that `Tokenizer.save` wrote.

    Raises:
        UnknownTokenizerError: The folder contains no tokenizer, a damaged one, or one whose vocabulary this version
            builds differently.
    """
    path = folder / "tokenizer.json"
    content = read_json(path, UnknownTokenizerError)
    try:
        kind, fingerprint, configuration = content["kind"], content["fingerprint"], content["configuration"]
    except (KeyError, TypeError) as error:
        raise UnknownTokenizerError(f"{path} is damaged: it should hold kind, fingerprint and configuration") from error
    tokenizer = tokenizer_class(kind).from_configuration(configuration, folder)
    if tokenizer.fingerprint() != fingerprint:
        raise UnknownTokenizerError(f"{path} was written by another version: its ids no longer mean the same")
    return tokenizer
