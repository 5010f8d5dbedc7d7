from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies
from synthetic import SyntheticProblem, synthetic_problem

from fivestage.features.problem import Problem, Tables
from fivestage_distributed.tokens import (
    encode,
    event_positions,
    learn_vocabulary,
    raw_fields,
    vocabulary_from_json,
    vocabulary_to_json,
)

EVENTS = 4


@pytest.fixture(scope="module")
def problem() -> SyntheticProblem:
    return synthetic_problem("binary")


@pytest.fixture(scope="module")
def tables(problem: Problem) -> Tables:
    return problem.load(problem.contract)


def tokens_of(problem: Problem, tables: Tables, events: Any, rows: pd.DataFrame) -> Any:
    store = problem.features.offline_store(events, tables.reference)
    return raw_fields(problem, rows, store, tables.reference, EVENTS)


@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(data=strategies.data())
def test_scrambling_what_became_known_after_the_decision_moves_no_token(
    problem: Problem, tables: Tables, data: strategies.DataObject
) -> None:
    place = data.draw(strategies.integers(100, len(tables.rows) - 1))
    row = tables.rows.iloc[[place]]
    at = int(row["decision_at"].iloc[0])
    random = np.random.default_rng(data.draw(strategies.integers(0, 2**32)))
    vocabulary = learn_vocabulary(tokens_of(problem, tables, tables.events, tables.rows), 2, EVENTS)
    scrambled = {}
    for kind, frame in tables.events.items():
        event = problem.contract.events[kind]
        known = event.known_at({event.known: frame[event.known].to_numpy()})
        later = np.flatnonzero(known > at)
        changed = frame.copy()
        for name in frame.columns.difference([event.known]):
            values = frame[name].to_numpy().copy()
            values[later] = random.permutation(values[later])
            changed[name] = values
        scrambled[kind] = changed.drop(index=random.choice(later, len(later) // 3, replace=False).tolist())
    before, after = (
        encode(tokens_of(problem, tables, events, row), vocabulary) for events in (tables.events, scrambled)
    )
    assert (before == after).all()


def test_an_event_that_is_known_by_then_does_move_tokens(problem: Problem, tables: Tables) -> None:
    vocabulary = learn_vocabulary(tokens_of(problem, tables, tables.events, tables.rows), 2, EVENTS)
    deliveries = tables.events["delivery"]
    changed = tables.events | {"delivery": deliveries.assign(delay=-deliveries["delay"] + 100)}
    rows = tables.rows.iloc[500:520]
    before, after = (
        encode(tokens_of(problem, tables, events, rows), vocabulary) for events in (tables.events, changed)
    )
    positions = event_positions(tokens_of(problem, tables, tables.events, rows))
    assert (before[:, ~positions] == after[:, ~positions]).all()
    assert (before[:, positions] != after[:, positions]).any()


def test_sequences_are_the_columns_then_the_events_then_the_question(
    problem: Problem, tables: Tables
) -> None:
    raw = tokens_of(problem, tables, tables.events, tables.rows)
    vocabulary = learn_vocabulary(raw, 2, EVENTS)
    tokens = encode(raw, vocabulary)
    names = list(raw)
    assert names[:4] == ["order_number", "customer", "channel", "amount"]
    assert names[-2:] == ["ended/customer", "traffic, 0"]
    assert tokens.shape == (len(tables.rows), len(names) - 1 + EVENTS + 1)
    assert (tokens[:, -1] == vocabulary.answer).all()
    assert tokens.max() < vocabulary.size
    assert not np.isin(tokens, vocabulary.classes).any()


def test_what_is_missing_and_what_was_never_seen_have_tokens_of_their_own(
    problem: Problem, tables: Tables
) -> None:
    raw = tokens_of(problem, tables, tables.events, tables.rows)
    vocabulary = learn_vocabulary(raw, 2, EVENTS)
    row = tables.rows.iloc[[0]].assign(customer="nobody", amount=np.nan)
    (tokens,) = encode(tokens_of(problem, tables, {}, row), vocabulary)
    fields = vocabulary.fields
    assert tokens[1] == fields["customer"].rare
    assert tokens[3] == fields["amount"].missing
    assert (
        tokens[-6:-1] == [*[fields["ended/customer"].missing] * EVENTS, fields["traffic, 0"].missing]
    ).all()


def test_a_vocabulary_is_kept_as_text(problem: Problem, tables: Tables) -> None:
    vocabulary = learn_vocabulary(tokens_of(problem, tables, tables.events, tables.rows), 2, EVENTS)
    assert vocabulary_from_json(vocabulary_to_json(vocabulary)) == vocabulary
