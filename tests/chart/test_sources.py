"""Where the service's secrets are from: whatever the source, the same files.

What Vault's injector and the CSI driver's providers read is text that no schema covers: it is
checked here against what their programs know.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.chart.conftest import (
    BASE_KEYS,
    EXAMPLES,
    EXISTING,
    REQUIRED,
    Loader,
    Object,
    Render,
    Rendered,
    pod_of,
    secret_volumes,
    source_of,
)

ALL = set(BASE_KEYS)

OF_VAULT = {"address": "https://vault.example.org:8200", "role": "shop"}
OF_AWS = {"region": "eu-central-1", "roleARN": "arn:aws:iam::123456789012:role/shop"}
BOTH = {"session": "shop/session", "database": "shop/database"}
ONE = {"session": "shop", "database": "shop"}
ENGINE = "database/static-creds/shop"


def secrets(source: str, **values: Any) -> dict[str, Any]:
    """Return values with a source of secrets."""
    return {"secrets": {"source": source, **values}}


def examples(source: str) -> list[str]:
    """Return the names of the values files that have this source."""
    found = [name for name, values in EXAMPLES.items() if source_of(values) == source]
    assert found
    return found


def pod_annotations(rendered: Rendered) -> dict[str, str]:
    template = rendered.one("Deployment")["spec"]["template"]["metadata"]
    return dict(template.get("annotations", {}))


# A Secret of somebody else's


@pytest.mark.parametrize("name", [*examples("existing"), *examples("external-secrets")])
def test_a_pod_waits_for_what_it_needs_and_sees_what_goes_away(render: Render, name: str) -> None:
    volumes = secret_volumes(pod_of(render(**EXAMPLES[name]).one("Deployment")))
    seen, needed = volumes["secrets"], volumes["secrets-required"]
    assert seen["optional"] is True
    assert {item["path"] for item in seen["items"]} == ALL
    # without optional, the kubelet holds the pod back
    assert "optional" not in needed
    assert {item["path"] for item in needed["items"]} == REQUIRED
    assert seen["secretName"] == needed["secretName"]
    keys = {item["path"]: item["key"] for item in seen["items"]}
    assert {item["path"]: item["key"] for item in needed["items"]}.items() <= keys.items()


def test_the_keys_may_be_called_otherwise(render: Render) -> None:
    rendered = render(**EXAMPLES["existing"])
    volume = secret_volumes(pod_of(rendered.one("Deployment")))["secrets"]
    assert volume["secretName"] == "shop-credentials"
    assert {item["path"]: item["key"] for item in volume["items"]} == {
        "SECRET_KEY": "session-key",
        "SECRET_KEY_FALLBACKS": "session-key-fallbacks",
        "DATABASE_USERNAME": "username",
        "DATABASE_PASSWORD": "password",
        "GENERATION": "GENERATION",
    }


def test_variables_come_from_the_same_keys(render: Render) -> None:
    values = {**EXAMPLES["existing"]}
    values["secrets"] = {**values["secrets"], "inject": "env"}
    (service,) = pod_of(render(**values).one("Deployment"))["containers"]
    references = {
        one["name"]: one["valueFrom"]["secretKeyRef"]
        for one in service["env"]
        if "valueFrom" in one
    }
    assert set(references) == ALL
    assert references["DATABASE_USERNAME"] == {"name": "shop-credentials", "key": "username"}
    optional = {name for name, one in references.items() if one.get("optional")}
    assert optional == ALL - REQUIRED


# What is the keeper's


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_keeper_has_nothing_to_do_with_the_secrets(render: Render, name: str) -> None:
    rendered = render(**EXAMPLES[name])
    assert rendered.names("secrets.yaml") == ["Secret/flask-app-ca", "Secret/flask-app-tls"]
    rules = rendered.one("Role")["rules"]
    assert [rule["resourceNames"] for rule in rules] == [["flask-app-tls", "flask-app-ca"]]


@pytest.mark.parametrize("name", EXAMPLES)
def test_without_anything_to_do_there_is_no_keeper(render: Render, name: str) -> None:
    rendered = render(**EXAMPLES[name], **EXISTING)
    for one in rendered.objects:
        assert one["metadata"]["labels"]["app.kubernetes.io/component"] != "keeper", one["kind"]
    assert rendered.names("serviceaccounts.yaml") == ["ServiceAccount/flask-app"]


def test_with_the_databases_administrator_it_makes_the_tables(render: Render) -> None:
    values = {**EXAMPLES["existing"], **EXISTING}
    values["database"] = {**values["database"], "adminSecret": "db-admin"}
    rendered = render(**values)
    (rule,) = rendered.one("Role")["rules"]
    assert (rule["verbs"], rule["resourceNames"]) == (["get"], ["db-admin"])
    assert rendered.one("CronJob")


# External Secrets


@pytest.mark.parametrize("objects", [BOTH, ONE], ids=["two objects", "one"])
def test_each_object_is_fetched_in_one_piece(render: Render, objects: dict[str, str]) -> None:
    rendered = render(**secrets("external-secrets", objects=objects, vault=OF_VAULT))
    spec = rendered.one("ExternalSecret")["spec"]
    assert "data" not in spec
    fetched = [one["extract"] for one in spec["dataFrom"]]
    # each of them once: a second read could be of another version
    assert fetched == [{"key": name} for name in dict.fromkeys(objects.values())]
    volume = secret_volumes(pod_of(rendered.one("Deployment")))["secrets"]
    assert volume["secretName"] == spec["target"]["name"]
    prefixes = [rewritten(one, "") for one in spec["dataFrom"]]
    pair = {item["key"] for item in volume["items"] if item["path"].startswith("DATABASE_")}
    assert pair == {f"{prefixes[-1]}DATABASE_USERNAME", f"{prefixes[-1]}DATABASE_PASSWORD"}
    others = {name for name in ALL if not name.startswith("DATABASE_")}
    assert {item["key"] for item in volume["items"]} - pair == {
        f"{prefixes[0]}{name}" for name in others
    }


def rewritten(source: Object, key: str) -> str:
    """Return what External Secrets calls a key, after its rewrites."""
    for one in source.get("rewrite", []):
        key = re.sub(one["regexp"]["source"], one["regexp"]["target"], key)
    return key


def test_the_store_logs_in_as_an_account_that_no_pod_has(render: Render) -> None:
    for manager in ({"vault": OF_VAULT}, {"aws": OF_AWS}):
        rendered = render(**secrets("external-secrets", objects=BOTH, **manager))
        found = str(rendered.one("SecretStore")["spec"])
        assert "'serviceAccountRef': {'name': 'flask-app-secrets'" in found
        account = rendered.one("ServiceAccount", "flask-app-secrets")
        assert account["automountServiceAccountToken"] is False
        for owner, pod in rendered.pods().items():
            assert pod["serviceAccountName"] != "flask-app-secrets", owner


def test_a_store_of_ones_own_needs_no_account(render: Render) -> None:
    store = {"name": "team", "kind": "ClusterSecretStore"}
    rendered = render(**secrets("external-secrets", objects=BOTH, externalSecrets={"store": store}))
    assert rendered.names("externalsecret.yaml") == ["ExternalSecret/flask-app"]
    assert rendered.one("ExternalSecret")["spec"]["secretStoreRef"] == store


# Vault's agent

PREFIX = "vault.hashicorp.com/"

#: The annotations that the injector 1.7 reads, of those that are one word for the whole pod …
FOR_THE_POD = set(
    """
    agent-inject agent-inject-containers agent-inject-default-template agent-inject-token
    agent-image agent-request-namespace agent-init-first agent-pre-populate agent-pre-populate-only
    agent-configmap agent-extra-secret agent-limits-cpu agent-limits-mem agent-limits-ephemeral
    agent-requests-cpu agent-requests-mem agent-requests-ephemeral agent-revoke-on-shutdown
    agent-revoke-grace namespace agent-run-as-user agent-run-as-group agent-run-as-same-user
    agent-share-process-namespace agent-set-security-context
    agent-service-account-token-volume-name service proxy-address tls-skip-verify tls-secret
    tls-server-name ca-cert ca-key client-cert client-key client-max-retries client-timeout
    go-max-procs log-level log-format role auth-type auth-path secret-volume-path
    preserve-secret-case agent-cache-enable agent-cache-use-auto-auth-token
    agent-cache-listener-port agent-cache-exit-on-err agent-copy-volume-mounts
    template-config-exit-on-retry-failure template-static-secret-render-interval
    template-max-connections-per-host template-lease-renewal-threshold agent-enable-quit
    auth-min-backoff auth-max-backoff agent-disable-idle-connections agent-disable-keep-alives
    agent-json-patch agent-init-json-patch agent-auto-auth-exit-on-err
    """.split()
)
#: … and of those that end in the name of one file.
FOR_A_FILE = set(
    """
    agent-inject-secret agent-inject-file agent-inject-perms agent-inject-template
    agent-inject-template-file agent-template-left-delim agent-template-right-delim
    agent-inject-command secret-volume-path preserve-secret-case error-on-missing-key
    """.split()
)


def unknown(names: set[str]) -> set[str]:
    """Return the annotations that the injector would overlook."""
    files = {f"{PREFIX}{word}-{key}" for word in FOR_A_FILE for key in ALL}
    return names - files - {PREFIX + word for word in FOR_THE_POD}


def test_the_injector_knows_every_annotation(render: Render, variant: dict[str, Any]) -> None:
    found = pod_annotations(render(**variant))
    of_vault = {name for name in found if name.startswith(PREFIX)}
    assert bool(of_vault) is (source_of(variant) == "vault-agent")
    assert unknown(of_vault) == set()
    for name, value in found.items():
        # https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/
        assert re.fullmatch(r"[a-z.]+/[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", name), name
        assert isinstance(value, str), name


def test_a_misspelt_annotation_would_be_seen(render: Render) -> None:
    found = set(pod_annotations(render(**EXAMPLES["vault-agent"])))
    for name in ("agent-injekt", "agent-inject-secret-SECRETKEY", "agent-inject-perms"):
        assert unknown(found | {PREFIX + name}) == {PREFIX + name}


#: A template of the agent's: what it reads, and which field of it.
FILE = re.compile(
    r'\{\{ with secret "(?P<path>[^"]+)" \}\}\{\{ with index (?P<data>\.Data(?:\.data)?) '
    r'"(?P<field>[^"]+)" \}\}\{\{ \. \}\}\{\{ end \}\}\{\{ end \}\}'
)


@pytest.mark.parametrize("name", examples("vault-agent"))
def test_the_agent_writes_the_services_files(render: Render, name: str) -> None:
    found = pod_annotations(render(**EXAMPLES[name]))
    assert found[f"{PREFIX}secret-volume-path"] == "/etc/secrets"
    assert found[f"{PREFIX}preserve-secret-case"] == "true"
    fields = {}
    for key in ALL:
        template = FILE.fullmatch(found[f"{PREFIX}agent-inject-template-{key}"])
        assert template, key
        # without both, the injector would take the file for another
        assert template["path"] == found[f"{PREFIX}agent-inject-secret-{key}"]
        assert found[f"{PREFIX}agent-inject-perms-{key}"] == "0440"
        # the KV engine's answer has its data one level deeper
        assert (template["data"] == ".Data.data") is ("/data/" in template["path"])
        fields[key] = (template["path"], template["field"])
    # one path is one read: the pair is of one version, or of one lease
    assert fields["DATABASE_USERNAME"][0] == fields["DATABASE_PASSWORD"][0]
    if name == "vault-agent-database":
        assert fields["DATABASE_USERNAME"] == ("database/creds/flask-app", "username")
        assert fields["DATABASE_PASSWORD"] == ("database/creds/flask-app", "password")
    else:
        assert {field for _, field in fields.values()} == ALL


def test_the_token_is_for_vault_and_for_the_agent_alone(render: Render) -> None:
    rendered = render(**EXAMPLES["vault-agent"])
    pod = pod_of(rendered.one("Deployment"))
    (volume,) = [one for one in pod["volumes"] if one["name"] == "vault-token"]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "vault"
    name = pod_annotations(rendered)[f"{PREFIX}agent-service-account-token-volume-name"]
    assert name == volume["name"]
    assert pod["automountServiceAccountToken"] is False


def test_the_agent_reaches_vault(render: Render) -> None:
    for address, port in (("https://v.example.org:8200", 8200), ("https://v.example.org", 443)):
        vault = {"address": address, "role": "shop"}
        rendered = render(**secrets("vault-agent", objects=BOTH, vault=vault))
        policy = rendered.one("NetworkPolicy", "flask-app-service")["spec"]
        assert {"ports": [{"port": port}]} in policy["egress"]
    # with any other source it is not the pod that asks
    rendered = render(**secrets("csi", objects=BOTH, vault=OF_VAULT))
    policy = rendered.one("NetworkPolicy", "flask-app-service")["spec"]
    assert len(policy["egress"]) == 2


# The CSI driver

#: What each provider reads of the parameters; `objects` is YAML in them.
PARAMETERS = {
    "vault": {
        *("vaultAddress", "vaultNamespace", "vaultCACertPath", "vaultCADirectory"),
        *("vaultTLSServerName", "vaultTLSClientCertPath", "vaultTLSClientKeyPath"),
        *("vaultSkipTLSVerify", "vaultAuthMountPath", "roleName", "audience", "objects"),
    },
    "aws": {
        *("region", "failoverRegion", "pathTranslation", "usePodIdentity"),
        *("preferredAddressType", "filePermission", "objects"),
    },
}
VAULT_OBJECT = {
    *("objectName", "secretPath", "secretKey", "method", "secretArgs"),
    *("filePermission", "encoding"),
}
AWS_OBJECT = {
    *("objectName", "objectType", "objectAlias", "objectVersion", "objectVersionLabel"),
    *("jmesPath", "filePermission", "failoverObject"),
}
AWS_ENTRY = {"path", "objectAlias", "filePermission"}

#: Root's group may read, nobody else.
MODE = 0o440


def provider_faults(spec: Object) -> list[str]:
    """Return what a provider would refuse, overlook or open to everybody."""
    provider, parameters = spec["provider"], spec["parameters"]
    faults = [f"{name} is unknown" for name in set(parameters) - PARAMETERS[provider]]
    # the API takes texts alone
    faults += [f"{name} is no text" for name, one in parameters.items() if type(one) is not str]
    objects = yaml.load(parameters["objects"], Loader)
    for one in objects:
        faults += vault_faults(one) if provider == "vault" else aws_faults(one)
    names = [name for one in objects for name in files_of(provider, one)]
    if len(names) != len(set(names)):
        faults.append("a file is written twice")
    return faults


def vault_faults(one: Object) -> list[str]:
    faults = [f"{name} is unknown" for name in set(one) - VAULT_OBJECT]
    # https://pkg.go.dev/gopkg.in/yaml.v3: 0440 is octal, as it is to Python
    faults += ["the mode is another"] if one.get("filePermission") != MODE else []
    return faults + [
        f"{name} is missing"
        for name in ("objectName", "secretPath", "secretKey")
        if not one.get(name)
    ]


def aws_faults(one: Object) -> list[str]:
    entries = one.get("jmesPath", [])
    faults = [f"{name} is unknown" for name in set(one) - AWS_OBJECT]
    faults += [f"{name} is unknown" for entry in entries for name in set(entry) - AWS_ENTRY]
    faults += ["objectType is another"] if one.get("objectType") != "secretsmanager" else []
    for entry in (one, *entries):
        # a text, which is four octal digits
        faults += ["the mode is another"] if entry.get("filePermission") != f"{MODE:04o}" else []
    # https://jmespath.org/specification.html#identifiers: in quotes, any name is one
    return faults + [
        f"{entry['path']} is no quoted name"
        for entry in entries
        if not re.fullmatch(r'"[-._A-Za-z0-9]+"', entry["path"])
    ]


def files_of(provider: str, one: Object) -> list[str]:
    """Return the names of the files that one object becomes."""
    if provider == "vault":
        return [one["objectName"]]
    return [one["objectAlias"], *(entry["objectAlias"] for entry in one.get("jmesPath", []))]


def provided(rendered: Rendered) -> list[Object]:
    objects = yaml.load(
        rendered.one("SecretProviderClass")["spec"]["parameters"]["objects"], Loader
    )
    assert objects
    return list(objects)


@pytest.mark.parametrize("manager", [{"vault": OF_VAULT}, {"aws": OF_AWS}], ids=["vault", "aws"])
@pytest.mark.parametrize("objects", [BOTH, ONE], ids=["two objects", "one"])
@pytest.mark.parametrize("keys", [{}, {"SECRET_KEY": "a-b.c", "GENERATION": "made"}])
def test_the_provider_writes_the_services_files(
    render: Render, manager: dict[str, Any], objects: dict[str, str], keys: dict[str, str]
) -> None:
    rendered = render(**secrets("csi", objects=objects, keys=keys, **manager))
    spec = rendered.one("SecretProviderClass")["spec"]
    assert provider_faults(spec) == []
    written = {name for one in provided(rendered) for name in files_of(spec["provider"], one)}
    # the providers know no key that may be missing: this one has to be asked for
    assert written & ALL == ALL - (set() if "GENERATION" in keys else {"GENERATION"})
    text = spec["parameters"]["objects"]
    assert text.count(keys.get("SECRET_KEY", '"SECRET_KEY"')) == 1


def test_of_an_aws_object_all_keys_come_from_one_read(render: Render) -> None:
    rendered = render(**EXAMPLES["csi-aws"])
    pair = {"DATABASE_USERNAME", "DATABASE_PASSWORD"}
    objects = provided(rendered)
    assert len(objects) == 2
    assert [pair <= set(files_of("aws", one)) for one in objects] == [False, True]
    # and none of the whole objects takes a key's name
    assert not {one["objectAlias"] for one in objects} & ALL


def test_of_vault_the_pair_is_of_one_path(render: Render) -> None:
    """The provider reads each path once: https://github.com/hashicorp/vault-csi-provider."""
    engine = {**OF_VAULT, "databasePath": ENGINE}
    for values, path, fields in (
        (EXAMPLES["csi-vault"], "secret/data/flask-app/database", ALL),
        (secrets("csi", objects={"session": "a"}, vault=engine), ENGINE, {"username", "password"}),
    ):
        objects = {one["objectName"]: one for one in provided(render(**values))}
        for name in ("DATABASE_USERNAME", "DATABASE_PASSWORD"):
            assert objects[name]["secretPath"] == path
            assert objects[name]["secretKey"] in fields


