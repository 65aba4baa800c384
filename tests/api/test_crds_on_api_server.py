"""The API server takes the CRDs, enforces each of their rules, and shows them as documentation."""

from __future__ import annotations

import json
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.api.support import CANARY, REMOVED, changed, full_policy, sealed
from tests.cluster.processes import wait_until

from scoped_secrets import names
from scoped_secrets.api.parsing import parse_scoped_secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import CompletedProcess

    from tests.cluster.cluster import Cluster
    from tests.conftest import NamespaceFactory

pytestmark = pytest.mark.integration

CRDS = Path(__file__).parents[2] / "crds"
SECONDS = 30.0


@pytest.fixture(scope="module")
def installed(control_plane: Cluster) -> Iterator[Cluster]:
    """The cluster with our CRDs, applied as the documentation says."""
    control_plane.kubectl("apply", "-f", str(CRDS))
    plurals = (names.SCOPED_SECRET_PLURAL, names.SECRET_POLICY_PLURAL)
    crds = [f"crd/{plural}.{names.GROUP}" for plural in plurals]
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", *crds)
    yield control_plane
    # Definitions with `valueFrom` stay for some seconds in namespaces that are deleted. An operator that starts
    # then for other tests would read the Secrets that they name.
    wait_until(lambda: not left_behind(control_plane), "the definitions of these tests are deleted", seconds=SECONDS)


def left_behind(cluster: Cluster) -> set[str]:
    """Return the namespaces that are being deleted and still have definitions."""
    namespaces = {
        namespace["metadata"]["name"]
        for namespace in cluster.get("namespaces")["items"]
        if "deletionTimestamp" in namespace["metadata"]
    }
    return namespaces & {item["metadata"]["namespace"] for item in cluster.get("ssec", "-A")["items"]}


@pytest.fixture(scope="module")
def namespace_of_module(installed: Cluster) -> Iterator[str]:
    """One namespace for the tests that leave nothing behind."""
    name = installed.create_namespace(f"refusals-{secrets.token_hex(4)}")
    yield name
    installed.delete_namespace(name)


def full_secret() -> dict[str, Any]:
    """Return a ScopedSecret with every field, every source, and every kind of path."""
    reference = {"secretKeyRef": {"name": "db", "key": "password"}}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.SCOPED_SECRET_KIND,
        "metadata": {"name": "aws-production", "labels": {"tier": "production"}},
        "spec": {
            "secretName": "aws",
            "description": "Deploy keys for the web project",
            "scope": "Environment",
            "project": "web",
            "environment": "review/*",
            "override": "Merge",
            "final": True,
            "attach": "Always",
            "env": [
                {"name": "PLAIN", "value": CANARY},
                {"name": "EMPTY", "value": ""},
                {"name": "SEALED", "sealed": sealed()},
                {"name": "TAKEN", "valueFrom": reference},
                {"name": "REGION", "value": "eu-west-1", "sensitive": False},
            ],
            "files": [
                {"path": ".ssh/id_ed25519", "content": CANARY},
                {"path": "~/blob", "contentBase64": "AP8A/w==", "mode": "444"},
                {"path": "/etc/sealed", "sealed": sealed(), "mode": "0000"},
                {"path": "taken", "valueFrom": reference},
                {"path": "/etc/motd", "content": "hello", "sensitive": False, "mode": "0777"},
                {"path": "~/.npmrc", "env": "NPM_CONFIG_USERCONFIG", "content": CANARY},
                {"env": "KUBECONFIG", "content": CANARY},
            ],
            "dataKeys": [{"id": "0f1e2d3c4b5a6978", "sealed": sealed(32)}],
            "rotation": {"intervalDays": 90, "remindDays": 7},
            "expireTime": "2027-01-01T00:00:00Z",
        },
    }


def create(cluster: Cluster, name: str, body: dict[str, Any], *options: str) -> CompletedProcess[str]:
    return cluster.kubectl("create", "-n", name, "-f", "-", *options, input=json.dumps(body), check=False)


def refusal(cluster: Cluster, name: str, body: dict[str, Any]) -> str:
    """Return why an object would be refused in a namespace, "" when it would not."""
    return cluster.refusal({**body, "metadata": {**body["metadata"], "namespace": name}})


def policy() -> dict[str, Any]:
    body = full_policy()
    del body["metadata"]["namespace"]
    return body


RESERVED = (
    "must not be a variable that the loader, the shell, Kubernetes or this operator reads; store the value under "
    "another name and set this variable in the container's own `env`, with the value `${secrets.NAME.OTHER}`"
)

