"""What a user of the library or of a command can meet, as one tree.

    MuseError                 one line for a person: what was found, where, what is allowed
    ├── ArgumentsError        options that are impossible, or impossible together
    │   └── OptionError       of which option, value and what is allowed are known: an `OptionProblem`
    ├── RecipeError           a recipe that cannot be read or says something impossible
    ├── DownloadError         a source that could not be fetched, or is not what it should be
    ├── StoreError            a token store that is missing, damaged, or of another tokenizer
    ├── CheckpointError       a checkpoint that is missing, damaged, or of another shape
    ├── OutputError           a file that could not be written
    ├── TrainingError         a training that cannot go on
    ├── HubError              a model that could not be fetched from a hub, or sent to one
    └── TokenizerError        what is wrong with a file, a tokenizer or a constraint (`muse_tokenizers.errors`)

Commands print the line and exit with 2.
"""

from muse_tokenizers.errors import MuseError, OptionProblem

__all__ = [
    "ArgumentsError",
    "CheckpointError",
    "DownloadError",
    "HubError",
    "MuseError",
    "OptionError",
    "OutputError",
    "RecipeError",
    "StoreError",
    "TrainingError",
]


class ArgumentsError(MuseError):
    """Options that are impossible, or impossible together."""


class OptionError(OptionProblem, ArgumentsError):
    """An option is impossible. Its text has the option's name in Python; `worded` gives it another."""


class RecipeError(MuseError):
    """A recipe that cannot be read or says something impossible."""


class DownloadError(MuseError):
    """A source that could not be fetched, or is not what it should be."""


class StoreError(MuseError):
    """A token store that is missing, damaged, or made by another tokenizer."""


class CheckpointError(MuseError):
    """A checkpoint that is missing, damaged, or of another shape."""


class OutputError(MuseError):
    """A file that could not be written."""


class TrainingError(MuseError):
    """A training that cannot go on."""


class HubError(MuseError):
    """A model that could not be fetched from a hub, or sent to one."""
