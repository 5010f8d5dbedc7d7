"""Precision, recall and confusion matrix of a service's decisions on the holdout window."""

import numpy as np
import pytest

from fivestage.data.labels import labels_of
from fivestage.evaluation.champion_challenger import Evidence, run_gates
from fivestage.evaluation.confusion import confusion_of
from fivestage.evaluation.evaluate import answers_of
from fivestage.evaluation.gates import Probe
from tests.synthetic import prepared, synthetic_artifact, synthetic_problem

MULTICLASS, BINARY = (synthetic_problem(task).contract for task in ("multiclass", "binary"))
ON_TIME, LATE, VERY_LATE, LOST = range(4)
NOTHING, WARN, CALL = range(3)
BASELINES = {"prior": 0.0, "historical_rate": 0.0, "historical_mean": 0.0}


def test_classes_that_share_their_cheapest_action_share_its_precision_and_recall() -> None:
    label = np.array([ON_TIME, ON_TIME, LATE, VERY_LATE, LOST, LOST])
    decision = np.array([NOTHING, CALL, WARN, CALL, CALL, WARN])
    found = confusion_of(label, decision, MULTICLASS)
    assert found is not None
    assert found.outcomes == ("on time", "late", "very late", "lost")
    assert found.counts == ((1, 0, 1), (0, 1, 0), (0, 0, 1), (0, 1, 1))
    nothing, warn, call = found.decisions
    assert (call.decision, call.outcomes, call.rows) == ("call", ("very late", "lost"), 3)
    assert [call.precision, call.recall] == pytest.approx([2 / 3, 2 / 3])
    assert (warn.outcomes, warn.precision, warn.recall) == (("late",), 0.5, 1.0)
    assert (nothing.outcomes, nothing.precision, nothing.recall) == (("on time",), 1.0, 0.5)


def test_a_binary_matrix_counts_hits_misses_and_false_alarms() -> None:
    label, act = np.array([1, 1, 1, 0, 0]), np.array([True, True, False, True, False])
    found = confusion_of(label, act, BINARY)
    assert found is not None
    assert (found.outcomes, found.counts) == (("not failed", "failed"), ((1, 1), (1, 2)))
    wait, call = found.decisions
    assert (wait.decision, call.decision, call.outcomes) == ("wait", "call", ("failed",))
    assert [call.precision, call.recall, call.rows] == pytest.approx([2 / 3, 2 / 3, 3])


def test_what_never_occurs_has_no_precision_and_no_recall() -> None:
    found = confusion_of(np.array([ON_TIME]), np.array([WARN]), MULTICLASS)
    assert found is not None
    nothing, warn, call = found.decisions
    assert (nothing.rows, nothing.recall, warn.precision) == (1, 0.0, 0.0)
    assert np.isnan([nothing.precision, warn.recall, call.precision, call.recall]).all()


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_gates_come_with_the_decisions_of_the_holdout_window(task: str) -> None:
    one, artifact = prepared(task), synthetic_artifact(task)
    window = one.rows.iloc[one.windows.holdout]
    answers = answers_of(artifact, one.features.iloc[one.windows.holdout])
    baselines = {name: BASELINES[name] for name in one.contract.baselines}
    evidence = Evidence(baselines, (Probe("one", passed=True, sentence=""),), 0.1)
    found = run_gates(window, answers, "there is no champion yet", evidence, one.contract).confusion
    if task == "regression":
        assert found is None
        return
    assert found is not None
    counts, label = np.array(found.counts), labels_of(window, one.contract)
    decisions = range(counts.shape[1])
    assert counts.sum(axis=1).tolist() == [int((label == place).sum()) for place in range(len(counts))]
    assert counts.sum(axis=0).tolist() == [int((answers.decision == place).sum()) for place in decisions]
    assert sum(one.rows for one in found.decisions) == len(window)
