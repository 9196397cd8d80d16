"""Generation: logits to ids under a grammar, candidates, events. Does not know how anything is drawn."""
