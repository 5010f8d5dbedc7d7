"""Every family of estimators works from folds to predictions of raw rows, or is refused with a reason."""

from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, QuantileRegressor, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from fivestage.artifact.additive import AdditiveModel
from fivestage.artifact.artifact import Artifact, load_artifact, save_artifact
from fivestage.artifact.engine import Engine
from fivestage.artifact.onnx_graphs import OnnxGraphs
from fivestage.artifact.predictions import numbers_in
from fivestage.artifact.scorer import Scorer
from fivestage.artifact.trees import Trees, UnsupportedError
from fivestage.common.columns import Floats
from fivestage.common.errors import UserError
from fivestage.data.splits import TemporalSplit
from fivestage.evaluation.evaluate import artifact_forecast
from fivestage.training.estimators import Estimator
from fivestage.training.packaging import fit_chosen
from fivestage.training.selection import Selection, estimator_of, require_convertible, select
from fivestage.training.task_trainer import trainer_of
from tests.serving.conftest import deploy, running
from tests.synthetic import packaged, prepared, request_of

ONNX = pytest.mark.skipif(find_spec("skl2onnx") is None, reason="the extra `onnx` is not installed")
TEXT = ("channel", "region")


def linear(model: Estimator) -> Estimator:
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    values = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20, sparse_output=False)
    return make_pipeline(make_column_transformer((values, list(TEXT)), remainder=numbers), model)


def filled(model: Estimator) -> Estimator:
    return make_pipeline(SimpleImputer(), model)


def lightgbm(kind: str, **settings: Any) -> Estimator:
    library: Any = pytest.importorskip("lightgbm")
    return getattr(library, kind)(n_estimators=15, num_leaves=8, verbose=-1, n_jobs=1, **settings)


def xgboost(kind: str, **settings: Any) -> Estimator:
    library: Any = pytest.importorskip("xgboost")
    return getattr(library, kind)(n_estimators=15, max_depth=4, n_jobs=1, **settings)


CLASSIFIERS: dict[str, tuple[Any, type[Any]]] = {
    "logistic regression": (lambda: linear(LogisticRegression(max_iter=500)), AdditiveModel),
    "random forest": (lambda: RandomForestClassifier(20, min_samples_leaf=10, random_state=0), Trees),
    "extra trees": (lambda: ExtraTreesClassifier(20, min_samples_leaf=10, random_state=0), Trees),
    "boosting": (
        lambda: HistGradientBoostingClassifier(max_iter=15, max_leaf_nodes=8, random_state=0),
        Trees,
    ),
    "categorical boosting": (
        lambda: HistGradientBoostingClassifier(max_iter=15, categorical_features=list(TEXT), random_state=0),
        Trees,
    ),
    "LightGBM": (lambda: lightgbm("LGBMClassifier"), Trees),
    "XGBoost": (lambda: xgboost("XGBClassifier"), Trees),
}
REGRESSORS: dict[str, tuple[Any, type[Any]]] = {
    "linear regression": (lambda: linear(LinearRegression()), AdditiveModel),
    "ridge regression": (lambda: linear(Ridge()), AdditiveModel),
    "quantile regression": (lambda: linear(QuantileRegressor(alpha=0.0)), AdditiveModel),
    "random forest": (lambda: RandomForestRegressor(20, min_samples_leaf=10, random_state=0), Trees),
    "extra trees": (lambda: ExtraTreesRegressor(20, min_samples_leaf=10, random_state=0), Trees),
    "boosting": (
        lambda: HistGradientBoostingRegressor(max_iter=15, max_leaf_nodes=8, random_state=0),
        Trees,
    ),
    "LightGBM": (lambda: lightgbm("LGBMRegressor"), Trees),
    "XGBoost": (lambda: xgboost("XGBRegressor"), Trees),
}


def by_onnx(model: Estimator) -> Estimator:
    """Build the pipeline of docs/how-to/add-a-candidate.md."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    values = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(make_column_transformer((values, list(TEXT)), remainder=numbers), model)


BY_ONNX = {
    "filled forest": lambda: filled(RandomForestClassifier(10, min_samples_leaf=10, random_state=0)),
    "filled boosting": lambda: filled(GradientBoostingClassifier(n_estimators=10, random_state=0)),
    "naive Bayes": lambda: filled(GaussianNB()),
    "calibrated": lambda: filled(CalibratedClassifierCV(LogisticRegression(max_iter=500), cv=2)),
}
CASES = [
    *(("binary", name) for name in CLASSIFIERS),
    *(("multiclass", name) for name in CLASSIFIERS),
    *(("regression", name) for name in REGRESSORS),
    *(pytest.param("binary", name, marks=ONNX) for name in BY_ONNX),
]


RECIPES = {
    "naive Bayes": GaussianNB(),
    "nearest neighbours": KNeighborsClassifier(50),
    "support vectors": CalibratedClassifierCV(SVC(), ensemble=False),
}


@dataclass(frozen=True)
class TrainedCandidate:
    """A candidate with its artifact, and scikit-learn's own forecasts for the holdout window."""

    selection: Selection
    artifact: Artifact
    expected: Floats


