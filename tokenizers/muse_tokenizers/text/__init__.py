"""Text: bytes to ids of a vocabulary and back."""