MODE = (
    'spec.files[0].mode: Invalid value: must be an octal mode in quotes, from "0000" to "0777", such as "0600"; write '
    '"0600" for 0o600'
)

SECRET_RULES: dict[str, tuple[str, Any, str]] = {
    # A sentence: the field, what is written there, and what the refusal has to say.
    "an entry needs a source": ("spec.env.0", {"name": "A"}, "spec.env[0]: Invalid value: must have exactly one of"),
    "an entry has not two sources": (
        "spec.env.0",
        {"name": "A", "value": CANARY, "sealed": sealed()},
        "must have exactly one of `value`, `sealed` and `valueFrom`",
    ),
    "a value is not sealed text": (
        "spec.env.2.sealed",
        CANARY,
        "spec.env[2].sealed: Invalid value: must begin with 'v1:' or 'v2:'",
    ),
    "a sealed value cannot be plain": (
        "spec.env.2.sensitive",
        False,
        "spec.env[2].sensitive: Invalid value: must be true with `sealed` and `valueFrom`; only a `value`",
    ),
    "a value of another Secret cannot be plain": ("spec.env.3.sensitive", False, "only a `value` can be plain"),
    "a former value has one name": (
        "spec.env.2",
        {"name": "B", "previousOf": "A", "sealed": sealed(), "expireTime": "2027-01-01T00:00:00Z"},
        "spec.env[2].name: Invalid value: must be the name of the variable `previousOf` and `_PREVIOUS`",
    ),
    "a former value has an end": (
        "spec.env.2",
        {"name": "A_PREVIOUS", "previousOf": "A", "sealed": sealed()},
        "spec.env[2]: Invalid value: must have `previousOf`, `expireTime` and `sealed` together",
    ),
    "a former value is sealed": (
        "spec.env.2",
        {"name": "A_PREVIOUS", "previousOf": "A", "value": CANARY, "expireTime": "2027-01-01T00:00:00Z"},
        "must have `previousOf`, `expireTime` and `sealed` together",
    ),
    "only a former value has an end": (
        "spec.env.2.expireTime",
        "2027-01-01T00:00:00Z",
        "must have `previousOf`, `expireTime` and `sealed` together",
    ),
    "the loader is not steered": ("spec.env.0.name", "LD_PRELOAD", RESERVED),
    "the loader of macOS is not steered": ("spec.env.0.name", "DYLD_INSERT_LIBRARIES", RESERVED),
    "Kubernetes is not steered": ("spec.env.0.name", "KUBERNETES_SERVICE_HOST", RESERVED),
    "the operator is not steered": ("spec.env.0.name", "SCOPED_SECRETS_X", RESERVED),
    "bash is not steered": ("spec.env.0.name", "BASH_ENV", RESERVED),
    "words of the shell are not steered": ("spec.env.0.name", "IFS", RESERVED),
    "the prompt is not steered": ("spec.env.0.name", "PROMPT_COMMAND", RESERVED),
    "the loader is not steered by a file": ("spec.files.0.env", "LD_PRELOAD", RESERVED),
    "a variable is a shell name": ("spec.env.0.name", "1A", "spec.env[0].name in body should match"),
    "a variable is short": ("spec.env.0.name", "A" * 256, "may not be more than 255"),
    "a variable stands once": ("spec.env.1.name", "PLAIN", "Duplicate value"),
    "a value is short": ("spec.env.0.value", CANARY * 2600, "may not be more than 32768"),
    "a value is text": ("spec.env.0.value", 7, 'must be of type string: "integer"'),
    "there are not too many variables": (
        "spec.env",
        [{"name": f"A{index}", "value": ""} for index in range(101)],
        "must have at most 100 items",
    ),
    "a file needs a source": ("spec.files.0", {"path": "a"}, "must have exactly one of `content`, `contentBase64`"),
    "a file has not two sources": ("spec.files.0.contentBase64", "", "must have exactly one of `content`"),
    "a file's content is not sealed text": (
        "spec.files.2.sealed",
        CANARY,
        "spec.files[2].sealed: Invalid value: must begin with 'v1:' or 'v2:'",
    ),
    "a data key is a sealed text": (
        "spec.dataKeys",
        [{"id": "0123456789abcdef", "sealed": "plain"}],
        "spec.dataKeys[0].sealed: Invalid value: must begin with 'v1:', as `kubectl scoped-secrets seal` prints it",
    ),
    "a sealed file cannot be plain": (
        "spec.files.2.sensitive",
        False,
        "must be true with `sealed` and `valueFrom`; only `content` and `contentBase64` can be plain configuration",
    ),
    "a path is not empty": ("spec.files.0.path", "", "should be at least 1 chars"),
    "a path is short in bytes": ("spec.files.0.path", "é" * 257, "must be at most 512 bytes"),
    "a path is no directory": ("spec.files.0.path", "a/", "must name a file"),
    "a path is not the home": ("spec.files.0.path", "~", "must be absolute, relative"),
    "a path is not in another home": ("spec.files.0.path", "~root/a", "must be absolute, relative"),
    "a path is one line": ("spec.files.0.path", "a\nb", "must have no line break"),
    "a path has no NUL": ("spec.files.0.path", "a\0b", "must have no line break and no NUL"),
    "a path stands once": (
        "spec.files.1.path",
        ".ssh/id_ed25519",
        "spec.files: Invalid value: must have each `path` once",
    ),
    "a copy has the entries of its source": (
        "spec.copyFrom",
        {"namespace": "web", "name": "aws"},
        "spec.copyFrom: Invalid value: must be left out where `env`, `files` or `dataKeys` are given",
    ),
    "a path expands no variable": (
        "spec.files.0.path",
        "$HOME/a",
        "spec.files[0].path: Invalid value: must not begin with '$', because variables are not expanded in a path",
    ),
    "a file has a name": (
        "spec.files.0",
        {"content": CANARY},
        "must have `path`, where the job finds the file, or `env`",
    ),
    "a variable of a file is a shell name": ("spec.files.0.env", "1A", "spec.files[0].env in body should match"),
    "a variable of a file stands once": (
        "spec.files.0.env",
        "KUBECONFIG",
        "spec.files: Invalid value: must have each `env` once",
    ),
    "a variable of a file is no other variable": (
        "spec.files.0.env",
        "REGION",
        "spec.files: Invalid value: must have no `env` that is also a `name` in `spec.env`; rename one of the two",
    ),
    "a mode is octal": ("spec.files.0.mode", "0800", MODE),
    "a mode sets no special bits": ("spec.files.0.mode", "4755", MODE),
    "a mode is written without a letter": ("spec.files.0.mode", "0o600", MODE),
    "a mode is text": ("spec.files.0.mode", 384, 'must be of type string: "integer"'),
    "there are not too many files": (
        "spec.files",
        [{"path": f"a{index}", "content": ""} for index in range(51)],
        "must have at most 50 items",
    ),
    "an environment definition names it": ("spec.environment", REMOVED, "must be given with `scope` Environment"),
    "only an environment definition names one": (
        "spec.scope",
        "Project",
        "spec.environment: Invalid value: must be left out unless `scope` is Environment",
    ),
    "an organization definition names no project": (
        "spec",
        {"scope": "Organization", "project": "web"},
        "spec.project: Invalid value: must be left out with `scope` Organization",
    ),
    "an environment has no comma": ("spec.environment", "a,b", "spec.environment in body should match"),
    "an environment is short": ("spec.environment", "a" * 129, "may not be more than 128"),
    "a scope is given": ("spec.scope", REMOVED, "spec.scope: Required value"),
    "a scope is one of three": ("spec.scope", "Cluster", 'supported values: "Organization", "Project", "Environment"'),
    "a name can be written in a comma list": ("spec.secretName", "a,b", "spec.secretName in body should match"),
    "a name is no path": ("spec.secretName", "..", "spec.secretName in body should match"),
    "a variable is no path": ("spec.env.0.name", "../A", "spec.env[0].name in body should match"),
    "a name is short": ("spec.secretName", "a" * 64, "may not be more than 63"),
    "the name by default is short": (
        "metadata.name",
        "a" * 64,
        "must have a `spec.secretName` of at most 63 characters, because `metadata.name` is longer",
    ),
    "a data key is sealed": (
        "spec.dataKeys.0.sealed",
        CANARY,
        "spec.dataKeys[0].sealed: Invalid value: must begin with 'v1:', as `kubectl scoped-secrets seal` prints it",
    ),
    "the id of a data key is hexadecimal": (
        "spec.dataKeys.0.id",
        "0F1E2D3C4B5A6978",
        "spec.dataKeys[0].id in body should match",
    ),
    "a data key stands once": (
        "spec.dataKeys",
        [{"id": "0f1e2d3c4b5a6978", "sealed": sealed(32)}] * 2,
        "Duplicate value",
    ),
    "data keys are not too many": (
        "spec.dataKeys",
        [{"id": f"{number:016x}", "sealed": "v1:"} for number in range(201)],
        "must have at most 200 items",
    ),
    "a reminder comes before its date": ("spec.rotation.remindDays", 90, "must be less than `intervalDays`"),
    "a rotation takes a day": ("spec.rotation.intervalDays", 0, "greater than or equal to 1"),
    "an expiry is a time": ("spec.expireTime", "tomorrow", "must be of type date-time"),
    "a spec is given": ("spec", REMOVED, "spec: Required value"),
}

