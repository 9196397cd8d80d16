"""The web page: continues music, sound and text in a browser, and shows what every generated token attended to."""
