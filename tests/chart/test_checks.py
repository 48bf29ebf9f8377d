"""Contradictions and secrets among the values are refused, each with its sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from app.core.convert import AUTH_METHODS
from app.core.settings import CHANNEL_BINDINGS, POOLERS, SESSION_ATTRS
from tests.chart.conftest import FOLDER, Chart, Refused, Render
from tests.chart.test_values import NOTHING, Flat, nested

OWN = {"postgresql.enabled": False, "database.host": "db", "database.adminSecret": "admin"}
VERIFIED = OWN | {"database.caSecret": "ca"}
POOLED = VERIFIED | {"database.pooler": "session", "database.directHost": "db-1"}
SCALED = {"autoscaling.enabled": True}
ISSUED = {"tls.source": "cert-manager"}
EXISTING = {"tls.source": "existing", "tls.existingSecret": "a"}
POD_MONITORED = {"monitoring.podMonitor.enabled": True}
ALERTED = {"monitoring.serviceMonitor.enabled": True, "monitoring.prometheusRule.enabled": True}
ROUTED = {"httpRoute.enabled": True, "httpRoute.parentRefs": [{"name": "public"}]}
CA_REF = {"httpRoute.backendTLS.caCertificateRefs": [{"kind": "ConfigMap", "name": "ca"}]}
SYSTEM = {"httpRoute.backendTLS.wellKnownCACertificates": "System"}
SECRET = [{"name": "mine", "secret": {"secretName": "mine"}}]
MOUNT = {"name": "mine", "mountPath": "/mine"}


class Check(NamedTuple):
    """Values that contradict each other, and the nearest ones that do not."""

    refused: Flat
    #: Says what is wrong, and names the values that are.
    sentence: str
    accepted: list[Flat]
    release: str = "flask-app"


def env(name: str, value: str = "x", **rest: Any) -> Flat:
    """Return values with one environment variable."""
    return {"env": [{"name": name} | (rest or {"value": value})]}


def mount(**mounted: Any) -> Flat:
    """Return values with a Secret of the user's own, mounted somehow."""
    return {"volumes": SECRET, "volumeMounts": [MOUNT | mounted]}


EXISTS = {"secrets.source": "existing", "secrets.existingSecret": "shop"}
OBJECTS = {"secrets.objects.session": "a", "secrets.objects.database": "b"}
VAULT = {"secrets.vault.address": "https://vault.example.org", "secrets.vault.role": "shop"}
AWS = {
    "secrets.aws.region": "eu-central-1",
    "secrets.aws.roleARN": "arn:aws:iam::123456789012:role/shop",
}
ENGINE = {"secrets.objects.database": "", "secrets.vault.databasePath": "database/creds/shop"}
STATIC = {"secrets.objects.database": "", "secrets.vault.databasePath": "database/static-creds/s"}
STORE = {"secrets.externalSecrets.store.name": "team"}
CLASS = {"secrets.csi.secretProviderClass": "team"}


def by(source: str, *given: Flat) -> Flat:
    """Return values with a source of secrets, and these."""
    values: Flat = {"secrets.source": source}
    for one in given:
        values |= one
    return values


SYNCED = by("external-secrets", OBJECTS, VAULT)
BY_AGENT = by("vault-agent", OBJECTS, VAULT)
BY_DRIVER = by("csi", OBJECTS, VAULT)

#: Where each value belongs that says where secrets are from.
BELONGS: dict[str, tuple[Any, dict[str, Flat]]] = {
    "secrets.existingSecret": ("shop", {"existing": EXISTS}),
    "secrets.externalSecrets.store.name": (
        "team",
        {"external-secrets": by("external-secrets", OBJECTS, STORE)},
    ),
    "secrets.csi.secretProviderClass": ("team", {"csi": by("csi", CLASS)}),
    "secrets.vault.databasePath": (
        "database/static-creds/a",
        {
            "vault-agent": by("vault-agent", OBJECTS, VAULT, STATIC),
            "csi": by("csi", OBJECTS, VAULT, STATIC),
        },
    ),
    **{
        name: (value, {"external-secrets": SYNCED, "vault-agent": BY_AGENT, "csi": BY_DRIVER})
        for name, value in (OBJECTS | VAULT).items()
    },
    **{
        name: (
            value,
            {source: by(source, OBJECTS, AWS) for source in ("external-secrets", "csi")},
        )
        for name, value in AWS.items()
    },
}
#: One release for each source that renders.
SOURCES: dict[str, Flat] = {
    "keeper": {},
    "existing": EXISTS,
    "external-secrets": SYNCED,
    "vault-agent": BY_AGENT,
    "csi": BY_DRIVER,
}

