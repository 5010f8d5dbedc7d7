"""Sequences of tokens, and the batch of each step: a function of seed and step, so that it can be resumed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Sequences:
    """Inputs and targets.

    Args:
        inputs: sequences x positions, tokens.
        targets: in the same shape, the token to be predicted at each position; -100 where none is.
    """

    inputs: Tokens
    targets: Tokens

    def __len__(self) -> int:
        return len(self.inputs)

    def batch(self, step: int, size: int, seed: int) -> Sequences:
        """The batch of a step: each epoch a new permutation, of which a short rest is left out.

        Args:
            step: from 0.
            size: sequences of all processes together.
            seed: of the order.

        Returns:
            So many sequences, the same in every process.
        """
        steps = len(self) // size
        if steps == 0:
            raise ValueError(f"a batch of {size} sequences cannot be had of {len(self)}")
        epoch, place = divmod(step, steps)
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        chosen = order[place * size : (place + 1) * size]
        return Sequences(self.inputs[chosen], self.targets[chosen])

    def part(self, index: int, parts: int) -> Sequences:
        """Every `parts`-th block of rows, that of one process."""
        size = len(self) // parts
        chosen = slice(index * size, (index + 1) * size)
        return Sequences(self.inputs[chosen], self.targets[chosen])


def toy_sequences(vocabulary: int, context: int, count: int = 512, seed: int = 1) -> Sequences:
    """Sequences in which each token depends on the one before: a random Markov chain.

    Args:
        vocabulary: number of tokens.
        context: positions.
        count: sequences.
        seed: of the chain.

    Returns:
        Sequences that a model can learn something of.
    """
    generator = np.random.default_rng(seed)
    cumulative = generator.dirichlet(np.full(vocabulary, 0.1), vocabulary).cumsum(axis=1)
    tokens = np.zeros((count, context + 1), dtype=np.int64)
    tokens[:, 0] = generator.integers(vocabulary, size=count)
    for place in range(context):
        drawn = generator.random((count, 1)) > cumulative[tokens[:, place]]
        tokens[:, place + 1] = np.minimum(drawn.sum(axis=1), vocabulary - 1)
    return Sequences(tokens[:, :-1], tokens[:, 1:])
