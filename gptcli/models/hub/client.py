"""What the Hub says of repositories and files."""

from __future__ import annotations

import ipaddress
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2

from gptcli import __version__
from gptcli.errors import UsageError
from gptcli.models.gguf import GgufHeader, read_remote_header
from gptcli.models.hub.faults import Attempt, is_passing, may_have_expired, retry_after, translated
from gptcli.models.hub.library import import_library
from gptcli.models.quants import RepoFile
from gptcli.models.registry import is_repo_id

ATTEMPTS = 4
RETRIED_BY_LIBRARY = 1  # lists, which huggingface_hub asks for six times itself, within 24 s
MOST_PATIENCE_S = 60.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class License:
    """A licence as the repository's card names it: an identifier such as "apache-2.0", and its text."""

    id: str
    url: str


@dataclass(frozen=True, slots=True)
class RemoteRepo:
    """A repository at a commit. `repo` is what it is called now, which may not be what was asked for.

    `is_head`: no revision was asked for, so that it is the head of main.
    """

    repo: str
    commit: str
    files: tuple[RepoFile, ...]
    license: License
    is_gated: bool
    is_head: bool


@dataclass(frozen=True, slots=True)
class Location:
    """Where a file's bytes are: an address that may be signed and soon expire, so never shown.

    `etag` is the SHA-256 of a large file, the git hash of a small one.
    """

    url: str
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A repository that a search found. `updated` is a day, "" if the Hub does not say it."""

    repo: str
    downloads: int
    likes: int
    updated: str
    license: str
    is_gated: bool


class Hub:
    """The Hub at HF_ENDPOINT, or huggingface.co. Every method raises NetworkError or ModelNotFoundError.

    The user's token is not sent to a plain http endpoint on another machine; `warnings` says so.
    """

    def __init__(self, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.endpoint = _endpoint()  # first: the library reads it too, at import
        self._library = import_library()
        self.sleep = sleep
        self.warnings: list[str] = []
        self.token = self._token()
        keep_token_home(self._library.utils.get_session(), self.endpoint)
        self._api = self._library.HfApi(
            endpoint=self.endpoint,
            token=self.token or False,
            library_name="gptcli",
            library_version=__version__,
        )

    def repository(self, repo: str, revision: str | None = None) -> RemoteRepo:
        """Return what a repository holds, at a commit or branch; by default at the head of main."""
        attempt = self._attempt(repo, revision)
        info = self.retrying(attempt, lambda: self._api.model_info(repo, revision=revision or "main"))
        commit = str(info.sha)
        if not (is_repo_id(str(info.id)) and re.fullmatch(r"[0-9a-f]{40}", commit)):
            raise translated(ValueError("neither a name nor a commit"), attempt)
        files = self.retrying(
            attempt, lambda: tuple(self._files(str(info.id), commit)), attempts=RETRIED_BY_LIBRARY
        )
        return RemoteRepo(
            repo=str(info.id),
            commit=commit,
            files=files,
            license=_license(info, str(info.id)),
            is_gated=bool(info.gated),
            is_head=revision is None,
        )

    def locate(self, repo: str, commit: str, path: str) -> Location:
        """Return where a file's bytes are, now."""
        attempt = self._attempt(repo, commit)
        return self.retrying(attempt, lambda: self._locate(repo, commit, path))

    def _locate(self, repo: str, commit: str, path: str) -> Location:
        library = self._library
        url = library.hf_hub_url(repo, path, revision=commit, endpoint=self.endpoint)
        found = library.get_hf_file_metadata(
            url, token=self.token or False, endpoint=self.endpoint, library_name="gptcli"
        )
        return Location(str(found.location), str(found.etag), int(found.size or 0))

    def search(self, words: str, limit: int) -> list[SearchResult]:
        """Return the repositories with GGUF files that the words find, the most downloaded first."""
        found = self.retrying(
            self._attempt(""),
            lambda: list(
                self._api.list_models(search=words, filter="gguf", sort="downloads", limit=limit)
            ),
            attempts=RETRIED_BY_LIBRARY,
        )
        return [_result(info) for info in found if is_repo_id(str(info.id))]

    @contextmanager
    def stream(self, location: Location, start: int, end: int | None = None) -> Iterator[Any]:
        """Yield the response to a request for the bytes from `start` on (up to `end`, not included).

        Its status may be 200, with all bytes, where the server knows no ranges. Raises what httpx2
        raises; its HTTPStatusError does not show the address, which may be signed.
        """
        headers = {"Accept-Encoding": "identity"}
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        if self.token and _origin(location.url) == _origin(self.endpoint):
            headers["Authorization"] = f"Bearer {self.token}"
        timeout = float(self._library.constants.HF_HUB_DOWNLOAD_TIMEOUT)
        session = self._library.utils.get_session()
        request = session.stream(
            "GET", location.url, headers=headers, timeout=timeout, follow_redirects=True
        )
        with request as response:
            if response.status_code >= 400:
                raise httpx2.HTTPStatusError(
                    f"status {response.status_code}", request=response.request, response=response
                )
            yield response

    def header(self, repo: str, commit: str, file: RepoFile) -> GgufHeader:
        """Return what the first MiB of a file says of the model. Raises ModelFileError too."""
        return read_remote_header(
            lambda start, end: self._read(repo, commit, file.path, start, end), file.size, file.path
        )

    def _read(self, repo: str, commit: str, path: str, start: int, end: int) -> bytes:
        """Return a file's bytes from `start` to `end` (not included), or as far as it goes."""

        def once() -> bytes:
            with self.stream(self._locate(repo, commit, path), start, end) as response:
                skip = start if response.status_code == 200 else 0
                received = b""
                for block in response.iter_raw():
                    received += block
                    if len(received) >= skip + end - start:
                        break
                return received[skip : skip + end - start]

        # Each attempt gets a new address.
        return self.retrying(
            self._attempt(repo, commit), once, passes=lambda e: is_passing(e) or may_have_expired(e)
        )

    def retrying(
        self,
        attempt: Attempt,
        call: Callable[[], T],
        *,
        attempts: int = ATTEMPTS,
        passes: Callable[[Exception], bool] = is_passing,
    ) -> T:
        """Return what the call returns, tried again where that may help. Raises our errors.

        `passes` tells whether an error may be gone a moment later. OSError stays as it is where it
        comes from the disk.
        """
        for failures in range(1, attempts + 1):
            try:
                return call()
            except (httpx2.HTTPError, OSError, ValueError, EOFError) as error:
                if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
                    raise
                if failures == attempts or not passes(error):
                    raise translated(error, attempt) from error
                asked = retry_after(error)
                self.sleep(min(asked or 0.25 * 2**failures, MOST_PATIENCE_S))
        raise AssertionError

    def _attempt(self, repo: str, revision: str | None = None) -> Attempt:
        return Attempt(self.endpoint, bool(self.token), repo, revision)

    def _files(self, repo: str, commit: str) -> Iterator[RepoFile]:
        for entry in self._api.list_repo_tree(repo, recursive=True, revision=commit):
            size = getattr(entry, "size", None)
            if size is not None:  # not a folder
                lfs = entry.lfs
                yield RepoFile(entry.path, lfs.size if lfs else size, lfs.sha256 if lfs else None)

    def _token(self) -> str | None:
        parts = urlsplit(self.endpoint)
        token: str | None = self._library.get_token()
        if token and parts.scheme == "http" and not _is_loopback(str(parts.hostname)):
            self.warnings.append(
                f"your token is not sent to {parts.netloc}: the connection is not encrypted"
            )
            return None
        return token


