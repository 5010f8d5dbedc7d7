"""A fitted model as data: trees where it is trees, arrays where it is additive, ONNX where it is neither.

No conversion is believed: each is held against scikit-learn's own answers, here and at every load.
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
from fivestage.artifact.tree_tables import Ensemble, probes
from fivestage.artifact.treelite_checkpoint import ensemble_of
from fivestage.common.columns import Floats, Ints
from fivestage.common.errors import UserError

Attempt = Callable[[], ModelData | None]
Answer = Callable[[Floats], Floats]  # rows x features to raw scores, by the model as fitted

ADDITIVE, ONNX = "additive", "ONNX"
LONGEST_REASON = 120  # characters of a converter's own message
TRIED_ROWS = 128  # made up of values of training rows, each feature by itself
MISSING_SHARE = 0.1
BOOSTED = ("HistGradientBoosting", "GradientBoosting")
AVERAGED = ("RandomForest", "ExtraTrees")
LIGHTGBM_ZERO = float(np.float32(1e-35))  # numbers up to here are zero to it


def convert(
    models: Sequence[Any],
    answer: Answer,
    rows: Floats,
    levels: Mapping[int, int],
    calibration: AnyCalibration,
    name: str,
) -> tuple[ModelData, Parity]:
    """A model as data that answers as the model does."""
    tried = tried_rows(rows)
    try:
        answers = answer(tried)
    except ValueError as error:
        raise UserError(
            f"The candidate {name!r} does not take missing values, which a request may have: put a "
            f"SimpleImputer before it in problem/candidates.py. ({_first_line(error)})"
        ) from error
    ways: list[tuple[str, Attempt]] = [
        ("trees", lambda: trees_of(models)),
        (ADDITIVE, lambda: additive_of(answer, rows, levels)),
        *_onnx_attempts(models, rows.shape[1]),
    ]
    why: dict[str, str] = {}  # by kind; of the ways to ONNX that of the last, which asks for least
    for kind, attempt in ways:
        try:
            found = attempt()
            if found is None:
                why[kind] = "it has none that can be read"
                continue
            parity = Parity(tried, answers)
            if isinstance(found, Ensemble) and found.outputs:
                more = probes(found)
                parity = Parity(np.vstack([more, tried]), np.concatenate([answer(more), answers]))
            Scorer(found, calibration).require_parity(parity)
        except Exception as error:  # noqa: BLE001 - converters raise what they please
            why[kind] = _reason(kind, error)
        else:
            return found, parity
    tried_ways = "; ".join(f"{kind}: {reason}" for kind, reason in why.items())
    raise UserError(
        f"The candidate {name!r} cannot become an artifact of data. Tried: {tried_ways}. "
        "docs/how-to/add-a-candidate.md says what can."
    )


def tried_rows(rows: Floats, seed: int = 0) -> Floats:
    """Rows of values that training rows have, each feature by itself, some of them missing."""
    random = np.random.default_rng(seed)
    places = random.integers(0, len(rows), (TRIED_ROWS, rows.shape[1]))
    found = rows[places, np.arange(rows.shape[1])]
    found[random.random(found.shape) < MISSING_SHARE] = np.nan
    return np.asarray(found, dtype=np.float64)


def trees_of(models: Sequence[Any]) -> Ensemble | None:
    """Tree ensembles of scikit-learn, LightGBM or XGBoost as treelite's checkpoints; None for others."""
    names = [type(model).__name__ for model in models]
    if all(hasattr(model, "booster_") for model in models):
        return _ensemble([_of_lightgbm(model.booster_) for model in models])
    if all(hasattr(model, "get_booster") for model in models):
        return _ensemble(
            [treelite.frontend.from_xgboost(model.get_booster()) for model in models], single=True
        )
    if all(name.startswith(BOOSTED) for name in names):
        exact = all(name.startswith("Hist") for name in names)  # others round features to single precision
        return _ensemble([treelite.sklearn.import_model(model) for model in models], single=not exact)
    if all(name.startswith(AVERAGED) for name in names):
        link = "probability" if names[0].endswith("Classifier") else "margin"
        return _ensemble([treelite.sklearn.import_model(model) for model in models], link, single=True)
    return None


def _of_lightgbm(booster: Any) -> treelite.Model:
    """LightGBM takes the end of what it rounds to zero for zero itself, which is above a threshold there."""
    model = treelite.frontend.from_lightgbm(booster)
    for number in range(model.num_tree):
        tree = model.get_tree_accessor(number)
        threshold = tree.get_field("threshold")
        below = np.where(threshold == -LIGHTGBM_ZERO, np.nextafter(threshold, -np.inf), threshold)
        tree.set_field("threshold", below)
    return model


