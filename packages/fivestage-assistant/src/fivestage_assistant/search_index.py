"""The search index: passages and their vectors, stored as a folder that is a versioned artifact."""

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
    """What an index was built from; indexes with equal values give equal answers."""

    digest: str  # SHA-256 of the other fields and of all texts
    chunking: dict[str, Any]
    embedding: str  # name of the embedding model
    embedding_digest: str  # SHA-256 of its weights and vocabulary
    documents: dict[str, str]  # SHA-256 of each document, by path
    accepted: tuple[str, ...]  # paths of the documents that may be quoted
    origins: dict[str, str] = field(default_factory=dict)  # source file of each record of a run, by path


@dataclass(frozen=True)
class SearchIndex:
    """All passages of a corpus, ready to search."""

    about: IndexAbout
    passages: tuple[Passage, ...]  # in document order
    vectors: Vectors  # one row per passage, then one per sentence; no rows without an embedding model
    documents: dict[str, str]  # text by path, for citations to open

    @cached_property
    def by_name(self) -> dict[str, Passage]:
        """Passages by name."""
        return {one.name: one for one in self.passages}

    @cached_property
    def chunking(self) -> Chunking:
        """The settings of the split."""
        return Chunking.model_validate(self.about.chunking, strict=False)

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """For each sentence of the index, the number of its passage."""
        return np.repeat(np.arange(len(self.passages)), [len(one.sentences) for one in self.passages])

    @cached_property
    def first_sentences(self) -> dict[str, int]:
        """For each passage's name, the row of its first sentence in `vectors`."""
        starts = np.cumsum([len(self.passages), *(len(one.sentences) for one in self.passages)])
        return {one.name: int(start) for one, start in zip(self.passages, starts, strict=False)}

    @property
    def version(self) -> str:
        """The first 12 digits of the digest."""
        return self.about.digest[:12]


def build_index(
    documents: Sequence[Document],
    chunking: Chunking,
    model: MiniLm | None,
    before: SearchIndex | None = None,
) -> SearchIndex:
    """Split a corpus into passages, and compute their vectors and the digest.

    Args:
        documents: the whole corpus.
        chunking: the settings of the split.
        model: the embedding model; None for BM25 alone.
        before: an earlier index, whose vectors are reused for unchanged texts.

    Returns:
        The index; it depends on documents and settings only, not on `before`.
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
    """Return the texts that have vectors: passages, then sentences with their heading and question."""
    texts = [passage.searched(chunking) for passage in passages]
    for passage in passages:
        heading = passage.subject.rpartition("\n")[2]
        texts += [f"{heading}: {sentence.context} {sentence.text}" for sentence in passage.sentences]
    return texts


def _vectors(texts: Sequence[str], model: MiniLm, before: SearchIndex | None) -> Vectors:
    """Compute vectors; those of texts in an earlier index by the same model are reused."""
    known: dict[str, Any] = {}
    if before is not None and len(before.vectors) and before.about.embedding_digest == _embedding_digest():
        known = dict(zip(_texts(before.passages, before.chunking), before.vectors, strict=True))
    new = [text for text in dict.fromkeys(texts) if text not in known]
    known |= dict(zip(new, model.embed(new), strict=True))
    return np.array([known[text] for text in texts], np.float32).reshape(len(texts), embedding.DIMENSIONS)


def save_index(index: SearchIndex, folder: Path) -> Path:
    """Write an index into a folder, which is created if needed; return the folder."""
    rows = ({name: value for name, value in asdict(one).items() if name != "text"} for one in index.passages)
    for path, text in index.documents.items():
        if index.about.origins.get(path):
            write_text(folder / DOCUMENTS / path, text)
    write_text(folder / PASSAGES, "".join(json.dumps(row) + "\n" for row in rows))
    write_whole(folder / VECTORS, lambda temporary: _save_array(temporary, index.vectors))
    write_text(folder / TEXTS, json.dumps(index.documents, indent=1, sort_keys=True))
    write_text(folder / ABOUT, json.dumps(asdict(index.about), indent=1, sort_keys=True) + "\n")
    return folder


def load_index(folder: Path) -> SearchIndex:
    """Read an index; raise a UserError if it is missing or incomplete."""
    try:
        about = TypeAdapter(IndexAbout).validate_json((folder / ABOUT).read_bytes())
        rows = [json.loads(line) for line in (folder / PASSAGES).read_text(encoding="utf-8").split("\n")[:-1]]
        documents = json.loads((folder / TEXTS).read_bytes())
        with (folder / VECTORS).open("rb") as file:
            vectors = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no complete index ({error}): run `make index-assistant`.") from error
    passages = tuple(
        Passage(**{**row, "sentences": tuple(Sentence(**one) for one in row["sentences"])}) for row in rows
    )
    return SearchIndex(about, passages, vectors, documents)


def without(index: SearchIndex, paths: Iterable[str]) -> list[Document]:
    """Return the documents of an index except some, as deleting these would leave them."""
    excluded = set(paths)
    return [
        Document(path, text, index.about.origins.get(path, ""), path in index.about.accepted)
        for path, text in index.documents.items()
        if path not in excluded
    ]


def _save_array(path: Path, array: Vectors) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
