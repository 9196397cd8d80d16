"""Training: batches, loss, optimiser, checkpoints, metrics. Knows no domain beyond the tokenizer that it stores."""
