"""The loopback Hub and olah, with the real client: it sees what it should, whichever it asks."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import HfApi, close_session, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from tests.hub_server import LoopbackHub, tree_entry
from tests.olah_mirror import olah_git, olah_mirror
from tests.tiny_gguf import make_tiny_model

REPO, MODEL = "org/tiny-GGUF", "tiny-Q4_K_M.gguf"
NO_COMMIT = "1" * 40
CARD = {"license": "gemma", "language": ["en", "de"]}


@pytest.fixture(scope="module", autouse=True)
def quiet_client() -> Iterator[None]:
    """Keep the client from asking the Internet about its user; the variable is read at import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
        yield
        close_session()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A model's repository of more files than the Hub lists in one answer."""
    model = make_tiny_model(tmp_path_factory.mktemp("hub") / MODEL).read_bytes()
    parts = {f"parts/{number:03}.txt": b"part %d" % number for number in range(60)}
    return {MODEL: model, "README.md": b"# A tiny model\n", **parts}


@dataclass(frozen=True)
class Endpoint:
    """A server, the hash of its `main`, and whether it knows any file's sha256."""

    url: str
    commit: str
    has_sha256: bool

    @property
    def api(self) -> HfApi:
        return HfApi(self.url, token=False)

    def file_url(self, path: str = MODEL, *, repo: str = REPO, revision: str = "main") -> str:
        return hf_hub_url(repo, path, revision=revision, endpoint=self.url)


@pytest.fixture(scope="module")
def shared_hub(files: dict[str, bytes]) -> Iterator[LoopbackHub]:
    with LoopbackHub(
        tokens=["hf_good"],
        strangers=["hf_stranger"],
        gated=["org/gated"],
        private=["org/private"],
        renamed={"old/name": REPO},
        cards={REPO: CARD},
    ) as hub:
        hub.commit(REPO, files)
        hub.commit("org/gated", {MODEL: files[MODEL]})
        hub.commit("org/private", {MODEL: files[MODEL]})
        yield hub


@pytest.fixture(scope="module")
def hub_endpoint(shared_hub: LoopbackHub) -> Endpoint:
    return Endpoint(shared_hub.url, shared_hub.repos[REPO].branches["main"], has_sha256=True)


