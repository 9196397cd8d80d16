"""Tokenizers and domains: files to token ids and back. Knows no model; imports only numpy at first, and everything
heavier inside functions."""
