"""Generation: sampling under a grammar, candidates, step events, traces. Does not know how anything is drawn."""
