"""What the chart renders from values, and which values it refuses, without a cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scoped_secrets import __version__, names
from scoped_secrets.api.trusted_issuers import parse_trusted_issuers
from scoped_secrets.core.policy.issuer_presets import PRESETS
from tests.chart.helm import CHART, MONITORING, helm, render, rendered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.chart.helm import Outcome

# helm is built from its Go module, as the test cluster is.
pytestmark = pytest.mark.integration

CI = sorted((CHART / "ci").glob("*-values.yaml"))


def exempt(subject: dict[str, str]) -> dict[str, Any]:
    return {"interactive": {"exemptSubjects": [subject]}}


SCHEMA = "values don't meet the specifications of the schema"


def arguments(outcome: Outcome, component: str, name: str = "scoped-secrets") -> list[str]:
    """Return the command line of a component."""
    (container,) = outcome.named("Deployment", f"{name}-{component}")["spec"]["template"]["spec"]["containers"]
    return list(container["args"])


def rights(outcome: Outcome) -> set[tuple[str, str, str, str]]:
    """Return every role of the release as (role, resource, name, verb)."""
    return {
        (role["metadata"]["name"], resource, name, verb)
        for role in outcome.documents
        if role["kind"] in {"ClusterRole", "Role"}
        for rule in role["rules"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("values", CI, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_every_supported_configuration_passes_strict_lint(values: Path):
    outcome = helm("lint", "--strict", str(CHART), "--namespace", "scoped-secrets", "--values", str(values))

    assert outcome.code == 0, outcome.output + outcome.error


@pytest.mark.parametrize(
    ("values", "place", "complaint"),
    [
        ({"replicas": 3}, "''", "additional properties 'replicas' not allowed"),
        ({"controller": {"replica": 3}}, "'/controller'", "additional properties 'replica' not allowed"),
        ({"controller": {"replicas": "three"}}, "'/controller/replicas'", "got string, want integer"),
        ({"profile": "relaxed"}, "'/profile'", "value must be one of 'compatible', 'hardened'"),
        ({"publish": {"enabled": True}}, "''", "additional properties 'publish' not allowed"),
        ({"webhooks": {"failurePolicy": "Ignore"}}, "'/webhooks'", "'failurePolicy' not allowed"),
        ({"webhooks": {"timeoutSeconds": 60}}, "'/webhooks/timeoutSeconds'", "maximum: got 60, want 30"),
        ({"image": {"digest": "latest"}}, "'/image/digest'", "does not match pattern"),
        (exempt({"kind": "Role", "name": "a"}), "'/interactive/exemptSubjects/0/kind'", "must be one of"),
        (exempt({"kind": "ServiceAccount", "name": "a"}), "'/interactive/exemptSubjects/0'", "property 'namespace'"),
        (exempt({"kind": "Group", "name": "a", "namespace": "b"}), "exemptSubjects/0/namespace'", "false schema"),
        ({"settings": {"defaultHome": "/root/../etc"}}, "'/settings/defaultHome'", "'not' failed"),
        ({"settings": {"organization": "a/b"}}, "'/settings/organization'", "does not match pattern"),
        ({"valueFrom": {"namespaces": [""]}}, "'/valueFrom/namespaces/0'", "does not match pattern"),
        ({"valueFrom": {"namespaces": ["a", "a"]}}, "'/valueFrom/namespaces'", "items at 0 and 1 are equal"),
        ({"networkPolicy": {"apiServer": {"cidrs": ["10.0.0.1"]}}}, "'/networkPolicy/apiServer/cidrs/0'", "pattern"),
        ({"admission": {"podDisruptionBudget": {"maxUnavailable": 0}}}, "maxUnavailable'", "minimum: got 0, want 1"),
        ({"metrics": {"serviceMonitor": {"renderMode": "maybe"}}}, "renderMode'", "must be one of"),
        ({"podAnnotations": {"a": "b"}}, "''", "additional properties 'podAnnotations' not allowed"),
    ],
)
def test_invalid_value_is_rejected_with_its_path(values: dict[str, Any], place: str, complaint: str):
    outcome = render(values)

    assert outcome.code != 0
    assert SCHEMA in outcome.error
    assert any(place in line and complaint in line for line in outcome.error.splitlines()), outcome.error


HOST = {"hostNetwork": True}
HARDENED = {"profile": "hardened", "networkPolicy": {"apiServer": {"cidrs": ["10.0.0.0/28"]}}}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"certificates": {"mode": "existingSecret"}}, "needs certificates.existingSecret.name"),
        ({"certificates": {"existingSecret": {"name": "tls"}}}, "only used with certificates.mode existingSecret"),
        ({"certificates": {"certManager": {"issuerRef": {"name": "a"}}}}, "with certificates.mode certManager"),
        ({"test": {"namespace": "scoped-secrets"}}, "test.namespace cannot be kube-system, the release's own"),
        ({"test": {"namespace": "a"}, "webhooks": {"excludedNamespaces": ["a"]}}, "test.namespace cannot be"),
        ({"profile": "hardened"}, "networkPolicy.apiServer.cidrs is needed with the profile hardened"),
        ({"networkPolicy": {"extraEgress": [{}]}}, "extraEgress is only used with networkPolicy.apiServer.cidrs"),
        ({"admission": {"clientCA": {"configMap": "a", "secret": "b"}}}, "clientCA.secret exclude each other"),
        ({"valueFrom": {"namespaces": ["web"]}}, "valueFrom.namespaces is only used with valueFrom.enabled"),
        ({"valueFrom": {"enabled": True}, "rbac": {"create": False}}, "valueFrom.enabled needs rbac.create"),
        ({"admission": {"replicas": 0}}, "admission.replicas must be at least 1"),
        ({"controller": {"replicas": 0}}, "controller.replicas must be at least 1"),
        ({"admission": {"serviceAccount": {"create": False}}}, "admission.serviceAccount.name is needed"),
        ({"controller": {"serviceAccount": {"create": False}}}, "controller.serviceAccount.name is needed"),
        ({"controller": {"serviceAccount": {"name": "scoped-secrets-admission"}}}, "serviceAccount.name must differ"),
        ({"controller": {"probePort": 8080}}, "controller.probePort and controller.metricsPort must differ"),
        ({"admission": {"port": 8081}}, "admission.port must differ"),
        ({"admission": HOST}, "admission.hostNetwork needs another admission.port than 10250"),
        ({"admission": {**HOST, "port": 9443}, "controller": HOST}, "share the ports of a node"),
        ({"controller": {"lease": {"durationSeconds": 10}}}, "renewDeadlineSeconds must be less than durationSeconds"),
        ({"controller": {"lease": {"retryPeriodSeconds": 9}}}, "retryPeriodSeconds must be well below"),
        ({"metrics": {"enabled": False, "dashboard": {"enabled": True}}}, "dashboard.enabled needs metrics.enabled"),
        (
            {"metrics": {"serviceMonitor": {"enabled": True, "renderMode": "failIfMissing"}}},
            "metrics.serviceMonitor.enabled needs the kind ServiceMonitor",
        ),
    ],
)  # fmt: skip
def test_conflicting_values_are_rejected_with_one_message(values: dict[str, Any], sentence: str):
    outcome = render(values)

    assert outcome.code != 0
    (line,) = [line for line in outcome.error.splitlines() if sentence in line]
    # The sentence has the remedy behind a colon, or is one by itself.
    assert ": " in line.split("): ", 1)[1] or "must" in line


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public"])
def test_system_namespace_is_rejected(namespace: str):
    outcome = render(namespace=namespace)

    assert outcome.code != 0
    assert f"the release cannot be in {namespace}" in outcome.error


@pytest.mark.parametrize("values", CI, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_every_name_fits_into_a_label(values: Path):
    release = "r" * 53
    outcome = rendered(yaml.safe_load(values.read_text()), release=release)

    assert outcome.documents
    for kind, name in outcome.kinds():
        assert kind == "CustomResourceDefinition" or len(name) <= 63, name
    for document in outcome.documents:
        # A definition describes labels; it is called what its resource is called.
        for value in labels(document) if document["kind"] != "CustomResourceDefinition" else ():
            assert len(value) <= 63


def labels(node: Any) -> Iterator[str]:
    """Yield every value of every label in an object."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in {"labels", "matchLabels"}:
                yield from value.values()
            else:
                yield from labels(value)
    elif isinstance(node, list):
        for value in node:
            yield from labels(value)


