"""The policies and pages of docs/external, against what the values files there render."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import pytest
import yaml

from chart import docs
from keeper.tables import SEQUENCE_PRIVILEGES, TABLE_PRIVILEGES
from tests.chart.conftest import EXAMPLES, FOLDER, Render, Rendered

ROOT = FOLDER.parent
EXTERNAL = ROOT / "docs" / "external"
PAGES = {path.name: path.read_text("utf-8") for path in sorted(EXTERNAL.glob("*.md"))}
POLICIES = {
    path.name: path.read_text("utf-8")
    for path in sorted(EXTERNAL.iterdir())
    if path.suffix in (".hcl", ".json")
}

#: The namespace that the pages install into.
NAMESPACE = "flask-app"

#: The one account that each of the sources logs in as.
ACCOUNTS = {"external-secrets": "flask-app-secrets", "vault-agent": "flask-app", "csi": "flask-app"}

#: The examples that read from a manager, by its name.
BY_MANAGER = {
    manager: [name for name, values in EXAMPLES.items() if manager in values["secrets"]]
    for manager in ("vault", "aws")
}

#: What /status has, and a file: they are called as a value of the chart would be.
NO_VALUES = {"secrets.refused", "database.json", "database.sql"}

#: What Vault and AWS are asked for: a path with a capability, an ARN with an action.
Grants = set[tuple[str, str]]


class Example(NamedTuple):
    """A values file, and what its page does before it installs with it."""

    values: dict[str, Any]
    steps: str

    def written(self, pattern: str) -> str:
        """Return what a pattern finds in the steps, the last time: pages go on from each other."""
        found: list[str] = re.findall(pattern, self.steps)
        assert found, f"no step of the page is {pattern}"
        return found[-1]


def first_comment(name: str) -> str:
    lines = (EXTERNAL / f"{name}.yaml").read_text("utf-8").splitlines()
    return " ".join(line[2:] for line in lines[: lines.index("secrets:")])


def page_of(name: str) -> str:
    (page,) = re.findall(r"docs/external/([a-z-]+\.md)$", first_comment(name))
    return str(page)


def example(name: str) -> Example:
    # continued lines are one
    page = PAGES[page_of(name)].replace("\\\n", " ")
    steps, found, _ = page.partition(f"--values docs/external/{name}.yaml")
    assert found, f"{page_of(name)} does not install with {name}.yaml"
    return Example(EXAMPLES[name], steps)


def hcl_grants(text: str) -> Grants:
    """Return the paths and capabilities of a policy of Vault's, which has nothing else."""
    code = re.sub(r"(?m)^\s*#.*$", "", text)
    block = r'path\s+"([^"]+)"\s*\{\s*capabilities\s*=\s*\[([^\]]*)\]\s*\}'
    assert re.sub(block, "", code).strip() == "", "a policy has more than paths with capabilities"
    return {
        (path, capability)
        for path, listed in re.findall(block, code)
        for capability in re.findall(r'"([^"]+)"', listed)
    }


def iam_grants(text: str) -> Grants:
    """Return the resources and actions of a policy of IAM's, which only allows."""
    grants = set()
    for statement in json.loads(text)["Statement"]:
        assert statement.keys() == {"Effect", "Action", "Resource"}
        assert statement["Effect"] == "Allow"
        grants |= {(arn, action) for arn in statement["Resource"] for action in statement["Action"]}
    return grants


def provider_objects(rendered: Rendered) -> list[dict[str, Any]]:
    parameters = rendered.one("SecretProviderClass")["spec"]["parameters"]
    found: list[dict[str, Any]] = yaml.safe_load(parameters["objects"])
    return found


def vault_reads(rendered: Rendered, source: str) -> set[str]:
    """Return the paths that are read from Vault, whoever does it."""
    if source == "csi":
        return {one["secretPath"] for one in provider_objects(rendered)}
    if source == "external-secrets":
        mount = rendered.one("SecretStore")["spec"]["provider"]["vault"]["path"]
        spec = rendered.one("ExternalSecret")["spec"]
        assert "data" not in spec
        return {f"{mount}/data/{one['extract']['key']}" for one in spec["dataFrom"]}
    template = rendered.one("Deployment")["spec"]["template"]
    named, in_templates = set(), set()
    for name, value in template["metadata"]["annotations"].items():
        if "/agent-inject-secret-" in name:
            named.add(value)
        if "/agent-inject-template-" in name:
            in_templates |= set(re.findall(r'secret "([^"]+)"', value))
    assert named == in_templates
    return named


def aws_reads(rendered: Rendered, source: str) -> Grants:
    """Return the objects that are read from AWS Secrets Manager, each with every call for it."""
    if source == "csi":
        # told by the driver which version it has, the provider asks first whether it is current
        names = {one["objectName"] for one in provider_objects(rendered)}
        calls = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
    else:
        spec = rendered.one("ExternalSecret")["spec"]
        assert "data" not in spec
        names = {one["extract"]["key"] for one in spec["dataFrom"]}
        calls = ["secretsmanager:GetSecretValue"]
    return {(name, call) for name in names for call in calls}


