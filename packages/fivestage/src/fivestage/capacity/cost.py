"""What a plan costs a month, at list prices."""

import math
from dataclasses import dataclass

from fivestage.capacity.assumptions import Assumptions, Cloud, Prices
from fivestage.capacity.measured import Capacity
from fivestage.capacity.plan import CapacityPlan
from fivestage.contract.contract import Contract

GIB = 2**30
MONTH = 365.25 / 12 * 86400  # seconds
DISKS_GIB = 10  # of the pipelines' volume


@dataclass(frozen=True)
class Cost:
    """A month on one cloud, in USD."""

    cloud: str  # its name
    region: str  # whose prices these are
    nodes: int  # number of machines
    items: dict[str, float]  # USD by what is paid for
    by_request: float  # USD for the share of the machines that the serving pods request

    @property
    def total(self) -> float:
        """The sum of all items."""
        return sum(self.items.values())


def predictions(contract: Contract, assumed: Assumptions) -> float:
    """Return the rows answered in a month, one a request."""
    return contract.service.requests_per_second * assumed.mean_of_peak * MONTH


def log_gib(contract: Contract, capacity: Capacity, assumed: Assumptions) -> float:
    """Return the GiB that the log grows to."""
    kept = predictions(contract, assumed) * assumed.log_days * 86400 / MONTH
    return kept * capacity.logged_bytes / GIB


def nodes(cloud: Cloud, plan: CapacityPlan, assumed: Assumptions) -> int:
    """Return the machines for the replicas and one job, at least one for each of two replicas."""
    cpu = plan.replicas * plan.cpu_millicores + assumed.pipelines.cpu_millicores
    memory = plan.replicas * plan.memory_mib + assumed.pipelines.memory_mib
    by_cpu = cpu / (cloud.node.cpu * 1000 * assumed.node_left)
    by_memory = memory / (cloud.node.memory_gib * 1024 * assumed.node_left)
    return max(min(plan.replicas, 2), math.ceil(max(by_cpu, by_memory)))


def costs(
    contract: Contract, plan: CapacityPlan, capacity: Capacity, assumed: Assumptions, prices: Prices
) -> list[Cost]:
    """Return the cost of a month on each cloud."""
    found = []
    for name, cloud in prices.clouds.items():
        count = nodes(cloud, plan, assumed)
        node = prices.monthly(cloud.node)
        items = {
            "cluster": prices.monthly(cloud.cluster),
            "nodes": count * node,
            "load balancer": prices.monthly(cloud.load_balancer),
            "database": prices.monthly(cloud.database),
            "log": log_gib(contract, capacity, assumed) * prices.monthly(cloud.database_gib),
            "disks": DISKS_GIB * prices.monthly(cloud.disk_gib),
        }
        share = max(
            plan.cpu_millicores / (cloud.node.cpu * 1000), plan.memory_mib / (cloud.node.memory_gib * 1024)
        )
        found.append(Cost(name, cloud.region, count, items, plan.replicas * share / assumed.node_left * node))
    return found
