"""Passages found by their meaning: embedded once for each model, fused with what words find."""

from __future__ import annotations

import io
import math
from array import array
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gptcli.cli.collecting import opened_collection
from gptcli.documents.sources import find_files, read_source
from gptcli.engine.api import Embed, Embedded, Event, Failed, ModelInfo, Request
from gptcli.engine.local import LocalEngine
from gptcli.errors import ContextOverflowError, EngineCrashedError, GptcliError
from gptcli.output.console import Output
from gptcli.prompts.embedding import embedding_form
from gptcli.store.passage_index import PassageIndex
from gptcli.tasks.embedding import Embedder

MEANINGS = (("cat", "kitten", "feline"), ("car", "automobile", "vehicle"), ("rain", "storm", "weather"))


@dataclass(slots=True)
class MeaningEngine:
    """Embeds a text by the meanings in it; words of one meaning have one vector."""

    model: ModelInfo = field(default_factory=lambda: ModelInfo(name="nomic-embed-text-v1.5"))
    texts: list[str] = field(default_factory=list)
    error: GptcliError | None = None
    fails_after: int = 0

    def run(self, requests: Iterable[Request]) -> Generator[Event, None, None]:
        for request in requests:
            assert isinstance(request, Embed)
            self.texts.append(request.text)
            if self.error and len(self.texts) > self.fails_after:
                yield Failed(id=request.id, error=self.error)
                continue
            vector = [sum(request.text.count(word) for word in words) + 1e-3 for words in MEANINGS]
            yield Embedded(id=request.id, vector=tuple(each / math.hypot(*vector) for each in vector))

    def close(self) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# Pets\n\nThe kitten slept.\n")
    (folder / "b.md").write_text("The automobile is red.\n")
    (folder / "c.md").write_text("A storm came up.\n")
    return folder


def found(engine: MeaningEngine, question: str, key: str = "weights") -> list[str]:
    output = Output(stdout=io.StringIO(), stderr=io.StringIO())
    with opened_collection(["docs"], b"", output, embedder=Embedder(engine, key)) as collection:
        return [ranked.passage.source.name for ranked in collection.search(question, 3)]


def test_passages_are_found_by_their_meaning(folder: Path) -> None:
    assert found(MeaningEngine(), "A feline?")[0] == "docs/a.md"
    assert found(MeaningEngine(), "Which vehicle?")[0] == "docs/b.md"


def test_what_words_and_meaning_find_is_first(folder: Path) -> None:
    (folder / "d.md").write_text("A car with a cat.\n")

    assert found(MeaningEngine(), "Where is the kitten?")[0] == "docs/a.md"


def test_passages_are_embedded_once_for_each_model_with_its_words(folder: Path) -> None:
    engine = MeaningEngine()
    found(engine, "A feline?")
    assert engine.texts == [
        *(
            "search_document: Pets\n# Pets\n\nThe kitten slept.",
            "search_document: The automobile is red.",
        ),
        *("search_document: A storm came up.", "search_query: A feline?"),
    ]

    engine = MeaningEngine()
    (folder / "b.md").write_text("The weather is fine.")
    found(engine, "A feline?")
    assert engine.texts == ["search_document: The weather is fine.", "search_query: A feline?"]

    engine = MeaningEngine()
    found(engine, "A feline?", key="other weights")
    assert len(engine.texts) == 4


def test_a_passage_that_is_too_long_to_embed_is_found_by_its_words(folder: Path) -> None:
    engine = MeaningEngine(error=ContextOverflowError("too long"), fails_after=2)
    with pytest.raises(ContextOverflowError):
        found(engine, "a question that is too long")

    assert engine.texts[-1] == "search_query: a question that is too long"
    assert found(MeaningEngine(), "storm")[0] == "docs/c.md"


def test_what_was_embedded_is_kept_when_the_engine_dies(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptcli.store.passage_vectors.KEPT_TOGETHER", 1)
    with pytest.raises(EngineCrashedError):
        found(MeaningEngine(error=EngineCrashedError("killed"), fails_after=2), "A feline?")

    engine = MeaningEngine()
    found(engine, "A feline?")

    assert engine.texts == ["search_document: A storm came up.", "search_query: A feline?"]


def test_the_nearest_come_first(folder: Path, tmp_path: Path) -> None:
    index = PassageIndex(tmp_path / "an.index")
    index.update(find_files(["docs"], print), read_source, on_skip=print)
    vectors = index.vectors("model")
    numbers = vectors.missing()
    values = [array("f", each) for each in ((0, 1), (0.6, 0.8), ())]

    assert list(vectors.keep(zip(numbers, values, strict=True))) == [3]

    nearest = vectors.nearest(array("f", (1, 0)), 2)
    assert [number for number, _ in nearest] == [numbers[1], numbers[0]]
    assert nearest[0][1] == pytest.approx(0.6)
    assert vectors.missing() == []
    assert index.vectors("another").missing() == numbers
    index.close()


def test_a_real_engine_embeds(engine: LocalEngine) -> None:
    embedder = Embedder(engine, "tiny")

    (first, (second)) = sorted(embedder.passages([(7, "some text"), (8, "another")]))

    assert (first[0], second[0]) == (7, 8)
    assert len(first[1]) == engine.model.embedding_size
    assert list(embedder.question("some text")) == pytest.approx(list(first[1]), abs=1e-3)


@pytest.mark.parametrize(
    ("name", "passage", "question"),
    [
        ("multilingual-e5-small-Q8_0", "passage: ", "query: "),
        ("Qwen3-Embedding-0.6B-Q8_0", "", "Instruct: "),
        ("bge-small-en-v1.5", "", "Represent this sentence"),
        ("bge-m3", "", ""),
        ("some-model", "", ""),
    ],
)
def test_models_are_asked_as_their_cards_say(name: str, passage: str, question: str) -> None:
    form = embedding_form(name)

    assert form.passage == passage
    assert form.question.startswith(question)
    assert bool(form.question) == bool(question)