def account_of(rendered: Rendered, source: str) -> str:
    """Return the account that is logged in as, which has to be one that the chart makes."""
    if source == "external-secrets":
        (provider,) = rendered.one("SecretStore")["spec"]["provider"].values()
        (login,) = provider["auth"].values()
        name = login["serviceAccountRef"]["name"]
    else:
        name = rendered.one("Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
    assert rendered.one("ServiceAccount", name)
    return str(name)


def test_every_example_has_its_manager() -> None:
    assert sorted([*BY_MANAGER["vault"], *BY_MANAGER["aws"], "existing"]) == sorted(EXAMPLES)
    assert len(BY_MANAGER["vault"]) == 4
    assert len(BY_MANAGER["aws"]) == 2


@pytest.mark.parametrize("name", BY_MANAGER["vault"])
def test_a_policy_of_vault_grants_what_is_read_and_no_more(render: Render, name: str) -> None:
    one = example(name)
    secrets = one.values["secrets"]
    role = re.escape(secrets["vault"]["role"])
    policy = one.written(rf"vault write auth/kubernetes/role/{role} .*token_policies=(\S+)")
    file = one.written(rf"vault policy write {re.escape(policy)} docs/external/(\S+)")
    reads = vault_reads(render(**one.values), secrets["source"])
    assert len(reads) == 2
    assert hcl_grants(POLICIES[file]) == {(path, "read") for path in reads}


@pytest.mark.parametrize("name", BY_MANAGER["vault"])
def test_a_role_of_vault_is_for_the_one_account_that_logs_in(render: Render, name: str) -> None:
    one = example(name)
    secrets = one.values["secrets"]
    role = re.escape(secrets["vault"]["role"])
    words = dict(
        word.split("=", 1)
        for word in one.written(rf"vault write auth/kubernetes/role/{role} (.*)").split()
    )
    rendered = render(**one.values)
    assert words.pop("bound_service_account_names") == account_of(rendered, secrets["source"])
    assert words.pop("bound_service_account_namespaces") == NAMESPACE
    assert words.pop("audience") == "vault"
    assert int(words.pop("token_ttl").removesuffix("m")) <= 20
    assert words.keys() == {"token_policies"}


@pytest.mark.parametrize("name", BY_MANAGER["vault"])
def test_the_audience_is_the_one_that_the_tokens_are_for(render: Render, name: str) -> None:
    source = EXAMPLES[name]["secrets"]["source"]
    rendered = render(**EXAMPLES[name])
    if source == "csi":
        audience = rendered.one("SecretProviderClass")["spec"]["parameters"]["audience"]
    elif source == "external-secrets":
        auth = rendered.one("SecretStore")["spec"]["provider"]["vault"]["auth"]["kubernetes"]
        (audience,) = auth["serviceAccountRef"]["audiences"]
    else:
        volumes = rendered.one("Deployment")["spec"]["template"]["spec"]["volumes"]
        (volume,) = (one for one in volumes if one["name"] == "vault-token")
        audience = volume["projected"]["sources"][0]["serviceAccountToken"]["audience"]
    assert audience == "vault"


@pytest.mark.parametrize("name", BY_MANAGER["aws"])
def test_a_policy_of_iam_grants_what_is_read_and_no_more(render: Render, name: str) -> None:
    one = example(name)
    secrets = one.values["secrets"]
    account = re.findall(r"::(\d{12}):role/", secrets["aws"]["roleARN"])[0]
    file = one.written(r"--policy-document file://docs/external/(\S+)")
    begin = f"arn:aws:secretsmanager:{secrets['aws']['region']}:{account}:secret:"
    reads = aws_reads(render(**one.values), secrets["source"])
    assert len({object_ for object_, _ in reads}) == 2
    wanted = {(f"{begin}{object_}-??????", call) for object_, call in reads}
    assert iam_grants(POLICIES[file]) == wanted


@pytest.mark.parametrize("name", BY_MANAGER["aws"])
def test_a_role_of_iam_is_for_the_one_account_that_logs_in(render: Render, name: str) -> None:
    one = example(name)
    secrets = one.values["secrets"]
    rendered = render(**one.values)
    account = account_of(rendered, secrets["source"])
    annotations = rendered.one("ServiceAccount", account)["metadata"]["annotations"]
    arn = annotations["eks.amazonaws.com/role-arn"]
    assert arn == secrets["aws"]["roleARN"]
    name_of_role = arn.partition(":role/")[2]
    assert one.written(r"aws iam create-role --role-name (\S+)") == name_of_role
    assert one.written(r"aws iam put-role-policy --role-name (\S+)") == name_of_role

    file = one.written(r"--assume-role-policy-document file://docs/external/(\S+)")
    (statement,) = json.loads(POLICIES[file])["Statement"]
    assert statement["Effect"] == "Allow"
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    issuer = statement["Principal"]["Federated"].partition(":oidc-provider/")[2]
    assert issuer
    assert statement["Condition"] == {
        "StringEquals": {
            f"{issuer}:aud": "sts.amazonaws.com",
            f"{issuer}:sub": f"system:serviceaccount:{NAMESPACE}:{account}",
        }
    }


@pytest.mark.parametrize("name", [*BY_MANAGER["vault"], *BY_MANAGER["aws"]])
def test_nobody_else_logs_in(render: Render, name: str) -> None:
    source = EXAMPLES[name]["secrets"]["source"]
    rendered = render(**EXAMPLES[name])
    assert account_of(rendered, source) == ACCOUNTS[source]
    users = {pod.get("serviceAccountName") for pod in rendered.pods().values()}
    assert "flask-app" in users
    assert "flask-app-secrets" not in users


def test_every_policy_is_used_by_a_page() -> None:
    named = set(re.findall(r"docs/external/(\S+\.(?:hcl|json))", "\n".join(PAGES.values())))
    assert named == set(POLICIES)
    assert len(named) == 6


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_values_file_names_its_page_and_renders(render: Render, name: str) -> None:
    source = EXAMPLES[name]["secrets"]["source"]
    assert page_of(name) == f"{source}.md"
    assert example(name).values == EXAMPLES[name]
    assert render(**EXAMPLES[name]).one("Deployment")


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    text = PAGES[page]
    links = {
        (EXTERNAL / link).resolve() for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    }
    named = {ROOT / path for path in re.findall(r"(?:docs/external|keeper)/[\w./-]*\w", text)}
    assert links | named
    assert [path for path in links | named if not path.exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_heading_that_a_page_links_to_is_there(page: str) -> None:
    for file, heading in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", PAGES[page]):
        text = (EXTERNAL / (file or page)).read_text("utf-8")
        headings = re.findall(r"(?m)^#+ (.+)$", text)
        anchors = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
        assert heading in anchors, f"{page} links to {file}#{heading}"


def values_named(text: str) -> set[str]:
    """Return the values of the chart that a page names, as secrets.vault.role."""
    first = "database|keeper|networkPolicy|postgresql|secrets|securityContext|tls"
    return set(re.findall(rf"`((?:{first})\.[A-Za-z][\w.]*)[`:=]", text))


@pytest.mark.parametrize("page", PAGES)
def test_every_value_that_a_page_names_is_one(page: str) -> None:
    values = yaml.safe_load((FOLDER / "values.yaml").read_text("utf-8"))
    named = values_named(PAGES[page])
    assert named
    for path in named - NO_VALUES:
        found: Any = values
        for word in path.split("."):
            assert isinstance(found, dict), f"{page} names {path}"
            assert word in found, f"{page} names {path}"
            found = found[word]


def test_the_chart_names_pages_that_are_there() -> None:
    template = (FOLDER / "README.template.md").read_text("utf-8")
    made = docs.readme((FOLDER / "values.yaml").read_text("utf-8"), template)
    pages = re.findall(r"\(\.\./docs/external/([\w-]+\.md)", made)
    assert set(pages) == set(PAGES)


def test_the_sql_makes_the_group_that_the_keeper_makes() -> None:
    source = (ROOT / "keeper" / "database.py").read_text("utf-8")
    by_keeper = set(re.findall(r'_execute\(\s*"((?:GRANT|REVOKE)[^"]+)"', source))
    by_keeper.remove("GRANT {} TO {}")  # its logins become members
    by_keeper |= {
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {privileges} ON {kind} TO {{}}"
        for privileges, kind in ((TABLE_PRIVILEGES, "TABLES"), (SEQUENCE_PRIVILEGES, "SEQUENCES"))
    }
    text = re.sub(r"(?m)^--.*$", "", (EXTERNAL / "database.sql").read_text("utf-8"))
    statements = [" ".join(one.split()) for one in text.split(";") if one.strip()]
    grants = {one for one in statements if one.startswith(("GRANT", "REVOKE", "ALTER DEFAULT"))}
    assert {re.sub(r"flask_app(_service)?\b", "{}", one) for one in grants} == by_keeper
    rest = [one for one in statements if one not in grants]
    assert rest == [
        "CREATE ROLE flask_app_service NOLOGIN",
        "CREATE ROLE notes_1 LOGIN IN ROLE flask_app_service",
        "CREATE ROLE notes_2 LOGIN IN ROLE flask_app_service",
    ]


def commands(page: str) -> list[str]:
    """Return the commands of a page, one each, without what stands in single quotes."""
    blocks = "".join(re.findall(r"(?ms)^ *```sh\n(.*?)^ *```", PAGES[page]))
    code = re.sub(r"'[^']*'", "''", blocks.replace("\\\n", " "))
    lines = (line for line in code.splitlines() if not line.startswith("#"))
    return [part.strip() for line in lines for part in re.split(r"[|;{}]", line) if part.strip()]


@pytest.mark.parametrize("page", PAGES)
def test_no_command_has_a_secret_among_its_arguments(page: str) -> None:
    found = commands(page)
    assert len(found) > 10
    for command in found:
        if "$password" in command or "$(openssl" in command:
            # both are the shell's own: no process has the value among its arguments
            assert command.startswith(("printf ", "password=")), command
        assert "--from-literal" not in command
        for argument in re.findall(r"--secret-string[ =](\S+)", command):
            assert argument == "file:///dev/stdin"
