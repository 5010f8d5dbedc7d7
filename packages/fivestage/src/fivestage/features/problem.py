"""What a project tells the library: its contract, its tables, its features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fivestage.contract.contract import Contract
from fivestage.features.definitions import FeatureDefinitions

if TYPE_CHECKING:
    import pandas as pd  # the service loads a problem without it


@dataclass(frozen=True)
class Tables:
    """Cleaned tables.

    `rows`: one a decision: contract's columns, `decision_at`, label, `known_at`; by decision and identity.
    `events`: the frames of the contract's events, each by the moment it is known.
    `reference`: what does not change.
    `rejected`: what was not believed, by table and line of its file; `kept` if only a value was set missing.
    `quality`: counts and shares for the report.
    """

    rows: pd.DataFrame
    events: dict[str, pd.DataFrame]
    reference: dict[str, dict[str, Any]]
    rejected: pd.DataFrame
    quality: dict[str, float]


class Problem(Protocol):
    """The business problem that a project is about: the one object through which its own code is called.

    `problem/__init__.py` of a project builds it. What needs pandas is imported within its methods, so that
    the service can do without.
    """

    @property
    def contract(self) -> Contract:
        """The typed `problem.yaml`."""
        ...

    @property
    def features(self) -> FeatureDefinitions:
        """What events add to the log, and the feature sets computed from it."""
        ...

    def candidates(self, rows: int, text: Sequence[str]) -> Mapping[str, Any]:
        """The models that are tried: unfitted scikit-learn estimators by name, cheap ones first.

        Args:
            rows: how many there are to learn from.
            text: the names of the features that are text, which estimators see as numbers of their values.
        """
        ...

    def digest(self) -> str:
        """SHA-256 of the raw data: another one, and nothing is taken from a cache."""
        ...

    def load(self, contract: Contract, part: str = "") -> Tables:
        """The cleaned tables, with all their parts or of a part alone.

        Raises:
            UserError: a table cannot be read, or the contract asks for what the tables do not have.
        """
        ...

    def parts(self) -> tuple[str, ...]:
        """The names of the raw tables' parts; none where they are whole."""
        ...

    def read_batch(self, source: str, contract: Contract) -> pd.DataFrame | None:
        """Rows to score, from a table with headers of its own; None for a table with the contract's."""
        ...
