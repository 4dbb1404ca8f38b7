"""What accounts of our pods may ask of the cluster: nothing. The job that prepares engines does its work without it."""

from __future__ import annotations

import pytest

from citybrain.k8s.configurations import GIVEN, PREPARER
from tests.kubernetes.cluster import Object
from tests.kubernetes.conftest import ENVIRONMENTS, City

NAMESPACE = ENVIRONMENTS["production"].namespace
THERE = ("--namespace", NAMESPACE)
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate", "escalate", "bind")
RESOURCES = (
    ("", "secrets"), ("", "configmaps"), ("", "pods"), ("", "serviceaccounts"), ("", "nodes"), ("", "namespaces"),
    ("apps", "deployments"), ("apps", "statefulsets"), ("batch", "jobs"), ("rbac.authorization.k8s.io", "clusterroles"),
    ("kafka.strimzi.io", "kafkatopics"), ("cert-manager.io", "certificates"), ("*", "*"),
)  # fmt: skip
REVIEW = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
pytestmark = pytest.mark.timeout(600)


def rules(city: City, account: str) -> set[str]:
    """What an account may, one rule a line."""
    return set(city.cluster.kubectl("auth", "can-i", "--list", *THERE, f"--as={account}").splitlines())


def accounts(city: City) -> list[str]:
    return [one["metadata"]["name"] for one in city.cluster.get("serviceaccounts", *THERE)]


def test_our_accounts_may_what_everybody_may_who_has_a_name_and_no_more(production: City) -> None:
    everybody = rules(production, f"system:serviceaccount:{NAMESPACE}:of-nobody")
    # To ask who one is and what one may, and certificates that are public.
    resources = {line.split()[0] for line in everybody if line and not line.startswith((" ", "Resources"))}
    asking = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}
    assert {one.partition(".")[0] for one in resources} == {*asking, "clustertrustbundles"}
    assert "prepare" in accounts(production)
    for name in accounts(production):
        assert rules(production, f"system:serviceaccount:{NAMESPACE}:{name}") == everybody, name


def test_the_account_of_the_job_reads_and_changes_nothing_anywhere(production: City) -> None:
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"]
    who = {"user": f"system:serviceaccount:{NAMESPACE}:prepare", "groups": groups}
    asked = [
        {"verb": verb, "group": group, "resource": resource, **({"namespace": where} if where else {})}
        for group, resource in RESOURCES
        for verb in VERBS
        for where in (NAMESPACE, "kube-system", "")
    ]
    reviews = [{**REVIEW, "spec": {**who, "resourceAttributes": attributes}} for attributes in asked]
    template = '--output=jsonpath={.status.allowed}{"\\n"}'
    answers = production.cluster.kubectl("create", "--filename=-", template, given=reviews).split()
    assert len(answers) == len(asked)
    assert [attributes for attributes, answer in zip(asked, answers, strict=True) if answer != "false"] == []


def test_a_token_of_that_account_is_known_and_opens_nothing(production: City) -> None:
    token = production.cluster.kubectl("create", "token", "prepare", *THERE).strip()
    known = production.cluster.kubectl("auth", "whoami", f"--token={token}")
    assert f"system:serviceaccount:{NAMESPACE}:prepare" in known
    for resource in ("secrets", "configmaps", "pods", "jobs"):
        refused = production.cluster.asked("get", resource, *THERE, f"--token={token}")
        assert refused.returncode != 0 and "Forbidden" in refused.stderr


def test_the_job_does_its_work_with_nothing_but_its_own_secrets_and_without_a_token(production: City) -> None:
    # Its pod may be gone by now: with the node that it ran on.
    production.cluster.kubectl("delete", "jobs", "--all", *THERE)
    production.apply("production")
    (pod,) = production.cluster.get("pods", *THERE, "--selector=app.kubernetes.io/name=prepare")
    assert pod["status"]["phase"] == "Succeeded"
    # What the cluster adds to pods on its own would be here too.
    given: set[tuple[str, str]] = set()
    volumes: list[Object] = pod["spec"]["volumes"]
    for volume in volumes:
        sources = volume.get("projected", {}).get("sources", [])
        assert [source.keys() for source in sources if source.keys() != {"secret"}] == [], "a token of an account"
        secrets = [source["secret"] for source in sources]
        secrets += [{"name": volume["secret"]["secretName"], **volume["secret"]}] if "secret" in volume else []
        given |= {(one["name"], item["key"]) for one in secrets for item in one["items"]}
    assert given == {
        ("citybrain-master-key", *GIVEN["citybrain-master-key"]),
        ("citybrain-cassandra", "prepare"),
        (PREPARER, "user.crt"),
        (PREPARER, "user.key"),
        ("city-cluster-ca-cert", "ca.crt"),
    }
