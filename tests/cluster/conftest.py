"""A cluster for the tests marked `slurm`, which run only if asked for: ``pytest -m slurm tests/cluster``."""

import pytest

from tests.cluster.cluster import Cluster, missing


def pytest_collection_modifyitems(config, items):
    reason = missing() if "slurm" in config.option.markexpr else "brings up a SLURM: asked for by -m slurm"
    if reason is not None:
        for item in items:
            if item.get_closest_marker("slurm"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def cluster():
    with Cluster() as cluster:
        yield cluster
