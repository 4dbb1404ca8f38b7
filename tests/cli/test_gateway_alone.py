"""`city gateway`, as a pod of the gateway runs it, and `city prepare`, as the job before a release does."""

from __future__ import annotations

import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from citybrain.audit.v1 import audit_service_pb2 as audit
from citybrain.audit.v1.audit_service_pb2_grpc import AuditServiceStub
from typer.testing import CliRunner, Result

from citybrain.cli.main import app
from citybrain.local.calling import channel
from citybrain.local.child import MeshChild
from citybrain.mesh.access.installation import caller_token, open_ring
from citybrain.mesh.settings.values import Settings
from tests.helpers.city_command import CITY, LIMIT_S, environment

pytestmark = pytest.mark.envoy


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mesh") / "data"


@pytest.fixture(scope="module")
def mesh(data: Path) -> Iterator[MeshChild]:
    with MeshChild(data, ["audit"]) as running:
        yield running


@pytest.fixture
def gateway(mesh: MeshChild, data: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """With a data folder of its own: of the mesh it is given the keys of the installation, and where a service answers."""
    said = {"peers": {"audit": mesh.address}, "identity": {"keys": str(data / "identity")}, "gateway": {"port": 0}}
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    command = [CITY, "gateway", "--config", "gateway.yaml", "--data", "gateway"]
    started = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    yield started
    started.kill()
    started.communicate()


def address(gateway: subprocess.Popen[str]) -> str:
    assert gateway.stdout is not None
    line = gateway.stdout.readline()
    assert line.startswith("The gateway answers at "), gateway.communicate()
    return line.split()[-1].rstrip(".")


def test_a_gateway_alone_gives_access_to_its_peers_and_stops_when_it_is_asked_to(
    gateway: subprocess.Popen[str], data: Path
) -> None:
    settings = Settings(data=data)
    with channel(address(gateway), caller_token(settings, open_ring(settings))) as opened:
        assert AuditServiceStub(opened).ListRecords(audit.ListRecordsRequest(), timeout=LIMIT_S) is not None
    gateway.send_signal(signal.SIGTERM)
    assert gateway.wait(LIMIT_S) == 0


def test_a_gateway_whose_envoy_ended_ends_too_and_says_so(gateway: subprocess.Popen[str], tmp_path: Path) -> None:
    address(gateway)
    admin = (tmp_path / "gateway" / "gateway" / "envoy.admin").read_text(encoding="utf-8").strip()
    with urllib.request.urlopen(urllib.request.Request(f"http://{admin}/quitquitquit", method="POST"), timeout=LIMIT_S):
        pass
    _, said = gateway.communicate(timeout=LIMIT_S)
    assert gateway.returncode != 0 and said.startswith("city: Envoy "), said


def city(*arguments: object) -> Result:
    """A command that starts nothing, in this process."""
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_a_gateway_without_peers_says_what_to_write(tmp_path: Path) -> None:
    config = tmp_path / "city.yaml"
    config.touch()
    assert "name some in `peers`" in str(city("gateway", "--config", config, "--data", tmp_path).exception)


def test_in_production_a_gateway_needs_no_secret_of_processes_that_keep_events(tmp_path: Path) -> None:
    config = tmp_path / "city.yaml"
    config.write_text("profile: production\npeers: {audit: 'audit:7107'}\n", encoding="utf-8")
    said = str(city("gateway", "--config", config, "--data", tmp_path).exception)
    assert all(key in said for key in ("gateway.certificate", "gateway.plain", "traces.endpoint", "peers"))
    assert "token_key" not in said and "master_key" not in said


def test_what_an_engine_needs_is_made_without_a_service_that_runs_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    config = tmp_path / "city.yaml"
    config.touch()
    for _ in range(2):
        done = city("prepare", "--config", config, "--data", tmp_path / "data")
        assert (done.exit_code, done.stdout) == (0, "The engine embedded has what this release needs.\n"), done.exception
    assert (tmp_path / "data" / "events.db").is_file()