POLICY_RULES: dict[str, tuple[str, Any, str]] = {
    "a policy selects something": ("spec.secrets", {}, "must have at least one of `names`, `selector` and `scopes`"),
    "a policy says what it selects": ("spec.secrets", REMOVED, "spec.secrets: Required value"),
    "a list of names is not empty": ("spec.secrets.names", [], "should have at least 1 items"),
    "a list of scopes is not empty": ("spec.secrets.scopes", [], "should have at least 1 items"),
    "a selector is not empty": ("spec.secrets.selector", {}, "must have `matchLabels` or `matchExpressions`"),
    "labels of a selector are not empty": (
        "spec.secrets.selector.matchLabels",
        {},
        "should have at least 1 properties",
    ),
    "In takes values": (
        "spec.secrets.selector.matchExpressions.0",
        {"key": "a", "operator": "In"},
        "must have `values` with the operators In and NotIn",
    ),
    "NotIn takes values": (
        "spec.secrets.selector.matchExpressions.0",
        {"key": "a", "operator": "NotIn", "values": []},
        "must have `values` with the operators In and NotIn",
    ),
    "Exists takes no values": (
        "spec.rules.0.podSelector.matchExpressions.0",
        {"key": "a", "operator": "Exists", "values": ["b"]},
        "must have `values` with the operators In and NotIn",
    ),
    "a label's key is one": ("spec.secrets.selector.matchExpressions.0.key", "a b", "should match"),
    "a rule begins before it ends": (
        "spec.rules.0.notAfter",
        "2026-01-01T00:00:00Z",
        "spec.rules[0].notAfter: Invalid value: must be later than `notBefore`",
    ),
    "a claim is not empty": ("spec.rules.0.projects", [], "should have at least 1 items"),
    "a claim is a glob": ("spec.rules.0.projects.0", "deployer.+", "should match"),
    "an account is a glob": (
        "spec.rules.0.serviceAccounts.0",
        "deployer.+",
        'spec.rules[0].serviceAccounts[0]: Invalid value: "deployer.+": must be the name of a ServiceAccount, or',
    ),
    "an account is named without its namespace": (
        "spec.rules.0.serviceAccounts.0",
        "system:serviceaccount:web:deployer",
        (
            "must be the name of a ServiceAccount, or a pattern with '*' for any text, of letters, digits, '.', '_' "
            "and '-'; for 'system:serviceaccount:NAMESPACE:NAME' write NAME here and NAMESPACE into the rule's "
            "`namespaces`"
        ),
    ),
    "a claim stands once": ("spec.rules.0.namespaces", ["a", "a"], "Duplicate value"),
    "a rule has a name": ("spec.rules.0.name", REMOVED, "spec.rules[0].name: Required value"),
    "a rule stands once": ("spec.rules", [{"name": "a"}, {"name": "a"}], "Duplicate value"),
    "a ref is a full one": ("spec.rules.0.refs.0", "main", "should match"),
    "an effect is one of two": ("spec.effect", "Audit", "Unsupported value"),
    "a key conflict is one of two": ("spec.keyConflict", "Ignore", "Unsupported value"),
    "interactive access is one of two": ("spec.interactive.exec", False, "must be of type string"),
    "an exempt account has a namespace": (
        "spec.interactive.exemptSubjects.0",
        {"kind": "ServiceAccount", "name": "agent"},
        "must have `namespace` with the kind ServiceAccount, and none with User and Group",
    ),
    "an exempt subject is one of three": (
        "spec.interactive.exemptSubjects.0.kind",
        "Role",
        "Unsupported value",
    ),
}


