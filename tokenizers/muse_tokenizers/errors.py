"""What a user of a tokenizer can meet, as one tree.

TokenizerError            one line for a person: what was found, where, what is allowed
├── UnreadablePiece       a file that is not a piece of this domain, or an empty or an endless one
├── UnwritablePiece       a piece that could not be written where it was asked for
├── UnknownTokenizer      a folder that does not hold a tokenizer, or one of another kind
├── UnusableCodec         a codec that is not there, damaged, or of another shape than is needed
└── ImpossibleWish        a wish (instrument, key, tempo, ...) that this tokenizer cannot grant
"""

__all__ = [
    "ImpossibleWish",
    "TokenizerError",
    "UnknownTokenizer",
    "UnreadablePiece",
    "UnusableCodec",
    "UnwritablePiece",
]


class TokenizerError(Exception):
    """A mistake that a person can mend; its text is one line."""


class UnreadablePiece(TokenizerError):
    """A file that is not a piece of this domain, or an empty or an endless one."""


class UnwritablePiece(TokenizerError):
    """A piece that could not be written where it was asked for."""


class UnknownTokenizer(TokenizerError):
    """A folder that does not hold a tokenizer, or one of another kind."""


class ImpossibleWish(TokenizerError):
    """A wish (instrument, key, tempo, length) that this tokenizer cannot grant."""


class UnusableCodec(TokenizerError):
    """A codec that is not there, damaged, or of another shape than is needed."""
