"""Synthetic flights and an artifact trained on them, for tests of this project's own features."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import treelite
from sklearn.ensemble import HistGradientBoostingClassifier

from fivestage.artifact.artifact import Artifact, Lineage, SmokeRow, save_artifact
from fivestage.artifact.calibration import Calibration
from fivestage.artifact.engine import predict_table
from fivestage.artifact.scorer import Parity
from fivestage.common.columns import Floats, Ints, Strings
from fivestage.contract.contract import Contract
from fivestage.features.definitions import columns_of
from fivestage.features.encoder import encode, matrix
from fivestage.serving.served_version import ServedVersion, write_served_version
from fivestage.serving.service_settings import Settings
from fivestage.training.treelite_trees import trees_from
from problem import PROBLEM
from problem.features import SETS, WEATHER

DAY, HOUR = 86_400, 3600
START = 1_375_315_200  # 2013-08-01T00:00:00Z
DAYS = 12
AS_OF = START + 8 * DAY
REGION = {"IAH": "south", "MIA": "south", "ORD": "north", "BOS": "north", "LAX": "west", "SFO": "west"}
REFERENCE = {"region": REGION}


@dataclass(frozen=True)
class SyntheticFlights:
    """Synthetic flights as columns, with their decision times, labels and events."""

    rows: dict[str, Any]
    at: Ints
    label: Ints
    events: dict[str, dict[str, Any]]

    def row(self, place: int) -> dict[str, Any]:
        return {
            name: values[place] if isinstance(values, list) else values[place].item()
            for name, values in self.rows.items()
        }

    def request(self, place: int) -> dict[str, Any]:
        return iso(self.row(place))


@dataclass(frozen=True)
class Deployed:
    """A service's folder with an artifact in it."""

    settings: Settings
    artifact: Artifact
    digest: str


