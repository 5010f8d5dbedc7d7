"""The interface between a project and the library: contract, tables, features and candidates."""

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
    """The cleaned tables of a project.

    `rows`: one per decision: contract's columns, `decision_at`, label, `known_at`; by decision and identity.
    `events`: a frame for each of the contract's events, sorted by the time at which they became known.
    `reference`: static tables, by column, then key.
    `rejected`: invalid values, by table and line of the file; `kept` if only the value was set to missing.
    `quality`: counts and shares for the report.
    """

    rows: pd.DataFrame
    events: dict[str, pd.DataFrame]
    reference: dict[str, dict[str, Any]]
    rejected: pd.DataFrame
    quality: dict[str, float]


class Problem(Protocol):
    """A business problem: the object through which the library calls a project's own code.

    `problem/__init__.py` of a project builds it. Its methods import what needs pandas, so that the service
    runs without pandas.
    """

    @property
    def contract(self) -> Contract:
        """The typed `problem.yaml`."""
        ...

    @property
    def features(self) -> FeatureDefinitions:
        """What events add to the logs, and the feature sets computed from them."""
        ...

    def candidates(self, rows: int, text: Sequence[str]) -> Mapping[str, Any]:
        """The candidate models: unfitted scikit-learn estimators by name, cheapest first.

        Args:
            rows: number of rows to learn from.
            text: names of the text features, which estimators receive as codes of their values.
        """
        ...

    def digest(self) -> str:
        """SHA-256 of the raw data; when it changes, cached results are not used."""
        ...

    def load(self, contract: Contract, part: str = "") -> Tables:
        """Load the cleaned tables, complete or one part of them.

        Raises:
            UserError: when a table cannot be read, or the contract requires something that the tables lack.
        """
        ...

    def parts(self) -> tuple[str, ...]:
        """The names of the parts of the raw data; none if the tables are not partitioned."""
        ...

    def read_batch(self, source: str, contract: Contract) -> pd.DataFrame | None:
        """Read rows to score from a table with its own headers; None for a table with the contract's."""
        ...
