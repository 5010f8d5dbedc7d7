"""The route network of the flights problem: the reach of a disruption, and the value of network features."""

import time
from typing import Any

import numpy as np

from fivestage.common.columns import Floats, Strings
from fivestage.features.definitions import columns_of
from fivestage.features.stores import AdditiveEvent, OfflineFeatureStore
from fivestage.training.estimators import fit_classifier
from problem import PROBLEM
from problem.features import SETS
from problem.routes import Graph, graph_of, legs_from
from tools.bench.study.sample import USUAL, Studied, calibrated_after, saved, scored, studied

HOURS = (3, 6)
STEP = 1800  # seconds between updates of the features two legs away


def measure() -> dict[str, Any]:
    """Return the reach by legs, and scores without network features, with them, and with a graph search."""
    study = studied()
    pairs = study.rows[["origin", "dest"]].drop_duplicates()
    graph = graph_of(pairs.itertuples(index=False, name=None))
    started = time.perf_counter()
    reach = {airport: legs_from(graph, airport) for airport in graph}
    spent = time.perf_counter() - started
    origins = sorted(set(pairs["origin"]))
    return {
        "airports": len(graph),
        "routes": len(pairs),
        "origins": {one: _within(reach[one]) for one in origins},
        "destinations": np.mean(
            [_within(reach[one]) for one in graph if one not in origins], axis=0
        ).tolist(),
        "search_us": spent / len(graph) * 1e6,
        "features": _features(study, graph, origins),
    }


def _within(found: dict[str, int]) -> list[int]:
    """Return the number of other airports within one, two and three legs."""
    return [sum(0 < legs <= most for legs in found.values()) for most in (1, 2, 3)]


def _features(study: Studied, graph: Graph, origins: list[str]) -> list[dict[str, Any]]:
    names = study.sample.names
    network = set(study.sets[list(SETS)[-1]])
    without = [place for place, name in enumerate(names) if name not in network]
    everything = study.sample.features
    more = np.concatenate([everything, two_legs(study, graph, origins)], axis=1)
    answers = {
        "without the network": _answers(study, everything[:, without]),
        "with it": _answers(study, everything),
        "and two legs of search": _answers(study, more),
    }
    first = answers["without the network"]
    return [
        {"features": name, "after": scored(study, one), "saves": saved(study, first, one)}
        for name, one in answers.items()
    ]


def two_legs(study: Studied, graph: Graph, origins: list[str]) -> Floats:
    """Return recent delays at an origin's destinations of flights from other origins.

    That is a breadth-first search of two legs, out and back: share and mean minutes over some hours.
    """
    past = _delays(study)
    at = study.rows["decision_at"].to_numpy(dtype=np.int64) // STEP * STEP
    moments = np.unique(at)
    place = np.searchsorted(moments, at)
    found = np.empty((len(at), 2 * len(HOURS)))
    for origin in origins:
        here = (study.rows["origin"] == origin).to_numpy()
        for number, hours in enumerate(HOURS):
            count, late, minutes = _others(past, graph, origin, moments, hours)
            share, mean = (late + 0.75) / (count + 3), minutes / (count + 1)
            found[here, 2 * number] = share[place[here]]
            found[here, 2 * number + 1] = mean[place[here]]
    return found


def _delays(study: Studied) -> OfflineFeatureStore:
    """Return the delays that the destinations' features use, by destination and by route."""
    tables, found = study.event_tables, []
    for kind, frame in tables.events.items():
        for event in PROBLEM.features.events[kind](columns_of(frame), tables.reference):
            if isinstance(event, AdditiveEvent) and event.log == "ended/dest":
                route = (columns_of(frame)["origin"], event.key)
                found += [event, AdditiveEvent("ended/route", route, event.at, event.values)]
    return OfflineFeatureStore.of(found)


def _others(past: OfflineFeatureStore, graph: Graph, origin: str, moments: Any, hours: int) -> Floats:
    total = np.zeros((3, len(moments)))
    same = np.zeros(len(moments), dtype=np.int64)
    for dest, legs in legs_from(graph, origin).items():
        if legs == 1:
            to = Strings(same, (dest,))
            total += np.array(past.window("ended/dest", to, moments, hours, 2))
            total -= np.array(past.window("ended/route", (Strings(same, (origin,)), to), moments, hours, 2))
    return total


def _answers(study: Studied, features: Floats) -> Floats:
    windows = study.windows
    model = fit_classifier(USUAL, features[windows.train], study.sample.label[windows.train])
    holdout, after = (
        np.ravel(model.decision_function(features[rows])) for rows in (windows.holdout, windows.after)
    )
    return calibrated_after(study, holdout, after)
