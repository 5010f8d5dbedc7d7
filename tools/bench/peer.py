"""Train the model of another server, and serve it, in that server's environment.

The model is a scikit-learn pipeline on the raw columns, with as many trees as ours, but no features from
history and no log.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["BENCH_FOLDER"])
GIVEN = json.loads((FOLDER / "given.json").read_text(encoding="utf-8"))
ROWS = 5000  # of training data


def seconds(frame: Any) -> Any:
    """Convert timestamps from text to epoch seconds."""
    pandas = import_module("pandas")
    return frame.apply(lambda column: pandas.to_datetime(column, utc=True).astype("int64") // 10**9)


def pipeline() -> Any:
    """Train a pipeline: text as ordinals, timestamps as seconds, and our number of trees and leaves."""
    numpy, pandas = import_module("numpy"), import_module("pandas")
    compose, steps = import_module("sklearn.compose"), import_module("sklearn.pipeline")
    kinds, change = GIVEN["kinds"], import_module("sklearn.preprocessing")
    columns = {kind: [name for name, one in kinds.items() if one == kind] for kind in ("text", "moment")}
    ordinal = change.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=numpy.nan)
    encode = compose.ColumnTransformer(
        [
            ("text", ordinal, columns["text"]),
            (
                "moment",
                change.FunctionTransformer(import_module("tools.bench.peer").seconds),
                columns["moment"],
            ),
        ],
        remainder="passthrough",
    )
    trees = import_module("sklearn.ensemble").HistGradientBoostingClassifier(
        max_iter=GIVEN["trees"], max_leaf_nodes=GIVEN["leaves"], min_samples_leaf=5, early_stopping=False
    )
    random = numpy.random.default_rng(0)
    frame = pandas.DataFrame(GIVEN["rows"]).sample(ROWS, replace=True, random_state=0)
    for name, kind in kinds.items():
        if kind == "number":
            frame[name] = frame[name].to_numpy() * random.uniform(0.5, 1.5, ROWS)
    fitted = steps.make_pipeline(encode, trees)
    fitted.fit(frame, random.random(ROWS) < 0.3)  # noqa: PLR2004 (any share)
    return fitted


def prepare(name: str) -> None:
    """Save the model in the format of the server."""
    if name == "mlflow":
        import shutil

        shutil.rmtree(FOLDER / "mlflow-model", ignore_errors=True)
        import_module("mlflow.sklearn").save_model(
            pipeline(),
            FOLDER / "mlflow-model",
            pyfunc_predict_fn="predict_proba",
            serialization_format="cloudpickle",
        )
        return
    folder = FOLDER / "mlserver"
    model = folder / "model.joblib" if name == "mlserver" else FOLDER / f"{name}.joblib"
    import_module("joblib").dump(pipeline(), model)
    if name == "mlserver":
        settings = {
            "name": "rows",
            "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": str(model)},
            "max_batch_size": 16,
            "max_batch_time": 0.005,
        }
        (folder / "model-settings.json").write_text(json.dumps(settings), encoding="utf-8")
        port = GIVEN["port"]
        server = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
        server |= {"host": "127.0.0.1", "parallel_workers": 0, "debug": False}
        (folder / "settings.json").write_text(json.dumps(server), encoding="utf-8")


def answer(model: Any, rows: list[dict[str, Any]]) -> list[float]:
    """Return the probabilities of rows, as the servers' tutorials compute them."""
    found: list[float] = model.predict_proba(import_module("pandas").DataFrame(rows))[:, 1].tolist()
    return found


def bento(*, batched: bool) -> Any:
    """Create a BentoML service."""
    bentoml = import_module("bentoml")

    class Service:
        def __init__(self) -> None:
            self.model = import_module("joblib").load(FOLDER / "bentoml.joblib")

        def predict(self, rows: list[dict[str, Any]]) -> list[float]:
            return answer(self.model, rows)

    options = {"batchable": True, "max_batch_size": 1000, "max_latency_ms": 1000} if batched else {}
    Service.__name__ = Service.__qualname__ = "Batched" if batched else "Plain"
    Service.predict = bentoml.api(**options)(Service.predict)  # type: ignore[method-assign]
    return bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})(
        Service
    )


def __getattr__(name: str) -> Any:
    """Create the services that BentoML looks up by name."""
    if name in {"Plain", "Batched"}:
        made = globals()[name] = bento(batched=name == "Batched")
        return made
    raise AttributeError(name)


if __name__ == "__main__":
    prepare(sys.argv[1])
