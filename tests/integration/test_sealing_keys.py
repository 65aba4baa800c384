"""Rotation, resealing, loss, retirement and restoration of keys, with the installed operator and its roles."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from scoped_secrets.api.value_fingerprints import value_fingerprint
from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.crypto import sealed_texts
from scoped_secrets.crypto.data_keys import EntryHeader
from scoped_secrets.crypto.fingerprints import FingerprintKey, fingerprint
from scoped_secrets.crypto.sealing import parse_header
from scoped_secrets.crypto.values import SecretValue
from tests.cluster.control_plane import ControlPlane, open_cluster
from tests.cluster.processes import wait_until
from tests.conftest import ENVIRONMENT
from tests.integration.console import SECONDS, Console, named_secrets, pod, scoped_secret
from tests.support.running import RunningOperator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.company import Company
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

HERE = ("-n", names.DEFAULT_NAMESPACE)


class Keys:
    """A person's command line, and what it changes."""

    def __init__(self, operator: InstalledOperator, console: Console, namespace: str) -> None:
        self.namespace = namespace
        self.operator = operator
        self.console = console
        self.environment = RunningOperator.environment(operator.cluster)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "scoped_secrets", *arguments]

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a verb and return what it printed, standard error behind standard output."""
        result = subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == code, result.stdout + result.stderr
        return result.stdout if code == 0 else result.stdout + result.stderr

    def listed(self) -> list[dict[str, Any]]:
        return list(json.loads(self.run("keys", "-o", "json"))["keys"])

    def active(self) -> str:
        return str(next(key["keyId"] for key in self.listed() if key["active"]))

    def rotate(self) -> str:
        """Have a new key made, wait until values are sealed for it, and return its id."""
        before = self.active()
        self.run("keys", "rotate")
        wait_until(lambda: self.active() != before, "there is a new key", seconds=SECONDS)
        after = self.active()
        wait_until(lambda: (self.probe() or ("",))[0] == after, "admission seals for the new key", seconds=SECONDS)
        return after

    def probe(self) -> tuple[str, str] | None:
        """Return the ids of the sealing key and the fingerprint key that a value would be sealed with now."""
        self.operator.mount_material()
        with_value = scoped_secret(f"{self.namespace}/probe", env={"PROBE": "probe"})
        flags = ("apply", "--dry-run=server", "-o", "json", "-f", "-")
        result = self.operator.cluster.kubectl(*flags, input=json.dumps(with_value), check=False)
        if result.returncode != 0:
            return None
        header = texts(json.loads(result.stdout))["PROBE"]
        keys = self.fingerprint_keys()
        place, value = (self.namespace, "probe", "env", "PROBE"), SecretValue(b"probe")
        (maker,) = (
            key for key in keys if fingerprint(key, *place, value, header.fingerprint.salt) == header.fingerprint
        )
        return header.key_id, maker.digest(b"id").hex()

    def fingerprint_keys(self) -> list[FingerprintKey]:
        """Return the fingerprint keys, the present one first."""
        secret = self.operator.cluster.get("secret", names.FINGERPRINT_KEY_SECRET, *HERE)
        return list(FingerprintKey.parse_all(base64.b64decode(secret["data"][names.ADMISSION_FINGERPRINT_KEY])))

    def secret(self, key_id: str) -> dict[str, Any]:
        """Return the Secret of a key as a backup has it."""
        selector = f"{names.KEY_ID_LABEL}={key_id}"
        (secret,) = self.console.items("secrets", names.DEFAULT_NAMESPACE, "-l", selector).values()
        return restorable(secret)


def restorable(body: dict[str, Any]) -> dict[str, Any]:
    """Return an object without what belongs to the one place where it stood."""
    for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"):
        body["metadata"].pop(field, None)
    body.pop("status", None)
    return body


@dataclass(frozen=True)
class Text:
    """A sealed text, what its header says, and the sealing key that it needs, by way of its data key."""

    sealed: str
    key_id: str
    fingerprint: Any


def texts(definition: dict[str, Any], entries: str = "env", named_by: str = "name") -> dict[str, Text]:
    """Return the sealed texts of a definition."""
    spec = definition["spec"]
    keys = {each["id"]: parse_header(each["sealed"]).key_id for each in spec.get("dataKeys", ())}
    found = {}
    for entry in spec[entries]:
        header = sealed_texts.parse_header(entry["sealed"])
        key_id = keys[header.data_key_id] if isinstance(header, EntryHeader) else header.key_id
        found[entry[named_by]] = Text(entry["sealed"], key_id, header.fingerprint)
    return found


@pytest.fixture
def web(company: Company) -> str:
    return company.namespace("web", "web")


@pytest.fixture
def keys(operator: InstalledOperator, console: Console, web: str) -> Iterator[Keys]:
    yield Keys(operator, console, web)
    operator.start()
    operator.mount_material()


def seen(console: Console, web: str, name: str, secrets: str) -> Any:
    """Create a pod, and return the variables that its container would see."""
    console.create(pod(f"{web}/{name}", secrets))
    return console.seen(web, name)


def definition(console: Console, web: str, name: str) -> dict[str, Any]:
    return dict(console.cluster.get("ssec", name, "-n", web))


def test_new_key_seals_new_values_and_the_old_one_still_unseals(
    keys: Keys, console: Console, company: Company, web: str, canary: Canary
):
    old = keys.active()
    value, other = canary.value("old key"), canary.value("new key")
    console.apply(scoped_secret(f"{web}/before", env={"A": value}))

    new = keys.rotate()
    console.apply(scoped_secret(f"{web}/after", env={"A": other}))
    console.apply(scoped_secret(f"{web}/before", env={"A": value}))
    company.settle(web)

    assert texts(definition(console, web, "before"))["A"].key_id == old
    assert texts(definition(console, web, "after"))["A"].key_id == new
    assert seen(console, web, "one", "before").env["A"] == value
    assert seen(console, web, "two", "after").env["A"] == other
    wait_until(
        lambda: (
            [definition(console, web, name).get("status", {}).get("keyId") for name in ("before", "after")]
            == [old, new]
        ),
        "the statuses name the keys",
        seconds=SECONDS,
    )


def test_interrupted_reseal_resumes_and_then_the_key_can_be_retired(
    keys: Keys, console: Console, company: Company, web: str, canary: Canary
):
    old = keys.active()
    value = canary.value("resealed")
    manifests = [scoped_secret(f"{web}/many-{number:02}", env={"A": value}) for number in range(50)]
    console.apply(*manifests)
    before = {name: texts(body)["A"].sealed for name, body in console.items("ssec", web).items()}
    new = keys.rotate()

    refusal = keys.run("keys", "retire", old, code=1)
    assert f"'{web}/many-00'" in refusal
    assert "more; run `scoped-secrets reseal" in refusal
    planned = json.loads(keys.run("reseal", "-n", web, "--dry-run", "-o", "json"))["definitions"]
    assert {row["result"] for row in planned} == {"WouldReseal"}
    assert len(planned) == 50

    # The controller is away, so that nothing is done when the command is interrupted.
    keys.operator.stop_controllers()
    command = keys.command("reseal", "-n", web)
    with subprocess.Popen(command, env=keys.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asked:
        wait_until(lambda: requests(console, web) > 0, "the first definitions are asked for", seconds=SECONDS)
        os.kill(asked.pid, signal.SIGKILL)
        asked.wait()
    keys.operator.start()

    report = json.loads(keys.run("reseal", "-n", web, "-o", "json"))["definitions"]
    assert {row["result"] for row in report} <= {"Resealed"}
    bodies = console.items("ssec", web)
    after = {name: texts(body)["A"] for name, body in bodies.items() if name.startswith("many-")}
    assert {header.key_id for header in after.values()} == {new}
    # A new sealing key takes nothing but the data keys: the values stay as they are.
    assert {name: text.sealed for name, text in after.items()} == before
    assert requests(console, web) == 0
    # The same manifests again are no change, although somebody else wrote the sealed texts.
    console.apply(*manifests)
    again = console.items("ssec", web)
    assert {name: again[name]["spec"] for name in after} == {name: bodies[name]["spec"] for name in after}
    assert {again[name]["metadata"]["generation"] for name in after} == {2}
    company.settle(web)
    assert seen(console, web, "job", "many-31").env["A"] == value

    keys.run("reseal", "-A")
    keys.run("keys", "retire", old)
    assert old not in {key["keyId"] for key in keys.listed()}
    assert f"{new} is the active key" in keys.run("keys", "retire", new, code=1)
    assert seen(console, web, "later", "many-32").env["A"] == value


def test_reseal_for_new_fingerprints_is_pending_while_the_controller_is_away(
    keys: Keys, console: Console, company: Company, web: str, canary: Canary
):
    console.apply(scoped_secret(f"{web}/aws", env={"A": canary.value("pending reseal")}))
    company.settle(web)
    keys.operator.stop_controllers()

    shown = keys.run("reseal", "-n", web, "--fingerprints", "-o", "json", "--timeout", "1", code=1)
    report, _ = json.JSONDecoder().raw_decode(shown)

    assert [(row["name"], row["result"]) for row in report["definitions"]] == [(f"{web}/aws", "Pending")]
    assert "1 of 1 definitions are not resealed" in shown


def requests(console: Console, web: str) -> int:
    bodies = console.items("ssec", web).values()
    return sum(names.RESEAL_ANNOTATION in body["metadata"].get("annotations", {}) for body in bodies)


def test_lost_key_denies_only_the_jobs_that_need_it_until_it_is_restored(
    keys: Keys, console: Console, company: Company, web: str, canary: Canary
):
    value = canary.value("lost")
    console.apply(scoped_secret(f"{web}/needy", env={"A": value}))
    old = keys.active()
    keys.rotate()
    safe = canary.value("safe")
    console.apply(scoped_secret(f"{web}/safe", env={"B": safe}))
    company.settle(web)
    saved = keys.secret(old)

    console.cluster.kubectl("delete", "secret", *HERE, "-l", f"{names.KEY_ID_LABEL}={old}")
    console.cluster.kubectl("wait", "ssec/needy", "-n", web, "--for=condition=Ready=False", "--timeout=30s")
    ready = console.conditions(definition(console, web, "needy"))["Ready"]
    assert ready["reason"] == names.Reason.KEY_LOST
    assert "restore its Secret from the backup" in ready["message"]
    assert definition(console, web, "needy")["status"]["keyId"] == old
    assert next(key for key in keys.listed() if key["keyId"] == old)["lost"]
    needy = pod(f"{web}/needy", "needy")
    wait_until(lambda: console.is_refused(needy, names.Reason.NOT_READY), "the job is refused", seconds=SECONDS)
    assert seen(console, web, "safe", "safe").env["B"] == safe
    printed = keys.run("reseal", "-n", web, "-o", "json", code=1)
    failed = json.JSONDecoder().raw_decode(printed)[0]
    assert [(row["name"], row["result"]) for row in failed["definitions"]] == [(f"{web}/needy", "Failed")]
    assert names.Reason.KEY_LOST in failed["definitions"][0]["message"]

    console.create(saved)
    console.cluster.kubectl("wait", "ssec/needy", "-n", web, "--for=condition=Ready=True", "--timeout=30s")
    wait_until(lambda: not console.is_refused(needy), "the job is admitted", seconds=SECONDS)
    assert seen(console, web, "needy", "needy").env["A"] == value


def test_a_file_with_other_characters_than_ascii_in_its_path_is_resealed(
    keys: Keys, console: Console, web: str, canary: Canary
):
    files = {"/data/caf\u00e9": canary.value("composed"), "/data/cafe\u0301": canary.value("decomposed")}
    console.apply(scoped_secret(f"{web}/forms", files=files))
    new = keys.rotate()

    report = json.loads(keys.run("reseal", "-n", web, "-o", "json"))["definitions"]

    assert {row["result"] for row in report} == {"Resealed"}
    found = texts(definition(console, web, "forms"), "files", "path")
    assert [*found] == [*files]
    assert {text.key_id for text in found.values()} == {new}


def test_values_that_are_sealed_alone_reach_jobs_and_come_under_a_data_key_when_they_are_resealed(
    keys: Keys, console: Console, company: Company, web: str, canary: Canary
):
    value, other = canary.value("alone"), canary.value("under a data key")
    console.apply(scoped_secret(f"{web}/mixed", env={"OTHER": other}))
    alone = offline_entry(keys, web, company.organization, value)
    console.cluster.kubectl("patch", "ssec", "mixed", "-n", web, "--type=json", f"-p={json.dumps([alone])}")
    company.settle(web)
    before = texts(definition(console, web, "mixed"))
    assert before["A"].sealed.startswith("v1:")
    assert seen(console, web, "before", "mixed").env["A"] == value

    report = json.loads(keys.run("reseal", "-n", web, "-o", "json"))["definitions"]
    console.wait_current(web, "mixed")
    company.settle(web)

    assert [row["result"] for row in report] == ["Resealed"]
    resealed = definition(console, web, "mixed")
    after = texts(resealed)
    assert after["A"].sealed.startswith("v2:")
    assert after["OTHER"] == before["OTHER"]
    assert len(resealed["spec"]["dataKeys"]) == 2
    view = seen(console, web, "after", "mixed")
    assert (view.env["A"], view.env["OTHER"]) == (value, other)
    assert json.loads(keys.run("reseal", "-n", web, "-o", "json"))["definitions"] == []
    # The text from Git again: it takes the place of the resealed one, whose data key goes.
    test = {"op": "replace", "path": "/spec/env/1/sealed", "value": alone["value"]["sealed"]}
    console.cluster.kubectl("patch", "ssec", "mixed", "-n", web, "--type=json", f"-p={json.dumps([test])}")
    assert len(definition(console, web, "mixed")["spec"]["dataKeys"]) == 1
    company.settle(web)
    assert seen(console, web, "again", "mixed").env["A"] == value


def offline_entry(keys: Keys, web: str, organization: str, value: str) -> dict[str, Any]:
    """Return the operation that adds variable A, sealed alone by the command line."""
    arguments = ("--namespace", web, "--name", "mixed", "--scope", "Project", "--organization", organization)
    command = keys.command("seal", *arguments, "--env-from-file", "A=-", "--entry", "-o", "json")
    printed = subprocess.run(command, env=keys.environment, input=value, capture_output=True, text=True, check=True)
    return {"op": "add", "path": "/spec/env/-", "value": json.loads(printed.stdout)}


def test_a_new_fingerprint_key_reseals_once_and_leaves_waiting_pods_their_bundles(
    keys: Keys, console: Console, company: Company, web: str, canary: Canary
):
    value = canary.value("fingerprint")
    manifest = scoped_secret(f"{web}/marked", env={"A": value})
    console.apply(manifest)
    company.settle(web)
    before = definition(console, web, "marked")["spec"]
    keys.operator.stop_controllers()
    console.create(pod(f"{web}/waiting", "marked"))
    assert named_secrets(console.items("pods", web)["waiting"])
    keys.run("keys", "rotate-fingerprint")
    keys.operator.start()

    assert console.seen(web, "waiting").env["A"] == value

    def is_sealed_anew() -> bool:
        keys.operator.mount_material()
        console.apply(manifest)
        return bool(definition(console, web, "marked")["spec"] != before)

    wait_until(is_sealed_anew, "the manifest is sealed with a new fingerprint", seconds=SECONDS)
    console.wait_current(web, "marked")
    once = definition(console, web, "marked")
    console.apply(manifest)
    assert definition(console, web, "marked")["metadata"]["resourceVersion"] == once["metadata"]["resourceVersion"]
    company.settle(web)
    assert seen(console, web, "next", "marked").env["A"] == value


def test_fingerprint_key_rotation_keeps_comparison_and_reseal_renews_fingerprints(
    keys: Keys, console: Console, web: str, canary: Canary, tmp_path: Path
):
    value = canary.value("verified")
    manifest = scoped_secret(f"{web}/verified", env={"A": value})
    console.apply(manifest)
    console.wait_current(web, "verified")
    before = definition(console, web, "verified")
    (right, wrong) = (tmp_path / "right", tmp_path / "wrong")
    right.write_text(value)
    wrong.write_text(canary.value("a guess"))
    verify = ("verify", "verified", "A", "-n", web, "--from-file")
    probe = keys.probe()
    assert probe is not None
    keys.run("keys", "rotate-fingerprint")
    wait_until(lambda: keys.probe() not in {None, probe}, "admission has the new fingerprint key", seconds=SECONDS)

    answers = keys.run(*verify, str(right)), keys.run(*verify, str(wrong), code=1)
    compared = console.cluster.kubectl("diff", "-f", "-", input=json.dumps(manifest), check=False)
    untouched = definition(console, web, "verified")
    resealed = keys.run("reseal", "-n", web, "--fingerprints", "-o", "json")
    console.wait_current(web, "verified")
    after = definition(console, web, "verified")
    console.apply(manifest)
    again = definition(console, web, "verified")

    assert answers == ("equal\n", "different\n")
    assert (compared.returncode, compared.stdout) == (0, "")
    assert untouched == before
    assert {row["name"]: row["result"] for row in json.loads(resealed)["definitions"]} == {
        f"{web}/verified": "Resealed"
    }
    assert texts(after)["A"].key_id == texts(before)["A"].key_id
    assert texts(after)["A"].fingerprint != texts(before)["A"].fingerprint
    # The same manifest changes nothing about the values, which are as old as they were. Once, the API server notes that
    # kubectl and not the controller wrote last.
    assert {**again, "metadata": None} == {**after, "metadata": None}
    assert again["metadata"]["generation"] == after["metadata"]["generation"]
    console.apply(manifest)
    assert definition(console, web, "verified") == again
    (told,), (was_told,) = after["status"]["entries"], before["status"]["entries"]
    assert told["fingerprint"] == texts(after)["A"].fingerprint.short() != was_told["fingerprint"]
    assert told["changedTime"] == was_told["changedTime"]
    assert (keys.run(*verify, str(right)), keys.run(*verify, str(wrong), code=1)) == ("equal\n", "different\n")


def test_reseal_renews_the_fingerprint_of_a_value_that_a_persons_process_sealed(
    keys: Keys, console: Console, web: str, canary: Canary, tmp_path: Path
):
    (right, wrong) = (tmp_path / "right", tmp_path / "wrong")
    right.write_text(canary.value("created"))
    wrong.write_text(canary.value("a guess"))
    keys.run("create", "created", "-e", f"A=@{right}", "-n", web)
    wait_until(lambda: bool(recorded(console, web, "created")), "a fingerprint is recorded", seconds=SECONDS)
    before = definition(console, web, "created")
    probe = keys.probe()
    assert probe is not None
    keys.run("keys", "rotate-fingerprint")
    wait_until(lambda: keys.probe() not in {None, probe}, "admission has the new fingerprint key", seconds=SECONDS)
    untouched = definition(console, web, "created")
    was_of_present_key = is_of_present_key(keys, untouched, right)

    keys.run("reseal", "-n", web, "--fingerprints")
    after = definition(console, web, "created")

    assert untouched["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert not was_of_present_key
    assert is_of_present_key(keys, after, right)
    assert not is_of_present_key(keys, after, wrong)
    assert after["spec"] == before["spec"]
    (told,), (was_told,) = after["status"]["entries"], before["status"]["entries"]
    assert {**told, "recordedFingerprint": None} == {**was_told, "recordedFingerprint": None}
    verify = ("verify", "created", "A", "-n", web, "--from-file")
    assert (keys.run(*verify, str(right)), keys.run(*verify, str(wrong), code=1)) == ("equal\n", "different\n")


def recorded(console: Console, web: str, name: str) -> list[str]:
    """Return the fingerprints that the controller recorded."""
    entries = definition(console, web, name).get("status", {}).get("entries", ())
    return [entry["recordedFingerprint"] for entry in entries if "recordedFingerprint" in entry]


def is_of_present_key(keys: Keys, body: dict[str, Any], file: Path) -> bool:
    """Tell whether the recorded fingerprint of the variable A is that of a file's content, under the present key."""
    (entry,) = body["spec"]["env"]
    found = value_fingerprint(body, EntryKey(EntryKind.ENV, "A"), entry["sealed"])
    assert found is not None
    place = (body["metadata"]["namespace"], body["metadata"]["name"], "env", "A")
    return fingerprint(keys.fingerprint_keys()[0], *place, SecretValue(file.read_bytes()), found.salt) == found


