"""Pods and definitions that try to slip through admission, or to keep it from answering."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from scoped_secrets import names
from scoped_secrets.admission.server import MAX_BODY_BYTES
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, named_secrets, pod, scoped_secret, secret_policy
from tests.support.builders import container

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

# Half of the webhooks' timeout.
PATIENCE: Final = 2.5
FLOOD: Final = 500
FLOODER: Final = "127.0.0.2"
# DESIGN section 9.
IDLE_PER_ADDRESS: Final = 384


@pytest.fixture(scope="module")
def firm(found: Founder, console: Console, canary: Canary) -> tuple[Company, str]:
    """An organization whose project has a bundle, and the project's namespace."""
    company = found()
    web = company.namespace("web", "web")
    console.apply(scoped_secret(f"{web}/aws", env={"KEY": canary.value("evasions")}))
    company.settle(web)
    return company, web


@pytest.fixture(autouse=True)
def running(operator: InstalledOperator) -> None:
    """The operator runs in each test."""


# The pod


def test_no_kind_of_container_is_skipped(firm: tuple[Company, str], console: Console, canary: Canary):
    _, web = firm
    init = [container("init"), container("sidecar", restartPolicy="Always")]
    console.create(pod(f"{web}/kinds", "aws", initContainers=init, containers=[container("one"), container("two")]))

    views = console.delivered(web, "kinds")["kinds"]

    assert {name: view.visible for name, view in views.items()} == {
        name: {"KEY": canary.value("evasions")} for name in ("init", "sidecar", "one", "two")
    }


@pytest.mark.parametrize(
    ("volume", "path", "words"),
    [
        ({"name": names.VOLUME_NAME, "emptyDir": {}}, "/x", "ReservedName: volume 'scoped-secrets' is reserved"),
        ({"name": "own", "emptyDir": {}}, names.MOUNT_PATH, "PathConflict: container 'job' mounts a volume at "),
        ({"name": "own", "emptyDir": {}}, f"{names.MOUNT_PATH}/", "PathConflict: container 'job' mounts a volume at "),
        ({"name": "own", "configMap": {"name": "own"}}, "/run", f"so that {names.MOUNT_PATH}, where"),
        ({"name": "own", "configMap": {"name": "own"}}, "/", f"so that {names.MOUNT_PATH}, where"),
    ],
    ids=["name", "path", "slash", "read-only parent", "read-only root"],
)
def test_a_pod_that_takes_the_place_of_its_secrets_is_denied(
    volume: dict[str, Any], path: str, words: str, firm: tuple[Company, str], console: Console
):
    _, web = firm
    job = container(volumeMounts=[{"name": volume["name"], "mountPath": path}])

    message = console.refusal(pod(f"{web}/squatter", "aws", volumes=[volume], containers=[job]))

    assert words in message


def test_annotations_that_say_that_a_pod_is_injected_change_nothing(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    _, web = firm
    body = pod(f"{web}/liar", "aws")
    body["metadata"]["annotations"] |= {
        names.RESOLUTION_ANNOTATION: '{"bundles":[]}',
        names.CLAIMS_ANNOTATION: '{"creator":"system:admin"}',
    }

    console.create(body)

    assert console.seen(web, "liar").visible == {"KEY": canary.value("evasions")}
    annotations = console.cluster.get("pod", "liar", "-n", web)["metadata"]["annotations"]
    assert json.loads(annotations[names.RESOLUTION_ANNOTATION])["bundles"][0]["name"] == "aws"


def test_a_dry_run_of_a_pod_has_no_effect(firm: tuple[Company, str], console: Console):
    _, web = firm
    body = json.dumps(pod(f"{web}/dry", "aws"))
    command = ("create", "--dry-run=server", "-o", "json", "-f", "-")
    printed = json.loads(console.cluster.kubectl(*command, input=body).stdout)
    (bundle,) = named_secrets(printed)

    # What was to follow has followed when a later pod has its bundle.
    console.create(pod(f"{web}/after-dry", "aws"))
    console.seen(web, "after-dry")

    assert not console.exists("pod", web, "dry")
    assert not console.exists("secret", web, bundle)


@pytest.fixture
def rival(console: Console, firm: tuple[Company, str]) -> Iterator[None]:
    """A policy of another product that turns containers round and removes the mounts of ours, once it sees them."""
    _, web = firm
    name = "rival.example.com"
    sees = "object.spec.containers.exists(c, has(c.volumeMounts) && c.volumeMounts.exists(m, m.name == 'VOLUME'))"
    change = "JSONPatch{op: 'move', from: '/spec/containers/1', path: '/spec/containers/0'}"
    for index in (0, 1):
        change += f", JSONPatch{{op: 'remove', path: '/spec/containers/{index}/volumeMounts'}}"
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                ],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": web}},
            },
            "reinvocationPolicy": "IfNeeded",
            "mutations": [
                {
                    "patchType": "JSONPatch",
                    "jsonPatch": {"expression": f"{sees.replace('VOLUME', names.VOLUME_NAME)} ? [{change}] : []"},
                }
            ],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name},
    }
    console.apply(policy, binding)
    yield
    console.cluster.kubectl("delete", "mutatingadmissionpolicybinding,mutatingadmissionpolicy", name)


