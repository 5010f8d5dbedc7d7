"""The manifests follow from the contract: a change of the contract requires `make size`."""

from pathlib import Path

import pytest

from fivestage.capacity.inputs import ASSUMPTIONS, Assumptions, read, read_capacity
from fivestage.capacity.patches import every_days, patches, require_current, write
from fivestage.capacity.plan import plan
from fivestage.capacity.size import PAGE, sized
from fivestage.common.errors import UserError
from problem import PROBLEM
from tools.tests.k8s.rendering import named, pod_template, rendered

ASSUMED = read(Assumptions, ASSUMPTIONS)


def texts(requests_per_second: float) -> dict[str, str]:
    contract = PROBLEM.contract
    service = contract.service.model_copy(update={"requests_per_second": requests_per_second})
    contract = contract.model_copy(update={"service": service})
    return patches(contract, plan(contract, read_capacity(), ASSUMED), ASSUMED)


def test_the_manifests_are_sized() -> None:
    require_current(sized(PROBLEM.contract)[0])


def test_the_page_tells_the_same() -> None:
    _, text = sized(PROBLEM.contract)
    assert text in PAGE.read_text(encoding="utf-8").partition("<!-- sized: begin -->")[2], "run `make size`"


def test_a_contract_that_has_changed_asks_for_make_size() -> None:
    with pytest.raises(UserError, match=r"kustomization.yaml no longer matches .*: run `make size`"):
        require_current(texts(requests_per_second=50_000))


def test_make_size_settles_it(tmp_path: Path) -> None:
    busier = texts(requests_per_second=50_000)
    with pytest.raises(UserError):
        require_current(busier, tmp_path)
    write(busier, tmp_path)
    require_current(busier, tmp_path)


def test_the_numbers_reach_the_cluster() -> None:
    chosen = plan(PROBLEM.contract, read_capacity(), ASSUMED)
    resources = rendered("base")
    scaler = named(resources, "HorizontalPodAutoscaler", "fivestage")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (chosen.replicas, chosen.most)
    (container,) = pod_template(named(resources, "Deployment", "fivestage"))["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == f"{chosen.cpu_millicores}m"
    monitor, retrain = (
        named(resources, "CronJob", f"fivestage-{verb}")["spec"] for verb in ("monitor", "retrain")
    )
    assert monitor["schedule"] == every_days(PROBLEM.contract.monitoring.period_days, 6)
    begun, ended = (int(job["schedule"].split()[1]) for job in (monitor, retrain))
    assert begun * 3600 + monitor["jobTemplate"]["spec"]["activeDeadlineSeconds"] <= ended * 3600
    (container,) = retrain["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["command"][-1] == "--if-asked"


@pytest.mark.parametrize(
    ("days", "said"), [(1, "* * *"), (3, "* * *"), (7, "* * 1"), (14, "* * *"), (30, "1 * *")]
)
def test_periods_as_cron_says_them(days: int, said: str) -> None:
    assert every_days(days, 6) == f"0 6 {said}"