CHECKS = [
    # where the secrets are from
    *(
        Check(
            values | {name: value},
            f"two sources of secrets: secrets.source is {source}, and {name} belongs to "
            f"{', '.join(sources)}.",
            [values, *sources.values()],
        )
        for name, (value, sources) in BELONGS.items()
        for source, values in SOURCES.items()
        if source not in sources
    ),
    Check(
        {"secrets.keys": {"SECRET_KEY": "a"}},
        "secrets.keys says what keys are called at another source",
        [EXISTS | {"secrets.keys": {"SECRET_KEY": "a"}}],
    ),
    Check(
        # pragma: allowlist nextline secret
        EXISTS | {"secrets.keys": {"SECRET_KEY": "3f9a4c1e7bd2086f5a3c9e1d7b4f2a60"}},
        "secrets.keys has something under SECRET_KEY that looks like a secret",
        [EXISTS | {"secrets.keys": {"SECRET_KEY": "session-signing-key"}}],
    ),
    Check(
        EXISTS | {"secrets.keys": {"SECRETKEY": "a"}},
        "secrets.keys has SECRETKEY, which the service does not read",
        [EXISTS | {"secrets.keys": {"OWN_KEY": "a"}, "secrets.own.given": ["OWN_KEY"]}],
    ),
    Check(
        {"secrets.own.made": ["A_KEY", "OWN_KEY"], "secrets.own.given": ["OWN_KEY"]},
        "secrets.own has OWN_KEY under made and under given",
        [{"secrets.own.made": ["A_KEY"], "secrets.own.given": ["OWN_KEY"]}],
    ),
    *(
        Check(
            SOURCES[source] | {"secrets.inject": "env"},
            f"secrets.source {source} writes files alone",
            [SOURCES[source], SYNCED | {"secrets.inject": "env"}],
        )
        for source in ("vault-agent", "csi")
    ),
    Check(
        by("existing"),
        "secrets.source is existing: name a Secret with SECRET_KEY",
        [EXISTS],
    ),
    Check(
        EXISTS | {"secrets.existingSecret": "flask-app-secrets"},
        "secrets.existingSecret is flask-app-secrets, which is the keeper's",
        [EXISTS | {"secrets.existingSecret": "flask-app-secrets-of-mine"}],
    ),
    *(
        Check(by(source, OBJECTS, VAULT, AWS), "two managers", [by(source, OBJECTS, VAULT)])
        for source in ("external-secrets", "csi")
    ),
    *(
        Check(
            by(source, objects, named, manager),
            f"two sources of secrets: {next(iter(named))} names one of yours",
            [by(source, objects, named), by(source, OBJECTS, manager)],
        )
        for source, named, objects in (
            ("external-secrets", STORE, OBJECTS),
            ("csi", CLASS, NOTHING),
        )
        for manager in (VAULT, AWS)
    ),
    Check(by("vault-agent", OBJECTS), "set secrets.vault.address, as in https", [BY_AGENT]),
    *(
        Check(
            by(source, OBJECTS),
            f"secrets.source is {source}, and no manager is named",
            [by(source, OBJECTS, VAULT), by(source, OBJECTS, AWS)],
        )
        for source in ("external-secrets", "csi")
    ),
    *(
        Check(
            SOURCES[source] | {"secrets.vault.role": ""},
            "secrets.vault.role is empty",
            [SOURCES[source]],
        )
        for source in ("external-secrets", "vault-agent", "csi")
    ),
    *(
        Check(
            by(source, OBJECTS, AWS, {"secrets.aws.roleARN": ""}),
            "secrets.aws.roleARN is empty",
            [by(source, OBJECTS, AWS)],
        )
        for source in ("external-secrets", "csi")
    ),
    *(
        Check(
            SOURCES[source] | {"secrets.objects.session": ""},
            "secrets.objects.session is empty",
            [SOURCES[source]],
        )
        for source in ("external-secrets", "vault-agent", "csi")
    ),
    *(
        Check(
            SOURCES[source] | {"secrets.objects.database": ""},
            f"secrets.objects.database is empty: name the manager's object with "
            f"DATABASE_USERNAME and DATABASE_PASSWORD{also}.",
            [SOURCES[source]],
        )
        for source, also in (
            ("external-secrets", ""),
            ("vault-agent", ", or set secrets.vault.databasePath"),
            ("csi", ", or set secrets.vault.databasePath"),
        )
    ),
    *(
        Check(
            SOURCES[source] | STATIC | {"secrets.objects.database": "b"},
            "two sources of the database's login",
            [SOURCES[source], SOURCES[source] | STATIC],
        )
        for source in ("vault-agent", "csi")
    ),
    Check(
        by("csi", OBJECTS, AWS, STATIC),
        "secrets.vault.databasePath is set, and secrets.vault.address is not",
        [by("csi", OBJECTS, VAULT, STATIC)],
    ),
    *(
        Check(
            by("csi", CLASS, also),
            "secrets.csi.secretProviderClass names one of yours, which says what is written",
            [by("csi", CLASS)],
        )
        for also in (OBJECTS, STATIC, {"secrets.keys": {"SECRET_KEY": "a"}})
    ),
    Check(
        by("csi", OBJECTS, VAULT, ENGINE),
        "secrets.vault.databasePath database/creds/shop makes a new login each time",
        [by("csi", OBJECTS, VAULT, STATIC), by("vault-agent", OBJECTS, VAULT, ENGINE)],
    ),
    Check(
        BY_AGENT | {"podAnnotations": {"vault.hashicorp.com/role": "a"}},
        "podAnnotations has vault.hashicorp.com/role, which the chart sets itself",
        [
            BY_AGENT | {"podAnnotations": {"vault.hashicorp.com/agent-limits-mem": "64Mi"}},
            {"podAnnotations": {"vault.hashicorp.com/role": "a"}},
        ],
    ),
    # the database
    *(
        Check(
            {f"database.{name}": value},
            f"two databases: postgresql.enabled brings one, and database.{name} is of another.",
            [NOTHING],
        )
        for name, value in (
            ("host", "db"),
            ("adminSecret", "admin"),
            ("caConfigMap", "ca"),
            ("caSecret", "ca"),
            ("publicCA", True),
            ("targetSessionAttrs", "any"),
            ("requireAuth", "md5"),
            ("channelBinding", "require"),
            ("channelBinding", "prefer"),
            ("pooler", "transaction"),
            ("directHost", "db"),
            ("directPort", 5433),
        )
    ),
    *(
        Check(
            POOLED | {"database.pooler": pooler, "database.directHost": ""},
            f"database.pooler is {pooler}, and the keeper can't work through a pooler",
            [
                POOLED | {"database.pooler": pooler},
                # the keeper does not touch the database
                POOLED
                | EXISTS
                | {
                    "database.pooler": pooler,
                    "database.directHost": "",
                    "database.adminSecret": "",
                },
            ],
        )
        for pooler in ("session", "transaction")
    ),
    *(
        Check(
            VERIFIED | direct,
            "database.directHost and directPort say where the keeper finds the database",
            [POOLED | direct, VERIFIED],
        )
        for direct in ({"database.directHost": "db-1"}, {"database.directPort": 5433})
    ),
    *(
        Check(
            VERIFIED | allowed | {"database.channelBinding": "require"},
            f"database.channelBinding is require, and database.sslmode {mode} allows a connection",
            [
                VERIFIED | allowed,
                VERIFIED | allowed | {"database.channelBinding": "prefer"},
                VERIFIED | {"database.channelBinding": "require"},
            ],
        )
        for mode in ("disable", "allow", "prefer")
        for allowed in ({"database.sslmode": mode, "database.allowSslmode": mode},)
    ),
    *(
        Check(
            POOLED | {"database.pooler": pooler, "database.channelBinding": "require"},
            f"database.channelBinding is require, and database.pooler is {pooler}",
            [
                POOLED | {"database.pooler": pooler},
                POOLED | {"database.pooler": pooler, "database.channelBinding": "disable"},
            ],
        )
        for pooler in ("session", "transaction")
    ),
    *(
        Check(
            values | {"database.requireAuth": "md5, gss"},
            "database.requireAuth md5, gss lacks scram-sha-256",
            [
                values | {"database.requireAuth": "md5, scram-sha-256"},
                VERIFIED
                | {"database.requireAuth": "md5, gss", "database.channelBinding": "prefer"},
                VERIFIED
                | {
                    "database.requireAuth": "md5, gss",
                    "database.sslmode": "prefer",
                    "database.allowSslmode": "prefer",
                },
                # the service alone, through a pooler
                POOLED | EXISTS | {"database.requireAuth": "md5, gss", "database.adminSecret": ""},
            ],
        )
        for values in (VERIFIED, VERIFIED | {"database.channelBinding": "require"}, POOLED)
    ),
    # host names
    *(
        Check(
            named,
            f"trustedHosts is null, and the service can't compare a request's host with {host}, of",
            [named | {"trustedHosts": given} for given in ([], ["shop.example.org"])],
        )
        for host, named in (
            ("*", {"tls.extraNames": ["a.example.org", "*"]}),
            ("2001:db8::7", {"tls.extraNames": ["a.example.org", "2001:db8::7"]}),
            ("a..b", {"ingress.enabled": True, "ingress.hosts": [{"host": "a..b"}]}),
            ("a/b", ROUTED | {"httpRoute.hostnames": ["a/b"]}),
        )
    ),
    Check(VERIFIED | {"postgresql.enabled": True}, "two databases", [VERIFIED]),
    Check(VERIFIED | {"database.host": ""}, "no database: set database.host", [VERIFIED]),
    Check(VERIFIED | {"database.adminSecret": ""}, "database.adminSecret is empty", [VERIFIED]),
    *(
        Check(
            VERIFIED | another, "more than one of database.caConfigMap", [VERIFIED, OWN | another]
        )
        for another in ({"database.caConfigMap": "ca"}, {"database.publicCA": True})
    ),
    Check(
        OWN,
        "database.sslmode verify-full has nothing to verify with",
        [OWN | {f"database.{name}": "ca"} for name in ("caConfigMap", "caSecret")]
        + [OWN | {"database.publicCA": True}],
    ),
    Check(
        OWN | {"database.sslmode": "verify-ca", "database.allowSslmode": "verify-ca"},
        "database.sslmode verify-ca has nothing to verify with",
        [OWN | {"database.sslmode": "require", "database.allowSslmode": "require"}],
    ),
    *(
        Check(
            VERIFIED | {"database.sslmode": mode} | allowed,
            f"database.sslmode {mode} does not verify whom the password goes to",
            [VERIFIED | {"database.sslmode": mode, "database.allowSslmode": mode}],
        )
        for mode in ("disable", "allow", "prefer", "require", "verify-ca")
        for allowed in (NOTHING, {"database.allowSslmode": "disable"})
        if mode not in allowed.values()
    ),
    Check(
        VERIFIED | {"database.allowSslmode": "require"},
        "database.allowSslmode require allows what is not used: database.sslmode is verify-full",
        [VERIFIED],
    ),
    # the Service
    Check(
        {"service.nodePort": 30443},
        "service.nodePort is set, and service.type is ClusterIP",
        [{"service.nodePort": 30443, "service.type": t} for t in ("NodePort", "LoadBalancer")],
    ),
    Check(
        {"service.externalTrafficPolicy": "Local"},
        "service.externalTrafficPolicy is set, and service.type is ClusterIP",
        [
            {"service.externalTrafficPolicy": "Local", "service.type": t}
            for t in ("NodePort", "LoadBalancer")
        ],
    ),
    *(
        Check(
            given | {"service.type": kind},
            f"are for a LoadBalancer, and service.type is {kind}",
            [given | {"service.type": "LoadBalancer"}, {"service.type": kind}],
        )
        for kind in ("ClusterIP", "NodePort")
        for given in (
            {"service.loadBalancerClass": "a"},
            {"service.loadBalancerSourceRanges": ["10.0.0.0/8"]},
        )
    ),
    # scaling and disruption
    *(
        Check(
            SCALED | {"replicas": replicas},
            f"replicas is {replicas}, and autoscaling.enabled",
            [SCALED, {"replicas": replicas}],
        )
        for replicas in (3, 0)
    ),
    Check(
        SCALED | {"autoscaling.minReplicas": 11},
        "autoscaling.minReplicas 11 is more than autoscaling.maxReplicas 10",
        [SCALED | {"autoscaling.minReplicas": 10}, {"autoscaling.minReplicas": 11}],
    ),
    Check(
        SCALED | {"autoscaling.targetCPUUtilizationPercentage": None},
        "autoscaling.enabled has nothing to go by",
        [
            SCALED | {"autoscaling.targetCPUUtilizationPercentage": None} | another
            for another in (
                {"autoscaling.targetMemoryUtilizationPercentage": 80},
                {"autoscaling.metrics": [{"type": "Pods"}]},
            )
        ],
    ),
    Check(
        SCALED | {"resources.requests.cpu": None},
        "a percentage of resources.requests.cpu, which is not set",
        [
            {"resources.requests.cpu": None},
            SCALED
            | {
                "resources.requests.cpu": None,
                "autoscaling.targetCPUUtilizationPercentage": None,
                "autoscaling.targetMemoryUtilizationPercentage": 80,
            },
        ],
    ),
    Check(
        SCALED
        | {
            "resources.requests.memory": None,
            "resources.limits": None,
            "autoscaling.targetMemoryUtilizationPercentage": 80,
        },
        "a percentage of resources.requests.memory, which is not set",
        [
            SCALED | {"resources.requests.memory": None, "resources.limits.memory": None},
            # Kubernetes takes a limit for what is asked for
            SCALED
            | {
                "resources.requests.memory": None,
                "autoscaling.targetMemoryUtilizationPercentage": 80,
            },
        ],
    ),
    Check(
        SCALED | {"resources.requests": None},
        "resources.requests.cpu",
        [{"resources.requests": None}],
    ),
    *(
        Check(
            {"podDisruptionBudget.minAvailable": least, "podDisruptionBudget.maxUnavailable": most},
            "podDisruptionBudget.minAvailable and maxUnavailable are both set",
            [
                {"podDisruptionBudget.minAvailable": least},
                {"podDisruptionBudget.maxUnavailable": most},
            ],
        )
        for least, most in ((1, 1), (0, 0), ("50%", 0))
    ),
    # from outside
    Check(
        {"ingress.enabled": True},
        "ingress.enabled needs a host",
        [{"ingress.enabled": True, "ingress.hosts": [{"host": "a.example.org"}]}],
    ),
    Check({"httpRoute.enabled": True}, "httpRoute.enabled needs a Gateway", [ROUTED]),
    Check(
        ROUTED | CA_REF | SYSTEM,
        "httpRoute.backendTLS has two sources",
        [ROUTED | CA_REF, ROUTED | SYSTEM],
    ),
    Check(
        {"monitoring.serviceMonitor.enabled": True, "monitoring.podMonitor.enabled": True},
        "monitoring.serviceMonitor and monitoring.podMonitor are both enabled",
        [{"monitoring.serviceMonitor.enabled": True}, {"monitoring.podMonitor.enabled": True}],
    ),
    Check(
        {"monitoring.prometheusRule.enabled": True},
        "monitoring.prometheusRule.enabled has no metrics to go by",
        [ALERTED, ALERTED | {"monitoring.serviceMonitor.enabled": False, **POD_MONITORED}],
    ),
    *(
        Check(
            ALERTED | ISSUED | {"monitoring.prometheusRule.certificateEnd": seconds},
            f"monitoring.prometheusRule.certificateEnd {seconds} is no less than "
            "tls.certManager.renewBefore 720h",
            [
                ALERTED | ISSUED | {"monitoring.prometheusRule.certificateEnd": 720 * 3600 - 1},
                ALERTED | {"monitoring.prometheusRule.certificateEnd": seconds},
                ISSUED | {"monitoring.prometheusRule.certificateEnd": seconds},
            ],
        )
        for seconds in (720 * 3600, 315360000)
    ),
    # certificates
    *(
        Check(
            {"tls.source": source, "tls.existingSecret": "a"},
            f"tls.source is {source}, and tls.existingSecret names one of yours",
            [EXISTING, {"tls.source": source}],
        )
        for source in ("keeper", "cert-manager")
    ),
    Check({"tls.source": "existing"}, "name a Secret with tls.crt and tls.key", [EXISTING]),
    *(
        Check(
            given | {"tls.certManager.issuerRef.name": "a"},
            f"tls.source is {source}, and tls.certManager.issuerRef names an issuer",
            [given, ISSUED | {"tls.certManager.issuerRef.name": "a"}],
        )
        for source, given in (("keeper", NOTHING), ("existing", EXISTING))
    ),
    Check(
        ISSUED | {"tls.certManager.inClusterNames": False},
        "tls.certManager.inClusterNames is false",
        [
            ISSUED | {"tls.certManager.inClusterNames": False, "tls.extraNames": ["a.example.org"]},
            {"tls.certManager.inClusterNames": False},
        ],
    ),
    # accounts
    *(
        Check(
            {f"{path}.create": False},
            f"{path}.create is false: then {path}.name has to be",
            [{f"{path}.create": False, f"{path}.name": "mine"}],
        )
        for path in ("serviceAccount", "keeper.serviceAccount")
    ),
    *(
        Check(
            {f"{path}.create": create, f"{path}.name": "default"},
            f"{path}.name is default, the account of every pod",
            [{f"{path}.create": create, f"{path}.name": "defaults"}],
        )
        for path in ("serviceAccount", "keeper.serviceAccount")
        for create in (True, False)
    ),
    *(
        Check(
            same,
            "serviceAccount.name and keeper.serviceAccount.name are the same",
            [{"serviceAccount.name": "a", "keeper.serviceAccount.name": "b"}],
        )
        for same in (
            {"serviceAccount.name": "a", "keeper.serviceAccount.name": "a"},
            {"serviceAccount.name": "flask-app-keeper"},
            {"keeper.serviceAccount.name": "flask-app"},
        )
    ),
    # names and labels
    Check({}, "1st begins with a digit", [{"fullnameOverride": "first"}], release="1st"),
    *(
        Check(
            {path: {name: "x"}},
            f"{path} has {name}, by which the chart finds its own objects",
            [{path: {"app.kubernetes.io/part-of": "x", "name": "x"}}],
        )
        for path in (
            "commonLabels",
            "podLabels",
            "keeper.podLabels",
            "postgresql.podLabels",
            "service.labels",
            "ingress.labels",
            "httpRoute.labels",
            "monitoring.serviceMonitor.labels",
            "monitoring.podMonitor.labels",
            "monitoring.prometheusRule.labels",
        )
        for name in (
            "helm.sh/chart",
            *(
                f"app.kubernetes.io/{part}"
                for part in ("name", "instance", "component", "version", "managed-by")
            ),
        )
    ),
    Check(
        {"postgresql.podAnnotations": {"checksum/config": "x"}},
        "postgresql.podAnnotations has checksum/config",
        [{"postgresql.podAnnotations": {"checksum/other": "x"}}],
    ),
    # what the service's container gets
    *(
        Check(env(name) | base, f"env has {name} from outside of the chart's own Secret", [base])
        for name in ("SECRET_KEY", "DATABASE_PASSWORD", "DATABASE_USERNAME", "GENERATION")
        for base in (NOTHING, {"secrets.inject": "env"})
    ),
    Check(
        env("BANNER", valueFrom={"secretKeyRef": {"name": "a", "key": "b"}}),
        "env has BANNER from outside of the chart's own Secret",
        [
            env("BANNER", valueFrom={"configMapKeyRef": {"name": "a", "key": "b"}}),
            env("BANNER", valueFrom={"fieldRef": {"fieldPath": "metadata.name"}}),
            env("BANNER", valueFrom={"resourceFieldRef": {"resource": "limits.memory"}}),
        ],
    ),
    *(
        Check(
            env(name) | base,
            f"env has {name}, which the chart sets itself",
            [env(f"MY_{name}") | base],
        )
        for name in (
            *("PORT", "LOG_LEVEL", "DATABASE_HOST", "SECRETS_DIR", "DATABASE_CA_FILE"),
            *("DATABASE_CHANNEL_BINDING", "TRUSTED_HOSTS", "TRUSTED_PROXIES"),
        )
        for base in (NOTHING, {"secrets.inject": "env"})
    ),
    Check(
        env("API_TOKEN"), "env has API_TOKEN, which sounds like a secret", [env("API_TOKEN_FILE")]
    ),
    Check(
        env("SETTING", "ghp_0123"),
        "env has a value under SETTING that looks like a secret",
        [env("SETTING", "0123")],
    ),
    Check(
        {"commonAnnotations": {"helm.sh/hook": "test"}},
        "commonAnnotations has helm.sh/hook",
        [{"commonAnnotations": {"example.org/hook": "test"}}],
    ),
    *(
        Check(
            {"volumes": [{"name": name, "emptyDir": {}}]},
            f"volumes has {name}, which is a volume of the chart's",
            [{"volumes": [{"name": f"my-{name}", "emptyDir": {}}]}],
        )
        for name in ("secrets", "tls", "database-ca", "tmp")
    ),
    *(
        Check(
            {"volumeMounts": [{"name": name, "mountPath": "/mine", "subPath": "a"}]},
            f"volumeMounts has a subPath of {name}",
            [{"volumeMounts": [{"name": name, "mountPath": "/mine"}]}],
        )
        for name in ("secrets", "tls", "database-ca")
    ),
    *(
        Check(
            mount(**{field: "a"}),
            "volumeMounts has a subPath of mine",
            [
                mount(),
                mount(**{field: "a"})
                | {"volumes": [{"name": "mine", "configMap": {"name": "mine"}}]},
            ],
        )
        for field in ("subPath", "subPathExpr")
    ),
    *(
        Check(
            mount(subPath="a") | {"volumes": [{"name": "mine"} | volume]},
            "volumeMounts has a subPath of mine",
            [mount() | {"volumes": [{"name": "mine"} | volume]}],
        )
        for volume in ({"projected": {"defaultMode": 256}}, {"csi": {"driver": "a"}})
    ),
    *(
        Check(
            mount(mountPath=path),
            f"volumeMounts has {path}, where the image or the chart has something",
            [mount(mountPath=near)],
        )
        for path, near in (
            ("/", "/mine"),
            ("/etc", "/mine/etc"),
            ("/usr/", "/usr/share/mine"),
            ("/etc//secrets", "/etc/mine"),
            ("/etc/./tls", "/etc/mine"),
            ("/mine/../tmp", "/mine/tmp"),
            ("/etc/ssl/certs", "/mine/ssl"),
            ("/etc/secrets", "/etc/secrets-of-mine"),
            ("/etc/tls", "/etc/tls2"),
            ("/etc/database-ca/mine", "/etc/mine"),
            ("/srv", "/srv2"),
            ("/opt/venv/bin", "/opt/mine"),
            ("/tmp/", "/tmp2"),
        )
    ),
]


