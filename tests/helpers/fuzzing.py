"""Requests of every kind, well-formed and not, made from the contracts by chance, and what is wrong with the answers to them.

Each request is sent by a caller of its own, so an event in the log says which request wrote it.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import math
import random
import re
import socket
import sqlite3
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.roads.v1.roads_pb2 import RoadPlace
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from typing_extensions import override

from citybrain.gateway.methods import Route
from citybrain.mesh.access.installation import caller_token
from citybrain.mesh.access.keys import KeyRing
from citybrain.mesh.events import message_class
from citybrain.mesh.settings.values import Settings
from tests.helpers.protocols import ROUTES, Ask, descriptor_of

LIMIT_S = 20
SUBJECT = "fuzz-"
# What a caller must never read: where something stands in the code, on a disk or in the network behind the gateway.
INTERNAL = re.compile(
    r"Traceback|File \"|\.py\b|\.lua\b|\.db\b|\.jsonl?\b(?!\")|/tmp/|/dev/shm/|/usr/|/home/|/root/|/var/|/proc/|site-packages"
    r"|citybrain\.(?:mesh\.(?!v1)|services|sagas\.(?!v1)|event_store|gateway\.\w|local\b(?!/identity)|observability)"
    r"|sqlite|nameko|eventlet|greenlet|asyncio|joserfc|protovalidate|google\.protobuf\.(?:message|internal)|_pb2"
    r"|object at 0x|<class |\bNoneType\b|\b(?:Key|Type|Value|Attribute|Index|Runtime|Decode|Assertion|Recursion)Error\b"
    r"|\bgrpc\.aio\b|StatusCode\."
)
# Codes that say that something broke here.
OUR_FAULT = {2: "UNKNOWN", 13: "INTERNAL", 15: "DATA_LOSS"}
UNAVAILABLE, LATE, CANCELLED = 14, 4, 1
# Codes after which nobody says that nothing was done.
UNDECIDED = {UNAVAILABLE, LATE, CANCELLED, 10}
# Commands over several streams write down each step, so that a retry goes on from there. A later step may be refused by its
# department (FAILED_PRECONDITION, RESOURCE_EXHAUSTED), never for who calls or what they say.
STEPS = ("Chosen", "ChoiceRefused", "BedReserved", "BedCancelled")
REFUSED_LATER = (8, 9)
STRANGE = [
    "",
    " ",
    "a",
    "x",
    "-1",
    "0",
    "NaN",
    "1e999",
    "null",
    "e1",
    "inc-0123456789ab",
    "a/b",
    "../..",
    "%2e%2e%2f",
    "%00",
    "\x00\n\t",
    "北京",
    "🚑" * 20,
    "e\u0301" * 30,
    "\u202eabc",
    "\u200b",
    "\ufeff",
    "\ud7ff",
    "\uffff",
    "ﷺ" * 10,
    "İı",
    "ß",
    "x" * 130,
    "x" * 5000,
    "';--",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "<script>",
    "%s%n",
    "a|b",
    "service:sagas",
    "audit/anchors",
    "*",
    "\r\nx: y",
]
ODD_NUMBERS = [
    -1,
    0,
    1,
    2**31 - 1,
    2**31,
    -(2**31) - 1,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    2**64,
    10**30,
    1.5,
    1e308,
    -0.0,
    5e-324,
]
# By no call of these is time moved, or waited for.
NOT_CALLED = ("ClockService/Advance", "ClockService/Rest")
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass
class Answer:
    """What came back: the number of the gRPC code (None: the connection ended, or nobody can tell), and all of it."""

    code: int | None
    raw: str
    domain: str = ""
    http: int = 200


@dataclass
class Findings:
    """What was found. `reached`: requests with a good token that a service answered."""

    sent: Counter[str] = field(default_factory=Counter)
    reached: int = 0
    # The code with which a caller was refused.
    refused: dict[str, int] = field(default_factory=dict)
    codes: Counter[int | None] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    # What was said to some callers for whom something was unavailable.
    unavailable: list[str] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        """Adds those of another thread."""
        self.sent += other.sent
        self.codes += other.codes
        self.reached += other.reached
        self.refused |= other.refused
        self.faults += other.faults
        self.unavailable += other.unavailable

    @override
    def __str__(self) -> str:
        total = sum(self.sent.values())
        codes = ", ".join(f"{code}: {number}" for code, number in sorted(self.codes.items(), key=lambda one: str(one[0])))
        return (
            f"{total} requests, {self.reached} ({self.reached / max(1, total):.0%}) reached a service with a good token; "
            f"codes {codes}; kinds {dict(self.sent)}; {len(self.faults)} faults"
        )


class Fuzzer:
    """One caller at a time, with a seed. `secrets`: texts of this city that nobody may be told, e.g. where its data is."""

    def __init__(self, seed: int, gateway: str, past: str, settings: Settings, ring: KeyRing) -> None:
        self.seed = seed
        self.found = Findings()
        self._dice = random.Random(seed)
        self._gateway, self._past = gateway, past
        self._settings, self._ring = settings, ring
        # A short name of a host may be part of any text.
        self._secrets = [str(settings.data), past, *(name for name in (socket.gethostname(),) if len(name) > 5)]
        self._channels = {address: grpc.insecure_channel(address) for address in (gateway, past)}
        self._connection = http.client.HTTPConnection(gateway, timeout=LIMIT_S)
        self._known = {"incident_id": ["inc-0123456789ab"], "district_id": ["west", "east"], "edge_id": ["e1", "e4"]}
        self._number = 0
        self._routes = [route for name, route in ROUTES.items() if name not in NOT_CALLED]
        self._kinds: list[tuple[int, Callable[[str], Answer]]] = [
            (22, self._message_in_grpc), (6, self._message_past), (16, self._message_in_json), (8, self._message_in_web),
            (4, self._report), (8, self._bytes_in_grpc), (4, self._bytes_past), (12, self._odd_json), (5, self._odd_frames),
            (5, self._odd_headers), (4, self._odd_path), (4, self._bad_token), (1, self._raw_http), (1, self._raw_http2),
        ]  # fmt: skip

    def close(self) -> None:
        """Hangs up."""
        for channel in self._channels.values():
            channel.close()
        self._connection.close()

    def run(self, requests: int) -> Findings:
        """Sends so many."""
        kinds = [one for _, one in self._kinds]
        weights = [weight for weight, _ in self._kinds]
        for kind in self._dice.choices(kinds, weights, k=requests):
            self._one(kind)
        return self.found

    def _one(self, kind: Callable[[str], Answer]) -> None:
        self._number += 1
        self._good, self._hurried = True, False
        subject = f"{SUBJECT}{self.seed}-{self._number}"
        name = kind.__name__.removeprefix("_")
        try:
            answer = kind(subject)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            answer = Answer(None, f"{type(error).__name__}")
        found = self.found
        found.sent[name] += 1
        found.codes[answer.code] += 1
        if self._good and answer.code is not None and (answer.code == 0 or answer.domain == "citybrain"):
            found.reached += 1
        if answer.code == UNAVAILABLE:
            found.unavailable.append(f"{name}: {answer.raw[:400]}")
        if answer.code is not None and answer.code != 0 and answer.code not in UNDECIDED:
            found.refused[subject] = answer.code
        if wrong := self._wrong(answer):
            found.faults.append(f"{subject} {name}: {wrong}\n    {answer.raw[:1500]!r}\n    {self._said[:500]!r}")

    def _wrong(self, answer: Answer) -> str:
        if answer.code in OUR_FAULT:
            return OUR_FAULT[answer.code]
        if answer.code == LATE and not self._hurried:
            return "it took too long"
        if answer.http >= 500 and answer.code != UNAVAILABLE and not (answer.code == LATE and self._hurried):
            return f"{answer.http} with code {answer.code}"
        # What the caller has said may come back.
        told = answer.raw
        if (leak := INTERNAL.search(told)) and leak.group() not in self._said:
            return f"tells of {leak.group()!r}"
        for secret in self._secrets:
            if secret in told:
                return f"tells of {secret}"
        return ""

    # -- parts ------------------------------------------------------------------------------------------------------------

    def _headers(self, subject: str, **more: str) -> dict[str, str]:
        token = caller_token(self._settings, self._ring, subject=subject)
        return {"authorization": f"Bearer {token}", "x-request-id": subject, **more}

    def _filled(self, route: Route) -> Message:
        message: Message = message_class(descriptor_of(route).input_type.full_name)()
        self._fill(message, 0)
        self._said = str(message)
        return message

    def _for_json(self, route: Route) -> Message:
        """One that JSON can say: it has no moment that no calendar has."""
        while True:
            message = self._filled(route)
            try:
                json_format.MessageToJson(message)
            except json_format.SerializeToJsonError:
                continue
            return message

    def _fill(self, message: Any, depth: int) -> None:
        careful = self._dice.random() < 0.7
        for one in message.DESCRIPTOR.fields:
            if depth > 3 or self._dice.random() < (0.1 if careful else 0.4):
                continue
            if one.message_type is not None and one.message_type.GetOptions().map_entry:
                continue
            for _ in range(self._dice.choice([0, 1, 1, 2, 5]) if one.is_repeated else 1):
                if one.message_type is not None:
                    inner = getattr(message, one.name).add() if one.is_repeated else getattr(message, one.name)
                    if not one.is_repeated:
                        inner.SetInParent()
                    self._fill(inner, depth + 1)
                else:
                    value = self._value(one, careful)
                    if one.is_repeated:
                        getattr(message, one.name).append(value)
                    else:
                        setattr(message, one.name, value)

    def _value(self, one: FieldDescriptor, careful: bool) -> Any:
        dice = self._dice
        if one.type == FieldDescriptor.TYPE_BYTES:
            return dice.randbytes(dice.randrange(20))
        if one.type == FieldDescriptor.TYPE_STRING:
            known = self._known.get(one.name, [])
            return (
                dice.choice(known) if known and dice.random() < 0.7 else dice.choice(["x", "e1", "a0"] if careful else STRANGE)
            )
        if one.enum_type is not None:
            numbers = [value.number for value in one.enum_type.values]
            return dice.choice(numbers) if careful else dice.randrange(-(2**31), 2**31)
        if one.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return dice.random() < 0.5
        if one.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
            return dice.uniform(0, 60) if careful else dice.choice([math.nan, math.inf, -math.inf, -1.0, 1e308, 5e-324])
        unsigned = one.cpp_type in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
        bits = 32 if one.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32) else 64
        if careful:
            return dice.randrange(60)
        return dice.choice([0, 2**bits - 1] if unsigned else [-(2 ** (bits - 1)), -1, 2 ** (bits - 1) - 1])

    def _hurry(self, route: Route) -> dict[str, str]:
        """Streams do not end by themselves."""
        if not route.streaming:
            return {}
        self._hurried = True
        return {"grpc-timeout": "50m"}

    # -- gRPC -------------------------------------------------------------------------------------------------------------

    def _by_grpc(self, address: str, route: Route, content: bytes, headers: dict[str, str]) -> Answer:
        channel = self._channels[address]
        make: Any = channel.unary_stream if route.streaming else channel.unary_unary
        call = make(route.path, bytes, bytes)
        self._hurried = self._hurried or route.streaming
        try:
            told = call(content, metadata=tuple(headers.items()), timeout=0.05 if route.streaming else LIMIT_S)
            if route.streaming:
                told = next(told)
            return Answer(0, told.decode("utf-8", "replace"), "citybrain")
        except StopIteration:
            return Answer(0, "", "citybrain")
        except grpc.RpcError as caught:
            error: Any = caught
            trailers = dict(error.trailing_metadata() or ())
            if route.streaming and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                # It was open.
                return Answer(LATE, error.details() or "", "citybrain")
            raw = f"{error.details()} {trailers}"
            return Answer(error.code().value[0], raw, _domain(trailers.get("grpc-status-details-bin", b"")))

    def _message_in_grpc(self, subject: str) -> Answer:
        route = self._dice.choice(self._routes)
        return self._by_grpc(self._gateway, route, self._filled(route).SerializeToString(), self._headers(subject))

    def _message_past(self, subject: str) -> Answer:
        route = self._dice.choice(self._routes)
        return self._by_grpc(self._past, route, self._filled(route).SerializeToString(), self._headers(subject))

    def _mutated(self, route: Route) -> bytes:
        dice = self._dice
        content = bytearray(self._filled(route).SerializeToString())
        for _ in range(dice.randrange(1, 6)):
            match dice.randrange(4):
                case 0 if content:
                    content[dice.randrange(len(content))] = dice.randrange(256)
                case 1:
                    content[dice.randrange(len(content) + 1) :] = b""
                case 2:
                    content += dice.randbytes(dice.randrange(1, 40))
                case _:
                    # A field that no contract has.
                    content += bytes([0xFA, 0x3F, 3]) + b"abc"
        return bytes(content)

    def _bytes_in_grpc(self, subject: str) -> Answer:
        route = self._dice.choice(self._routes)
        return self._by_grpc(self._gateway, route, self._mutated(route), self._headers(subject))

    def _bytes_past(self, subject: str) -> Answer:
        route = self._dice.choice(self._routes)
        return self._by_grpc(self._past, route, self._mutated(route), self._headers(subject))

    def _report(self, subject: str) -> Answer:
        """An emergency that is taken, so that there is something to ask for."""
        request = command.ReportEmergencyRequest(
            channel=command.CHANNEL_APP, severity=command.SEVERITY_MINOR, place=RoadPlace(edge_id="far", position_m=1)
        )
        self._said = str(request)
        route = ROUTES["EmergencyCommandService/ReportEmergency"]
        if self._dice.random() < 0.9:
            route = ROUTES["EmergencyCommandService/ListIncidents"]
            request = command.ListIncidentsRequest(page_size=3)  # type: ignore[assignment]
        answer = self._by_grpc(self._gateway, route, request.SerializeToString(), self._headers(subject))
        self._known["incident_id"] = [*self._known["incident_id"][-50:], *re.findall(r"inc-[0-9a-f]{12}", answer.raw)]
        return answer

    # -- JSON -------------------------------------------------------------------------------------------------------------

    def _http(self, verb: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """On one connection, as long as it is open."""
        self._said += f"{path} {(body or b'').decode('utf-8', 'replace')} {headers}"
        self._connection.request(verb, path, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        raw = f"{response.getheaders()} {content.decode('utf-8', 'replace')}"
        kind = response.getheader("content-type", "")
        if "grpc" in kind:
            return _web_answer(response, content, raw)
        code: int | None = 0 if response.status < 400 else None
        domain = "citybrain" if code == 0 else ""
        if kind.startswith("application/json") and response.status >= 400:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                told = json.loads(content)
                code = int(told["code"])
                domain = next((one.get("domain", "") for one in told["details"] if "domain" in one), "")
        return Answer(code, raw, domain, response.status)

    def _message_in_json(self, subject: str) -> Answer:
        route = self._dice.choice([route for route in self._routes if route.http])
        verb, path, body = Ask(_name(route), self._for_json(route)).http()
        return self._http(
            verb, path, body, self._headers(subject, **{"content-type": "application/json"}, **self._hurry(route))
        )

    def _odd_json(self, subject: str) -> Answer:
        dice = self._dice
        route = dice.choice([route for route in self._routes if route.http])
        verb, path, body = route.http[0]
        said: Any = json.loads(json_format.MessageToJson(self._for_json(route)))
        for _ in range(dice.randrange(1, 4)):
            said = self._spoilt(said)
        path = re.sub(r"\{[a-z_]+\}", lambda _: quote(str(dice.choice(STRANGE)), safe="") or "x", path)
        text = json.dumps(said, ensure_ascii=dice.random() < 0.5)
        if dice.random() < 0.2:
            place = dice.randrange(len(text) + 1)
            text = (
                text[:place]
                + dice.choice(["{", "}", ",", '"', "\\u00", "1e5e5", "NaN", "/*", "\x00", "[" * 200])
                + text[place:]
            )
        if not body:
            path += "?" + "&".join(
                f"{quote(str(k))}={quote(str(v))}" for k, v in (said if isinstance(said, dict) else {}).items()
            )
        headers = self._headers(subject, **{"content-type": "application/json"}, **self._hurry(route))
        return self._http(verb, path[:9000], text.encode("utf-8", "surrogatepass") if body else None, headers)

    def _spoilt(self, said: Any) -> Any:
        dice = self._dice
        odd: list[Any] = [None, True, [], {}, [[]], {"a": {}}, dice.choice(STRANGE), dice.choice(ODD_NUMBERS), "1" * 400]
        if isinstance(said, dict) and said and dice.random() < 0.8:
            name = dice.choice(list(said))
            match dice.randrange(4):
                case 0:
                    return {**said, name: self._spoilt(said[name])}
                case 1:
                    return {**said, name: dice.choice(odd)}
                case 2:
                    return {**said, dice.choice([*STRANGE, name.upper(), f"{name}x", "@type"]): dice.choice(odd)}
                case _:
                    return {key: value for key, value in said.items() if key != name}
        if isinstance(said, list) and said and dice.random() < 0.8:
            return [self._spoilt(said[0]), *said[1:]]
        return dice.choice(odd)

    # -- gRPC-Web ---------------------------------------------------------------------------------------------------------

    def _web(self, route: Route, body: bytes, headers: dict[str, str]) -> Answer:
        kind = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
        return self._http("POST", route.path, body, {**kind, **headers, **self._hurry(route)})

    def _message_in_web(self, subject: str) -> Answer:
        route = self._dice.choice(self._routes)
        content = self._filled(route).SerializeToString()
        return self._web(route, struct.pack(">BI", 0, len(content)) + content, self._headers(subject))

    def _odd_frames(self, subject: str) -> Answer:
        """Frames of gRPC with other lengths and flags, more of them than one, and text that is no base64."""
        dice = self._dice
        route = dice.choice(self._routes)
        content = self._filled(route).SerializeToString()
        frame = (
            struct.pack(
                ">BI", dice.choice([0, 0, 0, 1, 2, 0x80, 255]), max(0, len(content) + dice.choice([0, 0, -1, 1, 100, 2**31]))
            )
            + content
        )
        body = dice.choice(
            [frame, frame + frame, frame[: dice.randrange(len(frame) + 1)], b"", dice.randbytes(30), frame + b"\x00"]
        )
        if dice.random() < 0.3:
            text = base64.b64encode(body) if dice.random() < 0.5 else body
            return self._web(route, text, self._headers(subject, **{"content-type": "application/grpc-web-text"}))
        if dice.random() < 0.3:
            return self._web(route, body, self._headers(subject, **{"content-type": "application/grpc"}))
        return self._web(route, body, self._headers(subject))

    # -- headers, paths, tokens -------------------------------------------------------------------------------------------

    def _odd_headers(self, subject: str) -> Answer:
        dice = self._dice
        names = [
            "grpc-timeout",
            "grpc-encoding",
            "grpc-accept-encoding",
            "content-encoding",
            "te",
            "accept",
            "accept-encoding",
            "traceparent",
            "tracestate",
            "baggage",
            "x-caller",
            "x-causation-id",
            "x-stream-id",
            "x-request-id",
            "x-forwarded-for",
            "x-envoy-upstream-rq-timeout-ms",
            "x-token-subject",
            "user-agent",
            "cookie",
            "x-odd",
            "x_odd",
            "x-odd-bin",
            "grpc-previous-rpc-attempts",
            "grpc-tags-bin",
            "expect",
            "content-type",
            "host",
            "upgrade",
            "connection",
            "range",
            "if-match",
            "grpc-status",
            "grpc-message",
            "x-gateway-reason",
        ]
        values = [
            "",
            "0",
            "1m",
            "-1S",
            "99999999H",
            "1n",
            "gzip",
            "identity",
            "deflate, br",
            "trailers",
            "*/*",
            "x" * 300,
            "北京".encode().decode("latin-1"),
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "\xff\xfe",
            "a=b;c",
            "100-continue",
            "application/grpc+json",
            "text/html",
            ",,,",
        ]
        headers = self._headers(subject, **{"content-type": "application/json"})
        for _ in range(dice.randrange(1, 4)):
            headers[dice.choice(names)] = dice.choice(values)
        self._hurried = True
        route = dice.choice([route for route in self._routes if route.http and not route.streaming])
        verb, path, body = Ask(_name(route), self._for_json(route)).http()
        return self._http(verb, path, body, headers)

    def _odd_path(self, subject: str) -> Answer:
        dice = self._dice
        route = dice.choice([route for route in self._routes if route.http and not route.streaming])
        path = dice.choice([route.path, route.http[0][1]])
        for _ in range(dice.randrange(1, 4)):
            place = dice.randrange(1, len(path) + 1)
            path = (
                path[:place]
                + dice.choice(["/", "//", "/../", "%2f", "%00", ":", "%", ";x", "?", "#", "é", "%ff", "{", "\\", "."])
                + path[place:]
            )
        self._said = path
        headers = self._headers(
            subject, **{"content-type": dice.choice(["application/json", "application/grpc", "text/plain"])}
        )
        verb = dice.choice(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"])
        return self._http(verb, quote(path, safe="/%?#:;{}\\&="), b"{}" if verb in ("POST", "PUT", "PATCH") else None, headers)

    def _bad_token(self, subject: str) -> Answer:
        dice = self._dice
        self._good = False
        good = self._headers(subject)["authorization"]
        place = dice.randrange(len("Bearer "), len(good))
        told = dice.choice(
            [
                None,
                "",
                "Bearer",
                "Bearer  ",
                "Basic eDp5",
                good[7:],
                good[:place],
                good[:place] + "A" + good[place:],
                good + "." + good,
                "Bearer " + ".".join(base64.urlsafe_b64encode(dice.randbytes(30)).decode() for _ in range(3)),
                "Bearer " + "x" * 9000,
                "Bearer e30.e30.",
                f"Bearer {base64.urlsafe_b64encode(b'[' * 3000).decode()}.e30.e30",
            ]
        )
        headers = {"x-request-id": subject} | ({} if told is None else {"authorization": told})
        route = dice.choice(self._routes)
        message = self._filled(route)
        if dice.random() < 0.5:
            return self._by_grpc(dice.choice([self._gateway, self._past]), route, message.SerializeToString(), headers)
        verb, path, body = Ask(_name(route), self._for_json(route)).http()
        return self._http(verb, path, body, {**headers, "content-type": "application/json"})

    # -- bytes on the wire ------------------------------------------------------------------------------------------------

    def _raw(self, address: str, content: bytes) -> Answer:
        """Whatever is answered until the connection ends or says nothing more."""
        host, _, port = address.rpartition(":")
        told = b""
        with socket.create_connection((host, int(port)), timeout=0.2) as connection, contextlib.suppress(OSError):
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while len(told) < 100_000 and (more := connection.recv(65536)):
                told += more
        text = told.decode("utf-8", "replace")
        status = re.match(r"HTTP/1\.\d (\d{3})", text)
        number = int(status.group(1)) if status else 200
        code = UNAVAILABLE if number == 503 else None
        return Answer(code, text, "", number)

    def _raw_http(self, subject: str) -> Answer:
        dice = self._dice
        self._good = False
        head = f"POST /v1/incidents HTTP/1.1\r\nhost: city\r\nauthorization: {self._headers(subject)['authorization']}\r\n"
        text = head.encode() + dice.choice(
            [
                b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
                b"transfer-encoding: chunked\r\n\r\nZ\r\n",
                b"content-length: -1\r\n\r\n",
                b"content-length: 99999999999999999999\r\n\r\n",
                b"\r\n",
                b"no colon\r\n\r\n",
                b"x:" + b"y" * 70_000 + b"\r\n\r\n",
                b": x\r\n\r\n",
                b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
                b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
            ]
        )
        if dice.random() < 0.5:
            content = bytearray(text)
            for _ in range(dice.randrange(1, 10)):
                content[dice.randrange(len(content))] = dice.randrange(256)
            text = bytes(content)
        self._said = text.decode("utf-8", "replace")
        return self._raw(dice.choice([self._gateway, self._gateway, self._past]), text)

    def _raw_http2(self, subject: str) -> Answer:
        """Frames of HTTP/2: half of them as they should be, with a call in gRPC that has frames of its own."""
        dice = self._dice
        self._good = False
        route = dice.choice(self._routes)
        message = self._filled(route).SerializeToString()
        headers = {
            ":method": "POST", ":scheme": "http", ":path": route.path, ":authority": "city", "content-type": "application/grpc",
            "te": "trailers", **self._headers(subject),
        }  # fmt: skip
        block = b"".join(b"\x00" + _packed(name) + _packed(value) for name, value in headers.items())
        frames = [
            _frame(4, 0, 0, b""),
            _frame(1, 4, 1, block),
            _frame(0, 1, 1, struct.pack(">BI", dice.choice([0, 1, 7]), dice.choice([len(message), 2**31])) + message),
        ]
        for _ in range(dice.randrange(0, 5)):
            kind, stream = dice.randrange(12), dice.choice([0, 1, 1, 3, 2, 2**31 - 1])
            frames.insert(
                dice.randrange(len(frames) + 1), _frame(kind, dice.randrange(256), stream, dice.randbytes(dice.randrange(40)))
            )
        self._said = str(frames)
        return self._raw(dice.choice([self._gateway, self._gateway, self._past]), _PREFACE + b"".join(frames))


def after(data: Path, found: Findings, log: Path, seconds: float = 10) -> list[str]:
    """What is wrong in a city's files after a run: what refused calls wrote, and what its services could not handle."""
    end = time.monotonic() + seconds
    with contextlib.closing(sqlite3.connect(data / "events.db")) as database:
        sql = "SELECT DISTINCT actor, type FROM events WHERE actor LIKE 'fuzz-%' AND stream NOT LIKE 'audit/%'"
        wrote = [
            f"{actor} was refused with {found.refused[actor]}, and wrote {kind}"
            for actor, kind in database.execute(sql)
            if actor in found.refused and not (kind.endswith(STEPS) and found.refused[actor] in REFUSED_LATER)
        ]
    assert time.monotonic() < end
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return wrote + [line for line in lines if '"level": "error"' in line or "Traceback" in line]


