"""Treelite checkpoints: loads them as trees, and scores rows with treelite's interpreter.

A separate module, because importing treelite takes as long as half of a service's start.
"""

from collections.abc import Sequence

import numpy as np
import treelite

from fivestage.artifact.tree_tables import NUMBER, Ensemble, Output, Tree
from fivestage.common.columns import Floats

LESS, LESS_OR_EQUAL = 2, 3  # treelite's codes of these comparisons


def ensemble_of(checkpoints: Sequence[bytes], link: str = "margin", *, single: bool = False) -> Ensemble:
    """Load models of the same features; the result has no outputs unless all are plain sums of trees."""
    models = [treelite.Model.deserialize_bytes(checkpoint) for checkpoint in checkpoints]
    plain = all(_plain(model) for model in models)
    outputs = [output for model in models for output in _outputs(model)] if plain else []
    return Ensemble(tuple(checkpoints), tuple(outputs), models[0].num_feature, link, single)


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


def _outputs(model: treelite.Model) -> list[Output]:
    """Return the outputs of a plain model: one per class of a classifier of several, otherwise one."""
    header = model.get_header_accessor()
    trees, classes = [_tree(model, number) for number in range(model.num_tree)], header.get_field("class_id")
    return [
        Output([tree for tree, one in zip(trees, classes, strict=True) if one == number], float(base))
        for number, base in enumerate(header.get_field("base_scores"))
    ]


def _tree(model: treelite.Model, number: int) -> Tree:
    field = model.get_tree_accessor(number).get_field
    kind, listed = field("node_type").astype(np.int64), field("category_list")
    spans = zip(field("category_list_begin"), field("category_list_end"), strict=True)
    matched = tuple(frozenset(listed[int(begin) : int(end)].tolist()) for begin, end in spans)
    left, right = (field(name).astype(np.int64) for name in ("cleft", "cright"))
    cover = field("data_count").astype(np.float64)
    if not len(cover):
        cover = field("sum_hess").astype(np.float64)
    threshold = field("threshold")
    if np.any(field("cmp") == LESS):  # in single precision, x < t is x <= the number just below t
        before = np.nextafter(threshold.astype(np.float32), np.float32(-np.inf))
        threshold = np.where(field("cmp") == LESS, before, threshold)
    return Tree(
        kind=kind,
        left=left,
        right=right,
        feature=field("split_index").astype(np.int64),
        threshold=threshold.astype(np.float64),
        missing_left=field("default_left").astype(bool),
        value=field("leaf_value").astype(np.float64),
        cover=cover if len(cover) else np.full(len(kind), np.nan),
        matched=matched or (frozenset(),) * len(kind),
    )
