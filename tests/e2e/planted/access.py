"""Permissions that lead to the Secrets, and less strict rules for pods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from tools.cluster.client import Object, created, made
from tools.leakscan.target import Target

from . import plants
from .pods import pod

RBAC = "rbac.authorization.k8s.io"
ENFORCED = "pod-security.kubernetes.io/enforce"


@plants("access: accounts", fault="serviceaccount/default: may get configmaps")
def more(target: Target, canary: str) -> Iterator[None]:
    """Let an account do something, however harmless."""
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}
    with bound(target, "leak-more", rule, account(target, "default")):
        yield


@plants("access: accounts", fault="-keeper: may delete secrets")
def keeper(target: Target, canary: str) -> Iterator[None]:
    """Give the keeper a verb that it has no use for."""
    name = f"{target.cluster.fullname}-tls"
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["delete"]}
    subject = account(target, f"{target.cluster.fullname}-keeper")
    with bound(target, "leak-keeper", {**rule, "resourceNames": [name]}, subject):
        yield


@plants("access: accounts", fault="serviceaccount/.*: may get /metrics")
def url(target: Target, canary: str) -> Iterator[None]:
    """Let an account read a URL of the API server that not everybody may."""
    rule = {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}
    with bound(target, "leak-url", rule, account(target, target.cluster.fullname), "Cluster"):
        yield


@plants("access: others", fault="lets leak list secrets")
def reader(target: Target, canary: str) -> Iterator[None]:
    """Let a user list Secrets."""
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}
    with bound(target, "leak-reader", rule, named("User", "leak")):
        yield


@plants("access: others", fault="lets developers create pods/exec")
def developers(target: Target, canary: str) -> Iterator[None]:
    """Let a group start a shell in the pods of all namespaces."""
    rule = {"apiGroups": [""], "resources": ["*/exec"], "verbs": ["create"]}
    with bound(target, "leak-developers", rule, named("Group", "developers"), "Cluster"):
        yield


@plants("access: others", fault="lets system:serviceaccounts:default create")
def neighbours(target: Target, canary: str) -> Iterator[None]:
    """Let the accounts of another namespace make tokens of these."""
    rule = {"apiGroups": ["*"], "resources": ["serviceaccounts/token"], "verbs": ["*"]}
    with bound(target, "leak-accounts", rule, named("Group", "system:serviceaccounts:default")):
        yield


@plants("access: tokens", fault="pod/leak-token: has a token of default")
def token(target: Target, canary: str) -> Iterator[None]:
    """Run a pod with a token."""
    with pod(target, "leak-token", "ulimit -c 0; exec sleep 600", token=True):
        yield


@plants("access: pod security", fault="is not refused by Pod Security restricted")
def privileged(target: Target, canary: str) -> Iterator[None]:
    """Let privileged pods into the namespace."""
    label = ("label", "--overwrite", "namespace", target.cluster.namespace)
    try:
        target.cluster.kubectl(*label, f"{ENFORCED}=privileged")
        yield
    finally:
        target.cluster.kubectl(*label, f"{ENFORCED}=restricted")


def account(target: Target, name: str) -> Object:
    """Return an account of the namespace, as the subject of a binding."""
    return {"kind": "ServiceAccount", "name": name, "namespace": target.cluster.namespace}


def named(kind: str, name: str) -> Object:
    """Return a user or a group, as the subject of a binding."""
    return {"apiGroup": RBAC, "kind": kind, "name": name}


def bound(
    target: Target, name: str, rule: dict[str, Any], subject: Object, scope: str = ""
) -> AbstractContextManager[None]:
    """Make a Role, or a ClusterRole, with a rule, and bind it."""
    role = made(f"{RBAC}/v1", f"{scope}Role", name, rules=[rule])
    reference = {"apiGroup": RBAC, "kind": role["kind"], "name": name}
    binding = made(f"{RBAC}/v1", f"{scope}RoleBinding", name, roleRef=reference, subjects=[subject])
    return created(target.cluster, role, binding)
