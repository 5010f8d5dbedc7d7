"""What moved a decision: exact Shapley values of the trees, as TreeSHAP has them (Lundberg et al. 2020).

Along the path to a leaf, a feature is either held by the row (it goes the path's way, or not) or averaged
over the training rows (the share of them that goes that way). A feature's value is a sum over all sets of
the other features, weighted by k! (d-1-k)! / d!. That is the integral of t^k (1-t)^(d-1-k), so the sum is
one integral of a product: of a polynomial, which a few Gauss-Legendre nodes integrate exactly.
"""

import numpy as np
from numpy.typing import NDArray

from fivestage.artifact.tree_tables import CATEGORY, LEAF, Output, Tree, UnsupportedError
from fivestage.common.columns import Floats, Ints

Path = dict[int, tuple[float, list[tuple[int, bool]]]]  # by feature: share of training rows, nodes and ways


class Explainer:
    """The trees of one output as paths."""

    def __init__(self, output: Output, features: int) -> None:
        self._features = features
        self._feature: list[int] = []
        self._threshold: list[float] = []
        self._missing_left: list[bool] = []
        self._categories: list[tuple[int, frozenset[int]]] = []  # node, categories that go left
        paths: list[tuple[float, Path]] = []
        for tree in output.trees:
            if not np.all(tree.cover > 0):
                raise UnsupportedError("no counts of training rows in its nodes")
            self._walk(tree, 0, {}, paths)
        depth = max(1, *(len(path) for _, path in paths))
        self._value = np.array([value for value, _ in paths])
        self._slot = np.full((len(paths), depth), self._features)  # feature of each place; one more: none
        self._share = np.ones((len(paths), depth))
        node, way, cell = [], [], []
        for row, (_, path) in enumerate(paths):
            for place, (feature, (share, steps)) in enumerate(path.items()):
                self._slot[row, place], self._share[row, place] = feature, share
                for one, left in steps:
                    node.append(one)
                    way.append(left)
                    cell.append(row * depth + place)
        self._node, self._way, self._cell = np.array(node, int), np.array(way, bool), np.array(cell, int)
        nodes, weights = np.polynomial.legendre.leggauss(depth // 2 + 1)
        self._at, self._weight = (nodes + 1) / 2, weights / 2
        self._where = np.array(self._feature, int)
        self._limits, self._default = np.array(self._threshold), np.array(self._missing_left, bool)
        self.base = output.base + float(
            self._value @ self._share.prod(axis=1)
        )  # the mean margin of training rows

    def contributions(self, row: Floats) -> Floats:
        """What each feature adds to the margin; with `base` they sum to it."""
        held = np.ones(self._slot.size)
        held[self._cell[self._lefts(row)[self._node] != self._way]] = 0
        held = held.reshape(self._slot.shape)
        factors = self._share[..., None] * (1 - self._at) + held[..., None] * self._at
        others = factors.prod(axis=1, keepdims=True) / factors
        moved = self._value[:, None] * (held - self._share) * (others @ self._weight)
        return np.bincount(self._slot.ravel(), moved.ravel(), self._features + 1)[:-1].astype(np.float64)

    def _lefts(self, row: Floats) -> NDArray[np.bool_]:
        """Whether the row goes left, split by split."""
        values = row[self._where]
        left: NDArray[np.bool_] = values <= self._limits
        for node, matched in self._categories:
            left[node] = values[node] in matched
        return np.where(np.isnan(values), self._default, left)

    def _walk(self, tree: Tree, at: int, path: Path, paths: list[tuple[float, Path]]) -> None:
        if tree.kind[at] == LEAF:
            paths.append((float(tree.value[at]), path))
            return
        number, feature = len(self._feature), int(tree.feature[at])
        category = tree.kind[at] == CATEGORY
        self._feature.append(feature)
        self._threshold.append(float("nan") if category else float(tree.threshold[at]))
        self._missing_left.append(bool(tree.missing_left[at]))
        if category:
            self._categories.append((number, tree.matched[at]))
        share, steps = path.get(feature, (1.0, []))
        for child, left in ((int(tree.left[at]), True), (int(tree.right[at]), False)):
            part = share * float(tree.cover[child] / tree.cover[at])
            self._walk(tree, child, {**path, feature: (part, [*steps, (number, left)])}, paths)


def strongest(contributions: Floats, most: int) -> Ints:
    """Places of the largest contributions, whatever their sign."""
    return np.argsort(-np.abs(contributions), kind="stable")[:most].astype(np.int64)