@pytest.mark.parametrize("values", CI, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_webhooks_exclude_system_namespaces_and_fail_closed(values: Path):
    outcome = rendered(yaml.safe_load(values.read_text()), namespace="elsewhere")
    configurations = [one for one in outcome.documents if one["kind"].endswith("WebhookConfiguration")]

    assert [one["kind"] for one in configurations] == [
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ]
    webhooks = [webhook for configuration in configurations for webhook in configuration["webhooks"]]
    assert len(webhooks) == 8
    for webhook in webhooks:
        assert webhook["failurePolicy"] == "Fail"
        assert webhook["sideEffects"] == "None"
        assert 1 <= webhook["timeoutSeconds"] <= 5
        # Whoever makes the certificate writes it; a template would take it away again.
        assert set(webhook["clientConfig"]) == {"service"}
        service = webhook["clientConfig"]["service"]
        assert outcome.named("Service", service["name"])["metadata"]["namespace"] == service["namespace"] == "elsewhere"
    for webhook in webhooks:
        if webhook["rules"][0]["resources"] == ["pods"]:
            sees_label, condition = POD_WEBHOOKS[webhook["name"]]
            term = {"key": "scopedsecrets.dev/inject", "operator": "NotIn", "values": ["true"]}
            label = (
                {"matchLabels": {"scopedsecrets.dev/inject": "true"}} if sees_label else {"matchExpressions": [term]}
            )
            assert webhook["objectSelector"] == label
            (expression,) = webhook["namespaceSelector"]["matchExpressions"]
            assert (expression["key"], expression["operator"]) == ("kubernetes.io/metadata.name", "NotIn")
            assert {"kube-system", "elsewhere"} <= set(expression["values"])
            assert [one["name"] for one in webhook["matchConditions"]] == [condition]


# Whether a webhook about pods sees those with the label or those without it, and its condition.
POD_WEBHOOKS = {
    "pods.mutate.scopedsecrets.dev": (True, "no-mirror-pods"),
    "copies.mutate.scopedsecrets.dev": (False, "names-a-bundle-in-its-volume"),
}


def test_sessions_are_reviewed_in_namespaces_with_a_scope_path_except_of_exempt_subjects():
    subjects = [
        {"kind": "User", "name": 'a"b'},
        {"kind": "ServiceAccount", "namespace": "gitlab", "name": "runner"},
        {"kind": "Group", "name": "oncall"},
    ]

    def sessions(outcome: Outcome) -> dict[str, Any]:
        webhooks = outcome.named("ValidatingWebhookConfiguration", "scoped-secrets")["webhooks"]
        return {one["name"]: one for one in webhooks if one["clientConfig"]["service"]["path"].endswith("interactive")}

    plain, exempting = sessions(rendered()), sessions(rendered({"interactive": {"exemptSubjects": subjects}}))

    assert {name: one["namespaceSelector"]["matchExpressions"][1:] for name, one in plain.items()} == {
        "interactive.validate.scopedsecrets.dev": [{"key": names.ORGANIZATION_LABEL, "operator": "Exists"}],
        "interactive-by-project.validate.scopedsecrets.dev": [
            {"key": names.ORGANIZATION_LABEL, "operator": "DoesNotExist"},
            {"key": names.PROJECT_LABEL, "operator": "Exists"},
        ],
    }
    for one in plain.values():
        connect, update = one["rules"]
        assert connect["operations"] == ["CONNECT"]
        assert connect["resources"] == ["pods/exec", "pods/attach", "pods/portforward", "pods/proxy"]
        assert (update["operations"], update["resources"]) == (["UPDATE"], ["pods/ephemeralcontainers"])
        assert "matchConditions" not in one
    for one in exempting.values():
        assert [condition["expression"] for condition in one["matchConditions"]] == [
            r'!(request.userInfo.username in ["a\"b","system:serviceaccount:gitlab:runner"])',
            '!has(request.userInfo.groups) || !request.userInfo.groups.exists(group, group in ["oncall"])',
        ]


def test_defaults_are_highly_available():
    outcome = rendered()

    for component in ("admission", "controller"):
        deployment = outcome.named("Deployment", f"scoped-secrets-{component}")["spec"]
        budget = outcome.named("PodDisruptionBudget", f"scoped-secrets-{component}")["spec"]
        assert deployment["replicas"] == 2
        assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        assert budget["selector"] == deployment["selector"]
        (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
        assert spread["labelSelector"] == deployment["selector"]


def test_single_replica_has_no_disruption_budget():
    outcome = rendered({"admission": {"replicas": 1}})

    assert ("PodDisruptionBudget", "scoped-secrets-admission") not in outcome.kinds()
    assert ("PodDisruptionBudget", "scoped-secrets-controller") in outcome.kinds()


def test_profiles_differ_as_documented():
    compatible, hardened = rendered(), rendered(HARDENED)

    for component in ("admission", "controller"):
        assert "--default-access=AllowInScope" in arguments(compatible, component)
        assert "--default-access=Deny" in arguments(hardened, component)
    assert "--keep-unchanged" in arguments(compatible, "admission")
    assert "--no-keep-unchanged" in arguments(hardened, "admission")
    changed = {*arguments(compatible, "admission")} ^ {*arguments(hardened, "admission")}
    assert len(changed) == 4
    assert hardened.kinds() == compatible.kinds()


def test_explicit_value_overrides_the_profile():
    outcome = rendered(yaml.safe_load((CHART / "ci" / "hardened-but-values.yaml").read_text()))

    assert "--default-access=AllowInScope" in arguments(outcome, "controller")
    assert "--keep-unchanged" in arguments(outcome, "admission")
    assert not any(kind == "NetworkPolicy" for kind, _ in outcome.kinds())


def test_network_policies_admit_only_the_api_server_and_the_named_metrics_clients():
    outcome = rendered(yaml.safe_load((CHART / "ci" / "hardened-values.yaml").read_text()))
    admission = outcome.named("NetworkPolicy", "scoped-secrets-admission")["spec"]
    controller = outcome.named("NetworkPolicy", "scoped-secrets-controller")["spec"]

    addresses = [{"ipBlock": {"cidr": "10.0.0.0/28"}}, {"ipBlock": {"cidr": "fd00::/64"}}]
    (asked, scraped) = admission["ingress"]
    assert asked == {"ports": [{"port": "webhook", "protocol": "TCP"}], "from": addresses}
    assert scraped["ports"] == [{"port": "metrics", "protocol": "TCP"}]
    assert controller["ingress"] == [scraped]
    assert admission["egress"][0] == {"ports": [{"port": 6443, "protocol": "TCP"}], "to": addresses}
    assert rendered(HARDENED).named("NetworkPolicy", "scoped-secrets-controller")["spec"]["ingress"] == []


def test_network_policies_without_addresses_open_the_ports_that_are_used_and_no_others():
    outcome = rendered()
    for component, ports in (("admission", ["webhook", "metrics"]), ("controller", ["metrics"])):
        spec = outcome.named("NetworkPolicy", f"scoped-secrets-{component}")["spec"]
        assert spec["policyTypes"] == ["Ingress"]
        assert "egress" not in spec
        assert spec["ingress"] == [{"ports": [{"port": port, "protocol": "TCP"}]} for port in ports]

    silent = rendered({"metrics": {"enabled": False}}).named("NetworkPolicy", "scoped-secrets-controller")["spec"]
    assert silent["ingress"] == []


@pytest.mark.parametrize("kind", ["configMap", "secret"])
def test_client_authority_is_mounted_and_required(kind: str):
    given = {"admission": {"clientCA": {kind: "authority", "key": "clients.pem"}}}
    spec = rendered(given).named("Deployment", "scoped-secrets-admission")["spec"]["template"]["spec"]

    (container,) = spec["containers"]
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "client-ca"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "client-ca"]
    source = volume["configMap" if kind == "configMap" else "secret"]
    assert source.pop("items") == [{"key": "clients.pem", "path": "ca.crt"}]
    assert [*source.values()] == ["authority"]
    assert f"--client-ca-file={mount['mountPath']}/ca.crt" in container["args"]
    assert not any("client-ca" in argument for argument in arguments(rendered(), "admission"))


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({}, {"default"}),
        ({"test": {"namespace": "web"}}, {"web"}),
        ({"webhooks": {"excludedNamespaces": ["default"]}}, set()),
    ],
)
def test_account_of_helm_test_creates_pods_in_one_namespace_at_most(values: dict[str, Any], where: set[str]):
    roles = [one for one in rendered(values).documents if one["kind"] in {"ClusterRole", "Role"}]
    account = [role for role in roles if role["metadata"]["name"] == "scoped-secrets-doctor"]

    creates = {
        role["metadata"].get("namespace", "everywhere")
        for role in account
        for rule in role["rules"]
        if "pods" in rule["resources"] and "create" in rule["verbs"]
    }
    assert len(account) > 1
    assert creates == where


