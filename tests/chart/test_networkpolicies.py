"""Who reaches whom. The cluster's network enforces it: here the rules are read as it reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.chart.conftest import (
    OWN_DATABASE,
    VARIANTS,
    Object,
    Render,
    Rendered,
    containers,
    is_selected,
)

TEMPLATE = "networkpolicies.yaml"

INGRESS = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod, or, with an address, something outside of the cluster."""

    labels: dict[str, str] = field(default_factory=dict)
    namespace: str = "shop"
    address: str = ""


STRANGERS = {
    "stranger": End({"app": "stranger"}),
    "far stranger": End({"app": "stranger"}, "elsewhere"),
    "ingress": End({"app": "ingress"}, "ingress"),
    "monitoring": End({"app": "prometheus"}, "monitoring"),
    "dns": End({"k8s-app": "kube-dns"}, "kube-system"),
    "API server": End(address="10.96.0.1"),
    "internet": End(address="203.0.113.7"),
}


def is_peer(peer: Object, end: End) -> bool:
    """Tell whether a peer of a rule means this end."""
    if "ipBlock" in peer:
        assert set(peer["ipBlock"]) == {"cidr"}
        return bool(end.address) and ip_address(end.address) in ip_network(peer["ipBlock"]["cidr"])
    if end.address:
        return False
    selected = {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}
    namespaces = peer.get("namespaceSelector", selected).get("matchLabels", {})
    pods = peer.get("podSelector", {}).get("matchLabels", {})
    namespace = {"kubernetes.io/metadata.name": end.namespace}
    return is_selected(namespaces, namespace) and is_selected(pods, end.labels)


def has_port(rule: Object, port: int, protocol: str) -> bool:
    ports = [(one["port"], one.get("protocol", "TCP")) for one in rule.get("ports", [])]
    return not ports or (port, protocol) in ports


class Network:
    """What the policies of some releases let through."""

    def __init__(self, rendered: Rendered, *others: Rendered) -> None:
        self.policies = [
            one["spec"] for release in (rendered, *others) for one in release.templates[TEMPLATE]
        ]
        self.ends = {**STRANGERS, **ends_of(rendered)}
        for other in others:
            self.ends |= {f"other {name}": end for name, end in ends_of(other).items()}

    def policies_for(self, end: End) -> list[Object]:
        return [
            policy
            for policy in self.policies
            if not end.address
            and end.namespace == "shop"
            and is_selected(policy["podSelector"]["matchLabels"], end.labels)
        ]

    def is_open(self, way: str, end: End, other: End, port: int, protocol: str) -> bool:
        """Tell whether all policies for one end together let the other one through."""
        policies = [one for one in self.policies_for(end) if way.title() in one["policyTypes"]]
        rules = [rule for policy in policies for rule in policy.get(way, [])]
        side = "from" if way == "ingress" else "to"
        return not policies or any(
            has_port(rule, port, protocol)
            and (not rule.get(side) or any(is_peer(peer, other) for peer in rule[side]))
            for rule in rules
        )

    def reaches(self, source: str, target: str, port: int, protocol: str = "TCP") -> bool:
        one, other = self.ends[source], self.ends[target]
        return self.is_open("egress", one, other, port, protocol) and self.is_open(
            "ingress", other, one, port, protocol
        )


def ends_of(rendered: Rendered) -> dict[str, End]:
    """Return a release's pods, by their component."""
    labels = [template["metadata"]["labels"] for template in rendered.pod_templates().values()]
    return {one["app.kubernetes.io/component"]: End(one) for one in labels}


@pytest.fixture(scope="module")
def network(render: Render) -> Network:
    """Return what is let through by default."""
    return Network(render())


def test_what_is_rendered(render: Render) -> None:
    components = ["database", "keeper", "service", "test"]
    assert render().names(TEMPLATE) == [f"NetworkPolicy/flask-app-{one}" for one in components]
    assert render(networkPolicy={"enabled": False}).templates[TEMPLATE] == []
    # a database of one's own has pods that are not the chart's
    assert "NetworkPolicy/flask-app-database" not in render(**OWN_DATABASE).names(TEMPLATE)


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - {"env"}))
def test_every_pod_has_one_policy_for_both_ways(render: Render, name: str) -> None:
    network = Network(rendered := render(**VARIANTS[name]))
    for owner, template in rendered.pod_templates().items():
        (policy,) = network.policies_for(End(template["metadata"]["labels"]))
        assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"], owner
    assert len(network.policies) == len(ends_of(rendered))


