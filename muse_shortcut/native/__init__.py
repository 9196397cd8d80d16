"""The cached decoding step in C, and how it is loaded."""
