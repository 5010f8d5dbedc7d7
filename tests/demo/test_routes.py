from problem.routes import graph_of, legs_from

LEGS = [("EWR", "ATL"), ("EWR", "BOS"), ("JFK", "ATL"), ("LGA", "MIA")]


def test_legs_are_counted_by_the_shortest_way() -> None:
    assert legs_from(graph_of(LEGS), "BOS") == {"BOS": 0, "EWR": 1, "ATL": 2, "JFK": 3}


def test_what_cannot_be_reached_is_not_in_it() -> None:
    assert "MIA" not in legs_from(graph_of(LEGS), "JFK")


def test_a_leg_counts_both_ways() -> None:
    graph = graph_of(LEGS)
    assert all(
        legs_from(graph, one)[other] == legs_from(graph, other)[one]
        for one in graph
        for other in legs_from(graph, one)
    )
