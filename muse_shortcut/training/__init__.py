"""Training: batches, loss, optimiser, checkpoints, the log. Knows no domain beyond the tokenizer it carries along."""
