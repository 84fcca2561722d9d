"""PDF: the text of its pages, by the library pypdf (extra `pdf`), with a form feed between them."""

from __future__ import annotations

import io
import logging
import re
import zlib

from gptcli.documents.sources import UnreadableError

PAGE_BREAK = "\f"  # as pdftotext of Poppler writes it
INSTALL = 'pip install "gptcli[pdf]"'


def pdf_text(data: bytes, name: str) -> str:
    """Return the text of a PDF's pages. Raises UnreadableError."""
    try:
        from pypdf import PdfReader
        from pypdf.errors import DependencyError, FileNotDecryptedError, PyPdfError
    except ImportError as error:
        raise UnreadableError(name, "PDF, which needs pypdf", hint=INSTALL, is_lasting=False) from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # its remarks on faults that it repairs
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableError(name, "PDF with a password", hint="qpdf --decrypt --password=…")
        pages = [_tidied(page.extract_text()) for page in reader.pages]
    except FileNotDecryptedError as error:
        raise UnreadableError(name, "PDF with a password", hint="qpdf --decrypt --password=…") from error
    except DependencyError as error:
        reason = "encrypted PDF, which needs cryptography"
        raise UnreadableError(name, reason, hint=INSTALL, is_lasting=False) from error
    except (PyPdfError, *BREAKS) as error:
        raise UnreadableError(name, "broken PDF") from error
    text = PAGE_BREAK.join(pages)
    if not text.strip():
        raise UnreadableError(name, "PDF without text", hint="ocrmypdf adds text to scanned pages")
    return text


# What the parser stumbles over in files that are broken.
BREAKS = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, AssertionError),
    *(OSError, RecursionError, NotImplementedError, MemoryError, zlib.error),
)


def _tidied(page: str) -> str:
    """Return a page's text with words that a line end had cut in two put together again."""
    page = re.sub("[\ud800-\udfff]", "\ufffd", page.replace(PAGE_BREAK, "\n"))
    return re.sub(r"(?<=[a-zà-öø-ÿ])[\u00ad\u2010-]\n(?=[a-zà-öø-ÿ])", "", page)
