"""Makes base and overlays from the services' manifests and environments.yaml. `make k8s` writes them; `make check` compares.

base/<component>/             the objects of one component, the same everywhere
base/                         all of them
overlays/<environment>/<component>/   the same with its namespace, its tag and its numbers: what `kubectl apply -k` takes
overlays/<environment>/       all of them
overlays/light/               a city for a laptop, which needs no operators (light.py)
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override

from citybrain.k8s import certificates, components, engines, light, network
from citybrain.k8s.configurations import ENVIRONMENT, name_of, of_gateway, of_preparation, of_service, variables
from citybrain.k8s.environments import Environment, read
from citybrain.k8s.pods import Object, chosen, meta
from citybrain.mesh.manifest import Manifest, find_manifests

ROOM = Path(__file__).resolve().parent
ENVIRONMENTS = ROOM / "environments.yaml"
# Folders in which everything is made here.
MADE = ("base", "overlays")
ROOMS = ("services", "sagas")
# Where the job and the other components that are no service stand. `shared` comes first: all need it.
SHARED, GATEWAY, COLLECTOR, PREPARE, KAFKA, CASSANDRA = "shared", "gateway", "collector", "prepare", "kafka", "cassandra"
_HEAD = "# Made by `make k8s` from manifests and k8s/environments.yaml. A change here is lost.\n"
_KUSTOMIZATION = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
Files = dict[str, str]


def manifests(root: Path = ROOM.parent) -> list[Manifest]:
    """The services of this repository, of which nothing is loaded."""
    return find_manifests(root / room for room in ROOMS)


def made(services: Sequence[Manifest], environments: Mapping[str, Environment]) -> Files:
    """Every file below k8s/ that is made, by its path there. ValueError: an environment names a service that is not there."""
    files = _base(services)
    names = [path.split("/")[1] for path in files if path.count("/") == 2 and path.endswith("kustomization.yaml")]
    for environment, said in environments.items():
        files |= _overlay(environment, said, services, names)
    return files | _light(services)


def _light(services: Sequence[Manifest]) -> Files:
    """The overlay for laptops, whose objects are all its own."""
    files: Files = {}
    parts = light.made(services)
    for name, (objects, file, content) in parts.items():
        text = content if isinstance(content, str) else _yaml([content])
        files |= _component(name, objects, (file, text) if file else None, f"overlays/{light.LIGHT}", light.NAMESPACE)
    return files | {f"overlays/{light.LIGHT}/kustomization.yaml": _kustomization({"resources": list(parts)})}


def _base(services: Sequence[Manifest]) -> Files:
    """The components, `shared` first."""
    files: Files = {}
    files |= _component(SHARED, [network.closed(), *certificates.authority()])
    files |= _component(KAFKA, engines.kafka())
    files |= _component(CASSANDRA, engines.cassandra(), ("cassandra.yaml", engines.cassandra_yaml()))
    files |= _component(PREPARE, components.of_preparation(), ("city.yaml", _yaml([of_preparation()])))
    files |= _component(COLLECTOR, components.of_collector(), ("collector.yaml", components.collector_yaml()))
    for one in services:
        configuration = "city.yaml", _yaml([of_service(one, services)])
        files |= _component(name_of(one), components.of_service(one, services), configuration)
    files |= _component(GATEWAY, components.of_gateway(services), ("city.yaml", _yaml([of_gateway(services)])))
    folders = [path.split("/")[1] for path in files if path.endswith("/kustomization.yaml")]
    return files | {"base/kustomization.yaml": _kustomization({"resources": folders})}


def _component(
    name: str, objects: Sequence[Object], configuration: tuple[str, str] | None = None, where: str = "base", namespace: str = ""
) -> Files:
    """A kustomization of its own. With another configuration its ConfigMap has another name, and pods start anew."""
    files = {f"{where}/{name}/objects.yaml": _HEAD + _yaml(objects)}
    said: Object = {**({"namespace": namespace} if namespace else {}), "resources": ["objects.yaml"]}
    if configuration is not None:
        file, text = configuration
        files[f"{where}/{name}/{file}"] = _HEAD + text
        # Found by its label when the component goes: the ones of earlier configurations are in no file any more.
        found = {"labels": chosen(name)}
        said["configMapGenerator"] = [{"name": components.configuration(name), "files": [file], "options": found}]
    return files | {f"{where}/{name}/kustomization.yaml": _kustomization(said)}


def _overlay(environment: str, said: Environment, services: Sequence[Manifest], names: Sequence[str]) -> Files:
    tags = {name_of(one): said.tag_of(one.name) for one in services}
    if unknown := said.tags.keys() - {one.name for one in services}:
        raise ValueError(f"{environment}.tags names {', '.join(sorted(unknown))}, and there is no such service")
    files: Files = {}
    for name in names:
        place = f"overlays/{environment}/{name}"
        content: Object = {"namespace": said.namespace, "resources": [f"../../../base/{name}"]}
        own = _own(name, said)
        if own:
            files[f"{place}/objects.yaml"] = _HEAD + _yaml(own)
            content["resources"].append("objects.yaml")
        if name in (*tags, GATEWAY, PREPARE):
            tag = tags.get(name, said.tag)
            content["images"] = [{"name": components.image_of(name), "newName": said.image, "newTag": tag}]
        if patches := list(_patches(name, said, name in tags)):
            content["patches"] = patches
        files[f"{place}/kustomization.yaml"] = _kustomization(content)
    return files | {f"overlays/{environment}/kustomization.yaml": _kustomization({"resources": list(names)})}


def _own(name: str, said: Environment) -> list[Object]:
    """Objects that an environment has besides those of the base."""
    if name == SHARED:
        # What the cluster itself refuses in this namespace: the strictest of its three levels.
        enforced = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": said.namespace, "labels": enforced}}
        return [namespace, _variables(ENVIRONMENT, SHARED, variables(said))]
    if name == COLLECTOR:
        told = {"TRACES_BACKEND": said.traces.backend, "TRACES_PLAIN": "false" if said.traces.tls else "true"}
        told |= {"METRICS_BACKEND": said.metrics.backend, "METRICS_PLAIN": "false" if said.metrics.tls else "true"}
        return [_variables("collector-environment", COLLECTOR, told)]
    return [components.preparation(said.tag)] if name == PREPARE else []


def _variables(name: str, component: str, values: Mapping[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(name, component), "data": dict(values)}


def _patches(name: str, said: Environment, is_service: bool) -> Iterable[Object]:
    """What an environment changes of a component of the base."""
    if is_service or name in (GATEWAY, COLLECTOR):
        yield _replacing("HorizontalPodAutoscaler", name, {"minReplicas": said.copies.least, "maxReplicas": said.copies.most})
    if name == GATEWAY:
        yield _replacing("Service", name, {"type": said.gateway.service}, how="add")
        signed: Object = {"dnsNames": [said.gateway.host]}
        if said.gateway.issuer:
            signed["issuerRef"] = {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": said.gateway.issuer}
        yield _replacing("Certificate", "gateway", signed)
    if name == COLLECTOR:
        ports = sorted({int(one.backend.rpartition(":")[2]) for one in (said.traces, said.metrics)})
        yield _replacing("NetworkPolicy", name, {"egress/-": network.opened("to", [], *ports)}, how="add")
    for merged in engines.kafka_here(said.engines) if name == KAFKA else ():
        yield {"patch": _yaml([merged])}
    for merged in engines.cassandra_here(said.engines) if name == CASSANDRA else ():
        yield {"patch": _yaml([merged])}


def _replacing(kind: str, name: str, values: Mapping[str, Any], how: str = "replace") -> Object:
    changes = [{"op": how, "path": f"/spec/{path}", "value": value} for path, value in values.items()]
    return {"target": {"kind": kind, "name": name}, "patch": _yaml([changes])}


def _kustomization(content: Object) -> str:
    return _HEAD + _yaml([{**_KUSTOMIZATION, **content}])


class _Plain(yaml.CSafeDumper):
    """Writes texts of several lines as such, and no object as a reference to another."""

    @override
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _text)


def _yaml(documents: Iterable[Any]) -> str:
    return yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


def drift(room: Path = ROOM) -> list[str]:
    """The files that are not as they must be, by their paths in the room."""
    wanted = made(manifests(), read(ENVIRONMENTS))
    return sorted(
        {path for path, text in wanted.items() if not (room / path).is_file() or (room / path).read_text("utf-8") != text}
        | {path for path in _there(room) if path not in wanted}
    )


def write(files: Files, room: Path = ROOM) -> None:
    """Writes all, and removes what is no more made."""
    for path in _there(room):
        if path not in files:
            (room / path).unlink()
    for path, text in files.items():
        (room / path).parent.mkdir(parents=True, exist_ok=True)
        (room / path).write_text(text, encoding="utf-8")


def _there(room: Path) -> list[str]:
    return [str(path.relative_to(room)) for folder in MADE for path in (room / folder).rglob("*") if path.is_file()]


if __name__ == "__main__":
    write(made(manifests(), read(ENVIRONMENTS)))
    sys.exit(0)
