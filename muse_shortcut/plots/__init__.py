"""Pictures of a trace: what each new token attended to, where and at which depth. Knows no model."""