def refusal(render: Render, flat: Flat, release: str = "flask-app") -> str:
    """Return what Helm says to values that it has to refuse."""
    with pytest.raises(Refused) as refused:
        render(release, **nested(flat))
    return str(refused.value)


@pytest.mark.parametrize(
    "check", CHECKS, ids=lambda check: f"{check.refused}-{check.sentence[:30]}"
)
def test_a_contradiction_is_refused(render: Render, check: Check) -> None:
    message = refusal(render, check.refused, check.release)
    # by a template: the schema, which comes first, has let it pass
    assert message.startswith("execution error at (flask-app/templates/checks.yaml:")
    assert check.sentence in message
    for accepted in check.accepted:
        render(check.release, **nested(accepted))


def test_every_check_is_tested(render: Render) -> None:
    # a team's own templates may have sentences, too
    names = ("_checks.tpl", "_source_checks.tpl", "checks.yaml")
    text = "\n".join((FOLDER / "templates" / name).read_text("utf-8") for name in names)
    sentences = re.findall(r'\bfail (?:\(printf )?"([^"]+)"', text)
    # one that is written in another way would be overlooked
    assert len(sentences) == len(re.findall(r"(?:\{\{-?|[|(]) *(?:fail|required)\b", text))
    assert len(sentences) >= 30
    untested = [".+".join(map(re.escape, re.split("%[sv]", one))) for one in sentences]
    # first one of each kind, since many are of one sentence; then all of them
    one_of_each = {check.sentence[:24]: check for check in CHECKS}.values()
    for check in (*one_of_each, *CHECKS):
        if untested:
            message = refusal(render, check.refused, check.release)
            untested = [sentence for sentence in untested if not re.search(sentence, message)]
    assert not untested


