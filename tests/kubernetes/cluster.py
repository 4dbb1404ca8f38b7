"""A cluster of processes on this machine: etcd, API server, controller manager, scheduler, and kwok in the place of kubelets.

Nothing runs in its pods: kwok says of each that it is ready. All else is decided by the programs that a real cluster has.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from citybrain.local.spawn import tethered
from citybrain.local.tcp_ports import HOST, keep_free_port
from tests.helpers.waiting import until
from tools.kubernetes import KUBECTL
from tools.kubernetes_server import TARGET

Object = dict[str, Any]
NODES = 6
ZONES = 3
# What a kubelet would report. 32 processors, so that space is never what a test is about.
_CAPACITY = {"cpu": "32", "memory": "128Gi", "pods": "110"}
_TOKEN = "of-the-tests"  # noqa: S105
_READY_LIMIT_S = 120


class Cluster:
    """Started at once; `close` ends it. It also ends when this process does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._config = folder / "kubeconfig"
        with ExitStack() as kept:
            ports = [_port(kept.enter_context(keep_free_port())) for _ in range(3)]
            self._start(*ports)
        for zone in range(NODES):
            self.node(f"node-{zone}", f"zone-{zone % ZONES}")
        self.wait("Ready", "node", "--all")

    def kubectl(self, *words: str, given: object = None) -> str:
        """What kubectl says; `given`: objects for its standard input. AssertionError, with its words: it fails."""
        done = self.asked(*words, given=given)
        assert done.returncode == 0, f"kubectl {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def asked(self, *words: str, given: object = None) -> subprocess.CompletedProcess[str]:
        """As `kubectl`, for commands that may fail."""
        text = None if given is None else yaml.safe_dump_all(given if isinstance(given, list) else [given])
        return subprocess.run(
            [KUBECTL, *words], input=text, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )

    @property
    def environment(self) -> dict[str, str]:
        """For programs that ask this cluster; `kubectl` is on their PATH."""
        path = os.pathsep.join([str(KUBECTL.parent), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "KUBECONFIG": str(self._config), "HOME": str(self.folder)}

    def get(self, *words: str) -> list[Object]:
        """The objects that `kubectl get` finds."""
        found: Object = json.loads(self.kubectl("get", *words, "--output=json"))
        items: list[Object] = found["items"] if found["kind"].endswith("List") else [found]
        return items

    def wait(self, condition: str, *words: str) -> None:
        """Until objects have a condition."""
        self.kubectl("wait", f"--for=condition={condition}", f"--timeout={_READY_LIMIT_S}s", *words)

    def node(self, name: str, zone: str) -> None:
        """One more node, which kwok plays."""
        labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone, "kubernetes.io/os": "linux"}
        status = {"capacity": _CAPACITY, "allocatable": _CAPACITY}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}
        self.kubectl("create", "--filename=-", given=node)

    def disks(self, number: int, size: str) -> None:
        """Volumes, as somebody provides them who watches for claims."""
        self.kubectl(
            "create",
            "--filename=-",
            given=[
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolume",
                    "metadata": {"generateName": "disk-"},
                    "spec": {
                        "capacity": {"storage": size},
                        "accessModes": ["ReadWriteOnce"],
                        "hostPath": {"path": "/nowhere"},
                    },
                }
                for _ in range(number)
            ],
        )

    def close(self) -> None:
        """Ends all, the last started first. Nothing of it is kept, so none is waited for to end in order."""
        for _, process in reversed(self._running):
            process.kill()
            process.wait(60)

    # -- within ------------------------------------------------------------------------------------------------------------

    def _start(self, clients: int, peers: int, secure: int) -> None:
        key = self._key()
        self._write_config(secure)
        etcd = f"http://{HOST}:{clients}"
        between = f"http://{HOST}:{peers}"
        self._run(
            "etcd/etcd",
            f"--data-dir={self.folder / 'etcd-data'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls={between}",
            f"--initial-advertise-peer-urls={between}",
            f"--initial-cluster=default={between}",
            "--unsafe-no-fsync",
        )
        self._run(
            "kubernetes/kube-apiserver",
            f"--etcd-servers={etcd}",
            f"--secure-port={secure}",
            f"--bind-address={HOST}",
            f"--cert-dir={self.folder / 'certificates'}",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--token-auth-file={self._write('tokens.csv', f'{_TOKEN},tests,tests,system:masters')}",
            "--authorization-mode=RBAC",
            # As in every cluster: its own pods need it. Ours may not.
            "--allow-privileged=true",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
        )
        self._until("the API server", lambda: self.asked("get", "--raw=/readyz").returncode == 0)
        alone = ["--leader-elect=false", "--secure-port=0", f"--kubeconfig={self._config}"]
        self._run(
            "kubernetes/kube-controller-manager",
            *alone,
            f"--service-account-private-key-file={key}",
            f"--root-ca-file={self.folder / 'certificates' / 'apiserver.crt'}",
            "--horizontal-pod-autoscaler-sync-period=1s",
        )
        self._run("kubernetes/kube-scheduler", *alone)
        stages = "---\n".join(file.read_text(encoding="utf-8") for file in sorted((TARGET / "kwok" / "stages").iterdir()))
        self._run(
            "kwok/kwok",
            f"--kubeconfig={self._config}",
            f"--config={self._write('stages.yaml', stages)}",
            "--manage-all-nodes=true",
            "--node-lease-duration-seconds=40",
        )
        self._until("the controller manager", lambda: self.asked("get", "serviceaccount", "default").returncode == 0)

    def _run(self, program: str, *words: str) -> None:
        name = program.rpartition("/")[2]
        with (self.folder / f"{name}.log").open("wb") as log:
            self._running.append((name, tethered([str(TARGET / program), *words], log.fileno(), signal.SIGKILL)))

    def _until(self, what: str, condition: Any) -> None:
        def is_so() -> bool:
            for name, process in self._running:
                assert process.poll() is None, f"{name} ended: {self._last_words(name)}"
            return bool(condition())

        until(is_so, what, _READY_LIMIT_S)

    def _last_words(self, name: str) -> str:
        return "\n".join((self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()[-12:])

    def _key(self) -> Path:
        """With which the cluster signs the tokens of service accounts."""
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        form = serialization.PrivateFormat.TraditionalOpenSSL
        text = made.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        return self._write("accounts.key", text.decode())

    def _write_config(self, port: int) -> None:
        # The certificate is made by the API server when it starts.
        server = {"server": f"https://{HOST}:{port}", "insecure-skip-tls-verify": True}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": server}],
            "users": [{"name": "tests", "user": {"token": _TOKEN}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "current-context": "tests",
        }
        self._write(self._config.name, yaml.safe_dump(content))

    def _write(self, name: str, text: str) -> Path:
        (self.folder / name).write_text(text, encoding="utf-8")
        return self.folder / name


def _port(kept: socket.socket) -> int:
    port: int = kept.getsockname()[1]
    return port


def names(objects: Sequence[Object]) -> set[str]:
    """Of objects."""
    return {one["metadata"]["name"] for one in objects}