def estimator(task: str, name: str) -> tuple[Estimator, type[Any]]:
    if name in BY_ONNX:
        return BY_ONNX[name](), OnnxGraphs
    make, kind = (REGRESSORS if task == "regression" else CLASSIFIERS)[name]
    return make(), kind


def thinned(windows: TemporalSplit) -> TemporalSplit:
    """Keep every fourth training row, which is enough to test the conversion of a family."""
    folds = tuple(replace(fold, train=fold.train[::4]) for fold in windows.folds)
    return replace(windows, train=windows.train[::4], folds=folds)


@cache
def trained(task: str, name: str) -> TrainedCandidate:
    one = prepared(task)
    windows = thinned(one.windows)
    candidates = {name: estimator(task, name)[0]}
    sample = replace(one.sample, windows=windows)
    selection = select(sample, candidates)
    fitted = fit_chosen(sample, selection, candidates)
    trainer, train = trainer_of(one.contract), windows.train
    chosen = estimator_of(candidates, selection)
    models = trainer.fit(one.sample.frame(train), one.sample.label[train], chosen)
    raw = trainer.margins(models, one.sample.frame(one.windows.holdout))
    return TrainedCandidate(selection, packaged(one, fitted), selection.calibration.forecast(raw))


@pytest.mark.parametrize(("task", "name"), CASES)
def test_it_answers_raw_rows_as_scikit_learn_does(task: str, name: str, tmp_path: Path) -> None:
    found, one = trained(task, name), prepared(task)
    assert type(found.artifact.models) is estimator(task, name)[1]
    save_artifact(found.artifact, tmp_path / "a")
    artifact = load_artifact(tmp_path / "a")
    Scorer(artifact.models, artifact.calibration).require_parity(artifact.parity)
    holdout = one.windows.holdout
    exact = 1e-9 if not getattr(artifact.models, "single", False) else 1e-4
    offline = artifact_forecast(artifact, one.features.iloc[holdout])
    scale = np.maximum(1, np.abs(found.expected))
    assert (np.abs(offline - found.expected) / scale).max() < exact
    engine = Engine(artifact, one.problem.features)
    asked = [smoke.row for smoke in artifact.smoke]
    alone = [engine.form.forecast(engine.predict([row])[0]) for row in asked]
    assert np.allclose(alone, [smoke.forecast for smoke in artifact.smoke], rtol=exact, atol=exact)
    engine.history.table()
    many = [engine.form.forecast(each) for each in engine.predict(asked * 30)]
    if isinstance(artifact.models, OnnxGraphs):  # whose results for many rows differ in the last bits
        assert np.allclose(many[: len(alone)], alone, rtol=exact, atol=exact)
    else:
        assert many[: len(alone)] == alone


@pytest.mark.parametrize(
    ("task", "name"),
    [
        *(("binary", name) for name in CLASSIFIERS),
        ("multiclass", "logistic regression"),
        ("multiclass", "random forest"),
        *(("regression", name) for name in REGRESSORS),
        *(pytest.param("binary", name, marks=ONNX) for name in ("naive Bayes", "calibrated")),
    ],
)
def test_over_http_raw_rows_get_scikit_learns_answers(task: str, name: str, tmp_path: Path) -> None:
    artifact, one = trained(task, name).artifact, prepared(task)
    deployed = deploy(artifact, tmp_path, "1")
    rows = [request_of(smoke.row) for smoke in artifact.smoke]
    with running(deployed.settings, problem=one.problem) as live:
        answer = live.client.post("/predict", json={"rows": rows})
        assert answer.status_code == 200, answer.text
        (alone,) = live.client.post("/predict", json=rows[0]).json()["predictions"]
    found = answer.json()["predictions"]
    exact = 1e-4 if getattr(artifact.models, "single", False) else 1e-9
    expected = [smoke.forecast for smoke in artifact.smoke]  # by scikit-learn, on the holdout window
    assert len(expected) > 10
    assert np.allclose([numbers_in(each) for each in found], expected, rtol=exact, atol=exact)
    assert np.allclose(numbers_in(alone), expected[0], rtol=exact, atol=exact)


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("binary", "logistic regression"),
        ("multiclass", "logistic regression"),
        ("regression", "ridge regression"),
        ("regression", "random forest"),
        ("binary", "LightGBM"),
        ("binary", "XGBoost"),
    ],
)
def test_its_reasons_add_up(task: str, name: str) -> None:
    artifact = trained(task, name).artifact
    engine = Engine(artifact, prepared(task).problem.features)
    rows = [smoke.row for smoke in artifact.smoke][:5]
    predictions = engine.predict(rows)
    found = engine.explain([engine.features(row) for row in rows], predictions)
    for row, explained in zip(rows, found, strict=True):
        reasons = explained.reasons
        name = "adds" if task == "regression" else "log_odds"
        adds = sum(float(getattr(one, name)) for one in reasons.strongest)
        total = reasons.average + adds + reasons.rest
        forecast = engine.form.forecast(engine.predict([row])[0])
        if task == "regression":
            expected = forecast[0]
        elif task == "binary":
            expected = np.log(forecast[0] / (1 - forecast[0]))
        else:
            logs = np.log(forecast)
            expected = logs.max() - logs.mean()
        assert total == pytest.approx(expected, abs=1e-5)


