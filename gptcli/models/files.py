"""Opens the file that should hold a model, and says what it is if it is not a GGUF file."""

from __future__ import annotations

import os
import re
import shlex
import stat
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from gptcli.errors import ModelFileError
from gptcli.models.faults import DOWNLOAD_AGAIN, OTHER_FILE, file_error, not_found, quoted, unreadable

_CONVERT = "convert it with llama.cpp's convert_hf_to_gguf.py, or download its .gguf file"

_WEB_PAGES = (b"<!doctype", b"<html", b"<head", b"<!--", b"<?xml")
_SIGNATURES = (  # first bytes, what the file is, hint with a place for the path
    (b"\x1f\x8b", "is gzip-compressed", "unpack it: gunzip {}"),
    (b"\x28\xb5\x2f\xfd", "is zstd-compressed", "unpack it: unzstd {}"),
    (b"\xfd7zXZ\x00", "is xz-compressed", "unpack it: unxz {}"),
    (b"BZh", "is bzip2-compressed", "unpack it: bunzip2 {}"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive", "unpack it: 7z x {}"),
    (b"PK\x03\x04", "is a zip archive", "unpack it: unzip {}"),
    (b"\x80\x02", "is a PyTorch file (a pickle), not a GGUF file", _CONVERT),
    (b"\x89HDF", "is an HDF5 file, not a GGUF file", OTHER_FILE),
    (b"MZqFpD", "is a llamafile, a program with a model inside", "download the .gguf file instead"),
    *(
        (magic, "is in the old GGML format, which llama.cpp no longer reads", OTHER_FILE)
        for magic in (b"lmgg", b"fmgg", b"tjgg", b"algg", b"GGML", b"GGJT")
    ),
)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file, never one that could block; say what else it is otherwise.

    Raises ModelNotFoundError, or ModelFileError.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise file_error(path, "is a directory, not a model file", _file_inside(path))
        if not stat.S_ISREG(mode):
            raise file_error(path, "is a pipe or a device, not a file", "save the model to a file first")
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a NUL in the name
        raise not_found(path) from error
    except OSError as error:
        raise unreadable(path, error) from error
    if not os.fstat(file.fileno()).st_size:
        file.close()
        raise file_error(path, "is empty", DOWNLOAD_AGAIN)
    return file


def not_gguf(path: Path, head: bytes, size: int) -> ModelFileError:
    """Return the error for a file without the magic number: what it is instead, as far as bytes tell."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:16].lower().startswith(_WEB_PAGES):
        return file_error(
            path, "looks like a web page: a login or error page saved as the model", DOWNLOAD_AGAIN
        )
    if head.startswith(b"version https://git-lfs"):
        found = re.search(rb"^size (\d{1,19})\s*$", head, re.MULTILINE)
        real = f"; the real file has {int(found[1]):,} bytes" if found else ""
        return file_error(path, f"is a Git LFS pointer, not the model{real}", "git lfs pull")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return file_error(path, "is a safetensors file, not a GGUF file", _CONVERT)
    if head.startswith(b"PK\x03\x04") and b"/data.pkl" in head[:512]:
        return file_error(path, "is a PyTorch file, not a GGUF file", _CONVERT)
    for magic, fact, hint in _SIGNATURES:
        if head.startswith(magic):
            return file_error(path, fact, hint.format(shlex.quote(str(path))))
    if head[257:262] == b"ustar":
        return file_error(path, "is a tar archive", f"unpack it: tar xf {shlex.quote(str(path))}")
    line = _first_line(text)
    if line and size <= len(head):  # a server's reply in words
        return file_error(path, f"is a text file, not a model: {quoted(line)}", DOWNLOAD_AGAIN)
    return file_error(path, "is not a GGUF file", OTHER_FILE)


def _first_line(text: bytes) -> str | None:
    """Return the text's first line; None if it is not text."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        return None
    lines = decoded.splitlines()
    is_text = lines and all(each.isprintable() or each in "\t\r\n" for each in decoded)
    return lines[0].strip() if is_text else None


def _file_inside(directory: Path) -> str:
    try:
        names = (each for each in islice(directory.iterdir(), 1000) if each.suffix == ".gguf")
        first = min(names, default=None)
    except OSError:
        first = None
    return f"name a file in it: {shlex.quote(str(first))}" if first else "name a .gguf file"
