"""Training and evaluation of neural codecs."""
