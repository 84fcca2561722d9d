"""Plans and carries out a pull: which files, of which commit, with which hashes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gptcli.errors import IntegrityError, ModelNotFoundError
from gptcli.models import records
from gptcli.models.cache import blob_path, find_cached, part_path
from gptcli.models.hub.client import Hub, License, RemoteRepo
from gptcli.models.hub.transfer import Report, fetch, mark_head
from gptcli.models.licenses import must_be_accepted
from gptcli.models.quants import Choice, RepoFile, Variant, choose, matches, variants
from gptcli.models.registry import ModelSpec
from gptcli.models.spec import HubRef

Fits = Callable[[RemoteRepo, Variant], bool]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a pull was asked for. `spec` is the registry's entry, if there is one."""

    name: str
    ref: HubRef
    spec: ModelSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a pull will do. `pins` are the hashes that files must have, by path.

    `received` bytes are here already; `notes` are for the user.
    """

    wanted: Wanted
    remote: RemoteRepo
    variant: Variant
    reason: str
    pins: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def license(self) -> License:
        spec = self.wanted.spec
        return License(spec.license, spec.license_url) if spec is not None else self.remote.license

    @property
    def asks_for_consent(self) -> bool:
        """Whether the licence has to be accepted, and was not yet."""
        spec = self.wanted.spec
        asks = spec.accept_license if spec is not None else must_be_accepted(self.license.id)
        return asks and not records.is_accepted(self.license.id, self.wanted.ref.repo)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self.variant.size

    @property
    def received(self) -> int:
        """Bytes that are here already, of whole files and of files that were broken off."""
        repo = self.wanted.ref.repo
        return sum(_received(repo, file) for file in self.variant.files)


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model that is here now: the file to load, its commit and hashes, the bytes that were sent."""

    path: Path
    repo: str
    commit: str
    variant: Variant
    sha256: Mapping[str, str]
    sent: int


def already_here(wanted: Wanted) -> Pulled | None:
    """Return the model if exactly what is wanted was pulled before, without asking the network."""
    repo, spec = wanted.ref.repo, wanted.spec
    locked = records.locked_files(_lock_key(wanted))
    for commit, models in find_cached(repo, wanted.ref.revision).items():
        found = []
        for model in models:
            paths = {file.path for file in model.variant.files}
            facts = [locked.get(path) for path in paths]
            if not all(f is not None and f.commit == commit for f in facts):
                continue
            if not all(locked[file.path].size == file.size for file in model.variant.files):
                continue
            if spec is not None:
                pinned = {file.path: file.sha256 for file in spec.files}
                same = paths == set(pinned) and all(
                    pinned[path] in (None, locked[path].sha256) for path in paths
                )
            else:
                same = wanted.ref.quantization is not None and matches(
                    model.variant, wanted.ref.quantization
                )
            if same:
                hashes = {path: locked[path].sha256 for path in paths}
                found.append(Pulled(model.path, repo, commit, model.variant, hashes, 0))
        if found:
            return found[0] if len(found) == 1 else None
    return None


def make_plan(hub: Hub, wanted: Wanted, *, fits: Fits | None = None, update: bool = False) -> Plan:
    """Return what a pull will do. What was pulled before stays as it is, unless `update`.

    `fits` tells whether a variant fits in memory, for the choice where no quantization is asked for.
    Raises NetworkError, ModelNotFoundError, IntegrityError.
    """
    ref, spec = wanted.ref, wanted.spec
    revision = ref.revision or (spec.revision if spec is not None else None)
    remote = hub.repository(ref.repo, revision)
    notes = list(hub.warnings)
    if remote.repo != ref.repo:
        notes.append(f"{ref.repo} is now called {remote.repo}")
    choice = _choice(remote, wanted, fits)
    pins = _registry_pins(choice.variant, wanted, update)
    locked = {} if update else records.locked_files(_lock_key(wanted))
    changed = [file for file in choice.variant.files if _differs(file, locked, remote.commit)]
    if changed and revision is None:
        first = locked[changed[0].path]
        notes.append(
            f"{ref.repo} has changed since {first.date}; the files of that day are taken: "
            f"--update takes the new ones"
        )
        remote = hub.repository(ref.repo, first.commit)
        choice = _choice(remote, replace(wanted, ref=replace(ref, revision=first.commit)), fits)
    pins |= {
        path: known.sha256
        for path, known in locked.items()
        if revision is None or known.commit == remote.commit  # another revision has other files
    }
    return Plan(
        wanted=wanted,
        remote=remote,
        variant=choice.variant,
        reason=choice.reason,
        pins=pins,
        notes=tuple(notes),
    )


