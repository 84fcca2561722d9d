"""Opens what a question is asked of: files, folders, a text from a pipe; what is much by an index."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from gptcli.documents.passages import Source
from gptcli.documents.sources import (
    STDIN,
    Skipped,
    SourceFile,
    UnreadableError,
    find_files,
    read_source,
    source_of,
    summary,
)
from gptcli.errors import GptcliError, StorageError, UsageError
from gptcli.output.amounts import counted
from gptcli.output.console import Output
from gptcli.output.progress import Progress
from gptcli.store.index_cache import discard, index_path, prune
from gptcli.store.passage_index import PassageIndex, is_damaged
from gptcli.store.passage_vectors import KEPT_TOGETHER, passage_to_embed
from gptcli.tasks.embedding import Embedder
from gptcli.tasks.retrieval import Collection, Ranked, fuse
from gptcli.tasks.splitting import size_of

READ_WORDS = 1300  # that are read whole; of more, the passages that are likeliest to answer
SMALL_BYTES = 1 << 18  # so much is read in no time; of more an index is kept
SMALL_FILES = 256
FUSED = 50  # passages of each ranking that are fused
UPDATE_EVERY_S = 0.1

OnFile = Callable[[int, SourceFile], None]


@contextmanager
def opened_collection(
    names: Sequence[str],
    piped: bytes,
    output: Output,
    *,
    embedder: Embedder | None = None,
    may_keep: bool = True,
) -> Generator[Collection, None, None]:
    """Yield the documents that are named, and before them what is piped, as they are now.

    With an embedder, passages are also found by their meaning. The index of much text stays in the
    cache if it `may_keep` texts there, and what is piped stays nowhere. Says on stderr what was skipped.
    Raises UsageError for a name without a file and where nothing can be read, UnreadableError if that
    was the only document.
    """
    reading = _Reading(names, piped, embedder, may_keep)
    with ExitStack() as closing:
        with Progress(output, "Reading") as progress:
            reading.on_file = _shown(progress)
            collection = _opened(reading, closing)
        if isinstance(collection, _Indexed) and embedder:
            with Progress(output, "Embedding") as progress:
                collection.embed(progress.update)
        if not collection.size:
            raise reading.nothing()
        if reading.skipped:
            output.status(summary(reading.skipped.values()))
        yield collection


def gathered(names: Sequence[str], piped: bytes, output: Output) -> list[Source]:
    """Return what is piped and the documents that are named, all of them.

    Says on stderr what was skipped. Raises as `opened_collection`.
    """
    reading = _Reading(names, piped, None, may_keep=False)
    with Progress(output, "Reading") as progress:
        reading.on_file = _shown(progress)
        sources = []
        for file in reading.files():
            if source := _read_or_skip(reading, file):
                sources.append(source)
                reading.on_file(len(sources), file)
    if not sources:
        raise reading.nothing()
    if reading.skipped:
        output.status(summary(reading.skipped.values()))
    return sources


def read_piped(names: Sequence[str]) -> bytes:
    """Return what comes from a pipe, where it is named or nothing else is."""
    if (names and STDIN not in names) or sys.stdin is None or sys.stdin.isatty():
        return b""
    return sys.stdin.buffer.read()


class _Reading:
    """What is to be read: a text from a pipe and files. `skipped` has those that cannot be, by name."""

    def __init__(
        self, names: Sequence[str], piped: bytes, embedder: Embedder | None, may_keep: bool
    ) -> None:
        self.names = [name for name in names if name != STDIN]
        self.skipped: dict[str, Skipped] = {}
        self.failure: UnreadableError | None = None
        self.embedder = embedder
        self.may_keep = may_keep
        self.on_file: OnFile = lambda _count, _file: None
        self._piped = piped

    @property
    def is_kept(self) -> bool:
        """Whether an index of it is of use another time, and wanted."""
        named = [path for path in map(Path, self.names) if path.exists()]  # the others are patterns
        has_pipe = self._piped or not all(path.is_dir() or path.is_file() for path in named)
        return self.may_keep and not has_pipe

    def files(self) -> Iterator[SourceFile]:
        if self._piped:
            yield SourceFile(STDIN, len(self._piped), time.time_ns())
        yield from find_files(self.names, self.skip)

    def read(self, file: SourceFile) -> Source:
        """Raises UnreadableError."""
        try:
            return source_of(self._piped) if file.name == STDIN else read_source(file)
        except UnreadableError as error:
            self.failure = error
            raise

    def skip(self, skipped: Skipped) -> None:
        self.skipped[skipped.name] = skipped

    def nothing(self) -> GptcliError:
        """Return the error that there is nothing to read."""
        if len(self.skipped) == 1 and self.failure:
            return self.failure
        if not self.names:
            return UsageError("there is nothing to read", hint="-f FILE, or a pipe")
        place = f'"{self.names[0]}"' if len(self.names) == 1 else counted(len(self.names), "place")
        said = f": {summary(self.skipped.values())}" if self.skipped else ""
        return UsageError(f"there is no text in {place}{said}")


def _opened(reading: _Reading, closing: ExitStack) -> Collection:
    files = reading.files()
    first: list[SourceFile] = []
    room = SMALL_BYTES if reading.embedder is None else 0  # vectors are kept with the index
    for file in files:
        first.append(file)
        room -= file.size_bytes
        if room < 0 or len(first) > SMALL_FILES:
            break
    else:
        return _Gathered([source for file in first if (source := _read_or_skip(reading, file))])
    workspace = None if reading.is_kept else closing.enter_context(TemporaryDirectory("gptcli"))
    path = Path(workspace, "passages") if workspace else index_path(reading.names)
    indexed = _Indexed(path, reading, chain(first, files))
    closing.callback(indexed.close)
    if not workspace:
        prune(path.parent, keep=path)
    return indexed


def _read_or_skip(reading: _Reading, file: SourceFile) -> Source | None:
    try:
        return reading.read(file)
    except UnreadableError as error:
        reading.skip(Skipped(file.name, error.reason))
        return None


class _Gathered:
    """Sources that are few enough to be held. What is searched gets an index for the time."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self.size = sum(size_of(source.text) for source in sources)

    def sources(self) -> Iterator[Source]:
        return iter(self._sources)

    def search(self, question: str, count: int) -> list[Ranked]:
        by_name = {source.name: source for source in self._sources}
        files = [SourceFile(name, 0, 0) for name in by_name]
        with TemporaryDirectory("gptcli") as workspace:
            index = PassageIndex(Path(workspace, "passages"))
            try:
                index.update(files, lambda file: by_name[file.name], on_skip=lambda _: None)
                return index.search(question, count)
            finally:
                index.close()


