"""Sealing on a person's machine for a real cluster, and testing values that are stored there."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scoped_secrets import names
from scoped_secrets.crypto.sealed_texts import parse_header
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from tests.cli.terminal import Terminal
from tests.cluster.processes import wait_until
from tests.integration.console import SECONDS, pod, scoped_secret

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.audit_log import AuditLog
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration


def run(*arguments: str, kubeconfig: Path | None = None, stdin: str = "") -> CompletedProcess[str]:
    """Run our program as a person does, where there is no terminal; nothing but the kubeconfig leads to a cluster."""
    program = [sys.executable, "-m", "scoped_secrets", *arguments]
    if kubeconfig is not None:
        program += ["--kubeconfig", str(kubeconfig)]
    return subprocess.run(
        program, input=stdin, capture_output=True, text=True, check=False, start_new_session=True, timeout=60
    )


def done(*arguments: str, **given: Any) -> str:
    """Run our program, which must succeed, and return what it printed."""
    result = run(*arguments, **given)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def firm(found: Founder) -> Company:
    """An organization with the namespace of a project, `...-web`, and one of its production, `...-production`."""
    company = found()
    company.namespace("web", "web")
    company.namespace("production", "web", "production")
    return company


@pytest.fixture(scope="module")
def alice(firm: Company) -> Path:
    """A person who may read and update definitions in the project's namespaces, and nothing else."""
    return person(firm, "alice", "get", "update")