def _name(route: Route) -> str:
    return f"{route.grpc.rpartition('.')[2]}/{route.method}"


def _packed(text: str) -> bytes:
    """A text of HPACK, as it is."""
    data = text.encode()
    size, length = bytearray(), len(data)
    if length < 127:
        return bytes([length]) + data
    size.append(127)
    length -= 127
    while length >= 128:
        size.append(length % 128 + 128)
        length //= 128
    return bytes([*size, length]) + data


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def _domain(status: bytes) -> str:
    info = error_details_pb2.ErrorInfo()
    with contextlib.suppress(Exception):
        for packed in status_pb2.Status.FromString(status).details:
            if packed.Unpack(info):
                return str(info.domain)
    return ""


def _web_answer(response: http.client.HTTPResponse, content: bytes, raw: str) -> Answer:
    trailers = {key.lower(): value for key, value in response.getheaders()}
    for match in re.finditer(rb"(grpc-[a-z-]+):\s*([^\r\n]*)", content):
        trailers[match.group(1).decode()] = match.group(2).decode("latin-1")
    status = trailers.get("grpc-status-details-bin", "")
    try:
        details = base64.b64decode(status + "=" * (-len(status) % 4))
    except ValueError:
        details = b""
    code = int(trailers["grpc-status"]) if trailers.get("grpc-status", "").isdigit() else None
    return Answer(code, raw, "citybrain" if code == 0 else _domain(details), response.status)