def test_each_certificate_mode_mounts_only_what_the_process_needs():
    self_managed = rendered()
    existing = rendered({"certificates": {"mode": "existingSecret", "existingSecret": {"name": "mine"}}})
    managed = rendered({"certificates": {"mode": "certManager"}})

    assert not any(argument.startswith("--tls") for argument in arguments(self_managed, "admission"))
    for outcome in (existing, managed):
        assert "--tls=/etc/scoped-secrets/tls" in arguments(outcome, "admission")
        assert "--certificates=external" in arguments(outcome, "controller")
    assert "--ca-file=/etc/scoped-secrets/authority/ca.crt" in arguments(existing, "controller")
    assert not any(argument.startswith("--ca-file") for argument in arguments(managed, "controller"))
    volumes = existing.named("Deployment", "scoped-secrets-controller")["spec"]["template"]["spec"]["volumes"]
    # The key of the certificate is not the controller's to know.
    assert [one["secret"]["items"] for one in volumes] == [[{"key": "ca.crt", "path": "ca.crt"}]]


def test_cert_manager_certificate_has_the_service_names_and_injects_the_ca_bundle():
    outcome = rendered({"certificates": {"mode": "certManager"}}, namespace="elsewhere")

    certificate = outcome.named("Certificate", "scoped-secrets-admission")["spec"]
    assert certificate["dnsNames"][0] == "scoped-secrets-admission.elsewhere.svc"
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        metadata = outcome.named(kind, "scoped-secrets")["metadata"]
        assert metadata["annotations"] == {"cert-manager.io/inject-ca-from": "elsewhere/scoped-secrets-admission"}
    secret = certificate["secretName"]
    volumes = outcome.named("Deployment", "scoped-secrets-admission")["spec"]["template"]["spec"]["volumes"]
    assert secret in [volume["secret"]["secretName"] for volume in volumes if "secret" in volume]