def carry_out(hub: Hub, plan: Plan, report: Callable[[RepoFile, int], Report]) -> Pulled:
    """Bring the plan's files into the cache and remember their hashes.

    `report` returns, for a file and the bytes of the files before it, whom to tell of its progress.
    Raises NetworkError, IntegrityError, ModelNotFoundError, StorageError; whole files stay.
    """
    repo, commit = plan.wanted.ref.repo, plan.remote.commit
    before = sent = 0
    paths, hashes = [], {}
    for file in plan.variant.files:
        fetched = fetch(hub, repo, commit, file, report(file, before), sha256=plan.pins.get(file.path))
        size = fetched.path.stat().st_size
        records.lock_file(
            _lock_key(plan.wanted), file.path, commit=commit, size=size, sha256=fetched.sha256
        )
        before, sent = before + size, sent + fetched.received
        paths.append(fetched.path)
        hashes[file.path] = fetched.sha256
    if plan.remote.is_head:
        mark_head(repo, commit)
    return Pulled(paths[0], repo, commit, plan.variant, hashes, sent)


def _choice(remote: RemoteRepo, wanted: Wanted, fits: Fits | None) -> Choice:
    offered = variants(remote.files)
    spec, repo = wanted.spec, wanted.ref.repo
    if spec is not None:
        paths = {file.path for file in spec.files}
        exact = [v for v in offered if {file.path for file in v.files} == paths]
        if exact:
            return Choice(exact[0], f"the one that {spec.alias} names")
        raise ModelNotFoundError(
            f"{repo} does not hold {spec.files[0].path} (the entry {spec.alias} is not confirmed)"
            if not spec.is_confirmed
            else f"{repo} does not hold {spec.files[0].path} any more",
            hint=f"gptcli models fit {repo}",
            model=spec.alias,
        )
    return choose(
        offered,
        wanted.ref.quantization,
        repo,
        None if fits is None else lambda variant: fits(remote, variant),
    )


def _registry_pins(variant: Variant, wanted: Wanted, update: bool) -> dict[str, str]:
    """Return the registry's hashes by path; what it has not confirmed may be overruled by --update."""
    spec = wanted.spec
    if spec is None or (update and not spec.is_confirmed):
        return {}
    pinned = {file.path: file for file in spec.files}
    for file in variant.files:
        pin = pinned[file.path]
        same_hash = not (pin.sha256 and file.sha256) or pin.sha256 == file.sha256
        same_size = pin.size is None or pin.size == file.size
        if not (same_hash and same_size):
            raise IntegrityError(
                f"{file.path} of {wanted.ref.repo} is not the file that {spec.alias} was checked with",
                hint=f"look at https://huggingface.co/{wanted.ref.repo}"
                + (
                    ""
                    if spec.is_confirmed
                    else f"; to trust it: gptcli models pull {spec.alias} --update"
                ),
                expected=pin.sha256 or pin.size,
                found=file.sha256 or file.size,
            )
    return {path: pin.sha256 for path, pin in pinned.items() if pin.sha256}


def _differs(file: RepoFile, locked: Mapping[str, records.LockedFile], commit: str) -> bool:
    """Tell whether a file was pulled before and has changed since, or may have: git tells no SHA-256."""
    known = locked.get(file.path)
    if known is None:
        return False
    return known.commit != commit if file.sha256 is None else known.sha256 != file.sha256


def _lock_key(wanted: Wanted) -> str:
    return wanted.ref.repo if wanted.spec is not None else wanted.ref.lock_key


def _received(repo: str, file: RepoFile) -> int:
    if file.sha256 is None:
        return 0
    for path in (blob_path(repo, file.sha256), part_path(repo, file.sha256)):
        if path.is_file():
            return min(path.stat().st_size, file.size)
    return 0
