"""Every value arrives in its place, and every value is turned by somebody."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import yaml

from tests.chart.conftest import FOLDER, VARIANTS, Chart, Object, Render, Rendered
from tests.chart.pinned import leaves

#: Values by their dotted paths.
Flat = dict[str, Any]
NOTHING: Flat = {}

# nothing in the chart reads `global`: it is there for parent charts
LEAVES = [leaf for leaf in leaves() if leaf != "global"]


def nested(flat: Flat) -> dict[str, Any]:
    """Return values as Helm wants them."""
    values: dict[str, Any] = {}
    for path, value in flat.items():
        *above, last = path.split(".")
        inner = values
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return values


def at(found: Any, path: str) -> Any:
    """Return what is at a path such as `spec.ports[https].port`; None: nothing is.

    In brackets is the key of a mapping, or an element's number or `name` in a list.
    """
    for bracketed, plain in re.findall(r"\[([^\]]+)\]|([^.\[\]]+)", path):
        key = bracketed or plain
        if isinstance(found, list) and key.isdigit():
            found = found[int(key)] if int(key) < len(found) else None
        elif isinstance(found, list):
            found = next((one for one in found if one.get("name") == key), None)
        else:
            found = (found or {}).get(key)
    return found


class Row(NamedTuple):
    """One value, and where it arrives."""

    name: str
    value: Any
    #: The object, as kind and name, and the path in it.
    owner: str
    path: str
    #: What is there, and is not there with `base` alone; None: nothing is.
    expected: Any
    #: Values that this one needs.
    base: Flat = NOTHING
    #: Values that can be turned together with it only.
    also: Flat = NOTHING

    def turned(self) -> Flat:
        return self.base | self.also | {self.name: self.value}

    def found(self, rendered: Rendered) -> Any:
        kind, _, name = self.owner.partition("/")
        for one in rendered.objects:
            if (one["kind"], one["metadata"]["name"]) == (kind, name):
                return at(one, self.path)
        return None


DEPLOYMENT = "Deployment/flask-app"
CRON_JOB = "CronJob/flask-app-keeper"
STATEFUL_SET = "StatefulSet/flask-app-database"
TEST = "Pod/flask-app-test"
SERVICE = "Service/flask-app"
SCALER = "HorizontalPodAutoscaler/flask-app"
BUDGET = "PodDisruptionBudget/flask-app"
INGRESS = "Ingress/flask-app"
ROUTE = "HTTPRoute/flask-app"
EXTERNAL_SECRET = "ExternalSecret/flask-app"
STORE = "SecretStore/flask-app"
CLASS = "SecretProviderClass/flask-app"
BACKEND = "BackendTLSPolicy/flask-app"
CERTIFICATE = "Certificate/flask-app"
POLICY = "NetworkPolicy/flask-app"

ANNOTATIONS = "spec.template.metadata.annotations"
VAULT_SAYS = f"{ANNOTATIONS}.[vault.hashicorp.com/"
OF_VAULT = "spec.provider.vault"
OF_AWS = "spec.provider.aws"
LOGIN = f"{OF_VAULT}.auth.kubernetes"
POD = "spec.template.spec"
CONTAINER = f"{POD}.containers[service]"
VOLUMES = f"{POD}.volumes"
TOKEN = f"{VOLUMES}[vault-token].projected.sources[0].serviceAccountToken"
KEEPER_POD = "spec.jobTemplate.spec.template.spec"
KEEPER = f"{KEEPER_POD}.containers[keeper]"
SERVER = f"{POD}.containers[postgresql]"
INIT = f"{POD}.initContainers[initdb]"

DIGEST = "sha256:" + "0123456789abcdef" * 4
PEERS = [{"ipBlock": {"cidr": "10.1.2.0/24"}}]
TOLERATIONS = [{"key": "web", "operator": "Exists"}]
AFFINITY = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname"}
        ]
    }
}
SELECTED = {
    "app.kubernetes.io/name": "flask-app",
    "app.kubernetes.io/instance": "flask-app",
    "app.kubernetes.io/component": "service",
}
ALIASES = [{"ip": "192.0.2.9", "hostnames": ["db.example.org"]}]
DNS = {"options": [{"name": "ndots", "value": "2"}]}
SPREAD = {"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
OTHERS = {"labelSelector": {"matchLabels": {"tier": "web"}}}
NAMES = [f"flask-app{rest}" for rest in ("", ".shop", ".shop.svc", ".shop.svc.cluster.local")]

IN_CLUSTER = ",".join([*NAMES, "localhost", "127.0.0.1"])

NODE_PORT = {"service.type": "NodePort"}
BALANCED = {"service.type": "LoadBalancer"}
SCALED = {"autoscaling.enabled": True}
INGRESSED = {"ingress.enabled": True, "ingress.hosts": [{"host": "a.example.org"}]}
ROUTED = {"httpRoute.enabled": True, "httpRoute.parentRefs": [{"name": "public"}]}
ISSUED = {"tls.source": "cert-manager"}
#: An IPv6 address can't be among the trusted hosts.
UNLISTED: Flat = ISSUED | {"trustedHosts": []}
BY_ISSUER = ISSUED | {"tls.certManager.issuerRef.name": "letsencrypt"}
MONITORED = {"monitoring.serviceMonitor.enabled": True}
OF_SOMEBODY = {"secrets.source": "existing", "secrets.existingSecret": "shop"}
OBJECTS = {"secrets.objects.session": "shop/session", "secrets.objects.database": "shop/database"}
VAULT = {"secrets.vault.address": "https://vault.example.org:8200", "secrets.vault.role": "shop"}
ROLE = "arn:aws:iam::123456789012:role/shop"
AWS = {"secrets.aws.region": "eu-central-1", "secrets.aws.roleARN": ROLE}
SYNCED = {"secrets.source": "external-secrets"} | OBJECTS | VAULT
SYNCED_FROM_AWS = {"secrets.source": "external-secrets"} | OBJECTS | AWS
STORED = {"secrets.source": "external-secrets", "secrets.externalSecrets.store.name": "t"} | OBJECTS
BY_AGENT = {"secrets.source": "vault-agent"} | OBJECTS | VAULT
BY_DRIVER = {"secrets.source": "csi"} | OBJECTS | VAULT
ASKED = OBJECTS | VAULT
URL = "https://vault.example.com"
TRUSTED = {"secrets.vault.caSecret": "ca"}
BY_DRIVER_FROM_AWS = {"secrets.source": "csi"} | OBJECTS | AWS
ALERTED = MONITORED | {"monitoring.prometheusRule.enabled": True}
ALERTS = "PrometheusRule/flask-app"
RULES = "spec.groups[0].rules"
OF_RELEASE = '{{namespace="shop",job="flask-app-metrics"}}'
TOO_OLD = f"time() - max by (namespace, job) (secrets_generation{OF_RELEASE} > 0) > {{}}"
END = "tls_certificate_expiry_timestamp_seconds"
ENDS = f"min by (namespace, job) ({END}{OF_RELEASE}) - time() < {{}}"
POD_MONITORED = {"monitoring.podMonitor.enabled": True}
ITS_HOST = {"database.host": "db.example.org", "database.adminSecret": "db-admin"}
OWN = {"postgresql.enabled": False, "database.caConfigMap": "db-ca"} | ITS_HOST
POOLED = OWN | {"database.pooler": "session", "database.directHost": "db-1.example.org"}
UNVERIFIED = OWN | {
    "database.caConfigMap": "",
    "database.sslmode": "require",
    "database.allowSslmode": "require",
}

#: The image's tag, unless another one is named.
VERSION = yaml.safe_load((FOLDER / "Chart.yaml").read_text())["appVersion"]

ROWS = [
    # pods
    Row("replicas", 5, DEPLOYMENT, "spec.replicas", 5),
    Row("replicas", 0, DEPLOYMENT, "spec.replicas", 0),
    Row(
        "image.repository",
        "a.org:5000/b/c",
        DEPLOYMENT,
        f"{CONTAINER}.image",
        f"a.org:5000/b/c:{VERSION}",
    ),
    Row("image.repository", "a.org/b", CRON_JOB, f"{KEEPER}.image", f"a.org/b:{VERSION}"),
    Row(
        "image.repository", "a.org/b", TEST, "spec.containers[request].image", f"a.org/b:{VERSION}"
    ),
    Row("image.tag", "1.2.3", DEPLOYMENT, f"{CONTAINER}.image", "flask-app:1.2.3"),
    Row("image.tag", "1.2.3", CRON_JOB, f"{KEEPER}.image", "flask-app:1.2.3"),
    Row("image.digest", DIGEST, DEPLOYMENT, f"{CONTAINER}.image", f"flask-app@{DIGEST}"),
    Row(
        "image.digest",
        DIGEST,
        DEPLOYMENT,
        f"{CONTAINER}.image",
        f"flask-app:1.2.3@{DIGEST}",
        base={"image.tag": "1.2.3"},
    ),
    Row("image.pullPolicy", "Always", DEPLOYMENT, f"{CONTAINER}.imagePullPolicy", "Always"),
    Row("image.pullPolicy", "Always", CRON_JOB, f"{KEEPER}.imagePullPolicy", "Always"),
    Row(
        "imagePullSecrets", [{"name": "a"}], DEPLOYMENT, f"{POD}.imagePullSecrets", [{"name": "a"}]
    ),
    Row(
        "resources",
        {"limits": {"memory": "1Gi"}},
        DEPLOYMENT,
        f"{CONTAINER}.resources",
        {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "1Gi"}},
    ),
    Row(
        "env",
        [{"name": "TZ", "value": "Europe/Berlin"}],
        DEPLOYMENT,
        f"{CONTAINER}.env[TZ].value",
        "Europe/Berlin",
    ),
    Row(
        "volumes",
        [{"name": "words", "configMap": {"name": "words"}}],
        DEPLOYMENT,
        f"{POD}.volumes[words].configMap",
        {"name": "words"},
    ),
    Row(
        "volumeMounts",
        [{"name": "words", "mountPath": "/words"}],
        DEPLOYMENT,
        f"{CONTAINER}.volumeMounts[words].mountPath",
        "/words",
        base={"volumes": [{"name": "words", "configMap": {"name": "words"}}]},
    ),
    Row("podLabels", {"tier": "web"}, DEPLOYMENT, "spec.template.metadata.labels.tier", "web"),
    Row("podAnnotations", {"a": "b"}, DEPLOYMENT, "spec.template.metadata.annotations", {"a": "b"}),
    Row("deploymentAnnotations", {"a": "b"}, DEPLOYMENT, "metadata.annotations", {"a": "b"}),
    Row("nodeSelector", {"disk": "ssd"}, DEPLOYMENT, f"{POD}.nodeSelector", {"disk": "ssd"}),
    Row("tolerations", TOLERATIONS, DEPLOYMENT, f"{POD}.tolerations", TOLERATIONS),
    Row("affinity", AFFINITY, DEPLOYMENT, f"{POD}.affinity", AFFINITY),
    Row("topologySpreadConstraints", [], DEPLOYMENT, f"{POD}.topologySpreadConstraints", None),
    Row(
        "topologySpreadConstraints",
        [SPREAD],
        DEPLOYMENT,
        f"{POD}.topologySpreadConstraints",
        [SPREAD | {"labelSelector": {"matchLabels": SELECTED}}],
    ),
    Row(
        "topologySpreadConstraints",
        [SPREAD | OTHERS],
        DEPLOYMENT,
        f"{POD}.topologySpreadConstraints",
        [SPREAD | OTHERS],
    ),
    Row("priorityClassName", "high", DEPLOYMENT, f"{POD}.priorityClassName", "high"),
    Row("runtimeClassName", "gvisor", DEPLOYMENT, f"{POD}.runtimeClassName", "gvisor"),
    Row("hostUsers", False, DEPLOYMENT, f"{POD}.hostUsers", False),
    Row("hostUsers", True, DEPLOYMENT, f"{POD}.hostUsers", True),
    Row("hostAliases", ALIASES, DEPLOYMENT, f"{POD}.hostAliases", ALIASES),
    Row("hostAliases", ALIASES, CRON_JOB, f"{KEEPER_POD}.hostAliases", ALIASES),
    Row("dnsConfig", DNS, DEPLOYMENT, f"{POD}.dnsConfig", DNS),
    Row("dnsConfig", DNS, CRON_JOB, f"{KEEPER_POD}.dnsConfig", DNS),
    *(
        Row(f"securityContext.{field}", value, owner, f"{pod}.securityContext.{field}", value)
        for field in ("runAsUser", "runAsGroup", "fsGroup")
        for owner, pod in ((DEPLOYMENT, POD), (CRON_JOB, KEEPER_POD), (TEST, "spec"))
        for value in (1234, None)
    ),
    Row(
        "strategy",
        {"rollingUpdate": {"maxSurge": 2}},
        DEPLOYMENT,
        "spec.strategy",
        {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}},
    ),
    Row(
        "strategy",
        {"type": "Recreate", "rollingUpdate": None},
        DEPLOYMENT,
        "spec.strategy",
        {"type": "Recreate"},
    ),
    Row("revisionHistoryLimit", 3, DEPLOYMENT, "spec.revisionHistoryLimit", 3),
    Row("revisionHistoryLimit", 0, DEPLOYMENT, "spec.revisionHistoryLimit", 0),
    Row(
        "preStopSeconds",
        15,
        DEPLOYMENT,
        f"{CONTAINER}.lifecycle.preStop.exec.command",
        ["sleep", "15"],
    ),
    Row("preStopSeconds", 15, DEPLOYMENT, f"{POD}.terminationGracePeriodSeconds", 45),
    *(
        Row(probe, {field: 33}, DEPLOYMENT, f"{CONTAINER}.{probe}.{field}", 33)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        for field in ("initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold")
    ),
    *(
        Row(name, value, DEPLOYMENT, f"{CONTAINER}.env[{variable}].value", expected)
        for name, value, variable, expected in (
            ("clientIdleSeconds", 0.5, "CLIENT_IDLE_SECONDS", "0.5"),
            ("clientTotalSeconds", 3600, "CLIENT_TOTAL_SECONDS", "3600"),
            ("keepAliveSeconds", 3600, "KEEP_ALIVE_SECONDS", "3600"),
            ("trustedProxies", 2, "TRUSTED_PROXIES", "2"),
            ("trustedHosts", [".example.org"], "TRUSTED_HOSTS", f"{IN_CLUSTER},.example.org"),
            ("trustedHosts", [], "TRUSTED_HOSTS", None),
        )
    ),
    Row("logLevel", "DEBUG", DEPLOYMENT, f"{CONTAINER}.env[LOG_LEVEL].value", "DEBUG"),
    *(
        Row(
            "sessionLifetime", 600, owner, f"{container}.env[SESSION_LIFETIME_SECONDS].value", "600"
        )
        for owner, container in ((DEPLOYMENT, CONTAINER), (CRON_JOB, KEEPER))
    ),
    # scaling and disruption
    Row("autoscaling.enabled", True, SCALER, "spec.scaleTargetRef.name", "flask-app"),
    Row("autoscaling.enabled", True, DEPLOYMENT, "spec.replicas", None),
    Row("autoscaling.minReplicas", 3, SCALER, "spec.minReplicas", 3, SCALED),
    Row("autoscaling.maxReplicas", 30, SCALER, "spec.maxReplicas", 30, SCALED),
    Row(
        "autoscaling.targetCPUUtilizationPercentage",
        60,
        SCALER,
        "spec.metrics[0].resource",
        {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
        SCALED,
    ),
    Row(
        "autoscaling.targetCPUUtilizationPercentage",
        None,
        SCALER,
        "spec.metrics[0].resource.name",
        "memory",
        SCALED | {"autoscaling.targetMemoryUtilizationPercentage": 75},
    ),
    Row(
        "autoscaling.targetMemoryUtilizationPercentage",
        75,
        SCALER,
        "spec.metrics[1].resource",
        {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 75}},
        SCALED,
    ),
    Row(
        "autoscaling.metrics",
        [{"type": "Pods", "pods": {}}],
        SCALER,
        "spec.metrics[1]",
        {"type": "Pods", "pods": {}},
        SCALED,
    ),
    Row(
        "autoscaling.behavior",
        {"scaleDown": {"stabilizationWindowSeconds": 60}},
        SCALER,
        "spec.behavior",
        {"scaleDown": {"stabilizationWindowSeconds": 60}},
        SCALED,
    ),
    Row("podDisruptionBudget.enabled", False, BUDGET, "kind", None),
    *(
        Row(f"podDisruptionBudget.{field}", value, BUDGET, f"spec.{field}", value)
        for field in ("minAvailable", "maxUnavailable")
        for value in (2, 0, "50%")
    ),
    Row("podDisruptionBudget.minAvailable", 2, BUDGET, "spec.maxUnavailable", None),
    Row(
        "podDisruptionBudget.unhealthyPodEvictionPolicy",
        "AlwaysAllow",
        BUDGET,
        "spec.unhealthyPodEvictionPolicy",
        "AlwaysAllow",
    ),
    # reaching the service
    Row("service.type", "NodePort", SERVICE, "spec.type", "NodePort"),
    Row("service.port", 443, SERVICE, "spec.ports[https].port", 443),
    Row("service.port", 443, TEST, "spec.containers[request].env[SERVICE_PORT].value", "443"),
    Row("service.port", 443, ROUTE, "spec.rules[0].backendRefs[0].port", 443, ROUTED),
    Row("service.nodePort", 30443, SERVICE, "spec.ports[https].nodePort", 30443, NODE_PORT),
    Row("service.nodePort", 30443, SERVICE, "spec.ports[https].nodePort", 30443, BALANCED),
    Row("service.labels", {"tier": "web"}, SERVICE, "metadata.labels.tier", "web"),
    Row("service.annotations", {"a": "b"}, SERVICE, "metadata.annotations", {"a": "b"}),
    Row("service.ipFamilyPolicy", "SingleStack", SERVICE, "spec.ipFamilyPolicy", "SingleStack"),
    Row("service.ipFamilies", ["IPv6"], SERVICE, "spec.ipFamilies", ["IPv6"]),
    *(
        Row(
            "service.externalTrafficPolicy",
            "Local",
            SERVICE,
            "spec.externalTrafficPolicy",
            "Local",
            b,
        )
        for b in (NODE_PORT, BALANCED)
    ),
    Row(
        "service.loadBalancerClass",
        "a.org/b",
        SERVICE,
        "spec.loadBalancerClass",
        "a.org/b",
        BALANCED,
    ),
    Row(
        "service.loadBalancerSourceRanges",
        ["10.0.0.0/8"],
        SERVICE,
        "spec.loadBalancerSourceRanges",
        ["10.0.0.0/8"],
        BALANCED,
    ),
    Row(
        "ingress.enabled",
        True,
        INGRESS,
        "spec.rules[0].http.paths[0].backend.service",
        {"name": "flask-app", "port": {"name": "https"}},
        {"ingress.hosts": [{"host": "a.example.org"}]},
    ),
    Row("ingress.className", "nginx", INGRESS, "spec.ingressClassName", "nginx", INGRESSED),
    Row("ingress.labels", {"tier": "web"}, INGRESS, "metadata.labels.tier", "web", INGRESSED),
    Row("ingress.annotations", {"a": "b"}, INGRESS, "metadata.annotations", {"a": "b"}, INGRESSED),
    *(
        Row(
            "ingress.hosts",
            [{"host": "b.example.org", "paths": [{"path": "/a", "pathType": "Exact"}]}],
            INGRESS,
            f"spec.rules[0].{path}",
            expected,
            INGRESSED,
        )
        for path, expected in (
            ("host", "b.example.org"),
            ("http.paths[0].path", "/a"),
            ("http.paths[0].pathType", "Exact"),
        )
    ),
    Row(
        "ingress.tls",
        [{"hosts": ["a.example.org"], "secretName": "a-tls"}],
        INGRESS,
        "spec.tls",
        [{"hosts": ["a.example.org"], "secretName": "a-tls"}],
        INGRESSED,
    ),
    Row(
        "httpRoute.enabled",
        True,
        ROUTE,
        "spec.rules[0].backendRefs[flask-app].port",
        8443,
        {"httpRoute.parentRefs": [{"name": "public"}]},
    ),
    Row("httpRoute.labels", {"tier": "web"}, ROUTE, "metadata.labels.tier", "web", ROUTED),
    Row("httpRoute.annotations", {"a": "b"}, ROUTE, "metadata.annotations", {"a": "b"}, ROUTED),
    Row(
        "httpRoute.parentRefs",
        [{"name": "a", "namespace": "b", "sectionName": "https"}],
        ROUTE,
        "spec.parentRefs",
        [{"name": "a", "namespace": "b", "sectionName": "https"}],
        ROUTED,
    ),
    Row("httpRoute.hostnames", ["a.org"], ROUTE, "spec.hostnames", ["a.org"], ROUTED),
    Row(
        "httpRoute.matches",
        [{"path": {"type": "Exact", "value": "/a"}}],
        ROUTE,
        "spec.rules[0].matches",
        [{"path": {"type": "Exact", "value": "/a"}}],
        ROUTED,
    ),
    Row(
        "httpRoute.filters",
        [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["a"]}}],
        ROUTE,
        "spec.rules[0].filters",
        [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["a"]}}],
        ROUTED,
    ),
    Row("httpRoute.backendTLS.enabled", False, BACKEND, "kind", None, ROUTED),
    Row(
        "httpRoute.backendTLS.caCertificateRefs",
        [{"kind": "ConfigMap", "name": "ca"}],
        BACKEND,
        "spec.validation.caCertificateRefs",
        [{"group": "", "kind": "ConfigMap", "name": "ca"}],
        ROUTED,
    ),
    Row(
        "httpRoute.backendTLS.wellKnownCACertificates",
        "System",
        BACKEND,
        "spec.validation.wellKnownCACertificates",
        "System",
        ROUTED,
    ),
    Row(
        "httpRoute.backendTLS.wellKnownCACertificates",
        "System",
        BACKEND,
        "spec.validation.caCertificateRefs",
        None,
        ROUTED,
    ),
    Row(
        "httpRoute.backendTLS.hostname",
        "a.example.org",
        BACKEND,
        "spec.validation.hostname",
        "a.example.org",
        ROUTED,
    ),
    # network policies
    *(
        Row("networkPolicy.enabled", False, f"{POLICY}-{component}", "kind", None)
        for component in ("service", "keeper", "database", "test")
    ),
    Row("networkPolicy.clients", PEERS, f"{POLICY}-service", "spec.ingress[0].from[0]", PEERS[0]),
    Row(
        "networkPolicy.monitoring", PEERS, f"{POLICY}-service", "spec.ingress[1].from[1]", PEERS[0]
    ),
    Row("networkPolicy.monitoring", [], f"{POLICY}-service", "spec.ingress[1].from[1]", None),
    *(
        Row(name, value, f"{POLICY}-{component}", f"spec.egress[0].{path}", expected)
        for component in ("service", "keeper", "test")
        for name, value, path, expected in (
            ("networkPolicy.dns", PEERS, "to", PEERS),
            ("networkPolicy.dns", [], "to", None),
            ("networkPolicy.dnsPort", 5353, "ports[0].port", 5353),
            ("networkPolicy.dnsPort", 5353, "ports[1].port", 5353),
        )
    ),
    *(
        Row(name, value, f"{POLICY}-{component}", f"spec.egress[1].{path}", expected, OWN)
        for component in ("service", "keeper")
        for name, value, path, expected in (
            ("networkPolicy.database", PEERS, "to", PEERS),
            ("database.host", "192.0.2.8", "to", [{"ipBlock": {"cidr": "192.0.2.8/32"}}]),
            ("database.host", "2001:db8::8", "to", [{"ipBlock": {"cidr": "2001:db8::8/128"}}]),
            ("database.port", 6432, "ports[0].port", 6432),
        )
    ),
    Row("networkPolicy.apiServer", PEERS, f"{POLICY}-keeper", "spec.egress[3].to", PEERS),
    Row(
        "networkPolicy.apiServerPorts",
        [8443],
        f"{POLICY}-keeper",
        "spec.egress[3].ports",
        [{"port": 8443}],
    ),
    Row(
        "networkPolicy.extraEgress",
        [{"to": PEERS}],
        f"{POLICY}-service",
        "spec.egress[2]",
        {"to": PEERS},
    ),
    # secrets
    *(
        Row("secrets.source", source, CRON_JOB, f"{KEEPER}.env[SERVICE_SECRET]", None, also=rest)
        for source, rest in (
            ("existing", {"secrets.existingSecret": "shop"}),
            ("external-secrets", OBJECTS | VAULT),
            ("vault-agent", OBJECTS | VAULT),
            ("csi", OBJECTS | AWS),
        )
    ),
    Row(
        "secrets.source", "external-secrets", EXTERNAL_SECRET, "kind", "ExternalSecret", also=ASKED
    ),
    Row(
        "secrets.source",
        "vault-agent",
        DEPLOYMENT,
        f"{VAULT_SAYS}agent-inject]",
        "true",
        also=ASKED,
    ),
    Row("secrets.source", "csi", CLASS, "kind", "SecretProviderClass", also=ASKED),
    *(
        Row("secrets.existingSecret", "team", DEPLOYMENT, path, "team", OF_SOMEBODY)
        for path in (
            f"{VOLUMES}[secrets].secret.secretName",
            f"{VOLUMES}[secrets-required].secret.secretName",
        )
    ),
    *(
        Row("secrets.keys", {"SECRET_KEY": "key"}, owner, path, expected, base)
        for owner, path, expected, base in (
            (DEPLOYMENT, f"{VOLUMES}[secrets].secret.items[0].key", "key", OF_SOMEBODY),
            (DEPLOYMENT, f"{VOLUMES}[secrets-required].secret.items[0].key", "key", OF_SOMEBODY),
            (DEPLOYMENT, f"{VOLUMES}[secrets].secret.items[0].key", "session.key", SYNCED),
            (
                DEPLOYMENT,
                f"{CONTAINER}.env[SECRET_KEY].valueFrom.secretKeyRef.key",
                "key",
                OF_SOMEBODY | {"secrets.inject": "env"},
            ),
            (
                DEPLOYMENT,
                f"{VAULT_SAYS}agent-inject-template-SECRET_KEY]",
                '{{ with secret "secret/data/shop/session" }}'
                '{{ with index .Data.data "key" }}{{ . }}{{ end }}{{ end }}',
                BY_AGENT,
            ),
        )
    ),
    Row(
        "secrets.own.made",
        ["INVITE_KEY", "LINK_KEY"],
        CRON_JOB,
        f"{KEEPER}.env[OWN_KEYS].value",
        "INVITE_KEY,LINK_KEY",
    ),
    *(
        Row(f"secrets.own.{how}", ["OWN_KEY"], owner, path, expected, {**base, **no_others})
        for how, no_others in (
            ("made", {"secrets.own.given": list[str]()}),
            ("given", {"secrets.own.made": list[str]()}),
        )
        for owner, path, expected, base in (
            (DEPLOYMENT, f"{VOLUMES}[secrets].secret.items[5].key", "OWN_KEY", {}),
            (
                DEPLOYMENT,
                f"{VOLUMES}[secrets-required].secret.items[3].path",
                "OWN_KEY",
                OF_SOMEBODY,
            ),
            (
                DEPLOYMENT,
                f"{VOLUMES}[secrets-required].secret.items[3].key",
                "session.OWN_KEY",
                SYNCED,
            ),
            (
                DEPLOYMENT,
                f"{CONTAINER}.env[OWN_KEY].valueFrom.secretKeyRef",
                {"name": "shop", "key": "OWN_KEY"},
                OF_SOMEBODY | {"secrets.inject": "env"},
            ),
            (
                DEPLOYMENT,
                f"{VAULT_SAYS}agent-inject-secret-OWN_KEY]",
                "secret/data/shop/session",
                BY_AGENT,
            ),
        )
    ),
    *(
        Row(f"secrets.objects.{name}", "team", owner, path, expected, base)
        for name, number, file in (
            ("session", 0, "SECRET_KEY"),
            ("database", 1, "DATABASE_PASSWORD"),
        )
        for owner, path, expected, base in (
            (EXTERNAL_SECRET, f"spec.dataFrom[{number}].extract.key", "team", SYNCED),
            (DEPLOYMENT, f"{VAULT_SAYS}agent-inject-secret-{file}]", "secret/data/team", BY_AGENT),
        )
    ),
    Row("secrets.refreshInterval", "30s", EXTERNAL_SECRET, "spec.refreshInterval", "30s", SYNCED),
    Row(
        "secrets.refreshInterval",
        "30s",
        DEPLOYMENT,
        f"{VAULT_SAYS}template-static-secret-render-interval]",
        "30s",
        BY_AGENT,
    ),
    Row(
        "secrets.externalSecrets.store.name",
        "team",
        EXTERNAL_SECRET,
        "spec.secretStoreRef.name",
        "team",
        STORED,
    ),
    Row(
        "secrets.externalSecrets.store.kind",
        "ClusterSecretStore",
        EXTERNAL_SECRET,
        "spec.secretStoreRef.kind",
        "ClusterSecretStore",
        STORED,
    ),
    Row(
        "secrets.csi.secretProviderClass",
        "team",
        DEPLOYMENT,
        f"{VOLUMES}[secrets].csi.volumeAttributes.secretProviderClass",
        "team",
        {"secrets.source": "csi", "secrets.csi.secretProviderClass": "shop"},
    ),
    *(
        Row(f"secrets.vault.{name}", value, owner, path, expected, base)
        for name, value, owner, path, expected, base in (
            ("address", URL, STORE, f"{OF_VAULT}.server", URL, SYNCED),
            ("address", URL, DEPLOYMENT, f"{VAULT_SAYS}service]", URL, BY_AGENT),
            ("address", URL, CLASS, "spec.parameters.vaultAddress", URL, BY_DRIVER),
            ("address", URL, f"{POLICY}-service", "spec.egress[2].ports[0].port", 443, BY_AGENT),
            ("namespace", "team", STORE, f"{OF_VAULT}.namespace", "team", SYNCED),
            ("namespace", "team", DEPLOYMENT, f"{VAULT_SAYS}namespace]", "team", BY_AGENT),
            ("namespace", "team", CLASS, "spec.parameters.vaultNamespace", "team", BY_DRIVER),
            ("role", "team", STORE, f"{LOGIN}.role", "team", SYNCED),
            ("role", "team", DEPLOYMENT, f"{VAULT_SAYS}role]", "team", BY_AGENT),
            ("role", "team", CLASS, "spec.parameters.roleName", "team", BY_DRIVER),
            ("authPath", "a/b", STORE, f"{LOGIN}.mountPath", "a/b", SYNCED),
            ("authPath", "a/b", DEPLOYMENT, f"{VAULT_SAYS}auth-path]", "auth/a/b", BY_AGENT),
            ("authPath", "a/b", CLASS, "spec.parameters.vaultAuthMountPath", "a/b", BY_DRIVER),
            ("audience", URL, STORE, f"{LOGIN}.serviceAccountRef.audiences", [URL], SYNCED),
            ("audience", URL, DEPLOYMENT, f"{TOKEN}.audience", URL, BY_AGENT),
            ("audience", URL, CLASS, "spec.parameters.audience", URL, BY_DRIVER),
            ("kvMount", "kv", STORE, f"{OF_VAULT}.path", "kv", SYNCED),
            (
                "kvMount",
                "kv",
                DEPLOYMENT,
                f"{VAULT_SAYS}agent-inject-secret-SECRET_KEY]",
                "kv/data/shop/session",
                BY_AGENT,
            ),
            (
                "databasePath",
                "db/creds/shop",
                DEPLOYMENT,
                f"{VAULT_SAYS}agent-inject-secret-DATABASE_PASSWORD]",
                "db/creds/shop",
                BY_AGENT
                | {"secrets.objects.database": "", "secrets.vault.databasePath": "a/creds/b"},
            ),
            ("caSecret", "ca", STORE, f"{OF_VAULT}.caProvider.name", "ca", SYNCED),
            ("caSecret", "ca", DEPLOYMENT, f"{VAULT_SAYS}tls-secret]", "ca", BY_AGENT),
            ("caKey", "ca.pem", STORE, f"{OF_VAULT}.caProvider.key", "ca.pem", SYNCED | TRUSTED),
            (
                "caKey",
                "ca.pem",
                DEPLOYMENT,
                f"{VAULT_SAYS}ca-cert]",
                "/vault/tls/ca.pem",
                BY_AGENT | TRUSTED,
            ),
            ("providerCAFile", "/ca", CLASS, "spec.parameters.vaultCACertPath", "/ca", BY_DRIVER),
        )
    ),
    Row("secrets.aws.region", "us-east-1", STORE, f"{OF_AWS}.region", "us-east-1", SYNCED_FROM_AWS),
    Row(
        "secrets.aws.region",
        "us-east-1",
        CLASS,
        "spec.parameters.region",
        "us-east-1",
        BY_DRIVER_FROM_AWS,
    ),
    *(
        Row(
            "secrets.aws.roleARN",
            ROLE.replace("shop", "team"),
            f"ServiceAccount/{account}",
            "metadata.annotations.[eks.amazonaws.com/role-arn]",
            ROLE.replace("shop", "team"),
            base,
        )
        for account, base in (
            ("flask-app-secrets", SYNCED_FROM_AWS),
            ("flask-app", BY_DRIVER_FROM_AWS),
        )
    ),
    Row("networkPolicy.vault", PEERS, f"{POLICY}-service", "spec.egress[2].to", PEERS, BY_AGENT),
    Row("secrets.inject", "env", DEPLOYMENT, f"{CONTAINER}.env[SECRETS_FROM].value", "env"),
    Row("secrets.inject", "env", DEPLOYMENT, f"{POD}.volumes[secrets]", None),
    Row("secrets.inject", "env", DEPLOYMENT, f"{CONTAINER}.volumeMounts[secrets]", None),
    Row(
        "secrets.inject",
        "env",
        DEPLOYMENT,
        f"{CONTAINER}.env[SECRET_KEY].valueFrom.secretKeyRef",
        {"name": "flask-app-secrets", "key": "SECRET_KEY"},
    ),
    Row(
        "secrets.checkSeconds",
        0.5,
        DEPLOYMENT,
        f"{CONTAINER}.env[SECRETS_CHECK_SECONDS].value",
        "0.5",
    ),
    # certificates
    Row(
        "tls.source",
        "cert-manager",
        DEPLOYMENT,
        f"{POD}.volumes[tls].secret.secretName",
        "flask-app-tls-issued",
    ),
    Row("tls.source", "cert-manager", CRON_JOB, f"{KEEPER}.env[TLS_SECRET]", None),
    Row("tls.source", "cert-manager", CERTIFICATE, "spec.secretName", "flask-app-tls-issued"),
    Row(
        "tls.extraNames",
        ["a.example.org"],
        CRON_JOB,
        f"{KEEPER}.env[TLS_NAMES].value",
        ",".join([*NAMES, "localhost", "127.0.0.1", "a.example.org"]),
    ),
    *(
        Row(name, value, DEPLOYMENT, f"{CONTAINER}.env[TRUSTED_HOSTS].value", expected, base)
        for name, value, expected, base in (
            ("tls.extraNames", ["*.a.org"], f"{IN_CLUSTER},.a.org", {}),
            ("ingress.hosts", [{"host": "b.org"}], f"{IN_CLUSTER},b.org", INGRESSED),
            ("httpRoute.hostnames", ["c.org"], f"{IN_CLUSTER},c.org", ROUTED),
            ("service.type", "NodePort", None, {}),
        )
    ),
    *(
        Row("tls.extraNames", ["a.org", "192.0.2.7", "::7"], CERTIFICATE, path, expected, UNLISTED)
        for path, expected in (
            ("spec.dnsNames", [*NAMES, "localhost", "a.org"]),
            ("spec.ipAddresses", ["127.0.0.1", "192.0.2.7", "::7"]),
        )
    ),
    *(
        Row("tls.existingSecret", "a-tls", owner, path, "a-tls", also={"tls.source": "existing"})
        for owner, path in (
            (DEPLOYMENT, f"{POD}.volumes[tls].secret.secretName"),
            (TEST, "spec.volumes[ca].secret.secretName"),
        )
    ),
    Row(
        "tls.certManager.issuerRef.name",
        "letsencrypt",
        CERTIFICATE,
        "spec.issuerRef",
        {"name": "letsencrypt", "kind": "Issuer", "group": "cert-manager.io"},
        ISSUED,
    ),
    Row("tls.certManager.issuerRef.name", "a", "Issuer/flask-app-ca", "kind", None, ISSUED),
    Row("tls.certManager.issuerRef.kind", "A", CERTIFICATE, "spec.issuerRef.kind", "A", BY_ISSUER),
    Row(
        "tls.certManager.issuerRef.group", "a", CERTIFICATE, "spec.issuerRef.group", "a", BY_ISSUER
    ),
    Row(
        "tls.certManager.inClusterNames",
        False,
        CERTIFICATE,
        "spec.dnsNames",
        ["a.example.org"],
        ISSUED | {"tls.extraNames": ["a.example.org"]},
    ),
    Row("tls.certManager.duration", "1440h", CERTIFICATE, "spec.duration", "1440h", ISSUED),
    Row("tls.certManager.renewBefore", "360h", CERTIFICATE, "spec.renewBefore", "360h", ISSUED),
    # the keeper
    Row("keeper.waitSeconds", 600, CRON_JOB, f"{KEEPER}.env[WAIT_SECONDS].value", "600"),
    Row("keeper.settleSeconds", 5, CRON_JOB, f"{KEEPER}.env[SETTLE_SECONDS].value", "5"),
    Row(
        "keeper.rotation.interval",
        3600,
        CRON_JOB,
        f"{KEEPER}.env[ROTATION_INTERVAL_SECONDS].value",
        "3600",
    ),
    Row("keeper.rotation.schedule", "@daily", CRON_JOB, "spec.schedule", "@daily"),
    Row("keeper.rotation.timeZone", "Europe/Berlin", CRON_JOB, "spec.timeZone", "Europe/Berlin"),
    Row("keeper.rotation.suspend", True, CRON_JOB, "spec.suspend", True),
    *(
        Row(
            "keeper.resources",
            {"limits": {"memory": "1Gi"}},
            owner,
            f"{container}.resources",
            {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "1Gi"}},
        )
        for owner, container in ((CRON_JOB, KEEPER), (TEST, "spec.containers[request]"))
    ),
    Row(
        "keeper.podLabels",
        {"tier": "keeper"},
        CRON_JOB,
        "spec.jobTemplate.spec.template.metadata.labels.tier",
        "keeper",
    ),
    Row(
        "keeper.podAnnotations",
        {"a": "b"},
        CRON_JOB,
        "spec.jobTemplate.spec.template.metadata.annotations",
        {"a": "b"},
    ),
    *(
        Row(f"keeper.{field}", value, owner, f"{pod}.{field}", value)
        for owner, pod in ((CRON_JOB, KEEPER_POD), (TEST, "spec"))
        for field, value in (
            ("nodeSelector", {"pool": "system"}),
            ("tolerations", TOLERATIONS),
            ("affinity", AFFINITY),
        )
    ),
    Row(
        "keeper.serviceAccount.create",
        False,
        "ServiceAccount/mine",
        "kind",
        None,
        {"keeper.serviceAccount.name": "mine"},
    ),
    *(
        Row("keeper.serviceAccount.name", "mine", owner, path, "mine")
        for owner, path in (
            (CRON_JOB, f"{KEEPER_POD}.serviceAccountName"),
            ("RoleBinding/flask-app-keeper", "subjects[0].name"),
            ("ServiceAccount/mine", "metadata.name"),
        )
    ),
    Row(
        "keeper.serviceAccount.annotations",
        {"a": "b"},
        "ServiceAccount/flask-app-keeper",
        "metadata.annotations",
        {"a": "b"},
    ),
    Row("keeper.rbac.create", False, "Role/flask-app-keeper", "kind", None),
    Row("keeper.rbac.create", False, "RoleBinding/flask-app-keeper", "kind", None),
    Row(
        "serviceAccount.create",
        False,
        "ServiceAccount/mine",
        "kind",
        None,
        {"serviceAccount.name": "mine"},
    ),
    *(
        Row("serviceAccount.name", "mine", owner, path, "mine")
        for owner, path in (
            (DEPLOYMENT, f"{POD}.serviceAccountName"),
            (STATEFUL_SET, f"{POD}.serviceAccountName"),
            (TEST, "spec.serviceAccountName"),
            ("ServiceAccount/mine", "metadata.name"),
        )
    ),
    Row(
        "serviceAccount.annotations",
        {"a": "b"},
        "ServiceAccount/flask-app",
        "metadata.annotations",
        {"a": "b"},
    ),
    # the database
    *(
        Row(name, value, owner, f"{container}.env[{variable}].value", str(value), base, also)
        for owner, container in ((DEPLOYMENT, CONTAINER), (CRON_JOB, KEEPER))
        for name, value, variable, base, also in (
            ("database.name", "notes", "DATABASE_NAME", {}, {}),
            ("database.host", "a.example.org", "DATABASE_HOST", OWN, {}),
            ("database.port", 6432, "DATABASE_PORT", OWN, {}),
            ("database.targetSessionAttrs", "any", "DATABASE_TARGET_SESSION_ATTRS", OWN, {}),
            ("database.requireAuth", "scram-sha-256,md5", "DATABASE_REQUIRE_AUTH", OWN, {}),
            ("database.channelBinding", "require", "DATABASE_CHANNEL_BINDING", OWN, {}),
            ("database.channelBinding", "prefer", "DATABASE_CHANNEL_BINDING", POOLED, {}),
            (
                "database.sslmode",
                "verify-ca",
                "DATABASE_SSLMODE",
                OWN,
                {"database.allowSslmode": "verify-ca"},
            ),
            (
                "database.allowSslmode",
                "verify-ca",
                "DATABASE_SSLMODE",
                OWN,
                {"database.sslmode": "verify-ca"},
            ),
        )
    ),
    Row(
        "database.pooler",
        "transaction",
        DEPLOYMENT,
        f"{CONTAINER}.env[DATABASE_POOLER].value",
        "transaction",
        POOLED,
    ),
    *(
        Row(
            f"database.{name}", value, CRON_JOB, f"{KEEPER}.env[{variable}].value", expected, POOLED
        )
        for name, value, variable, expected in (
            ("directHost", "db-2.example.org", "DATABASE_HOST", "db-2.example.org"),
            ("directPort", 5433, "DATABASE_PORT", "5433"),
        )
    ),
    Row(
        "database.directPort",
        5433,
        f"{POLICY}-keeper",
        "spec.egress[1].ports",
        [{"port": 5433}],
        POOLED,
    ),
    Row(
        "database.adminSecret",
        "admin",
        CRON_JOB,
        f"{KEEPER}.env[DATABASE_ADMIN_SECRET].value",
        "admin",
        OWN,
    ),
    Row(
        "database.adminSecret",
        "admin",
        "Role/flask-app-keeper",
        "rules[1].resourceNames",
        ["admin"],
        OWN,
    ),
    *(
        Row(name, value, owner, path.format(pod), expected, base)
        for owner, pod in ((DEPLOYMENT, POD), (CRON_JOB, KEEPER_POD))
        for name, value, path, expected, base in (
            (
                "database.caConfigMap",
                "a",
                "{}.volumes[database-ca].configMap.name",
                "a",
                UNVERIFIED,
            ),
            (
                "database.caSecret",
                "a",
                "{}.volumes[database-ca].secret.secretName",
                "a",
                UNVERIFIED,
            ),
            (
                "database.caKey",
                "a.pem",
                "{}.volumes[database-ca].configMap.items",
                [{"key": "a.pem", "path": "ca.crt"}],
                OWN,
            ),
            (
                "database.caKey",
                "a.pem",
                "{}.volumes[database-ca].secret.items",
                [{"key": "a.pem", "path": "ca.crt"}],
                UNVERIFIED | {"database.caSecret": "a"},
            ),
            (
                "database.publicCA",
                True,
                "{}.containers[0].env[DATABASE_CA_FILE].value",
                "/etc/ssl/certs/ca-certificates.crt",
                UNVERIFIED,
            ),
        )
    ),
    *(
        Row("postgresql.enabled", False, gone, "kind", None, also=OWN)
        for gone in (
            STATEFUL_SET,
            "Service/flask-app-database",
            "ConfigMap/flask-app-database",
            "Secret/flask-app-database-admin",
            "Secret/flask-app-database-tls",
            f"{POLICY}-database",
        )
    ),
    *(
        Row(name, value, STATEFUL_SET, f"{container}.{path}", expected)
        for container in (SERVER, INIT)
        for name, value, path, expected in (
            ("postgresql.image.repository", "a.org/b", "image", "a.org/b:17"),
            ("postgresql.image.tag", "17.5", "image", "postgres:17.5"),
            ("postgresql.image.digest", DIGEST, "image", f"postgres:17@{DIGEST}"),
            ("postgresql.image.pullPolicy", "Never", "imagePullPolicy", "Never"),
            (
                "postgresql.resources",
                {"limits": {"memory": "1Gi"}},
                "resources",
                {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
            ),
        )
    ),
    Row(
        "postgresql.image.digest",
        DIGEST,
        STATEFUL_SET,
        f"{SERVER}.image",
        f"postgres@{DIGEST}",
        {"postgresql.image.tag": ""},
    ),
    Row(
        "postgresql.storage.size",
        "10Gi",
        STATEFUL_SET,
        "spec.volumeClaimTemplates[0].spec.resources.requests.storage",
        "10Gi",
    ),
    Row(
        "postgresql.storage.className",
        "fast",
        STATEFUL_SET,
        "spec.volumeClaimTemplates[0].spec.storageClassName",
        "fast",
    ),
    Row(
        "postgresql.podLabels",
        {"tier": "db"},
        STATEFUL_SET,
        "spec.template.metadata.labels.tier",
        "db",
    ),
    Row(
        "postgresql.podAnnotations",
        {"a": "b"},
        STATEFUL_SET,
        "spec.template.metadata.annotations.a",
        "b",
    ),
    *(
        Row(f"postgresql.{field}", value, STATEFUL_SET, f"{POD}.{field}", value)
        for field, value in (
            ("nodeSelector", {"disk": "nvme"}),
            ("tolerations", TOLERATIONS),
            ("affinity", AFFINITY),
        )
    ),
    # monitoring
    *(
        Row(f"monitoring.{value}.{name}", turned, f"{kind}/flask-app", path, expected, base)
        for value, kind, endpoints, on in (
            ("serviceMonitor", "ServiceMonitor", "spec.endpoints", MONITORED),
            ("podMonitor", "PodMonitor", "spec.podMetricsEndpoints", POD_MONITORED),
        )
        for name, turned, path, expected, base in (
            ("enabled", True, f"{endpoints}[0].path", "/metrics", {}),
            ("labels", {"release": "a"}, "metadata.labels.release", "a", on),
            ("interval", "15s", f"{endpoints}[0].interval", "15s", on),
            ("scrapeTimeout", "5s", f"{endpoints}[0].scrapeTimeout", "5s", on),
        )
    ),
    *(
        Row(f"monitoring.prometheusRule.{name}", turned, ALERTS, path, expected, ALERTED)
        for name, turned, path, expected in (
            ("labels", {"release": "a"}, "metadata.labels.release", "a"),
            ("alertLabels", {"team": "a"}, f"{RULES}[0].labels.team", "a"),
            (
                "runbookURL",
                "https://a.org/runbook.md",
                f"{RULES}[0].annotations.runbook_url",
                "https://a.org/runbook.md#secretstooold",
            ),
            ("secretsMaxAge", 3600, f"{RULES}[0].expr", TOO_OLD.format(3600)),
            ("behindFor", "1h", f"{RULES}[3].for", "1h"),
            ("certificateEnd", 3600, f"{RULES}[7].expr", ENDS.format(3600)),
        )
    ),
    Row("monitoring.prometheusRule.enabled", True, ALERTS, "kind", "PrometheusRule", MONITORED),
    Row(
        "keeper.rotation.interval",
        3600,
        ALERTS,
        f"{RULES}[0].expr",
        TOO_OLD.format(90_000),
        ALERTED,
    ),
    # names and labels
    Row("fullnameOverride", "notes", "Deployment/notes", "metadata.name", "notes"),
    Row("nameOverride", "notes", "Deployment/flask-app-notes", "metadata.name", "flask-app-notes"),
    Row(
        "nameOverride",
        "notes",
        "Service/flask-app-notes",
        "spec.selector[app.kubernetes.io/name]",
        "notes",
    ),
    Row("commonLabels", {"team": "a"}, DEPLOYMENT, "metadata.labels.team", "a"),
    Row("commonAnnotations", {"a": "b"}, DEPLOYMENT, "metadata.annotations", {"a": "b"}),
]


@pytest.fixture(scope="session")
def rendered_once(render: Render) -> Callable[[Flat], Rendered]:
    """Return a function that renders the same values only once, for rows share them."""
    made: dict[str, Rendered] = {}

    def rendered_once(flat: Flat) -> Rendered:
        if repr(flat) not in made:
            made[repr(flat)] = render(**nested(flat))
        return made[repr(flat)]

    return rendered_once


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}={row.value}-{row.owner}")
def test_a_value_arrives(rendered_once: Callable[[Flat], Rendered], row: Row) -> None:
    found = row.found(rendered_once(row.turned()))
    # 1 == 1.0 == True
    assert (type(found), found) == (type(row.expected), row.expected)
    assert row.found(rendered_once(row.base)) != row.expected


def test_every_value_has_a_row() -> None:
    assert {row.name for row in ROWS} == set(LEAVES)


def test_the_variants_turn_every_value(pinned: Chart) -> None:
    defaults = pinned.helm.merge_values({})
    missing = set(LEAVES)
    for variant in VARIANTS.values():
        values = pinned.helm.merge_values(variant)
        missing -= {leaf for leaf in LEAVES if at(values, leaf) != at(defaults, leaf)}
    assert not missing, f"turn these in chart/ci: {sorted(missing)}"


def templates(rendered: Rendered) -> Iterator[tuple[str, Object]]:
    """Return every pod with its metadata, and what it is called."""
    for owner in rendered.objects:
        where = f"{owner['kind']}/{owner['metadata']['name']}"
        job = at(owner, "spec.jobTemplate.spec.template")
        pod = owner if owner["kind"] == "Pod" else job or at(owner, "spec.template")
        if pod:
            yield where, pod


def test_common_labels_are_on_every_object_and_pod(render: Render, variant: dict[str, Any]) -> None:
    rendered = render(**variant | {"commonLabels": {"team": "a"}})
    for one in rendered.objects:
        assert one["metadata"]["labels"]["team"] == "a", one
    pods = dict(templates(rendered))
    assert set(pods) == set(rendered.pods())
    for where, pod in pods.items():
        assert pod["metadata"]["labels"]["team"] == "a", where


def test_common_labels_select_nothing(render: Render, variant: dict[str, Any]) -> None:
    """A selector can't be changed, and these labels can."""
    without, with_them = (
        [
            [at(one, f"spec.{path}") for path in ("selector", "podSelector")]
            for one in render(**variant | {"commonLabels": labels}).objects
        ]
        for labels in ({}, {"team": "a"})
    )
    assert without == with_them


