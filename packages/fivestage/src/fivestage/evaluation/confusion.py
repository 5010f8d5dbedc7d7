"""Confusion matrix of decisions, with the precision and recall of each."""

from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from fivestage.contract.contract import BinaryContract, Contract, MulticlassContract
from fivestage.contract.cost_model import cost_model_of
from fivestage.evaluation.gates import ConfusionMatrix, DecisionScores


def confusion_of(label: Any, decision: Any, contract: Contract) -> ConfusionMatrix | None:
    """Count decisions by outcome and score them; the costs say which decision is right for an outcome."""
    match contract:
        case BinaryContract():
            name = contract.label.name.replace("_", " ")
            outcomes: tuple[str, ...] = (f"not {name}", name)
            decisions: tuple[str, ...] = (contract.decision.wait, contract.decision.act)
        case MulticlassContract():
            outcomes, decisions = contract.label.classes, tuple(contract.costs.actions)
        case _:
            return None
    truth, taken = np.arange(len(outcomes)), np.asarray(decision, dtype=np.int64)
    price = cost_model_of(contract.costs).price
    costs = [price(truth, np.full(len(truth), place)) for place in range(len(decisions))]
    right = np.argmin(costs, axis=0)  # of each outcome
    both = np.arange(max(len(outcomes), len(decisions)))
    counts = confusion_matrix(label, taken, labels=both)[: len(outcomes), : len(decisions)]
    precision, recall, _, rows = precision_recall_fscore_support(
        right[label], taken, labels=np.arange(len(decisions)), zero_division=np.nan
    )
    return ConfusionMatrix(
        outcomes,
        tuple(tuple(row) for row in counts.tolist()),
        tuple(
            DecisionScores(
                name,
                tuple(outcomes[index] for index in np.flatnonzero(right == place)),
                float(precision[place]),
                float(recall[place]),
                int(rows[place]),
            )
            for place, name in enumerate(decisions)
        ),
    )
