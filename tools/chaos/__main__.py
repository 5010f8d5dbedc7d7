"""`make chaos`: run each scenario on the cluster of KUBECONFIG, and write a table of the results."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from fivestage.common.errors import UserError
from fivestage.common.files import write_between
from fivestage.common.settings import REPORTS, ROOT, prepare_environment
from fivestage.deployment import releases
from fivestage.deployment.kubectl import Cluster
from fivestage.deployment.released_model import ReleasedModel
from problem import PROBLEM
from tools.chaos.load import PER_SECOND, under_load
from tools.chaos.scenarios import (
    SCENARIOS,
    Scenario,
    SkippedError,
    Stage,
    all_objects,
    pod_names,
)
from tools.chaos.seen import Seen, broken_promises, table

PAGE, JSON = ROOT / "docs" / "kubernetes.md", REPORTS / "chaos.json"
NAMESPACE = "fivestage-chaos"


def main() -> None:
    """Run scenarios, print the table, and fail if a promise was broken."""
    by_name = {one.what.replace(" ", "-"): one for one in SCENARIOS}
    parser = argparse.ArgumentParser(prog="python -m tools.chaos", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"one or more of {', '.join(by_name)} (all)")
    selected = parser.parse_args().scenario
    if set(selected) - set(by_name):
        parser.error(f"unknown scenario: choose from {', '.join(by_name)}")
    prepare_environment()
    try:
        seen, cluster = run([by_name[name] for name in selected] or SCENARIOS)
    except UserError as error:
        sys.exit(str(error))
    text = table(seen, PER_SECOND, cluster)
    print(text)
    if not selected:
        JSON.parent.mkdir(parents=True, exist_ok=True)
        JSON.write_text(json.dumps([asdict(one) for one in seen], indent=1), encoding="utf-8")
        write_between(PAGE, "chaos", text)
    sys.exit("\n".join(problem for one in seen for problem in broken_promises(one)) or None)


def run(chosen: Sequence[Scenario]) -> tuple[list[Seen], str]:
    """Run each scenario under load in a temporary namespace; return the results, and the cluster in words."""
    from fivestage.registry.versions import ModelRegistry

    if not os.environ.get("KUBECONFIG"):
        raise UserError(
            "Set KUBECONFIG to choose a cluster; there is no default: KUBECONFIG=FILE make chaos."
        )
    contract = PROBLEM.contract
    registry = ModelRegistry(contract.name)
    champion = registry.require_champion()
    stage = Stage(Cluster(NAMESPACE), ReleasedModel.of(registry, champion.version), contract)
    releases.HISTORY = REPORTS / "chaos-releases.jsonl"  # separate from the operator's own history
    found = [Seen(one.what, one.why) for one in chosen]
    try:
        stage.release(stage.model)
        for one, seen in zip(chosen, found, strict=True):
            print(f"{one.what} ...", flush=True)
            try:
                with under_load(stage.cluster, seen, stage.model.expected.rows):
                    one.happen(stage)
            except SkippedError as reason:
                seen.skipped = str(reason)
            print(f"  {seen}", flush=True)
        return found, describe_cluster(stage)
    finally:
        Cluster("default").delete("namespace", NAMESPACE)


def describe_cluster(stage: Stage) -> str:
    """Describe the cluster."""
    server = json.loads(stage.cluster.run("version", "--output=json"))["serverVersion"]["gitVersion"]
    nodes, pods = all_objects(stage, "nodes"), pod_names(stage)
    day = datetime.now(UTC).date().isoformat()
    return f"Kubernetes {server}, nodes: {len(nodes)}, pods: {len(pods)}, {day}"


if __name__ == "__main__":
    main()
