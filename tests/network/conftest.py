"""What the tests on several hosts stand on: one cluster for all of them, and a place of its own on
the export for each test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import VERSIONS, Cluster, Version, mount_point, running_cluster
from support.cluster_site import Site
from support.environments import Environment, make_environment, public_directory
from support.hosts import ACCOUNTS, PYTHON, missing
from support.probes import require


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The server and two clients."""
    require(missing)
    with running_cluster(public_directory()) as running:
        yield running


@pytest.fixture(scope="session")
def installer(cluster: Cluster) -> Environment:
    """An environment that all hosts see, with pip and our command."""
    return make_environment(cluster.shared / "installer", python=Path(PYTHON))


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> Version:
    """Each version of NFS; tests can ask for others, MooseFS included, by indirect parameters."""
    chosen: Version = request.param
    return chosen


@pytest.fixture
def site(
    cluster: Cluster, installer: Environment, version: Version, request: pytest.FixtureRequest
) -> Iterator[Site]:
    """A site for one test; afterwards all hosts are on and reach one another."""
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    wheels = cluster.shared / "wheels" / name
    wheels.mkdir(parents=True)
    made = Site(cluster, installer, version, mount_point(version) / name, wheels)
    cluster.recover()
    cluster.serve(version)
    usera = ACCOUNTS.usera
    cluster.server.sh(
        'mkdir "$1"; chown "$2" "$1"; chmod 2775 "$1"',
        made.area,
        f"{usera.uid}:{ACCOUNTS.group_gid}",
    )
    for client in cluster.clients:
        cluster.mount(client, version)
    yield made
    made.stop()
    cluster.recover()
    cluster.server.sh('rm -rf "$1"', made.area)
