"""Each security mechanism: where it is, a patch that switches it off, and the tests that must then fail.

It is long because it is a list. docs/threat-model.md shows it as a table, and a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

ATTACKS = "tests/e2e/access/test_attacks.py"
EACH = f"{ATTACKS}::test_each_attack_is_refused_in_the_same_words_everywhere_does_nothing_and_is_recorded"
SEEN = "tests/e2e/access/test_seen.py"
OTHERS = f"{SEEN}::test_a_caller_of_a_district_does_nothing_to_another"
LOAD = "tests/e2e/access/test_under_load.py"
BUCKETS = f"{LOAD}::test_each_caller_with_a_token_of_the_city_has_a_bucket_of_its_own"
GATEWAY = "tests/gateway"
GUARD = "tests/unit/mesh/access/test_guard.py"
TRACES = "tests/unit/mesh/access/test_traces.py"
RECORDING = "tests/unit/mesh/access/test_recording.py"
REDACTION = "tests/unit/mesh/access/test_redaction.py"
VERIFYING = "tests/unit/mesh/access/test_verifying.py"
KEYS = "tests/unit/mesh/access/test_keys.py"
TRAIL = "tests/unit/mesh/test_audit_trail.py"
CHECKED = "tests/unit/mesh/test_audit_verifying.py"
LEAKS = "tests/unit/test_never_told.py::test_a_mark_that_a_service_tells_is_found_and_what_the_kit_keeps_out_is_not"


@dataclass(frozen=True, slots=True)
class Mechanism:
    """A mechanism. `patch`: texts that stand once in the file, and what they become. Every one of `tests` must fail by it."""

    id: str
    what: str
    file: str
    patch: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """The text of the file without the mechanism. ValueError: the patch does not fit any more."""
        for old, new in self.patch:
            if text.count(old) != 1:
                raise ValueError(f"{self.id}: {self.file} has {text.count(old)} times, and not once: {old!r}")
            text = text.replace(old, new)
        return text


def _m(name: str, what: str, file: str, old: str, new: str, *tests: str) -> Mechanism:
    return Mechanism(name, what, file, ((old, new),), tests)


_DOWNSTREAM = (
    'DownstreamTlsContext",\n        "common_tls_context": {\n            "tls_params": {"tls_minimum_protocol_version": '
)

MECHANISMS: tuple[Mechanism, ...] = (
    # -- the gateway ----------------------------------------------------------------------------------------------------------
    _m(
        "gateway-token",
        "each call needs a good token",
        "gateway/filters.py",
        '        "jwt_authn": jwt_authn(settings, keys, answered),\n',
        "",
        EACH,
        f"{GATEWAY}/test_tokens.py::test_every_method_needs_a_token_in_every_form_and_health_does_not",
    ),
    _m(
        "gateway-issuers",
        "no gateway is made without an issuer of tokens",
        "gateway/settings.py",
        "        if not names:\n",
        "        if False:\n",
        "tests/unit/gateway/test_configuration.py::test_there_is_no_gateway_without_an_issuer",
    ),
    _m("gateway-audience", "for this city", "gateway/access.py", '        "audiences": list(issuer.audiences),\n', "", EACH),
    _m(
        "gateway-expiration",
        "with an end",
        "gateway/access.py",
        '"require_expiration": True',
        '"require_expiration": False',
        EACH,
    ),
    _m("gateway-clock-skew", "which is not over", "gateway/access.py", "_SKEW_S = 10\n", "_SKEW_S = 100000\n", EACH),
    _m(
        "gateway-subject",
        "of somebody",
        "gateway/access.py",
        '        "subjects": {"safe_regex": {"regex": ".+"}},\n',
        "",
        f"{GATEWAY}/test_tokens.py::test_what_is_no_good_token_is_refused_and_reaches_nobody",
    ),
    _m(
        "gateway-one-header",
        "in one header alone",
        "gateway/access.py",
        '        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],\n',
        "",
        f"{GATEWAY}/test_tokens.py::test_a_token_counts_only_where_it_belongs",
    ),
    _m(
        "gateway-one-token",
        "and one alone",
        "gateway/request_checks.lua",
        'if token:find("Bearer ", 1, true) and not token:find("^Bearer [%w%-_.]+$") then',
        "if false then",
        f"{GATEWAY}/test_tokens.py::test_of_two_tokens_none_is_taken",
    ),
    _m(
        "gateway-open-paths",
        "only health and pages need none",
        "gateway/access.py",
        'WITHOUT_TOKEN = (f"/{HEALTH}/Check",)',
        'WITHOUT_TOKEN = (f"/{HEALTH}/Check", "/citybrain.emergency_command.v1.EmergencyCommandService/GetIncident")',
        EACH,
        f"{GATEWAY}/test_tokens.py::test_every_method_needs_a_token_in_every_form_and_health_does_not",
    ),
    Mechanism(
        "gateway-order",
        "what decides comes after the transcoder",
        "gateway/filters.py",
        (
            ('    "grpc_json_transcoder",\n    # Gives', "    # Gives"),
            (
                '    "local_ratelimit",\n    "grpc_stats",',
                '    "local_ratelimit",\n    "grpc_json_transcoder",\n    "grpc_stats",',
            ),
        ),
        (f"{GATEWAY}/test_consumers.py::test_each_kind_of_method_has_a_bucket_of_its_own",),
    ),
    _m(
        "gateway-identity-headers",
        "headers that say who calls are removed",
        "gateway/edge.py",
        '*({"remove": name} for name in (*UNTRUSTED_HEADERS, *OF_ANSWERS)),',
        '*({"remove": name} for name in OF_ANSWERS),',
        f"{GATEWAY}/test_tokens.py::test_where_no_token_is_asked_no_header_says_who_calls",
        f"{GATEWAY}/test_traces.py::test_spans_of_envoy_continue_the_callers_trace",
    ),
    _m(
        "gateway-answer-headers",
        "headers of answers too",
        "gateway/edge.py",
        "(*UNTRUSTED_HEADERS, *OF_ANSWERS)",
        "UNTRUSTED_HEADERS",
        f"{GATEWAY}/test_edge.py::test_what_only_answers_have_breaks_no_call",
    ),
    _m(
        "gateway-traces",
        "before the public a trace of callers is not continued",
        "gateway/edge.py",
        "if settings.continues else []",
        "if settings else []",
        f"{GATEWAY}/test_traces.py::test_before_the_public_a_trace_from_outside_is_a_link_for_services_and_changes_nothing",
    ),
    _m(
        "gateway-broken-traces",
        "what is no trace has no effect",
        "gateway/edge.py",
        """f"%CEL({_IS_TRACE} ? {_TOLD} : '{NO_TRACE}')%\"""",
        """"%REQ(TRACEPARENT)%\"""",
        f"{GATEWAY}/test_traces.py::test_a_broken_trace_from_outside_has_no_effect",
    ),
    _m(
        "gateway-own-headers",
        "no service gets what the gateway writes for itself",
        "gateway/configuration.py",
        '"request_headers_to_remove": list(FROM_TOKEN),',
        '"request_headers_to_remove": [],',
        f"{GATEWAY}/test_tokens.py::test_a_token_is_taken_and_the_service_gets_it_but_nothing_that_only_looks_checked",
    ),
    _m(
        "gateway-binary-headers",
        "binary headers are removed",
        "gateway/edge.py",
        '                {"remove_on_match": {"key_matcher": {"suffix": "-bin"}}},\n',
        "",
        f"{GATEWAY}/test_limits.py::test_a_binary_header_from_outside_is_taken_away_and_breaks_no_call",
    ),
    _m(
        "gateway-closed",
        "a method without a scope has no route",
        "gateway/methods.py",
        "if method.client_streaming or not scope:",
        "if method.client_streaming:",
        f"{GATEWAY}/test_calls.py::test_a_method_without_scope_is_closed",
        f"{GATEWAY}/test_edge.py::test_no_spelling_of_a_path_leads_to_a_method_that_is_closed",
    ),
    _m(
        "gateway-clock",
        "the clock has none, unless time is driven",
        "gateway/methods.py",
        "    if driven:\n",
        "    if True:\n",
        "tests/unit/gateway/test_configuration.py::test_the_clock_is_open_only_when_driven",
    ),
    _m(
        "gateway-limits",
        "each caller has buckets of its own",
        "gateway/filters.py",
        '        "local_ratelimit": local_ratelimit(settings),\n',
        "",
        BUCKETS,
        f"{GATEWAY}/test_consumers.py::test_who_calls_too_often_is_told_so_and_when_to_come_again",
    ),
    _m(
        "gateway-path-decides",
        "a query does not replace the path",
        "gateway/request_checks.lua",
        "  if name ~= nil then\n    return refuse(handle, shown(name), problem)\n  end\n",
        "",
        f"{GATEWAY}/test_json_calls.py::test_a_query_parameter_never_takes_the_place_of_what_the_path_says",
    ),
    _m(
        "gateway-unknown-fields",
        "fields that no contract has are refused",
        "gateway/json_checks.lua",
        '      fail("is no field of this request: " .. near(name, known.names))\n',
        "      field = { name = name, kind = 'any' }\n",
        f"{GATEWAY}/test_json_calls.py::test_a_field_that_no_contract_has_is_refused_by_name_with_what_was_near_it_wherever_it_stands",
    ),
    _m(
        "gateway-whole-message",
        "a call in gRPC has one whole message",
        "gateway/request_checks.lua",
        "  if d == nil or ((a * 256 + b) * 256 + c) * 256 + d ~= bytes - 5 then",
        "  if false then",
        f"{GATEWAY}/test_edge.py::test_what_is_no_whole_message_is_refused_and_keeps_nobody_waiting",
    ),
    _m(
        "gateway-encoded-slashes",
        "encoded slashes are refused",
        "gateway/configuration.py",
        '"path_with_escaped_slashes_action": "REJECT_REQUEST"',
        '"path_with_escaped_slashes_action": "KEEP_UNCHANGED"',
        f"{GATEWAY}/test_edge.py::test_a_slash_that_is_encoded_is_refused_with_words",
    ),
    _m(
        "gateway-dots",
        "dots in paths are resolved first",
        "gateway/configuration.py",
        '"normalize_path": True',
        '"normalize_path": False',
        f"{GATEWAY}/test_edge.py::test_a_path_is_read_as_browsers_and_rules_read_it",
    ),
    _m(
        "gateway-underscores",
        "header underscores are refused",
        "gateway/configuration.py",
        '"headers_with_underscores_action": "REJECT_REQUEST"',
        '"headers_with_underscores_action": "ALLOW"',
        f"{GATEWAY}/test_edge.py::test_a_header_with_an_underscore_is_refused",
    ),
    Mechanism(
        "gateway-body-size",
        "bodies have a limit",
        "gateway/filters.py",
        (
            ('"max_request_bytes": settings.max_request_bytes}', '"max_request_bytes": 2**30}'),
            ("request_checks(routes, descriptors, settings.max_request_bytes)", "request_checks(routes, descriptors, 2**30)"),
            ('"max_request_body_size": settings.max_request_bytes', '"max_request_body_size": 2**30'),
        ),
        (f"{GATEWAY}/test_limits.py::test_the_limit_of_a_body_is_for_the_whole_of_it_however_it_is_cut",),
    ),
    _m(
        "gateway-header-size",
        "headers have a limit",
        "gateway/request_checks.lua",
        "if bytes > MOST_HEADER_BYTES then",
        "if false then",
        f"{GATEWAY}/test_limits.py::test_headers_that_are_too_large_are_refused_by_the_gateway_in_its_own_words",
    ),
    _m(
        "gateway-slow-senders",
        "a request has to arrive in time",
        "gateway/configuration.py",
        '"request_timeout": f"{settings.arrival_s:g}s"',
        '"request_timeout": "0s"',
        f"{GATEWAY}/test_limits.py::test_a_request_that_does_not_arrive_in_time_is_ended_with_words",
    ),
    _m(
        "gateway-lane",
        "large bodies share a lane",
        "gateway/outermost.lua",
        "  if bytes > LARGE_BYTES then",
        "  if false then",
        f"{GATEWAY}/test_limits.py::test_one_peer_cannot_take_the_room_for_large_bodies_from_another_and_gives_it_back",
    ),
    _m(
        "gateway-breakers",
        "calls under way to a service have a limit",
        "gateway/clusters.py",
        '        "max_requests": calls,\n',
        '        "max_requests": 100000,\n',
        f"{GATEWAY}/test_kindness.py::test_streams_and_calls_have_limits_of_their_own_for_each_service",
    ),
    _m(
        "gateway-cors",
        "pages of other origins read nothing",
        "gateway/filters.py",
        '[{"exact": origin} for origin in settings.cors_origins]',
        '[{"prefix": "http"}]',
        f"{GATEWAY}/test_pages_that_call.py::test_a_page_of_another_origin_may_not_read_what_it_is_told",
    ),
    _m(
        "gateway-tls-version",
        "TLS 1.2 or later",
        "gateway/tls.py",
        _DOWNSTREAM + '"TLSv1_2"',
        # Envoy's own ciphers are for TLS 1.2 and later alone.
        _DOWNSTREAM + '"TLSv1_0", "cipher_suites": ["ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA"]',
        f"{GATEWAY}/test_tls.py::test_old_tls_is_refused",
    ),
    _m(
        "gateway-plain",
        "plain text only on this machine",
        "gateway/tls.py",
        "    if settings.takes_plain:\n",
        "    if True:\n",
        f"{GATEWAY}/test_tls.py::test_where_plain_text_may_not_be_only_tls_is_answered",
    ),
    _m(
        "gateway-admin",
        "Envoy's own pages are on this machine",
        "gateway/configuration.py",
        '_address("127.0.0.1", settings.admin_port)',
        '_address("0.0.0.0", settings.admin_port)',
        "tests/unit/gateway/test_configuration.py::test_admin_is_never_reachable_from_outside",
    ),
    _m(
        "gateway-log",
        "no query is logged",
        "gateway/edge.py",
        '"%PATH(NQ:ORIG)%"',
        '"%PATH(WQ:ORIG)%"',
        f"{GATEWAY}/test_failures.py::test_access_log_has_no_query_strings",
    ),
    _m(
        "gateway-public-keys",
        "published keys hold nothing private",
        "gateway/access.py",
        "**{part: key[part] for part in _PARTS[alg]}}",
        "**key}",
        f"{GATEWAY}/test_tokens.py::test_the_citys_keys_are_public_and_hold_nothing_private",
    ),
    # -- tokens ---------------------------------------------------------------------------------------------------------------
    _m(
        "service-token",
        "each method needs a token, past the gateway too",
        "mesh/runtime/guard.py",
        "        told = header(metadata, AUTHORIZATION)\n",
        "        told = header(metadata, AUTHORIZATION)\n        if not told:\n"
        '            return Principal("nobody", scopes=frozenset({"*"}), clearance=4)\n',
        EACH,
        f"{GUARD}::test_without_a_good_token_no_method_is_reached",
    ),
    Mechanism(
        "service-issuer",
        "of an issuer that is known",
        "mesh/access/verifying.py",
        (
            (
                'issuer = self._issuers.get(str(claims.get("iss", "")))',
                'issuer = self._issuers.get(str(claims.get("iss", "")), next(iter(self._issuers.values())))',
            ),
            ('        iss={"essential": True, "value": issuer.issuer},\n', ""),
        ),
        (EACH, f"{VERIFYING}::test_a_token_with_claims_that_are_not_good_is_refused_and_the_claim_named"),
    ),
    _m(
        "service-audience",
        "for this city",
        "mesh/access/verifying.py",
        '        aud={"essential": True, "value": issuer.audience},\n',
        "",
        EACH,
    ),
    _m("service-expiration", "with an end", "mesh/access/verifying.py", '        exp={"essential": True},\n', "", EACH),
    _m("service-expired", "which is not over", "mesh/access/verifying.py", "_LEEWAY_S = 30\n", "_LEEWAY_S = 100000\n", EACH),
    _m(
        "service-signature",
        "signed as we say (RS256, ES256) by its issuer",
        "mesh/access/verifying.py",
        "verified = jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims",
        "verified = dict(claims)",
        EACH,
        f"{VERIFYING}::test_a_token_says_nothing_about_how_it_is_verified",
        f"{VERIFYING}::test_a_changed_token_is_refused_wherever_it_is_changed",
    ),
    _m(
        "service-other-issuers",
        "others name no services, and do not give everything",
        "mesh/access/verifying.py",
        "if principal.actor or principal.subject.startswith(SERVICE) or EVERYTHING in principal.scopes:",
        "if False:",
        EACH,
        f"{VERIFYING}::test_a_token_with_claims_that_are_not_good_is_refused_and_the_claim_named",
    ),
    _m(
        "service-remembered",
        "a token that was verified is good until its end",
        "mesh/access/verifying.py",
        "return found if found is not None and time.time() < found.ends else None",
        "return found",
        f"{VERIFYING}::test_a_verified_token_is_known_until_it_ends_and_not_a_moment_longer",
    ),
    _m(
        "service-reflection",
        "reflection needs a token",
        "mesh/runtime/guard.py",
        "                await self._principal(context.invocation_metadata() or ())\n",
        "                pass\n",
        f"{GUARD}::test_what_every_process_answers_beside_its_services_is_guarded_too",
    ),
    _m(
        "own-tokens",
        "a service's own token allows what it calls",
        "mesh/access/own_tokens.py",
        'self._scopes[service] = " ".join(sorted(scopes))',
        'self._scopes[service] = "*"',
        f"{GUARD}::test_a_service_may_call_what_it_calls_and_nothing_else",
    ),
    _m(
        "given-tokens",
        "nobody gives a token for more than theirs",
        "services/identity/service.py",
        "        self.caller.require_at_least(request.scopes, request.clearance, request.district_id)\n",
        "",
        f"{ATTACKS}::test_a_token_is_given_for_no_more_than_its_giver_has",
    ),
    _m(
        "given-services",
        "nor in the name of a service",
        "mesh/access/installation.py",
        "if not subject or subject.startswith(SERVICE):",
        "if not subject:",
        f"{ATTACKS}::test_a_token_is_given_for_no_more_than_its_giver_has",
    ),
    _m(
        "keys-private",
        "private keys are for their owner alone",
        "mesh/access/keys.py",
        "os.O_TRUNC, 0o600)",
        "os.O_TRUNC, 0o644)",
        f"{KEYS}::test_nobody_else_reads_the_private_keys_and_the_published_file_has_none",
    ),
    _m(
        "keys-known",
        "a key signs when it is known",
        "mesh/access/keys.py",
        "if ring.other_ends or (ring.other_since and moment < ring.other_since + KNOWN_S):",
        "if ring.other_ends:",
        f"{KEYS}::test_another_rotation_waits_until_the_last_token_of_the_key_before_has_ended",
        f"{LOAD}::test_keys_change_and_go_under_load_and_no_call_is_refused",
    ),
    _m(
        "keys-stay",
        "and goes after its last token",
        "mesh/access/keys.py",
        "if not ring.other_ends or moment < ring.other_ends:",
        "if not ring.other_ends:",
        f"{KEYS}::test_another_rotation_waits_until_the_last_token_of_the_key_before_has_ended",
        f"{LOAD}::test_keys_change_and_go_under_load_and_no_call_is_refused",
    ),
    # -- rights ---------------------------------------------------------------------------------------------------------------
    _m(
        "scope",
        "a method needs its scope",
        "mesh/access/rules.py",
        "if self.scope and not caller.holds(self.scope):",
        "if False:",
        EACH,
        f"{GUARD}::test_a_method_needs_its_scope_and_a_caller_without_it_is_told_which",
    ),
    _m(
        "closed",
        "one without a scope is for services",
        "mesh/access/rules.py",
        "if not self.scope and not caller.is_service:",
        "if False:",
        f"{GUARD}::test_a_method_without_a_scope_is_for_services_of_the_mesh_only",
    ),
    _m(
        "clearance",
        "a closed answer needs its clearance",
        "mesh/access/rules.py",
        "if self.clearance > caller.clearance:",
        "if False:",
        f"{GUARD}::test_an_answer_that_is_closed_as_a_whole_needs_its_clearance",
    ),
    _m(
        "district-asked",
        "nobody names another district",
        "mesh/access/rules.py",
        "        for path in self.districts if caller.district else ():",
        "        for path in ():",
        f"{GUARD}::test_a_caller_of_a_district_names_no_other_and_is_answered_about_no_other",
        OTHERS,
    ),
    _m(
        "district-stream",
        "nor acts on what belongs to one",
        "mesh/providers/streams.py",
        "if self._district is not None:",
        "if False:",
        EACH,
        OTHERS,
    ),
    _m(
        "district-event",
        "nor makes something happen there",
        "mesh/providers/streams.py",
        '            require_district(call.principal, getattr(message, "district_id", ""))\n',
        "",
        OTHERS,
    ),
    _m(
        "district-saga",
        "nor decides for its workflows",
        "sagas/service.py",
        "        self.caller.require_district(listing.district_of_saga(state) if is_known else _UNREADABLE)\n",
        "        del is_known\n",
        OTHERS,
    ),
    _m(
        "district-answer",
        "nor is answered about one thing of it",
        "mesh/access/redaction.py",
        "    if caller.district:\n        _require_district(message, caller)\n",
        "",
        f"{GUARD}::test_a_caller_of_a_district_names_no_other_and_is_answered_about_no_other",
        OTHERS,
    ),
    _m(
        "district-list",
        "nor sees it in lists",
        "mesh/access/redaction.py",
        " <= caller.clearance and sees_district(caller, of)",
        " <= caller.clearance",
        f"{REDACTION}::test_a_caller_of_a_district_is_shown_nothing_of_another_in_lists_and_refused_one_thing_of_another",
        f"{SEEN}::test_a_caller_of_a_district_sees_its_own_and_nothing_else",
    ),
    _m(
        "believed-headers",
        "headers of callers outside say nothing of events",
        "mesh/entrypoints/calls.py",
        'causation_id=ctx.cause(metadata) if inside else ""',
        "causation_id=ctx.cause(metadata)",
        f"{ATTACKS}::test_no_header_says_who_did_something_or_why",
    ),
    _m(
        "believed-incident",
        "nor of incidents",
        "mesh/runtime/guard.py",
        "of_service=caller.is_service",
        "of_service=True",
        f"{ATTACKS}::test_no_header_says_who_did_something_or_why",
        f"{TRACES}::test_the_trace_of_a_caller_with_the_scope_goes_on_and_names_no_incident",
    ),
    _m(
        "believed-trace",
        "a trace from outside is a link, unless the token has a scope for it",
        "mesh/runtime/guard.py",
        "continues=caller.holds(CONTINUES)",
        "continues=True",
        f"{TRACES}::test_a_caller_from_outside_gets_a_trace_of_our_own_with_a_link_to_theirs",
        f"{TRACES}::test_a_call_without_a_token_is_recorded_in_no_trace_of_its_callers_choice",
    ),
    _m(
        "request-id",
        "a request id means one request of one caller",
        "mesh/entrypoints/calls.py",
        "        if bound is None:\n            return\n",
        "        return\n",
        "tests/e2e/test_request_ids.py::test_another_caller_with_the_same_id_is_told_so_and_never_sees_the_answer",
    ),
    _m(
        "quotas",
        "each caller has quotas of a day",
        "mesh/runtime/guard.py",
        "        self._quotas.admit(call.principal, number)\n",
        "        del number\n",
        "tests/unit/mesh/access/test_quotas.py::test_a_real_process_refuses_the_fourth_call_also_after_it_was_started_again",
    ),
    _m(
        "mesh-tls",
        "with `tls`, no connection without a certificate",
        "mesh/access/certificates.py",
        "require_client_authentication=True",
        "require_client_authentication=False",
        "tests/mesh/test_tls.py::test_at_every_door_only_a_certificate_of_this_mesh_opens_whatever_token_is_shown",
    ),
    # -- what is seen ---------------------------------------------------------------------------------------------------------
    _m(
        "redaction",
        "answers hold what the caller may see",
        "mesh/access/redaction.py",
        "    if not may_hide(descriptor):\n        return message\n",
        "    return message\n",
        REDACTION,
        f"{SEEN}::test_whom_to_call_back_is_seen_with_clearance_and_scope_together",
    ),
    _m(
        "redaction-clearance",
        "a field needs its clearance",
        "mesh/access/redaction.py",
        "hidden = one.clearance > caller.clearance",
        "hidden = False",
        f"{REDACTION}::test_a_field_above_the_clearance_is_left_out_and_the_answer_of_the_service_stays_whole",
    ),
    _m(
        "redaction-scope",
        "personal data need their scope",
        "mesh/access/redaction.py",
        "hidden = hidden or caller.clearance < PERSONAL or not caller.holds(one.scope)",
        "hidden = hidden or caller.clearance < PERSONAL",
        f"{REDACTION}::test_what_is_personal_needs_the_clearance_and_the_scope_of_its_contract",
        f"{SEEN}::test_whom_to_call_back_is_seen_with_clearance_and_scope_together",
    ),
    _m(
        "redaction-personal",
        "and the clearance",
        "mesh/access/redaction.py",
        "hidden = hidden or caller.clearance < PERSONAL or not caller.holds(one.scope)",
        "hidden = hidden or not caller.holds(one.scope)",
        f"{REDACTION}::test_what_is_personal_needs_the_clearance_and_the_scope_of_its_contract",
        f"{SEEN}::test_whom_to_call_back_is_seen_with_clearance_and_scope_together",
    ),
    _m(
        "redaction-unknown",
        "what no contract describes is for the highest clearance",
        "mesh/access/redaction.py",
        "return caller.clearance >= options_pb2.CLASSIFICATION_SECRET",
        "return True",
        f"{REDACTION}::test_what_no_contract_here_describes_is_for_the_highest_clearance_only",
    ),
    _m(
        "stream-redaction",
        "messages of streams too",
        "mesh/runtime/guard.py",
        "        answer = shown(response, self.principal, touched)\n",
        "        answer = response\n",
        f"{GUARD}::test_what_a_caller_may_not_see_is_left_out_of_answers_and_of_every_message_of_a_stream",
    ),
    _m(
        "stream-events",
        "a stream has events up to the clearance, of the own district",
        "mesh/providers/following.py",
        "    if event.classification > call.principal.clearance or not sees_district(call.principal, event.district):\n"
        "        return False\n",
        "",
        f"{SEEN}::test_a_stream_shows_only_events_up_to_the_clearance",
    ),
    _m(
        "exercise-scope",
        "who takes part in an exercise needs the scope for it",
        "mesh/runtime/exercises.py",
        "    if name and not holds_scope:\n",
        "    if False:\n",
        "tests/unit/mesh/test_exercises.py::test_only_who_may_names_an_exercise_and_only_with_a_name_that_can_be",
    ),
    _m(
        "events-scope",
        "types of events that are not public need a scope",
        "mesh/access/hearing.py",
        "        if name not in told and not caller.holds(scope):\n",
        "        if False:\n",
        "tests/unit/mesh/access/test_hearing.py::test_others_are_told_what_they_lack",
    ),
    _m(
        "events-clearance",
        "and the clearance",
        "mesh/access/hearing.py",
        "        if classification > caller.clearance:\n",
        "        if False:\n",
        "tests/unit/mesh/access/test_hearing.py::test_others_are_told_what_they_lack",
    ),
    _m(
        "events-subscribe",
        "the hub asks for both",
        "services/district_hub/service.py",
        "        self.caller.require_events(request.event_types, told=subscribing.NAMES)\n",
        "",
        "tests/e2e/districts/test_district.py::test_a_district_chooses_types_of_other_sectors_if_its_token_may_hear_them",
    ),
    _m(
        "events-district",
        "a subscription hears of its own district only",
        "mesh/providers/following.py",
        "    if follow.district and event.district and event.district != follow.district:\n        return False\n",
        "",
        "tests/unit/mesh/test_following.py::test_a_stream_hears_of_its_district_and_of_what_belongs_to_none",
    ),
    _m(
        "token-age",
        "a resume token ends",
        "mesh/subscriptions/tokens.py",
        "        if self._now() - made > self._days * _DAY_S:\n",
        "        if False:\n",
        "tests/unit/mesh/test_tokens.py::test_a_place_is_good_for_so_many_days_and_not_a_second_longer",
    ),
    _m(
        "sealed",
        "sealed data are opened for those who may see them",
        "mesh/providers/following.py",
        "if event.sealed and sees_personal(caller, event.type)]",
        "if event.sealed]",
        f"{SEEN}::test_whom_to_call_back_is_seen_with_clearance_and_scope_together",
    ),
    _m(
        "errors-store",
        "errors name no file and no host",
        "mesh/errors.py",
        'Unavailable(f"{error.told}: retry',
        'Unavailable(f"{error}: retry',
        "tests/unit/mesh/test_errors.py::test_an_error_of_the_store_or_one_that_nobody_expected_tells_a_caller_nothing_of_the_inside",
    ),
    _m(
        "errors-text",
        "an unexpected error tells nothing",
        "mesh/errors.py",
        'message="an error inside the service; its log has it under this trace"',
        "message=repr(error)",
        "tests/unit/mesh/test_errors.py::test_an_error_of_the_store_or_one_that_nobody_expected_tells_a_caller_nothing_of_the_inside",
    ),
    _m(
        "errors-keys",
        "nor where keys of issuers are",
        "mesh/access/verifying.py",
        'cannot be read now: try again later"',
        'cannot be read now: {error}"',
        f"{VERIFYING}::test_while_keys_of_others_cannot_be_read_known_ones_stay_good_and_unknown_ones_can_be_tried_again",
    ),
    _m(
        "lines-errors",
        "the text of an error that nobody expected stands in no log line",
        "observability/logs.py",
        "return {key: told(value) if isinstance(value, BaseException) else value for key, value in event.items()}",
        "return {key: repr(value) if isinstance(value, BaseException) else value for key, value in event.items()}",
        "tests/unit/observability/test_logs.py::test_of_an_error_its_text_stays_out_and_of_those_that_it_came_from",
        LEAKS,
    ),
    _m(
        "stacks-errors",
        "nor in a stack",
        "observability/failures.py",
        '"".join(traceback.format_tb(one.__traceback__)) + told(one)',
        '"".join(traceback.format_tb(one.__traceback__)) + repr(one)',
        "tests/unit/observability/test_logs.py::test_of_an_error_its_text_stays_out_and_of_those_that_it_came_from",
        LEAKS,
    ),
    _m(
        "spans-errors",
        "nor in a span",
        "observability/tracing.py",
        "self._span.set_status(trace.Status(trace.StatusCode.ERROR, told(error)))",
        "self._span.set_status(trace.Status(trace.StatusCode.ERROR, str(error)))",
        "tests/unit/mesh/test_telling.py::test_what_is_passed_on_is_a_span_which_says_where_it_failed_and_not_with_what",
    ),
    _m(
        "spans-messages",
        "what a refused caller is told stands in no span",
        "observability/tracing.py",
        "code.name if why is None else told(why)",
        "code.name if why is None else str(why)",
        LEAKS,
    ),
    _m(
        "spans-gateway",
        "nor in one of the gateway",
        "observability/spans.py",
        "if name not in LEFT_OUT}",
        "}",
        "tests/unit/observability/test_registry.py::test_the_message_of_an_error_that_the_gateway_writes_down_is_not_kept",
    ),
    _m(
        "lines-objects",
        "of an object in a log line only its class is told",
        "observability/logs.py",
        "isinstance(value, PurePath | date | Enum | UUID) else type(value).__name__",
        "value is not None else type(value).__name__",
        "tests/unit/observability/test_logs.py::test_of_an_object_in_a_line_only_its_class_is_told",
        LEAKS,
    ),
    # -- what is recorded -----------------------------------------------------------------------------------------------------
    _m(
        "audit-calls",
        "each call is recorded",
        "mesh/runtime/guard.py",
        "if again or not self.recorded:",
        "if False:",
        EACH,
        f"{RECORDING}::test_calls_that_were_refused_are_recorded_with_the_reason",
    ),
    _m(
        "audit-decision",
        "a refusal as one, whoever found it",
        "mesh/runtime/guard.py",
        "        if code in _REFUSALS:\n            self.allowed = False\n",
        "",
        EACH,
    ),
    _m(
        "audit-before",
        "what touches persons or secrets before the answer",
        "mesh/runtime/guard.py",
        "                    await self._trail.keep(call.entry(call.touched))\n",
        "                    self._trail.note(call.entry(call.touched))\n",
        f"{RECORDING}::test_whose_data_was_shown_is_durable_before_the_answer_and_without_that_there_is_no_answer",
    ),
    _m(
        "audit-before-streams",
        "and before each message of a stream",
        "mesh/runtime/guard.py",
        "            await self._trail.keep(self.entry(touched))\n",
        "            self._trail.note(self.entry(touched))\n",
        f"{RECORDING}::test_whose_data_was_shown_is_durable_before_the_answer_and_without_that_there_is_no_answer",
    ),
    _m(
        "audit-not-begun",
        "what cannot be recorded is not begun",
        "mesh/runtime/guard.py",
        "        self._trail.admit(durable=call.rule.sensitive)\n",
        "",
        f"{RECORDING}::test_whose_data_was_shown_is_durable_before_the_answer_and_without_that_there_is_no_answer",
    ),
    _m(
        "audit-secret",
        "records are secret events",
        "mesh/audit/chain.py",
        "actor=ACTOR, classification=CLASSIFICATION_SECRET\n",
        "actor=ACTOR, classification=1\n",
        f"{TRAIL}::test_what_was_kept_is_in_the_store_whole_and_secret",
    ),
    _m(
        "audit-content",
        "a batch fits its hash",
        "mesh/audit/verifying.py",
        "fits = [link for link in group if (link.sound if wanted is None else link.hash == wanted)]",
        "fits = list(group)",
        f"{CHECKED}::test_a_record_that_was_changed_together_with_its_hash_is_found",
    ),
    _m(
        "audit-sound",
        "a record that was changed is found",
        "mesh/audit/verifying.py",
        "        elif not fits[0].sound:\n",
        "        elif False:\n",
        f"{CHECKED}::test_what_stands_beside_the_content_is_not_changed_unnoticed_either",
    ),
    _m(
        "audit-anchors-checked",
        "a batch fits its anchor",
        "mesh/audit/verifying.py",
        "        anchored = known.hashes.get(number)\n",
        "        anchored = None\n",
        f"{CHECKED}::test_a_whole_chain_that_was_written_anew_is_found_by_its_anchor",
    ),
    _m(
        "audit-anchored",
        "chains that grow are anchored",
        "mesh/audit/trail.py",
        "                await self._anchor_end()\n",
        "",
        f"{TRAIL}::test_a_chain_that_has_grown_is_anchored_now_and_then",
    ),
    _m(
        "audit-adopted",
        "those of processes that crashed too",
        "mesh/audit/trail.py",
        "asyncio.ensure_future(self._anchors.adopt(self._now(), lambda name: name == self._chain))",
        "asyncio.ensure_future(asyncio.sleep(0))",
        f"{TRAIL}::test_the_chain_of_a_process_that_crashed_is_anchored_by_the_next_one",
    ),
    _m(
        "audit-closed",
        "nothing follows the end of a closed chain",
        "mesh/audit/verifying.py",
        "    if known.closed is not None and (later :=",
        "    if False and (later :=",
        f"{CHECKED}::test_a_batch_that_was_inserted_at_the_end_of_a_closed_chain_is_found",
    ),
)


def table() -> str:
    """The table in docs/threat-model.md."""
    lines = ["| id | mechanism | where | held by |", "|---|---|---|---|"]
    for one in MECHANISMS:
        held = sorted({Path(test.partition("::")[0]).as_posix() for test in one.tests})
        links = ", ".join(f"[{Path(test).stem.removeprefix('test_')}](../{test})" for test in held)
        lines.append(f"| `{one.id}` | {one.what} | [{one.file}](../{one.file}) | {links} |")
    return "\n".join(lines) + "\n"