def _ensemble(models: Sequence[treelite.Model], link: str = "margin", *, single: bool = False) -> Ensemble:
    return ensemble_of([bytes(model.serialize_bytes()) for model in models], link, single=single)


def additive_of(answer: Answer, rows: Floats, levels: Mapping[int, int]) -> AdditiveModel:
    """The additive model that answers as a model does around a usual row; of others it is wrong elsewhere."""
    features = rows.shape[1]
    with np.errstate(all="ignore"):
        known = np.where(np.isnan(rows), 0.0, 1.0).sum(axis=0)
        total = np.nansum(rows, axis=0)
        centre = np.where(known > 0, total / np.maximum(known, 1), 0.0)
        spread = np.sqrt(np.nansum((rows - centre) ** 2, axis=0) / np.maximum(known, 1))
    centre[list(levels)] = 0.0
    step = np.where(spread > 0, spread, 1.0)
    each = np.arange(features)
    up, down, gone = (np.tile(centre, (features, 1)) for _ in range(3))
    up[each, each] += step
    down[each, each] -= step
    gone[each, each] = np.nan
    first = np.concatenate([[0], np.cumsum([levels.get(place, 0) for place in range(features)])]).astype(int)
    told = np.tile(centre, (int(first[-1]), 1))
    for place, count in levels.items():
        told[first[place] : first[place] + count, place] = np.arange(count)
    found = answer(np.vstack([centre[None], up, down, gone, told]))
    scores = found.reshape(len(found), -1).T  # outputs x rows
    base, high, low, missing, tables = np.split(
        scores, [1, 1 + features, 1 + 2 * features, 1 + 3 * features], axis=1
    )
    slope = (high - low) / (2 * step)
    slope[:, list(levels)] = 0.0
    model = AdditiveModel(
        base[:, 0], centre, slope, missing - base, tables - base, first, np.zeros_like(slope)
    )
    usual = [model.contributions(rows, output).mean(axis=0) for output in range(len(base))]
    return AdditiveModel(**{**model.arrays(), "usual": np.array(usual)})


def _onnx_attempts(models: Sequence[Any], features: int) -> list[tuple[str, Attempt]]:
    """Ways to write a model as ONNX graphs, the most exact first."""
    ways: list[tuple[str, dict[str, Any]]] = [("margin", {})]
    if hasattr(models[0], "classes_"):
        ways = [("margin", {"raw_scores": True, "zipmap": False}), ("probability", {"zipmap": False})]
    return [
        (
            ONNX,
            partial(_onnx, models, OnnxGraphs((), features, link, single), options),
        )
        for single in (False, True)
        for link, options in ways
    ]


def _onnx(models: Sequence[Any], wanted: OnnxGraphs, options: Mapping[str, Any]) -> OnnxGraphs:
    try:
        import skl2onnx
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    except ImportError as error:
        raise UserError("the extra `onnx` is not installed: make setup") from error
    kind = FloatTensorType if wanted.single else DoubleTensorType
    graphs = []
    for model in models:
        numbered = _by_number(model)
        given = {id(numbered): dict(options)} if options else None
        types = [("rows", kind([None, wanted.features]))]
        graph = skl2onnx.convert_sklearn(numbered, initial_types=types, options=given)
        graphs.append(graph.SerializeToString())
    return replace(wanted, graphs=tuple(graphs))


def _by_number(model: Any) -> Any:
    """A copy whose column transformers name columns by place: ONNX has one table without names."""
    found = copy.deepcopy(model)
    for part in _parts(found):
        places = getattr(part, "_transformer_to_input_indices", None)
        if places is not None:
            part.transformers_ = [
                (name, one, list(places[name])) for name, one, _ in part.transformers_ if name in places
            ]
    return found


def _parts(model: Any) -> list[Any]:
    inner = [one for _, one in getattr(model, "steps", [])]
    return [model, *(part for one in inner for part in _parts(one))]


def _reason(kind: str, error: Exception) -> str:
    """Why a conversion failed; that its answers are others is no fault that another version mends."""
    if kind == ADDITIVE:
        return "it is no sum of a term for each feature"
    return _first_line(error, LONGEST_REASON).partition(". Train again")[0]


def _first_line(error: Exception, longest: int = 200) -> str:
    line = f"{error}".strip().split("\n")[0].rstrip(".")
    return line if len(line) <= longest else f"{line[:longest].rstrip()} ..."


def levels_of(names: Sequence[str], categories: Mapping[str, Mapping[str, float]]) -> dict[int, int]:
    """By place among the features, how many values each text feature has."""
    return {place: len(categories[name]) for place, name in enumerate(names) if name in categories}


def some_of(rows: Floats, most: int = 5_000) -> Floats:
    """Rows evenly spread over all."""
    places: Ints = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)
    return rows[places]