def test_a_forest_has_no_exact_reasons() -> None:
    artifact = trained("binary", "random forest").artifact
    engine = Engine(artifact, prepared("binary").problem.features)
    rows = [artifact.smoke[0].row]
    with pytest.raises(UnsupportedError, match="boosted trees, regression forests and linear models"):
        engine.explain([engine.features(row) for row in rows], engine.predict(rows))


@pytest.mark.parametrize("name", ["random forest", "logistic regression"])
def test_a_class_that_training_has_not_seen_is_still_answered_for(name: str) -> None:
    one = prepared("multiclass")
    trainer = trainer_of(one.contract)
    some = one.windows.train[one.sample.label[one.windows.train] != 3]
    models = trainer.fit(one.sample.frame(some), one.sample.label[some], estimator("multiclass", name)[0])
    raw = trainer.margins(models, one.sample.frame(one.windows.holdout))
    forecast = trainer.uncalibrated.forecast(raw)
    assert forecast.shape[1] == 4
    assert forecast[:, 3].max() < 0.05


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (LogisticRegression(), "cannot be fitted: Input X contains NaN"),
        (filled(KNeighborsClassifier()), "cannot be converted to an artifact"),
        (make_pipeline(SimpleImputer(), SVC()), "cannot be converted to an artifact"),
    ],
)
def test_what_cannot_become_an_artifact_is_refused_before_it_is_fitted_at_length(
    candidate: Estimator, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fivestage.training import conversion

    monkeypatch.setattr(conversion, "_onnx_converters", lambda *_: [])
    one = prepared("binary")
    with pytest.raises(UserError, match=words):
        select(one.sample, {"mine": candidate})


@ONNX
@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_of_the_page_becomes_onnx(task: str, name: str) -> None:
    one = prepared(task)
    require_convertible(name, by_onnx(RECIPES[name]), one.sample)


@ONNX
def test_a_refusal_says_in_short_what_was_tried() -> None:
    one = prepared("binary")
    with pytest.raises(UserError) as refused:
        select(one.sample, {"mine": linear(GaussianNB())})
    sentence = str(refused.value)
    assert "cannot be converted to an artifact. Tried: trees: it has none that can be read; " in sentence
    assert "; additive: it is not a sum of one term per feature; ONNX: " in sentence
    assert sentence.count("ONNX") == 1
    assert "train again" not in sentence.lower()
    assert len(sentence) < 400


def test_what_does_not_take_missing_values_says_so() -> None:
    one = prepared("binary")
    whole = replace(one.sample, features=np.nan_to_num(one.sample.features))
    with pytest.raises(UserError, match="SimpleImputer"):
        select(whole, {"mine": LogisticRegression(max_iter=500)})


def test_no_candidate_at_all_is_an_error() -> None:
    one = prepared("binary")
    with pytest.raises(UserError, match="defines no candidate"):
        select(one.sample, {})


def test_a_candidate_that_is_gone_is_named() -> None:
    with pytest.raises(UserError, match="no longer has 'boosting'"):
        estimator_of({}, Selection("boosting", {}, trained("binary", "boosting").selection.calibration, ()))


def test_gradient_boosting_of_numbers_learns_quantiles_too() -> None:
    one = prepared("regression")
    trainer = trainer_of(one.contract)
    filled_rows = np.nan_to_num(one.sample.features[:500])
    models = trainer.fit(filled_rows, one.sample.label[:500], GradientBoostingRegressor(n_estimators=5))
    assert [model.alpha for model in models[1:]] == pytest.approx([0.1, 0.9, 0.75])