# What a definition must not say: the field, and what an attacker writes there. The schema has no such field.
UNKNOWN: dict[str, tuple[str, Any]] = {
    "a namespace": ("spec.namespace", "other"),
    "namespaces": ("spec.namespaces", ["other"]),
    "the namespace of a source": ("spec.env.3.valueFrom.secretKeyRef.namespace", "other"),
    "the namespace of a file's source": ("spec.files.3.valueFrom.secretKeyRef.namespace", "other"),
    "an organization": ("spec.organization", "other"),
    "the type of a Secret": ("spec.type", "kubernetes.io/service-account-token"),
    "a template of a Secret": ("spec.template", {"type": "bootstrap.kubernetes.io/token"}),
    "labels of a Secret": ("spec.labels", {"argocd.argoproj.io/secret-type": "cluster"}),
    "annotations of a Secret": ("spec.annotations", {"kubernetes.io/service-account.name": "default"}),
    "the name of a Secret": ("spec.targetName", "default-token"),
    "a target": ("spec.target", {"name": "webhook-certificate", "namespace": "kube-system"}),
    "a Secret to publish": ("spec.publish", {"name": "registry"}),
}


@pytest.mark.parametrize("sentence", SECRET_RULES)
def test_invalid_scoped_secret_is_rejected(sentence: str, installed: Cluster, namespace_of_module: str):
    path, value, expected = SECRET_RULES[sentence]
    body = changed(full_secret(), path, value)
    if path == "metadata.name":
        del body["spec"]["secretName"]

    refused = refusal(installed, namespace_of_module, body)

    assert expected in refused
    assert CANARY not in refused