class _Indexed:
    """Files with an index, which is made anew where it proves damaged."""

    def __init__(self, path: Path, reading: _Reading, files: Iterator[SourceFile]) -> None:
        self._path, self._reading = path, reading
        self._index = PassageIndex(path)
        try:
            self._update(files)
        except StorageError as error:
            self._renew(error)

    @property
    def size(self) -> int:
        return self._index.size

    def sources(self) -> Iterator[Source]:
        return self._index.sources()

    def search(self, question: str, count: int) -> list[Ranked]:
        try:
            return self._search(question, count)
        except StorageError as error:
            self._renew(error)
            self.embed(lambda *_: None)
            return self._search(question, count)

    def embed(self, on_progress: Callable[[float, float], object]) -> None:
        """Embed the passages that are not yet, if there is an embedder. Raises what it raises."""
        if (embedder := self._reading.embedder) is None:
            return
        vectors = self._index.vectors(embedder.key)
        missing = vectors.missing()
        for done in vectors.keep(embedder.passages(self._to_embed(missing))):
            on_progress(done, len(missing))

    def _to_embed(self, passages: Sequence[int]) -> Iterator[tuple[int, str]]:
        for first in range(0, len(passages), KEPT_TOGETHER):
            found = self._index.passages(passages[first : first + KEPT_TOGETHER])
            yield from ((number, passage_to_embed(passage)) for number, passage in found.items())

    def _search(self, question: str, count: int) -> list[Ranked]:
        if (embedder := self._reading.embedder) is None:
            return self._index.search(question, count)
        by_words = [ranked.passage for ranked in self._index.search(question, FUSED)]
        near = self._index.vectors(embedder.key).nearest(embedder.question(question), FUSED)
        by_meaning = list(self._index.passages(number for number, _ in near).values())
        return [Ranked(*pair) for pair in fuse((by_words, by_meaning))[:count]]

    def close(self) -> None:
        self._index.close()

    def _update(self, files: Iterator[SourceFile]) -> None:
        reading = self._reading
        self._index.update(files, reading.read, on_skip=reading.skip, on_file=reading.on_file)

    def _renew(self, error: StorageError) -> None:
        if not is_damaged(error):
            raise error
        self._index.close()
        discard(self._path)
        self._index = PassageIndex(self._path)
        self._update(self._reading.files())


def _shown(progress: Progress) -> OnFile:
    shown = 0.0

    def show(count: int, _file: SourceFile) -> None:
        nonlocal shown
        if time.monotonic() - shown > UPDATE_EVERY_S:
            shown = time.monotonic()
            progress.update(0, text=counted(count, "file"))

    return show
