"""Evaluation of checkpoints: likelihood of held-out pieces, continuations compared with true ones, and copies of
training data."""
