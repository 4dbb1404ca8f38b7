"""The pages of the API, as a real Envoy answers them."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

import pytest
from typing_extensions import override

from citybrain.gateway.asyncapi import asyncapi
from citybrain.gateway.openapi import openapi
from citybrain.gateway.pages import DOCUMENTS, FILES, PREFIX
from tests.gateway.conftest import BEARER, ROOT, Answer, call_json

pytestmark = pytest.mark.envoy

DOCUMENT, EVENTS = DOCUMENTS
PAGES = [*FILES, *DOCUMENTS]


def get(address: str, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
    """As a browser asks: without a content type."""
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request(method, path, headers=dict(headers or {}))
    response = connection.getresponse()
    answer = Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())
    connection.close()
    return answer


class Links(HTMLParser):
    """What a page loads or leads to, and what a strict policy would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.refused: list[str] = []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found |= {value for name in ("href", "src") if (value := given.get(name))}
        self.refused += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.refused.append(tag)


def test_each_page_comes_with_its_type_and_its_policy(gateway: Any) -> None:
    for path in PAGES:
        answer = get(gateway.address, path, headers={"origin": "https://elsewhere.example"})
        assert answer.status == 200
        kind = FILES[path][1] if path in FILES else "application/json"
        assert answer.headers["content-type"] == kind
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        told = answer.headers["content-security-policy"]
        assert "unsafe" not in told and "http" not in told
        policy = dict(part.strip().split(" ", 1) for part in told.split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert "access-control-allow-origin" not in answer.headers
        head = get(gateway.address, path, "HEAD")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(answer.body)))


def test_each_page_is_the_file_as_it_was_written(gateway: Any) -> None:
    for path, (name, _) in FILES.items():
        assert get(gateway.address, f"{path}?again=1").body == (ROOT / "gateway" / "page" / name).read_bytes()


def test_nothing_of_the_pages_comes_from_elsewhere(gateway: Any) -> None:
    links = Links()
    for page in (PREFIX, f"{PREFIX}events"):
        links.feed(get(gateway.address, page).body.decode())
    local = {PREFIX + link.removeprefix("./") for link in links.found if not link.startswith(("#", "data:"))}
    assert local <= set(PAGES)
    assert links.refused == []
    scripts = {path: get(gateway.address, path).body.decode() for path in FILES if path.endswith(".js")}
    imported = {f"{PREFIX}{name}" for text in scripts.values() for name in re.findall(r'from "\./([^"]+)"', text)}
    assert imported | local | {PREFIX} == set(PAGES)
    for path in FILES:
        text = get(gateway.address, path).body.decode()
        assert re.findall(r"https?://|@import|\burl\((?!#)|innerHTML|eval\(", text) == [], path


def test_the_document_is_the_one_made_from_the_contracts(gateway: Any, manifest: Any, descriptors: bytes) -> None:
    told = get(gateway.address, DOCUMENT).json()
    assert told == openapi([manifest], descriptors)
    assert told["tags"][0]["x-displayName"] == "Emergency command and dispatch (应急指挥调度)"
    assert told["paths"]["/v1/incidents"]["get"]["description"] == "Newest first."


def test_the_events_are_those_of_the_services_with_their_meaning(gateway: Any, manifest: Any, descriptors: bytes) -> None:
    told = get(gateway.address, EVENTS).json()
    assert told == asyncapi([manifest], descriptors)
    opened = told["components"]["messages"]["citybrain.emergency_command.v1.IncidentOpened"]
    assert (opened["title"], opened["summary"], opened["x-classification"]) == (
        "IncidentOpened",
        "Somebody needs help.",
        "INTERNAL",
    )


def test_without_the_slash_it_leads_to_the_page(gateway: Any) -> None:
    answer = get(gateway.address, PREFIX.rstrip("/"))
    assert (answer.status, answer.headers["location"]) == (301, f"http://{gateway.address}{PREFIX}")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/docs/nothing"),
        ("GET", "/docs/page.js/"),
        ("GET", "/docs/../docs/index.html"),
        ("POST", "/docs/"),
        ("DELETE", "/docs/openapi.json"),
        ("GET", "/doc"),
    ],
)
def test_other_paths_below_it_are_unknown_in_the_form_of_every_error(gateway: Any, method: str, path: str) -> None:
    answer = get(gateway.address, path, method)
    assert answer.status == 404
    assert answer.json()["code"] == 5
    reasons = [detail.get("reason") for detail in answer.json()["details"]]
    assert "NO_SUCH_METHOD" in reasons


def test_the_pages_can_be_switched_off(make_gateway: Any) -> None:
    gateway = make_gateway(pages=False)
    assert {get(gateway.address, path).status for path in [*PAGES, "/docs"]} == {404}
    assert call_json(gateway.address, "GET", "/v1/incidents/inc-00000000000a").status == 200


def test_a_call_as_the_page_makes_it(gateway: Any, upstream: Any) -> None:
    document = get(gateway.address, DOCUMENT).json()
    assert "post" in document["paths"]["/v1/incidents"]
    here = {"origin": f"http://{gateway.address}", "sec-fetch-site": "same-origin", **BEARER}
    report = {"channel": "CHANNEL_PHONE", "severity": "SEVERITY_MINOR", "place": {"edgeId": "路-1"}}
    answer = call_json(gateway.address, "POST", "/v1/incidents", report, here | {"x-request-id": "docs-1"})
    assert answer.status == 200
    assert answer.json()["incident"]["place"]["edgeId"] == "路-1"
    assert answer.headers["x-request-id"] == "docs-1"
    assert upstream.service.metadata[0]["authorization"] == BEARER["authorization"]
    refused = call_json(gateway.address, "POST", "/v1/incidents", {"chanel": 1}, here)
    assert (refused.status, refused.json()["details"][0]["fieldViolations"][0]["field"]) == (400, "chanel")


def events(response: http.client.HTTPResponse) -> Iterator[Any]:
    """The messages of a stream, as they come."""
    for line in response:
        if line.startswith(b"data:"):
            yield json.loads(line.removeprefix(b"data:"))


def test_a_stream_as_the_page_follows_it(gateway: Any, upstream: Any) -> None:
    connection = http.client.HTTPConnection(gateway.address, timeout=60)
    headers = {**BEARER, "x-request-id": "docs-2"}
    connection.request("GET", "/v1/incidents/inc-000000000001:follow?resumeToken=t", headers=headers)
    response = connection.getresponse()
    assert (response.status, response.getheader("content-type")) == (200, "text/event-stream")
    told = events(response)
    # The last is not there before the test has seen the others.
    assert [next(told)["resumeToken"] for _ in range(2)] == ["token-0", "token-1"]
    upstream.service.release.set()
    assert [message["resumeToken"] for message in told] == ["token-2"]
    connection.close()
