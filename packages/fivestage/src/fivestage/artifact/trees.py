"""Trees as arrays of nodes: what is stored, scored by trees.c, and explained."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fivestage.common.columns import Floats, Ints


class UnsupportedError(Exception):
    """A model that cannot be explained exactly."""


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """Boosted or averaged trees of the same features: each raw score is a sum of leaves and a base value.

    A split's right child follows its left one; a leaf is its own left child.
    """

    feature: Ints
    threshold: Floats  # values up to it go left; category splits: the row in `matched`; leaves: infinity
    category: NDArray[np.bool_]  # whether the node splits on categories
    missing_left: NDArray[np.bool_]  # true for leaves
    left: Ints
    value: Floats  # nodes x classes, where leaves hold a value for each class; otherwise nodes x 1
    cover: Floats  # number of training rows; NaN if unknown
    matched: NDArray[np.bool_]  # category splits x categories: those that go left
    roots: Ints  # of each tree
    ends: Ints  # end of the trees of each sum
    bases: Floats  # sums x values per leaf
    features: int  # number of input features
    link: str = "margin"  # "margin" if the outputs are raw scores, or "probability"
    single: bool = False  # whether the original model rounds features to single precision

    def __post_init__(self) -> None:
        """Require that indices stay within the arrays, and that walks end, because C does not check it."""
        nodes, rows = np.arange(len(self.left)), self.threshold[self.category]
        sizes = {len(getattr(self, name)) for name in ("feature", "threshold", "category", "missing_left")}
        if not (
            sizes == {len(nodes)} == {len(self.value)}
            and ((nodes <= self.left) & (self.left < len(nodes) - ~self.is_leaf())).all()
            and ((self.feature >= 0) & (self.feature < self.features)).all()
            and ((rows >= 0) & (rows < len(self.matched))).all()
            and ((self.roots >= 0) & (self.roots < len(nodes))).all()
            and ((self.ends >= 0) & (self.ends <= len(self.roots))).all()
            and self.bases.shape == (len(self.ends), self.value.shape[1])
        ):
            raise ValueError("its arrays are not trees")

    def is_leaf(self) -> NDArray[np.bool_]:
        """Whether each node is a leaf."""
        return np.asarray(self.left == np.arange(len(self.left)))

    def goes_left(self, nodes: Ints, values: Floats) -> NDArray[np.bool_]:
        """Whether rows go left at nodes, given the value of each node's feature."""
        category = self.category[nodes]
        known = category & (values >= 0) & (values < self.matched.shape[1])
        left = (values <= self.threshold[nodes]) & ~category
        left[known] = self.matched[self.threshold[nodes[known]].astype(int), values[known].astype(int)]
        return np.where(np.isnan(values), self.missing_left[nodes], left)

    def margins(self, rows: Floats) -> Floats:
        """Return the raw scores of rows x features: one per row, or rows x outputs. Slow, but needs no C."""
        at = np.tile(self.roots, (len(rows), 1))
        number = np.arange(len(rows))[:, None]
        while (at != self.left[at]).any():
            at = self.left[at] + ~self.goes_left(at, rows[number, self.feature[at]])
        starts = np.append(0, self.ends[:-1])
        sums = np.add.reduceat(self.value[at], starts, axis=1) + self.bases
        outputs = sums.reshape(len(rows), self.bases.size)
        return outputs[:, 0] if self.bases.size == 1 else outputs


def probes(trees: Trees, rows: int = 128) -> Floats:
    """Draw rows that test the splits: values at and next to thresholds, categories, and missing values."""
    random = np.random.default_rng(0)
    table = np.empty((rows, trees.features))
    for feature in range(trees.features):
        own = ~trees.is_leaf() & (trees.feature == feature)
        at = trees.threshold[own & ~trees.category]
        categories = trees.matched[trees.threshold[own & trees.category].astype(int)].any(axis=0)
        near = [at, np.nextafter(at, np.inf), np.nextafter(at, -np.inf), np.flatnonzero(categories)]
        table[:, feature] = random.choice(np.unique(np.concatenate([[0.0, np.nan], *near])), rows)
    return table
