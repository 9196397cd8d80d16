"""Text: bytes as ids of a vocabulary, and ids as well-formed text."""
