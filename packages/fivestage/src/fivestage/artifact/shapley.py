"""Explanations of tree models: exact Shapley values, as in TreeSHAP (Lundberg et al. 2020).

On the path to a leaf, a feature is either set to the row's value, which follows the path or leaves it, or
averaged over the training rows, of which a share follows the path. A feature's Shapley value is a sum over
all subsets of the other features, weighted by k! (d-1-k)! / d!. That weight is the integral of
t^k (1-t)^(d-1-k), so the whole sum is one integral of a product: a polynomial in t, which a few
Gauss-Legendre nodes integrate exactly.
"""

import numpy as np
from numpy.typing import NDArray

from fivestage.artifact.tree_tables import CATEGORY, LEAF, Output, Tree, UnsupportedError
from fivestage.common.columns import Floats, Ints

Step = tuple[int, bool]  # a split, and whether the path goes left there
Path = dict[int, tuple[float, list[Step]]]  # by feature: share of training rows that follow it, and its steps


class Explainer:
    """Explains one output, whose trees are stored as paths to their leaves."""

    def __init__(self, output: Output, features: int) -> None:
        self._features = features
        self._feature: list[int] = []
        self._threshold: list[float] = []
        self._missing_left: list[bool] = []
        self._categories: list[tuple[int, frozenset[int]]] = []  # split, categories that go left
        paths: list[tuple[float, Path]] = []
        for tree in output.trees:
            if not np.all(tree.cover > 0):
                raise UnsupportedError("the nodes of its trees lack counts of training rows")
            self._walk(tree, 0, {}, paths)
        depth = max(1, *(len(path) for _, path in paths))
        self._value = np.array([value for value, _ in paths])
        # Paths x depth: the feature in each place (`features` where the path is shorter) and its share.
        self._slot = np.full((len(paths), depth), self._features)
        self._share = np.ones((len(paths), depth))
        splits, directions, cells = [], [], []
        for row, (_, path) in enumerate(paths):
            for place, (feature, (share, steps)) in enumerate(path.items()):
                self._slot[row, place], self._share[row, place] = feature, share
                for split, left in steps:
                    splits.append(split)
                    directions.append(left)
                    cells.append(row * depth + place)
        self._split, self._goes_left = np.array(splits, int), np.array(directions, bool)
        self._cell = np.array(cells, int)
        nodes, weights = np.polynomial.legendre.leggauss(depth // 2 + 1)
        self._t, self._weight = (nodes + 1) / 2, weights / 2
        self._split_feature = np.array(self._feature, int)
        self._limits, self._default = np.array(self._threshold), np.array(self._missing_left, bool)
        # The mean margin of the training rows.
        self.base = output.base + float(self._value @ self._share.prod(axis=1))

    def contributions(self, row: Floats) -> Floats:
        """Return each feature's contribution to the margin; `base` plus their sum is the margin."""
        follows = np.ones(self._slot.size)
        follows[self._cell[self._lefts(row)[self._split] != self._goes_left]] = 0
        follows = follows.reshape(self._slot.shape)
        factors = self._share[..., None] * (1 - self._t) + follows[..., None] * self._t
        others = factors.prod(axis=1, keepdims=True) / factors
        terms = self._value[:, None] * (follows - self._share) * (others @ self._weight)
        return np.bincount(self._slot.ravel(), terms.ravel(), self._features + 1)[:-1].astype(np.float64)

    def _lefts(self, row: Floats) -> NDArray[np.bool_]:
        """Return for each split whether the row goes left."""
        values = row[self._split_feature]
        left: NDArray[np.bool_] = values <= self._limits
        for split, matched in self._categories:
            left[split] = values[split] in matched
        return np.where(np.isnan(values), self._default, left)

    def _walk(self, tree: Tree, node: int, path: Path, paths: list[tuple[float, Path]]) -> None:
        """Append the leaves below a node, each as its value and the path to it."""
        if tree.kind[node] == LEAF:
            paths.append((float(tree.value[node]), path))
            return
        split, feature = len(self._feature), int(tree.feature[node])
        category = tree.kind[node] == CATEGORY
        self._feature.append(feature)
        self._threshold.append(float("nan") if category else float(tree.threshold[node]))
        self._missing_left.append(bool(tree.missing_left[node]))
        if category:
            self._categories.append((split, tree.matched[node]))
        share, steps = path.get(feature, (1.0, []))
        for child, left in ((int(tree.left[node]), True), (int(tree.right[node]), False)):
            part = share * float(tree.cover[child] / tree.cover[node])
            self._walk(tree, child, {**path, feature: (part, [*steps, (split, left)])}, paths)


def strongest(contributions: Floats, count: int) -> Ints:
    """Return the indices of the contributions that are largest in absolute value."""
    return np.argsort(-np.abs(contributions), kind="stable")[:count].astype(np.int64)
