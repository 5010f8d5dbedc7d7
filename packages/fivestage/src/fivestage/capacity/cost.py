"""The monthly cost of a plan at list prices."""

import math
from dataclasses import dataclass

from fivestage.capacity.inputs import Assumptions, Capacity, Cloud, Prices
from fivestage.capacity.plan import CapacityPlan
from fivestage.contract.contract import Contract

GIB = 2**30
MONTH = 365.25 / 12 * 86400  # seconds
DISKS_GIB = 10  # of the pipelines' volume


@dataclass(frozen=True)
class Cost:
    """The cost of a month on one cloud, in USD."""

    cloud: str
    region: str  # of the prices
    nodes: int  # number of machines
    items: dict[str, float]  # USD by item
    by_request: float  # USD for the share of the machines that the serving pods request

    @property
    def total(self) -> float:
        """The sum of all items."""
        return sum(self.items.values())


def predictions(contract: Contract, assumed: Assumptions) -> float:
    """Return the number of predictions per month, with one row per request."""
    return contract.service.requests_per_second * assumed.mean_of_peak * MONTH


def log_gib(contract: Contract, capacity: Capacity, assumed: Assumptions) -> float:
    """Return the size of the prediction log in GiB."""
    rows = predictions(contract, assumed) * assumed.log_days * 86400 / MONTH
    return rows * capacity.logged_bytes / GIB


def nodes(cloud: Cloud, plan: CapacityPlan, assumed: Assumptions) -> int:
    """Return the number of machines for all replicas and one job, at least two if there are two replicas."""
    cpu = plan.replicas * plan.cpu_millicores + assumed.pipelines.cpu_millicores
    memory = plan.replicas * plan.memory_mib + assumed.pipelines.memory_mib
    by_cpu = cpu / (cloud.node.cpu * 1000 * assumed.node_left)
    by_memory = memory / (cloud.node.memory_gib * 1024 * assumed.node_left)
    return max(min(plan.replicas, 2), math.ceil(max(by_cpu, by_memory)))


def costs(
    contract: Contract, plan: CapacityPlan, capacity: Capacity, assumed: Assumptions, prices: Prices
) -> list[Cost]:
    """Return the monthly cost on each cloud."""
    by_cloud = []
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
        by_request = plan.replicas * share / assumed.node_left * node
        by_cloud.append(Cost(name, cloud.region, count, items, by_request))
    return by_cloud
