"""Controlled comparisons of architectures: the same batches and tokens for each, over several seeds and stores."""