class _TokenGuard:
    """Takes the token out of requests to any other origin than the Hub's: its library follows the links
    between the pages of a listing wherever they lead.
    """

    def __init__(self, endpoint: str) -> None:
        self._origin = _origin(endpoint)

    def __call__(self, request: Any) -> None:
        if _origin(str(request.url)) != self._origin:
            request.headers.pop("Authorization", None)


def keep_token_home(session: Any, endpoint: str) -> None:
    """See to it that the library's HTTP client sends the token to the endpoint alone."""
    others = [hook for hook in session.event_hooks["request"] if not isinstance(hook, _TokenGuard)]
    session.event_hooks = {**session.event_hooks, "request": [*others, _TokenGuard(endpoint)]}


def _endpoint() -> str:
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    try:
        parts = urlsplit(endpoint)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_address = False
    if not is_address:
        raise UsageError("HF_ENDPOINT is not an address", hint="HF_ENDPOINT=https://… gptcli …")
    return endpoint


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _license(info: Any, repo: str) -> License:
    card = info.card_data.to_dict() if info.card_data else {}
    named = next((tag for tag in info.tags or () if tag.startswith("license:")), "")
    identifier = str(card.get("license") or named.removeprefix("license:") or "unknown")
    if identifier == "other" and card.get("license_name"):
        identifier = str(card["license_name"])
    link = card.get("license_link")
    is_address = isinstance(link, str) and link.startswith("https://") and link.isprintable()
    return License(_printable(identifier), str(link) if is_address else f"https://huggingface.co/{repo}")


def _printable(text: str) -> str:
    return "".join(char for char in text if char.isprintable())


def _result(info: Any) -> SearchResult:
    named = next((tag for tag in info.tags or () if tag.startswith("license:")), "")
    changed = info.last_modified or info.created_at
    return SearchResult(
        repo=str(info.id),
        downloads=int(info.downloads or 0),
        likes=int(info.likes or 0),
        updated=changed.date().isoformat() if changed else "",
        license=_printable(named.removeprefix("license:")),
        is_gated=bool(info.gated),
    )
