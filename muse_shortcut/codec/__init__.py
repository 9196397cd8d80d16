"""How a neural codec is trained and judged."""
