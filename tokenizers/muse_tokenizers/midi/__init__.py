"""MIDI: scores to ids and back, on MidiTok."""
