"""`make bench-parity`: stream a year through the engine in order, and compare with the training features.

Each row is requested at its decision time, when the engine has received no later event; it also prunes its
history.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from fivestage.artifact.artifact import load_artifact
from fivestage.artifact.engine import Engine
from fivestage.common.errors import UserError
from fivestage.common.settings import VAR
from fivestage.data.event_tables import EventTables, known_at
from fivestage.features.definitions import columns_of
from fivestage.features.encoder import encode, matrix
from fivestage.features.stores import OfflineFeatureStore, OnlineFeatureStore
from fivestage.serving.served_version import read_served_version
from problem import PROBLEM


def compare(folder: Path, every: int) -> str:
    """Stream all events and request rows at an interval; raise a UserError naming features that differ."""
    contract = PROBLEM.contract
    artifact = replace(
        load_artifact(read_served_version(folder / "current").folder), history=OfflineFeatureStore({})
    )
    with tempfile.TemporaryDirectory() as scratch:
        rows, event_tables, _ = EventTables.ingest(
            PROBLEM.load(PROBLEM.contract), contract, Path(scratch), "bench"
        )
    artifact = replace(artifact, reference=event_tables.reference)
    at = rows["decision_at"].to_numpy(dtype=np.int64)
    past = PROBLEM.features.offline_store(event_tables.events, event_tables.reference)
    columns = columns_of(rows)
    found = PROBLEM.features.compute(artifact.sets, columns, at, past, event_tables.reference)
    trained = matrix(encode(found, artifact.categories), artifact.features, len(at))

    kinds = list(contract.events)
    known = [known_at(contract.events[kind], event_tables.events[kind]) for kind in kinds]
    kind_of = np.concatenate([np.full(len(one), number) for number, one in enumerate(known)])
    place_of = np.concatenate([np.arange(len(one)) for one in known])
    times = np.concatenate(known)
    order = np.argsort(times, kind="stable")
    events = [event_tables.events[kind].to_dict("records") for kind in kinds]
    requests = rows[list(contract.columns)].to_dict("records")

    engine, received, peak, started = Engine(artifact, PROBLEM.features), 0, 0, time.process_time()
    differences: list[str] = []
    requested = np.argsort(at, kind="stable")[::every].tolist()
    for number, place in enumerate(requested):
        while received < len(order) and times[order[received]] <= at[place]:
            kind = int(kind_of[order[received]])
            engine.observe(kinds[kind], events[kind][place_of[order[received]]])
            received += 1
        one = encode(engine.features(requests[place]), artifact.categories)
        values = np.array([one[name] for name in artifact.features])
        same = (values == trained[place]) | (np.isnan(values) & np.isnan(trained[place]))
        differences += [f"row {place}: {artifact.features[i]}" for i in np.flatnonzero(~same).tolist()]
        if number % 1000 == 0:
            peak = max(peak, held(engine.history))
    if differences:
        raise UserError(f"{len(differences)} features differ: {', '.join(differences[:10])}.")
    return (
        f"{len(requested):,} rows of {len(at):,} and {received:,} events streamed: all "
        f"{len(artifact.features)} features of each row equal those of training exactly. At most {peak:,} "
        "events were held. "
        f"{time.process_time() - started:.0f} s of CPU."
    )


def held(history: OnlineFeatureStore) -> int:
    """Return the number of events in memory."""
    return sum(len(series.times) for log in history._logs.values() for series in log.values())  # noqa: SLF001


def main() -> None:
    """Compare, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="request every Nth row")
    given = parser.parse_args()
    try:
        folder = next(
            (one for one in (VAR / "serving", VAR / "demo") if (one / "current").exists()), VAR / "serving"
        )
        print(compare(folder, given.every))
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