def test_each_feature_adds_exactly_its_rules():
    base = rights(rendered())
    webhooks = {
        ("scoped-secrets-controller", f"{kind}webhookconfigurations", "scoped-secrets", verb)
        for kind in ("mutating", "validating")
        for verb in ("get", "patch")
    }
    certificates = {
        ("scoped-secrets-controller", "secrets", "scoped-secrets-certificates", verb) for verb in ("get", "patch")
    }
    existing = {"certificates": {"mode": "existingSecret", "existingSecret": {"name": "mine"}}}

    assert rights(rendered({"valueFrom": {"enabled": True}})) - base == {
        ("scoped-secrets-value-from", "secrets", "", "get")
    }
    assert base - rights(rendered({"certificates": {"mode": "certManager"}})) == webhooks | certificates
    assert base - rights(rendered(existing)) == certificates
    assert base - rights(rendered({"rbac": {"publicKey": False}})) == {
        ("scoped-secrets-public-key", "configmaps", "scoped-secrets-public-key", "get")
    }
    for role in ("view", "edit", "admin"):
        gone = base - rights(rendered({"rbac": {"aggregate": {role: False}}}))
        assert {name for name, *_ in gone} == {f"scoped-secrets-{role}"}
    assert rights(rendered({"rbac": {"create": False}})) == set()


