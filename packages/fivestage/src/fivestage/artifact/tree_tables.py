"""Boosted trees as tables, after QuickScorer (Lucchese et al., SIGIR 2015).

A tree's leaves are bits, the leftmost the lowest. A split that sends a row right rules out the leaves on its
left; the lowest bit that stays is the row's leaf. What a value of a feature rules out in all trees is merged
beforehand into one row of a table, so that a row of features is one lookup per feature.
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
LEAF, NUMBER, CATEGORY = 0, 1, 2  # treelite's numbers of kinds of nodes


class UnsupportedError(Exception):
    """Trees that the tables cannot hold; treelite's interpreter can."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree's nodes as treelite holds them; `matched` are the categories that go left."""

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
    """The trees whose leaves add up to one margin, and what they start from."""

    trees: list[Tree]
    base: float


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Models of the same features, as trees.

    Args:
        checkpoints: each model as treelite serialises it.
        outputs: the same as sums of trees, one a raw score; none where they are not, as in random forests.
        features: how many each takes.
        link: whether the outputs are raw scores, or probabilities.
        single: whether the original model rounds features to single precision.
    """

    checkpoints: tuple[bytes, ...]
    outputs: tuple[Output, ...]
    features: int
    link: str = "margin"
    single: bool = False


@dataclass(frozen=True, slots=True)
class Forest:
    """The tables: see trees.c for their shapes."""

    first: Ints
    category: NDArray[np.uint8]
    thresholds: Floats
    alive: NDArray[np.unsignedinteger[Any]]
    values: Floats
    ends: Ints
    bases: Floats


def forest_of(ensemble: Ensemble) -> Forest:
    """The tables of an ensemble."""
    outputs = ensemble.outputs
    if not outputs:
        raise UnsupportedError("they are no plain sums of trees that split at <= or on categories")
    trees = [tree for output in outputs for tree in output.trees]
    spans = [_leaves(tree) for tree in trees]
    width = max(len(leaves) for leaves, _ in spans)
    if width > BITS:
        raise UnsupportedError(f"a tree has {width} leaves, and a mask {BITS} bits")
    values = np.zeros((len(trees), width))
    for row, (leaves, _), tree in zip(values, spans, trees, strict=True):
        row[: len(leaves)] = tree.value[leaves]

    first, category, thresholds, alive = [0], [], [], []
    for feature in range(ensemble.features):
        splits = [
            (number, node, ALL ^ _bits(*spans[number][1][node]))
            for number, tree in enumerate(trees)
            for node in np.flatnonzero((tree.feature == feature) & (tree.kind != LEAF)).tolist()
        ]
        kinds = {int(trees[number].kind[node]) for number, node, _ in splits}
        if len(kinds) > 1:
            raise UnsupportedError(f"feature {feature} is split both as a number and as a category")
        build = _by_category if kinds == {CATEGORY} else _by_threshold
        marks, masks = build(trees, splits)
        category.append(kinds == {CATEGORY})
        thresholds.append(marks)
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


Split = tuple[int, int, np.uint64]  # tree, node, leaves that stay when it sends a row right


def _by_threshold(trees: list[Tree], splits: list[Split]) -> tuple[Floats, Masks]:
    """One row up to each threshold, one above them all, one for a missing value."""
    marks = np.array(sorted({float(trees[number].threshold[node]) for number, node, _ in splits}))
    masks = np.full((len(marks) + 2, len(trees)), ALL)
    for number, node, stay in splits:
        masks[np.searchsorted(marks, trees[number].threshold[node]) + 1, number] &= stay
    masks[:-1] = np.bitwise_and.accumulate(masks[:-1], axis=0)
    masks[-1] = ALL
    _missing(trees, splits, masks)
    return np.concatenate([marks, [np.inf, np.nan]]), masks


def _by_category(trees: list[Tree], splits: list[Split]) -> tuple[Floats, Masks]:
    """One row for each category that a split knows, one for any other, one for a missing value."""
    known = 1 + max((max(trees[number].matched[node], default=0) for number, node, _ in splits), default=0)
    masks = np.full((known + 2, len(trees)), ALL)
    for number, node, stay in splits:
        right = np.ones(known + 2, dtype=bool)
        right[list(trees[number].matched[node])] = False
        right[-1] = False
        masks[right, number] &= stay
    _missing(trees, splits, masks)
    return np.full(known + 2, np.nan), masks


def _missing(trees: list[Tree], splits: list[Split], masks: Masks) -> None:
    for number, node, stay in splits:
        if not trees[number].missing_left[node]:
            masks[-1, number] &= stay


def _leaves(tree: Tree) -> tuple[list[int], dict[int, tuple[int, int]]]:
    """The leaves from left to right, and for each split the places of those on its left."""
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


def _bits(start: int, end: int) -> np.uint64:
    return np.uint64((1 << end) - (1 << start))


def probes(ensemble: Ensemble, rows: int = 128) -> Floats:
    """Rows that try the splits: at and beside thresholds, each category, and missing, as an unseen one is."""
    random = np.random.default_rng(0)
    trees = [tree for output in ensemble.outputs for tree in output.trees]
    table = np.empty((rows, ensemble.features))
    for feature in range(ensemble.features):
        tried = {0.0, np.nan}
        for tree in trees:
            for node in np.flatnonzero((tree.feature == feature) & (tree.kind == NUMBER)).tolist():
                at = float(tree.threshold[node])
                tried |= {at, float(np.nextafter(at, np.inf)), float(np.nextafter(at, -np.inf))}
            for node in np.flatnonzero((tree.feature == feature) & (tree.kind == CATEGORY)).tolist():
                tried |= {float(one) for one in tree.matched[node]}
        table[:, feature] = random.choice(sorted(tried, key=str), rows)
    return table


NODES = ("kind", "left", "right", "feature", "threshold", "missing_left", "value", "cover")


def arrays_of(outputs: Sequence[Output]) -> dict[str, NDArray[Any]]:
    """Outputs as named arrays: the nodes of all trees one after another, and how many each tree has."""
    if not outputs:
        return {}
    trees = [tree for output in outputs for tree in output.trees]
    matched = [sorted(one) for tree in trees for one in tree.matched]
    return {
        "bases": np.array([output.base for output in outputs]),
        "trees": np.array([len(output.trees) for output in outputs], dtype=np.int64),
        "nodes": np.array([len(tree.kind) for tree in trees], dtype=np.int64),
        "matches": np.array([len(one) for one in matched], dtype=np.int64),
        "matched": np.array([category for one in matched for category in one], dtype=np.int64),
        **{name: np.concatenate([getattr(tree, name) for tree in trees]) for name in NODES},
    }


def outputs_of(arrays: Mapping[str, NDArray[Any]]) -> tuple[Output, ...]:
    """The outputs that `arrays_of` has written down."""
    if not arrays:
        return ()
    groups = np.split(arrays["matched"], np.cumsum(arrays["matches"])[:-1])
    matched = tuple(frozenset(one.tolist()) for one in groups)
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
