"""A real slice of the data, cut and featurised as the pipelines do it, with a small model of its own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fivestage.artifact.artifact import Artifact, Lineage
from fivestage.artifact.calibration import Calibration
from fivestage.contract.contract import Contract, day, epoch
from fivestage.data.event_tables import EventTables
from fivestage.data.splits import TemporalSplit, cut
from fivestage.features.definitions import FeatureDefinitions
from fivestage.features.offline import build_features
from fivestage.features.problem import Problem, Tables
from fivestage.training.packaging import Fitted, fit_chosen, package
from fivestage.training.sample import TrainingSample, training_sample
from fivestage.training.selection import Selection
from problem import PROBLEM
from tests.synthetic import boosting

HERE = Path(__file__).parent
FLIGHTS = re.compile(r"^from problem|\b(real|fitted|artifact): ", re.MULTILINE)
# What needs the flights is left out where the project has a table of its own.
collect_ignore = (
    []
    if find_spec("problem.raw")
    else [str(path.relative_to(HERE)) for path in HERE.rglob("test_*.py") if FLIGHTS.search(path.read_text())]
)
KEPT = 3  # one flight number in so many
MONTHS = 4
AS_OF = "2013-04-16"
CANDIDATES = {
    "boosting": boosting("binary", learning_rate=0.1, max_leaf_nodes=15, max_iter=60, min_samples_leaf=50)
}


@dataclass(frozen=True)
class Slice:
    """A third of the flights of January to April, as they stand at the middle of April."""

    contract: Contract
    rows: pd.DataFrame
    features: pd.DataFrame
    event_tables: EventTables
    windows: TemporalSplit
    sample: TrainingSample

    def label(self, places: Any) -> Any:
        return self.rows[self.contract.label.name].to_numpy()[places]


@pytest.fixture(scope="session")
def real() -> Slice:
    from problem.dataset import clean
    from problem.raw import raw_folder, read_raw

    raw = read_raw(raw_folder())
    flights, weather = raw["flights"], raw["weather"]
    mine = (flights["month"].astype(int) <= MONTHS) & (flights["flight"].astype(int) % KEPT == 0)
    early = weather["time_hour"].astype(str) < f"2013-{MONTHS + 1:02}"
    contract = shortened(PROBLEM.contract)
    tables = clean(raw | {"flights": flights[mine], "weather": weather[early]}, contract)
    rows, event_tables = tables.rows, EventTables(tables.events, tables.reference)
    features = build_features(PROBLEM.features, rows, event_tables.events, event_tables.reference)
    at, known = rows["decision_at"].to_numpy(), rows["known_at"].to_numpy()
    windows = cut(at, known, contract.split, epoch(day(AS_OF)))
    return Slice(
        contract, rows, features, event_tables, windows, training_sample(rows, features, windows, contract)
    )


@pytest.fixture(scope="session")
def fitted(real: Slice) -> Fitted:
    selection = Selection("boosting", {}, Calibration(0.9), ())
    return fit_chosen(real.sample, real.windows, selection, real.contract, CANDIDATES)


@pytest.fixture(scope="session")
def artifact(real: Slice, fitted: Fitted) -> Artifact:
    return packaged(real, fitted)


def packaged(real: Slice, fitted: Fitted) -> Artifact:
    lineage = Lineage("data", real.contract.digest, "lock", "code")
    return package(fitted, real.rows, real.windows, real.event_tables, other(real.contract), lineage)


@dataclass(frozen=True)
class ChangedProblem:
    """The project's problem with another contract, and tables of its own by part."""

    contract: Contract
    pieces: Mapping[str, Tables]

    @property
    def features(self) -> FeatureDefinitions:
        return PROBLEM.features

    def candidates(self, rows: int, text: Sequence[str]) -> Mapping[str, Any]:
        return PROBLEM.candidates(rows, text)

    def digest(self) -> str:
        return "data"

    def load(self, contract: Contract, part: str = "") -> Tables:
        return self.pieces[part] if part else PROBLEM.load(contract)

    def parts(self) -> tuple[str, ...]:
        return tuple(self.pieces)

    def read_batch(self, source: str, contract: Contract) -> pd.DataFrame | None:
        return PROBLEM.read_batch(source, contract)


def other(contract: Contract, pieces: Mapping[str, Tables] | None = None) -> Problem:
    """The project's problem with another contract."""
    return ChangedProblem(contract, pieces or {})


def shortened(contract: Contract) -> Contract:
    """The contract with windows that fit into a few months."""
    return changed(contract, split={"holdout_days": 15, "folds": 2, "fold_days": 15})


def changed(contract: Contract, **groups: Mapping[str, Any]) -> Contract:
    """The contract with some fields of some groups changed."""
    updates = {
        group: getattr(contract, group).model_copy(update=dict(fields)) for group, fields in groups.items()
    }
    return contract.model_copy(update=updates)