@pytest.mark.parametrize(
    "verb",
    [
        ("keys",),
        ("keys", "rotate"),
        ("keys", "rotate-fingerprint"),
        ("keys", "retire", "any"),
        ("reseal", "-A", "--fingerprints"),
        ("public-key", "--operator-namespace", "default"),
    ],
    ids=" ".join,
)
def test_verbs_about_keys_act_as_the_user_of_their_flags(keys: Keys, verb: tuple[str, ...]):
    denied = keys.run(*verb, "--as", "jane", "--as-group", "visitors", code=1)
    missing = keys.run(*verb, "--context", "missing", code=2)

    assert denied.count("\n") == 1
    assert "your role does not allow" in denied or "you may not read the ConfigMap" in denied
    assert "check its contexts" in missing


def test_the_flags_of_a_verb_of_keys_come_before_those_of_keys(keys: Keys):
    assert "your role does not allow" in keys.run("keys", "--as", "system:admin", "rotate", "--as", "jane", code=1)
    assert "your role does not allow" in keys.run("keys", "--as", "jane", "rotate", code=1)


def test_keys_from_a_backup_open_all_values_when_the_operators_own_state_is_gone(
    keys: Keys, console: Console, company: Company, web: str, canary: Canary
):
    value = canary.value("restored")
    console.apply(scoped_secret(f"{web}/kept", env={"A": value}))
    company.settle(web)
    saved = backup(console)
    keys.operator.stop()
    # The API server goes on calling the test's own relay, which shows the certificate that it began with.
    kept = f"metadata.name!={names.CERTIFICATE_SECRET}"
    console.cluster.kubectl("delete", "secret", *HERE, f"--field-selector={kept}")
    console.cluster.kubectl("delete", "lease", "--all", *HERE)

    console.cluster.kubectl("create", "-f", "-", input=saved)
    keys.operator.start()
    company.settle(web)

    assert seen(console, web, "job", "kept").env["A"] == value
    assert console.conditions(definition(console, web, "kept"))["Ready"]["status"] == "True"


