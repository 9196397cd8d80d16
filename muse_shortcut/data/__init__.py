"""Token stores and batches, from local or downloaded files of any domain. Does not know what an id means."""
