"""The project's alert rules as a resource of the Prometheus Operator, written by `make alerts`."""

from textwrap import indent

from fivestage.common.files import write_text
from fivestage.common.settings import ROOT

FOLDER = ROOT / "monitoring"
HEAD = """# Generated from rules.yaml by `make alerts`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: fivestage
  labels: {app.kubernetes.io/name: fivestage, app.kubernetes.io/part-of: fivestage}
spec:
"""


def operator_rules() -> str:
    """Return the rules in `monitoring/rules.yaml` as a `PrometheusRule`."""
    return HEAD + indent((FOLDER / "rules.yaml").read_text(encoding="utf-8"), "  ")


def write_operator_rules() -> None:
    """Write the rules to `monitoring/prometheus_rule.yaml`."""
    write_text(FOLDER / "prometheus_rule.yaml", operator_rules())