@pytest.mark.parametrize(
    ("source", "target", "port", "may"),
    [
        ("service", "database", 5432, True),
        ("service", "database", 22, False),
        ("service", "service", 8443, False),
        ("service", "service", 9090, False),
        ("service", "internet", 443, False),
        ("service", "internet", 5432, False),
        ("service", "API server", 443, False),
        ("service", "API server", 6443, False),
        ("service", "stranger", 5432, False),
        ("keeper", "database", 5432, True),
        ("keeper", "service", 8443, True),
        ("keeper", "service", 9090, True),
        ("keeper", "service", 22, False),
        ("keeper", "API server", 443, True),
        ("keeper", "API server", 6443, True),
        ("keeper", "internet", 80, False),
        ("keeper", "stranger", 8443, False),
        ("test", "service", 8443, True),
        ("test", "service", 9090, False),
        ("test", "database", 5432, False),
        ("test", "API server", 6443, False),
        ("stranger", "service", 8443, True),
        ("stranger", "service", 9090, False),
        ("stranger", "database", 5432, False),
        ("stranger", "keeper", 8443, False),
        ("stranger", "test", 8443, False),
        ("far stranger", "service", 8443, True),
        ("far stranger", "service", 9090, False),
        ("far stranger", "database", 5432, False),
        ("internet", "service", 8443, True),
        ("internet", "service", 9090, False),
        ("internet", "database", 5432, False),
        ("monitoring", "service", 9090, True),
        ("monitoring", "database", 5432, False),
    ],
)
def test_who_reaches_whom(network: Network, source: str, target: str, port: int, may: bool) -> None:
    assert network.reaches(source, target, port) is may


@pytest.mark.parametrize("target", [*STRANGERS, "service", "keeper", "test", "database"])
def test_the_database_reaches_nobody(network: Network, target: str) -> None:
    for port in (53, 80, 443, 5432, 6443, 8443, 9090):
        assert not network.reaches("database", target, port)
        assert not network.reaches("database", target, port, "UDP")


@pytest.mark.parametrize("source", ["service", "keeper", "test"])
def test_names_are_asked_for_where_the_clusters_dns_is(
    render: Render, network: Network, source: str
) -> None:
    anywhere = Network(render(networkPolicy={"dns": [], "dnsPort": 5353}))
    for protocol in ("UDP", "TCP"):
        assert network.reaches(source, "dns", 53, protocol)
        assert not network.reaches(source, "internet", 53, protocol)
        assert anywhere.reaches(source, "internet", 5353, protocol)
        assert not anywhere.reaches(source, "internet", 53, protocol)


def test_the_ports_are_those_of_the_pods(render: Render, variant: dict[str, Any]) -> None:
    """Rules see the port of the pod, whatever that of its Service is."""
    rendered = render(**variant)
    ports = {
        port["containerPort"]
        for pod in rendered.pods().values()
        for container in containers(pod)
        for port in container.get("ports", [])
    }
    for policy in rendered.templates[TEMPLATE]:
        for rule in policy["spec"].get("ingress", []):
            assert {port["port"] for port in rule["ports"]} <= ports


def test_without_policies_everybody_gets_through(render: Render) -> None:
    network = Network(render(networkPolicy={"enabled": False}))
    assert network.reaches("stranger", "database", 5432)
    assert network.reaches("database", "internet", 443)


def test_clients_can_be_named(render: Render) -> None:
    network = Network(render(networkPolicy={"clients": INGRESS}))
    assert network.reaches("ingress", "service", 8443)
    assert not network.reaches("ingress", "service", 9090)
    assert not network.reaches("stranger", "service", 8443)
    assert not network.reaches("internet", "service", 8443)
    # they belong to the release
    assert network.reaches("keeper", "service", 8443)
    assert network.reaches("test", "service", 8443)


def test_who_reads_metrics_can_be_named(render: Render) -> None:
    network = Network(render(networkPolicy={"monitoring": INGRESS}))
    assert network.reaches("ingress", "service", 9090)
    assert not network.reaches("monitoring", "service", 9090)


def test_no_monitoring_is_not_everybody(render: Render) -> None:
    network = Network(render(networkPolicy={"monitoring": []}))
    assert network.reaches("keeper", "service", 9090)
    for stranger in STRANGERS:
        assert not network.reaches(stranger, "service", 9090)


