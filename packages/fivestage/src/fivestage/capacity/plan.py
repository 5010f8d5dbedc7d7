"""From objectives and measurements to replicas, requests and targets."""

import math
from dataclasses import dataclass

from fivestage.capacity.assumptions import Assumptions
from fivestage.capacity.measured import Capacity
from fivestage.capacity.queueing import chance_of, split_p99
from fivestage.common.errors import UserError
from fivestage.contract.contract import Contract

CORE = 1000  # millicores, the most that one process can use
MOST_REPLICAS = 1000
LEAST_TARGET, MOST_TARGET = 50, 80  # percent of the CPU request; below, an autoscaler follows mere noise
STEP = 5  # percent


@dataclass(frozen=True)
class CapacityPlan:
    """What the manifests say, and why."""

    needed: int  # replicas that hold the rate
    replicas: int  # with spare ones for availability
    most: int
    available: float  # chance that enough replicas are up
    cpu_millicores: int
    memory_mib: int
    target: int  # percent of the CPU request at which a replica is added
    per_replica: float  # requests per second that one replica holds within the objective
    floor_ms: float  # of the measured p99, what no queue explains: network, parsing, the machine
    p99_ms: float  # expected with all replicas, each on no more than its request
    p99_degraded_ms: float  # the same with only the needed ones


def plan(contract: Contract, capacity: Capacity, assumed: Assumptions) -> CapacityPlan:
    """The smallest deployment that keeps the contract's objectives.

    The needed replicas hold p99 at the contract's rate though every node is full, so that each gets the CPU
    it has asked for and no more; they ask for enough that the autoscaler has something to steer by. Spare
    ones keep enough of them up as often as the contract says.

    Raises:
        UserError: when no number of replicas keeps the objective.
    """
    service = contract.service
    rate, objective = service.requests_per_second, service.p99_ms
    floor = floor_ms(capacity)
    room = (objective - floor) / CORE
    if held(capacity, CORE, room) <= 0:
        raise UserError(
            f"service.p99_ms of {objective:g} cannot be kept: {floor:.1f} ms of what was measured in "
            "capacity/measured.json are no queue, and more replicas do not help. Measure on a quiet machine "
            "(`make bench-serving`), make the service faster, or promise less."
        )
    needed = math.ceil(rate / held(capacity, CORE, room))
    if needed > MOST_REPLICAS:
        raise UserError(f"service.requests_per_second of {rate:g} takes {needed:,} replicas: is it meant so?")
    cpu = next(
        cpu
        for cpu in (*range(assumed.cpu_step_millicores, CORE, assumed.cpu_step_millicores), CORE)
        if cpu == CORE
        or (
            held(capacity, cpu, room) >= rate / needed
            and target(capacity, cpu, room, assumed) >= LEAST_TARGET
        )
    )
    replicas = next(
        count
        for count in range(needed, MOST_REPLICAS * 2)
        if chance_of(needed, count, assumed.replica_availability) >= service.availability
    )
    per_replica = held(capacity, cpu, room)
    steered = per_replica / assumed.growth_while_scaling
    grown = math.ceil(rate * assumed.growth / steered) + replicas - needed
    memory = capacity.memory_mb * assumed.memory_times
    return CapacityPlan(
        needed=needed,
        replicas=replicas,
        most=max(grown, replicas + 1),
        available=chance_of(needed, replicas, assumed.replica_availability),
        cpu_millicores=cpu,
        memory_mib=math.ceil(memory / assumed.memory_step_mib) * assumed.memory_step_mib,
        target=target(capacity, cpu, room, assumed),
        per_replica=per_replica,
        floor_ms=floor,
        p99_ms=floor + p99_of_queue(capacity, cpu, rate, replicas),
        p99_degraded_ms=floor + p99_of_queue(capacity, cpu, rate, needed),
    )


def target(capacity: Capacity, cpu_millicores: int, seconds: float, assumed: Assumptions) -> int:
    """Percent of the CPU request that a replica uses when it is time for another, in whole steps."""
    steered = held(capacity, cpu_millicores, seconds) / assumed.growth_while_scaling
    used = capacity.idle_cpu + steered * capacity.row_cpu_ms / 1000
    return max(STEP, min(MOST_TARGET, int(used * CORE / cpu_millicores * 100 // STEP * STEP)))


def service_rate(capacity: Capacity, cpu_millicores: int) -> float:
    """Requests per second of one row that this much CPU serves, its idle work done."""
    return max(0.0, cpu_millicores / CORE - capacity.idle_cpu) * 1000 / capacity.row_cpu_ms


def p99_of_queue(capacity: Capacity, cpu_millicores: int, rate: float, replicas: int) -> float:
    """Milliseconds in which 99% of requests have waited and been served, each replica with a queue."""
    return split_p99(rate, service_rate(capacity, cpu_millicores), replicas) * 1000


def floor_ms(capacity: Capacity) -> float:
    """The measured p99 without what the model expects at the measured rate."""
    return max(0.0, capacity.p99_ms - p99_of_queue(capacity, CORE, capacity.rate, 1))


def held(capacity: Capacity, cpu_millicores: int, seconds: float) -> float:
    """Requests per second of which one replica answers 99% in time: the same, solved for the rate."""
    if seconds <= 0:
        return 0.0
    return max(0.0, service_rate(capacity, cpu_millicores) - split_p99(0, 1, 1) / seconds)
