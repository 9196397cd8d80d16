"""The page: continue music, sound and text in a browser, watch it being written, see why."""
