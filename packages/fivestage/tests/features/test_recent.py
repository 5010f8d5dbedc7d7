import numpy as np

from fivestage.features.stores import AdditiveEvent, LatestValue, OfflineFeatureStore

STORE = OfflineFeatureStore.of(
    [
        AdditiveEvent("ended", np.array([1, 1, 2, 1]), np.array([10, 20, 25, 30]), (np.array([5, 6, 7, 8]),)),
        LatestValue("level", np.array([1]), np.array([15]), (np.array([0.5]),)),
    ]
)


def test_the_last_events_are_those_known_at_the_moment_the_oldest_first() -> None:
    at = np.array([29, 30, 9, 99])
    times, values, found = STORE.recent("ended", np.array([1, 1, 1, 3]), at, 2)
    assert found.tolist() == [[True, True], [True, True], [False, False], [False, False]]
    assert times[:2].tolist() == [[10, 20], [20, 30]]
    assert values[:2, :, 0].tolist() == [[5, 6], [6, 8]]


def test_events_of_another_key_are_not_taken_where_there_are_too_few() -> None:
    times, _, found = STORE.recent("ended", np.array([2]), np.array([40]), 3)
    assert found.tolist() == [[False, False, True]]
    assert times[0, 2] == 25


def test_of_a_log_that_holds_nothing_there_is_none() -> None:
    _, values, found = STORE.recent("started", np.array([1, 2]), np.array([40, 40]), 3)
    assert values.shape == (2, 3, 0)
    assert not found.any()
