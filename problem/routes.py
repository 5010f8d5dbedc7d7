"""The routes as a graph: airports, and which of them a flight joins."""

from collections import deque
from collections.abc import Iterable, Mapping

Graph = Mapping[str, frozenset[str]]


def graph_of(legs: Iterable[tuple[str, str]]) -> Graph:
    """Who is joined to whom, either way: what is late out is late back."""
    joined: dict[str, set[str]] = {}
    for origin, dest in legs:
        joined.setdefault(origin, set()).add(dest)
        joined.setdefault(dest, set()).add(origin)
    return {airport: frozenset(others) for airport, others in joined.items()}


def legs_from(graph: Graph, start: str) -> dict[str, int]:
    """By airport: the fewest legs from the start (breadth-first search); one out of reach is not in it."""
    found, waiting = {start: 0}, deque([start])
    while waiting:
        here = waiting.popleft()
        for other in graph[here]:
            if other not in found:
                found[other] = found[here] + 1
                waiting.append(other)
    return found
