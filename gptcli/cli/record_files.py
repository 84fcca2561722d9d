"""Opens the input and the output of a command that works on records."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from itertools import chain, islice
from pathlib import Path
from typing import Any

from gptcli.documents.records import TEXT_FIELD, Record, RecordFormat, RecordReader
from gptcli.errors import StorageError, UsageError
from gptcli.output.console import Output
from gptcli.output.records import ERROR_FIELD, RecordWriter, WriteFormat, record_writer

Params = dict[str, Any]

SAME_FORMAT: dict[str, WriteFormat] = {
    "lines": "plain",
    "text": "plain",
    "jsonl": "jsonl",
    "csv": "csv",
    "tsv": "tsv",
}
NO_FILE = (-1, -1)
ENDINGS: dict[str, WriteFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
}


class ArgumentReader:
    """Texts given as arguments, as records."""

    format: RecordFormat = "lines"
    columns: tuple[str, ...] | None = (TEXT_FIELD,)

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def __iter__(self) -> Iterator[Record]:
        for number, text in enumerate(self._texts, 1):
            yield Record(number, number, 0, {TEXT_FIELD: text})


@dataclass(slots=True)
class Source:
    """An input. `size_bytes`: of a regular file; `is_empty`: it is known to have no record left."""

    reader: RecordReader | ArgumentReader
    records: Iterator[Record]
    file_id: tuple[int, int]
    size_bytes: int | None
    is_empty: bool = False

    def first(self) -> Record | None:
        """Return the first record of a regular file, where reading ahead does not wait."""
        if self.size_bytes is None:
            return None
        first = next(self.records, None)
        self.is_empty = first is None
        if first is not None:
            self.records = chain((first,), self.records)
        return first


@contextmanager
def opened_source(params: Params) -> Generator[Source, None, None]:
    """Yield the input that `--input`, `--input-format` and `--limit` say.

    Raises UsageError when there is none, and as RecordReader.
    """
    if params["limit"] is not None and params["limit"] < 0:
        raise UsageError(f"--limit must be 0 or more, not {params['limit']}")
    name = params["input"] or "-"
    if texts := params.get("texts"):
        if params["input"]:
            raise UsageError("texts as arguments and --input exclude each other")
        arguments = ArgumentReader(texts)
        yield Source(arguments, islice(arguments, params["limit"]), NO_FILE, None)
        return
    with _opened_input(name) as stream:
        status = os.fstat(stream.fileno())
        is_file = stat.S_ISREG(status.st_mode)
        reader = RecordReader(stream, params["input_format"], name="stdin" if name == "-" else name)
        source = Source(
            reader,
            islice(reader, params["limit"]),
            (status.st_dev, status.st_ino),
            status.st_size if is_file else None,
        )
        source.first()
        yield source


def _opened_input(name: str) -> RawIOBase:
    if name == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("there are no records to read", hint="-i FILE, or a pipe")
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    try:
        return Path(name).open("rb", buffering=0)
    except OSError as error:
        raise UsageError(f'cannot read "{name}": {error.strerror}') from error


class Target:
    """Where records are written, each at once. `skipped` and `failed` count those of an earlier run."""

    is_file = False

    def __init__(self, writer: RecordWriter) -> None:
        self.writer = writer
        self.skipped = 0
        self.failed = 0

    def begin(self) -> None:
        """Write what comes before the records."""
        self.write(self.writer.head())

    def write(self, text: str) -> None:
        raise NotImplementedError


class StdoutTarget(Target):
    """Records on stdout."""

    def __init__(self, writer: RecordWriter, output: Output, *, is_styled: bool = False) -> None:
        super().__init__(writer)
        self._write = output.write_styled if is_styled else output.write

    def write(self, text: str) -> None:
        self._write(text)


class FileTarget(Target):
    """Records in a file. It is not touched before `begin`, which keeps `kept_bytes` of it."""

    is_file = True

    def __init__(self, writer: RecordWriter, path: Path) -> None:
        super().__init__(writer)
        self._path = path
        self.kept_bytes = 0
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise UsageError(f'cannot write "{path}": {error.strerror}') from error

    def begin(self) -> None:
        if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            self._file.truncate(self.kept_bytes)
        super().begin()

    def write(self, text: str) -> None:
        """Raises StorageError when the disk is full."""
        rest = text.encode()
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            again = "make room, then the same command with --resume"
            raise StorageError(
                f'cannot write "{self._path}": {error.strerror}',
                hint=again if self.writer.can_resume else None,
            ) from error

    def close(self) -> None:
        self._file.close()


@contextmanager
def opened_target(
    params: Params,
    source: Source,
    added: tuple[str, ...],
    output: Output,
    *,
    table: RecordWriter | None = None,
    plain: RecordWriter | None = None,
) -> Generator[Target, None, None]:
    """Yield the output that `--output`, `--format`, `--resume` and `--overwrite` say.

    `added` names the fields that results have. A `table` is written to a terminal, unless something
    else is asked for; `plain` is the writer of plain lines, if it is not the usual one. With --resume
    the records of an earlier run are taken from the source. Raises UsageError, and then no file is
    changed.
    """
    _check_columns(source, added)
    name = params["output"] or "-"
    is_table = table is not None and _wants_table(params, output)
    if is_table and table is not None:
        writer = table
    else:
        format = _format(params, source)
        is_plain = format == "plain" and plain is not None
        writer = plain if is_plain and plain else record_writer(format, added, source.reader.columns)
    if name == "-":
        for option in ("resume", "overwrite"):
            if params[option]:
                raise UsageError(f"--{option} needs an output file", hint="-o FILE")
        _check_apart(os.fstat(sys.stdout.fileno()), source)
        yield StdoutTarget(writer, output, is_styled=is_table)
        return
    path = Path(name)
    kept = _checked_output(path, params, source, writer)
    target = FileTarget(writer, path)
    try:
        if kept:
            _take_up(target, path, source)
            source.first()
        yield target
    finally:
        target.close()


def _wants_table(params: Params, output: Output) -> bool:
    if params["format"] == "table":
        if params["output"] or params["json"] or params["jsonl"]:
            raise UsageError("a table goes to the terminal", hint="--format csv")
        return True
    is_asked = params["format"] != "auto" or params["json"] or params["jsonl"] or params["output"]
    return output.stdout_is_tty and not is_asked


def _check_columns(source: Source, added: tuple[str, ...]) -> None:
    first = source.first()
    taken = source.reader.columns or (tuple(first.fields) if first is not None else ())
    for field in (*added, ERROR_FIELD):
        if field in taken:
            hint = "--output-field NAME" if field != ERROR_FIELD else None
            raise UsageError(f'the input has a field "{field}" already', hint=hint)
    if source.reader.columns is None:
        source.records = _without_fields((*added, ERROR_FIELD), source.records)


def _without_fields(names: tuple[str, ...], records: Iterator[Record]) -> Iterator[Record]:
    """Yield the records; one that has such a field fails, so that nothing of it is overwritten."""
    for record in records:
        for name in names:
            if name in record.fields and record.error is None:
                record.error = UsageError(f'it has a field "{name}" already')
        yield record


def _format(params: Params, source: Source) -> WriteFormat:
    """Return the output's format: what is asked for, or the file's ending, or as the input."""
    asked: list[WriteFormat] = [name for name in ("json", "jsonl") if params[name]]
    if params["format"] != "auto":
        asked.append(params["format"])
    if len(set(asked)) > 1:
        raise UsageError("--format, --json and --jsonl exclude each other")
    if asked:
        return asked[0]
    if (ending := Path(params["output"] or "").suffix.lower()) in ENDINGS:
        return ENDINGS[ending]
    return SAME_FORMAT[source.reader.format]


def _checked_output(path: Path, params: Params, source: Source, writer: RecordWriter) -> bool:
    """Tell whether there is an earlier output to go on with. Raises UsageError if it is in the way."""
    if params["resume"] and params["overwrite"]:
        raise UsageError("--resume and --overwrite exclude each other")
    if params["resume"] and not writer.can_resume:
        raise UsageError("one JSON array cannot be resumed", hint="--jsonl")
    try:
        status = path.stat()
    except OSError:
        return False
    _check_apart(status, source)
    if not stat.S_ISREG(status.st_mode) or not status.st_size or params["overwrite"]:
        return False
    if not params["resume"]:
        raise UsageError(f'"{path}" exists', hint="--resume, or --overwrite")
    return True


def _check_apart(status: os.stat_result, source: Source) -> None:
    if stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) == source.file_id:
        raise UsageError("the output is the input file", hint="-o OTHER")


def _take_up(target: FileTarget, path: Path, source: Source) -> None:
    """Find the records that are written, and take as many from the source."""
    writer = target.writer
    try:
        with path.open("rb") as lines:
            for written in writer.read_back(lines):
                if written.cells is not None:
                    _check_belongs(path, target.skipped + 1, writer.belongs, written, source)
                    target.skipped += 1
                    target.failed += written.is_failed
                target.kept_bytes = written.end
    except ValueError as error:
        raise _no_part(path, target.skipped + 1, str(error)) from error
    except OSError as error:
        raise UsageError(f'cannot read "{path}": {error.strerror}') from error


def _check_belongs(path: Path, number: int, belongs: Any, written: Any, source: Source) -> None:
    record = next(source.records, None)
    if record is None:
        raise _no_part(path, number, "the input has no such record")
    if not belongs(written, record.fields):
        raise _no_part(path, number, f"it differs from {record.place} of the input")


def _no_part(path: Path, number: int, why: str) -> UsageError:
    return UsageError(
        f'"{path}" is not the output of this run: its record {number:,}: {why}',
        hint="--overwrite, or -o OTHER",
    )