@pytest.mark.parametrize("sentence", UNKNOWN)
def test_a_definition_has_no_field_for_what_it_must_not_choose(
    sentence: str, installed: Cluster, namespace_of_module: str
):
    path, value = UNKNOWN[sentence]

    refused = refusal(installed, namespace_of_module, changed(full_secret(), path, value))

    assert f'unknown field "{path.replace(".0.", "[0].").replace(".3.", "[3].")}"' in refused


@pytest.mark.parametrize("sentence", POLICY_RULES)
def test_invalid_policy_is_rejected(sentence: str, installed: Cluster, namespace_of_module: str):
    path, value, expected = POLICY_RULES[sentence]

    assert expected in refusal(installed, namespace_of_module, changed(policy(), path, value))


def test_every_cel_rule_rejects_an_object():
    expected = [row[2].rpartition("Invalid value: ")[2] for row in (*SECRET_RULES.values(), *POLICY_RULES.values())]
    expected += ["must stay as it was created"]

    messages = {message for path in CRDS.glob("*.yaml") for message in rule_messages(yaml.safe_load(path.read_text()))}

    assert len(messages) > 15
    assert [message for message in messages if not any(part in message for part in expected)] == []


def rule_messages(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from (rule["message"] for rule in schema.get("x-kubernetes-validations", ()))
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from rule_messages(part)


def test_scoped_secret_with_every_field_is_accepted(installed: Cluster, namespace_of_module: str):
    created = create(installed, namespace_of_module, full_secret(), "--dry-run=server", "-o", "json")

    assert created.stderr == ""
    assert json.loads(created.stdout)["spec"] == full_secret()["spec"]


def test_names_that_only_resemble_reserved_ones_are_accepted(installed: Cluster, namespace_of_module: str):
    free = ("ENV", "LD_ACCESS_TOKEN", "KUBERNETES_NAMESPACE_OVERWRITE")
    body = changed(full_secret(), "spec.env", [{"name": name, "value": ""} for name in free])

    assert refusal(installed, namespace_of_module, body) == ""


def test_minimal_policy_reads_back_as_it_was_written(installed: Cluster, namespace: NamespaceFactory):
    name = namespace()
    body = {**policy(), "spec": {"secrets": {"names": ["aws"]}, "rules": [{"name": "all"}], "interactive": {}}}
    create(installed, name, body)

    assert installed.get("spol", "production", "-n", name)["spec"] == body["spec"]


def test_policy_with_every_field_is_accepted(installed: Cluster, namespace_of_module: str):
    created = create(installed, namespace_of_module, policy(), "--dry-run=server", "-o", "json")

    assert created.stderr == ""
    assert json.loads(created.stdout)["spec"]["rules"] == policy()["spec"]["rules"]


def test_largest_values_are_accepted(installed: Cluster, namespace_of_module: str):
    body = changed(full_secret(), "spec.env.0", {"name": "A", "sealed": sealed(32 * 1024)})
    body = changed(body, "spec.files.0", {"path": "a", "sealed": sealed(512 * 1024)})
    body = changed(body, "spec.env.1.value", "a" * 32 * 1024)

    assert create(installed, namespace_of_module, body, "--dry-run=server").stderr == ""


def test_minimal_scoped_secret_reads_back_as_it_was_written(installed: Cluster, namespace: NamespaceFactory):
    name = namespace()
    body = {**full_secret(), "spec": {"scope": "Project", "env": [{"name": "A", "value": "a"}]}}
    create(installed, name, body)

    spec = installed.get("ssec", "aws-production", "-n", name)["spec"]

    assert spec == body["spec"]
    stored = parse_scoped_secret(installed.get("ssec", "aws-production", "-n", name))
    assert stored.secret_name == stored.metadata.name


IMMUTABLE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # A sentence: the spec at creation, and the merge patch that is refused.
    "a scope stays": ({"scope": "Organization"}, {"scope": "Project"}),
    "a name stays": ({"scope": "Project", "secretName": "a"}, {"secretName": "b"}),
    "a name is not added": ({"scope": "Project"}, {"secretName": "b"}),
    "a name is not taken away": ({"scope": "Project", "secretName": "a"}, {"secretName": None}),
    "a project stays": ({"scope": "Project", "project": "a"}, {"project": "b"}),
    "a project is not added": ({"scope": "Project"}, {"project": "b"}),
    "a project is not taken away": ({"scope": "Project", "project": "a"}, {"project": None}),
    "an environment stays": ({"scope": "Environment", "environment": "a"}, {"environment": "b"}),
    "an environment is not taken away": (
        {"scope": "Environment", "environment": "a"},
        {"scope": "Project", "environment": None},
    ),
    "a request for a copy is not added": ({"scope": "Project"}, {"copyFrom": {"namespace": "web", "name": "aws"}}),
    "the source of a copy is not changed": (
        {"scope": "Project", "copyFrom": {"namespace": "web", "name": "aws"}},
        {"copyFrom": {"name": "other"}},
    ),
    "an environment is not added": ({"scope": "Project"}, {"scope": "Environment", "environment": "a"}),
}


