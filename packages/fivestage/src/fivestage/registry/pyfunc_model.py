"""MLflow's `pyfunc` flavour of a version, which takes raw rows.

Use it in the project's folder: `mlflow.pyfunc.load_model("models:/NAME@champion").predict(frame)`. MLflow
loads this module by name (`loader_module` in `MLmodel`). It runs the same engine on the same artifact as the
service, with the history as of the training.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import add_to_model
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType

from fivestage.artifact.artifact import Artifact, load_artifact
from fivestage.artifact.engine import Engine
from fivestage.artifact.extremes import example_row, json_row
from fivestage.artifact.predictions import form_of
from fivestage.common.errors import UserError
from fivestage.contract.contract import (
    CategoryColumn,
    Column,
    Contract,
    NumberColumn,
    RegressionContract,
    TimestampColumn,
)
from fivestage.data.validation import validate
from fivestage.features.definitions import FeatureDefinitions

ARTIFACT = "artifact"  # the artifact's folder next to MLmodel
PROBLEM = "problem"  # the key in MLmodel that names the problem and so its features
EXAMPLE = "input_example.json"
DECISION = "decision"


class RawRowsModel:
    """The object whose `predict` MLflow calls."""

    def __init__(self, artifact: Artifact, definitions: FeatureDefinitions) -> None:
        self._engine = Engine(artifact, definitions)

    def predict(self, rows: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Return the forecast and the decision for each raw row, as the service does.

        Args:
            rows: The contract's columns; times as pandas timestamps with a zone, ISO 8601 text with a zone,
                or epoch seconds.
            params: Ignored; there are no parameters.

        Raises:
            UserError: If a row violates the contract.
        """
        del params
        contract, form = self._engine.artifact.contract, self._engine.form
        checked = validate(rows, contract.columns, (), "the input", rules=contract.rules)
        if len(checked.failures):
            first = checked.failures.iloc[0]
            raise UserError(
                f"Row {first['row']}: {first['column']} is {first['value']!r}: {first['check']} "
                f"(invalid rows: {len(checked.quarantined)} of {len(rows)})."
            )
        missing = {name: "" for name, one in contract.columns.items() if isinstance(one, CategoryColumn)}
        requests: list[Any] = checked.good[list(contract.columns)].fillna(missing).to_dict(orient="records")
        answers = self._engine.predict(requests)
        predictions = pd.DataFrame([form.forecast(one) for one in answers], columns=list(form.columns))
        return predictions.assign(**{DECISION: [one.decision for one in answers]})


def _load_pyfunc(path: str, config: dict[str, Any]) -> RawRowsModel:
    """Load the model; MLflow requires this function, and `config` names the problem with the features."""
    module, _, name = config[PROBLEM].partition(":")
    try:
        problem = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"The model's features are computed by the project's module {module!r}, which Python cannot "
            "import here: run this in the project's folder, or set PYTHONPATH to it."
        ) from error
    return RawRowsModel(load_artifact(Path(path)), problem.features)


def write_flavour(artifact: Artifact, folder: Path, run_id: str, problem: str) -> None:
    """Write `MLmodel`, with signature, loader and problem, and an input example next to the artifact."""
    contract = artifact.contract
    inputs = Schema([_spec(name, column) for name, column in contract.columns.items()])
    decision = DataType.double if isinstance(contract, RegressionContract) else DataType.string
    numbers = [ColSpec(DataType.double, name) for name in form_of(contract).columns]
    outputs = Schema([*numbers, ColSpec(decision, DECISION)])
    model = Model(artifact_path=folder.name, run_id=run_id, signature=ModelSignature(inputs, outputs))
    add: Any = add_to_model  # MLflow's function has no types
    add(model, loader_module=__name__, data=ARTIFACT, model_config={PROBLEM: problem}, python_env=None)
    example = example_of(artifact)
    (folder / EXAMPLE).write_text(pd.DataFrame([example]).to_json(orient="split"), encoding="utf-8")
    model.saved_input_example_info = {
        "artifact_path": EXAMPLE,
        "type": "dataframe",
        "pandas_orient": "split",
    }
    model.save(str(folder / "MLmodel"))


def example_of(artifact: Artifact) -> dict[str, Any]:
    """Return a row as a client sends it: the artifact's last smoke-test row, or the contract's examples."""
    contract = artifact.contract
    row = artifact.smoke[-1].row if artifact.smoke else example_row(contract)
    return json_row(contract, row)


def _spec(name: str, column: Column) -> ColSpec:
    kind: DataType | AnyType = DataType.string
    if isinstance(column, NumberColumn):
        whole = column.type == "integer" and not column.nullable
        kind = DataType.long if whole else DataType.double
    elif isinstance(column, TimestampColumn):  # MLflow's own type rejects zones and text from JSON
        untyped: Any = AnyType
        kind = untyped()
    return ColSpec(kind, name, required=not column.nullable)


def described(contract: Contract) -> str:
    """Return a description of a version for MLflow's pages."""
    times = [name for name, column in contract.columns.items() if isinstance(column, TimestampColumn)]
    zoned = f" Times need a zone, such as 2025-01-31T09:30:00Z: {', '.join(times)}." if times else ""
    return f"{contract.title} Takes raw rows: {', '.join(contract.columns)}.{zoned}"
