"""Stages 2 and 3: train, evaluate and promote a model."""

from typing import Any

from zenml import pipeline
from zenml.config import DockerSettings
from zenml.enums import ExecutionMode

from fivestage.common import settings
from steps.data import prepare_data, probe_feature_code, probe_for_leakage
from steps.model import evaluate_challenger, evaluate_on_test, find_version, promote_challenger, train_model
from steps.report import report_model

LAST_DAY = "9999-12-31"  # later than any row, so that partitioned tables are sampled over all days

IN_PODS: dict[str, Any] = {  # has no effect locally
    "docker": DockerSettings(
        parent_image=settings.PIPELINES_IMAGE,
        skip_build=True,
        allow_download_from_artifact_store=False,  # the image has the code, so nothing needs uploading
        allow_download_from_code_repository=False,
    )
}


@pipeline(execution_mode=ExecutionMode.FAIL_FAST, settings=IN_PODS)
def training(
    data: str,
    registry_key: str,
    as_of: str,
    champion: str,
    same_settings_as: str,
    from_scratch: bool = False,  # noqa: FBT001, FBT002 (ZenML passes it by name)
) -> None:
    """Train as of a day on the data with this hash, and promote the challenger if it passes the gates.

    `same_settings_as` names a version whose candidate is trained again; if it is empty, all candidates are
    compared. With `from_scratch` the challenger is not compared with the champion.
    """
    rows, event_tables, _, features = prepare_data(data, as_of, as_of)
    probes = probe_for_leakage(rows, features, probe_feature_code(rows, event_tables), as_of)
    version = train_model(rows, event_tables, features, as_of, data, registry_key, same_settings_as)
    verdict = evaluate_challenger(rows, features, version, probes, as_of, champion, from_scratch)
    promote_challenger(version, verdict, champion)


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def re_evaluation(data: str, version: str, as_of: str, champion: str) -> None:
    """Compare an already trained challenger with the champion as of a later day."""
    rows, event_tables, _, features = prepare_data(data, as_of, as_of)
    probes = probe_for_leakage(rows, features, probe_feature_code(rows, event_tables), as_of)
    challenger = find_version(version)
    promote_challenger(
        challenger, evaluate_challenger(rows, features, challenger, probes, as_of, champion), champion
    )


@pipeline(execution_mode=ExecutionMode.FAIL_FAST, settings=IN_PODS)
def evaluation(data: str, registry_key: str, version: str, as_of: str) -> None:
    """Evaluate a version on the test window after its training day, and write its model card."""
    rows, event_tables, ingested, features = prepare_data(data, as_of, LAST_DAY)
    probes = probe_for_leakage(rows, features, probe_feature_code(rows, event_tables), as_of)
    version_evaluation = evaluate_on_test(rows, event_tables, features, version, registry_key)
    report_model(rows, event_tables, ingested, probes, version, version_evaluation)
