from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fivestage.common.errors import UserError

from fivestage_assistant import embedding
from fivestage_assistant.answering import ALWAYS, Answerer
from fivestage_assistant.assistant_contract import AssistantContract
from fivestage_assistant.embedding import MiniLm
from fivestage_assistant.passages import Chunking, Document
from fivestage_assistant.retrieval import retriever_of, retrievers
from fivestage_assistant.search_index import SearchIndex, build_index, load_index, save_index, without


def test_a_rebuild_has_the_same_digest_and_vectors_in_any_order(
    small: SearchIndex, documents: list[Document], contract: AssistantContract, model: MiniLm
) -> None:
    again = build_index(documents[::-1], contract.chunking, model)
    assert again.about == small.about
    assert np.array_equal(again.vectors, small.vectors)
    taken_over = build_index(documents, contract.chunking, model, small)
    assert np.array_equal(taken_over.vectors, small.vectors)


def test_it_is_read_as_it_was_written(small: SearchIndex, tmp_path: Path) -> None:
    read = load_index(save_index(small, tmp_path / "index"))
    assert (read.about, read.passages, read.documents) == (small.about, small.passages, small.documents)
    assert np.array_equal(read.vectors, small.vectors)
    with pytest.raises(UserError, match="no complete index"):
        load_index(tmp_path)


def test_a_deleted_page_is_never_found(
    small: SearchIndex, contract: AssistantContract, model: MiniLm
) -> None:
    less = build_index(without(small, ["docs/rollback.md"]), contract.chunking, model, small)
    assert less.about.digest != small.about.digest
    assert "docs/rollback.md" not in less.about.documents
    for name in ("bm25", "embeddings", "hybrid"):
        found = retriever_of(less, model, name).search("Who may roll back, and how long does it take?", 50)
        assert found
        assert all(one.passage.path != "docs/rollback.md" for one in found)


def test_only_changed_texts_are_embedded_again(
    small: SearchIndex, documents: list[Document], contract: AssistantContract
) -> None:
    class Counting:
        def __init__(self) -> None:
            self.texts: list[str] = []

        def embed(self, texts: list[str]) -> embedding.Vectors:
            self.texts += texts
            return np.zeros((len(texts), embedding.DIMENSIONS), np.float32)

    model = Counting()
    changed = [*documents[1:], replace(documents[0], text=documents[0].text.replace("31.7%", "30%"))]
    build_index(changed, contract.chunking, model, small)  # type: ignore[arg-type]
    assert len(model.texts) == 2
    assert all("30%" in text for text in model.texts)


def test_without_an_embedding_model_stems_do(documents: list[Document], contract: AssistantContract) -> None:
    index = build_index(documents, contract.chunking, None)
    found = retriever_of(index, None, "hybrid").search("Who may roll back?", 3)
    assert found[0].passage.path == "docs/rollback.md"
    answerer = Answerer(index, retriever_of(index, None, "hybrid"), None, contract.answers, ALWAYS)
    assert "on call" in answerer.answer("Who may roll back?").text


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"other")
    with pytest.raises(UserError, match="not the reviewed file"):
        MiniLm(tmp_path / "model.onnx")


def test_chunking_is_part_of_the_digest(documents: list[Document]) -> None:
    digests = {build_index(documents, Chunking(max_words=words), None).about.digest for words in (20, 200)}
    assert len(digests) == 2


def test_a_day_in_the_question_puts_its_period_first(contract: AssistantContract, model: MiniLm) -> None:
    quiet, loud = "No drift alert fired in this period.", "A drift alert fired for visib."
    text = "# Monitoring\n\n"
    for month, said in ((10, quiet), (11, quiet), (12, loud)):
        text += f"## Period from 2013-{month}-03 to 2013-{month}-09\n\n{said} It was good.\n\n"
    index = build_index([Document("run/monitoring.md", text)], contract.chunking, model)
    by_retriever = retrievers(index, model)
    for name in by_retriever:
        for question in ("Which alert fired on 3 December?", "Which alert fired on December 9th, 2013?"):
            assert "2013-12" in by_retriever[name].search(question, 1)[0].passage.heading


def test_of_equal_passages_the_one_on_a_page_about_it_comes_first(model: MiniLm) -> None:
    shared = "## Who\n\nThe person on call decides.\n"
    cats = Document("docs/a.md", f"# Cats\n\nCats eat fish.\n\n## Food\n\nTwice a day.\n\n{shared}")
    releases = "# Releases\n\nA bad release is undone.\n\n## Undo\n\nThe version before serves again.\n\n"
    index = build_index(
        [cats, Document("docs/b.md", releases + shared)], Chunking(heading_in_text=False), model
    )
    found = retriever_of(index, model, "hybrid").search("Who decides to undo a release?", 9)
    order = [one.passage.path for one in found if one.passage.heading == "Who"]
    assert order == ["docs/b.md", "docs/a.md"]