@pytest.fixture(scope="module")
def certificate(console: Console, alice: Path, firm: Company, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The cluster's sealing certificate as a file, fetched with a person's credentials."""
    path = tmp_path_factory.mktemp("certificate") / "sealing.crt"
    get = ("get", "configmap", names.CERTIFICATE_CONFIG_MAP, "-n", names.DEFAULT_NAMESPACE, "--ignore-not-found")
    wait_until(lambda: bool(console.cluster.kubectl(*get).stdout), "the certificate is published", seconds=SECONDS)
    done("public-key", "-o", str(path), kubeconfig=alice)
    return str(path)


def person(company: Company, name: str, *verbs: str) -> Path:
    """Let a person use verbs on the definitions of a company, and return their kubeconfig."""
    kubectl = company.console.cluster.kubectl
    user = f"{name}-{company.organization}"
    for namespace in company.namespaces:
        resource = f"{names.SCOPED_SECRET_PLURAL}.{names.GROUP}"
        kubectl("create", "role", user, "-n", namespace, f"--verb={','.join(verbs)}", f"--resource={resource}")
        kubectl("create", "rolebinding", user, "-n", namespace, f"--role={user}", f"--user={user}")
    return company.console.cluster.kubeconfig_for(user)


def place(company: Company, suffix: str, name: str, scope: str) -> tuple[str, ...]:
    """Return the flags of `seal` for an object in a namespace of the project."""
    namespace = f"{company.organization}-{suffix}"
    flags = ("--namespace", namespace, "--name", name, "--organization", company.organization, "--project", "web")
    environment = ("--environment", "production") if scope == "Environment" else ()
    return (*flags, "--scope", scope, *environment)


def test_a_value_sealed_without_any_cluster_arrives_in_the_job(
    firm: Company, console: Console, canary: Canary, certificate: str, tmp_path: Path
):
    web = f"{firm.organization}-production"
    key = tmp_path / "key"
    key.write_text(canary.awkward("offline file"))
    flags = (
        "--env-from-file",
        "TOKEN=-",
        "--file",
        f"/data/key={key}",
        "--secret-name",
        "deploy",
        "--cert",
        certificate,
    )

    printed = done("seal", *place(firm, "production", "offline", "Environment"), *flags, stdin=canary.value("offline"))
    console.apply(yaml.safe_load(printed))
    console.wait_condition(web, "offline", "Ready", "True")
    firm.settle(web)
    console.create(pod(f"{web}/offline", "deploy"))

    assert not canary.find("the file for Git", printed)
    view = console.seen(web, "offline")
    assert view.visible == {"TOKEN": canary.value("offline")}
    assert view.files["/data/key"] == canary.awkward("offline file")


@pytest.mark.parametrize("flags", [(), ("--server-side",)])
def test_applying_the_file_again_is_no_change(
    flags: tuple[str, ...], firm: Company, console: Console, canary: Canary, certificate: str
):
    web, name = f"{firm.organization}-web", f"again{''.join(flags)}"
    printed = done(
        "seal", *place(firm, "web", name, "Project"), "--env-from-file", "A=-", "--cert", certificate, "-o", "yaml",
        stdin=canary.value(name),
    )  # fmt: skip
    body = yaml.safe_load(printed)
    console.apply(body, flags=flags)
    console.wait_condition(web, name, "Ready", "True")
    before = console.cluster.get("ssec", name, "-n", web)

    said = console.apply(body, flags=flags)

    assert said.split()[-1] == ("serverside-applied" if flags else "unchanged")
    assert console.cluster.get("ssec", name, "-n", web) == before
    # What a comparison of Git with the cluster looks at.
    assert before["spec"] == body["spec"]
    assert before["metadata"]["generation"] == 1


def test_without_a_file_the_certificate_and_the_labels_come_from_the_cluster(
    firm: Company, console: Console, canary: Canary, certificate: str
):
    web = f"{firm.organization}-web"
    flags = ("--namespace", web, "--name", "online", "--scope", "Project", "--env-from-file", "A=-")

    printed = done("seal", *flags, kubeconfig=console.cluster.kubeconfig, stdin=canary.value("online"))

    body = yaml.safe_load(printed)
    assert body["spec"]["project"] == "web"
    console.apply(body)
    console.wait_condition(web, "online", "Ready", "True")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param((), "--organization must be given: the namespace has no label", id="not readable"),
        pytest.param(("--organization", "rival"), "", id="not readable but given"),
    ],
)
def test_user_without_namespace_access_passes_the_scope_by_flags(
    flags: tuple[str, ...], words: str, firm: Company, alice: Path, certificate: str
):
    web = f"{firm.organization}-web"
    given = ("--namespace", web, "--name", "x", "--scope", "Project", "--project", "web", "--env-from-file", "A=-")

    result = run("seal", *given, *flags, kubeconfig=alice, stdin="x")

    assert (result.returncode, words in result.stderr) == (2 if words else 0, True)


def test_flags_that_contradict_the_labels_are_refused_before_anything_is_sealed(
    firm: Company, console: Console, certificate: str
):
    web = f"{firm.organization}-web"
    given = ("--namespace", web, "--name", "x", "--scope", "Project", "--env-from-file", "A=-")
    for flags in (("--organization", "rival"), ("--project", "api")):
        result = run("seal", *given, *flags, kubeconfig=console.cluster.kubeconfig, stdin="x")

        assert (result.returncode, result.stdout) == (2, "")
        assert f"Error: {flags[0]} must be '" in result.stderr


COPIES: dict[str, Any] = {
    "another name": lambda body: body["metadata"].update(name="copy"),
    "another namespace": lambda body: body["metadata"].update(
        namespace=body["metadata"]["namespace"].replace("-web", "-home")
    ),
    "another variable": lambda body: body["spec"]["env"][0].update(name="B"),
    "a file": lambda body: body["spec"].update(files=[{"path": "A", "sealed": body["spec"].pop("env")[0]["sealed"]}]),
    "another scope": lambda body: body["spec"].update(scope="Environment", environment="staging"),
}


@pytest.mark.parametrize("where", COPIES)
def test_a_copy_to_another_place_is_refused_when_it_is_applied(
    where: str, firm: Company, console: Console, canary: Canary, certificate: str
):
    flags = (*place(firm, "web", "original", "Project"), "--env-from-file", "A=-", "--cert", certificate)
    body = yaml.safe_load(done("seal", *flags, stdin=canary.value("original")))
    COPIES[where](body)

    message = console.refusal(body)

    assert names.Reason.SEALED_FOR_ANOTHER in message
    assert "seal the value again for this one" in message


def test_a_text_for_another_cluster_or_another_key_is_refused_when_it_is_applied(
    firm: Company, console: Console, canary: Canary, certificate: str, tmp_path: Path
):
    with open(certificate, "rb") as file:  # noqa: PTH123 - a flag of the program, which is text.
        ours = SealingCertificate.parse(file.read())
    foreign = tmp_path / "foreign"
    foreign.write_bytes(SealingCertificate("another-cluster", ours.recipients).serialize())
    flags = (*place(firm, "web", "foreign", "Project"), "--env-from-file", "A=-", "--cert", str(foreign))
    body = yaml.safe_load(done("seal", *flags, stdin=canary.value("foreign")))

    assert names.Reason.SEALED_FOR_ANOTHER in console.refusal(body)


def test_the_admission_server_publishes_the_same_certificate(operator: InstalledOperator, certificate: str):
    # What is asked here is whether the texts are equal; who it is was asked where the certificates are tested.
    context = ssl._create_unverified_context()  # noqa: S323 - see above.
    unsealer = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    url = f"https://127.0.0.1:{operator.admission_port}{names.CERTIFICATE_PATH}"

    def is_same() -> bool:
        with unsealer.open(url, timeout=5) as response, open(certificate, "rb") as file:  # noqa: PTH123 - as above.
            return bool(response.read() == file.read())

    wait_until(is_same, "both publish the same certificate", seconds=SECONDS)


def test_authenticated_users_may_read_only_the_certificate(console: Console, certificate: str):
    kubectl = console.cluster.kubectl
    mine = ("-n", names.DEFAULT_NAMESPACE)

    assert kubectl("get", "configmap", names.CERTIFICATE_CONFIG_MAP, *mine, user="someone", check=False).returncode == 0
    for command in (
        ("get", "configmaps", *mine),
        ("get", "configmap", "kube-root-ca.crt", *mine),
        ("delete", "configmap", names.CERTIFICATE_CONFIG_MAP, *mine),
        ("get", "secrets", *mine),
    ):
        assert "forbidden" in kubectl(*command, user="someone", check=False).stderr


@pytest.fixture(scope="module")
def tested(firm: Company, console: Console, canary: Canary) -> str:
    """Return the namespace of a definition, `tested`, with values to be tested."""
    web = f"{firm.organization}-web"
    env: dict[str, str | dict[str, Any]] = {
        "TOKEN": canary.value("tested"),
        "REGION": {"value": "eu-west-1", "sensitive": False},
    }
    files = {"/data/file": canary.awkward("tested"), "$KUBECONFIG": canary.value("tested variable")}
    console.apply(scoped_secret(f"{web}/tested", env=env, files=files))
    return web


def test_status_names_a_file_without_a_path_by_its_variable(tested: str, console: Console):
    console.wait_condition(tested, "tested", "Ready", "True")

    entries = console.cluster.get("ssec", "tested", "-n", tested)["status"]["entries"]

    assert [(entry["kind"], entry["name"]) for entry in entries] == [
        ("Env", "TOKEN"),
        ("File", "/data/file"),
        ("File", "$KUBECONFIG"),
    ]


def verify(kubeconfig: Path, namespace: str, *arguments: str, value: str) -> CompletedProcess[str]:
    flags = ("-n", namespace, "--from-file", "-")
    return run("verify", "tested", *arguments, *flags, kubeconfig=kubeconfig, stdin=value)


def test_verify_distinguishes_equal_and_different_values(tested: str, alice: Path, console: Console, canary: Canary):
    before = console.cluster.get("ssec", "tested", "-n", tested)
    file = ("--file", "/data/file")

    results = [
        verify(alice, tested, "TOKEN", value=canary.value("tested")),
        verify(alice, tested, "TOKEN", value=f"{canary.value('tested')}\n"),
        verify(alice, tested, *file, value=canary.awkward("tested")),
        verify(alice, tested, "--file", "$KUBECONFIG", value=canary.value("tested variable")),
        verify(alice, tested, "TOKEN", value=canary.value("a guess")),
        verify(alice, tested, "TOKEN", value=""),
        verify(alice, tested, *file, value=f"{canary.awkward('tested')}\n"),
        verify(alice, tested, "--file", "$KUBECONFIG", value=canary.value("a guess")),
    ]

    assert [(result.returncode, result.stdout) for result in results] == [(0, "equal\n")] * 4 + [(1, "different\n")] * 4
    assert [result.stderr for result in results] == [""] * 8
    assert console.cluster.get("ssec", "tested", "-n", tested) == before


def test_verify_says_when_the_limit_on_guesses_keeps_it_from_comparing(
    firm: Company, alice: Path, console: Console, canary: Canary
):
    web = f"{firm.organization}-web"
    console.apply(scoped_secret(f"{web}/guessed", env={"TOKEN": canary.value("guessed")}))
    for number in range(10):
        guess = json.dumps(scoped_secret(f"{web}/guessed", env={"TOKEN": canary.value(f"wrong {number}")}))
        console.cluster.kubectl("apply", "--dry-run=server", "-f", "-", input=guess)

    flags = ("guessed", "TOKEN", "-n", web, "--from-file", "-")
    results = [run("verify", *flags, kubeconfig=alice, stdin=canary.value(what)) for what in ("guessed", "wrong 10")]

    assert [(result.returncode, result.stdout) for result in results] == [(2, "")] * 2
    assert results[0].stderr == results[1].stderr
    assert "variable 'TOKEN' was not compared with the stored value" in results[0].stderr


def test_prompted_value_is_not_visible(tested: str, alice: Path, canary: Canary, audit: AuditLog, firm: Company):
    since = audit.mark()
    with Terminal("verify", "tested", "TOKEN", "-n", tested, "--kubeconfig", str(alice)) as terminal:
        terminal.wait_for("Value for variable 'TOKEN': ")
        visible = terminal.arguments()
        terminal.answer("", canary.value("tested"))
        code, printed = terminal.end()

    assert (code, printed) == (0, "equal\n")
    assert not canary.find("arguments and variables", visible)
    assert not canary.find("the screen", terminal.shown)
    calls = [(call.verb, call.status) for call in audit.calls(f"alice-{firm.organization}", since)]
    assert calls == [("get", 200), ("get", 200), ("update", 200), ("create", 201), ("update", 200)]


def test_ctrl_c_at_the_prompt_ends_verifying_without_a_traceback(tested: str, alice: Path):
    with Terminal("verify", "tested", "TOKEN", "-n", tested, "--kubeconfig", str(alice)) as terminal:
        terminal.wait_for("Value for variable 'TOKEN': ")
        terminal.interrupt()
        code, printed = terminal.end()

    assert (code, printed) == (128 + signal.SIGINT, "")
    assert b"Traceback" not in terminal.shown


def test_user_without_update_access_learns_nothing_and_is_not_prompted(tested: str, firm: Company, canary: Canary):
    reader = person(firm, "reader", "get")
    results = [verify(reader, tested, "TOKEN", value=canary.value(label)) for label in ("tested", "a guess")]

    assert [(result.returncode, result.stdout) for result in results] == [(2, "")] * 2
    assert results[0].stderr == results[1].stderr
    assert "you may not update ScopedSecret" in results[0].stderr
    with Terminal("verify", "tested", "TOKEN", "-n", tested, "--kubeconfig", str(reader)) as terminal:
        code, _ = terminal.end()
    assert (code, b"Value for" in terminal.shown) == (2, False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("REGION",), "is not sealed here"),
        (("NONE",), "has no variable 'NONE'"),
        (("--file", "TOKEN"), "has no file 'TOKEN'"),
    ],
)
def test_verify_reports_entries_that_it_cannot_compare(
    arguments: tuple[str, ...], words: str, tested: str, alice: Path
):
    result = verify(alice, tested, *arguments, value="x")

    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr


def test_a_value_sealed_offline_can_be_verified_once_the_controller_has_opened_it(
    firm: Company,
    alice: Path,
    console: Console,
    canary: Canary,
    certificate: str,
    installed: InstalledOperator,
):
    flags = (*place(firm, "web", "untold", "Project"), "--env-from-file", "A=-", "--cert", certificate, "-o", "json")
    body = json.loads(done("seal", *flags, stdin=canary.value("untold")))
    namespace = body["metadata"]["namespace"]

    def verified(value: str) -> CompletedProcess[str]:
        flags = ("verify", "untold", "A", "-n", namespace, "--from-file", "-")
        return run(*flags, kubeconfig=alice, stdin=canary.value(value))

    installed.stop_controllers()
    try:
        console.apply(body)
        early = verified("untold")
    finally:
        installed.start_controller()
    console.wait_current(namespace, "untold")
    firm.settle(namespace)
    same, other = verified("untold"), verified("another")

    assert parse_header(body["spec"]["env"][0]["sealed"]).fingerprint is None
    assert (early.returncode, early.stdout) == (2, "")
    assert "sealed offline and the controller has recorded no fingerprint of it; wait until" in early.stderr
    assert (same.returncode, same.stdout, same.stderr) == (0, "equal\n", "")
    assert (other.returncode, other.stdout, other.stderr) == (1, "different\n", "")
    stored = console.cluster.get("ssec", "untold", "-n", namespace)
    assert stored["spec"] == body["spec"] | stored["spec"]
    assert not canary.find("the status", json.dumps(stored["status"]))
