"""Boosted trees as lookup tables, after QuickScorer (Lucchese et al., SIGIR 2015).

The leaves of a tree are the bits of a mask, the leftmost leaf the lowest bit. A split that sends a row right
excludes the leaves on its left; the lowest bit that remains is the row's leaf. The masks of all splits on a
feature are merged beforehand into a table with one row per range of values, so that scoring a row takes one
lookup per feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fivestage.common.columns import Floats, Ints

Masks = NDArray[np.uint64]
ALL = np.uint64(2**64 - 1)
NARROW, BITS = 32, 64  # widths of a mask
LEAF, NUMBER, CATEGORY = 0, 1, 2  # treelite's codes of node types


class UnsupportedError(Exception):
    """A model that the tables cannot represent, or that cannot be explained exactly."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree's nodes in treelite's layout; `matched` are the categories that go left."""

    kind: Ints
    left: Ints
    right: Ints
    feature: Ints
    threshold: Floats
    missing_left: NDArray[np.bool_]
    value: Floats
    cover: Floats
    matched: tuple[frozenset[int], ...]


@dataclass(frozen=True, slots=True)
class Output:
    """One margin: the sum of one leaf per tree and a base value."""

    trees: list[Tree]
    base: float


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Tree models of the same features.

    Args:
        checkpoints: each model as serialised by treelite.
        outputs: the models as sums of trees, one per raw score; empty if they are no sums (random forests).
        features: number of input features.
        link: "margin" if the outputs are raw scores, or "probability".
        single: whether the original model rounds features to single precision.
    """

    checkpoints: tuple[bytes, ...]
    outputs: tuple[Output, ...]
    features: int
    link: str = "margin"
    single: bool = False


@dataclass(frozen=True, slots=True)
class Forest:
    """The lookup tables; trees.c describes their shapes."""

    first: Ints
    category: NDArray[np.uint8]
    thresholds: Floats
    alive: NDArray[np.unsignedinteger[Any]]
    values: Floats
    ends: Ints
    bases: Floats


def forest_of(ensemble: Ensemble) -> Forest:
    """Build the lookup tables of an ensemble."""
    outputs = ensemble.outputs
    if not outputs:
        raise UnsupportedError("they are not plain sums of trees that split at <= or on categories")
    trees = [tree for output in outputs for tree in output.trees]
    spans = [_leaves(tree) for tree in trees]
    width = max(len(leaves) for leaves, _ in spans)
    if width > BITS:
        raise UnsupportedError(f"a tree has {width} leaves, more than the {BITS} bits of a mask")
    values = np.zeros((len(trees), width))
    for row, (leaves, _), tree in zip(values, spans, trees, strict=True):
        row[: len(leaves)] = tree.value[leaves]

    first, category, thresholds, alive = [0], [], [], []
    for feature in range(ensemble.features):
        splits = [
            (number, node, ALL ^ _mask(*spans[number][1][node]))
            for number, tree in enumerate(trees)
            for node in np.flatnonzero((tree.feature == feature) & (tree.kind != LEAF)).tolist()
        ]
        kinds = {int(trees[number].kind[node]) for number, node, _ in splits}
        if len(kinds) > 1:
            raise UnsupportedError(f"feature {feature} is split both as a number and as a category")
        build = _by_category if kinds == {CATEGORY} else _by_threshold
        limits, masks = build(trees, splits)
        category.append(kinds == {CATEGORY})
        thresholds.append(limits)
        alive.append(masks)
        first.append(first[-1] + len(masks))
    return Forest(
        first=np.array(first, dtype=np.int64),
        category=np.array(category, dtype=np.uint8),
        thresholds=np.concatenate(thresholds),
        alive=np.concatenate(alive).astype(np.uint32 if width <= NARROW else np.uint64),
        values=values,
        ends=np.cumsum([len(output.trees) for output in outputs]).astype(np.int64),
        bases=np.array([output.base for output in outputs]),
    )


Split = tuple[int, int, np.uint64]  # tree, node, mask of the leaves that remain when it sends a row right


def _by_threshold(trees: list[Tree], splits: list[Split]) -> tuple[Floats, Masks]:
    """Build a row for values up to each threshold, one for values above all, and one for missing."""
    limits = np.array(sorted({float(trees[number].threshold[node]) for number, node, _ in splits}))
    masks = np.full((len(limits) + 2, len(trees)), ALL)
    for number, node, remaining in splits:
        masks[np.searchsorted(limits, trees[number].threshold[node]) + 1, number] &= remaining
    masks[:-1] = np.bitwise_and.accumulate(masks[:-1], axis=0)
    masks[-1] = ALL
    _mask_missing(trees, splits, masks)
    return np.concatenate([limits, [np.inf, np.nan]]), masks


def _by_category(trees: list[Tree], splits: list[Split]) -> tuple[Floats, Masks]:
    """Build a row for each category known to a split, one for any other, and one for missing."""
    known = 1 + max((max(trees[number].matched[node], default=0) for number, node, _ in splits), default=0)
    masks = np.full((known + 2, len(trees)), ALL)
    for number, node, remaining in splits:
        right = np.ones(known + 2, dtype=bool)
        right[list(trees[number].matched[node])] = False
        right[-1] = False
        masks[right, number] &= remaining
    _mask_missing(trees, splits, masks)
    return np.full(known + 2, np.nan), masks


def _mask_missing(trees: list[Tree], splits: list[Split], masks: Masks) -> None:
    """Exclude leaves from the last row, for a missing value, where splits send it right."""
    for number, node, remaining in splits:
        if not trees[number].missing_left[node]:
            masks[-1, number] &= remaining


def _leaves(tree: Tree) -> tuple[list[int], dict[int, tuple[int, int]]]:
    """Return the leaves from left to right, and for each split the range of leaves on its left."""
    leaves: list[int] = []
    on_left: dict[int, tuple[int, int]] = {}

    def walk(node: int) -> None:
        if tree.kind[node] == LEAF:
            leaves.append(node)
            return
        start = len(leaves)
        walk(int(tree.left[node]))
        on_left[node] = (start, len(leaves))
        walk(int(tree.right[node]))

    walk(0)
    return leaves, on_left


def _mask(start: int, end: int) -> np.uint64:
    return np.uint64((1 << end) - (1 << start))


def probes(ensemble: Ensemble, rows: int = 128) -> Floats:
    """Draw rows that test the splits: values at and next to thresholds, categories, and missing values."""
    random = np.random.default_rng(0)
    trees = [tree for output in ensemble.outputs for tree in output.trees]
    table = np.empty((rows, ensemble.features))
    for feature in range(ensemble.features):
        values = {0.0, np.nan}
        for tree in trees:
            for node in np.flatnonzero((tree.feature == feature) & (tree.kind == NUMBER)).tolist():
                at = float(tree.threshold[node])
                values |= {at, float(np.nextafter(at, np.inf)), float(np.nextafter(at, -np.inf))}
            for node in np.flatnonzero((tree.feature == feature) & (tree.kind == CATEGORY)).tolist():
                values |= {float(category) for category in tree.matched[node]}
        table[:, feature] = random.choice(sorted(values, key=str), rows)
    return table


NODES = ("kind", "left", "right", "feature", "threshold", "missing_left", "value", "cover")


def arrays_of(outputs: Sequence[Output]) -> dict[str, NDArray[Any]]:
    """Return outputs as named arrays: the nodes of all trees concatenated, and the nodes per tree."""
    if not outputs:
        return {}
    trees = [tree for output in outputs for tree in output.trees]
    matched = [sorted(categories) for tree in trees for categories in tree.matched]
    return {
        "bases": np.array([output.base for output in outputs]),
        "trees": np.array([len(output.trees) for output in outputs], dtype=np.int64),
        "nodes": np.array([len(tree.kind) for tree in trees], dtype=np.int64),
        "matches": np.array([len(categories) for categories in matched], dtype=np.int64),
        "matched": np.array([category for categories in matched for category in categories], dtype=np.int64),
        **{name: np.concatenate([getattr(tree, name) for tree in trees]) for name in NODES},
    }


def outputs_of(arrays: Mapping[str, NDArray[Any]]) -> tuple[Output, ...]:
    """Restore the outputs that `arrays_of` has turned into arrays."""
    if not arrays:
        return ()
    groups = np.split(arrays["matched"], np.cumsum(arrays["matches"])[:-1])
    matched = tuple(frozenset(group.tolist()) for group in groups)
    ends = np.cumsum(arrays["nodes"]).tolist()
    trees = [
        Tree(**{name: arrays[name][start:end] for name in NODES}, matched=matched[start:end])
        for start, end in zip([0, *ends], ends, strict=False)
    ]
    last = np.cumsum(arrays["trees"]).tolist()
    return tuple(
        Output(trees[start:end], base)
        for start, end, base in zip([0, *last], last, arrays["bases"].tolist(), strict=False)
    )
