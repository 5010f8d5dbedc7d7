"""Two pictures of the same replicas: each with a queue of its own, and all with one."""

import math

TAIL = 0.99


def split_p99(rate: float, service_rate: float, servers: int) -> float:
    """Seconds that 99% of requests take when each is sent to a server at random: `servers` times M/M/1.

    This is what kube-proxy does. A response time is exponential with rate mu - lambda (Kleinrock 1975,
    Queueing Systems, vol. 1). Service times are taken for exponential too, though those of a model hardly
    vary: on the safe side. Infinite where the queue grows for ever.
    """
    spare = service_rate - rate / servers
    return -math.log(1 - TAIL) / spare if spare > 0 else math.inf


def pooled_wait(rate: float, service_rate: float, servers: int) -> float:
    """Chance that a request waits at all when the first free server takes it: Erlang's C formula, M/M/c.

    Erlang 1917; computed from his B formula by its recursion, which does not overflow. What a balancer that
    knows the shortest queue comes close to. 1 where the queue grows for ever.
    """
    load = rate / service_rate
    if load >= servers:
        return 1.0
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def chance_of(up: int, servers: int, availability: float) -> float:
    """Chance that at least `up` of the servers are up, each for itself: the binomial tail."""
    return sum(
        math.comb(servers, count) * availability**count * (1 - availability) ** (servers - count)
        for count in range(up, servers + 1)
    )
