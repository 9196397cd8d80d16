"""Sound: waveforms to the codes of a neural codec and back."""
