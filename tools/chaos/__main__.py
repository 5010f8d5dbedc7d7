"""`make chaos`: each scenario on the cluster that KUBECONFIG names, and a table of what was seen."""

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
    everything,
    pod_names,
)
from tools.chaos.seen import Seen, table, troubles

PAGE, JSON = ROOT / "docs" / "kubernetes.md", REPORTS / "chaos.json"
NAMESPACE = "fivestage-chaos"


def main() -> None:
    """Play, tell, and fail where a promise was broken."""
    named = {one.what.replace(" ", "-"): one for one in SCENARIOS}
    parser = argparse.ArgumentParser(prog="python -m tools.chaos", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(named)}; by default all")
    asked = parser.parse_args().scenario
    if set(asked) - set(named):
        parser.error(f"there are {', '.join(named)}")
    prepare_environment()
    try:
        seen, where = play([named[name] for name in asked] or SCENARIOS)
    except UserError as error:
        sys.exit(str(error))
    text = table(seen, PER_SECOND, where)
    print(text)
    if not asked:
        JSON.parent.mkdir(parents=True, exist_ok=True)
        JSON.write_text(json.dumps([asdict(one) for one in seen], indent=1), encoding="utf-8")
        write_between(PAGE, "chaos", text)
    sys.exit("\n".join(trouble for one in seen for trouble in troubles(one)) or None)


def play(chosen: Sequence[Scenario]) -> tuple[list[Seen], str]:
    """Each scenario under a load of its own, in a namespace that goes when they are over; and where it was.

    Raises:
        UserError: when there is no cluster, or something there went otherwise than it was to.
    """
    from fivestage.registry.versions import ModelRegistry

    if not os.environ.get("KUBECONFIG"):
        raise UserError("Name the cluster: KUBECONFIG=FILE make chaos. None is taken by accident.")
    contract = PROBLEM.contract
    registry = ModelRegistry(contract.name)
    champion = registry.require_champion()
    stage = Stage(Cluster(NAMESPACE), ReleasedModel.of(registry, champion.version), contract)
    releases.HISTORY = REPORTS / "chaos-releases.jsonl"  # the operator's own is not about this
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
        return found, place(stage)
    finally:
        Cluster("default").delete("namespace", NAMESPACE)


def place(stage: Stage) -> str:
    """The cluster in words."""
    server = json.loads(stage.cluster.run("version", "--output=json"))["serverVersion"]["gitVersion"]
    nodes, pods = everything(stage, "nodes"), pod_names(stage)
    day = datetime.now(UTC).date().isoformat()
    return f"Kubernetes {server}, nodes: {len(nodes)}, pods: {len(pods)}, {day}"


if __name__ == "__main__":
    main()
