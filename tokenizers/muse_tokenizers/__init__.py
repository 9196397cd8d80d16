"""Files of a domain to token ids and back. Knows no model; numpy at import, everything heavier inside functions."""