def test_native_secrets_are_read_in_the_named_namespaces_only():
    outcome = rendered({"valueFrom": {"enabled": True, "namespaces": ["web", "api"]}})
    found = [one for one in outcome.documents if one["metadata"]["name"] == "scoped-secrets-value-from"]

    assert {(one["kind"], one["metadata"].get("namespace")) for one in found} == {
        (kind, namespace) for kind in ("Role", "RoleBinding") for namespace in ("web", "api")
    }


@pytest.mark.parametrize("values", CI, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_no_rule_has_a_wildcard_and_admission_cannot_access_secrets(values: Path):
    given = yaml.safe_load(values.read_text())
    outcome = rendered(given)
    found = rights(outcome)

    assert found or given.get("rbac") == {"create": False}
    assert not [right for right in found if "*" in "".join(right)]
    assert not [right for right in found if right[0].endswith("-admission") and right[1] == "secrets"]


def test_user_roles_contain_only_the_custom_resources_and_view_is_read_only():
    found = {right for right in rights(rendered()) if right[0].rsplit("-")[-1] in {"view", "edit", "admin"}}

    assert {resource for _, resource, _, _ in found} == {"scopedsecrets", "secretpolicies"}
    assert {verb for role, _, _, verb in found if role.endswith("view")} == {"get", "list", "watch"}
    assert {resource for role, resource, _, _ in found if role.endswith("edit")} == {"scopedsecrets"}


def test_crds_are_kept_by_default():
    def annotations(values: dict[str, Any]) -> list[Any]:
        found = [one for one in rendered(values).documents if one["kind"] == "CustomResourceDefinition"]
        return [one["metadata"].get("annotations") for one in found]

    assert annotations({}) == [{"helm.sh/resource-policy": "keep"}] * 2
    assert annotations({"crds": {"keep": False}}) == [None] * 2
    assert annotations({"crds": {"install": False}}) == []


def test_monitoring_objects_are_omitted_without_their_crds():
    values = {"metrics": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}}
    kinds = {("ServiceMonitor", "scoped-secrets-metrics"), ("PrometheusRule", "scoped-secrets")}

    assert not kinds & rendered(values).kinds()
    assert kinds <= rendered(values, "--api-versions", MONITORING).kinds()