@pytest.mark.parametrize(
    "name",
    """
    SECRET_KEY SECRET_KEY_FALLBACKS DATABASE_USERNAME DATABASE_PASSWORD GENERATION API_TOKEN
    APITOKEN db_passwd DB_PWD PGPASSWORD Password SSH_PASSPHRASE CLIENT_SECRET AWS_SECRET_ACCESS_KEY
    STRIPE_API_KEY APIKEY PRIVATE_KEY SIGNING_KEY ENCRYPTION_KEY ACCESS_KEY CREDENTIALS TOKEN
    TOKEN_FILES FILE_TOKEN DB_PASS SMTP_PASS MASTER_KEY SSH_KEY SESSION_KEY HMAC_KEY GITHUB_PAT
    BASIC_AUTH
    """.split(),
)
def test_a_secrets_name_is_refused(render: Render, name: str) -> None:
    message = refusal(render, env(name, "hidden-value"))
    assert f"env has {name}" in message
    assert "hidden-value" not in message
    assert name in refusal(
        render, env(name, valueFrom={"configMapKeyRef": {"name": "a", "key": "b"}})
    )


@pytest.mark.parametrize(
    "name",
    """
    TZ TOKEN_FILE API_TOKEN_FILE PASSWORD_DIR SECRET_NAME TOKEN_URL SECRET_PATH TOKEN_TTL
    TOKEN_ISSUER MAX_TOKENS TOKENIZERS_PARALLELISM PATH COMPASS AUTHOR
    OTEL_EXPORTER_OTLP_ENDPOINT KEYCLOAK_URL KEYBOARD PRIMARY_KEY MONKEY http_proxy
    """.split(),
)
def test_another_name_is_accepted(render: Render, name: str) -> None:
    deployment = render(**nested(env(name))).one("Deployment", "flask-app")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["env"][-1] == {"name": name, "value": "x"}


