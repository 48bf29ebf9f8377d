"""Who may get at the Secrets of the namespace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any, Final, NamedTuple

from tools.cluster.client import Cluster

from .engine import Fault, Reading, Sample, Unreadable, place
from .reader import USER
from .target import Target

Object = dict[str, Any]

GROUP: Final = "access"

#: The Secrets that the keeper gets and patches, by the last part of their names.
KEPT: Final = ("ca", "database-admin", "database-tls", "secrets", "tls")
KEEPS: Final = frozenset({"get", "patch"})

#: What Kubernetes grants to everybody: questions about oneself, and discovery.
#: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#discovery-roles
EVERYBODY: Final = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}
DISCOVERY: Final = (
    *("/api", "/healthz", "/livez", "/readyz", "/openapi", "/version"),
    *("/.well-known", "/openid/v1/jwks"),
)

#: The ways to a value: what one must not do with which resource.
WAYS: Final = {
    "secrets": {"get", "list", "watch"},
    # by WebSocket, it is a get
    "pods/exec": {"create", "get"},
    "pods/attach": {"create", "get"},
    "serviceaccounts/token": {"create"},
    # each leads to those above
    "nodes/proxy": {"create", "get"},
    "users": {"impersonate"},
    "groups": {"impersonate"},
    "serviceaccounts": {"impersonate"},
}

#: The cluster's own: its administrators and its parts.
ADMINISTRATORS: Final = {"kubeadm:cluster-admins", "kube-apiserver-kubelet-client"}
CONTROLLERS: Final = "system:serviceaccount:kube-system:"
PARTS: Final = "system:"
#: What begins like the name of a part, and is open to others.
OPEN: Final = (
    *("system:serviceaccount", "system:anonymous"),
    *("system:authenticated", "system:unauthenticated"),
)

RBAC: Final = "clusterroles,roles,clusterrolebindings,rolebindings"


class Grant(NamedTuple):
    """What a binding lets its subjects do with a resource; without names, with all of them."""

    resource: str
    verbs: frozenset[str]
    names: frozenset[str]

    def __str__(self) -> str:
        return f"{', '.join(sorted(self.verbs))} {self.resource}"


@place(GROUP, "accounts")
def accounts(target: Target) -> Reading:
    """What each ServiceAccount of the namespace may do: nothing, but the keeper's its Secrets."""
    cluster = target.cluster
    keeper = f"{cluster.fullname}-keeper"
    names = {item["metadata"]["name"] for item in cluster.items("serviceaccounts")}
    if not names >= {"default", cluster.fullname, keeper}:
        raise Unreadable("not all ServiceAccounts were listed")
    for name in sorted(names):
        told = _rules(cluster, name)
        yield Sample(f"serviceaccount/{name}", json.dumps(told).encode())
        if told["incomplete"]:
            raise Unreadable(f"the API server does not tell all that {name} may do")
        wanted = {(verb, f"secrets {one}") for verb in KEEPS for one in _kept(cluster)}
        may = set(_permissions(told))
        for verb, what in sorted(may - (wanted if name == keeper else set())):
            yield Fault(f"serviceaccount/{name}", f"may {verb} {what}")
        for verb, what in sorted(wanted - may if name == keeper else ()):
            yield Fault(f"serviceaccount/{name}", f"may not {verb} {what}")


@place(GROUP, "others")
def others(target: Target) -> Reading:
    """All roles and their bindings: nobody else reads Secrets, execs, attaches, makes tokens."""
    listed = json.loads(target.cluster.kubectl("get", RBAC, "--all-namespaces", "--output", "json"))
    objects = {_key(item): item for item in listed["items"]}
    _whole(target.cluster, objects)
    for (kind, namespace, name), item in objects.items():
        where = f"{kind.lower()}/{namespace}/{name}".replace("//", "/")
        yield Sample(where, json.dumps(item).encode())
        if not kind.endswith("Binding") or namespace not in ("", target.cluster.namespace):
            continue
        grants = list(_grants(objects.get(_role(item), {})))
        for subject in map(_subject, item.get("subjects") or ()):
            if beyond := [str(one) for one in grants if not _may(target.cluster, subject, one)]:
                yield Fault(where, f"lets {subject} {'; '.join(beyond)}")


@place(GROUP, "tokens")
def tokens(target: Target) -> Reading:
    """The volumes of every pod of the namespace: only the keeper's has a token."""
    pods = target.cluster.items("pods")
    components = {
        pod["metadata"].get("labels", {}).get("app.kubernetes.io/component") for pod in pods
    }
    if not components >= {"service", "database"}:
        raise Unreadable("not all pods were listed")
    for pod in pods:
        where, spec = f"pod/{pod['metadata']['name']}", pod["spec"]
        volumes = spec.get("volumes", [])
        yield Sample(where, json.dumps(volumes).encode())
        projected = [volume["projected"] for volume in volumes if "projected" in volume]
        sources = [source for one in projected for source in one.get("sources") or ()]
        keeps = spec["serviceAccountName"] == f"{target.cluster.fullname}-keeper"
        if not keeps and any("serviceAccountToken" in source for source in sources):
            yield Fault(where, f"has a token of {spec['serviceAccountName']}")


