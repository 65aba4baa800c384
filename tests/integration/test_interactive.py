"""Sessions in pods that hold bundles: exec, attach, port-forward and debug, of users with rights of their own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from tests.integration.console import pod, scoped_secret, secret_policy

if TYPE_CHECKING:
    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

DEVELOPER = "dora"
ALL = dict.fromkeys(("exec", "attach", "portForward", "ephemeralContainers"), "Deny")
EVERYBODY = [{"name": "everybody"}]


@dataclass(frozen=True)
class Firm:
    """A project with a guarded bundle, an open one, and pods that hold them."""

    company: Company
    console: Console
    web: str

    @property
    def engine(self) -> str:
        """The service account of an engine that drives its pods by exec."""
        return f"system:serviceaccount:{self.web}:runner"

    def session(self, kind: str, name: str, user: str = DEVELOPER, namespace: str | None = None) -> str:
        """Ask for a session, and return what the person reads; without a node, none of them opens."""
        place = namespace or self.web
        commands = {
            "exec": ("exec", name, "-n", place, "--", "env"),
            "cp": ("cp", "-n", place, f"{name}:/etc/passwd", "/dev/null"),
            "attach": ("attach", name, "-n", place),
            "portForward": ("create", f"--raw=/api/v1/namespaces/{place}/pods/{name}/portforward", "-f", "-"),
            "proxy": ("get", f"--raw=/api/v1/namespaces/{place}/pods/{name}/proxy/"),
            "ephemeralContainers": ("debug", name, "-n", place, "--image=busybox", "--attach=false"),
        }
        groups = ("system:serviceaccounts",) if user.startswith("system:serviceaccount:") else ()
        result = self.console.cluster.kubectl(*commands[kind], input="{}", user=user, groups=groups, check=False)
        return result.stderr


@pytest.fixture(scope="module")
def firm(found: Founder, console: Console, canary: Canary) -> Firm:
    company = found()
    web, home = company.namespace("web", "web"), company.home
    subresources = [f"pods/{name}" for name in ("exec", "attach", "portforward", "proxy", "ephemeralcontainers")]
    role: dict[str, Any] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": f"sessions-{web}"},
    }
    verbs = ["get", "list", "watch", "create", "patch"]
    role["rules"] = [{"apiGroups": [""], "resources": ["pods", *subresources], "verbs": verbs}]
    binding: dict[str, Any] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"sessions-{web}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"sessions-{web}"},
        "subjects": [
            {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": DEVELOPER},
            {"kind": "ServiceAccount", "namespace": web, "name": "runner"},
        ],
    }
    exempt = [{"kind": "ServiceAccount", "namespace": web, "name": "runner"}]
    console.apply(
        role,
        binding,
        scoped_secret(f"{web}/guarded", env={"KEY": canary.value("guarded")}),
        scoped_secret(f"{web}/twice", env={"KEY": canary.value("twice")}),
        scoped_secret(f"{web}/open.bundle", env={"KEY": canary.value("open")}),
        secret_policy(
            f"{web}/sessions", "guarded", effect="Allow", rules=EVERYBODY, interactive={**ALL, "exemptSubjects": exempt}
        ),
        secret_policy(
            f"{web}/exempting", "twice", effect="Allow", rules=EVERYBODY, interactive={**ALL, "exemptSubjects": exempt}
        ),
        secret_policy(f"{home}/strict", "twice", effect="Allow", rules=EVERYBODY, interactive=ALL),
    )
    company.settle(web)
    plain = pod(f"{web}/plain", None)
    del plain["metadata"]["labels"]
    console.create(
        pod(f"{web}/guarded", "guarded"), pod(f"{web}/twice", "twice"), pod(f"{web}/open", "open.bundle"), plain
    )
    return Firm(company, console, web)


def test_session_in_an_absent_pod_is_answered_by_the_api_server_alone(firm: Firm):
    messages = [firm.session(kind, "absent") for kind in SESSIONS]

    assert all('pods "absent" not found' in message for message in messages), messages
    assert not any(names.GROUP in message for message in messages)


SESSIONS = ("exec", "cp", "attach", "portForward", "proxy", "ephemeralContainers")


@pytest.mark.parametrize("kind", SESSIONS)
def test_a_session_in_a_pod_with_the_bundle_is_denied_by_policy_and_bundle(kind: str, firm: Firm):
    message = firm.session(kind, "guarded")

    field = {"cp": "exec", "proxy": "portForward"}.get(kind, kind)
    assert "PolicyDenied" in message
    assert f"denied by policy '{firm.web}/sessions' (`interactive.{field}`)" in message
    assert "the pod holds bundle 'guarded'" in message


@pytest.mark.parametrize("kind", SESSIONS)
@pytest.mark.parametrize("name", ["open", "plain"])
def test_a_session_in_another_pod_is_not_denied(kind: str, name: str, firm: Firm):
    assert "admission webhook" not in firm.session(kind, name)


@pytest.mark.parametrize("kind", SESSIONS)
def test_exempt_engine_opens_sessions_unless_another_policy_denies_them(kind: str, firm: Firm):
    assert "admission webhook" not in firm.session(kind, "guarded", firm.engine)

    message = firm.session(kind, "twice", firm.engine)

    assert f"denied by policy '{firm.company.home}/strict'" in message


def test_labels_and_annotations_of_the_pod_lift_nothing(firm: Firm, operator: InstalledOperator):
    kubectl = firm.console.cluster.kubectl
    firm.console.create(pod(f"{firm.web}/edited", "guarded"))
    removed = (f"{names.RESOLUTION_ANNOTATION}-", f"{names.SECRETS_ANNOTATION}-")
    with operator.guard_off():
        kubectl("label", "pod", "edited", "-n", firm.web, f"{names.INJECT_LABEL}-")
        kubectl("annotate", "pod", "edited", "-n", firm.web, *removed)

    assert "the pod holds bundle 'guarded'" in firm.session("exec", "edited")


def test_deleting_the_definition_lifts_nothing_and_a_changed_policy_applies_at_once(
    company: Company, firm: Firm, console: Console, canary: Canary
):
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("deleted")}))
    company.settle(web)
    console.create(pod(f"{web}/job", "aws"))
    assert "admission webhook" not in firm.session("exec", "job", namespace=web)
    console.apply(secret_policy(f"{web}/late", "aws", effect="Allow", rules=EVERYBODY, interactive={"exec": "Deny"}))
    company.settle(web)

    revoked = firm.session("exec", "job", namespace=web)
    console.cluster.kubectl("delete", "scopedsecret", "aws", "-n", web)
    company.settle(web)
    deleted = firm.session("exec", "job", namespace=web)

    assert f"denied by policy '{web}/late'" in revoked
    assert f"denied by policy '{web}/late'" in deleted
    assert "admission webhook" not in firm.session("attach", "job", namespace=web)


def test_pod_outside_every_scope_path_is_not_reviewed(company: Company, firm: Firm, console: Console):
    outside = company.outside()
    body: dict[str, Any] = pod(f"{outside}/plain", None)
    del body["metadata"]["labels"]
    console.create(body)

    assert "admission webhook" not in firm.session("exec", "plain", namespace=outside)


def test_a_forged_review_of_a_session_shows_no_value(firm: Firm, canary: Canary, operator: Any):
    review = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "PodExecOptions"},
            "subResource": "exec",
            "namespace": firm.web,
            "name": "../secrets",
            "operation": "CONNECT",
            "userInfo": {"username": "nobody"},
            "object": {},
        },
    }

    answer = operator.recorder.post("/validate/interactive", review)

    assert json.loads(answer.body)["response"]["allowed"] is False
    assert not canary.find(answer.path, answer.searchable())