HEX = "0123456789abcdef" * 4
MIXED = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYm8"


@pytest.mark.parametrize(
    "value",
    [
        # pragma: allowlist nextline secret
        "-----BEGIN PRIVATE KEY-----\nMIIBVgIBADANBg\n-----END PRIVATE KEY-----\n",
        # pragma: allowlist nextline secret
        "-----BEGIN RSA PRIVATE KEY-----\nMIIBVgIBADANBg\n-----END RSA PRIVATE KEY-----",
        "see -----BEGIN EC PRIVATE KEY-----",  # pragma: allowlist secret
        "host=db user=notes password=hunter2",
        "Server=db;Pwd=hunter2;Encrypt=yes",
        "jdbc:postgresql://db/notes?user=a&password=hunter2",
        "Bearer 0123456789",
        "key=AKIAIOSFODNN7EXAMPLE",  # pragma: allowlist secret
        "rk_live_0123456789",
        "npm_" + "0123456789" * 3,
        "dckr_pat_0123456789",
        "https://hooks.slack.com/services/T0/B0/x",  # pragma: allowlist secret
        "postgres://user:hunter2@db.example.org/notes",  # pragma: allowlist secret
        "redis://:hunter2@cache",
        # pragma: allowlist nextline secret
        "https://a.example.org and https://user:hunter2@b.example.org",
        "AKIAIOSFODNN7EXAMPLE",  # pragma: allowlist secret
        "ASIAIOSFODNN7EXAMPLE",  # pragma: allowlist secret
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",  # pragma: allowlist secret
        *(f"gh{kind}_0123456789" for kind in "opsru"),
        "glpat-0123456789",
        "hvs.CAESI0123456789",
        "xoxb-0123456789",
        "sk_live_0123456789",
        "sk-proj-0123456789",
        HEX,
        HEX.upper(),
        HEX[:32],
        MIXED + "=",
        MIXED,
        MIXED.replace("m", "-").replace("Y", "_"),
        MIXED[:24],
        f"  {HEX}\n",
    ],
)
def test_a_secrets_value_is_refused_and_not_repeated(render: Render, value: str) -> None:
    message = refusal(render, env("SETTING", value))
    assert "env has a value under SETTING that looks like a secret" in message
    for line in value.split("\n"):
        assert not line.strip() or line.strip() not in message