@place(GROUP, "pod security")
def pod_security(target: Target) -> Reading:
    """What the API server answers to who asks for a privileged pod: no."""
    asked = ("run", "intruder", "--image", "postgres:17", "--privileged", "--dry-run=server")
    answer = target.cluster.kubectl(*asked, check=False)
    yield Sample("the answer", answer.encode())
    if 'violates PodSecurity "restricted' in answer:
        return
    if "created" not in answer and "violates PodSecurity" not in answer:
        raise Unreadable("the API server says neither yes nor no")
    yield Fault("a privileged pod", "is not refused by Pod Security restricted")


def _kept(cluster: Cluster) -> list[str]:
    return sorted(f"{cluster.fullname}-{name}" for name in KEPT)


def _rules(cluster: Cluster, account: str) -> Object:
    """Return what an account may do, as the API server sees it."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": cluster.namespace},
    }
    answer = cluster.kubectl(
        *("create", "--filename", "-", "--output", "json", "--validate=false"),
        # its groups are the API server's to add
        *("--as", f"system:serviceaccount:{cluster.namespace}:{account}"),
        stdin=json.dumps(review),
    )
    status: Object = json.loads(answer)["status"]
    if not status["resourceRules"]:
        raise Unreadable(f"not even what everybody may do is told for {account}")
    return status


def _permissions(told: Object) -> Iterator[tuple[str, str]]:
    """Iterate over the verbs, and what each is for, that not everybody has."""
    for rule in told["resourceRules"]:
        groups = [f".{group}" if group else "" for group in rule["apiGroups"]]
        names = [f" {name}" for name in rule.get("resourceNames") or ()] or [""]
        for verb, resource in product(rule["verbs"], rule["resources"]):
            if resource not in EVERYBODY:
                yield from ((verb, f"{resource}{a}{b}") for a, b in product(groups, names))
    for rule in told["nonResourceRules"]:
        for verb, url in product(rule["verbs"], rule["nonResourceURLs"]):
            if verb != "get" or not url.startswith(DISCOVERY):
                yield verb, url


def _key(item: Object) -> tuple[str, str, str]:
    return item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _whole(cluster: Cluster, objects: dict[tuple[str, str, str], Object]) -> None:
    keeper = f"{cluster.fullname}-keeper"
    expected = {("Role", cluster.namespace, keeper), ("RoleBinding", cluster.namespace, keeper)}
    expected |= {("ClusterRole", "", "cluster-admin"), ("ClusterRoleBinding", "", "cluster-admin")}
    if not objects.keys() >= expected:
        raise Unreadable("not all roles and bindings were listed")


def _role(binding: Object) -> tuple[str, str, str]:
    reference = binding["roleRef"]
    namespace = binding["metadata"].get("namespace", "") if reference["kind"] == "Role" else ""
    return reference["kind"], namespace, reference["name"]


def _grants(role: Object) -> Iterator[Grant]:
    """Iterate over what a role lets one do that leads to a value."""
    for rule in role.get("rules") or ():
        if not {"", "*"} & set(rule.get("apiGroups", ())):
            continue
        resources = set(rule.get("resources", ()))
        for resource, ways in WAYS.items():
            _, _, part = resource.partition("/")
            if resources & {resource, "*", *([f"*/{part}"] if part else [])}:
                verbs = ways if "*" in rule["verbs"] else ways & set(rule["verbs"])
                if verbs:
                    names = frozenset(rule.get("resourceNames", ()))
                    yield Grant(resource, frozenset(verbs), names)


def _subject(subject: Object) -> str:
    """Return the name by which the API server knows a subject."""
    if subject["kind"] == "ServiceAccount":
        return f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
    return str(subject["name"])


def _may(cluster: Cluster, subject: str, grant: Grant) -> bool:
    if subject == USER:
        return grant.resource == "secrets" and grant.verbs == {"list"}
    if subject == f"system:serviceaccount:{cluster.namespace}:{cluster.fullname}-keeper":
        named = grant.names and grant.names <= set(_kept(cluster))
        return bool(grant.resource == "secrets" and grant.verbs <= KEEPS and named)
    if subject in ADMINISTRATORS or subject.startswith(CONTROLLERS):
        return True
    return subject.startswith(PARTS) and not subject.startswith(OPEN)
