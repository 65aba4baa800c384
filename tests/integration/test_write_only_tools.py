"""What people see of values in kubectl's editor, comparisons, dry runs and explanations."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scoped_secrets import names
from tests.integration.console import document, pod, scoped_secret

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.audit_log import AuditLog
    from tests.support.canary import Canary

pytestmark = pytest.mark.integration

KINDS_OF_APPLY = pytest.mark.parametrize("flags", [(), ("--server-side",)], ids=["client-side", "server-side"])
# The editor keeps what it was shown, and writes a value in the place of one sealed text.
EDITOR = """#!{python}
import pathlib, sys, yaml
file = pathlib.Path(sys.argv[1])
pathlib.Path({seen!r}).write_text(file.read_text())
body = yaml.safe_load(file.read_text())
entry = body["spec"]["env"][0]
if {replaces!r}:
    del entry["sealed"]
entry.update({fields!r})
file.write_text(yaml.safe_dump(body))
"""


@pytest.fixture(scope="module")
def firm(found: Founder) -> tuple[Company, str]:
    """An organization and the namespace of its project."""
    company = found()
    return company, company.namespace("web", "web")


@pytest.mark.parametrize("flags", [("apply",), ("create",), ("apply", "--server-side")], ids=" ".join)
@pytest.mark.parametrize("replaces", [True, False], ids=["instead of the sealed text", "beside the sealed text"])
def test_an_editor_shows_no_value_and_a_value_typed_there_is_sealed(
    flags: tuple[str, ...], replaces: bool, firm: tuple[Company, str], console: Console, canary: Canary, tmp_path: Path
):
    company, web = firm
    name = f"edit-{'-'.join(flags).replace('--', '')}-{'instead' if replaces else 'beside'}"
    env = {"KEY": canary.value(f"{name} before"), "OTHER": canary.awkward(f"{name} other")}
    console.write(*flags, bodies=[scoped_secret(f"{web}/{name}", env=env)])
    before = stored(console, web, name)["spec"]["env"]

    result, seen = edit(console, web, name, tmp_path, {"value": canary.value(f"{name} typed")}, replaces=replaces)

    assert result.returncode == 0, f"{result.stderr}\n{seen}"
    assert "sealed: v2:" in seen
    assert not canary.find("the editor", seen)
    assert not canary.find_in_objects([console.cluster.get("ssec", name, "-n", web, "--show-managed-fields")])
    after = stored(console, web, name)["spec"]["env"]
    assert after[0].keys() == before[0].keys()
    assert after[0]["sealed"] != before[0]["sealed"]
    assert after[1] == before[1]
    company.settle(web)
    console.create(pod(f"{web}/{name}", name))
    assert console.seen(web, name).visible == {**env, "KEY": canary.value(f"{name} typed")}


def test_an_editor_cannot_make_a_sealed_value_readable(
    firm: tuple[Company, str], console: Console, canary: Canary, tmp_path: Path
):
    _, web = firm
    console.apply(scoped_secret(f"{web}/edit-plain", env={"KEY": canary.value("edit plain")}))
    before = stored(console, web, "edit-plain")

    result, seen_again = edit(console, web, "edit-plain", tmp_path, {"sensitive": False}, replaces=False)

    assert result.returncode != 0
    # Of an edit that is refused, kubectl shows the reason in the editor.
    assert "must be true with `sealed` and `valueFrom`" in seen_again
    assert not canary.find("kubectl edit", result.stdout + result.stderr + seen_again)
    assert stored(console, web, "edit-plain")["spec"] == before["spec"]


@KINDS_OF_APPLY
def test_a_comparison_shows_only_what_really_changed_and_as_ciphertext(
    flags: tuple[str, ...], firm: tuple[Company, str], console: Console, canary: Canary
):
    _, web = firm
    name = "diff-server-side" if flags else "diff-client-side"
    env: dict[str, Any] = {"KEY": canary.value(f"{name} key"), "OTHER": canary.awkward(f"{name} other")}
    env["REGION"] = {"value": "eu-west-1", "sensitive": False}
    files = {"/data/file": canary.awkward(f"{name} file")}
    same = scoped_secret(f"{web}/{name}", env=env, files=files)
    console.apply(same, flags=flags)
    console.wait_condition(web, name, "Ready", "True")

    unchanged = diff(console, same, flags)
    changed = {**env, "KEY": canary.value(f"{name} changed"), "REGION": {"value": "eu-north-1", "sensitive": False}}
    result = diff(console, scoped_secret(f"{web}/{name}", env=changed, files=files), flags)

    assert (unchanged.returncode, unchanged.stdout) == (0, "")
    assert result.returncode == 1
    removed, added = (re.findall(rf"^\{sign} +(.*)$", result.stdout, re.MULTILINE) for sign in "-+")
    for lines, region, data_key in ((removed, "eu-west-1", []), (added, "eu-north-1", ["id", "sealed"])):
        # The values of one entry as ciphertext, of plain configuration as they are, the data key, and the generation.
        kinds = sorted(line.split(":")[0].removeprefix("- ") for line in lines if "kubectl" not in line)
        assert kinds == sorted(["generation", "sealed", "value", *data_key])
        assert f"value: {region}" in lines
    assert not canary.find("kubectl diff", result.stdout + result.stderr)


@KINDS_OF_APPLY
def test_a_comparison_of_a_new_definition_shows_ciphertext(
    flags: tuple[str, ...], firm: tuple[Company, str], console: Console, canary: Canary
):
    _, web = firm
    body = scoped_secret(f"{web}/diff-new", env={"KEY": canary.value("diff new")})

    result = diff(console, body, flags)

    assert result.returncode == 1
    assert "+    sealed: v2:" in result.stdout
    assert not canary.find("kubectl diff", result.stdout + result.stderr)
    assert not console.exists("ssec", web, "diff-new")


@pytest.mark.parametrize(
    ("command", "dry_run"),
    # kubectl itself refuses a dry run of a server-side apply on the client.
    [(command, where) for command in ("apply", "create", "replace") for where in ("client", "server")]
    + [("apply --server-side", "server")],
)
def test_dry_run_stores_nothing_and_returns_ciphertext(
    command: str, dry_run: str, firm: tuple[Company, str], console: Console, canary: Canary, audit: AuditLog
):
    _, web = firm
    name = f"dry-{command.replace(' --', '-')}-{dry_run}"
    is_update = command != "create"
    if is_update:
        first = scoped_secret(f"{web}/{name}", env={"KEY": canary.value(f"{name} stored")})
        console.apply(first, flags=("--server-side",) if "server" in command else ())
        console.wait_condition(web, name, "Ready", "True")
    before = stored(console, web, name) if is_update else None
    body = scoped_secret(f"{web}/{name}", env={"KEY": canary.value(f"{name} tried")})
    words = (*command.split(), f"--dry-run={dry_run}", "-o", "yaml")

    since = audit.mark()
    printed = console.write(*words, bodies=[body])

    if dry_run == "server":
        assert "sealed: v2:" in printed
        assert not canary.find("kubectl", printed)
    assert (stored(console, web, name) if is_update else None) == before
    assert console.exists("ssec", web, name) == is_update
    if dry_run == "client":
        # What it prints is the person's own input: the value went nowhere.
        sent = [call.verb for call in audit.calls("", since) if call.resource == names.SCOPED_SECRET_PLURAL]
        assert not {"create", "update", "patch"} & set(sent)


def test_plain_configuration_is_readable_in_every_way(firm: tuple[Company, str], console: Console):
    _, web = firm
    env = {"REGION": {"value": "eu-west-1", "sensitive": False}}
    files = {"/etc/app.conf": {"content": "color = green\n", "sensitive": False}}
    console.apply(scoped_secret(f"{web}/readable", env=env, files=files))

    kubectl = console.cluster.kubectl
    views = [
        kubectl("get", "ssec", "readable", "-n", web, "-o", "yaml").stdout,
        kubectl("describe", "ssec", "readable", "-n", web).stdout,
        kubectl(
            "get", "ssec", "readable", "-n", web, "-o", "jsonpath={.spec.env[0].value} {.spec.files[0].content}"
        ).stdout,
        diff(console, scoped_secret(f"{web}/readable", env=env), ()).stdout,
    ]

    assert all("eu-west-1" in view for view in views[:3])
    assert all("color = green" in view for view in views)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("env.sensitive", "With false, `value` is stored as it is and everyone who can read this object can read it"),
        ("files.sensitive", "With false it is stored as it is and everyone who can read this object can read it"),
        ("env.value", "no one can read it back, unless `sensitive` is false"),
    ],
)
def test_kubectl_explains_what_is_readable(field: str, words: str, console: Console):
    printed = console.cluster.kubectl("explain", f"ssec.spec.{field}").stdout

    assert words in " ".join(printed.split())


def stored(console: Console, namespace: str, name: str) -> dict[str, Any]:
    """Return a ScopedSecret as it is stored."""
    return console.cluster.get("ssec", name, "-n", namespace)


def diff(console: Console, body: dict[str, Any], flags: tuple[str, ...]) -> CompletedProcess[str]:
    """Compare a manifest with what is stored."""
    return console.cluster.kubectl("diff", *flags, "-f", "-", input=document([body]), check=False)


def edit(
    console: Console, namespace: str, name: str, folder: Path, fields: dict[str, Any], *, replaces: bool
) -> tuple[CompletedProcess[str], str]:
    """Change the first variable with ``kubectl edit``, and return what it came to and what the editor saw last."""
    script, seen = folder / "editor", folder / "seen.yaml"
    text = EDITOR.format(python=sys.executable, seen=str(seen), replaces=replaces, fields=fields)
    script.write_text(text)
    script.chmod(0o700)
    # What kubectl leaves behind when the API server refuses is the person's own file.
    environment = {"KUBE_EDITOR": str(script), "TMPDIR": str(folder)}
    result = console.cluster.kubectl("edit", "ssec", name, "-n", namespace, check=False, environment=environment)
    assert yaml.safe_load(seen.read_text())["metadata"]["name"] == name
    return result, seen.read_text()
