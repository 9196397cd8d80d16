"""How good a checkpoint is: likelihood of held-out pieces, continuations beside true ones, copies of training music."""