@pytest.mark.parametrize("sentence", IMMUTABLE)
def test_scope_fields_are_immutable(sentence: str, installed: Cluster, namespace_of_module: str):
    spec, patch = IMMUTABLE[sentence]
    body = {**full_secret(), "metadata": {"generateName": "place-"}, "spec": spec}
    created = create(installed, namespace_of_module, body, "-o", "name").stdout.strip()

    arguments = ("patch", created, "-n", namespace_of_module, "--type=merge", "-p", json.dumps({"spec": patch}))
    refused = installed.kubectl(*arguments, check=False)

    assert refused.returncode != 0
    for field in patch:
        assert f"spec.{field}: Invalid value: must stay as it was created" in refused.stderr


def test_other_fields_are_mutable(installed: Cluster, namespace: NamespaceFactory):
    name = namespace()
    create(installed, name, full_secret())
    body = changed(full_secret(), "spec.env", [{"name": "OTHER", "value": "other"}])
    body = changed(body, "spec.final", False)
    for field in ("files", "rotation", "expireTime", "description"):
        body = changed(body, f"spec.{field}", REMOVED)

    installed.kubectl("replace", "-n", name, "-f", "-", input=json.dumps(body))

    spec = installed.get("ssec", "aws-production", "-n", name)["spec"]
    assert spec == body["spec"]


