"""Events that cannot be stored are refused, and change nothing."""

import numpy as np
import pytest

from fivestage.features.stores import (
    AdditiveEvent,
    LatestValue,
    OfflineFeatureStore,
    OnlineFeatureStore,
    UnlearnableEventError,
    WindowQuery,
)

NAN, HUGE = float("nan"), 2**70
BOTH = WindowQuery(2, (("sales", 24.0), ("sales", 2.0)))


def filled() -> OnlineFeatureStore:
    store = OnlineFeatureStore()
    for hour in range(40):
        store.add(AdditiveEvent("sales", "a", hour * 3600, (1, hour)))
        store.add(LatestValue("price", "a", hour * 3600, (float(hour), NAN)))
    return store


@pytest.mark.parametrize(
    "bad",
    [
        AdditiveEvent("sales", "a", 40 * 3600, (1, NAN)),
        AdditiveEvent("sales", "a", 40 * 3600, (1, float("inf"))),
        AdditiveEvent("sales", "a", 40 * 3600, (1, 0.5)),
        AdditiveEvent("sales", "a", 40 * 3600, (1, HUGE)),
        AdditiveEvent("sales", "a", 40 * 3600, (1, None)),
        AdditiveEvent("sales", "a", 40 * 3600, (1,)),
        AdditiveEvent("sales", "a", NAN, (1, 2)),
        AdditiveEvent("sales", "a", 3600, (1, NAN)),  # out of order
        LatestValue("sales", "a", 40 * 3600, (1.0, 2.0)),
        LatestValue("price", "a", 40 * 3600, (1.0, None)),
        LatestValue("price", "a", 40 * 3600, (1.0, "text")),
    ],
)
def test_what_cannot_be_counted_is_refused_and_leaves_the_history_as_it_was(
    bad: AdditiveEvent | LatestValue,
) -> None:
    """A time without values made C read beyond its arrays: after 20,000 failed adds, counts were wrong."""
    store, untouched = filled(), filled()
    keys = {"sales": "a"}
    for _ in range(2000):
        with pytest.raises(UnlearnableEventError):
            store.add(bad)
    at = 41 * 3600
    assert store.windows(BOTH, keys, at) == untouched.windows(BOTH, keys, at)
    assert store.window("sales", "a", at, 24.0, 2) == (22, 22, sum(range(18, 40)))
    assert np.array_equal(
        store.latest("price", "a", at, 6.0, 2), untouched.latest("price", "a", at, 6.0, 2), equal_nan=True
    )
    store.add(AdditiveEvent("sales", "a", 40 * 3600, (1, 5)))
    assert store.windows(BOTH, keys, at)[1] == (1, 1, 5)


def test_a_first_event_that_cannot_be_counted_leaves_no_history() -> None:
    store = OnlineFeatureStore()
    with pytest.raises(UnlearnableEventError, match="'sales' cannot store"):
        store.add(AdditiveEvent("sales", "a", 0, (NAN,)))
    assert store.window("sales", "a", 10, 1.0, 1) == (0, 0)
    store.forget(0)


def test_a_column_of_values_that_cannot_be_counted_is_a_sentence() -> None:
    column = AdditiveEvent("sales", np.array([1, 2]), np.array([0, 1]), (np.array([1.0, np.nan]),))
    with pytest.raises(UnlearnableEventError, match=r"problem/features\.py"):
        OfflineFeatureStore.of([column])
