"""Reads what the user pipes in or names with -f, and refuses what is not text."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Sequence
from pathlib import Path

from gptcli.errors import UsageError
from gptcli.prompts.compose import Document

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def stdin_text() -> str:
    """Return what is piped in; "" on a terminal, for an empty pipe, and without a stdin."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    text = decode(sys.stdin.buffer.read(), "stdin")
    return text if text.strip() else ""


def read_documents(paths: Sequence[str], piped: str) -> tuple[Document, ...]:
    """Return the piped text and the files as documents, in the order given; `-` is stdin."""
    documents = [Document(piped)] if piped and "-" not in paths else []
    documents += [Document(piped) if path == "-" else Document(read_text(path), path) for path in paths]
    return tuple(document for document in documents if document.text.strip())


def read_text(path: str) -> str:
    """Return a file's text. Raises UsageError for what cannot be read as text."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f'cannot read "{path}": {error.strerror}') from error
    return decode(data, f'"{path}"')


def decode(data: bytes, name: str) -> str:
    """Return bytes as text: UTF-8, or what a byte order mark says.

    Raises UsageError: guessing an encoding would put wrong words before the model.
    """
    encoding = next((encoding for bom, encoding in BOMS if data.startswith(bom)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name} is not {encoding.upper()} text: "
            f"byte 0x{data[error.start]:02x} at offset {error.start}",
            hint="iconv -f LATIN1 -t UTF-8 <file | gptcli …",
        ) from error
    if "\0" in text:
        raise UsageError(f"{name} is not text: it contains NUL bytes (offset {text.index(chr(0))})")
    return text