@pytest.mark.parametrize(
    "value",
    [
        "",
        "true",
        "Europe/Berlin",
        "0.5",
        # a git commit
        HEX[:40],
        HEX[:31],
        MIXED[:23],
        "123e4567-e89b-12d3-a456-426614174000",
        "https://notes.example.org:8443/a?b=c",
        "https://notes.example.org:8443/@user",
        "postgres://user@db.example.org:5432/notes",
        "postgresql-primary.databases-of-the-whole-company.svc.cluster.local",
        "a-very-long-service-name-in-lower-case-with-1-digit",
        "Whoever reads this, it is 1 sentence.",
        "a.example.org:9092,b.example.org:9092",
        "10.0.0.0/8,192.168.0.0/16",
        f"registry.example.org/notes:1.2.3@sha256:{HEX}",
        f"sha256:{HEX}",
        "ghost_writer",
        "-----BEGIN CERTIFICATE-----",
        "/usr/lib/jvm/Java-17-openjdk-amd64",
        "Orders-Created-V2-production",
    ],
)
def test_another_value_is_accepted(render: Render, value: str) -> None:
    deployment = render(**nested(env("SETTING", value))).one("Deployment", "flask-app")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["env"][-1] == {"name": "SETTING", "value": value}


@pytest.mark.parametrize(
    "path",
    """
    secretKey SECRET_KEY password databasePassword secrets.SECRET_KEY secrets.DATABASE_PASSWORD
    secrets.data database.password database.username database.url database.adminPassword
    postgresql.password postgresql.postgresPassword postgresql.auth tls.key tls.crt tls.caKey
    keeper.token image.password ingress.password service.token
    replicaCount image.name keeper.rotation.every tls.certManager.issuerRef.names
    monitoring.podMonitor.port postgresql.image.registry httpRoute.backendTLS.ca
    """.split(),
)
def test_an_unknown_value_is_refused_and_not_repeated(render: Render, path: str) -> None:
    above, _, name = path.rpartition(".")
    message = refusal(render, {path: "hidden-value"})
    pointer = f"/{above.replace('.', '/')}" if above else ""
    assert f"at '{pointer}': additional properties '{name}' not allowed" in message
    assert "hidden-value" not in message