def test_a_pod_that_another_product_changes_after_injection_is_injected_again_exactly_once(
    rival: None, firm: tuple[Company, str], console: Console, canary: Canary
):
    _, web = firm
    number = iter(range(1000))

    def is_reversed() -> bool:
        name = f"contested-{next(number)}"
        console.create(pod(f"{web}/{name}", "aws", containers=[container("one"), container("two")]))
        stored = console.cluster.get("pod", name, "-n", web)
        if [each["name"] for each in stored["spec"]["containers"]] != ["two", "one"]:
            return False
        for each in stored["spec"]["containers"]:
            mounts = [mount["mountPath"] for mount in each["volumeMounts"] if mount["name"] == names.VOLUME_NAME]
            assert mounts == [names.MOUNT_PATH]
            assert [variable["name"] for variable in each["env"]] == ["KEY"]
        assert [volume["name"] for volume in stored["spec"]["volumes"]].count(names.VOLUME_NAME) == 1
        views = console.delivered(web, name)[name]
        assert {view.visible["KEY"] for view in views.values()} == {canary.value("evasions")}
        return True

    # The API server applies a new policy a moment later.
    wait_until(is_reversed, "the other product changes pods", seconds=SECONDS)


def test_pods_of_the_operators_own_namespace_start_while_it_is_down(console: Console, operator: InstalledOperator):
    assert operator.admission is not None
    context = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    restricted = container(securityContext={**context, "seccompProfile": {"type": "RuntimeDefault"}})
    body = pod(f"{names.DEFAULT_NAMESPACE}/scoped-secrets-admission-0", containers=[restricted])
    console.cluster.kubectl("create", "serviceaccount", "default", "-n", names.DEFAULT_NAMESPACE, check=False)
    operator.admission.program.kill()

    refusal = console.cluster.refusal(body)
    operator.start()

    assert refusal == ""


# Definitions and limits


@pytest.mark.parametrize("path", ["/../etc/passwd", "/etc/../../passwd", "../../root/.ssh/authorized_keys"])
def test_a_path_above_the_root_is_denied(path: str, firm: tuple[Company, str], console: Console):
    _, web = firm
    body = scoped_secret(f"{web}/escape", files={path: {"content": "not a secret", "sensitive": False}})
    result = console.cluster.kubectl("apply", "-f", "-", input=json.dumps(body), check=False)
    if result.returncode == 0:
        # What depends on the home is known only with the job.
        wait_until(lambda: console.is_refused(pod(f"{web}/escape", "escape")), "the refusal", seconds=SECONDS)
        result = console.cluster.kubectl("create", "-f", "-", input=json.dumps(pod(f"{web}/e", "escape")), check=False)

    assert "leads above the root directory" in result.stderr


def test_a_job_above_six_mebibytes_is_denied_and_the_others_stay(
    firm: tuple[Company, str], console: Console, canary: Canary
):
    company, web = firm
    console.create(pod(f"{web}/before", "aws"))
    before = console.seen(web, "before")
    large = [f"large-{number}" for number in range(8)]
    file = {"content": "x" * 440_000, "sensitive": False}
    for name in large:
        # Too large for the annotation of client-side apply.
        console.create(scoped_secret(f"{web}/{name}", files={f"/data/{name}-{half}": file for half in (1, 2)}))
    company.settle(web)

    message = console.refusal(pod(f"{web}/too-large", ", ".join(["aws", *large])))

    assert "LimitExceeded" in message
    assert console.seen(web, "before") == before
    console.cluster.kubectl("delete", "ssec", *large, "-n", web)


def test_a_pattern_that_is_slow_for_a_backtracking_matcher_is_not_slow(company: Company, console: Console):
    web = company.namespace("web", "web")
    name, bomb = "a" * 60, f"{'a*' * 25}b"
    plain = {"KEY": {"value": "not a secret", "sensitive": False}}
    console.apply(scoped_secret(f"{web}/{name}", env=plain), secret_policy(f"{web}/bomb", bomb, effect="Deny"))
    company.settle(web)
    body = json.dumps(pod(f"{web}/job", name))

    began = time.monotonic()
    console.cluster.kubectl("create", "-f", "-", input=body)

    assert time.monotonic() - began < PATIENCE


@pytest.mark.parametrize(
    "body",
    [b"[" * 1_000_000, b'{"a":' * 300_000, b'{"apiVersion": 1' + b"0" * 100_000 + b"}", b'{"kind": "' + b"\xff" * 100],
    ids=["lists", "objects", "number", "bytes"],
)
def test_a_json_bomb_is_a_bad_request(body: bytes, firm: tuple[Company, str], console: Console, operator: Any):
    _, web = firm

    answer = operator.recorder.relay("/mutate/pods", body, {"Content-Type": "application/json"})

    assert (answer.status, answer.body) == (400, b"the body is not an AdmissionReview of version v1\n")
    assert console.cluster.refusal(pod(f"{web}/alive", "aws")) == ""


# The port


def test_pods_are_created_while_others_flood_the_port(
    firm: tuple[Company, str], console: Console, operator: InstalledOperator
):
    _, web = firm
    large = b"x" * (MAX_BODY_BYTES + 1)
    with contextlib.ExitStack() as stack:
        flood = [stack.enter_context(connect(operator.admission_port)) for _ in range(FLOOD)]
        seconds = []
        for _ in range(5):
            began = time.monotonic()
            assert console.cluster.refusal(pod(f"{web}/flooded", "aws")) == ""
            seconds.append(time.monotonic() - began)
        with contextlib.suppress(OSError):
            answer = operator.recorder.relay("/mutate/pods", large, {"Content-Type": "application/json"})
            assert answer.status == 413

        open_ones = sum(is_open(each) for each in flood)

    assert max(seconds) < PATIENCE
    assert open_ones <= IDLE_PER_ADDRESS


def connect(port: int) -> socket.socket:
    """Open a connection from another address, and send nothing."""
    return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(FLOODER, 0))


def is_open(connection: socket.socket) -> bool:
    """Tell whether the server has not closed a connection."""
    connection.settimeout(0)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
