"""The route network of the default problem: whom a disruption reaches, and what knowing that brings."""

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
STEP = 1800  # seconds: what two legs away looks like is asked anew so often


def measure() -> dict[str, Any]:
    """Reach by legs; then the trees without the network's features, with them, and with a search."""
    given = studied()
    pairs = given.rows[["origin", "dest"]].drop_duplicates()
    graph = graph_of(pairs.itertuples(index=False, name=None))
    begun = time.perf_counter()
    reach = {airport: legs_from(graph, airport) for airport in graph}
    spent = time.perf_counter() - begun
    origins = sorted(set(pairs["origin"]))
    return {
        "airports": len(graph),
        "routes": len(pairs),
        "origins": {one: _within(reach[one]) for one in origins},
        "destinations": np.mean(
            [_within(reach[one]) for one in graph if one not in origins], axis=0
        ).tolist(),
        "search_us": spent / len(graph) * 1e6,
        "features": _features(given, graph, origins),
    }


def _within(found: dict[str, int]) -> list[int]:
    """How many other airports lie within one, two and three legs."""
    return [sum(0 < legs <= most for legs in found.values()) for most in (1, 2, 3)]


def _features(given: Studied, graph: Graph, origins: list[str]) -> list[dict[str, Any]]:
    names = given.sample.names
    network = set(given.sets[list(SETS)[-1]])
    without = [place for place, name in enumerate(names) if name not in network]
    everything = given.sample.features
    more = np.concatenate([everything, two_legs(given, graph, origins)], axis=1)
    answers = {
        "without the network": _answers(given, everything[:, without]),
        "with it": _answers(given, everything),
        "and two legs of search": _answers(given, more),
    }
    first = answers["without the network"]
    return [
        {"features": name, "after": scored(given, one), "saves": saved(given, first, one)}
        for name, one in answers.items()
    ]


def two_legs(given: Studied, graph: Graph, origins: list[str]) -> Floats:
    """How the destinations of an origin fared lately with those who came from other origins.

    That is two legs of breadth-first search, out and back: share and mean minutes over some hours.
    """
    past = _fared(given)
    at = given.rows["decision_at"].to_numpy(dtype=np.int64) // STEP * STEP
    moments = np.unique(at)
    place = np.searchsorted(moments, at)
    found = np.empty((len(at), 2 * len(HOURS)))
    for origin in origins:
        here = (given.rows["origin"] == origin).to_numpy()
        for number, hours in enumerate(HOURS):
            count, late, minutes = _others(past, graph, origin, moments, hours)
            share, mean = (late + 0.75) / (count + 3), minutes / (count + 1)
            found[here, 2 * number] = share[place[here]]
            found[here, 2 * number + 1] = mean[place[here]]
    return found


def _fared(given: Studied) -> OfflineFeatureStore:
    """What the destinations' features count, by destination and once more by route."""
    tables, found = given.event_tables, []
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


def _answers(given: Studied, features: Floats) -> Floats:
    windows = given.windows
    model = fit_classifier(USUAL, features[windows.train], given.sample.label[windows.train])
    holdout, after = (
        np.ravel(model.decision_function(features[rows])) for rows in (windows.holdout, windows.after)
    )
    return calibrated_after(given, holdout, after)
