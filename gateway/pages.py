"""The pages of API and events at `/docs/`: Envoy answers them from its configuration. They need no token, and lead nowhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from citybrain.gateway.asyncapi import asyncapi
from citybrain.gateway.openapi import openapi
from citybrain.gateway.settings import GatewaySettings
from citybrain.mesh.manifest import Manifest

PREFIX = "/docs/"
DOCUMENTS = (f"{PREFIX}openapi.json", f"{PREFIX}asyncapi.json")
"""The API, and the events."""
# The parts of the page, by path, with their types. `index.html` names the others.
FILES = {
    PREFIX: ("index.html", "text/html; charset=utf-8"),
    f"{PREFIX}events": ("events.html", "text/html; charset=utf-8"),
    f"{PREFIX}page.css": ("page.css", "text/css; charset=utf-8"),
    **{
        f"{PREFIX}{name}": (name, "text/javascript; charset=utf-8")
        for name in ("page.js", "events.js", "calls.js", "log.js", "schema.js", "search.js", "token.js")
    },
}
# Nothing from elsewhere, nothing written into the page: only our own files, and calls to this gateway.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # After a restart with other contracts the page must not show the old ones.
    "cache-control": "no-cache",
}
_OFF = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
_HERE = Path(__file__).with_name("page")
_KEPT = 4
_made: dict[tuple[tuple[str, ...], bytes, bool], tuple[str, str]] = {}


def page_routes(manifests: Sequence[Manifest], descriptors: bytes, settings: GatewaySettings) -> list[dict[str, Any]]:
    """Envoy's routes of the pages, one for each exact path. They must stand before all others."""
    if not settings.pages:
        return []
    documents = _documents(manifests, descriptors, driven=settings.driven)
    found = [_page(path, (_HERE / name).read_text(encoding="utf-8"), kind) for path, (name, kind) in FILES.items()]
    found += [_page(path, document, "application/json") for path, document in zip(DOCUMENTS, documents, strict=True)]
    without_slash = PREFIX.rstrip("/")
    return [*found, {"name": "docs", "match": _match(without_slash), "redirect": {"path_redirect": PREFIX}} | _unfiltered()]


def _documents(manifests: Sequence[Manifest], descriptors: bytes, *, driven: bool) -> tuple[str, str]:
    """Both documents as JSON. They are most of the work of a configuration, and the same after a change of keys or limits."""
    asked = (tuple(one.model_dump_json() for one in manifests), descriptors, driven)
    if asked not in _made:
        if len(_made) == _KEPT:
            _made.clear()
        both = (openapi(manifests, descriptors, driven=driven), asyncapi(manifests, descriptors))
        first, second = (json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in both)
        _made[asked] = first, second
    return _made[asked]


def most_bytes(pages: Sequence[Mapping[str, Any]]) -> int:
    """The size of the largest page: Envoy must be told."""
    bodies = [page["direct_response"]["body"]["inline_string"] for page in pages if "direct_response" in page]
    return max([4096, *(len(body.encode()) for body in bodies)])


def _page(path: str, body: str, kind: str) -> dict[str, Any]:
    headers = _HEADERS | {"content-type": kind}
    return {
        "name": path.strip("/"),
        "match": _match(path),
        "direct_response": {"status": 200, "body": {"inline_string": body}},
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in headers.items()
        ],
    } | _unfiltered()


def _match(path: str) -> dict[str, Any]:
    return {"path": path, "headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}]}


def _unfiltered() -> dict[str, Any]:
    # The transcoder would refuse a path that no contract has.
    return {"typed_per_filter_config": {"envoy.filters.http.grpc_json_transcoder": _OFF}}
