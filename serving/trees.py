"""Boosted trees as tables, after QuickScorer (Lucchese et al., SIGIR 2015).

A tree's leaves are bits, the leftmost the lowest. A split that sends a row right rules out the leaves on its
left; the lowest bit that stays is the row's leaf. What a value of a feature rules out in all trees is merged
beforehand into one row of a table, so that a row of features is one lookup per feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import treelite
from numpy.typing import NDArray

from core.columns import Floats, Ints

Masks = NDArray[np.uint64]
ALL = np.uint64(2**64 - 1)
NARROW, BITS = 32, 64  # widths of a mask
LESS_OR_EQUAL = 3  # treelite's number of that comparison
LEAF, NUMBER, CATEGORY = 0, 1, 2  # treelite's numbers of kinds of nodes


class UnsupportedError(Exception):
    """A model that the tables cannot hold; treelite's own interpreter can."""


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
class Forest:
    """The tables: see trees.c for their shapes."""

    first: Ints
    category: NDArray[np.uint8]
    thresholds: Floats
    alive: NDArray[np.unsignedinteger[Any]]
    values: Floats
    ends: Ints
    bases: Floats


def read_outputs(models: Sequence[treelite.Model]) -> list[Output]:
    """The outputs of models: of one that tells classes apart, one a class; of any other, one.

    Raises:
        UnsupportedError: when one is not a plain sum of trees that split at `<=` or on categories.
    """
    return [output for model in models for output in _outputs(model)]


def _outputs(model: treelite.Model) -> list[Output]:
    header = model.get_header_accessor()
    one_target = len(header.get_field("num_class")) == 1 and np.all(
        header.get_field("leaf_vector_shape") == 1
    )
    if not one_target or header.get_field("average_tree_output")[0]:
        raise UnsupportedError("not sums of trees")
    trees, of_class = _trees(model), header.get_field("class_id")
    return [
        Output([tree for tree, one in zip(trees, of_class, strict=True) if one == number], float(base))
        for number, base in enumerate(header.get_field("base_scores"))
    ]


def _trees(model: treelite.Model) -> list[Tree]:
    trees = []
    for number in range(model.num_tree):
        field = model.get_tree_accessor(number).get_field
        kind = field("node_type").astype(np.int64)
        if np.any(field("cmp")[kind == NUMBER] != LESS_OR_EQUAL) or np.any(
            field("category_list_right_child")
        ):
            raise UnsupportedError("splits of another kind than <= and categories that go left")
        listed = field("category_list")
        begins, ends = field("category_list_begin"), field("category_list_end")
        matched = tuple(
            frozenset(listed[int(begin) : int(end)].tolist()) for begin, end in zip(begins, ends, strict=True)
        )
        left, right = (field(name).astype(np.int64) for name in ("cleft", "cright"))
        trees.append(
            Tree(
                kind=kind,
                left=left,
                right=right,
                feature=field("split_index").astype(np.int64),
                threshold=field("threshold").astype(np.float64),
                missing_left=field("default_left").astype(bool),
                value=field("leaf_value").astype(np.float64),
                cover=field("data_count").astype(np.float64),
                matched=matched or (frozenset(),) * len(kind),
            )
        )
    return trees


def forest_of(models: Sequence[treelite.Model]) -> Forest:
    """The tables of models of the same features.

    Raises:
        UnsupportedError: when they cannot hold them.
    """
    outputs = read_outputs(models)
    trees = [tree for output in outputs for tree in output.trees]
    spans = [_leaves(tree) for tree in trees]
    width = max(len(leaves) for leaves, _ in spans)
    if width > BITS:
        raise UnsupportedError(f"a tree has {width} leaves, and a mask {BITS} bits")
    values = np.zeros((len(trees), width))
    for row, (leaves, _), tree in zip(values, spans, trees, strict=True):
        row[: len(leaves)] = tree.value[leaves]

    first, category, thresholds, alive = [0], [], [], []
    for feature in range(models[0].num_feature):
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
    marks = np.unique([trees[number].threshold[node] for number, node, _ in splits])
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


def probes(models: Sequence[treelite.Model], rows: int = 128) -> Floats:
    """Rows that try the splits: at and beside thresholds, each category, and missing, as an unseen one is."""
    random = np.random.default_rng(0)
    trees = [tree for output in read_outputs(models) for tree in output.trees]
    table = np.empty((rows, models[0].num_feature))
    for feature in range(models[0].num_feature):
        tried = {0.0, np.nan}
        for tree in trees:
            for node in np.flatnonzero((tree.feature == feature) & (tree.kind == NUMBER)).tolist():
                at = float(tree.threshold[node])
                tried |= {at, float(np.nextafter(at, np.inf)), float(np.nextafter(at, -np.inf))}
            for node in np.flatnonzero((tree.feature == feature) & (tree.kind == CATEGORY)).tolist():
                tried |= {float(one) for one in tree.matched[node]}
        table[:, feature] = random.choice(sorted(tried, key=str), rows)
    return table
