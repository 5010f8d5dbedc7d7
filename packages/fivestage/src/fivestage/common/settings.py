"""Paths that a running project writes to, and environment variables that make its libraries use them."""

import os
from importlib.util import find_spec
from pathlib import Path

from fivestage.common.errors import UserError


def project_root() -> Path:
    """The project's folder: `FIVESTAGE_PROJECT`, else that of the package `problem`, else the current one."""
    if chosen := os.environ.get("FIVESTAGE_PROJECT"):
        return Path(chosen).resolve()
    spec = find_spec("problem")
    return Path(spec.origin).resolve().parents[1] if spec and spec.origin else Path.cwd()


ROOT = project_root()
VAR = Path(os.environ.get("FIVESTAGE_VAR", ROOT / "var")).resolve()
# State of the service, and of the loop that monitors it.
SERVING = Path(os.environ.get("SERVE_FOLDER") or VAR / "serving").resolve()
DEMO = VAR / "demo"  # state of the demo's service
PIPELINES_IMAGE = os.environ.get("FIVESTAGE_IMAGE", "fivestage-pipelines:latest")  # of steps in pods
RESULTS = VAR / "results"  # of each stage, for the report
REPORTS = Path(os.environ.get("FIVESTAGE_REPORTS", ROOT / "reports")).resolve()
WAREHOUSE = os.environ.get("FIVESTAGE_WAREHOUSE", str(VAR / "warehouse"))  # partitioned tables; or a URL
EVIDENTLY_WORKSPACE = os.environ.get("FIVESTAGE_EVIDENTLY", str(VAR / "evidently"))  # a folder, or a URL
MLFLOW_DATABASE = VAR / "mlflow" / "mlflow.db"
ZENML_DATABASE = VAR / "zenml" / "local_stores" / "default_zen_store" / "zenml.db"  # as ZenML expects

_QUIET = {
    # No telemetry. MLflow accepts only the value "true".
    "DO_NOT_TRACK": "true",  # evidently, mlflow
    "EVIDENTLY_DISABLE_TELEMETRY": "1",
    "ITERATIVE_DO_NOT_TRACK": "true",  # the telemetry package that evidently depends on
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ZENML_ANALYTICS_OPT_IN": "false",
    # No progress messages of the libraries: run.py reports the progress.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "ZENML_ENABLE_RICH_TRACEBACK": "false",
    "ZENML_LOGGING_COLORS_DISABLED": "true",
    "ZENML_LOGGING_VERBOSITY": "CRITICAL",  # errors in steps are also raised
}


def prepare_environment() -> None:
    """Keep the files of ZenML, MLflow and matplotlib inside the project, and turn off logging and telemetry.

    Call this before importing any of these libraries, because they read their settings on import. Variables
    that the user has set take precedence, such as the address of a ZenML server (`ZENML_STORE_URL`) or of an
    MLflow server (`MLFLOW_TRACKING_URI`).

    Raises:
        UserError: when the state folder cannot be written.
    """
    state = {
        "MPLCONFIGDIR": VAR / "matplotlib",
        "UV_CACHE_DIR": VAR / "uv",  # otherwise in the home directory
        "ZENML_CONFIG_PATH": VAR / "zenml",  # holds its artifacts too
        "ZENML_CUSTOM_SOURCE_ROOT": ROOT,  # otherwise the folder of the running script
    }
    # An MLflow server would otherwise redirect downloads to its object storage, which may be out of reach.
    os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")
    for name in ("MLFLOW_TRACKING_URI", "ZENML_STORE_URL"):
        if not os.environ.get(name):  # workflows and pods pass unset variables on as empty ones
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
    """Create the folder if it does not exist, and check that files can be written to it.

    Raises:
        UserError: when it cannot be created, or is read-only.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"Cannot write to the folder {folder} ({error.strerror}): make it writable, "
            "or choose another with FIVESTAGE_VAR and FIVESTAGE_REPORTS."
        ) from error