def test_the_api_server_can_be_named(render: Render) -> None:
    network = Network(
        render(
            networkPolicy={
                "apiServer": [{"ipBlock": {"cidr": "10.96.0.1/32"}}],
                "apiServerPorts": [8443],
            }
        )
    )
    assert network.reaches("keeper", "API server", 8443)
    assert not network.reaches("keeper", "API server", 443)
    assert not network.reaches("keeper", "internet", 8443)
    assert not network.reaches("service", "API server", 8443)


def test_the_service_may_reach_more(render: Render) -> None:
    rule = {"ports": [{"port": 4317}], "to": INGRESS}
    network = Network(render(networkPolicy={"extraEgress": [rule]}))
    assert network.reaches("service", "ingress", 4317)
    assert not network.reaches("keeper", "ingress", 4317)
    assert not network.reaches("service", "stranger", 4317)


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        ("other service", "database", 5432),
        ("other keeper", "database", 5432),
        ("other keeper", "service", 9090),
        ("other keeper", "service", 8443),
        ("other test", "service", 8443),
        ("service", "other database", 5432),
    ],
)
def test_another_release_beside_it_is_a_stranger(
    render: Render, source: str, target: str, port: int
) -> None:
    network = Network(render(), render("other"))
    assert not network.reaches(source, target, port)
    same = source.removeprefix("other "), target.removeprefix("other ")
    assert network.reaches(*same, port)
    assert network.reaches(f"other {same[0]}", f"other {same[1]}", port)


BLOCK = [{"ipBlock": {"cidr": "10.1.2.0/24"}}]


@pytest.mark.parametrize(
    ("host", "peers", "reached", "refused"),
    [
        # a policy knows no host names
        ("db.example.org", [], ["203.0.113.7", "2001:db8::7"], []),
        ("db.example.org", BLOCK, ["10.1.2.3"], ["10.1.3.1", "203.0.113.7"]),
        ("192.0.2.8", [], ["192.0.2.8"], ["192.0.2.9", "203.0.113.7"]),
        ("192.0.2.8", BLOCK, ["10.1.2.3"], ["192.0.2.8"]),
        ("2001:db8::8", [], ["2001:db8::8"], ["2001:db8::9", "203.0.113.7"]),
        ("192.0.2.8,2001:db8::8", [], ["192.0.2.8", "2001:db8::8"], ["192.0.2.9", "203.0.113.7"]),
        ("192.0.2.8,192.0.2.9", BLOCK, ["10.1.2.3"], ["192.0.2.8", "192.0.2.9"]),
        # not all of them are known
        ("192.0.2.8,db.example.org", [], ["192.0.2.8", "203.0.113.7"], []),
    ],
)
@pytest.mark.parametrize("source", ["service", "keeper"])
def test_a_database_of_ones_own_is_reached(
    render: Render,
    source: str,
    host: str,
    peers: list[Object],
    reached: list[str],
    refused: list[str],
) -> None:
    database = {**OWN_DATABASE["database"], "host": host, "port": 6432}
    values = {**OWN_DATABASE, "database": database, "networkPolicy": {"database": peers}}
    network = Network(render(**values))
    for address in reached + refused:
        network.ends["database"] = End(address=address)
        assert network.reaches(source, "database", 6432) is (address in reached)
        assert not network.reaches(source, "database", 5432)
        assert not network.reaches("test", "database", 6432)


@pytest.mark.parametrize(
    ("peers", "at_pooler", "at_database"),
    [([], "192.0.2.8", "192.0.2.9"), (BLOCK, "10.1.2.3", "10.1.2.4")],
)
def test_the_keeper_reaches_the_database_past_a_pooler(
    render: Render, peers: list[Object], at_pooler: str, at_database: str
) -> None:
    pooled = {"pooler": "session", "host": "192.0.2.8", "port": 6432, "directHost": "192.0.2.9"}
    database = OWN_DATABASE["database"] | pooled
    values = OWN_DATABASE | {"database": database, "networkPolicy": {"database": peers}}
    network = Network(render(**values))
    network.ends |= {"pooler": End(address=at_pooler), "database": End(address=at_database)}
    assert network.reaches("service", "pooler", 6432)
    assert network.reaches("keeper", "database", 5432)
    assert not network.reaches("service", "database", 5432)
    assert not network.reaches("keeper", "pooler", 6432)