def test_a_label_of_its_own_goes_over_a_common_one(render: Render) -> None:
    rendered = render(commonLabels={"team": "a"}, podLabels={"team": "b"})
    labels = {where: pod["metadata"]["labels"]["team"] for where, pod in templates(rendered)}
    assert labels.pop(DEPLOYMENT) == "b"
    assert set(labels.values()) == {"a"}


def test_common_annotations_are_on_every_object_and_no_pod(
    render: Render, variant: dict[str, Any]
) -> None:
    rendered = render(**variant | {"commonAnnotations": {"note": "a"}})
    for one in rendered.objects:
        assert one["metadata"]["annotations"]["note"] == "a", one
    for where, pod in templates(rendered):
        if not where.startswith("Pod/"):
            assert "note" not in pod["metadata"].get("annotations", {}), where


def test_a_common_annotation_leaves_the_others(render: Render) -> None:
    rendered = render(
        commonAnnotations={"note": "a"},
        service={"annotations": {"b": "c"}},
        deploymentAnnotations={"note": "b"},
    )
    assert rendered.one("Service", "flask-app")["metadata"]["annotations"] == {
        "note": "a",
        "b": "c",
    }
    assert rendered.one("Deployment", "flask-app")["metadata"]["annotations"] == {"note": "b"}
    test = rendered.one("Pod", "flask-app-test")["metadata"]["annotations"]
    assert test["helm.sh/hook"] == "test"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("imagePullSecrets", [{"name": "registry"}]),
        ("priorityClassName", "low"),
        ("runtimeClassName", "kata"),
        ("hostUsers", False),
        ("hostUsers", True),
    ],
)
def test_what_every_pod_gets(
    render: Render, variant: dict[str, Any], name: str, value: Any
) -> None:
    for where, pod in render(**variant | {name: value}).pods().items():
        assert pod[name] == value, where


