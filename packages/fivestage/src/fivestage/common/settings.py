"""Where a running project keeps what it writes, and how its libraries are told so."""

import os
from importlib.util import find_spec
from pathlib import Path

from fivestage.common.errors import UserError


def project_root() -> Path:
    """The project's folder: `FIVESTAGE_PROJECT`, else the one whose `problem` is imported, else this one."""
    if chosen := os.environ.get("FIVESTAGE_PROJECT"):
        return Path(chosen).resolve()
    found = find_spec("problem")
    return Path(found.origin).resolve().parents[1] if found and found.origin else Path.cwd()


ROOT = project_root()
VAR = Path(os.environ.get("FIVESTAGE_VAR", ROOT / "var")).resolve()
DEMO = VAR / "demo"  # the service that the demo lives with
PIPELINES_IMAGE = os.environ.get("FIVESTAGE_IMAGE", "fivestage-pipelines:latest")  # of steps that run in pods
RESULTS = VAR / "results"  # what each stage tells the page
REPORTS = Path(os.environ.get("FIVESTAGE_REPORTS", ROOT / "reports")).resolve()
WAREHOUSE = os.environ.get("FIVESTAGE_WAREHOUSE", str(VAR / "warehouse"))  # of tables in parts; a URL too
EVIDENTLY_WORKSPACE = os.environ.get("FIVESTAGE_EVIDENTLY", str(VAR / "evidently"))  # a folder, or a URL
MLFLOW_DATABASE = VAR / "mlflow" / "mlflow.db"
ZENML_DATABASE = VAR / "zenml" / "local_stores" / "default_zen_store" / "zenml.db"  # where its own tools look

_QUIET = {
    # No library calls home. Each name is read by the library named; MLflow wants the very word "true".
    "DO_NOT_TRACK": "true",  # evidently, mlflow
    "EVIDENTLY_DISABLE_TELEMETRY": "1",
    "ITERATIVE_DO_NOT_TRACK": "true",  # the telemetry package that evidently brings
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ZENML_ANALYTICS_OPT_IN": "false",
    # No chatter: run.py tells the progress.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "ZENML_ENABLE_RICH_TRACEBACK": "false",
    "ZENML_LOGGING_COLORS_DISABLED": "true",
    "ZENML_LOGGING_VERBOSITY": "CRITICAL",  # what fails in a step is raised as well
}


def prepare_environment() -> None:
    """Keep ZenML, MLflow and matplotlib inside the project, and all libraries quiet and offline.

    To be called before any of them is imported, for they read their settings on import. What the user's
    environment says goes first: a ZenML server (`ZENML_STORE_URL`) or an MLflow server
    (`MLFLOW_TRACKING_URI`) named there is used.

    Raises:
        UserError: the state folder cannot be written.
    """
    state = {
        "MPLCONFIGDIR": VAR / "matplotlib",
        "UV_CACHE_DIR": VAR / "uv",  # otherwise in the home
        "ZENML_CONFIG_PATH": VAR / "zenml",  # its artifacts too
        "ZENML_CUSTOM_SOURCE_ROOT": ROOT,  # otherwise the folder of whatever program is running
    }
    # A server with object storage would send us on to that, which a laptop or a workflow may not reach.
    os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")
    for name in ("MLFLOW_TRACKING_URI", "ZENML_STORE_URL"):
        if not os.environ.get(name):  # workflows and pods pass on what nobody has set as nothing
            os.environ.pop(name, None)
    if "MLFLOW_TRACKING_URI" not in os.environ:
        state["_MLFLOW_SERVER_ARTIFACT_ROOT"] = VAR / "mlflow" / "artifacts"  # otherwise ./mlruns
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{MLFLOW_DATABASE}"
    os.environ.setdefault("ZENML_STORE_URL", f"sqlite:///{ZENML_DATABASE}")
    for name, value in (_QUIET | {name: str(path) for name, path in state.items()}).items():
        os.environ.setdefault(name, value)
    ensure_writable(VAR)
    for database in (MLFLOW_DATABASE, ZENML_DATABASE):
        database.parent.mkdir(parents=True, exist_ok=True)


def ensure_writable(folder: Path) -> None:
    """Create the folder unless it is there, and make sure that files can be written into it.

    Raises:
        UserError: it cannot be created, or is read-only.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"Cannot write to the folder {folder} ({error.strerror}): make it writable, "
            "or name another with FIVESTAGE_VAR and FIVESTAGE_REPORTS."
        ) from error
