"""Other model families on the same folds and later months: linear model, forest, neural network, boosting."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fivestage.common.columns import Floats, Ints
from fivestage.training.estimators import fit_classifier
from tools.bench.study.sample import (
    USUAL,
    best_seconds,
    calibrated_after,
    margins,
    on_folds,
    saved,
    scored,
    studied,
)

Learn = Callable[[Floats, Ints], Callable[[Floats], Floats]]
SEED = 0
ONE_HOT = 40  # most one-hot columns of a text feature


def boosting(features: Floats, label: Ints) -> Callable[[Floats], Floats]:
    """Gradient boosting, which serves."""
    return _probability(fit_classifier(USUAL, features, label))


def forest(features: Floats, label: Ints) -> Callable[[Floats], Floats]:
    """Random forest."""
    model = RandomForestClassifier(60, min_samples_leaf=50, max_samples=0.3, random_state=SEED)
    return _probability(make_pipeline(SimpleImputer(strategy="median"), model).fit(features, label))


def line(features: Floats, label: Ints) -> Callable[[Floats], Floats]:
    """Logistic regression on standardised features."""
    return _probability(_prepared(LogisticRegression(solver="newton-cholesky")).fit(features, label))


def network(features: Floats, label: Ints) -> Callable[[Floats], Floats]:
    """Neural network with two hidden layers on standardised features, with early stopping."""
    model = MLPClassifier(
        (64, 32),
        alpha=1e-3,
        batch_size=1024,
        early_stopping=True,
        n_iter_no_change=3,
        max_iter=25,
        random_state=SEED,
    )
    return _probability(_prepared(model).fit(features, label))


FAMILIES: dict[str, Learn] = {
    "logistic regression": line,
    "random forest, 60 trees": forest,
    "neural network, 64 and 32 units": network,
    "gradient boosting": boosting,
}


def measure() -> dict[str, Any]:
    """Evaluate each family on the folds and on later rows, equally calibrated; CPU time and savings."""
    study = studied()
    windows, label = study.windows, study.sample.label
    answers: dict[str, Floats] = {}
    lines = []
    for name, learn in FAMILIES.items():
        features = (
            study.sample.features
            if learn is boosting
            else _one_hot(study.sample.features, study.sample.names)
        )
        found, started = [], time.process_time()
        for fold in windows.folds:
            answer = learn(features[fold.train], label[fold.train])
            found.append(answer(features[fold.valid]))
        fitted = learn(features[windows.train], label[windows.train])
        spent = time.process_time() - started
        holdout, after = (margins(fitted(features[rows])) for rows in (windows.holdout, windows.after))
        answers[name] = calibrated_after(study, holdout, after)
        one = features[windows.after[:1]]
        row_ms = best_seconds(partial(fitted, one)) * 1000
        lines.append(
            {
                "family": name,
                "folds": on_folds(study, found),
                "after": scored(study, answers[name]),
                "cpu_s": spent,
                "row_ms": row_ms,
            }
        )
        print(f"  {name}: {spent:.0f} s of CPU", flush=True)
    best = answers["gradient boosting"]
    for one_line in lines:
        one_line["boosting_saves"] = saved(study, answers[str(one_line["family"])], best)
    return {"lines": lines}


def _probability(model: Any) -> Callable[[Floats], Floats]:
    return lambda features: np.asarray(model.predict_proba(features)[:, 1], dtype=np.float64)


def _prepared(model: Any) -> Any:
    return make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler(), model)


def _one_hot(features: Floats, names: tuple[str, ...]) -> Floats:
    """One-hot encode text: linear models and networks cannot split its codes as trees do."""
    texts = [names.index(name) for name in studied().sample.categories]
    rest = [place for place in range(len(names)) if place not in texts]
    columns = [features[:, rest]]
    for place in texts:
        values = np.unique(features[~np.isnan(features[:, place]), place])[:ONE_HOT]
        columns.append((features[:, [place]] == values).astype(np.float64))
    return np.concatenate(columns, axis=1)
