"""Background tasks that outlive their failures: logged, counted, and said in readiness."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from fivestage.serving.problems import too_many
from fivestage.serving.prometheus_metrics import ServiceMetrics

PAUSE = 1.0  # seconds after a failure
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
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


class WorkerThread:
    """One thread for what would hold up the event loop, with a bound on what waits for it."""

    def __init__(self, most: int) -> None:
        self._most, self._waiting = most, 0
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="serving")

    async def run(
        self, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Call a function in the thread."""
        if self._waiting >= self._most:
            raise too_many("large batches and explanations")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, lambda: function(*args, **kwargs))
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the thread once it has finished."""
        self._executor.shutdown()