def test_rules_and_dashboard_are_the_files_of_the_chart():
    values = {"metrics": {"prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}}}
    outcome = rendered(values, "--api-versions", MONITORING)

    rule = outcome.named("PrometheusRule", "scoped-secrets")
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    dashboard = outcome.named("ConfigMap", "scoped-secrets-dashboard")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    (content,) = dashboard["data"].values()
    assert json.loads(content) == json.loads((CHART / "files" / "dashboard.json").read_text())


def test_the_chart_has_the_version_of_the_code():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert chart["appVersion"] == chart["version"] == __version__
    image = rendered().named("Deployment", "scoped-secrets-admission")["spec"]["template"]["spec"]["containers"][0]
    assert image["image"] == f"scoped-secrets:{__version__}"


def test_crd_annotations_of_the_chart_are_correct():
    annotations = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    told = {(one["kind"], one["version"], one["name"]) for one in yaml.safe_load(annotations["artifacthub.io/crds"])}
    definitions = [one for one in rendered().documents if one["kind"] == "CustomResourceDefinition"]

    assert told == {
        (one["spec"]["names"]["kind"], version["name"], one["metadata"]["name"])
        for one in definitions
        for version in one["spec"]["versions"]
    }


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, ["rollout status deployment/scoped-secrets-admission", "helm test scoped-secrets", "is on no registry"]),
        (HARDENED, ["write a policy", "networkPolicy.metrics.from"]),
        ({"certificates": {"mode": "certManager"}}, ["certificate/scoped-secrets-admission"]),
        (
            {"certificates": {"mode": "existingSecret", "existingSecret": {"name": "mine"}}},
            ["The Secret mine must hold", "scoped-secrets-admission.scoped-secrets.svc"],
        ),
        ({"valueFrom": {"enabled": True}}, ["native Secrets of every namespace"]),
        ({"valueFrom": {"enabled": True, "namespaces": ["web"]}}, ["native Secrets of web:"]),
        ({"admission": {"replicas": 1}}, ["WARNING: admission.replicas is 1"]),
        ({"crds": {"keep": False}}, ["WARNING: crds.keep is false"]),
        ({"metrics": {"serviceMonitor": {"enabled": True}}}, ["There is no ServiceMonitor"]),
        ({"settings": {"organization": "acme"}}, ["scopedsecrets.dev/organization=acme"]),
        ({**HARDENED, "controller": HOST}, ["a NetworkPolicy does not hold"]),
    ],
)
def test_notes_state_the_next_step(values: dict[str, Any], told: list[str]):
    default = notes({})
    found = notes(values)

    for text in told:
        assert text in found
        assert values == {} or text not in default


