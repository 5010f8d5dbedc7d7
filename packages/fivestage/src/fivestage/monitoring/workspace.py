"""Evidently's workspace: the runs of all periods, with a dashboard."""

from functools import cache
from typing import Any
from uuid import uuid5

from evidently.core.report import Snapshot
from evidently.sdk.models import PanelMetric
from evidently.sdk.panels import bar_plot_panel, line_plot_panel
from evidently.ui.workspace import Project, RemoteWorkspace, Workspace, WorkspaceBase

from fivestage.common.settings import EVIDENTLY_WORKSPACE
from fivestage.monitoring.evidently_drift import DRIFTED_COLUMNS, INPUTS, LABELS, SCORE


@cache  # opening a workspace reads all its runs, which takes longer than the checks of a period
def open_workspace(place: str) -> WorkspaceBase:
    """Open the workspace in a folder, which is created if necessary, or on a server by its URL."""
    return RemoteWorkspace(place) if "://" in place else Workspace.create(place)


def add_run(name: str, snapshot: Snapshot, place: str = EVIDENTLY_WORKSPACE) -> None:
    """Add a period's run to the project `name`, replacing one of the same name from an earlier attempt.

    Args:
        name: The project's name; the project is created with its dashboard if necessary.
        snapshot: The report's run, which has the period's name.
        place: A folder or a server's URL.
    """
    workspace = open_workspace(place)
    project = _project(workspace, name)
    # The run's ID is derived from its name, so that a repeated run replaces it.
    if isinstance(workspace, Workspace):
        run_id = uuid5(project.id, str(snapshot.get_name()))
        workspace.state.write_snapshot(project.id, run_id, snapshot.to_snapshot_model())
    else:  # Evidently's server assigns IDs itself and cannot list its runs
        workspace.add_run(project.id, snapshot)


def _project(workspace: WorkspaceBase, name: str) -> Project:
    existing = [one for one in workspace.search_project(name) if one.name == name]
    if existing:
        return existing[0]
    project = workspace.create_project(name)
    for panel in _panels():
        project.dashboard.add_panel(panel)
    return project


def _panels() -> list[Any]:
    """Return the dashboard's panels over all periods."""

    def drifted(check: str) -> PanelMetric:
        labels = {"check": check, "statistic": DRIFTED_COLUMNS}
        return PanelMetric(metric="DriftStatistic", metric_labels=labels, legend=check)

    quality = [PanelMetric(metric=one, legend=one) for one in ("RocAuc", "LogLoss", "Accuracy", "MAE")]
    bias = PanelMetric(metric="ScoreLimit", metric_labels={"score": "bias"}, legend="bias beyond chance")
    return [
        bar_plot_panel(
            "Columns that drifted", [drifted(one) for one in (INPUTS, SCORE, LABELS)], size="half"
        ),
        bar_plot_panel("Bias that chance does not explain", [bias], size="half"),
        line_plot_panel("Quality on the labels that have arrived", quality, size="half"),
        line_plot_panel("Rows", [PanelMetric(metric="RowCount", legend="rows")], size="half"),
    ]
