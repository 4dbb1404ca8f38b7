"""Where manifest, class and contract do not say the same, nothing starts, and one line says which line to change and how."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from citybrain.district_hub.v1 import events_pb2 as hub

from citybrain.local.city import ROOT
from citybrain.mesh.manifest import ManifestError, find_manifests, read_manifest
from citybrain.mesh.service import Owner, Service, Streams, passed
from citybrain.mesh.startup.entry import heard_by, load_entry
from citybrain.services.district_hub.service import DistrictHubService

HUB = ROOT / "services" / "district_hub" / "manifest.yaml"
MODULE = "citybrain.services.district_hub.service"
BASE = "citybrain.district_hub.v1"


def changed(folder: Path, old: str, new: str) -> Path:
    """The hub's manifest with one place changed."""
    text = HUB.read_text(encoding="utf-8")
    assert old in text
    path = folder / "manifest.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


WRONG = [
    (f"entry: {MODULE}:", "entry: no.such.module:", ["field entry", "no.such.module cannot be loaded"]),
    (":DistrictHubService\ngrpc", ":DistrictHubServise\ngrpc", ["field entry", "do you mean DistrictHubService?"]),
    (f"{MODULE}:DistrictHubService", "citybrain.mesh.errors:NotFound", ["field entry", "NotFound is not derived from"]),
    ("name: district_hub", "name: hubs", ["field name", "DistrictHubService.name is 'district_hub'"]),
    ("v1.DistrictHubService", "v1.DistrictHubbService", ["field grpc", f"do you mean {BASE}.DistrictHubService?"]),
    ("v1.DistrictHubService", "v9.DistrictHubService", ["field grpc", f"{MODULE}:DistrictHubService loads has"]),
    (f"grpc: {BASE}.DistrictHub", "grpc: citybrain.health.v1.Health", ["field grpc", "citybrain.health.v1.HealthService"]),
    (f"{BASE}.DistrictNotified", f"{BASE}.DistrictNotifed", ["field publishes", f"do you mean {BASE}.DistrictNotified?"]),
    (f"  - {BASE}.DistrictNotified\n", "", ["field publishes", f"{BASE}.DistrictNotified is missing"]),
    (f"{BASE}.DistrictNotified", f"{BASE}.DistrictRegistered", ["field publishes", "stands there twice"]),
    (f"{BASE}.DistrictNotified", "citybrain.health.v1.BedReserved", ["field publishes", "not an event of its contract"]),
    ("citybrain.traffic.v1.RoadsPublished", "citybrain.traffic.v1.RoadPublished", ["field subscribes", "do you mean"]),
    ("  - citybrain.traffic.v1.RoadsPublished\n", "  []\n", ["field subscribes", "RoadsPublished is missing: write it there"]),
    (
        "subscribes:",
        "calls: [citybrain.traffic.v1.TrafficService]\nsubscribes:",
        ["field calls", "is not called by"],
    ),
    ("  stream: {answered: 99.9}\n", "", ["field objectives", "has methods of the class stream, and promises nothing of them"]),
    ("  events: {within_s: 5, part: 99.5}\n", "", ["field objectives", "hears events, and promises nothing of them"]),
]


