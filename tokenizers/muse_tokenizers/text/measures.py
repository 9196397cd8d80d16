"""Measures of a segment of text: repetition, lengths of words and sentences, distribution of letters."""

from __future__ import annotations

import re

import numpy as np

from muse_tokenizers.measures import Histogram, Measure, Number

__all__ = ["measure_text"]

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'\u201d\u2019)\]]*(?=\s|$)|\n\s*\n")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_KINDS = ("letter", "digit", "space", "line end", "mark")


def measure_text(data: bytes) -> dict[str, Measure]:
    """Of bytes, which need not begin or end with a whole character; what has no meaning without words is left out.

    distinct_1, distinct_2, distinct_3: different words, pairs, triples by all of them (Li et al. 2016, arXiv
        1510.03055), letters small. It falls as a text grows: compare segments of one length.
    repetition: share of the runs of four words that have come before in the segment (1 - distinct_4; rep-4 of Welleck
        et al. 2019, arXiv 1908.04319).
    word_length: characters a word, mean.
    sentence_length: words a sentence, mean; a sentence ends with . ! ? … or an empty line.
    letters: shares of a to z, of other letters, whatever their case.
    characters: shares of letters, digits, spaces, line ends and marks.
    """
    text = data.decode("utf-8", "ignore")
    measures: dict[str, Measure] = {}
    if not text:
        return measures
    measures["characters"] = _histogram([_kind(character) for character in text], _KINDS)
    letters = [letter if letter in _LETTERS else "other" for letter in text.lower() if letter.isalpha()]
    if letters:
        measures["letters"] = _histogram(letters, (*_LETTERS, "other"))
    words = _WORD.findall(text.lower())
    for length in (1, 2, 3, 4):
        runs = list(zip(*(words[start:] for start in range(length)), strict=False))
        if not runs:
            break
        distinct = len(set(runs)) / len(runs)
        name, value = (f"distinct_{length}", distinct) if length < 4 else ("repetition", 1 - distinct)
        measures[name] = Number(value=value, unit="")
    if words:
        measures["word_length"] = Number(value=float(np.mean([len(word) for word in words])), unit="characters")
        sentences = sum(bool(_WORD.search(part)) for part in _SENTENCE_END.split(text))
        measures["sentence_length"] = Number(value=len(words) / sentences, unit="words", floor=1.0)
    return measures


def _kind(character: str) -> str:
    if character.isalpha():
        return "letter"
    if character.isnumeric():
        return "digit"
    if character in "\r\n":
        return "line end"
    return "space" if character.isspace() else "mark"


def _histogram(found: list[str], bins: tuple[str, ...]) -> Histogram:
    counts = np.array([found.count(name) for name in bins], dtype=np.float64)
    return Histogram(shares=counts / counts.sum(), bins=bins)
