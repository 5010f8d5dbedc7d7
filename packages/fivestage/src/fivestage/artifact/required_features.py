"""Checks that a project still has the features that an artifact was trained with."""

from collections.abc import Collection, Sequence

from fivestage.artifact.artifact import Artifact, FormatError
from fivestage.artifact.extremes import example_row
from fivestage.common.errors import UserError
from fivestage.features.checked_view import CheckedRow, UnknownColumnError
from fivestage.features.definitions import FeatureDefinitions
from fivestage.features.stores import OnlineFeatureStore


class MissingFeatureError(FormatError):
    """A version was trained with features that the project no longer has, such as `feature amount`."""

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(
            f"The project no longer has {', '.join(missing)}, which this version was trained with. Train "
            "again (`make train`), or restore it in problem/features.py."
        )


def require_names(artifact: Artifact, names: Collection[str]) -> None:
    """Check that the names include all features of an artifact.

    Raises:
        MissingFeatureError: if one is missing.
    """
    missing = [f"feature {name}" for name in artifact.features if name not in names]
    if missing:
        raise MissingFeatureError(missing)


def require_features(artifact: Artifact, definitions: FeatureDefinitions) -> None:
    """Check that a project still has an artifact's feature sets and features.

    Args:
        artifact: the artifact to be used.
        definitions: the project's features; they are computed for the contract's example row.

    Raises:
        MissingFeatureError: if a feature set or a feature is missing.
        FormatError: if a feature set reads a column that the artifact's contract lacks.
    """
    missing = [f"feature set {name}" for name in artifact.sets if name not in definitions.sets]
    if missing:
        raise MissingFeatureError(missing)
    row, decision = example_row(artifact.contract), artifact.contract.decision
    at = row[decision.time_column] - decision.lead_seconds
    past, names = OnlineFeatureStore(), set[str]()
    for name in artifact.sets:
        try:
            names |= definitions.compute([name], CheckedRow(row, name), at, past, artifact.reference).keys()
        except UnknownColumnError as error:
            raise FormatError(
                f"{error.reads}, which is not a column of the contract that this version was trained with: "
                "only its columns are known at the decision. If problem.yaml has it now, train a new version "
                "(`make train`), or read the column in a new feature set, which this version does not use."
            ) from error
        except UserError:
            raise
        except Exception:  # noqa: BLE001 (such as a division by zero: reported when a row is predicted)
            return
    require_names(artifact, names)