def test_the_user_is_that_of_every_pod_but_the_databases(render: Render) -> None:
    numbers = {"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3}
    pods = render(securityContext=numbers).pods()
    database = pods.pop(STATEFUL_SET)["securityContext"]
    assert {database[field] for field in numbers} == {999}
    for where, pod in pods.items():
        assert numbers.items() <= pod["securityContext"].items(), where


def test_placements_are_not_mixed_up(render: Render) -> None:
    rendered = render(
        nodeSelector={"on": "service"},
        keeper={"nodeSelector": {"on": "keeper"}},
        postgresql={"nodeSelector": {"on": "database"}},
    )
    found = {
        where.split("/")[0]: pod["nodeSelector"]["on"] for where, pod in rendered.pods().items()
    }
    assert found == {
        "Deployment": "service",
        "StatefulSet": "database",
        "CronJob": "keeper",
        "Job": "keeper",
        "Pod": "keeper",
    }


@pytest.mark.parametrize(
    ("name", "owner", "path"),
    [
        ("sessionLifetime", DEPLOYMENT, f"{CONTAINER}.env[SESSION_LIFETIME_SECONDS].value"),
        ("sessionLifetime", CRON_JOB, f"{KEEPER}.env[SESSION_LIFETIME_SECONDS].value"),
        ("keeper.waitSeconds", CRON_JOB, f"{KEEPER}.env[WAIT_SECONDS].value"),
        ("keeper.rotation.interval", CRON_JOB, f"{KEEPER}.env[ROTATION_INTERVAL_SECONDS].value"),
        ("securityContext.runAsUser", DEPLOYMENT, f"{POD}.securityContext.runAsUser"),
        ("securityContext.runAsGroup", DEPLOYMENT, f"{POD}.securityContext.runAsGroup"),
        ("securityContext.fsGroup", CRON_JOB, f"{KEEPER_POD}.securityContext.fsGroup"),
    ],
)
def test_a_large_number_is_written_as_a_number(
    render: Render, name: str, owner: str, path: str
) -> None:
    """Helm reads it as a float, and would write 3.1536e+08."""
    row = Row(name, 315_360_000, owner, path, None)
    found = row.found(render(**nested(row.turned())))
    assert isinstance(found, int | str)
    assert str(found) == "315360000"
