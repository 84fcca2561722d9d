"""Conversations as documents: what a model wrote stays text."""

from __future__ import annotations

import html.parser
from contextlib import closing
from pathlib import Path

from gptcli.output.transcript import transcript
from gptcli.store.conversations import Conversations
from gptcli.store.records import Attachment, Provenance


class Page(html.parser.HTMLParser):
    """The tags, the addresses and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "style")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = '<script>alert(1)</script><img src=x onerror="x()"> </title></style> "quoted" & é'


def test_a_page_runs_and_loads_nothing_of_what_was_said(tmp_path: Path) -> None:
    with closing(Conversations(tmp_path / "logs.db")) as log:
        cid = log.begin("chat", HOSTILE, system=HOSTILE)
        log.add(cid, "user", HOSTILE, [Attachment(HOSTILE, HOSTILE)])
        origin = Provenance(model=HOSTILE)
        answer = log.add(cid, "assistant", "", provenance=origin)
        said = f"{HOSTILE}\n\n![a](http://x.example/a.png) [b](javascript:x) [c](https://c.example)\n\n"
        said += f"```{HOSTILE}\n{HOSTILE}\n```\n\n| a |\n|---|\n| {HOSTILE} |\n"
        log.finish(answer, said, "length", thinking=HOSTILE)
        log.rename(cid, HOSTILE)
        page = "".join(transcript([log.load(cid)], "html"))

    parsed = Page()
    parsed.feed(page)

    assert not {"script", "img", "iframe", "link", "object"} & set(parsed.tags)
    assert parsed.addresses == ["http://x.example/a.png", "https://c.example"]
    assert parsed.text.count("alert(1)") == 11  # as text, each time it was said
    assert "default-src 'none'" in page
    assert {"table", "pre", "details"} <= set(parsed.tags)


def test_markdown_keeps_attachments_apart(tmp_path: Path) -> None:
    with closing(Conversations(tmp_path / "logs.db")) as log:
        cid = log.begin("chat", "tiny", system="Be kind.")
        log.add(cid, "user", "Read", [Attachment("a.md", "```sh\nls\n```\n")])
        answer = log.add(cid, "assistant", "")
        log.finish(answer, "Done", "length", thinking="Hm.\n\nSo.")
        log.add(cid, "assistant", "and")
        text = "".join(transcript([log.load(cid)], "markdown"))

    assert text.split("\n\n", 2)[2] == (
        "## System\n\nBe kind.\n\n## User\n\nRead\n\na.md:\n\n````\n```sh\nls\n```\n````\n\n"
        "## Assistant\n\n> Hm.\n>\n> So.\n\nDone\n\n*cut at the limit of tokens*\n\n"
        "## Assistant\n\nand\n\n*unfinished*\n"
    )
