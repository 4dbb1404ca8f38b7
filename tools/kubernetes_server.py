"""Builds what `make test-k8s` runs, once: a real API server, etcd, controller manager, scheduler, and kwok, which plays nodes.

All is pinned, with hashes, in tests/kubernetes/programs: Go modules, and two jars that make the kinds of Strimzi. What is there
of the same pins is kept. `python -m tools.kubernetes_server` needs a Go on PATH.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from citybrain.local.errors import EngineError
from citybrain.local.jars import class_path
from citybrain.local.java import java

ROOT = Path(__file__).resolve().parent.parent
PINNED = ROOT / "tests" / "kubernetes" / "programs"
TARGET = ROOT / "build" / "kubernetes-server"
PROGRAMS = {
    "etcd": {"etcd": "go.etcd.io/etcd/server/v3"},
    "kwok": {"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
    "kubernetes": {
        name: f"k8s.io/kubernetes/cmd/{name}" for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    },
}
"""By the folder in which they are pinned: programs, and the Go package of each."""
GO = (1, 26)
_FREE_BYTES = 6_000_000_000
_TOLD_EVERY = 250
# Which files of a module say how kwok's nodes and pods become ready and end, and which the kinds of cert-manager.
_STAGES = [f"kustomize/stage/{part}/*.yaml" for part in ("node/fast", "node/heartbeat-with-lease", "pod/fast")]
_KINDS_OF_CERTIFICATES = ["deploy/crds/*.yaml"]


def main(target: Path = TARGET) -> None:
    """Builds what is not there. SystemExit, with one line that says what to do: it cannot be built here."""
    missing = [name for name in PARTS if not _is_made(target / name)]
    if not missing:
        return
    _check(target)
    _say(
        f"makes {', '.join(missing)} in {target}. All of them: downloads 0.2 GB of Go modules and 22 MB of jars, compiles for "
        "up to an hour on two busy cores, and keeps 0.4 GB; once for each version"
    )
    for name in missing:
        shutil.rmtree(target / name, ignore_errors=True)
        (target / name).mkdir(parents=True)
        PARTS[name](target / name)
        (target / name / ".pins").write_text(_pins(name), encoding="utf-8")
    # Only what is made is kept.
    shutil.rmtree(target / "go", ignore_errors=True)


def _check(target: Path) -> None:
    """What would fail later is told now."""
    need = f"install Go {GO[0]}.{GO[1]} or newer"
    try:
        said = _run(["go", "version"], ROOT).stdout
    except FileNotFoundError:
        raise SystemExit(f"test-k8s: there is no `go` on PATH: {need}") from None
    found = re.search(r"go(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < GO:
        raise SystemExit(f"test-k8s: {said.strip()} is too old: {need}")
    target.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target).free
    if free < _FREE_BYTES:
        raise SystemExit(
            f"test-k8s: needs {_FREE_BYTES // 10**9} GB while it compiles, {free // 10**9} are free: make room first"
        )


def _pins(name: str) -> str:
    """What a part is made from, as one hash."""
    digest = hashlib.sha256()
    for file in sorted((PINNED / name).iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _is_made(folder: Path) -> bool:
    pins = folder / ".pins"
    return pins.is_file() and pins.read_text(encoding="utf-8") == _pins(folder.name)


def _program(folder: Path) -> None:
    """Compiles the programs of one module of ours."""
    pinned, packages = PINNED / folder.name, PROGRAMS[folder.name]
    _say(f"{folder.name}: downloads its modules")
    total = len(_go(folder, "list", "-deps", *packages.values(), cwd=pinned).split())
    words = ["-s", "-w", *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in _version(folder.name).items())]
    for name, package in packages.items():
        command = ["go", "build", "-v", "-trimpath", "-ldflags", " ".join(words), "-o", str(folder / name), package]
        with subprocess.Popen(command, cwd=pinned, env=_environment(folder), stderr=subprocess.PIPE, text=True) as compiling:
            assert compiling.stderr is not None
            said: list[str] = []
            for line in compiling.stderr:
                said.append(line)
                if len(said) % _TOLD_EVERY == 0:
                    _say(f"{name}: {len(said)} of at most {total} packages are compiled")
        if compiling.returncode != 0:
            raise SystemExit(f"test-k8s: {name} could not be compiled:\n{''.join(said[-20:])}")
        _say(f"{name}: {(folder / name).stat().st_size / 1e6:.0f} MB")
    if folder.name == "kwok":
        module = _go(folder, "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok", cwd=pinned).strip()
        _copy(Path(module), _STAGES, folder / "stages")


def _version(name: str) -> Mapping[str, str]:
    """What the programs of Kubernetes say that they are; without it, they are of no release."""
    if name != "kubernetes":
        return {}
    pinned = (PINNED / name / "go.mod").read_text(encoding="utf-8")
    found = re.search(r"^\tk8s\.io/kubernetes v((\d+)\.(\d+)\.\d+)", pinned, re.M)
    assert found is not None
    return {"gitVersion": f"v{found[1]}", "gitMajor": found[2], "gitMinor": found[3]}


def _certificates(folder: Path) -> None:
    """The kinds of cert-manager are files of its module, which is not compiled."""
    pin = json.loads((PINNED / folder.name / "module.json").read_text(encoding="utf-8"))
    said = json.loads(_go(folder, "mod", "download", "-json", f"{pin['Path']}@{pin['Version']}", cwd=folder))
    if said["Sum"] != pin["Sum"]:
        raise SystemExit(f"test-k8s: {pin['Path']} {pin['Version']} is not the module that is pinned: {said['Sum']}")
    _copy(Path(said["Dir"]), _KINDS_OF_CERTIFICATES, folder)
    _say(f"{folder.name}: {len(list(folder.glob('*.yaml')))} kinds")


def _strimzi(folder: Path) -> None:
    """The kinds of Strimzi are made from its own classes.

    They are written for two versions of its API, and some say the older one only. All are served as v1, so a field that v1 has
    no more is let through.
    """
    try:
        jars = class_path("strimzi", _say, PINNED / folder.name)
        generator = [java(), "-cp", jars, "io.fabric8.crd.generator.cli.CRDGeneratorCLI"]
    except EngineError as problem:
        raise SystemExit(f"test-k8s: {problem}") from None
    _run([*generator, "-o", str(folder), jars.split(os.pathsep)[-1]], folder)
    for file in folder.glob("*.yml"):
        file.write_text(re.sub(r'(name: "?)v1beta2\b', r"\1v1", file.read_text(encoding="utf-8")), encoding="utf-8")
    _say(f"{folder.name}: {len(list(folder.glob('*.yml')))} kinds")


PARTS: dict[str, Callable[[Path], None]] = {
    **dict.fromkeys(PROGRAMS, _program),
    "cert-manager": _certificates,
    "strimzi": _strimzi,
}
"""What is made, each in a folder of its name, and how."""


def _copy(module: Path, patterns: Sequence[str], target: Path) -> None:
    target.mkdir(exist_ok=True)
    for pattern in patterns:
        for file in sorted(module.glob(pattern)):
            if file.name != "kustomization.yaml":
                shutil.copyfile(file, target / file.name)


def _environment(folder: Path) -> Mapping[str, str]:
    """Go keeps what it downloads and compiles below the target, unless the shell says another place."""
    kept = folder.parent / "go"
    own = {"GOMODCACHE": str(kept / "modules"), "GOCACHE": str(kept / "compiled"), "GOFLAGS": "-modcacherw -buildvcs=false"}
    return {**own, **os.environ}


def _go(folder: Path, *words: str, cwd: Path) -> str:
    return _run(["go", *words], cwd, _environment(folder)).stdout


def _run(command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise SystemExit(f"test-k8s: `{' '.join(command[:3])} …` failed; is there a network? then run it again\n{last}")
    return done


def _say(line: str) -> None:
    sys.stderr.write(f"test-k8s: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
