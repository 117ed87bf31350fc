"""Systems with retrowalk installed, made once; each machine gets a layer of its own over one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from tests.boot.machine import arch, suites
from tests.packaging import packages, roots
from tests.packaging.roots import System


@pytest.fixture(scope="session", params=suites())
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Debian with the package of this checkout, installed without a network and never switched on."""
    base = roots.system(request.param, arch(), roots.READY)
    package = packages.built(arch())
    with roots.layer(tmp_path_factory.mktemp("installed"), base) as system:
        shutil.copy(package, system.path / "tmp/retrowalk.deb")
        system.run("dpkg -i /tmp/retrowalk.deb")
        (system.path / "tmp/retrowalk.deb").unlink()
        yield system
