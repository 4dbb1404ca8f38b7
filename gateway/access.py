"""Who may call: callers with a token of an issuer that the gateway knows. Tokens are checked after the transcoder, by path."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from citybrain.gateway.errors import GatewayError
from citybrain.gateway.methods import HEALTH
from citybrain.gateway.settings import GatewaySettings, Issuer

JWKS_PATH = "/.well-known/jwks.json"
# The gateway sets these for its own filters, from a token that it has checked; no service gets them.
SUBJECT, ACTOR, ISSUER = FROM_TOKEN = "x-token-subject", "x-token-actor", "x-token-issuer"
# Orchestrators ask for health before they have a token.
WITHOUT_TOKEN = (f"/{HEALTH}/Check",)

_TYPES = "type.googleapis.com/envoy.extensions"
# Clocks of issuers may be so far from ours.
_SKEW_S = 10
# Tokens that were checked lately, so that each costs one signature.
_KNOWN_TOKENS = 10_000
# What a key of these kinds needs to be published; everything else, private parts above all, stays away.
_PARTS = {"RS256": ("n", "e"), "ES256": ("crv", "x", "y")}


def jwt_authn(settings: GatewaySettings, keys: Mapping[str, str], answered: Sequence[str]) -> dict[str, Any]:
    """The filter. `keys`: the JWKS of issuers that have a file. `answered`: paths that the gateway answers, for everybody."""
    providers = {f"issuer-{number}": _provider(one, keys) for number, one in enumerate(settings.all_issuers)}
    named = [{"provider_name": name} for name in providers]
    required = named[0] if len(named) == 1 else {"requires_any": {"requirements": named}}
    return {
        "@type": f"{_TYPES}.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": providers,
        "rules": [
            *({"match": {"path": path}} for path in (*answered, *WITHOUT_TOKEN)),
            {"match": {"prefix": "/"}, "requires": required},
        ],
    }


def _provider(issuer: Issuer, keys: Mapping[str, str]) -> dict[str, Any]:
    provider: dict[str, Any] = {
        "issuer": issuer.issuer,
        "audiences": list(issuer.audiences),
        # The service checks it too.
        "forward": True,
        # Only here: Envoy would also take one from the query, which stands in logs.
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "require_expiration": True,
        "clock_skew_seconds": _SKEW_S,
        # Limits are kept for each subject.
        "subjects": {"safe_regex": {"regex": ".+"}},
        "claim_to_headers": [
            {"header_name": SUBJECT, "claim_name": "sub"},
            {"header_name": ACTOR, "claim_name": "act.sub"},
            {"header_name": ISSUER, "claim_name": "iss"},
        ],
        "jwt_cache_config": {"jwt_cache_size": _KNOWN_TOKENS},
    }
    if issuer.remote:
        provider["remote_jwks"] = {
            "http_uri": {"uri": issuer.jwks, "cluster": jwks_cluster_name(issuer), "timeout": "5s"},
            "cache_duration": "300s",
            # An issuer that is away keeps nobody else out.
            "async_fetch": {"fast_listener": True, "failed_refetch_duration": "1s"},
            "retry_policy": {"num_retries": 3},
        }
    else:
        provider["local_jwks"] = {"inline_string": public_keys(issuer, keys)}
    return provider


def public_keys(issuer: Issuer, keys: Mapping[str, str]) -> str:
    """The keys of an issuer's file that may sign tokens here, and nothing private. GatewayError: there are none."""
    where = f"the keys of issuer {issuer.issuer} ({issuer.jwks})"
    text = keys.get(issuer.issuer)
    if text is None:
        raise GatewayError(f"{where} are missing")
    try:
        told = json.loads(text)["keys"]
        usable = [found for one in told if (found := _public(one)) is not None]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise GatewayError(f'{where} are no JWKS: write {{"keys": [...]}}') from None
    if not usable:
        raise GatewayError(f"{where} have none for RS256 or ES256")
    return json.dumps({"keys": usable})


def _public(key: dict[str, Any]) -> dict[str, str] | None:
    alg = {"RSA": "RS256", "EC": "ES256"}.get(key["kty"])
    if alg is None or key.get("alg", alg) != alg or key.get("use", "sig") != "sig" or key.get("crv", "P-256") != "P-256":
        return None
    said = {"kid": key["kid"]} if "kid" in key else {}
    return {"kty": key["kty"], "alg": alg, "use": "sig", **said, **{part: key[part] for part in _PARTS[alg]}}


# -- issuers at a URL -------------------------------------------------------------------------------------------------------


def jwks_cluster_name(issuer: Issuer) -> str:
    """The cluster that leads to the keys of an issuer."""
    return f"keys of {urlsplit(issuer.jwks).netloc}"


def jwks_clusters(settings: GatewaySettings) -> list[dict[str, Any]]:
    """Where the keys of issuers are fetched, over TLS that is checked."""
    found: dict[str, dict[str, Any]] = {}
    for issuer in settings.all_issuers:
        if issuer.remote:
            name = jwks_cluster_name(issuer)
            found[name] = _cluster(name, issuer.jwks, settings)
    return list(found.values())


def _cluster(name: str, url: str, settings: GatewaySettings) -> dict[str, Any]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    endpoint = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": parts.port or 443}}}}
    trusted = {
        "trusted_ca": {"filename": str(settings.trusted)},
        "match_typed_subject_alt_names": [
            {"san_type": kind, "matcher": {"exact": host}} for kind in ("DNS", "IP_ADDRESS")
        ],
    }  # fmt: skip
    tls = {
        "@type": f"{_TYPES}.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": host,
        "common_tls_context": {"validation_context": trusted},
    }
    return {
        "name": name,
        "type": "STRICT_DNS",
        # Both kinds of addresses are tried, the one that answers first is taken.
        "dns_lookup_family": "ALL",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
    }
