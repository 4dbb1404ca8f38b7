"""Certificates, by cert-manager: an authority of the mesh that signs for nobody else, and a certificate for each pod."""

from __future__ import annotations

from citybrain.k8s.pods import Object, labels, meta
from citybrain.mesh.access.certificates import MESH_NAME

# Of this namespace alone.
SELF_SIGNED, AUTHORITY, ISSUER = "self-signed", "mesh-authority", "mesh"


def authority() -> list[Object]:
    """The issuer of the mesh, and what it signs with."""
    return [
        _issuer(SELF_SIGNED, {"selfSigned": {}}),
        _certificate(
            AUTHORITY,
            "shared",
            AUTHORITY,
            {
                "isCA": True,
                "commonName": "Authority of the mesh",
                "duration": "87600h",
                "renewBefore": "8760h",
                # The key stays: with another one, nothing that it signed before would be trusted.
                "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Never"},
                "issuerRef": _ref(SELF_SIGNED),
            },
        ),
        _issuer(ISSUER, {"ca": {"secretName": AUTHORITY}}),
    ]


def of_the_mesh(name: str, component: str) -> Object:
    """The certificate by which a pod is known as one of the mesh. It is renewed in its files, and taken up from there."""
    return _certificate(
        f"{name}-mesh",
        component,
        name,
        {
            "dnsNames": [MESH_NAME],
            "duration": "720h",
            "renewBefore": "240h",
            "usages": ["digital signature", "server auth", "client auth"],
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "issuerRef": _ref(ISSUER),
        },
    )


def of_the_gateway() -> Object:
    """The certificate that callers see. Environments say for which name, and who signs it."""
    return _certificate(
        "gateway",
        "gateway",
        "gateway",
        {
            "dnsNames": ["gateway"],
            "usages": ["digital signature", "server auth"],
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "issuerRef": _ref(SELF_SIGNED),
        },
    )


def _ref(name: str) -> Object:
    return {"group": "cert-manager.io", "kind": "Issuer", "name": name}


def _issuer(name: str, how: Object) -> Object:
    return {"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": meta(name, "shared"), "spec": how}


def _certificate(name: str, component: str, of: str, spec: Object) -> Object:
    secret = name if name == AUTHORITY else f"{name}-tls"
    # cert-manager leaves the Secret when the Certificate goes: by its label it is found, and removed with the rest.
    labelled = {"secretTemplate": {"labels": labels(of or name, component)}}
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": meta(name, component, of),
        "spec": {"secretName": secret, **labelled, **spec},
    }