@pytest.fixture(scope="module")
def mirror_endpoint(
    shared_hub: LoopbackHub, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    with olah_mirror(shared_hub.url, tmp_path_factory.mktemp("mirror")) as olah:
        yield Endpoint(olah.url, shared_hub.repos[REPO].branches["main"], has_sha256=True)


@pytest.fixture(scope="module")
def git_endpoint(
    files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    with olah_git({REPO: files}, tmp_path_factory.mktemp("git")) as olah:
        yield Endpoint(olah.url, olah.commits[REPO], has_sha256=False)


@pytest.fixture(params=["hub", "mirror", "git"])
def endpoint(request: pytest.FixtureRequest) -> Endpoint:
    found: Endpoint = request.getfixturevalue(f"{request.param}_endpoint")
    return found


@pytest.fixture(params=["hub", "mirror"])
def whole_endpoint(request: pytest.FixtureRequest) -> Endpoint:
    """One that knows more than a git repository does: accounts, names of old, cards."""
    found: Endpoint = request.getfixturevalue(f"{request.param}_endpoint")
    return found


# ---------------------------------------------------------------------------------- the real client


def test_tree_has_every_size_and_the_hashes(endpoint: Endpoint, files: dict[str, bytes]) -> None:
    found = list(endpoint.api.list_repo_tree(REPO, recursive=True))

    entries = {entry.path: entry for entry in found if isinstance(entry, RepoFile)}
    assert {path: entry.size for path, entry in entries.items()} == {
        path: len(content) for path, content in files.items()
    }
    lfs = {path: entry.lfs.sha256 for path, entry in entries.items() if entry.lfs}
    sha256 = hashlib.sha256(files[MODEL]).hexdigest()
    assert lfs == ({MODEL: sha256} if endpoint.has_sha256 else {})


def test_paths_info_is_what_the_tree_says(endpoint: Endpoint) -> None:
    wanted = [MODEL, "parts/007.txt"]
    listed = [
        entry for entry in endpoint.api.list_repo_tree(REPO, recursive=True) if entry.path in wanted
    ]

    found = endpoint.api.get_paths_info(REPO, [*wanted, "none.gguf"])

    assert sorted(map(repr, found)) == sorted(map(repr, listed))


def test_metadata_of_a_file(endpoint: Endpoint, files: dict[str, bytes]) -> None:
    content = files[MODEL]
    for revision in ("main", endpoint.commit):
        metadata = get_hf_file_metadata(endpoint.file_url(revision=revision), token=False)

        git_sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        etag = hashlib.sha256(content).hexdigest() if endpoint.has_sha256 else git_sha1
        assert (metadata.commit_hash, metadata.size, metadata.etag) == (
            endpoint.commit,
            len(content),
            etag,
        )


@pytest.mark.parametrize("path", [MODEL, "README.md", "parts/059.txt"])
def test_download_is_what_was_put_there(
    endpoint: Endpoint, path: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    got = hf_hub_download(REPO, path, endpoint=endpoint.url, cache_dir=tmp_path, token=False)

    assert Path(got).read_bytes() == files[path]
    assert f"/snapshots/{endpoint.commit}/" in got


def test_unknown_repository(endpoint: Endpoint) -> None:
    with pytest.raises(RepositoryNotFoundError):
        list(endpoint.api.list_repo_tree("org/none"))
    with pytest.raises(RepositoryNotFoundError):
        get_hf_file_metadata(endpoint.file_url(repo="org/none"), token=False)


@pytest.mark.parametrize("revision", ["no-branch", NO_COMMIT])
def test_unknown_revision(whole_endpoint: Endpoint, revision: str) -> None:
    with pytest.raises(RevisionNotFoundError):
        list(whole_endpoint.api.list_repo_tree(REPO, revision=revision))
    with pytest.raises(RevisionNotFoundError):
        get_hf_file_metadata(whole_endpoint.file_url(revision=revision), token=False)


def test_unknown_file(whole_endpoint: Endpoint) -> None:
    with pytest.raises(RemoteEntryNotFoundError):
        get_hf_file_metadata(whole_endpoint.file_url("none.gguf"), token=False)


@pytest.mark.parametrize("token", [None, "hf_stranger"])
def test_gated_and_private_repositories_are_closed(whole_endpoint: Endpoint, token: str | None) -> None:
    with pytest.raises(GatedRepoError):
        get_hf_file_metadata(whole_endpoint.file_url(repo="org/gated"), token=token or False)
    with pytest.raises(RepositoryNotFoundError) as caught:
        get_hf_file_metadata(whole_endpoint.file_url(repo="org/private"), token=token or False)
    assert not isinstance(caught.value, GatedRepoError)


def test_right_token_opens_and_wrong_one_is_refused(whole_endpoint: Endpoint) -> None:
    for repo in ("org/gated", "org/private"):
        url = whole_endpoint.file_url(repo=repo)
        assert get_hf_file_metadata(url, token="hf_good").size
        with pytest.raises(HfHubHTTPError) as caught:
            get_hf_file_metadata(url, token="hf_wrong")
        assert caught.value.response.status_code == 401
    assert whole_endpoint.api.whoami(token="hf_good")["name"] == "tester"


def test_renamed_repository_is_found(
    whole_endpoint: Endpoint, files: dict[str, bytes], tmp_path: Path
) -> None:
    api, old = whole_endpoint.api, "old/name"

    assert api.model_info(old).id == REPO
    assert len(list(api.list_repo_tree(old, recursive=True))) == len(files)
    assert [entry.path for entry in api.get_paths_info(old, [MODEL])] == [MODEL]
    got = hf_hub_download(old, MODEL, endpoint=api.endpoint, cache_dir=tmp_path, token=False)
    assert Path(got).read_bytes() == files[MODEL]


def test_model_info(whole_endpoint: Endpoint, files: dict[str, bytes]) -> None:
    info = whole_endpoint.api.model_info(REPO)

    assert info.sha == whole_endpoint.commit
    assert info.tags == ["gguf", "en", "de", "license:gemma"]
    assert info.card_data is not None
    assert info.card_data["license"] == "gemma"
    assert info.gated is False
    assert info.last_modified
    assert [sibling.rfilename for sibling in info.siblings or ()] == sorted(files)
    assert whole_endpoint.api.model_info("org/gated").gated == "auto"


def test_hub_lists_models_and_hides_private_ones(hub_endpoint: Endpoint) -> None:
    def ids(**query: Any) -> list[str]:
        return [model.id for model in hub_endpoint.api.list_models(**query)]

    assert sorted(ids()) == ["org/gated", REPO]
    assert ids(search="TINY", filter="gguf") == [REPO]
    assert ids(filter="license:gemma") == [REPO]
    assert ids(author="other") == []


def test_token_goes_to_the_hub_only(
    shared_hub: LoopbackHub, files: dict[str, bytes], tmp_path: Path
) -> None:
    before = len(shared_hub.log)
    hf_hub_download("org/gated", MODEL, endpoint=shared_hub.url, cache_dir=tmp_path, token="hf_good")

    head, get = shared_hub.log[before:]
    assert (head.method, head.status, head.authorization) == ("HEAD", 302, "Bearer hf_good")
    assert (get.host, get.authorization) == (urlsplit(shared_hub.cdn_url).netloc, None)
    assert get.bytes_sent == len(files[MODEL])


# ------------------------------------------------------------------------- a Hub that changes, or lies


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


def tree(hub: LoopbackHub, revision: str = "main") -> dict[str, RepoFile]:
    found = HfApi(hub.url, token=False).list_repo_tree(REPO, revision=revision, recursive=True)
    return {entry.path: entry for entry in found if isinstance(entry, RepoFile)}


def test_old_commits_stay_until_they_are_forgotten(hub: LoopbackHub, tmp_path: Path) -> None:
    first = hub.commit(REPO, {MODEL: b"one", "README.md": b"kept"})
    second = hub.commit(REPO, {MODEL: b"two!", "README.md": None})
    aside = hub.commit(REPO, {MODEL: b"three"}, branch="some/branch")

    def content(revision: str) -> bytes:
        path = hf_hub_download(
            REPO, MODEL, revision=revision, endpoint=hub.url, cache_dir=tmp_path, token=False
        )
        return Path(path).read_bytes()

    assert len({first, second, aside}) == 3
    assert (content(first), content("main"), content("some/branch")) == (b"one", b"two!", b"three")
    assert set(tree(hub, first)) == {MODEL, "README.md"}
    assert set(tree(hub)) == {MODEL}

    hub.forget(REPO, second)

    assert tree(hub)[MODEL].size == len(b"one")
    with pytest.raises(RevisionNotFoundError):
        tree(hub, second)


def test_root_directory_is_the_first_commit(tmp_path: Path, files: dict[str, bytes]) -> None:
    model = tmp_path / "root" / REPO / "sub" / MODEL
    model.parent.mkdir(parents=True)
    model.write_bytes(files[MODEL])
    command = (sys.executable, "-m", "tests.hub_server", str(tmp_path / "root"))
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout
        url = process.stdout.readline().strip().removeprefix("HF_ENDPOINT=")
        try:
            got = hf_hub_download(
                REPO, f"sub/{MODEL}", endpoint=url, cache_dir=tmp_path / "cache", token=False
            )
        finally:
            process.send_signal(signal.SIGINT)

    assert process.returncode == 0
    assert Path(got).read_bytes() == files[MODEL]


def test_injected_entries_are_listed_as_they_are(hub: LoopbackHub) -> None:
    hub.commit(REPO, {MODEL: b"model"})
    hostile = ["../up.gguf", "/etc/abs.gguf", "back\\slash.gguf", "bell\x07\x1b[31m.gguf"]
    hub.extra_tree_entries += [tree_entry(path, 7, sha256="a" * 64) for path in hostile]

    listed = tree(hub)

    assert list(listed) == [MODEL, *hostile]
    assert all(listed[path].lfs.sha256 == "a" * 64 for path in hostile)  # type: ignore[union-attr]


def test_hub_without_lfs_has_no_sha256(tmp_path: Path) -> None:
    with LoopbackHub(no_lfs=[REPO]) as hub:
        hub.commit(REPO, {MODEL: b"model"})
        got = hf_hub_download(REPO, MODEL, endpoint=hub.url, cache_dir=tmp_path, token=False)

        assert tree(hub)[MODEL].lfs is None
        assert Path(got).read_bytes() == b"model"
        assert not hub.requests("/cdn")
