"""Models on the Hugging Face Hub: `hf:OWNER/NAME` and `hf:OWNER/NAME@REVISION`, through `huggingface_hub`.

Only the files of a checkpoint are downloaded, by name: safetensors and small JSON files. Nothing that is downloaded is
executed or unpickled. The files stay in huggingface_hub's cache, from which they are read without a network. The
environment variable HF_ENDPOINT selects another hub.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR
from pathlib import Path

from muse_shortcut.errors import HubError

__all__ = ["FILES", "check_repository", "fetch_model", "is_on_hub", "parse_hub_name", "push_model"]

FILES = (
    "config.json",
    "generation.json",
    "model.safetensors",
    "README.md",
    "tokenizer/tokenizer.json",
    "tokenizer/bpe.json",
    "tokenizer/codec/codec.json",
    "tokenizer/codec/codec.safetensors",
)
"""Files of a model that are downloaded and uploaded."""

_PREFIX = "hf:"
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_NAME = re.compile(rf"{_WORD}/{_WORD}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")


def is_on_hub(name: str | Path) -> bool:
    """Whether a name is that of a model on a hub."""
    return str(name).startswith(_PREFIX)


def parse_hub_name(name: str | Path) -> tuple[str, str | None]:
    """Split `hf:OWNER/NAME@REVISION` into "OWNER/NAME" and the revision, None if there is none.

    Raises:
        HubError: The name does not have this form.

    >>> parse_hub_name("hf:me/waltzes@v2")
    ('me/waltzes', 'v2')
    """
    repository, at, revision = str(name).removeprefix(_PREFIX).partition("@")
    check_repository(repository, str(name))
    if at and (not _REVISION.fullmatch(revision) or ".." in revision or revision.endswith("/")):
        raise HubError(f"{name}: the revision is {revision!r}; allowed: a branch, a tag or a commit")
    return repository, revision or None


def check_repository(repository: str, named: str | None = None) -> None:
    """Check that a repository has the form OWNER/NAME. Raises HubError."""
    if not _NAME.fullmatch(repository) or ".." in repository or "--" in repository or len(repository) > 96:
        raise HubError(
            f"{named or repository} is not the name of a model on the Hub; allowed: OWNER/NAME, and to read one "
            "hf:OWNER/NAME or hf:OWNER/NAME@REVISION"
        )


def fetch_model(name: str | Path) -> Path:
    """Download the files of a model that are not in the cache, and return their folder.

    Args:
        name: `hf:OWNER/NAME`, optionally with `@REVISION`: a branch, a tag or a commit. A commit pins the content.

    Raises:
        HubError: There is no such model, it has no safetensors, or it is not in the cache and there is no network.
    """
    repository, revision = parse_hub_name(name)
    from huggingface_hub import snapshot_download

    with _in_one_line(str(name), "read"):
        folder = Path(
            snapshot_download(repository, revision=revision, allow_patterns=list(FILES), endpoint=_endpoint())
        )
    if not (folder / "model.safetensors").is_file():
        raise HubError(f"{name} has no model.safetensors; weights of any other kind are not read")
    return folder


def push_model(folder: Path, repository: str, *, private: bool = False, message: str) -> str:
    """Upload the files of a checkpoint as one commit; the repository is created if it does not exist.

    Args:
        folder: Folder of the checkpoint.
        repository: "OWNER/NAME".
        private: Whether a new repository is private.
        message: Message of the commit.

    Returns:
        URL of the repository.

    Raises:
        HubError: Nobody is logged in, the owner is somebody else, or there is no network.
    """
    check_repository(repository)
    from huggingface_hub import HfApi

    api = HfApi(endpoint=_endpoint(), library_name="muse-shortcut")
    with _in_one_line(repository, "write"):
        made = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, allow_patterns=list(FILES), commit_message=message)
    return str(made)


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def _in_one_line(name: str, purpose: str) -> Iterator[None]:
    """Convert whatever huggingface_hub raises to a HubError, and suppress its output except for progress bars on a
    terminal."""
    from huggingface_hub import errors

    try:
        with _quiet():
            yield
    except errors.GatedRepoError as error:
        raise HubError(f"{name}: its owner has not given you access yet; ask for it on the model's page") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{name}: the hub has no such model, or shows it to others only; `hf auth login`, or the variable "
            "HF_TOKEN, says who you are"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{name}: the model has no such revision; allowed: a branch, a tag or a commit") from error
    except (errors.LocalTokenNotFoundError, errors.HFValidationError) as error:
        raise HubError(f"{name}: {_first_line(error)}") from error
    except errors.LocalEntryNotFoundError as error:
        raise HubError(f"{name} is not in the cache, and the hub cannot be reached: {_cause(error)}") from error
    except errors.HfHubHTTPError as error:
        raise HubError(f"{name}: {_refusal(error.response.status_code, purpose)}") from error
    except errors.OfflineModeIsEnabled as error:
        raise HubError(f"{name}: HF_HUB_OFFLINE is set, and this needs the network") from error
    except OSError as error:
        raise HubError(f"{name}: cannot {purpose} it: {error.strerror or _first_line(error)}") from error
    except Exception as error:
        # The exceptions of its HTTP library have no base class that huggingface_hub documents.
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "httpcore", "requests", "hf_xet"):
            raise
        raise HubError(f"{name}: the hub cannot be reached: {_first_line(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    from huggingface_hub import logging
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    verbosity, hidden = logging.get_verbosity(), bool(are_progress_bars_disabled())
    logging.set_verbosity(ERROR)
    if not hidden and not sys.stderr.isatty():
        disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if not hidden:
            enable_progress_bars()


def _refusal(status: int, purpose: str) -> str:
    if status == 401:
        return "the hub does not know who you are; `hf auth login`, or the variable HF_TOKEN, says it"
    if status == 403:
        return f"the hub does not let you {purpose} it; a token needs the right to {purpose}"
    return f"the hub answered with HTTP status {status}"


def _cause(error: BaseException) -> str:
    from huggingface_hub import errors

    while error.__cause__ is not None:
        if isinstance(error, errors.OfflineModeIsEnabled):
            break
        error = error.__cause__
    return "HF_HUB_OFFLINE is set" if isinstance(error, errors.OfflineModeIsEnabled) else _first_line(error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
