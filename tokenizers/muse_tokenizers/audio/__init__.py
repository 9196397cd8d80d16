"""Sound: waveforms as the codes of a neural codec, and codes as waveforms."""
