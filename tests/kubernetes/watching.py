"""What happens to pods, without a gap: each change is told by the API server, in order."""

from __future__ import annotations

import json
import subprocess
import threading
from collections import defaultdict
from typing import IO, Any, Self

from tests.kubernetes.cluster import Cluster
from tools.kubernetes import KUBECTL

NAME = "app.kubernetes.io/name"


class Watching:
    """Follows the pods of a namespace. `least`: by component, how few pods were ready at once since `start`."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.least: dict[str, int] = {}
        self._ready: dict[str, set[str]] = defaultdict(set)
        self._known: set[str] = set()
        self._lock = threading.Condition()

    def __enter__(self) -> Self:
        words = ["get", "pods", "--namespace", self.namespace, "--watch", "--output-watch-events", "--output=json"]
        self._process = subprocess.Popen([KUBECTL, *words], env=self.cluster.environment, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._thread = threading.Thread(target=self._follow, args=[self._process.stdout], daemon=True)
        self._thread.start()
        pods = {pod["metadata"]["name"] for pod in self.cluster.get("pods", "--namespace", self.namespace)}
        with self._lock:
            assert self._lock.wait_for(lambda: pods <= self._known, 60), "the watch has not told of all pods"
            # Counted from here: before, not all were told of.
            self.least = {name: len(ready) for name, ready in self._ready.items()}
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._thread.join(60)

    def _follow(self, told: IO[str]) -> None:
        for line in told:
            event = json.loads(line)
            self._take(event["type"], event["object"])

    def _take(self, kind: str, pod: dict[str, Any]) -> None:
        meta = pod["metadata"]
        conditions = {one["type"]: one["status"] for one in pod.get("status", {}).get("conditions", [])}
        ready = kind != "DELETED" and "deletionTimestamp" not in meta and conditions.get("Ready") == "True"
        component = meta["labels"].get(NAME, "")
        with self._lock:
            self._known.add(meta["name"])
            (self._ready[component].add if ready else self._ready[component].discard)(meta["name"])
            if component in self.least:
                self.least[component] = min(self.least[component], len(self._ready[component]))
            self._lock.notify_all()