def test_objects_with_fields_of_earlier_versions_are_pruned_and_stay_valid(
    installed: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    with earlier_schema(installed, name):
        create(installed, name, with_publish(), "--validate=false")
        patch = ("patch", "ssec/aws-production", "-n", name, "--subresource=status", "--type=merge", "-p")
        installed.kubectl(*patch, json.dumps({"status": full_status() | EARLIER_STATUS}))
        earlier = installed.get("ssec", "aws-production", "-n", name)
        assert earlier["spec"]["publish"] == {"name": "registry"}
        assert earlier["status"] == full_status() | EARLIER_STATUS

    read = installed.get("ssec", "aws-production", "-n", name)
    assert "publish" not in read["spec"]
    assert read["status"] == full_status()
    assert parse_scoped_secret(read) == parse_scoped_secret(earlier)
    installed.kubectl("label", "ssec/aws-production", "-n", name, "tier=gold", "--overwrite")


EARLIER_STATUS = {
    "publishedCount": 12,
    "lastUsedTime": "2026-01-01T00:00:00Z",
    "useCount": 7,
    "usage": [{"namespace": "web-ci", "consumer": "Job/deploy", "lastUsedTime": "2026-01-01T00:00:00Z"}],
}


def with_publish() -> dict[str, Any]:
    return changed(full_secret(), "spec.publish", {"name": "registry"})


@contextmanager
def earlier_schema(cluster: Cluster, namespace: str) -> Iterator[None]:
    """Add the fields of earlier versions to the schema, and remove them again."""

    def keeps_publish() -> bool:
        body = {**with_publish(), "metadata": {"generateName": "probe-"}}
        tried = create(cluster, namespace, body, "--dry-run=server", "--validate=false", "-o", "json")
        return "publish" in json.loads(tried.stdout)["spec"]

    schema = "/spec/versions/0/schema/openAPIV3Schema/properties"
    kept = {"x-kubernetes-preserve-unknown-fields": True}
    fields = [f"{schema}/spec/properties/publish", *(f"{schema}/status/properties/{field}" for field in EARLIER_STATUS)]
    patch = ("patch", "crd", f"{names.SCOPED_SECRET_PLURAL}.{names.GROUP}", "--type=json", "-p")
    cluster.kubectl(*patch, json.dumps([{"op": "add", "path": path, "value": kept} for path in fields]))
    try:
        wait_until(keeps_publish, "the earlier schema is served", seconds=SECONDS)
        yield
    finally:
        cluster.kubectl(*patch, json.dumps([{"op": "remove", "path": path} for path in fields]))
        wait_until(lambda: not keeps_publish(), "the schema is served again", seconds=SECONDS)


LIST_TYPE = "x-kubernetes-list-type"
FILES = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/files"


@contextmanager
def granular_files(cluster: Cluster, namespace: str) -> Iterator[None]:
    """Make the files a list-map with the key `path`, as earlier versions had them."""

    def is_granular() -> bool:
        spec = {"scope": "Project", "files": [{"path": "a", "content": ""}]}
        body = {**full_secret(), "metadata": {"name": "probe"}, "spec": spec}
        words = ("--server-side", "--dry-run=server", "-o", "json", "--show-managed-fields")
        tried = cluster.kubectl("apply", "-n", namespace, "-f", "-", *words, input=json.dumps(body), check=False)
        return 'k:{\\"path\\"' in tried.stdout

    patch = ("patch", "crd", f"{names.SCOPED_SECRET_PLURAL}.{names.GROUP}", "--type=json", "-p")
    kind, keys, required = (f"{FILES}/{field}" for field in (LIST_TYPE, "x-kubernetes-list-map-keys", "items/required"))
    earlier = [
        {"op": "replace", "path": kind, "value": "map"},
        {"op": "add", "path": keys, "value": ["path"]},
        {"op": "add", "path": required, "value": ["path"]},
    ]
    cluster.kubectl(*patch, json.dumps(earlier))
    try:
        wait_until(is_granular, "the earlier schema is served", seconds=SECONDS)
        yield
    finally:
        present = [
            {"op": "replace", "path": kind, "value": "atomic"},
            {"op": "remove", "path": keys},
            {"op": "remove", "path": required},
        ]
        cluster.kubectl(*patch, json.dumps(present))
        wait_until(lambda: not is_granular(), "the schema is served again", seconds=SECONDS)


@pytest.mark.parametrize("flags", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_files_that_were_owned_one_by_one_can_be_applied_again(
    flags: tuple[str, ...], installed: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    files = [{"path": path, "sealed": sealed()} for path in ("a", "b")]
    body = {**full_secret(), "spec": {"scope": "Project", "files": files}}
    apply = ("apply", *flags, "-n", name, "-f", "-")
    with granular_files(installed, name):
        installed.kubectl(*apply, input=json.dumps(body))
    before = installed.get("ssec", "aws-production", "-n", name)

    installed.kubectl(*apply, input=json.dumps(body))
    again = installed.get("ssec", "aws-production", "-n", name)
    installed.kubectl(*apply, input=json.dumps(changed(body, "spec.files", files[1:])))
    less = installed.get("ssec", "aws-production", "-n", name)
    installed.kubectl(*apply, input=json.dumps(changed(body, "spec.files", REMOVED)))
    none = installed.get("ssec", "aws-production", "-n", name)

    assert again["spec"] == before["spec"] == body["spec"]
    assert again["metadata"]["generation"] == 1
    assert less["spec"]["files"] == files[1:]
    assert "files" not in none["spec"]


def test_two_managers_own_different_entries(installed: Cluster, namespace: NamespaceFactory):
    name = namespace()
    one = {**full_secret(), "spec": {"scope": "Project", "env": [{"name": "ONE", "value": "1"}]}}
    two = {**full_secret(), "spec": {"scope": "Project", "env": [{"name": "TWO", "value": "2"}]}}

    for manager, body in (("one", one), ("two", two), ("one", one)):
        apply = ("apply", "--server-side", f"--field-manager={manager}", "-n", name, "-f", "-")
        installed.kubectl(*apply, input=json.dumps(body))

    stored = installed.get("ssec", "aws-production", "-n", name)
    assert [entry["name"] for entry in stored["spec"]["env"]] == ["ONE", "TWO"]


def test_status_with_every_field_is_accepted_and_leaves_the_spec_unchanged(
    installed: Cluster, namespace: NamespaceFactory
):
    name = namespace()
    create(installed, name, full_secret())
    before = installed.get("ssec", "aws-production", "-n", name)

    patch = ("patch", "ssec/aws-production", "-n", name, "--subresource=status", "--type=merge", "-p")
    installed.kubectl(*patch, json.dumps({"status": full_status(), "spec": {"final": False}}))

    stored = installed.get("ssec", "aws-production", "-n", name)
    assert stored["status"] == full_status()
    assert stored["spec"] == before["spec"]
    assert stored["metadata"]["generation"] == before["metadata"]["generation"]


def test_kubectl_shows_the_columns(installed: Cluster, namespace: NamespaceFactory):
    name = namespace()
    create(installed, name, full_secret())
    patch = ("patch", "ssec/aws-production", "-n", name, "--subresource=status", "--type=merge", "-p")
    installed.kubectl(*patch, json.dumps({"status": full_status()}))

    header, row = installed.kubectl("get", "ssec", "-n", name).stdout.splitlines()
    wide = installed.kubectl("get", "scoped-secrets", "-n", name, "-o", "wide").stdout.splitlines()[0]

    assert header.split() == ["NAME", "SECRET", "SCOPE", "ENVIRONMENT", "ENV", "FILES", "READY", "REASON", "AGE"]
    assert row.split()[:8] == ["aws-production", "aws", "Environment", "review/*", "5", "7", "True", "Available"]
    assert {"PROJECT", "MESSAGE"} <= set(wide.split())


def test_kubectl_shows_the_columns_of_policies(installed: Cluster, namespace: NamespaceFactory):
    name = namespace()
    create(installed, name, policy())

    header, row = installed.kubectl("get", "spol", "-n", name).stdout.splitlines()

    assert header.split() == ["NAME", "EFFECT", "SECRETS", "MATCHED", "READY", "REASON", "AGE"]
    assert row.startswith("production   Allow")
    assert '["aws","deploy-*"]' in row


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("spec.scope=Project", ["small"]),
        ("spec.scope=Environment,spec.environment=review/*", ["aws-production"]),
        ("spec.secretName=aws", ["aws-production"]),
        ("spec.secretName=", ["small"]),
        ("spec.project!=web", ["small"]),
    ],
)
def test_scope_fields_are_selectable(selector: str, found: list[str], installed: Cluster, namespace: NamespaceFactory):
    name = namespace()
    create(installed, name, full_secret())
    create(installed, name, {**full_secret(), "metadata": {"name": "small"}, "spec": {"scope": "Project"}})

    listed = installed.get("ssec", "-n", name, f"--field-selector={selector}")

    assert [item["metadata"]["name"] for item in listed["items"]] == found


@pytest.mark.parametrize(
    ("path", "phrase"),
    [
        ("scopedsecret", "the narrowest wins"),
        ("scopedsecret.spec.env", "at most 32 KiB of UTF-8 without NUL"),
        ("scopedsecret.spec.files.mode", '"0600" by default'),
        ("scopedsecret.spec.scope", "It cannot be changed"),
        ("secretpolicy.spec.rules", "All claims of a rule must hold"),
        ("secretpolicy.spec.rules.refs", "as a trusted issuer states"),
    ],
)
def test_kubectl_explains_the_fields(path: str, phrase: str, installed: Cluster):
    printed = installed.kubectl("explain", path).stdout

    assert phrase in " ".join(printed.split())
    assert "<no description>" not in printed


def full_status() -> dict[str, Any]:
    time = "2026-01-01T00:00:00Z"
    return {
        "observedGeneration": 1,
        "keyId": "0011223344556677",
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "observedGeneration": 1,
                "lastTransitionTime": time,
                "reason": "Available",
                "message": "every entry can be used",
            }
        ],
        "envCount": 5,
        "fileCount": 7,
        "shadows": ["acme/aws"],
        "shadowedBy": ["web/aws-review-1"],
        "entries": [{"kind": "Env", "name": "PLAIN", "fingerprint": "0123456789", "changedTime": time}],
    }
