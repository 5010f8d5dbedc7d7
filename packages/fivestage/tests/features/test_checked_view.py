"""Mistakes in a feature raise an error that names it when training computes the feature."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fivestage.common.errors import UserError
from fivestage.features.offline import build_features
from fivestage.features.stores import HOUR, LoggedEvent, WindowQuery
from tests.synthetic import FEATURES, prepared, synthetic_problem

REACH = 14 * 24
ENDED = "ended/customer"
Asked = Callable[[Any, Any, Any], Any]  # of the row, the moment and the past


def features_of(asked: Asked, *, without: str = "") -> pd.DataFrame:
    def own(row: Any, at: Any, past: Any, reference: Any) -> dict[str, Any]:
        del reference
        return {"own": asked(row, at, past)}

    made = prepared("binary")
    events = dict(made.event_tables.events)
    if without:
        events[without] = events[without].head(0)
    definitions = replace(FEATURES, sets={**FEATURES.sets, "own": own})
    return build_features(definitions, made.rows, events, made.event_tables.reference)


@pytest.mark.parametrize(
    "asked",
    [
        lambda row, at, past: past.window(ENDED, row["customer"], at, REACH + 1, 1)[1],
        lambda row, at, past: past.window(ENDED, row["customer"], at - HOUR, REACH, 1)[1],
        lambda row, at, past: past.latest("traffic", row["channel"], at, REACH + 1, 1)[0],
        lambda row, at, past: past.windows(
            WindowQuery(1, ((ENDED, 1), (ENDED, REACH + 1))), {ENDED: row["customer"]}, at
        )[1][1],
    ],
)
def test_a_window_beyond_the_reach_is_refused(asked: Asked) -> None:
    with pytest.raises(
        UserError,
        match=r"'own' of problem/features.py looks 337 hours back in the log .* LOOKBACK_HOURS, which is 336",
    ):
        features_of(asked)


def test_a_text_column_is_compared_row_by_row() -> None:
    found = features_of(lambda row, *_: (row["channel"] == "web") * 1.0)
    assert found["own"].tolist() == [
        float(channel == "web") for channel in prepared("binary").rows["channel"]
    ]
    assert 0 < found["own"].mean() < 1


@pytest.mark.parametrize("group", [{"web", "app"}, ("web", "app")])
def test_a_text_column_is_no_single_member_of_a_group(group: Any) -> None:
    with pytest.raises(UserError, match="treats a whole column as one value"):
        features_of(lambda row, *_: float(row["channel"] in group))


def test_a_window_of_the_whole_reach_is_allowed() -> None:
    found = features_of(lambda row, at, past: past.window(ENDED, row["customer"], at, REACH)[0])
    assert np.array_equal(found["own"], found["ended_14d"])


@pytest.mark.parametrize("ask", ["window", "latest"])
def test_a_log_that_nothing_is_in_is_refused_and_the_others_are_named(ask: str) -> None:
    with pytest.raises(
        UserError,
        match=r"'own' .* log 'ended/custom', .* are: ended/customer, traffic\. Did .* ended/customer\?",
    ):
        features_of(lambda row, at, past: getattr(past, ask)("ended/custom", row["customer"], at, 1, 1)[0])


@pytest.mark.parametrize(
    ("asked", "end"),
    [
        (lambda row, at, past: past.recent(ENDED, row["customer"], at, 1)[1], "latest."),
        (lambda row, at, past: past.history().window(ENDED, row["customer"], at, 1)[0], "latest."),
        (lambda row, at, past: past.lastest(ENDED, row["customer"], at, 1, 1)[0], "Did you mean latest?"),
    ],
)
def test_a_query_that_the_service_does_not_have_is_refused(asked: Asked, end: str) -> None:
    with pytest.raises(UserError, match=r"'own' of problem/features.py uses past\.\w+, which the") as told:
        features_of(asked)
    assert str(told.value).endswith(end)


def test_a_log_whose_events_have_not_come_yet_is_empty() -> None:
    found = features_of(
        lambda row, at, past: past.window(ENDED, row["customer"], at, 1)[0], without="delivery"
    )
    assert not found["own"].any()


def test_a_column_that_the_contract_does_not_have_is_named() -> None:
    with pytest.raises(
        UserError, match=r"'own' of problem/features.py reads row\['amuont'\], .* Did you mean amount\?"
    ):
        features_of(lambda row, _at, _past: row["amuont"])
    with pytest.raises(UserError, match=r"reads row\['returned_at'\], .* at the decision\.$"):
        features_of(lambda row, _at, _past: row["returned_at"])


@pytest.mark.parametrize(
    "asked",
    [
        lambda row, _at, _past: 1 if row["amount"] > 100 else 0,
        lambda row, _at, _past: min(row["amount"], 100),
        lambda row, _at, _past: round(float(row["amount"])),
    ],
)
def test_a_decision_on_a_whole_column_points_to_the_helpers(asked: Asked) -> None:
    with pytest.raises(
        UserError, match=r"'own' of problem/features.py treats a whole column .* lookup, clip"
    ):
        features_of(asked)


def test_so_it_does_in_the_function_of_an_event() -> None:
    def delivery(event: Any, reference: Any) -> Sequence[LoggedEvent]:
        late = 1 if event["delay"] > 0 else 0
        return FEATURES.events["delivery"](event | {"late": late}, reference)

    made = prepared("binary")
    definitions = replace(FEATURES, events={**FEATURES.events, "delivery": delivery})
    with pytest.raises(UserError, match=r"A function in EVENTS of problem/features.py treats a whole column"):
        build_features(definitions, made.rows, made.event_tables.events, made.event_tables.reference)


def test_other_errors_stay_what_they_are() -> None:
    def fail(_row: Any, _at: Any, _past: Any) -> Any:
        raise ValueError("of its own")

    with pytest.raises(ValueError, match="of its own"):
        features_of(fail)
    assert synthetic_problem("binary").features.lookback_hours == REACH
