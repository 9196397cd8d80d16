"""Rewords the parser's error messages: what was found, what is allowed, and a suggestion."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from muse_shortcut.suggesting import did_you_mean, options_like, spelt

__all__ = ["reword_error"]

_WRONG_TYPE = re.compile(r"Parser key \"(?P<key>[\w.]+)\": Expected an? (?P<type>.*?)\. Got value: (?P<value>.*)")
_WRONG_CHOICE = re.compile(
    r"argument (?:-\w/)?(?:--)?(?P<key>[\w.]+): invalid choice: '?(?P<value>.*?)'? \(choose from (?P<all>.*)\)"
)
_NO_VALUE = re.compile(r"argument (?:-\w/)?--(?P<key>[\w.]+): expected (?:one|at least one) argument")
_UNKNOWN_FIELD = re.compile(r"(?:Group '(?P<group>[\w.]+)' does not accept option|Option) '(?P<key>[\w.]+)'.*")
_NESTED = re.compile(
    r"Parser key \"(?P<key>[\w.]+)\": Does not validate .*?Problem with given class_path '[^']*': (?P<inner>.*?)"
    r"(?: - Expected a .*)?"
)
_NO_FIELDS = re.compile(
    r"Parser key \"(?P<key>[\w.]+)\": "
    r"(?:Does not validate .*Given value: (?P<value>.*)|Unable to load config '(?P<text>.*?)'.*)"
)
_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "dict": 'names with numbers, such as {"a": 1, "b": 0.5}',
}
_LIST = "whole numbers with commas between them"


def reword_error(message: str, options: Collection[str], places: Mapping[str, str]) -> str:
    """Reword a message of argparse or jsonargparse in the style of the other messages.

    Args:
        message: Their message, on one line.
        options: All options, without leading dashes and with underscores.
        places: The name in the usage, and the allowed values, of each positional argument.
    """

    inside = ""
    if found := _NESTED.fullmatch(message):
        inside, message = f"{found['key']}.", found["inner"]

    def name_of(key: str) -> str:
        return places[key].split()[0] if key in places else spelt(inside + key)

    if found := _WRONG_TYPE.fullmatch(message):
        return f"{name_of(found['key'])} is {_quoted(found['value'])}; allowed: {_type(found['type'])}"
    if found := _NO_FIELDS.fullmatch(message):
        return f"{name_of(found['key'])} is {_quoted(found['value'] or found['text'])}; allowed: its fields, one by one"
    if found := _WRONG_CHOICE.fullmatch(message):
        allowed = [one.strip("' ") for one in found["all"].split(",")]
        hint = did_you_mean(found["value"], allowed)
        return f"{name_of(found['key'])} is {found['value']!r}; allowed: {', '.join(allowed)}{hint}"
    if found := _NO_VALUE.fullmatch(message):
        return f"{name_of(found['key'])} needs a value"
    if found := _UNKNOWN_FIELD.fullmatch(message):
        key = found["key"] if found["group"] is None else f"{found['group']}.{found['key']}"
        return _unknown(inside + key, options)
    if message.startswith("unrecognized arguments: "):
        unknown = re.findall(r"(?<!\S)--?([A-Za-z][\w.]*)", message)
        extra = message.partition(": ")[2]
        return "; ".join(_unknown(key, options) for key in unknown) or f"unexpected argument: {extra}"
    if message.startswith("the following arguments are required: "):
        missing = message.partition(": ")[2].split(", ")
        return f"missing: {', '.join(places.get(key) or spelt(key.rpartition('--')[2]) for key in missing)}"
    return message


def _quoted(value: str) -> str:
    return value if value.startswith(("'", '"')) else repr(value)


def _type(name: str) -> str:
    if found := re.fullmatch(r"<class '(\w+)'>", name):
        name = found[1]
    if found := re.fullmatch(r"(?:typing\.)?Literal\[(.*)\]", name):
        return found[1].replace("'", "").replace('"', "")
    return _LIST if name.startswith("tuple") else _NAMES.get(name, name)


def _unknown(key: str, options: Collection[str]) -> str:
    found = [spelt(one) for one in options_like(key, options)]
    hint = f"; did you mean {' or '.join(found)}?" if found else ""
    return f"there is no option {spelt(key)}{hint}"