@pytest.mark.parametrize(("old", "new", "said"), WRONG, ids=[f"{new}" for _, new, _ in WRONG])
def test_what_does_not_fit_is_named_with_its_line_and_what_to_write(
    tmp_path: Path, old: str, new: str, said: list[str]
) -> None:
    path = changed(tmp_path, old, new)
    with pytest.raises(ManifestError) as caught:
        load_entry(read_manifest(path))
    message = str(caught.value)
    assert all(part in message for part in said), message
    assert "\n" not in message
    place, _, _ = message.partition(": field")
    file, _, line = place.rpartition(":")
    assert file == str(path)
    field = said[0].removeprefix("field ")
    in_field = [text.partition(":")[0] for text in path.read_text(encoding="utf-8").splitlines()[: int(line)] if text[0] != " "]
    assert in_field[-1] == field


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("command: {answered: 99, within_s: 1, part: 95}", "identity has no methods of the class stream: take `stream` out"),
        ("events: {within_s: 5, part: 99}", "identity hears no events: take `events` out"),
    ],
)
def test_a_promise_of_what_a_service_does_not_have_is_named_with_its_line(tmp_path: Path, more: str, said: str) -> None:
    text = (ROOT / "services" / "identity" / "manifest.yaml").read_text(encoding="utf-8").partition("  command:")[0]
    more = more if "events" in more else f"{more}\n  stream: {{answered: 99}}"
    whole = text + ("  command: {answered: 99, within_s: 1, part: 95}\n" if "events" in more else "") + f"  {more}\n"
    path = tmp_path / "manifest.yaml"
    path.write_text(whole, encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        load_entry(read_manifest(path))
    assert str(caught.value) == f"{path}:{len(whole.splitlines())}: field objectives: {said}"


def test_a_service_that_the_class_calls_must_stand_in_the_manifest(tmp_path: Path) -> None:
    line = "  - citybrain.health.v1.HealthService\n"
    text = (ROOT / "sagas" / "manifest.yaml").read_text(encoding="utf-8")
    assert line in text
    path = tmp_path / "manifest.yaml"
    path.write_text(text.replace(line, ""), encoding="utf-8")
    with pytest.raises(ManifestError, match=r"field calls: .*citybrain.health.v1.HealthService is missing: write it there"):
        load_entry(read_manifest(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise LookupError('no key\\nhere')", "LookupError: no key here"),
        ("import sys\nsys.exit('not today')", "SystemExit: not today"),
        ("raise KeyError", "KeyError"),
        ("def f(:\n", "SyntaxError: invalid syntax"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
    ],
)
def test_a_module_that_fails_while_it_is_loaded_is_named_with_what_it_failed_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    (tmp_path / "broken_service.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken_service", raising=False)
    path = changed(tmp_path, f"entry: {MODULE}:", "entry: broken_service:")
    with pytest.raises(ManifestError) as caught:
        load_entry(read_manifest(path))
    (message,) = str(caught.value).splitlines()
    assert "field entry: module broken_service cannot be loaded: " + said in message


SERVICE = """
from citybrain.traffic.v1 import events_pb2, traffic_service_pb2
from citybrain.mesh.service import Service, rpc

class HalfService(Service):
    name = "traffic"
{methods}
"""
METHOD = "    @rpc\n    def {name}(self, request): ...\n"


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (["PublishRoad"], ["has no method PublishRoad", "do you mean PublishRoads?"]),
        (["GetSignal"], ["does not answer", "write it with @rpc"]),
    ],
)
def test_a_method_that_contract_and_class_do_not_both_have_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, methods: list[str], said: list[str]
) -> None:
    name = f"half_{methods[0].lower()}"
    (tmp_path / f"{name}.py").write_text(
        SERVICE.format(methods="".join(METHOD.format(name=method) for method in methods)), encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "manifest.yaml"
    path.write_text(
        f"name: traffic\ntitle: Half\nteam: half\nentry: {name}:HalfService\n"
        "grpc: citybrain.traffic.v1.TrafficService\nport: 7999\n",
        encoding="utf-8",
    )
    with pytest.raises(ManifestError) as caught:
        load_entry(read_manifest(path))
    assert all(part in str(caught.value) for part in said), caught.value


def test_a_service_that_does_not_fit_its_manifest_ends_the_start_with_one_line(tmp_path: Path) -> None:
    changed(tmp_path, "v1.DistrictHubService", "v1.DistrictHubbService")
    text = (tmp_path / "manifest.yaml").read_text(encoding="utf-8").replace("name: district_hub", "name: other_hub")
    (tmp_path / "manifest.yaml").write_text(text, encoding="utf-8")
    (line,) = serve(tmp_path, "other_hub", "--folder", str(tmp_path)).splitlines()
    assert line.startswith(f"city: {tmp_path / 'manifest.yaml'}:1: field name: ")


def serve(folder: Path, *arguments: str) -> str:
    """What a service says that cannot start."""
    command = [sys.executable, "-m", "citybrain.mesh.startup.serve", *arguments, "--data", str(folder / "data")]
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done
    return done.stderr


def test_one_service_alone_listens_on_the_port_of_its_manifest(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        module = tmp_path / "lonely.py"
        contract = "from citybrain.district_hub.v1 import district_hub_service_pb2"
        module.write_text(
            f"{contract}\nfrom {MODULE} import DistrictHubService\nclass Lonely(DistrictHubService):\n    name = 'lonely'\n"
        )
        (tmp_path / "manifest.yaml").write_text(
            f"name: lonely\ntitle: Lonely\nteam: lonely\nentry: lonely:Lonely\ngrpc: {BASE}.DistrictHubService\nport: {port}\n"
            f"subscribes: [{', '.join(sorted(heard_by(load_entry(read_manifest(HUB)))))}]\n"
        )
        assert f"port {port} on 127.0.0.1 is taken" in serve(tmp_path, "lonely", "--folder", str(tmp_path))


def test_every_service_here_fits_its_manifest() -> None:
    from citybrain.mesh.startup.serve import rooms

    assert len([load_entry(manifest) for manifest in find_manifests(rooms())]) >= 5


class Hiding(DistrictHubService):
    """Has a provider that the hub has too."""

    districts = Owner(hub.DistrictNotified)

    @passed(districts)
    def take(self, message: hub.DistrictNotified) -> None: ...


class Beside(Service):
    """Knows nothing of the hub, and has a provider of the same name and kind."""

    name = "beside"
    notices = Streams("others", int, lambda state, event: state)


class Mixed(DistrictHubService, Beside):
    """The hub would give its own to what works with the other's."""


class Deaf(DistrictHubService):
    """Passes messages on that nothing takes up."""

    shared = Owner(hub.DistrictNotified)


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (Hiding, "Hiding hides the provider districts of DistrictHubService: give one another name"),
        (Mixed, "DistrictHubService hides the provider notices of Beside: give one another name"),
        (Deaf, "shared passes messages on, and nothing takes them: write @passed(shared) at a method"),
    ],
)
def test_a_class_whose_parts_do_not_fit_each_other_does_not_start(tmp_path: Path, service: type, said: str) -> None:
    path = changed(tmp_path, f"{MODULE}:DistrictHubService", f"{__name__}:{service.__name__}")
    with pytest.raises(ManifestError, match=rf"field entry: {re.escape(said)}"):
        load_entry(read_manifest(path))
