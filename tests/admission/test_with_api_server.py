"""The admission process with a real API server: what it stores, what it denies, and what stays private."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import ssl
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.admission.support import FINGERPRINT_KEY, KEYS
from tests.cluster.processes import free_port, wait_until
from tests.support.builders import entry_key, pod_body, scope_labels
from tests.support.texts import open_text

from scoped_secrets import names
from scoped_secrets.admission import scopedsecrets
from scoped_secrets.admission.app import run_admission
from scoped_secrets.admission.expected_reviews import find_expected
from scoped_secrets.config import AdmissionSettings, ClusterSettings
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.crypto.certificates import ca_bundle, plan_certificates
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.crypto.sealing import parse_header
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.operations.sealing_plan import PlainEntry, SealingTarget, sealed_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster
    from tests.conftest import NamespaceFactory

    from scoped_secrets.admission.review import Review
    from scoped_secrets.admission.review_context import ReviewContext

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
CANARY = "canary-31c0ffee"
SELECTED = "scopedsecrets.dev/test"
CONFIGURATION_SECONDS = 2.0


class Admission:
    """The process in a thread, with webhook configurations for namespaces that have the test's label."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.token = secrets.token_hex(4)
        self.port, self.probe_port = free_port(), free_port()
        self._state = plan_certificates(None, ["127.0.0.1"], datetime.now(UTC), bundle_published=False)
        self._folder = folder
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.failure: BaseException | None = None

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        settings = AdmissionSettings(
            ClusterSettings(kubeconfig=str(self.cluster.kubeconfig), organization="acme"),
            material=str(self._folder),
            host="127.0.0.1",
            port=self.port,
            probe_host="127.0.0.1",
            probe_port=self.probe_port,
        )
        try:
            await run_admission(settings, self._stop)
        except BaseException as failure:
            self.failure = failure
            raise

    def start(self) -> None:
        self._thread.start()
        wait_until(lambda: self.probe("/healthz")[0] == 200, "the process lives", seconds=SECONDS)

    def write_material(self, fingerprint_keys: bytes = FINGERPRINT_KEY.serialize(), keys: KeyRing = KEYS) -> None:
        """Write one version of the material, and switch to it at once, as the kubelet does."""
        data = {
            names.ADMISSION_CERTIFICATE: self._state.leaf.certificate_pem(),
            names.ADMISSION_PRIVATE_KEY: self._state.leaf.private_key_pem(),
            names.ADMISSION_FINGERPRINT_KEY: fingerprint_keys,
            names.ADMISSION_RECIPIENTS: keys.public().serialize(),
        }
        version = self._folder / f"..{secrets.token_hex(4)}"
        version.mkdir()
        for name, content in data.items():
            (version / name).write_bytes(content)
        following = self._folder / "..following"
        following.symlink_to(version.name)
        following.replace(self._folder / "..data")

    def rotate(self, fingerprint_keys: bytes, keys: KeyRing) -> None:
        """Replace authority, certificate and keys while the process runs, without a gap, as the controller does."""
        before = self._state
        following = plan_certificates(None, ["127.0.0.1"], datetime.now(UTC), bundle_published=False)
        self._state = replace(following, previous=(before.authority.certificate,))
        self.install()
        # The API server takes over a configuration within a moment, and tells nobody.
        time.sleep(CONFIGURATION_SECONDS)
        self.write_material(fingerprint_keys, keys)
        wanted = following.leaf.certificate_pem()
        wait_until(lambda: self.served() == wanted, "the new certificate is served", seconds=SECONDS)

    def served(self) -> bytes:
        """Return the certificate that a new connection is shown."""
        return ssl.get_server_certificate(("127.0.0.1", self.port), timeout=5).encode()

    def probe(self, path: str) -> tuple[int, str]:
        unsealer = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with unsealer.open(f"http://127.0.0.1:{self.probe_port}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def configurations(self) -> list[dict[str, Any]]:
        bundle = base64.b64encode(ca_bundle(self._state)).decode()
        documents = list(yaml.safe_load_all((ROOT / "manifests" / "40-webhooks.yaml").read_text()))
        for document in documents:
            document["metadata"]["name"] = f"scoped-secrets-{self.token}"
            for webhook in document["webhooks"]:
                path = webhook["clientConfig"]["service"]["path"]
                webhook["clientConfig"] = {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": bundle}
                webhook["namespaceSelector"] = {"matchLabels": {SELECTED: self.token}}
        return documents

    def install(self) -> None:
        self.apply({"apiVersion": "v1", "kind": "List", "items": self.configurations()})

    def close(self) -> None:
        for document in self.configurations():
            self.cluster.kubectl("delete", document["kind"], document["metadata"]["name"], "--ignore-not-found")
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()

    def apply(self, body: dict[str, Any], *flags: str, check: bool = True) -> Any:
        return self.cluster.kubectl("apply", *flags, "-f", "-", input=json.dumps(body), check=check)


@pytest.fixture(scope="module")
def admission(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admission]:
    crds = str(ROOT / "crds")
    control_plane.kubectl("apply", "-f", crds)
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", crds)
    process = Admission(control_plane, tmp_path_factory.mktemp("material"))
    try:
        process.start()
        status, problems = process.probe("/readyz")
        assert status == 503
        assert "certificate" in problems
        process.write_material()
        wait_until(lambda: process.probe("/readyz")[0] == 200, "the process is ready", seconds=SECONDS)
        process.install()
        home = f"home-{process.token}"
        control_plane.create_namespace(home, {**scope_labels("acme"), SELECTED: process.token})
        wait_until(lambda: answers(process, home), "the API server asks us", seconds=SECONDS)
        control_plane.delete_namespace(home)
        yield process
    finally:
        process.close()
    assert process.failure is None


def answers(process: Admission, namespace: str) -> bool:
    """Tell whether the API server knows the configurations by now."""
    # The home has no project, and without a value the mutating webhook has nothing to say.
    secret = {
        "apiVersion": names.API_VERSION,
        "kind": names.SCOPED_SECRET_KIND,
        "metadata": {"name": "probe", "namespace": namespace},
        "spec": {"scope": "Project"},
    }
    refused = "ScopeNotAllowed" in process.apply(secret, "--dry-run=server", check=False).stderr
    pod = pod_body("no-such-bundle", namespace=namespace)
    return refused and "NotFound: bundle" in process.apply(pod, "--dry-run=server", check=False).stderr


@pytest.fixture
def web(admission: Admission, namespace: NamespaceFactory) -> str:
    # A project of its own, because definitions of one project share their slots.
    project = f"web-{secrets.token_hex(4)}"
    return namespace("web", labels={**scope_labels("acme", project), SELECTED: admission.token})


def definition(namespace: str, name: str = "aws", **spec: Any) -> dict[str, Any]:
    spec.setdefault("scope", "Project")
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.SCOPED_SECRET_KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def test_the_api_server_asks_a_second_time_about_what_was_expected(admission, web, monkeypatch):
    outcomes = []

    def observed(review: Review, known: ReviewContext) -> Any:
        outcomes.append((review.operation.value, find_expected(review, known)))
        return outcomes[-1][1]

    def expected() -> set[str]:
        return {operation for operation, outcome in outcomes if outcome is not None}

    monkeypatch.setattr(scopedsecrets, "find_expected", observed)
    for attempt in range(5):
        files = [{"path": f"~/{attempt}", "content": CANARY}]
        for value in (CANARY, f"{CANARY}-2"):
            admission.apply(definition(web, f"n{attempt}", env=[{"name": "A", "value": value}], files=files))
        assert [operation for operation, _ in outcomes] == ["CREATE", "UPDATE"] * (attempt + 1)
        # Any change in the cluster forgets what is expected, such as the end of another test's namespace.
        if expected() == {"CREATE", "UPDATE"}:
            break

    assert expected() == {"CREATE", "UPDATE"}


def get(admission: Admission, namespace: str, name: str = "aws") -> dict[str, Any]:
    return admission.cluster.get(names.SCOPED_SECRET_PLURAL, name, "-n", namespace, "--show-managed-fields")


def opens_to(admission: Admission, stored: dict[str, Any], entry: dict[str, Any]) -> bytes:
    metadata = stored["metadata"]
    cluster_id = admission.cluster.get("namespace", "kube-system")["metadata"]["uid"]
    project = admission.cluster.get("namespace", metadata["namespace"])["metadata"]["labels"][names.PROJECT_LABEL]
    slot = Slot("acme", Scope.PROJECT, project, None, metadata["name"])
    kind, name = ("env", entry["name"]) if "name" in entry else ("file", entry.get("path") or f"${entry['env']}")
    context = sealing_context(cluster_id, metadata["namespace"], metadata["name"], slot, entry_key(kind, name))
    return open_text(stored["spec"], entry["sealed"], context, KEYS)


@pytest.mark.parametrize("flags", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_values_are_stored_sealed_and_the_same_manifest_again_changes_nothing(admission, web, flags):
    manifest = definition(
        web,
        env=[
            {"name": "A", "value": CANARY},
            {"name": "EMPTY", "value": ""},
            {"name": "REGION", "value": "eu <&> ü", "sensitive": False},
        ],
        files=[
            {"path": "~/.ssh/id", "content": f"{CANARY}\n"},
            {"path": "/b", "env": "B", "contentBase64": "AAEC/w=="},
            {"env": "KUBECONFIG", "content": CANARY},
            {"env": "PLAIN", "content": "plain", "sensitive": False},
        ],
    )

    admission.apply(manifest, *flags)
    first = get(admission, web)
    admission.apply(manifest, *flags)
    admission.apply(manifest, *flags)
    last = get(admission, web)

    assert last["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert last["metadata"]["generation"] == 1
    assert CANARY not in json.dumps(last)
    assert [opens_to(admission, last, entry) for entry in last["spec"]["env"][:2]] == [CANARY.encode(), b""]
    assert [opens_to(admission, last, entry) for entry in last["spec"]["files"][:3]] == [
        f"{CANARY}\n".encode(),
        b"\0\1\2\xff",
        CANARY.encode(),
    ]
    assert last["spec"]["files"][3] == manifest["spec"]["files"][3]
    assert last["spec"]["env"][2]["value"] == "eu <&> ü"


def mixed(web: str) -> dict[str, Any]:
    """Return a definition with plain text in every form and without any field that has a default."""
    return definition(
        web,
        env=[{"name": "A", "value": CANARY}, {"name": "REGION", "value": "eu", "sensitive": False}],
        files=[{"path": "~/a", "env": "B", "content": CANARY}, {"env": "C", "contentBase64": "AAEC/w=="}],
    )


def offline(admission: Admission, web: str) -> dict[str, Any]:
    """Return what `seal` prints."""
    project = admission.cluster.get("namespace", web)["metadata"]["labels"][names.PROJECT_LABEL]
    cluster_id = admission.cluster.get("namespace", "kube-system")["metadata"]["uid"]
    target = SealingTarget(web, "aws", "acme", project, Scope.PROJECT, None)
    entries = [
        PlainEntry(entry_key("env", "A"), None, SecretValue(CANARY.encode())),
        PlainEntry(entry_key("file", "~/a"), None, SecretValue(CANARY.encode()), env="B"),
        PlainEntry(entry_key("file", "$C"), "0400", SecretValue(CANARY.encode())),
    ]
    return sealed_object(target, {}, entries, SealingCertificate(cluster_id, KEYS.public()))


@pytest.mark.parametrize("flags", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_a_manifest_that_was_sealed_offline_is_stored_as_it_stands_in_git(admission, web, flags):
    manifest = offline(admission, web)
    admission.apply(manifest, *flags)
    first = get(admission, web)

    compared = admission.cluster.kubectl("diff", *flags, "-f", "-", input=json.dumps(manifest), check=False)
    printed = admission.apply(manifest, *flags).stdout

    assert (compared.stdout, compared.returncode) == ("", 0)
    assert printed.split()[-1] == ("serverside-applied" if flags else "unchanged")
    assert get(admission, web) == first
    assert first["spec"] == manifest["spec"]
    assert first["metadata"]["generation"] == 1


@pytest.mark.parametrize("flags", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_admission_adds_no_field_but_sealed_texts(admission, web, flags):
    manifest = mixed(web)

    admission.apply(manifest, *flags)

    spec = get(admission, web)["spec"]
    (data_key,) = spec.pop("dataKeys")
    assert data_key.keys() == {"id", "sealed"}
    for entry in (*spec["env"][:1], *spec["files"]):
        assert entry.pop("sealed").startswith("v2:")
    for entry in (*manifest["spec"]["env"][:1], *manifest["spec"]["files"]):
        for member in ("value", "content", "contentBase64"):
            entry.pop(member, None)
    assert spec == manifest["spec"]


@pytest.mark.parametrize("manager", ["kubectl", "argocd"])
@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "sealed offline"])
def test_server_side_apply_after_client_side_apply_has_no_conflict(admission, web, sealed, manager):
    manifest = offline(admission, web) if sealed else mixed(web)
    admission.apply(manifest)
    first = get(admission, web)

    applied = admission.apply(manifest, "--server-side", f"--field-manager={manager}", check=False)
    second = get(admission, web)
    again = admission.apply(manifest, "--server-side", f"--field-manager={manager}", check=False)

    assert (applied.stderr, applied.returncode) == ("", 0)
    assert again.returncode == 0
    assert second["spec"] == first["spec"]
    assert second["metadata"]["generation"] == 1
    assert get(admission, web) == second
    if not sealed:
        # Plain configuration is stored, and its manager stays.
        assert owned_values(second["metadata"]["managedFields"]) == {'k:{"name":"REGION"}'}


def owned_values(managers: list[dict[str, Any]]) -> set[str]:
    return {
        key
        for manager in managers
        for key, fields in manager["fieldsV1"].get("f:spec", {}).get("f:env", {}).items()
        if "f:value" in fields
    }


def test_after_a_migration_to_server_side_apply_removed_entries_go(admission, web):
    manifest = mixed(web)
    admission.apply(manifest)
    admission.apply(manifest, "--server-side")
    del manifest["spec"]["env"][0]
    del manifest["spec"]["files"]

    admission.apply(manifest, "--server-side")

    spec = get(admission, web)["spec"]
    assert [entry["name"] for entry in spec["env"]] == ["REGION"]
    assert "files" not in spec


@pytest.mark.parametrize("flags", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_only_changed_files_are_sealed_again_and_removed_ones_go(admission, web, flags):
    manifest = mixed(web)
    admission.apply(manifest, *flags)
    first = get(admission, web)["spec"]["files"]
    manifest["spec"]["files"].reverse()
    admission.apply(manifest, *flags)
    turned = get(admission, web)["spec"]["files"]
    manifest["spec"]["files"][0] = {"env": "C", "content": "changed"}
    admission.apply(manifest, *flags)
    changed = get(admission, web)
    del manifest["spec"]["files"]
    admission.apply(manifest, *flags)

    assert turned == first[::-1]
    assert changed["spec"]["files"][1] == first[0]
    assert opens_to(admission, changed, changed["spec"]["files"][0]) == b"changed"
    assert "files" not in get(admission, web)["spec"]


def test_an_update_to_an_expiry_in_the_past_is_stored_with_a_warning(admission, web):
    admission.apply(definition(web, env=[{"name": "A", "value": CANARY}]))

    applied = admission.apply(definition(web, env=[{"name": "A", "value": CANARY}], expireTime="2020-01-01T00:00:00Z"))

    assert "Warning: `spec.expireTime` is not in the future" in applied.stderr
    assert get(admission, web)["spec"]["expireTime"] == "2020-01-01T00:00:00Z"


@pytest.mark.parametrize("flags", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_only_changed_values_are_sealed_again(admission, web, flags):
    manifest = definition(web, env=[{"name": "A", "value": "a"}, {"name": "B", "value": "b"}])
    admission.apply(manifest, *flags)
    first = get(admission, web)
    manifest["spec"]["env"] = [{"name": "A", "value": "a"}, {"name": "B", "value": "changed"}]
    admission.apply(manifest, *flags)
    second = get(admission, web)
    manifest["spec"]["env"] = [{"name": "B", "value": "plain", "sensitive": False}]
    admission.apply(manifest, *flags)
    third = get(admission, web)

    assert second["spec"]["env"][0] == first["spec"]["env"][0]
    assert second["spec"]["env"][1]["sealed"] != first["spec"]["env"][1]["sealed"]
    assert opens_to(admission, second, second["spec"]["env"][1]) == b"changed"
    assert third["spec"]["env"] == [{"name": "B", "value": "plain", "sensitive": False}]


def test_a_replaced_and_a_patched_object_are_sealed_as_well(admission, web):
    manifest = definition(web, env=[{"name": "A", "value": CANARY}])
    admission.cluster.kubectl("create", "-f", "-", input=json.dumps(manifest))
    admission.cluster.kubectl("replace", "-f", "-", input=json.dumps(manifest))
    patch = {"spec": {"env": [{"name": "A", "value": f"{CANARY}-2"}]}}
    kind = f"{names.SCOPED_SECRET_PLURAL}.{names.GROUP}"
    admission.cluster.kubectl("patch", kind, "aws", "-n", web, "--type=merge", "-p", json.dumps(patch))

    stored = get(admission, web)

    assert CANARY not in json.dumps(stored)
    assert opens_to(admission, stored, stored["spec"]["env"][0]) == f"{CANARY}-2".encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scope": "Organization"}, "ScopeNotAllowed"),
        ({"project": "another"}, "ScopeNotAllowed"),
        ({"publish": {"name": "registry"}}, "unknown field"),
        ({"expireTime": "2020-01-01T00:00:00Z"}, "`spec.expireTime` must be in the future"),
        ({"env": [{"name": "A", "value": f"{CANARY}\0"}]}, "NUL"),
        ({"env": [{"name": "LD_PRELOAD", "value": CANARY}]}, "loader"),
        ({"env": [{"name": "A", "value": CANARY, "sealed": "v1:AAAA"}]}, "remove one of the two"),
    ],
)
def test_a_denial_has_a_message_without_the_value(admission, web, change, words):
    result = admission.apply(definition(web, **change), check=False)

    assert result.returncode != 0
    assert words in result.stderr
    assert CANARY not in result.stderr + result.stdout


def test_a_generated_name_is_denied(admission, web):
    body = definition(web, env=[{"name": "A", "value": CANARY}])
    body["metadata"] = {"generateName": "aws-", "namespace": web}

    result = admission.cluster.kubectl("create", "-f", "-", input=json.dumps(body), check=False)

    assert "`metadata.generateName`" in result.stderr


def test_a_second_definition_of_a_slot_is_denied(admission, web):
    admission.apply(definition(web, env=[{"name": "A", "value": "a"}]))

    def refused() -> bool:
        body = definition(web, "other", secretName="aws")
        return f"SlotTaken: '{web}/aws'" in admission.apply(body, "--dry-run=server", check=False).stderr

    wait_until(refused, "the second definition is refused", seconds=SECONDS)


def test_a_pod_gets_references_once_and_no_value(admission: Admission, web: str):
    admission.apply(definition(web, env=[{"name": "A", "value": CANARY}], files=[{"path": "/k", "content": CANARY}]))
    body = pod_body("aws", namespace=web, metadata={"name": None, "generateName": "job-"})

    def created() -> bool:
        flags = ("create", "-f", "-", "-o", "name")
        return admission.cluster.kubectl(*flags, input=json.dumps(body), check=False).returncode == 0

    wait_until(created, "the pod is admitted once its bundle is known", seconds=SECONDS)
    (pod,) = admission.cluster.get("pods", "-n", web)["items"]

    job = pod["spec"]["containers"][0]
    assert [variable["name"] for variable in job["env"]] == ["A"]
    assert job["env"][0]["valueFrom"]["secretKeyRef"]["name"].startswith(names.BUNDLE_PREFIX)
    mounted = [mount["mountPath"] for mount in job["volumeMounts"]]
    assert [path for path in mounted if not path.startswith("/var/run")] == [names.MOUNT_PATH, "/k"]
    assert len([volume for volume in pod["spec"]["volumes"] if volume["name"] == names.VOLUME_NAME]) == 1
    assert f"{web}/aws" in pod["metadata"]["annotations"][names.RESOLUTION_ANNOTATION]
    assert CANARY not in json.dumps(pod)


def test_the_denial_of_a_pod_names_bundle_reason_and_remedy(admission, web):
    result = admission.apply(pod_body("missing", namespace=web), check=False)

    assert "(Forbidden)" in result.stderr
    assert "NotFound: bundle 'missing'" in result.stderr
    assert "create a ScopedSecret" in result.stderr


def test_a_pod_without_the_label_is_not_touched(admission, web):
    body = pod_body("missing", namespace=web, metadata={"name": "plain", "labels": {}})

    admission.apply(body)

    pod = admission.cluster.get("pod", "plain", "-n", web)
    assert names.RESOLUTION_ANNOTATION not in pod["metadata"]["annotations"]
    assert "env" not in pod["spec"]["containers"][0]


def test_no_request_fails_while_certificate_authority_and_keys_are_replaced(admission: Admission, web: str):
    admission.apply(definition(web, name="stored", env=[{"name": "A", "value": CANARY}]))
    pod = pod_body("no-such-bundle", namespace=web)
    plain = definition(web, name="new", secretName="new", env=[{"name": "B", "value": CANARY}])
    answers: list[str] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            answers.append(admission.cluster.refusal(pod))
            answers.append(admission.cluster.refusal(plain))

    asking = [threading.Thread(target=ask) for _ in range(2)]
    newest = PrivateSealingKey.generate(datetime.now(UTC))
    following = FingerprintKey.generate().serialize() + FINGERPRINT_KEY.serialize()
    for thread in asking:
        thread.start()
    try:
        admission.rotate(following, KeyRing((*KEYS.keys, newest)))
        during = len(answers)
        wait_until(lambda: len(answers) > during + 8, "requests with the new certificate", seconds=SECONDS)
    finally:
        ended.set()
        for thread in asking:
            thread.join()
    admission.apply(plain)

    refused = {answer for answer in answers if answer}
    # Each answer about an unknown bundle takes a second, in which admission waits for the bundle.
    assert during > 4
    assert all("NotFound: bundle 'no-such-bundle'" in answer for answer in refused), refused
    assert 0.3 < sum(bool(answer) for answer in answers) / len(answers) < 0.7
    sealed = get(admission, web, "new")["spec"]["dataKeys"][0]["sealed"]
    assert parse_header(sealed).key_id == newest.key_id
