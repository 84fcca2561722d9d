"""What went wrong with the Hub, as errors that say what to type next; without addresses and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2

from gptcli.errors import GptcliError, IntegrityError, ModelNotFoundError, NetworkError
from gptcli.models.hub.library import import_library

PAGES = "https://huggingface.co"
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was tried: with which repository, at which endpoint, with a token or without."""

    endpoint: str
    has_token: bool
    repo: str = ""
    revision: str | None = None


def is_passing(error: Exception) -> bool:
    """Tell whether the same request may succeed a moment later."""
    library = import_library()
    if isinstance(error, library.errors.HfHubHTTPError | httpx2.HTTPStatusError):
        return status_of(error) in RETRIED_STATUSES
    return isinstance(error, httpx2.TransportError | ConnectionError)


def may_have_expired(error: Exception) -> bool:
    """Tell whether a signed address was refused that may have been good for a while only."""
    errors = import_library().errors
    is_about_repo = isinstance(error, errors.RepositoryNotFoundError | errors.DisabledRepoError)
    return status_of(error) == 403 and not is_about_repo


def status_of(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def retry_after(error: Exception) -> float | None:
    """Return the seconds that the server asks to wait; None if it asks for nothing, or for a date."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None


def translated(error: Exception, attempt: Attempt) -> GptcliError:
    """Return our error for one of huggingface_hub's, httpx2's or the system's."""
    errors = import_library().errors
    host = urlsplit(attempt.endpoint).netloc
    if isinstance(error, errors.GatedRepoError):
        return _gated(attempt)
    if isinstance(error, errors.DisabledRepoError):
        return NetworkError(f"{attempt.repo} is disabled by the Hub", hint=_search(attempt))
    if isinstance(error, errors.RepositoryNotFoundError):
        return _no_repository(attempt)
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelNotFoundError(
            f'{attempt.repo} has no revision "{attempt.revision}" any more',
            hint=f"gptcli models pull {attempt.repo} --update",
            model=attempt.repo,
        )
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return translated(error.__cause__, attempt)
    if isinstance(error, errors.EntryNotFoundError):
        return ModelNotFoundError(
            f"{attempt.repo} does not hold this file any more",
            hint=f"gptcli models fit {attempt.repo}",
            model=attempt.repo,
        )
    if isinstance(error, errors.HfHubHTTPError | httpx2.HTTPStatusError):
        return _status(error, attempt, host)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return offline(attempt.repo)
    if isinstance(error, httpx2.TimeoutException):
        return NetworkError(f"{host} does not answer", hint="the same again, or check the network")
    if isinstance(error, httpx2.TransportError | ConnectionError):
        reason = str(error).rpartition("] ")[2] or type(error).__name__
        return NetworkError(
            f"cannot reach {host}: {reason}",
            hint="check the network; HF_ENDPOINT=https://… names a mirror",
        )
    if isinstance(error, errors.FileMetadataError | ValueError):
        return NetworkError(
            f"{host} does not answer like a Hub", hint="check HF_ENDPOINT, or a proxy in between"
        )
    return NetworkError(f"{host}: {type(error).__name__}", hint="the same with --debug")


def offline(repo: str) -> NetworkError:
    """Return the error for a request that --offline or HF_HUB_OFFLINE forbids."""
    return NetworkError(
        f"{repo or 'the Hub'} is wanted, and the network must not be used (--offline, HF_HUB_OFFLINE)",
        hint="gptcli models list shows what is here",
    )


def mismatch(what: str, expected: str, found: str, hint: str) -> IntegrityError:
    """Return the error for a file that is not the one that was published, pinned or pulled before."""
    return IntegrityError(what, hint=hint, expected=expected, found=found)


def _gated(attempt: Attempt) -> NetworkError:
    page = f"{PAGES}/{attempt.repo}"
    if attempt.has_token:
        return NetworkError(
            f"{attempt.repo} is gated, and your token has no access to it",
            hint=f"ask for access at {page}, then the same again",
        )
    return NetworkError(
        f"{attempt.repo} is gated: its terms must be accepted, and a token is needed",
        hint=f"accept them at {page}, then: hf auth login",
    )


def _no_repository(attempt: Attempt) -> GptcliError:
    if attempt.has_token:
        return ModelNotFoundError(
            f'there is no repository "{attempt.repo}" that your token may read',
            hint=_search(attempt),
            model=attempt.repo,
        )
    return ModelNotFoundError(
        f'there is no repository "{attempt.repo}", or it is private',
        hint=f"{_search(attempt)}; if it is private: hf auth login",
        model=attempt.repo,
    )


def _status(error: Exception, attempt: Attempt, host: str) -> GptcliError:
    status = status_of(error)
    if status == 401:
        return NetworkError(f"{host} refuses your token", hint="hf auth login")
    if status == 403:
        return NetworkError(f"{host} refuses access to {attempt.repo}", hint="hf auth whoami")
    if status == 404:
        return _no_repository(attempt)
    if status == 429:
        return NetworkError(
            f"{host} allows no more requests for now", hint="wait some minutes; a token allows more"
        )
    return NetworkError(f"{host} answers with status {status}", hint="the same again later")


def _search(attempt: Attempt) -> str:
    return f"gptcli models search {attempt.repo.rpartition('/')[2]}"