def test_a_new_cluster_with_the_same_keys_and_definitions_gives_jobs_the_same_values(
    keys: Keys, console: Console, company: Company, web: str, canary: Canary, tmp_path: Path
):
    value = canary.value("moved")
    console.apply(scoped_secret(f"{web}/moved", env={"A": value}))
    company.settle(web)
    saved = backup(console)
    moved = restorable(definition(console, web, "moved"))
    labels = console.cluster.get("namespace", web)["metadata"]["labels"]
    with open_cluster(ENVIRONMENT) as cluster:
        assert isinstance(cluster, ControlPlane)
        there = Console(cluster)
        cluster.create_namespace(names.DEFAULT_NAMESPACE)
        cluster.create_namespace(web, {key: text for key, text in labels.items() if key.startswith(names.GROUP)})
        cluster.kubectl("create", "-f", "-", input=saved)
        with RunningOperator.start(cluster, tmp_path / "new-cluster.log"):
            # Its sealed text names the cluster in which it was made: admission knows that identity from the keys.
            there.create(moved)
            wait_until(lambda: not there.is_refused(pod(f"{web}/job", "moved")), "known", seconds=SECONDS)
            there.create(pod(f"{web}/job", "moved"))
            assert there.seen(web, "job").env["A"] == value
            assert texts(definition(there, web, "moved")) == texts(moved)


def backup(console: Console) -> str:
    """Return what the documented command writes: all sealing keys, and the fingerprint key."""
    saved = console.cluster.kubectl("get", "secret", *HERE, "-l", names.COMPONENT_LABEL, "-o", "yaml").stdout
    assert names.FINGERPRINT_KEY_SECRET in saved
    return saved
