"""The characters of a file: its encoding and byte order mark, found so that encoding gives it back."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

SAMPLE_BYTES = 1 << 16
DECLARED = re.compile(rb"""charset\s*=\s*["']?([A-Za-z][\w.:-]*)""", re.IGNORECASE)
DECLARED_WITHIN = 1 << 14
BOMS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LIKELY = (  # in texts without a mark, the common ones first
    *("cp1252", "cp1251", "gb18030", "cp932", "euc_jp", "big5", "cp949", "cp1250", "cp1253", "cp1254"),
    *("cp1255", "cp1256", "cp1257", "cp1258", "cp874", "iso8859_2", "iso8859_7", "koi8_r", "koi8_u"),
    *("latin_1", "cp437", "cp850", "cp866", "mac_roman"),
)
BINARY = (b"%PDF-", b"\x89PNG", b"PK\x03\x04", b"\x1f\x8b", b"GIF8", b"\xff\xd8\xff", b"GGUF")
CONTROL_BYTES = bytes(set(range(32)) - set(b"\b\t\n\v\f\r\x1b")) + b"\x7f"


@dataclass(frozen=True, slots=True)
class Decoded:
    """The text of a file. `encode` gives the file back."""

    text: str
    encoding: str
    bom: bytes = b""
    notices: tuple[str, ...] = ()

    def encode(self, text: str) -> bytes:
        """Raises UnicodeEncodeError for a character that the encoding lacks."""
        errors = "surrogateescape" if self.encoding == "utf-8" else "strict"
        return self.bom + text.encode(self.encoding, errors)


def is_binary(start: bytes) -> bool:
    """Tell by the beginning of a file whether `decode` would find it binary."""
    if start.startswith(BINARY):
        return True
    if start.startswith(tuple(bom for bom, _ in BOMS)) or _wide(start[: len(start) // 4 * 4]):
        return False
    return _has_controls(start)


def decode(data: bytes) -> Decoded | None:
    """Return the text of a file, None for a binary one."""
    if data.startswith(BINARY):
        return None
    for bom, encoding in BOMS:
        if data.startswith(bom):
            return _exactly(data, encoding, bom)
    if wide := _wide(data):
        return wide
    if _has_controls(data):
        return None
    if data.isascii():
        declared = _declared(data)
        if declared and (text := _exactly(data, declared)):
            return Decoded(text.text, declared)
    try:
        return Decoded(data.decode(), "utf-8")
    except UnicodeDecodeError as error:
        return _not_utf8(data, error)


def _has_controls(data: bytes) -> bool:
    return len(data.translate(None, CONTROL_BYTES)) < len(data) * 0.98


def _exactly(data: bytes, encoding: str, bom: bytes = b"") -> Decoded | None:
    """Return the text if it is that encoding, and encoding it gives the same bytes."""
    body = data[len(bom) :]
    errors = "surrogateescape" if encoding == "utf-8" else "strict"
    try:
        text = body.decode(encoding, errors)
        if text.encode(encoding, errors) == body:
            return Decoded(text, encoding, bom)
    except (UnicodeError, LookupError):
        pass
    return None


def _wide(data: bytes) -> Decoded | None:
    """Return the text of UTF-16 without a mark: of a text in most scripts, every other byte is small."""
    sample = data[:SAMPLE_BYTES]
    for encoding, high in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[::2])):
        if high and len(data) % 2 == 0 and high.count(0) > len(high) * 0.7:
            low = len(sample) // 2 - sample.count(0) + high.count(0)
            found = _exactly(data, encoding) if low > len(high) * 0.9 else None
            if found:
                return Decoded(found.text, encoding, notices=(f"read as {encoding.upper()}",))
    return None


def _declared(data: bytes) -> str | None:
    """Return the codec that HTML or the header of a PO file names, if Python has it."""
    found = DECLARED.search(data[:DECLARED_WITHIN])
    if not found:
        return None
    try:
        codec = codecs.lookup(found[1].decode("ascii"))
    except LookupError:
        return None
    return codec.name if getattr(codec, "_is_text_encoding", True) else None


def _not_utf8(data: bytes, error: UnicodeDecodeError) -> Decoded | None:
    text = data.decode("utf-8", "surrogateescape")
    stray = sum("\udc80" <= char <= "\udcff" for char in text)
    if sum(char > "\x7f" for char in text) - stray > 5 * stray:
        line = data.count(b"\n", 0, error.start) + 1
        notice = f"line {line}: {stray} bytes that are not UTF-8 are kept as they are"
        return Decoded(text, "utf-8", notices=(notice,))
    declared = _declared(data)
    for encoding in ([declared] if declared else []) + _likely(data):
        if found := _exactly(data, encoding):
            said = "declared" if encoding == declared else "detected"
            notice = f"not UTF-8: read as {encoding.upper().replace('_', '-')} ({said})"
            return Decoded(found.text, encoding, notices=(notice,))
    return None


def _likely(data: bytes) -> list[str]:
    """Return the encodings that the lines with bytes above ASCII look like, the likeliest first."""
    from charset_normalizer import from_bytes

    sample = bytearray()
    for line in data.splitlines(keepends=True):
        if not line.isascii():
            sample += line
            if len(sample) > SAMPLE_BYTES:
                break
    matches = from_bytes(bytes(sample[:SAMPLE_BYTES]), cp_isolation=list(LIKELY))
    best = min(((match.chaos, -match.coherence) for match in matches), default=None)
    # Encodings of neighbours often agree on a short text: then the most common one is meant.
    equal = [match for match in matches if (match.chaos, -match.coherence) == best]
    names = {name for match in equal for name in (match.encoding, *match.could_be_from_charset)}
    return [name for name in LIKELY if name in names] + [match.encoding for match in matches]
