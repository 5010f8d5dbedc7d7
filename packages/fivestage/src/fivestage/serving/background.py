"""Periodic background tasks that survive failures: each is logged, counted and reported by `/readyz`."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from fivestage.serving.prometheus_metrics import ServiceMetrics

PAUSE = 1.0  # additional seconds after a failure
logger = logging.getLogger("serving")


class BackgroundTasks:
    """The periodic tasks of a service.

    Args:
        metrics: Counts the failures.
    """

    def __init__(self, metrics: ServiceMetrics) -> None:
        self.failing: dict[str, str] = {}  # why the last run failed, by task
        self._metrics = metrics
        self._tasks: list[asyncio.Task[None]] = []

    def repeat(self, name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Start a task that calls `work` again and again, each time after a pause of `seconds`."""
        self._metrics.task_failures.labels(name)
        self._tasks.append(asyncio.create_task(self._forever(name, seconds, work), name=name))

    async def stop(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()  # an application may be started again, in another event loop

    async def _forever(self, name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception as error:
                reason = str(error) or type(error).__name__
                if self.failing.get(name) != reason:  # logged once, not at each retry
                    logger.exception("background task failed, will retry", extra={"task": name})
                self.failing[name] = reason
                self._metrics.task_failures.labels(name).inc()
                await asyncio.sleep(PAUSE)
            else:
                self.failing.pop(name, None)