@pytest.mark.parametrize(
    ("name", "old", "new", "fault"),
    [
        ("csi-vault", "secretKey:", "secretkey:", "secretkey is unknown"),
        ("csi-vault", "filePermission: 0440", "filePermission: 440", "the mode is another"),
        ("csi-vault", "filePermission: 0440", "filePermission: 0644", "the mode is another"),
        (
            "csi-vault",
            "objectName: SECRET_KEY_FALLBACKS",
            "objectName: SECRET_KEY",
            "written twice",
        ),
        (
            "csi-aws",
            "objectAlias: SECRET_KEY_FALLBACKS",
            "objectAlias: SECRET_KEY",
            "written twice",
        ),
        ("csi-aws", "jmesPath:", "jmespath:", "jmespath is unknown"),
        ("csi-aws", 'filePermission: "0440"', "filePermission: 0440", "the mode is another"),
        ("csi-aws", "secretsmanager", "ssmparameter", "objectType is another"),
        ("csi-aws", "'\"SECRET_KEY\"'", "SECRET_KEY-1", "is no quoted name"),
    ],
)
def test_a_fault_in_the_parameters_would_be_seen(
    render: Render, name: str, old: str, new: str, fault: str
) -> None:
    spec = render(**EXAMPLES[name]).one("SecretProviderClass")["spec"]
    objects = spec["parameters"]["objects"]
    assert old in objects
    spec["parameters"]["objects"] = objects.replace(old, new)
    assert fault in str(provider_faults(spec))


