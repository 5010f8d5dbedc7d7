"""Validate every resource against the published Kubernetes schemas, without unknown fields."""

from functools import cache

import pytest
from kubernetes_validate import utils

from tools.tests.k8s.rendering import PLACES, Resource, called, rendered

VERSIONS = ("1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
CUSTOM = {  # no schema of theirs comes with Kubernetes: their operators' clusters judge them
    "BackendConfig",
    "HTTPRoute",
    "ManagedCertificate",
    "PrometheusRule",
    "ServiceMonitor",
}


@pytest.fixture(scope="module", autouse=True)
def _schemas_are_read_once() -> None:
    utils.schema_contents = cache(utils.schema_contents)


def check(resource: Resource, version: str) -> None:
    used = utils.validate(resource, version, strict=True)
    assert used == version  # and not the newest one before it


@cache
def resources() -> tuple[tuple[str, Resource], ...]:
    """Return each distinct resource, with an overlay that contains it."""
    found = {str(resource): (place, resource) for place in PLACES for resource in rendered(place)}
    return tuple(found.values())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_what_this_version_takes(version: str) -> None:
    unknown = set()
    for place, resource in resources():
        try:
            check(resource, version)
        except utils.SchemaNotFoundError:
            unknown.add(resource["kind"])
        except utils.ValidationError as error:
            pytest.fail(f"{place}, {called(resource)}: {'.'.join(map(str, error.path))}: {error.message}")
    assert unknown <= CUSTOM


def test_an_unknown_field_is_found() -> None:
    service = next(one for one in rendered("base") if one["kind"] == "Service")
    service["spec"]["port"] = 80
    with pytest.raises(utils.ValidationError, match="'port' was unexpected"):
        check(service, VERSIONS[-1])
