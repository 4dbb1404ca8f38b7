"""What a running Envoy takes up without a restart: clusters, routes, and the filters that are made from contracts and settings.

Each is a file of its own that Envoy watches. A file must be replaced by rename: then Envoy never reads half of one. Filters
come to Envoy by ECDS, so a call that has begun keeps the filters that it began with, and no connection ends.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from citybrain.gateway.clusters import OTLP
from citybrain.gateway.tls import CERTIFICATE

# Filters that change with the manifests, the contracts, the keys of issuers, and the limits.
RELOADED = ("lua", "grpc_json_transcoder", "jwt_authn", "local_ratelimit", "grpc_stats")
CLUSTERS = "clusters.json"
ROUTES = "routes.json"
CERTIFICATES = "certificate.json"

_CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
_ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
_CERTIFICATE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_FILTER = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"


@dataclass(frozen=True, slots=True)
class Watched:
    """One file that Envoy watches."""

    # The text of the file.
    text: str
    # Envoy tells under this name which version it has: `<stat>.version_text`.
    stat: str
    version: str


@dataclass(frozen=True, slots=True)
class Parts:
    """A whole configuration, apart: what needs a restart, and the files that do not, by name."""

    bootstrap: dict[str, Any]
    # In the order in which they may change: an address is there before a route leads to it.
    watched: dict[str, Watched]


def apart(whole: dict[str, Any], folder: Path) -> Parts:
    """Takes a configuration apart, for an Envoy that watches files of this folder."""
    # A copy in which nothing stands twice as the same object.
    made = json.loads(json.dumps(whole))
    resources = made["static_resources"]
    watched: dict[str, Watched] = {}
    # The tracer wants its cluster before any file is read.
    kept = [one for one in resources["clusters"] if one["name"] == OTLP]
    watched[CLUSTERS] = clusters_file([one for one in resources["clusters"] if one["name"] != OTLP])
    resources["clusters"] = kept
    made["dynamic_resources"] = {"cds_config": _from(folder / CLUSTERS)}
    certificates: dict[str, Watched] = {}
    filters: dict[str, Watched] = {}
    routes: dict[str, Watched] = {}
    for chain in _chains(made):
        if "transport_socket" in chain:
            _certificate_apart(chain["transport_socket"]["typed_config"]["common_tls_context"], folder, certificates)
        manager = chain["filters"][0]["typed_config"]
        manager["http_filters"] = [_discovered(one, folder, filters) for one in manager["http_filters"]]
        configured = manager.pop("route_config")
        manager["rds"] = {"route_config_name": configured["name"], "config_source": _from(folder / ROUTES)}
        routes[ROUTES] = _file([{"@type": _ROUTES, **configured}], f"http.{manager['stat_prefix']}.rds.{configured['name']}")
    return Parts(made, certificates | watched | filters | routes)


def clusters_file(clusters: list[dict[str, Any]]) -> Watched:
    """The file of clusters."""
    return _file([{"@type": _CLUSTER, **one} for one in clusters], "cluster_manager.cds")


def clusters_of(file: str) -> dict[str, dict[str, Any]]:
    """The clusters in the text of such a file, by name."""
    return {one["name"]: one for one in json.loads(file)["resources"]}


def _chains(configuration: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for listener in configuration["static_resources"]["listeners"]:
        yield from listener["filter_chains"]


def _certificate_apart(context: dict[str, Any], folder: Path, files: dict[str, Watched]) -> None:
    (own,) = context.pop("tls_certificates")
    # Envoy looks at the folder, so a certificate that is replaced is taken up at once.
    looked_at = str(Path(own["certificate_chain"]["filename"]).parent)
    secret = {"@type": _CERTIFICATE, "name": CERTIFICATE, "tls_certificate": own | {"watched_directory": {"path": looked_at}}}
    files[CERTIFICATES] = _file([secret], f"sds.{CERTIFICATE}")
    context["tls_certificate_sds_secret_configs"] = [{"name": CERTIFICATE, "sds_config": _from(folder / CERTIFICATES)}]


def _discovered(one: dict[str, Any], folder: Path, files: dict[str, Watched]) -> dict[str, Any]:
    kind = one["name"].rpartition(".")[2]
    if kind not in RELOADED:
        return one
    name = f"filter-{kind}.json"
    files[name] = _file([{"@type": _FILTER, **one}], f"extension_config_discovery.http_filter.{one['name']}")
    types = [one["typed_config"]["@type"]]
    return {"name": one["name"], "config_discovery": {"config_source": _from(folder / name), "type_urls": types}}


def _from(file: Path) -> dict[str, Any]:
    return {"resource_api_version": "V3", "path_config_source": {"path": str(file)}}


def _file(resources: list[dict[str, Any]], stat: str) -> Watched:
    version = hashlib.sha256(json.dumps(resources).encode()).hexdigest()[:16]
    text = json.dumps({"version_info": version, "resources": resources})
    return Watched(text, stat, version)
