"""muse-shortcut: continue music with a GPT whose last layer attends to all the layers below it."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("muse-shortcut")
