"""A registered version, prepared for any kind of deployment."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fivestage.deployment.service_client import SmokeRows, json_rows
from fivestage.features.definitions import FeatureDefinitions
from fivestage.registry.versions import ModelRegistry


@dataclass(frozen=True)
class ReleasedModel:
    """A registered version with smoke rows and the predictions expected for them."""

    version: str  # the version's number in the registry
    digest: str  # SHA-256 of its artifact
    contract: str  # SHA-256 of the contract that it was trained on
    commit: str  # commit of the training code
    folder: Path  # folder of its artifact
    expected: SmokeRows

    @classmethod
    def of(
        cls, registry: ModelRegistry, version: str, definitions: FeatureDefinitions | None = None
    ) -> "ReleasedModel":
        """Load a registered version with the smoke rows and predictions in its artifact.

        Raise a `UserError` if the registry lacks the version, or the definitions (if given) lack a feature.
        """
        found, artifact = registry.open(version, definitions)
        rows = json_rows(pd.DataFrame([one.row for one in artifact.smoke]), artifact.contract.columns)
        expected = SmokeRows(rows, [one.forecast for one in artifact.smoke], found.digest)
        contract = artifact.lineage.contract
        return cls(version, found.digest, contract, found.commit, registry.fetch(version), expected)
