"""The exceptions of the library and its commands, as one tree.

    MuseError                 base class; the message is one line: what was found, where, what is allowed
    ├── ArgumentsError        an option is invalid, or options cannot be combined
    │   └── OptionError       an option has an invalid value: also an `InvalidOptionError`
    ├── RecipeError           a recipe cannot be read or is invalid
    ├── DownloadError         a source could not be downloaded, or its checksum differs
    ├── StoreError            a token store is missing, damaged, or made by another tokenizer
    ├── CheckpointError       a checkpoint is missing, damaged, or of another configuration
    ├── OutputError           a file could not be written
    ├── TrainingError         a training cannot continue
    ├── HubError              a model could not be downloaded from the Hugging Face Hub, or uploaded to it
    ├── PluginError           a domain or a last layer of another installed package does not work
    └── TokenizerError        base class of the errors of files, tokenizers and constraints (`muse_tokenizers.errors`)

Commands print the message and exit with code 2.
"""

from muse_tokenizers.errors import InvalidOptionError, MuseError, PluginError

__all__ = [
    "ArgumentsError",
    "CheckpointError",
    "DownloadError",
    "HubError",
    "MuseError",
    "OptionError",
    "OutputError",
    "PluginError",
    "RecipeError",
    "StoreError",
    "TrainingError",
]


class ArgumentsError(MuseError):
    """An option is invalid, or options cannot be combined."""


class OptionError(InvalidOptionError, ArgumentsError):
    """An option has an invalid value. The message has the option's name in Python; `worded` replaces it."""


class RecipeError(MuseError):
    """A recipe cannot be read or is invalid."""


class DownloadError(MuseError):
    """A source could not be downloaded, or its checksum differs."""


class StoreError(MuseError):
    """A token store is missing, damaged, or made by another tokenizer."""


class CheckpointError(MuseError):
    """A checkpoint is missing, damaged, or of another configuration."""


class OutputError(MuseError):
    """A file could not be written."""


class TrainingError(MuseError):
    """A training cannot continue."""


class HubError(MuseError):
    """A model could not be downloaded from the Hugging Face Hub, or uploaded to it."""
