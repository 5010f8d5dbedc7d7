"""The business problem, the only folder that a project of your own must change; `PROBLEM` represents it."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fivestage.contract.contract import Contract
from fivestage.features.definitions import FeatureDefinitions
from fivestage.features.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from fivestage.features.problem import Tables


class ProjectProblem:
    """This project's `Problem`; methods import what needs pandas, because the service runs without pandas."""

    @cached_property
    def contract(self) -> Contract:
        """The typed `problem.yaml`."""
        return Contract.load(Path(__file__).with_name("problem.yaml"))

    @property
    def features(self) -> FeatureDefinitions:
        """See `problem/features.py`."""
        from problem.features import FEATURES

        return FEATURES

    def candidates(self, rows: int, text: "Sequence[str]") -> "Mapping[str, Any]":
        """See `problem/candidates.py`."""
        from problem.candidates import candidates

        return candidates(rows, text)

    def digest(self) -> str:
        """See `problem/dataset.py`."""
        from problem import dataset

        return dataset.digest()

    def load(self, contract: Contract, part: str = "") -> "Tables":
        """See `problem/dataset.py`."""
        from problem import dataset

        return dataset.load(contract, part)

    def parts(self) -> tuple[str, ...]:
        """See `problem/dataset.py`."""
        from problem import dataset

        return dataset.parts()

    def read_batch(self, source: str, contract: Contract) -> "pd.DataFrame | None":
        """See `problem/dataset.py`."""
        from problem import dataset

        return dataset.read_batch(source, contract)


PROBLEM: Problem = ProjectProblem()
