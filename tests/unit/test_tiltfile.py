"""The Tiltfile, evaluated with stand-ins that write down what it asks for: Tilt itself is not here, its language is."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import starlark
import yaml

from citybrain.k8s.configurations import name_of
from citybrain.k8s.generator import ROOM, manifests
from tests.helpers.waiting import until
from tools.kubernetes import KUBECTL

ROOT = ROOM.parent
SERVICES = manifests()
NAME = "app.kubernetes.io/name"
Object = dict[str, Any]
# Functions of Tilt that only tell it something, with the words that they may be given besides the first ones.
TOLD = {
    "docker_build": {"live_update"},
    "k8s_resource": {"new_name", "resource_deps", "labels", "links", "port_forwards", "trigger_mode"},
    "k8s_yaml": set(),
    "local_resource": {"deps", "labels"},
}
# Those that make a value of what they are given.
VALUES = ("fall_back_on", "sync", "run", "link", "port_forward")
PRELUDE = """
config = struct(define_string_list=define, define_string=define, parse=parse)
os = struct(path=struct(dirname=dirname))
TRIGGER_MODE_MANUAL = "manual"
"""


@cache
def rendered(folder: str) -> str:
    done = subprocess.run([KUBECTL, "kustomize", ROOT / folder], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


class Tilt:
    """What the Tiltfile has told."""

    def __init__(self, **said: object) -> None:
        self.calls: dict[str, list[tuple[tuple[Any, ...], Object]]] = {name: [] for name in TOLD}
        self.defined: list[str] = []
        self.read: list[str] = []
        module = starlark.Module()
        for name in TOLD:
            module.add_callable(name, self._recording(name))
        for name in VALUES:
            module.add_callable(name, self._value(name))
        for name, function in self._reading().items():
            module.add_callable(name, function)
        module.add_callable("define", lambda name, args=False, usage="": self.defined.append(name))
        module.add_callable("parse", lambda: said)
        module.add_callable("dirname", os.path.dirname)
        whole = starlark.Globals.extended_by([starlark.LibraryExtension.StructType])
        for text in (PRELUDE, (ROOT / "Tiltfile").read_text(encoding="utf-8")):
            starlark.eval(module, starlark.parse("Tiltfile", text, starlark.Dialect.extended()), whole)

    def _recording(self, name: str) -> Callable[..., None]:
        def told(*words: Any, **more: Any) -> None:
            assert more.keys() <= TOLD[name], f"{name} has no {sorted(more.keys() - TOLD[name])}"
            self.calls[name].append((words, more))

        return told

    def _value(self, name: str) -> Callable[..., list[Any]]:
        return lambda *words, **more: [name, *words, *more.values()]

    def _reading(self) -> dict[str, Callable[..., Any]]:
        def there(path: str) -> Path:
            self.read.append(path)
            return ROOT / path

        def local(command: str, quiet: bool, echo_off: bool) -> str:
            assert quiet and echo_off
            return subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True).stdout

        return {
            "kustomize": lambda folder: there(folder) and rendered(folder),
            "read_yaml": lambda path: yaml.safe_load(there(path).read_text(encoding="utf-8")),
            "read_file": lambda path: there(path).read_text(encoding="utf-8"),
            "decode_yaml_stream": lambda text: list(yaml.load_all(text, Loader=yaml.CSafeLoader)),
            "encode_yaml_stream": lambda objects: objects,
            "local": local,
        }

    @property
    def objects(self) -> list[Object]:
        """What it applies."""
        (((objects,), _),) = self.calls["k8s_yaml"]
        found: list[Object] = objects
        return found

    @property
    def resources(self) -> dict[str, Object]:
        """What it says of resources, by their names."""
        return {more.get("new_name", words[0]): more for words, more in self.calls["k8s_resource"]}

    @property
    def images(self) -> dict[str, list[list[Any]]]:
        """The images that it builds, each with the steps by which it is kept up to date."""
        for words, _ in self.calls["docker_build"]:
            assert words[1] == "."
        return {words[0]: more.get("live_update", []) for words, more in self.calls["docker_build"]}

    def kinds(self) -> set[str]:
        return {one["kind"] for one in self.objects}

    def deployments(self) -> dict[str, Object]:
        """The pods of Deployments, by component."""
        return {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in self.objects if one["kind"] == "Deployment"}


@pytest.fixture(scope="module")
def light() -> Tilt:
    return Tilt()


# -- services -----------------------------------------------------------------------------------------------------------------


def test_every_service_with_a_manifest_is_a_resource_with_its_links_and_an_image(light: Tilt) -> None:
    for one in SERVICES:
        said = light.resources[name_of(one)]
        links = [link[1] for link in said["links"]]
        assert "https://localhost:8443/docs/" in links
        assert [link for link in links if link.startswith("https://localhost:8443/docs/events")]
        if one.publishes:
            assert f"https://localhost:8443/docs/events#{one.publishes[0]}" in links
        assert f"citybrain-{name_of(one)}" in light.images
    services = {name for name, said in light.resources.items() if said["labels"] == ["services"]}
    assert services == {name_of(one) for one in SERVICES}
    gateway = light.resources["gateway"]
    assert gateway["port_forwards"] == [["port_forward", 8443, 8443]]
    assert {link[1] for link in gateway["links"]} == {"https://localhost:8443/docs/", "https://localhost:8443/docs/events"}


@pytest.mark.parametrize("engines", ["light", "real"])
def test_only_the_services_that_are_chosen_run(engines: str) -> None:
    chosen = Tilt(services=["district_hub", "traffic"], engines=engines)
    others = {name_of(one) for one in SERVICES} - {"district-hub", "traffic"}
    components = {one["metadata"].get("labels", {}).get(NAME) for one in chosen.objects}
    assert {"district-hub", "traffic", "gateway"} <= components and not others & components
    assert not others & chosen.resources.keys()
    assert {"citybrain-district-hub", "citybrain-traffic", "citybrain-gateway", "citybrain-prepare"} == chosen.images.keys()


def test_a_service_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(starlark.StarlarkError, match=r"there is no service trafic; there are: .*district_hub.*traffic"):
        Tilt(services=["trafic", "health"])


# -- engines ------------------------------------------------------------------------------------------------------------------


def test_light_engines_need_no_operator_and_no_certificate(light: Tilt) -> None:
    assert not {"Kafka", "KafkaUser", "Certificate", "Issuer"} & light.kinds()
    assert {one["apiVersion"].split("/")[0] for one in light.objects} <= {"v1", "apps", "batch"}
    (kafka,) = light.deployments()["kafka"]["containers"]
    assert kafka["image"].startswith("apache/kafka:")


def test_real_engines_are_those_of_the_overlay_dev() -> None:
    real = Tilt(engines="real")
    assert {"Kafka", "KafkaNodePool", "KafkaUser", "Certificate", "StatefulSet"} <= real.kinds()
    assert {one["metadata"].get("namespace", "citybrain-dev") for one in real.objects} == {"citybrain-dev"}
    assert "kafka" not in real.deployments()


def test_engines_that_are_not_there_are_told_with_those_that_are() -> None:
    with pytest.raises(starlark.StarlarkError, match="engines may be light or real, and not heavy"):
        Tilt(engines="heavy")


# -- what it names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engines", ["light", "real"])
def test_every_path_that_it_names_is_there_and_every_resource_is_one(engines: str) -> None:
    tilt = Tilt(engines=engines)
    paths = {*tilt.read, *(path for _, more in tilt.calls["local_resource"] for path in more.get("deps", []))}
    for steps in tilt.images.values():
        for name, first, *more in steps:
            paths |= set(first) if name == "fall_back_on" else set(more[0]) if name == "run" else {first}
    paths |= set(re.findall(r"\S+\.sh", " ".join(words[1] for words, _ in tilt.calls["local_resource"])))
    assert len(paths) > 25
    assert [path for path in paths if not (ROOT / path).exists()] == []
    workloads = {one["metadata"]["name"] for one in tilt.objects if one["kind"] in ("Deployment", "StatefulSet", "Job")}
    assert {words[0] for words, _ in tilt.calls["k8s_resource"]} <= workloads
    known = {*tilt.resources, *(words[0] for words, _ in tilt.calls["local_resource"])}
    assert {name for said in tilt.resources.values() for name in said.get("resource_deps", [])} <= known
    used = {one["image"] for pod in tilt.deployments().values() for one in pod["containers"]}
    assert {image for image in used if image.startswith("citybrain-")} | {"citybrain-prepare"} == tilt.images.keys()
    assert {"services", "engines"} == set(tilt.defined)


# -- live update --------------------------------------------------------------------------------------------------------------


def test_code_is_only_written_to_a_folder_of_the_pod_and_its_root_stays_closed(light: Tilt) -> None:
    for name, steps in light.images.items():
        targets = [target for step, _, *more in steps if step == "sync" for target in more]
        assert all(target.startswith("/live/code/citybrain/") for target in targets)
        component = name.removeprefix("citybrain-")
        if component == "prepare":
            continue
        pod = light.deployments()[component]
        assert {"name": "live", "emptyDir": {"sizeLimit": "256Mi"}} in pod["volumes"]
        (container,) = pod["containers"]
        assert {"name": "live", "mountPath": "/live"} in container["volumeMounts"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["command"][:2] == ["sh", "-c"] and container["command"][-1] == "city"


def test_every_room_of_the_image_is_copied_and_what_it_is_built_from_builds_it_anew(light: Tilt) -> None:
    steps = light.images["citybrain-traffic"]
    (built,) = [step[1] for step in steps if step[0] == "fall_back_on"]
    rooms = {step[1] for step in steps if step[0] == "sync"}
    assert rooms == {path.name for path in (ROOT / "src" / "citybrain").iterdir()}
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"]
    # Texts that no process reads, and links to the rooms.
    assert set(let_in) - rooms - {"README.md", "LICENSE", "src"} == set(built) - {"Dockerfile"}


def test_code_lies_in_the_image_where_the_file_says(light: Tilt) -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (version,) = re.findall(r"^ARG PYTHON=(3\.\d+)-", text, re.M)
    assert "python -m venv /opt/city" in text
    (container,) = light.deployments()["traffic"]["containers"]
    assert container["command"][-3] == f"/opt/city/lib/python{version}/site-packages"


def test_a_change_of_one_service_starts_that_one_anew_and_a_change_of_what_all_share_all_of_them(light: Tilt) -> None:
    triggers = {name: set(steps[-1][2]) for name, steps in light.images.items() if steps}
    mine = {name for name, paths in triggers.items() if "services/traffic" in paths}
    assert mine == {"citybrain-traffic"}
    assert [name for name, paths in triggers.items() if not {"mesh", "event_store"} <= paths] == []
    assert "sagas" in triggers["citybrain-sagas"]


# In the place of `city`: its path would have the real code too.
PROGRAM = f"""#!{sys.executable} -BES
import os, signal, sys, time
sys.path.insert(0, os.environ["PYTHONPATH"])
from citybrain.services.traffic import domain
signal.signal(signal.SIGTERM, lambda *_: (print("ends", flush=True), sys.exit(0)))
print(domain.SAID, flush=True)
time.sleep(600)
"""


def test_a_saved_file_is_taken_up_by_the_process_and_its_end_ends_the_pod(light: Tilt, tmp_path: Path) -> None:
    image, live = tmp_path / "image", tmp_path / "live"
    code = image / "citybrain" / "services" / "traffic"
    code.mkdir(parents=True)
    (code / "domain.py").write_text("SAID = 'first'\n", encoding="utf-8")
    program = tmp_path / "city"
    program.write_text(PROGRAM, encoding="utf-8")
    program.chmod(0o755)
    (container,) = light.deployments()["traffic"]["containers"]
    places = {"/live": str(live), container["command"][-3]: str(image), "city": str(program)}
    said = tmp_path / "said"
    with said.open("wb") as output:
        running = subprocess.Popen(
            [places.get(word, word) for word in container["command"]] + container["args"],
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip

    def lines() -> list[str]:
        return said.read_text(encoding="utf-8").splitlines()

    try:
        until(lambda: lines() == ["first"], said)
        # As Tilt does it: the file is put in the place of the old one, then the command is run.
        steps = light.images["citybrain-traffic"]
        (target,) = [more[0] for step, path, *more in steps if step == "sync" and path == "services"]
        saved = Path(target.replace("/live", str(live))) / "traffic" / "domain.py"
        # What Python compiled is good for code of this time only.
        assert saved.stat().st_mtime == (code / "domain.py").stat().st_mtime
        saved.unlink()
        saved.write_text("SAID = 'second'\n", encoding="utf-8")
        subprocess.run(["sh", "-c", steps[-1][1].replace("/live", str(live))], check=True)
        until(lambda: lines() == ["first", "ends", "second"], said)
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
        assert lines() == ["first", "ends", "second", "ends"]
        assert (code / "domain.py").read_text(encoding="utf-8") == "SAID = 'first'\n", "the image is as it was"
    finally:
        # With the program, where it still runs.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        shutil.rmtree(live, ignore_errors=True)
