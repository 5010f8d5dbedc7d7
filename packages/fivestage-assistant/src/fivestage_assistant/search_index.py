"""The index: passages, their stems for BM25 and their vectors, as a folder that is a versioned artifact."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from fivestage.common.errors import UserError
from fivestage.common.files import write_text, write_whole
from numpy.typing import NDArray
from pydantic import TypeAdapter

from fivestage_assistant import embedding
from fivestage_assistant.embedding import MiniLm, Vectors
from fivestage_assistant.passages import Chunking, Document, Passage, Sentence, cut, with_subjects

ABOUT, PASSAGES, VECTORS = "index.json", "passages.jsonl", "vectors.npy"
DOCUMENTS, TEXTS = "documents", "documents.json"
STEMS_ONLY = "none, stems alone"


@dataclass(frozen=True)
class IndexAbout:
    """What an index was made from; two that agree on it answer alike.

    Args:
        digest: SHA-256 of all that follows.
        chunking: how documents were cut.
        embedding: name of the embedding model.
        embedding_digest: SHA-256 of its weights and vocabulary.
        documents: SHA-256 of each document, by its path.
        accepted: paths of the documents that may be quoted.
        origins: the file that each record of a run was written from, by its path.
    """

    digest: str
    chunking: dict[str, Any]
    embedding: str
    embedding_digest: str
    documents: dict[str, str]
    accepted: tuple[str, ...]
    origins: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchIndex:
    """All passages of a corpus, ready to be searched.

    Args:
        about: what it was made from.
        passages: in the order of documents.
        vectors: of the passages, then of their sentences, a row each; no rows without an embedding model.
        documents: the texts that citations open, by path.
    """

    about: IndexAbout
    passages: tuple[Passage, ...]
    vectors: Vectors
    documents: dict[str, str]

    @cached_property
    def by_name(self) -> dict[str, Passage]:
        """Passages by their names."""
        return {one.name: one for one in self.passages}

    @cached_property
    def chunking(self) -> Chunking:
        """How documents were cut."""
        return Chunking.model_validate(self.about.chunking, strict=False)

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """For each sentence of the index, the place of its passage."""
        return np.repeat(np.arange(len(self.passages)), [len(one.sentences) for one in self.passages])

    @cached_property
    def first_sentences(self) -> dict[str, int]:
        """By the name of a passage, the row of its first sentence in `vectors`."""
        starts = np.cumsum([len(self.passages), *(len(one.sentences) for one in self.passages)])
        return {one.name: int(start) for one, start in zip(self.passages, starts, strict=False)}

    @property
    def version(self) -> str:
        """The digest, short."""
        return self.about.digest[:12]


def build_index(
    documents: Sequence[Document],
    chunking: Chunking,
    model: MiniLm | None,
    before: SearchIndex | None = None,
) -> SearchIndex:
    """Cut, embed and number a corpus.

    Args:
        documents: the corpus; what is not in it is not in the index, whatever an earlier one held.
        chunking: how to cut.
        model: the embedding model; None for stems alone.
        before: an earlier index, whose vectors are taken over where the text is the same.

    Returns:
        The index; the same for the same documents and settings, whatever `before` was.
    """
    ordered = sorted(documents, key=lambda one: one.path)
    passages = with_subjects([passage for document in ordered for passage in cut(document, chunking)])
    texts = _texts(passages, chunking)
    about: dict[str, Any] = {
        "chunking": chunking.model_dump(mode="json"),
        "embedding": embedding.NAME if model else STEMS_ONLY,
        "embedding_digest": _embedding_digest() if model else "",
        "documents": {one.path: one.digest for one in ordered},
        "accepted": tuple(one.path for one in ordered if one.accepted),
        "origins": {one.path: one.origin for one in ordered if one.origin},
    }
    digest = hashlib.sha256(json.dumps([about, texts], sort_keys=True).encode()).hexdigest()
    vectors = _vectors(texts, model, before) if model else np.empty((0, embedding.DIMENSIONS), np.float32)
    return SearchIndex(
        IndexAbout(digest, **about), passages, vectors, {one.path: one.text for one in ordered}
    )


def _embedding_digest() -> str:
    return hashlib.sha256(f"{embedding.WEIGHTS_SHA256}{embedding.VOCABULARY_SHA256}".encode()).hexdigest()


def _texts(passages: Sequence[Passage], chunking: Chunking) -> list[str]:
    """All that has a vector: passages, then sentences with heading and the question that they follow."""
    return [passage.searched(chunking) for passage in passages] + [
        f"{_last_line(passage.subject)}: {sentence.context} {sentence.text}"
        for passage in passages
        for sentence in passage.sentences
    ]


def _vectors(texts: Sequence[str], model: MiniLm, before: SearchIndex | None) -> Vectors:
    """Vectors of texts; those of texts that an index by the same model holds are not computed again."""
    known: dict[str, Any] = {}
    if before is not None and len(before.vectors) and before.about.embedding_digest == _embedding_digest():
        known = dict(zip(_texts(before.passages, before.chunking), before.vectors, strict=True))
    fresh = [text for text in dict.fromkeys(texts) if text not in known]
    known |= dict(zip(fresh, model.embed(fresh), strict=True))
    return np.array([known[text] for text in texts], np.float32).reshape(len(texts), embedding.DIMENSIONS)


def _last_line(text: str) -> str:
    return text.rpartition("\n")[2]


def save_index(index: SearchIndex, folder: Path) -> Path:
    """Write an index into a folder.

    Args:
        index: what to write.
        folder: made where it does not exist.

    Returns:
        The folder.
    """
    lines = "".join(json.dumps(_fields(passage)) + "\n" for passage in index.passages)
    for path, text in index.documents.items():
        if index.about.origins.get(path):
            _write(folder / DOCUMENTS / path, text)
    _write(folder / PASSAGES, lines)
    write_whole(folder / VECTORS, lambda scratch: _save_array(scratch, index.vectors))
    _write(folder / TEXTS, json.dumps(index.documents, indent=1, sort_keys=True))
    _write(folder / ABOUT, json.dumps(asdict(index.about), indent=1, sort_keys=True) + "\n")
    return folder


def load_index(folder: Path) -> SearchIndex:
    """Read an index.

    Args:
        folder: that `save_index` has written.

    Returns:
        The index.

    Raises:
        UserError: when there is none, or it is not whole.
    """
    try:
        about = TypeAdapter(IndexAbout).validate_json((folder / ABOUT).read_bytes())
        rows = [json.loads(line) for line in (folder / PASSAGES).read_text(encoding="utf-8").split("\n")[:-1]]
        documents = json.loads((folder / TEXTS).read_bytes())
        with (folder / VECTORS).open("rb") as file:
            vectors = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no whole index ({error}): run `make index-assistant`.") from error
    passages = tuple(
        Passage(**{**row, "sentences": tuple(Sentence(**one) for one in row["sentences"])}) for row in rows
    )
    return SearchIndex(about, passages, vectors, documents)


def without(index: SearchIndex, paths: Iterable[str]) -> list[Document]:
    """The documents of an index but for some, as a deletion leaves them."""
    gone = set(paths)
    return [
        Document(path, text, index.about.origins.get(path, ""), path in index.about.accepted)
        for path, text in index.documents.items()
        if path not in gone
    ]


def _fields(passage: Passage) -> dict[str, Any]:
    return {name: value for name, value in asdict(passage).items() if name != "text"}


def _write(path: Path, text: str) -> None:
    write_text(path, text)


def _save_array(path: Path, array: Vectors) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
