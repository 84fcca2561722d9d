"""A Hugging Face Hub of our own on 127.0.0.1, for tests: real enough for the huggingface_hub client.

It speaks the part of the Hub's API that finding and downloading models takes, on two ports: the Hub, and
the CDN that its links to large files lead to. There is no Xet, no upload, no dataset and no TLS.
To try it by hand: python -m tests.hub_server DIRECTORY, where the directory holds ORG/NAME/FILES.
"""

from __future__ import annotations

import argparse
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.hub_faults import Fault, Handler, Listener, Refusal, Request, Traffic
from tests.hub_repos import Blob, Commit, Json, Repository, folded, siblings, tree_entry

__all__ = ["Blob", "Fault", "LoopbackHub", "Repository", "Request", "tree_entry"]

# Not in the list of models unless it is asked for with full=true.
_ONLY_IN_FULL = {"author", "gated", "lastModified", "sha"}


@dataclass
class _Link:
    """A signed link to a file on the CDN."""

    blob: Blob
    issued_s: float
    uses: int = 0


class LoopbackHub(Traffic):
    """The Hub with its CDN, both on free ports of 127.0.0.1; runs until `stop` or the end of `with`.

    `root` holds ORG/NAME/FILES: the first commit of each repository. Its files must not change later;
    new content comes with `commit`. `tokens` may see everything, `strangers` are valid tokens without
    access to gated and private repositories. `no_lfs`: repositories whose answers have no sha256.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        tokens: Collection[str] = (),
        strangers: Collection[str] = (),
        gated: Collection[str] = (),
        private: Collection[str] = (),
        no_lfs: Collection[str] = (),
        renamed: Mapping[str, str] | None = None,
        cards: Mapping[str, Mapping[str, Any]] | None = None,
        port: int = 0,
    ) -> None:
        super().__init__()
        self.tokens, self.strangers = set(tokens), set(strangers)
        self.renamed = dict(renamed or {})
        self.repos: dict[str, Repository] = {}
        self.extra_tree_entries: list[Json] = []
        """Put into every listing as they are, however odd; `tree_entry` makes them."""
        self.page_size = 50
        """Entries of a tree in one answer."""
        self.link_lifetime_s = float("inf")
        self.link_uses = float("inf")
        """How long, and for how many GETs, a link to the CDN is good; then it answers 403."""
        self._links: dict[str, _Link] = {}
        self._links_lock = threading.Lock()

        for directory in sorted(root.glob("*/*/")) if root else ():
            paths = [path for path in directory.rglob("*") if path.is_file()]
            files = {path.relative_to(directory).as_posix(): path for path in paths}
            self.commit(f"{directory.parent.name}/{directory.name}", files)
        for repo_id in {*gated, *private, *no_lfs, *(cards or {})}:
            self._repository(repo_id)
        for repo_id, repository in self.repos.items():
            repository.gated, repository.private = repo_id in gated, repo_id in private
            repository.lfs = repo_id not in no_lfs
            repository.card = (cards or {}).get(repo_id, {})

        self._hub = _Port(_HubHandler, self, port)
        # Another origin: the client follows redirects within the Hub, and takes any other for a CDN's.
        self._cdn = _Port(_CdnHandler, self)
        self.url, self.cdn_url = self._hub.url, self._cdn.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; raise what went wrong in the Hub itself, which clients only see as a lost connection."""
        self.stop()
        if error is None and self.bugs:
            raise self.bugs[0]

    def stop(self) -> None:
        """Go away, in the middle of answers too."""
        self.stopping.set()
        self._hub.stop()
        self._cdn.stop()

    def commit(
        self, repo_id: str, changes: Mapping[str, bytes | Path | None], *, branch: str = "main"
    ) -> str:
        """Add a commit to a branch and return its hash; None removes a file. Older commits stay.

        The repository, and the branch, are made if they are not there.
        """
        return self._repository(repo_id).add_commit(changes, branch)

    def forget(self, repo_id: str, sha: str) -> None:
        """Lose a commit, as a forced push does; a branch that ends there goes back to the one before."""
        self.repos[repo_id].forget(sha)

    def signed_link(self, blob: Blob) -> str:
        with self._links_lock:
            signature = secrets.token_urlsafe(16)
            self._links[signature] = _Link(blob, time.monotonic())
        return f"{self.cdn_url}/cdn/{blob.sha256}?sig={signature}"

    def linked_blob(self, sha256: str, signature: str, *, use: bool) -> Blob:
        """Return what a link leads to; raise Refusal if it is false or has expired."""
        with self._links_lock:
            link = self._links.get(signature)
            if link is None or link.blob.sha256 != sha256:
                raise Refusal(403, "Access denied")
            if link.uses >= self.link_uses or time.monotonic() - link.issued_s >= self.link_lifetime_s:
                raise Refusal(403, "Request has expired")
            link.uses += use
            return link.blob

    def _repository(self, repo_id: str) -> Repository:
        return self.repos.setdefault(repo_id, Repository(repo_id))


