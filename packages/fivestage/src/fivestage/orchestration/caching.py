"""What a step's result depends on beside its inputs and its own lines."""

from zenml.config.cache_policy import CachePolicy

from fivestage.common.settings import ROOT


def depends_on(*rooms: str) -> CachePolicy:
    """Run a step again when a file of these rooms, or a pinned library, has changed.

    ZenML alone looks at the step function's own source, its parameters and its inputs. An input whose
    materializer hashes it counts by content: a step that runs again and makes the same data leaves the
    steps after it cached.

    Raises:
        ValueError: a room holds no file.
    """
    files = ["requirements.lock"]
    for room in rooms:
        found = [path for pattern in ("*.py", "*.yaml") for path in (ROOT / room).rglob(pattern)]
        if not found:
            raise ValueError(f"the room {room!r} holds no file")
        files += [str(path.relative_to(ROOT)) for path in found]
    return CachePolicy(file_dependencies=sorted(files))
