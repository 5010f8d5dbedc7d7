"""The route network as a graph: airports are nodes, and flights between them are edges."""

from collections import deque
from collections.abc import Iterable, Mapping

Graph = Mapping[str, frozenset[str]]


def graph_of(legs: Iterable[tuple[str, str]]) -> Graph:
    """Build the graph; edges have no direction, because a flight that is late out is also late back."""
    neighbours: dict[str, set[str]] = {}
    for origin, dest in legs:
        neighbours.setdefault(origin, set()).add(dest)
        neighbours.setdefault(dest, set()).add(origin)
    return {airport: frozenset(others) for airport, others in neighbours.items()}


def legs_from(graph: Graph, start: str) -> dict[str, int]:
    """The fewest legs from the start to each airport that can be reached (breadth-first search)."""
    legs, queue = {start: 0}, deque([start])
    while queue:
        airport = queue.popleft()
        for neighbour in graph[airport]:
            if neighbour not in legs:
                legs[neighbour] = legs[airport] + 1
                queue.append(neighbour)
    return legs