def test_an_unknown_parameter_would_be_seen(render: Render) -> None:
    spec = render(**EXAMPLES["csi-vault"]).one("SecretProviderClass")["spec"]
    spec["parameters"]["vaultAdress"] = spec["parameters"].pop("vaultAddress")
    assert provider_faults(spec) == ["vaultAdress is unknown"]


def test_the_service_may_read_what_root_writes_for_its_group(render: Render) -> None:
    """The driver's files are root's, and fsGroup does not change that."""
    rendered = render(**EXAMPLES["csi-vault"])
    security = pod_of(rendered.one("Deployment"))["securityContext"]
    assert security["supplementalGroups"] == [0]
    assert security["runAsNonRoot"] is True
    (volume,) = [v for v in pod_of(rendered.one("Deployment"))["volumes"] if "csi" in v]
    # the driver refuses one that can be written
    assert volume["csi"]["readOnly"] is True
    for owner, pod in rendered.pods().items():
        if not owner.startswith("Deployment/"):
            assert "supplementalGroups" not in pod["securityContext"], owner


def test_nobody_else_is_in_roots_group(render: Render, variant: dict[str, Any]) -> None:
    if source_of(variant) != "csi":
        for owner, pod in render(**variant).pods().items():
            assert "supplementalGroups" not in pod["securityContext"], owner
