"""An even comparison of cores: the same batches for each, as many tokens, several seeds, several stores."""
