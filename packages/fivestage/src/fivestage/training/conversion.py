"""Converts a fitted model to data: to trees or, if it has none, to an additive model or ONNX graphs.

No conversion is trusted: its raw scores are compared with the estimator's own, here and at every load.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import treelite

from fivestage.artifact.additive import AdditiveModel
from fivestage.artifact.calibration import AnyCalibration
from fivestage.artifact.onnx_graphs import OnnxGraphs
from fivestage.artifact.scorer import ModelData, Parity, Scorer
from fivestage.artifact.trees import Trees, probes
from fivestage.common.columns import Floats, Ints
from fivestage.common.errors import UserError
from fivestage.training.treelite_trees import trees_from

Converter = Callable[[], ModelData | None]
Score = Callable[[Floats], Floats]  # rows x features to raw scores, by the fitted estimators

ADDITIVE, ONNX = "additive", "ONNX"
LONGEST_REASON = 120  # characters of a converter's own message
PARITY_ROWS = 128  # synthetic rows on which raw scores are compared
MISSING_SHARE = 0.1  # of their values
BOOSTED = ("HistGradientBoosting", "GradientBoosting")
AVERAGED = ("RandomForest", "ExtraTrees")
LIGHTGBM_ZERO = float(np.float32(1e-35))  # LightGBM treats smaller numbers as zero


def convert(
    models: Sequence[Any],
    score: Score,
    rows: Floats,
    levels: Mapping[int, int],
    calibration: AnyCalibration,
    name: str,
) -> tuple[ModelData, Parity]:
    """Convert models to data, and return it with the raw scores that it was compared with."""
    synthetic = synthetic_rows(rows)
    try:
        expected = score(synthetic)
    except ValueError as error:
        raise UserError(
            f"The candidate {name!r} does not accept missing values, which a request may contain: put a "
            f"SimpleImputer before it in problem/candidates.py. ({_first_line(error)})"
        ) from error
    converters: list[tuple[str, Converter]] = [
        ("trees", lambda: trees_of(models)),
        (ADDITIVE, lambda: additive_of(score, rows, levels)),
        *_onnx_converters(models, rows.shape[1]),
    ]
    failures: dict[str, str] = {}  # by kind; for ONNX, that of the last and least demanding attempt
    for kind, converter in converters:
        try:
            converted = converter()
            if converted is None:
                failures[kind] = "it has none that can be read"
                continue
            parity = Parity(synthetic, expected)
            if isinstance(converted, Trees):
                at_splits = probes(converted)
                parity = Parity(
                    np.vstack([at_splits, synthetic]), np.concatenate([score(at_splits), expected])
                )
            Scorer(converted, calibration).require_parity(parity)
        except Exception as error:  # noqa: BLE001 - converters raise any type of exception
            failures[kind] = _reason(kind, error)
        else:
            return converted, parity
    reasons = "; ".join(f"{kind}: {reason}" for kind, reason in failures.items())
    raise UserError(
        f"The candidate {name!r} cannot be converted to an artifact. Tried: {reasons}. "
        "See docs/how-to/add-a-candidate.md for what can be converted."
    )


def synthetic_rows(rows: Floats) -> Floats:
    """Draw rows whose values come from training rows, independently per feature, some of them missing."""
    random = np.random.default_rng(0)
    indices = random.integers(0, len(rows), (PARITY_ROWS, rows.shape[1]))
    drawn = rows[indices, np.arange(rows.shape[1])]
    drawn[random.random(drawn.shape) < MISSING_SHARE] = np.nan
    return np.asarray(drawn, dtype=np.float64)


def trees_of(models: Sequence[Any]) -> Trees | None:
    """Convert tree ensembles of scikit-learn, LightGBM or XGBoost with treelite; None for other models."""
    names = [type(model).__name__ for model in models]
    if all(hasattr(model, "booster_") for model in models):
        return trees_from([_from_lightgbm(model.booster_) for model in models])
    if all(hasattr(model, "get_booster") for model in models):
        return trees_from(
            [treelite.frontend.from_xgboost(model.get_booster()) for model in models], single=True
        )
    if all(name.startswith(BOOSTED) for name in names):
        exact = all(name.startswith("Hist") for name in names)  # others round features to single precision
        return trees_from([treelite.sklearn.import_model(model) for model in models], single=not exact)
    if all(name.startswith(AVERAGED) for name in names):
        link = "probability" if names[0].endswith("Classifier") else "margin"
        return trees_from([treelite.sklearn.import_model(model) for model in models], link, single=True)
    return None


def _from_lightgbm(booster: Any) -> treelite.Model:
    """Import a LightGBM model, which rounds -`LIGHTGBM_ZERO` to zero: above a threshold at that value."""
    model = treelite.frontend.from_lightgbm(booster)
    for number in range(model.num_tree):
        tree = model.get_tree_accessor(number)
        threshold = tree.get_field("threshold")
        lowered = np.where(threshold == -LIGHTGBM_ZERO, np.nextafter(threshold, -np.inf), threshold)
        tree.set_field("threshold", lowered)
    return model


def additive_of(score: Score, rows: Floats, levels: Mapping[int, int]) -> AdditiveModel:
    """Build the additive model that equals a model near a typical row; exact if the model is additive."""
    features = rows.shape[1]
    with np.errstate(all="ignore"):
        known = np.where(np.isnan(rows), 0.0, 1.0).sum(axis=0)
        total = np.nansum(rows, axis=0)
        centre = np.where(known > 0, total / np.maximum(known, 1), 0.0)
        spread = np.sqrt(np.nansum((rows - centre) ** 2, axis=0) / np.maximum(known, 1))
    centre[list(levels)] = 0.0
    step = np.where(spread > 0, spread, 1.0)
    each = np.arange(features)
    up, down, absent = (np.tile(centre, (features, 1)) for _ in range(3))
    up[each, each] += step
    down[each, each] -= step
    absent[each, each] = np.nan
    first = np.concatenate([[0], np.cumsum([levels.get(place, 0) for place in range(features)])]).astype(int)
    categories = np.tile(centre, (int(first[-1]), 1))
    for place, count in levels.items():
        categories[first[place] : first[place] + count, place] = np.arange(count)
    outputs = score(np.vstack([centre[None], up, down, absent, categories]))
    scores = outputs.reshape(len(outputs), -1).T  # outputs x rows
    base, high, low, missing, tables = np.split(
        scores, [1, 1 + features, 1 + 2 * features, 1 + 3 * features], axis=1
    )
    slope = (high - low) / (2 * step)
    slope[:, list(levels)] = 0.0
    model = AdditiveModel(
        base[:, 0], centre, slope, missing - base, tables - base, first, np.zeros_like(slope)
    )
    usual = [model.contributions(rows, output).mean(axis=0) for output in range(len(base))]
    return replace(model, usual=np.array(usual))


def _onnx_converters(models: Sequence[Any], features: int) -> list[tuple[str, Converter]]:
    """Return the converters to ONNX graphs, the most exact first."""
    links: list[tuple[str, dict[str, Any]]] = [("margin", {})]
    if hasattr(models[0], "classes_"):
        links = [("margin", {"raw_scores": True, "zipmap": False}), ("probability", {"zipmap": False})]
    return [
        (
            ONNX,
            partial(_onnx, models, OnnxGraphs((), features, link, single), options),
        )
        for single in (False, True)
        for link, options in links
    ]


def _onnx(models: Sequence[Any], target: OnnxGraphs, options: Mapping[str, Any]) -> OnnxGraphs:
    try:
        import skl2onnx
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    except ImportError as error:
        raise UserError("the extra `onnx` is not installed: run make setup") from error
    tensor_type = FloatTensorType if target.single else DoubleTensorType
    graphs = []
    for model in models:
        indexed = _with_column_indices(model)
        by_model = {id(indexed): dict(options)} if options else None
        types = [("rows", tensor_type([None, target.features]))]
        graph = skl2onnx.convert_sklearn(indexed, initial_types=types, options=by_model)
        graphs.append(graph.SerializeToString())
    return replace(target, graphs=tuple(graphs))


def _with_column_indices(model: Any) -> Any:
    """Copy a model so that column transformers select by index, as the ONNX input has no column names."""
    copied = copy.deepcopy(model)
    for step in _with_steps(copied):
        indices = getattr(step, "_transformer_to_input_indices", None)
        if indices is not None:
            step.transformers_ = [
                (name, one, list(indices[name])) for name, one, _ in step.transformers_ if name in indices
            ]
    return copied


def _with_steps(model: Any) -> list[Any]:
    """Return a model and, if it is a pipeline, all its steps."""
    steps = [step for _, step in getattr(model, "steps", [])]
    return [model, *(inner for step in steps for inner in _with_steps(step))]


def _reason(kind: str, error: Exception) -> str:
    """Say in short why a conversion failed, without the advice to train again, which does not help here."""
    if kind == ADDITIVE:
        return "it is not a sum of one term per feature"
    return _first_line(error, LONGEST_REASON).partition(". Train again")[0]


def _first_line(error: Exception, longest: int = 200) -> str:
    line = f"{error}".strip().split("\n")[0].rstrip(".")
    return line if len(line) <= longest else f"{line[:longest].rstrip()} ..."


def levels_of(names: Sequence[str], categories: Mapping[str, Mapping[str, float]]) -> dict[int, int]:
    """Return the number of categories of each text feature, by the feature's index."""
    return {index: len(categories[name]) for index, name in enumerate(names) if name in categories}


def evenly_spaced(rows: Floats, most: int = 5_000) -> Floats:
    """Select at most this number of rows, evenly spaced."""
    indices: Ints = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)
    return rows[indices]
