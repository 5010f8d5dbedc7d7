import datetime as dt
from pathlib import Path

import pytest
from pydantic import ValidationError

from fivestage.capacity.cost import costs, nodes
from fivestage.capacity.inputs import (
    PRICES,
    UNVERIFIED,
    Assumptions,
    Capacity,
    Price,
    Prices,
    Resources,
    read,
    read_capacity,
)
from fivestage.capacity.plan import CORE, floor_ms, plan, queue_p99_ms
from fivestage.capacity.size import plan_page
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract
from tests.synthetic import synthetic_problem

CONTRACT = synthetic_problem("binary").contract
ASSUMED = Assumptions(
    replica_availability=0.995,
    growth=4,
    growth_while_scaling=1.3,
    mean_of_peak=0.5,
    cpu_step_millicores=50,
    memory_step_mib=32,
    memory_times=2,
    log_days=90,
    pipelines=Resources(cpu_millicores=1000, memory_mib=2048),
    training_times=3,
    node_left=0.85,
)
CAPACITY = Capacity(
    measured=dt.date(2026, 1, 1),
    machine="a test's",
    row_cpu_ms=1.0,
    rate=500,
    p99_ms=11.0,
    most_per_s=950,
    batch_rows=1000,
    batch_cpu_ms=10,
    idle_cpu=0.0,
    start_cpu_s=1,
    memory_mb=100,
    logged_bytes=400,
)


def promising(**changes: float) -> Contract:
    return CONTRACT.model_copy(update={"service": CONTRACT.service.model_copy(update=changes)})


def test_more_requests_take_more_replicas_and_all_of_them_keep_the_objective() -> None:
    plans = [
        plan(promising(requests_per_second=rate), CAPACITY, ASSUMED) for rate in (10, 1000, 5000, 50_000)
    ]
    assert [one.needed for one in plans] == sorted({one.needed for one in plans})
    for one in plans:
        assert one.p99_ms <= one.p99_degraded_ms <= CONTRACT.service.p99_ms
        assert one.available >= CONTRACT.service.availability
        assert one.needed < one.replicas < one.most


def p99_with(replicas: int) -> float:
    return floor_ms(CAPACITY) + queue_p99_ms(CAPACITY, CORE, 5000, replicas)


def test_one_replica_less_would_not_do() -> None:
    one = plan(promising(requests_per_second=5000), CAPACITY, ASSUMED)
    assert 5000 / (one.needed - 1) > one.per_replica >= 5000 / one.needed
    assert one.p99_degraded_ms <= CONTRACT.service.p99_ms < p99_with(one.needed - 1)


def test_a_higher_availability_takes_more_spare_replicas() -> None:
    spare = [
        one.replicas - one.needed
        for one in (plan(promising(availability=share), CAPACITY, ASSUMED) for share in (0.9, 0.999, 0.99999))
    ]
    assert spare == [0, 1, 2]


def test_a_stricter_tail_takes_more_cpu() -> None:
    cpu = [plan(promising(p99_ms=p99), CAPACITY, ASSUMED).cpu_millicores for p99 in (12, 25, 200)]
    assert cpu == sorted(set(cpu), reverse=True)


def test_what_no_replica_can_keep_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"service.p99_ms of 1 cannot be met: 1.8 ms of the p99"):
        plan(promising(p99_ms=1), CAPACITY, ASSUMED)
    with pytest.raises(UserError, match="more than the maximum of 1,000"):
        plan(promising(requests_per_second=1e7), CAPACITY, ASSUMED)


def test_an_availability_that_no_replicas_reach_is_a_sentence() -> None:
    weak = ASSUMED.model_copy(update={"replica_availability": 0.01})
    with pytest.raises(UserError, match=r"service.availability of 0.999 needs more than 100 spare replicas"):
        plan(promising(requests_per_second=5000), CAPACITY, weak)


def test_a_slower_service_costs_more_on_every_cloud() -> None:
    prices, contract = read(Prices, PRICES), promising(requests_per_second=20_000)
    slow = CAPACITY.model_copy(update={"row_cpu_ms": 2.0, "rate": 250})
    for one, other in zip(
        *(costs(contract, plan(contract, held, ASSUMED), held, ASSUMED, prices) for held in (CAPACITY, slow)),
        strict=True,
    ):
        assert one.total < other.total
        assert one.by_request < one.items["nodes"]


def test_the_pods_fit_on_the_machines_that_are_paid_for() -> None:
    chosen = plan(promising(requests_per_second=20_000), CAPACITY, ASSUMED)
    for cloud in read(Prices, PRICES).clouds.values():
        room = nodes(cloud, chosen, ASSUMED) * cloud.node.cpu * 1000 * ASSUMED.node_left
        assert room >= chosen.replicas * chosen.cpu_millicores + ASSUMED.pipelines.cpu_millicores


def test_what_was_not_measured_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run `make bench-serving`"):
        read_capacity(tmp_path / "none.json")


def with_source(prices: Prices, name: str, source: str) -> Prices:
    """The same prices, that of this cloud's disks from there and all others from a page."""
    clouds = {
        other: cloud.model_copy(
            update={
                field: price.model_copy(
                    update={"source": source if (other, field) == (name, "disk_gib") else "https://a.page"}
                )
                for field, price in cloud
                if isinstance(price, Price)
            }
        )
        for other, cloud in prices.clouds.items()
    }
    return prices.model_copy(update={"clouds": clouds})


def starred(prices: Prices) -> list[str]:
    chosen = plan(CONTRACT, CAPACITY, ASSUMED)
    found = costs(CONTRACT, chosen, CAPACITY, ASSUMED, prices)
    lines = plan_page(CONTRACT, CAPACITY, chosen, ASSUMED, found, prices).splitlines()
    return [line.partition(",")[0].removeprefix("| ") for line in lines if " * |" in line]


def test_a_cloud_with_a_price_that_nobody_can_look_up_carries_a_star() -> None:
    prices = read(Prices, PRICES)
    for name in prices.clouds:
        assert starred(with_source(prices, name, UNVERIFIED + "from memory")) == [name]
        assert starred(with_source(prices, name, "https://a.page")) == []


def test_every_price_has_a_day_and_a_source_to_look_it_up_or_says_that_it_has_none() -> None:
    for price in read(Prices, PRICES).items:
        assert price.source.startswith("https://" if price.verified else UNVERIFIED)
        assert price.day <= dt.datetime.now(dt.UTC).date()


@pytest.mark.parametrize(
    "dates", [{}, {"as_of": dt.date(2026, 1, 1), "read": dt.date(2026, 1, 2)}], ids=["none", "both"]
)
def test_a_price_takes_one_day(dates: dict[str, dt.date]) -> None:
    with pytest.raises(ValidationError, match="set either as_of or read, but not both"):
        Price.model_validate({"what": "a disk", "source": "https://a.page", "per_month": 1} | dates)


@pytest.mark.parametrize("amounts", [{}, {"per_hour": 1.0, "per_month": 730.0}], ids=["none", "both"])
def test_a_price_takes_one_amount(amounts: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="set either per_hour or per_month, but not both"):
        Price.model_validate({"what": "a disk", "source": "https://a.page", "as_of": "2026-01-01"} | amounts)