@pytest.mark.parametrize(
    ("flat", "pointer", "name"),
    [
        ({"resources": {"request": "hidden"}}, "/resources", "request"),
        ({"keeper.resources": {"limit": "hidden"}}, "/keeper/resources", "limit"),
        ({"livenessProbe": {"httpGet": "hidden"}}, "/livenessProbe", "httpGet"),
        ({"imagePullSecrets": [{"name": "a", "key": "hidden"}]}, "/imagePullSecrets/0", "key"),
        ({"env": [{"name": "A", "secret": "hidden"}]}, "/env/0", "secret"),
        ({"ingress.hosts": [{"host": "a", "port": "hidden"}]}, "/ingress/hosts/0", "port"),
        ({"ingress.tls": [{"hosts": ["a"], "key": "hidden"}]}, "/ingress/tls/0", "key"),
    ],
)
def test_an_unknown_word_in_a_value_is_refused(
    render: Render, flat: Flat, pointer: str, name: str
) -> None:
    message = refusal(render, flat)
    assert f"at '{pointer}': additional properties '{name}' not allowed" in message
    assert "hidden" not in message


def read_schema_rows() -> list[tuple[str, list[Any], list[Any]]]:
    """Return the rows of schema.yaml; `<a*3>` there is aaa."""
    text = Path(__file__).with_name("schema.yaml").read_text("utf-8")
    rows = yaml.safe_load(re.sub(r"<(\w)\*(\d+)>", lambda found: found[1] * int(found[2]), text))
    return [(path, row["refused"], row["accepted"]) for row in rows for path in row["of"].split()]


@pytest.mark.parametrize(
    ("path", "refused", "accepted"),
    [
        *read_schema_rows(),
        # as the service's settings have them
        ("database.targetSessionAttrs", ["", "standby", "prefer-standby"], SESSION_ATTRS),
        ("database.channelBinding", ["on", "Require"], ["", *CHANNEL_BINDINGS]),
        ("database.pooler", ["", "statement", True], POOLERS),
        (
            "database.requireAuth",
            ["", "!md5", "scram", "md5,", "md5;gss", "oauth"],
            [*AUTH_METHODS, "md5,gss", " md5 , gss ", ",".join(AUTH_METHODS)],
        ),
    ],
)
def test_the_schema_refuses_by_name(
    pinned: Chart, path: str, refused: list[Any], accepted: list[Any]
) -> None:
    for value in refused:
        with pytest.raises(Refused) as raised:
            pinned.check_schema(nested({path: value}))
        assert f"at '/{path.replace('.', '/')}" in str(raised.value), value
    for value in accepted:
        pinned.check_schema(nested({path: value}))
