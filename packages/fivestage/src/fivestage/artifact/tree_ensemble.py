"""Trees as arrays of nodes: what is stored, scored by trees.c, and explained."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fivestage.common.columns import Floats, Ints


class UnsupportedError(Exception):
    """A model that cannot be explained exactly."""


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """The nodes of all trees; a split's right child follows its left one, a leaf is its own left child."""

    feature: Ints
    threshold: (
        Floats  # values up to it go left; of a category split, its row in `matched`; of a leaf, infinity
    )
    category: NDArray[np.bool_]  # whether the node splits on categories
    missing_left: NDArray[np.bool_]
    left: Ints
    value: Floats
    cover: Floats  # number of training rows; NaN if unknown
    matched: NDArray[np.bool_]  # category splits x categories: those that go left
    roots: Ints  # of each tree
    ends: Ints  # of each output's trees: a raw score is the sum of one leaf per tree and a base value
    bases: Floats  # of each output

    def is_leaf(self) -> NDArray[np.bool_]:
        """Whether each node is a leaf."""
        return np.asarray(self.left == np.arange(len(self.left)))

    def require_sound(self, features: int) -> None:
        """Require that indices stay within the arrays, and that walks end, because C does not check it.

        Raises:
            ValueError: when the arrays describe no trees.
        """
        nodes, rows = np.arange(len(self.left)), self.threshold[self.category]
        sizes = {len(getattr(self, name)) for name in ("feature", "threshold", "category", "missing_left")}
        if not (
            sizes == {len(self.left)} == {len(self.value)}
            and ((nodes <= self.left) & (self.left < len(nodes) - ~self.is_leaf())).all()
            and ((self.feature >= 0) & (self.feature < features)).all()
            and ((rows >= 0) & (rows < len(self.matched))).all()
            and ((self.roots >= 0) & (self.roots < len(nodes))).all()
            and ((self.ends >= 0) & (self.ends <= len(self.roots))).all()
            and len(self.bases) == len(self.ends)
        ):
            raise ValueError("its arrays are not trees")

    def goes_left(self, row: Floats) -> NDArray[np.bool_]:
        """Whether a row goes left, for each node."""
        values = row[self.feature]
        left = values <= self.threshold
        nodes = np.flatnonzero(self.category & ~np.isnan(values))
        known = nodes[(values[nodes] >= 0) & (values[nodes] < self.matched.shape[1])]
        left[nodes] = False
        left[known] = self.matched[self.threshold[known].astype(int), values[known].astype(int)]
        return np.where(np.isnan(values), self.missing_left, left)


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Tree models of the same features.

    Args:
        checkpoints: each model as serialised by treelite.
        trees: the models as sums of trees; None if they are no sums (random forests).
        features: number of input features.
        link: "margin" if the outputs are raw scores, or "probability".
        single: whether the original model rounds features to single precision.
    """

    checkpoints: tuple[bytes, ...]
    trees: Trees | None
    features: int
    link: str = "margin"
    single: bool = False

    def __post_init__(self) -> None:
        if self.trees is not None:
            self.trees.require_sound(self.features)


def probes(trees: Trees, features: int, rows: int = 128) -> Floats:
    """Draw rows that test the splits: values at and next to thresholds, categories, and missing values."""
    random = np.random.default_rng(0)
    table = np.empty((rows, features))
    for feature in range(features):
        own = ~trees.is_leaf() & (trees.feature == feature)
        at = trees.threshold[own & ~trees.category]
        categories = trees.matched[trees.threshold[own & trees.category].astype(int)].any(axis=0)
        near = [at, np.nextafter(at, np.inf), np.nextafter(at, -np.inf), np.flatnonzero(categories)]
        table[:, feature] = random.choice(np.unique(np.concatenate([[0.0, np.nan], *near])), rows)
    return table
