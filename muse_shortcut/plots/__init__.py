"""Pictures of a trace: where in the music, and at which depth, each new token looked. Knows no model."""
