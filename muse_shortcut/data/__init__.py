"""From music, sound or text on a disk or a server to token stores and batches; what an id means stays unknown here."""
