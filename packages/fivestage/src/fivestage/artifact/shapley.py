"""Explanations of tree models: exact Shapley values, as in TreeSHAP (Lundberg et al. 2020).

On the path to a leaf, a feature is either set to the row's value, which follows the path or leaves it, or
averaged over the training rows, of which a share follows the path. A feature's Shapley value is a sum over
all subsets of the other features, weighted by k! (d-1-k)! / d!. That weight is the integral of
t^k (1-t)^(d-1-k), so the whole sum is one integral of a product: a polynomial in t, which a few
Gauss-Legendre nodes integrate exactly.
"""

import numpy as np

from fivestage.artifact.trees import Trees, UnsupportedError
from fivestage.common.columns import Floats, Ints

Step = tuple[int, bool]  # a split's node, and whether the path goes left there
Path = dict[int, tuple[float, list[Step]]]  # by feature: share of training rows that follow it, and its steps


class Explainer:
    """Explains one output, whose trees are stored as paths to their leaves."""

    def __init__(self, trees: Trees, output: int) -> None:
        if not np.all(trees.cover > 0):
            raise UnsupportedError("the nodes of its trees lack counts of training rows")
        self._trees, self._features = trees, trees.features
        paths: list[tuple[float, Path]] = []
        for root in trees.roots[trees.ends[output - 1] if output else 0 : trees.ends[output]].tolist():
            self._walk(root, {}, paths)
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
        # The mean margin of the training rows.
        self.base = float(trees.bases[output, 0]) + float(self._value @ self._share.prod(axis=1))

    def contributions(self, row: Floats) -> Floats:
        """Return each feature's contribution to the margin; `base` plus their sum is the margin."""
        follows = np.ones(self._slot.size)
        left = self._trees.goes_left(self._split, row[self._trees.feature[self._split]])
        follows[self._cell[left != self._goes_left]] = 0
        follows = follows.reshape(self._slot.shape)
        factors = self._share[..., None] * (1 - self._t) + follows[..., None] * self._t
        others = factors.prod(axis=1, keepdims=True) / factors
        terms = self._value[:, None] * (follows - self._share) * (others @ self._weight)
        return np.bincount(self._slot.ravel(), terms.ravel(), self._features + 1)[:-1].astype(np.float64)

    def _walk(self, node: int, path: Path, paths: list[tuple[float, Path]]) -> None:
        """Append the leaves below a node, each as its value and the path to it."""
        trees, left = self._trees, int(self._trees.left[node])
        if left == node:
            paths.append((float(trees.value[node, 0]), path))
            return
        feature = int(trees.feature[node])
        share, steps = path.get(feature, (1.0, []))
        for child, goes_left in ((left, True), (left + 1, False)):
            part = share * float(trees.cover[child] / trees.cover[node])
            self._walk(child, {**path, feature: (part, [*steps, (node, goes_left)])}, paths)


def strongest(contributions: Floats, count: int) -> Ints:
    """Return the indices of the contributions that are largest in absolute value."""
    return np.argsort(-np.abs(contributions), kind="stable")[:count].astype(np.int64)
