"""A registered version as a deployment needs it, wherever it is to serve."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fivestage.deployment.service_client import SmokeRows, json_rows
from fivestage.features.definitions import FeatureDefinitions
from fivestage.registry.versions import ModelRegistry


@dataclass(frozen=True)
class ReleasedModel:
    """A version in the registry, and raw rows with the predictions that it must answer them with."""

    version: str  # its version in the registry
    digest: str  # SHA-256 of its artifact
    contract: str  # SHA-256 of the contract that it was trained by
    commit: str  # of the code that trained it
    folder: Path  # of its artifact
    expected: SmokeRows

    @classmethod
    def of(
        cls, registry: ModelRegistry, version: str, definitions: FeatureDefinitions | None = None
    ) -> "ReleasedModel":
        """Return a registered version with the rows and predictions that its artifact carries.

        Args:
            registry: That has it.
            version: Its number there.
            definitions: The features that it would be served with; by default they are not compared.

        Returns:
            The version as a release needs it.

        Raises:
            UserError: When the registry does not have it, or it uses a feature that the definitions lack.
        """
        found, artifact = registry.open(version, definitions)
        rows = json_rows(pd.DataFrame([one.row for one in artifact.smoke]), artifact.contract.columns)
        expected = SmokeRows(rows, [one.forecast for one in artifact.smoke])
        contract = artifact.lineage.contract
        return cls(version, found.digest, contract, found.commit, registry.fetch(version), expected)
