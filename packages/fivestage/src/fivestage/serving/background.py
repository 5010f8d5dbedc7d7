"""Background tasks that outlive their failures: logged, counted, and said in readiness."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from fivestage.serving.prometheus_metrics import ServiceMetrics

PAUSE = 1.0  # seconds after a failure
logger = logging.getLogger("serving")


class BackgroundTasks:
    """What a service does again and again beside answering.

    Args:
        metrics: where failures are counted.
    """

    def __init__(self, metrics: ServiceMetrics) -> None:
        self.failing: dict[str, str] = {}  # why each task failed when it ran last
        self._metrics = metrics
        self._tasks: list[asyncio.Task[None]] = []

    def repeat(self, name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Start to do something every so many seconds."""
        self._metrics.task_failures.labels(name)
        self._tasks.append(asyncio.create_task(self._forever(name, seconds, work), name=name))

    async def stop(self) -> None:
        """End all tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _forever(self, name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception as error:
                why = str(error) or type(error).__name__
                if self.failing.get(name) != why:  # else it has been said
                    logger.exception("a background task failed and is tried again", extra={"task": name})
                self.failing[name] = why
                self._metrics.task_failures.labels(name).inc()
                await asyncio.sleep(PAUSE)
            else:
                self.failing.pop(name, None)
