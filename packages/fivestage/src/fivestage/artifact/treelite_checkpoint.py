"""Treelite checkpoints: loads them as trees, and scores rows with treelite's interpreter.

A separate module, because importing treelite takes as long as half of a service's start.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import treelite

from fivestage.artifact.tree_ensemble import Ensemble, Trees
from fivestage.common.columns import Floats

LEAF, NUMBER, CATEGORY = 0, 1, 2  # treelite's codes of node types
LESS, LESS_OR_EQUAL = 2, 3  # and of comparisons
Field = Callable[[str], Any]  # an array of a tree by name, one entry per node


def ensemble_of(checkpoints: Sequence[bytes], link: str = "margin", *, single: bool = False) -> Ensemble:
    """Load models of the same features; the result has no trees unless all are plain sums of trees."""
    models = [treelite.Model.deserialize_bytes(checkpoint) for checkpoint in checkpoints]
    trees = _trees(models) if all(_plain(model) for model in models) else None
    return Ensemble(tuple(checkpoints), trees, models[0].num_feature, link, single)


class Interpreter:
    """Scores rows with any kind of trees, but slowly."""

    def __init__(self, checkpoints: Sequence[bytes]) -> None:
        self._models = [treelite.Model.deserialize_bytes(checkpoint) for checkpoint in checkpoints]

    def margins(self, rows: Floats) -> Floats:
        """Return the margins of rows x features: one per row, or rows x outputs."""
        by_model = [
            np.asarray(treelite.gtil.predict(model, rows, nthread=1, pred_margin=True), dtype=np.float64)
            for model in self._models
        ]
        margins = np.hstack([one.reshape(len(rows), -1) for one in by_model])
        return margins[:, 0] if margins.shape[1] == 1 else margins


def _plain(model: treelite.Model) -> bool:
    """Whether a model is a sum of trees that split at `<=` or `<`, or on categories that go left."""
    header = model.get_header_accessor()
    one_target = len(header.get_field("num_class")) == 1 and np.all(
        header.get_field("leaf_vector_shape") == 1
    )
    if not one_target or header.get_field("average_tree_output")[0]:
        return False
    fields = [model.get_tree_accessor(number).get_field for number in range(model.num_tree)]
    return not any(
        not np.isin(field("cmp")[field("node_type") == NUMBER], (LESS, LESS_OR_EQUAL)).all()
        or np.any(field("category_list_right_child"))
        for field in fields
    )


def _trees(models: Sequence[treelite.Model]) -> Trees:
    """Return the nodes of plain models; a classifier of several classes has an output for each."""
    fields: list[Field] = []
    ends, bases = [], []
    for model in models:
        header = model.get_header_accessor()
        classes = header.get_field("class_id")
        for number, base in enumerate(header.get_field("base_scores")):
            own = np.flatnonzero(classes == number).tolist()
            fields += [model.get_tree_accessor(tree).get_field for tree in own]
            ends.append(len(fields))
            bases.append(float(base))
    roots = np.cumsum([0, *(len(field("node_type")) for field in fields)])[:-1]
    categories: list[Any] = []
    trees = [_nodes(field, root, categories) for field, root in zip(fields, roots.tolist(), strict=True)]
    nodes = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
    width = 1 + int(max((one.max(initial=0) for one in categories), default=0))
    matched = np.zeros((len(categories), width), dtype=bool)
    for row, listed in zip(matched, categories, strict=True):
        row[listed] = True
    nodes["threshold"][nodes["category"]] = np.arange(len(matched))
    return Trees(**nodes, matched=matched, roots=roots, ends=np.array(ends), bases=np.array(bases))


def _nodes(field: Field, root: int, categories: list[Any]) -> dict[str, Any]:
    """Return a tree's nodes, renumbered so that each split's right child follows its left one.

    Appends to `categories` those that go left, for each split on categories.
    """
    kind, split = field("node_type"), field("node_type") != LEAF
    place = np.zeros(len(kind), dtype=np.int64)
    place[field("cleft")[split]] = 1 + 2 * np.arange(split.sum())
    place[field("cright")[split]] = 2 + 2 * np.arange(split.sum())
    order = np.argsort(place)
    begin, end, listed = (field(f"category_list{part}") for part in ("_begin", "_end", ""))
    categories += [listed[int(begin[at]) : int(end[at])] for at in order[kind[order] == CATEGORY]]
    threshold = field("threshold")
    if np.any(field("cmp") == LESS):  # in single precision, x < t is x <= the number just below t
        before = np.nextafter(threshold.astype(np.float32), np.float32(-np.inf))
        threshold = np.where(field("cmp") == LESS, before, threshold)
    cover = field("data_count") if len(field("data_count")) else field("sum_hess")
    nodes = {
        "feature": np.where(split, field("split_index"), 0).astype(np.int64),
        "threshold": np.where(split, threshold, np.inf).astype(np.float64),
        "category": kind == CATEGORY,
        "missing_left": field("default_left").astype(bool),
        "left": root + np.where(split, place[field("cleft")], place),
        "value": field("leaf_value").astype(np.float64),
        "cover": (cover if len(cover) else np.full(len(kind), np.nan)).astype(np.float64),
    }
    return {name: values[order] for name, values in nodes.items()}