class _Port(Listener):
    def __init__(self, handler: type[Handler], hub: LoopbackHub, port: int = 0) -> None:
        self.hub = hub
        super().__init__(handler, hub, port)


class _CdnHandler(Handler):
    server: _Port

    def route(self) -> None:
        url = urlsplit(self.path)
        match = re.fullmatch(r"/cdn/([0-9a-f]{64})", url.path)
        if match is None:
            raise Refusal(403, "Access denied")
        signature = parse_qs(url.query).get("sig", [""])[0]
        blob = self.server.hub.linked_blob(match[1], signature, use=self.command == "GET")
        with blob.open() as file:
            self.answer_file(file, blob.size, {"ETag": f'"{blob.sha256}"'})


class _HubHandler(Handler):
    server: _Port

    def route(self) -> None:
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        hub = self.server.hub
        if self.token and self.token not in hub.tokens | hub.strangers:
            raise Refusal(401, "Invalid credentials in Authorization header")
        for pattern, answer in _ROUTES.items():
            # Matched with its quotes: a branch's name may have a slash.
            if match := re.fullmatch(pattern, url.path):
                answer(self, **{name: unquote(text or "") for name, text in match.groupdict().items()})
                return
        raise Refusal(404, "Sorry, we can't find the page you are looking for.")

    # ---------------------------------------------------------------------------------- the answers

    def whoami(self) -> None:
        if not self.token:
            raise Refusal(401, "Invalid username or password.")
        access = {"type": "access_token", "accessToken": {"displayName": "test", "role": "read"}}
        self.answer_json({"type": "user", "name": "tester", "orgs": [], "auth": access})

    def models(self) -> None:
        wanted, author = self._first("search").lower(), self._first("author")
        hidden = set() if "full" in self.query else _ONLY_IN_FULL
        hidden = hidden if "cardData" in self.query else hidden | {"cardData"}
        found = []
        for repository in tuple(self.server.hub.repos.values()):
            commit = repository.find("main")
            if commit is None or not self._may_see(repository) or wanted not in repository.id.lower():
                continue
            info = repository.info(commit)
            if author in ("", info["author"]) and set(self.query.get("filter", [])) <= set(info["tags"]):
                found.append({key: value for key, value in info.items() if key not in hidden})
        if self._first("sort") == "downloads":
            found.sort(key=lambda info: -info["downloads"])
        self.answer_json(found[: int(self._first("limit", "1000"))])

    def info(self, repo: str, revision: str = "main") -> None:
        repository, commit = self._find(repo, revision)
        files = siblings(self._entries(repository, commit), blobs="blobs" in self.query)
        info = {**repository.info(commit), "siblings": files}
        if expand := self.query.get("expand"):
            info = {key: value for key, value in info.items() if key in {"_id", "id", *expand}}
        self.answer_json(info)

    def refs(self, repo: str) -> None:
        heads = self._repository(repo).branches.items()
        branches = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha} for name, sha in heads
        ]
        self.answer_json({"branches": branches, "tags": [], "converts": []})

    def paths_info(self, repo: str, revision: str) -> None:
        paths = parse_qs(self.body.decode()).get("paths", [])
        entries = self._entries(*self._find(repo, revision))
        self.answer_json([entry for entry in entries if entry["path"] in paths])

    def tree(self, repo: str, revision: str, path: str = "") -> None:
        entries = self._entries(*self._find(repo, revision))
        prefix = f"{path.rstrip('/')}/" if path else ""
        below = [entry for entry in entries if entry["path"].startswith(prefix)]
        if path and not below:
            raise Refusal(404, f"{path} does not exist on {revision}", "EntryNotFound")
        recursive = self._first("recursive", "false")
        if recursive.lower() != "true":
            below = folded(below, prefix)
        start, size = int(self._first("cursor", "0")), self.server.hub.page_size
        headers = {}
        if start + size < len(below):
            here = f"{self.server.url}{urlsplit(self.path).path}"
            headers["Link"] = f'<{here}?recursive={recursive}&cursor={start + size}>; rel="next"'
        self.answer_json(below[start : start + size], headers=headers)

    def resolve(self, repo: str, revision: str, path: str) -> None:
        repository, commit, blob = self._file(repo, revision, path)
        if repository.has_lfs(path, blob):
            status, etag, place = 302, blob.sha256, self.server.hub.signed_link(blob)
        else:
            status, etag = 307, blob.git_sha1
            place = f"/api/resolve-cache/models/{repo}/{commit.sha}/{quote(path)}"
        linked = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(blob.size)}
        self.answer(
            status, {"X-Repo-Commit": commit.sha, "ETag": f'"{etag}"', **linked, "Location": place}
        )

    def resolve_cache(self, repo: str, revision: str, path: str) -> None:
        _, commit, blob = self._file(repo, revision, path)
        with blob.open() as file:
            self.answer_file(
                file, blob.size, {"X-Repo-Commit": commit.sha, "ETag": f'"{blob.git_sha1}"'}
            )

    # --------------------------------------------------------------------------------------- helpers

    def _first(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]

    def _may_see(self, repository: Repository) -> bool:
        return not repository.private or self.token in self.server.hub.tokens

    def _repository(self, repo_id: str) -> Repository:
        """Return the repository; raise Refusal if it is elsewhere, not there, or not to be seen."""
        hub = self.server.hub
        if new_id := hub.renamed.get(repo_id):
            place = self.path.replace(repo_id, new_id, 1)
            raise Refusal(307, f"Moved to {new_id}", headers={"Location": place})
        repository = hub.repos.get(repo_id)
        if repository is None or not self._may_see(repository):
            raise Refusal(404 if self.token else 401, "Repository not found", "RepoNotFound")
        return repository

    def _find(self, repo_id: str, revision: str) -> tuple[Repository, Commit]:
        repository = self._repository(repo_id)
        commit = repository.find(revision)
        if commit is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return repository, commit

    def _file(self, repo_id: str, revision: str, path: str) -> tuple[Repository, Commit, Blob]:
        repository, commit = self._find(repo_id, revision)
        if repository.gated and self.token not in self.server.hub.tokens:
            message = f"Access to model {repo_id} is restricted."
            raise Refusal(403 if self.token else 401, message, "GatedRepo")
        if path not in commit.files:
            raise Refusal(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": commit.sha})
        return repository, commit, commit.files[path]

    def _entries(self, repository: Repository, commit: Commit) -> list[Json]:
        return repository.entries(commit) + self.server.hub.extra_tree_entries


_REPO, _REVISION = "(?P<repo>[^/]+/[^/]+)", "(?P<revision>[^/]+)"
_ROUTES: dict[str, Callable[..., None]] = {
    "/api/whoami-v2": _HubHandler.whoami,
    "/api/models": _HubHandler.models,
    f"/api/models/{_REPO}": _HubHandler.info,
    f"/api/models/{_REPO}/revision/{_REVISION}": _HubHandler.info,
    f"/api/models/{_REPO}/refs": _HubHandler.refs,
    f"/api/models/{_REPO}/paths-info/{_REVISION}": _HubHandler.paths_info,
    f"/api/models/{_REPO}/tree/{_REVISION}(?:/(?P<path>.*))?": _HubHandler.tree,
    f"/api/resolve-cache/models/{_REPO}/{_REVISION}/(?P<path>.+)": _HubHandler.resolve_cache,
    f"/{_REPO}/resolve/{_REVISION}/(?P<path>.+)": _HubHandler.resolve,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hub_server", description=__doc__)
    parser.add_argument("root", type=Path, help="the directory with ORG/NAME/FILES")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--gated", action="append", default=[], metavar="ORG/NAME")
    parser.add_argument("--token", action="append", default=[])
    chosen = parser.parse_args()
    with LoopbackHub(chosen.root, port=chosen.port, gated=chosen.gated, tokens=chosen.token) as hub:
        print(f"HF_ENDPOINT={hub.url}", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
