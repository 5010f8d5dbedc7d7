"""Reads the trees of treelite's models, which it imports from scikit-learn, LightGBM and XGBoost."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import treelite

from fivestage.artifact.trees import Trees

LEAF, NUMBER, CATEGORY = 0, 1, 2  # treelite's codes of node types
LESS, LESS_OR_EQUAL = 2, 3  # and of comparisons
Field = Callable[[str], Any]  # an array of a tree by name, one entry per node


def trees_from(models: Sequence[treelite.Model], link: str = "margin", *, single: bool = False) -> Trees:
    """Convert models of the same features.

    Raises:
        ValueError: when they split otherwise than at `<=`, at `<`, or on categories that go left.
    """
    fields: list[Field] = []
    share: list[float] = []  # of each tree's leaves in the sum
    ends, bases = [], []
    for model in models:
        header = model.get_header_accessor()
        base, classes = header.get_field("base_scores"), header.get_field("class_id")
        leaves_are_vectors = np.max(header.get_field("leaf_vector_shape")) > 1
        for number in range(1 if leaves_are_vectors else len(base)):
            own = np.flatnonzero(leaves_are_vectors | (classes == number)).tolist()
            fields += [model.get_tree_accessor(tree).get_field for tree in own]
            share += [1 / len(own) if header.get_field("average_tree_output")[0] else 1.0] * len(own)
            ends.append(len(fields))
            bases.append(base if leaves_are_vectors else base[number : number + 1])
    roots = np.cumsum([0, *(len(field("node_type")) for field in fields)])[:-1]
    categories: list[Any] = []
    trees = [_nodes(field, root, categories) for field, root in zip(fields, roots.tolist(), strict=True)]
    nodes = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
    nodes["value"] *= np.repeat(share, [len(tree["left"]) for tree in trees])[:, None]
    width = 1 + int(max((one.max(initial=0) for one in categories), default=0))
    matched = np.zeros((len(categories), width), dtype=bool)
    for row, listed in zip(matched, categories, strict=True):
        row[listed] = True
    nodes["threshold"][nodes["category"]] = np.arange(len(matched))
    return Trees(
        **nodes,
        matched=matched,
        roots=roots,
        ends=np.array(ends),
        bases=np.array(bases, dtype=np.float64),
        features=models[0].num_feature,
        link=link,
        single=single,
    )


def _nodes(field: Field, root: int, categories: list[Any]) -> dict[str, Any]:
    """Return a tree's nodes, renumbered so that each split's right child follows its left one.

    Appends to `categories` those that go left, for each split on categories.
    """
    kind, split = field("node_type"), field("node_type") != LEAF
    comparisons = field("cmp")[kind == NUMBER]
    if not np.isin(comparisons, (LESS, LESS_OR_EQUAL)).all() or np.any(field("category_list_right_child")):
        raise ValueError("its trees split otherwise than at <=, at <, or on categories that go left")
    place = np.zeros(len(kind), dtype=np.int64)
    place[field("cleft")[split]] = 1 + 2 * np.arange(split.sum())
    place[field("cright")[split]] = 2 + 2 * np.arange(split.sum())
    order = np.argsort(place)
    begin, end, listed = (field(f"category_list{part}") for part in ("_begin", "_end", ""))
    categories += [listed[int(begin[at]) : int(end[at])] for at in order[kind[order] == CATEGORY]]
    threshold = field("threshold")
    if np.any(comparisons == LESS):  # in single precision, x < t is x <= the number just below t
        before = np.nextafter(threshold.astype(np.float32), np.float32(-np.inf))
        threshold = np.where(field("cmp") == LESS, before, threshold)
    cover = field("data_count") if len(field("data_count")) else field("sum_hess")
    value = field("leaf_value").astype(np.float64)[:, None]
    if len(vectors := field("leaf_vector")):
        value = np.zeros((len(kind), len(vectors) // (~split).sum()))
        value[field("leaf_vector_begin") < field("leaf_vector_end")] = vectors.reshape(-1, value.shape[1])
    nodes = {
        "feature": np.where(split, field("split_index"), 0).astype(np.int64),
        "threshold": np.where(split, threshold, np.inf).astype(np.float64),
        "category": kind == CATEGORY,
        "missing_left": field("default_left").astype(bool) | ~split,
        "left": root + np.where(split, place[field("cleft")], place),
        "value": value,
        "cover": (cover if len(cover) else np.full(len(kind), np.nan)).astype(np.float64),
    }
    return {name: values[order] for name, values in nodes.items()}