def notes(values: dict[str, Any]) -> str:
    arguments = ("scoped-secrets", str(CHART), "--namespace", "scoped-secrets", "--dry-run=client")
    outcome = helm("install", *arguments, values=values)
    assert outcome.code == 0, outcome.error
    return outcome.output.partition("\nNOTES:\n")[2]


def test_every_value_is_in_the_schema_and_has_a_default():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    assert list(differences(schema, schema, values, "")) == []


def differences(root: dict[str, Any], schema: dict[str, Any], values: Any, path: str) -> Iterator[str]:
    """Yield where the schema's properties and the defaults are not the same keys."""
    schema = root["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    properties = schema.get("properties")
    if properties is None:
        return
    if set(properties) != set(values) and not path.endswith(("rollingUpdate", "strategy")):
        yield f"{path}: {sorted(set(properties) ^ set(values))}"
    for key in set(properties) & set(values):
        yield from differences(root, properties[key], values[key], f"{path}/{key}")


RUNNER = {"kind": "ServiceAccount", "namespace": "ci", "name": "runner"}


def trusting(**issuer: Any) -> dict[str, Any]:
    return {"trustedIssuers": [{"creators": [RUNNER], **issuer}]}


@pytest.mark.parametrize(
    ("values", "read"),
    [
        ({}, set()),
        (trusting(preset="gitlab-runner"), set()),
        (trusting(preset="argo-workflows", claims={"ref": {"label": "ref"}}), {"workflows"}),
        (trusting(preset="tekton-pipelines-as-code"), {"taskruns", "pipelineruns"}),
        (
            trusting(
                preset="tekton-pipelines-as-code",
                owners=[{"apiVersion": "ci.example.com/v1", "kind": "Policy", "resource": "policies"}],
            ),
            {"policies"},
        ),
    ],
)
def test_admission_may_get_exactly_the_owners_that_trusted_issuers_read(values: dict[str, Any], read: set[str]):
    # The pod of a session, and the source of a copy.
    known = {("scoped-secrets-admission", resource, "", "get") for resource in ("pods", "scopedsecrets")}
    known |= {
        ("scoped-secrets-admission", f"validatingadmissionpolic{end}", "scoped-secrets-gate", "get")
        for end in ("ies", "ybindings")
    }

    gets = {right for right in rights(rendered(values)) if right[0] == "scoped-secrets-admission" and right[3] == "get"}

    assert gets == known | {("scoped-secrets-admission", resource, "", "get") for resource in read}


@pytest.mark.parametrize("path", CI, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_the_file_of_trusted_issuers_is_one_that_admission_reads(path: Path):
    values = yaml.safe_load(path.read_text()) or {}
    outcome = rendered(values)
    (text,) = (
        one["data"]["trusted-issuers.yaml"]
        for one in outcome.documents
        if "trusted-issuers.yaml" in one.get("data", {})
    )

    assert len(parse_trusted_issuers(text)) == len(values.get("trustedIssuers", []))


@pytest.mark.parametrize(
    "issuer",
    [
        pytest.param({"preset": "gitlab-runner", "creators": []}, id="no creator"),
        pytest.param({"preset": "gitlab"}, id="unknown preset"),
        pytest.param({"name": "own"}, id="neither preset nor claims"),
        pytest.param({"preset": "job", "claim": {}}, id="unknown field"),
        pytest.param({"preset": "job", "claims": {"ref": {"label": "a", "annotation": "b"}}}, id="two sources"),
        pytest.param({"preset": "job", "claims": {"ref": {"label": "a", "form": "Commit"}}}, id="unknown form"),
    ],
)
def test_trusted_issuers_that_cannot_be_used_are_refused(issuer: dict[str, Any]):
    outcome = render(trusting(**issuer))

    assert outcome.code != 0
    assert SCHEMA in outcome.error
    assert "trustedIssuers" in outcome.error


def test_the_schema_knows_every_preset():
    schema = json.loads((CHART / "values.schema.json").read_text())

    assert schema["$defs"]["trustedIssuer"]["properties"]["preset"]["enum"] == list(PRESETS)