def iso(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as a client sends it: timestamps in ISO 8601, and null for missing numbers."""
    times = (
        "scheduled_departure",
        "scheduled_arrival",
        "departed_at",
        "landed_at",
        "cancelled_at",
        "diverted_at",
        "hour",
    )
    sent = {
        name: datetime.fromtimestamp(value, UTC).isoformat() if name in times else value
        for name, value in row.items()
    }
    return {
        name: None if isinstance(value, float) and np.isnan(value) else value for name, value in sent.items()
    }


def messages(events: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events as a client sends them."""
    sent = []
    for kind, frame in events.items():
        columns = [values if isinstance(values, list) else values.tolist() for values in frame.values()]
        sent += [
            {"kind": kind, **iso(dict(zip(frame, values, strict=True)))}
            for values in zip(*columns, strict=True)
        ]
    return sent


def synthetic_flights(seed: int = 7, flights: int = 900) -> SyntheticFlights:
    random = np.random.default_rng(seed)
    dest = [str(one) for one in random.choice(list(REGION), flights)]
    departure = np.sort(START + random.integers(0, DAYS * 24 * 12, flights) * 300)
    rows: dict[str, Any] = {
        "carrier": [str(one) for one in random.choice(["UA", "B6", "DL", "AA"], flights)],
        "flight": np.arange(1, flights + 1) % 97 + 1,
        "origin": [str(one) for one in random.choice(["EWR", "JFK", "LGA"], flights)],
        "dest": dest,
        "scheduled_departure": departure,
        "scheduled_arrival": departure + random.integers(60, 360, flights) * 60,
        "distance": random.integers(200, 2500, flights).astype(float),
    }
    delay = np.rint(random.gamma(1.0, 15, flights) - 8).astype(np.int64) * 60
    draw = random.random(flights)
    cancelled, diverted = draw < 0.03, (draw >= 0.03) & (draw < 0.05)
    label = ((delay >= 900) | cancelled | diverted).astype(np.int64)
    leg = {name: rows[name] for name in ("carrier", "flight", "origin", "dest", "scheduled_departure")}

    def some(chosen: Any, **more: Any) -> dict[str, Any]:
        places = np.flatnonzero(chosen)
        columns = {**leg, **more}
        return {
            name: [values[i] for i in places] if isinstance(values, list) else values[places]
            for name, values in columns.items()
        }

    hours = np.repeat(START + np.arange(DAYS * 24) * HOUR, 3)
    weather: dict[str, Any] = {"origin": ["EWR", "JFK", "LGA"] * (DAYS * 24), "hour": hours}
    for name in WEATHER:
        middle = 1000.0 if name == "pressure" else 0.0
        values = middle + np.round(random.random(len(hours)) * 5, 2)
        weather[name] = np.where(random.random(len(hours)) < 0.1, np.nan, values)
    events = {
        "schedule": some(np.full(flights, fill_value=True)),
        "departure": some(~cancelled, departed_at=departure + np.maximum(delay, -600)),
        "landing": some(
            ~cancelled & ~diverted,
            scheduled_arrival=rows["scheduled_arrival"],
            landed_at=rows["scheduled_arrival"] + delay,
        ),
        "cancellation": some(cancelled, cancelled_at=departure),
        "diversion": some(diverted, diverted_at=rows["scheduled_arrival"] + 2 * HOUR),
        "weather": weather,
    }
    return SyntheticFlights(rows, departure - 2 * HOUR, label, events)


def synthetic_artifact(flights: SyntheticFlights, contract: Contract, seed: int = 0) -> Artifact:
    past = PROBLEM.features.offline_store(flights.events, REFERENCE)
    rows = columns_of(flights.rows)
    sets = tuple(SETS)
    features = PROBLEM.features.compute(sets, rows, flights.at, past, REFERENCE)
    categories = {
        name: {value: float(code) for code, value in enumerate(sorted(features[name].values))}
        for name in features
        if isinstance(features[name], Strings)
    }
    del categories["carrier"]["AA"]  # never seen in training
    names = tuple(features)
    table = matrix(encode(features, categories), names, len(flights.at))
    trees = HistGradientBoostingClassifier(
        max_iter=25,
        max_leaf_nodes=15,
        categorical_features=[name in categories for name in names],
        random_state=seed,
    )
    trees.fit(table, (flights.label + (np.arange(len(flights.label)) % (7 + seed) == 0)) > 0)
    history = PROBLEM.features.offline_store(known_until(flights.events, contract, AS_OF), REFERENCE)
    artifact = Artifact(
        contract=contract, sets=sets, features=names, categories=categories, reference=REFERENCE,
        calibration=Calibration(0.9),
        as_of=AS_OF, trained_until=AS_OF, lineage=Lineage("data", contract.digest, "lock", "commit"),
        models=trees_from([treelite.sklearn.import_model(trees)]),
        parity=Parity(table[-40:], trees.decision_function(table[-40:])), history=history,
    )  # fmt: skip
    places = range(0, len(flights.at), len(flights.at) // 20)
    chosen = {name: [values[i] for i in places] for name, values in flights.rows.items()}
    probability = predict_table(artifact, PROBLEM.features, chosen, history, flights.at[list(places)])
    smoke = tuple(SmokeRow(flights.row(i), (float(p),)) for i, p in zip(places, probability, strict=True))
    return replace(artifact, smoke=smoke)


def known_until(
    events: dict[str, dict[str, Any]], contract: Contract, moment: int
) -> dict[str, dict[str, Any]]:
    """Return the events known at a time, though some of them count in windows only later."""
    kept = {}
    for kind, columns in events.items():
        keep = contract.events[kind].known_at(columns) <= moment
        kept[kind] = {
            name: [value for value, here in zip(values, keep, strict=True) if here]
            if isinstance(values, list)
            else values[keep]
            for name, values in columns.items()
        }
    return kept


def offline(artifact: Artifact, flights: SyntheticFlights) -> Floats:
    """Return the forecasts that evaluation computes for every flight."""
    return predict_table(
        artifact,
        PROBLEM.features,
        flights.rows,
        PROBLEM.features.offline_store(flights.events, artifact.reference),
        flights.at,
    )


def deploy(artifact: Artifact, folder: Path, version: str) -> Deployed:
    digest = save_artifact(artifact, folder / "models" / version)
    settings = Settings(folder=folder)
    write_served_version(
        settings.current_file,
        ServedVersion(version=version, folder=folder / "models" / version, digest=digest),
    )
    return Deployed(settings, artifact, digest)


@pytest.fixture(scope="session")
def contract() -> Contract:
    return PROBLEM.contract


@pytest.fixture(scope="session")
def flights() -> SyntheticFlights:
    return synthetic_flights()


@pytest.fixture(scope="session")
def artifact(flights: SyntheticFlights, contract: Contract) -> Artifact:
    return synthetic_artifact(flights, contract)
