"""The verbs that manage secrets, as processes against the real API server: as a developer, an administrator, a viewer.

Numbers in docstrings are those of the complaints about CI systems that a verb answers.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scoped_secrets import names
from scoped_secrets.crypto.sealed_texts import parse_header
from tests.cli.terminal import Terminal
from tests.integration.console import SECONDS, pod, secret_policy
from tests.integration.people import done, kubeconfig, person, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.company import Company
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----"


@pytest.fixture(scope="module")
def firm(firm: Company) -> Company:
    """The organization, with the namespaces of the project's production and of another project."""
    firm.namespace("production", "web", "production")
    firm.namespace("swift", "swift")
    return firm


def test_create_prints_what_it_shadows_what_shadows_it_and_who_may_use_it(
    firm: Company, administrator: Path, web: str, console: Console, canary: Canary, tmp_path: Path
):
    """Complaints 1, 5 and 24: who wins, in which direction, and who may use it."""
    value = tmp_path / "value"
    value.write_text(canary.value("shadow"))
    source = f"KEY=@{value}"
    organization = ("--organization", firm.organization)
    wide = done("create", "shadow", "-e", source, *organization, kubeconfig=administrator)
    narrow = ("create", "shadow", "-e", source, "-p", "web", "--environment", "production", *organization)
    assert f"Shadows: {firm.home}/shadow" in done(*narrow, kubeconfig=administrator)
    console.apply(secret_policy(f"{firm.home}/shadow", "shadow", rules=[{"name": "main", "refs": ["refs/heads/main"]}]))

    middle = done("create", "shadow", "-e", source, "-p", "web", *organization, kubeconfig=administrator)

    assert f"ScopedSecret '{firm.home}/shadow' created: scope Organization" in wide
    assert "unless the operator's default access is Deny" in wide
    assert f"ScopedSecret '{web}/shadow' created: scope Project" in middle
    assert f"Shadows: {firm.home}/shadow" in middle
    assert f"Shadowed by: {firm.organization}-production/shadow" in middle
    assert f"policy '{firm.home}/shadow', rule 'main' allows jobs of project 'web' with refs refs/heads/main" in middle


def test_developer_who_may_read_one_namespace_only_creates_and_a_job_gets_it(
    web: str, developer: Path, console: Console, canary: Canary, tmp_path: Path
):
    """Complaints 12 and 13: files arrive byte for byte, with their mode."""
    key, lines = tmp_path / "key", tmp_path / "env"
    content = canary.value("key") + "\n"
    key.write_text(content)
    lines.write_text(f"# comment\nexport A='{canary.value('a')}'\nB=\"{canary.value('b')}\" # note\n")
    flags = ("-p", "web", "--env-file", str(lines), "-e", "C=@-", "-f", f"{key}:/data/key:0400")

    printed = done("create", "deploy", *flags, kubeconfig=developer, stdin=canary.value("c"))
    assert f"ScopedSecret '{web}/deploy' created: scope Project" in printed
    assert "Not read, because your role does not allow it: the labels of other namespaces" in printed

    console.wait_current(web, "deploy")
    console.create(pod(f"{web}/deploy", "deploy"))
    seen = console.seen(web, "deploy")
    assert {name: seen.env[name] for name in "ABC"} == {name: canary.value(name.lower()) for name in "ABC"}
    assert seen.files["/data/key"] == content


def test_viewer_creates_and_changes_nothing(web: str, viewer: Path, developer: Path, console: Console, canary: Canary):
    done("create", "seen", "-e", "A=@-", "-p", "web", kubeconfig=developer, stdin=canary.value("seen"))
    before = console.items("ssec", web)["seen"]["spec"]

    for verb in (("create", "more", "-e", "A=@-", "-p", "web"), ("set", "seen", "A=@-"), ("unset", "seen", "A")):
        result = run(*verb, kubeconfig=viewer, stdin=canary.value("more"))
        assert result.returncode == 1, verb
        assert "forbidden" in result.stderr, verb
        assert result.stderr.count("\n") == 1, verb
    assert run("delete", "seen", "--yes", kubeconfig=viewer).returncode == 1

    assert console.items("ssec", web)["seen"]["spec"] == before
    assert not console.exists("ssec", web, "more")


def test_verify_compares_what_create_and_set_sealed_once_the_controller_has_opened_it(
    web: str, developer: Path, console: Console, canary: Canary, installed: InstalledOperator, tmp_path: Path
):
    content = tmp_path / "content"
    content.write_text(canary.value("verified file"))
    flags = ("-p", "web", "-e", "A=@-", "-f", f"{content}:/data/file")

    def verified(what: str, *entry: str) -> tuple[int, str]:
        result = run("verify", "verified", *entry, "--from-file", "-", kubeconfig=developer, stdin=canary.value(what))
        return result.returncode, result.stdout or result.stderr

    installed.stop_controllers()
    try:
        done("create", "verified", *flags, kubeconfig=developer, stdin=canary.value("verified"))
        early = [verified("verified", "A"), verified("verified file", "--file", "/data/file")]
    finally:
        installed.start_controller()
    console.wait_current(web, "verified")
    created = [verified(what, "A") for what in ("verified", "other")]
    filed = [verified(what, "--file", "/data/file") for what in ("verified file", "other")]
    done("set", "verified", "A=@-", kubeconfig=developer, stdin=canary.value("set"))
    console.wait_current(web, "verified")
    changed = [verified(what, "A") for what in ("set", "verified")]

    assert [code for code, _ in early] == [2, 2]
    assert all("the controller has recorded no fingerprint of it; wait until" in text for _, text in early)
    assert created == filed == changed == [(0, "equal\n"), (1, "different\n")]
    stored = console.cluster.get("ssec", "verified", "-n", web)
    sealed = [entry["sealed"] for kind in ("env", "files") for entry in stored["spec"][kind]]
    assert [parse_header(text).fingerprint for text in sealed] == [None, None]
    assert not canary.find("the status", json.dumps(stored["status"]))


def test_set_and_unset_touch_one_entry_only(web: str, developer: Path, console: Console, canary: Canary):
    """Complaint 15: changing one key does not replace the others."""
    flags = ("-e", "A=@-", "-p", "web", "-d", "for the test", "-l", "tier=test")
    done("create", "single", *flags, kubeconfig=developer, stdin=canary.value("first"))
    first = console.items("ssec", web)["single"]

    printed = done("set", "single", "B=@-", kubeconfig=developer, stdin=canary.value("second"))
    second = console.items("ssec", web)["single"]
    assert "added variable 'B'" in printed
    assert second["spec"]["env"][0] == first["spec"]["env"][0]
    assert second["metadata"]["labels"] == {"tier": "test"}
    assert second["spec"]["description"] == "for the test"

    assert "changed variable 'A'" in done("set", "single", "A=@-", kubeconfig=developer, stdin=canary.value("third"))
    third = console.items("ssec", web)["single"]
    assert third["spec"]["env"][1] == second["spec"]["env"][1]
    assert third["spec"]["env"][0] != second["spec"]["env"][0]

    assert "removed variable 'A'" in done("unset", "single", "A", kubeconfig=developer)
    console.wait_current(web, "single")
    console.create(pod(f"{web}/single", "single"))
    seen = console.seen(web, "single")
    assert seen.env["B"] == canary.value("second")
    assert "A" not in seen.env


def test_two_people_set_different_entries_at_once_and_both_are_stored(
    web: str, developer: Path, console: Console, canary: Canary, tmp_path: Path
):
    done("create", "busy", "-e", "A=@-", "-p", "web", kubeconfig=developer, stdin=canary.value("busy"))
    value = tmp_path / "value"
    value.write_text(canary.value("busy too"))
    program = [sys.executable, "-m", "scoped_secrets", "set", "busy", "--kubeconfig", str(developer)]

    running = [
        subprocess.Popen([*program, f"K{number}=@{value}"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for number in range(4)
    ]
    results = [(process.communicate(timeout=60)[1], process.returncode) for process in running]

    assert [code for _, code in results] == [0] * 4, results
    stored = {entry["name"] for entry in console.items("ssec", web)["busy"]["spec"]["env"]}
    assert stored == {"A", "K0", "K1", "K2", "K3"}


def test_prompted_value_is_not_visible_and_arrives(web: str, developer: Path, console: Console, canary: Canary):
    value = canary.value("typed")
    with Terminal("create", "typed", "-e", "TOKEN", "-p", "web", "--kubeconfig", str(developer)) as terminal:
        terminal.answer("Value for variable 'TOKEN': ", value)
        terminal.answer("again: ", value)
        arguments = terminal.arguments()
        code, stdout = terminal.end()
    assert code == 0, terminal.shown
    assert canary.find("screen, output and arguments", terminal.shown + stdout.encode() + arguments) == []
    console.wait_current(web, "typed")
    console.create(pod(f"{web}/typed", "typed"))
    assert console.seen(web, "typed").env["TOKEN"] == value


def test_ctrl_c_at_a_prompt_stores_nothing(web: str, developer: Path, console: Console):
    with Terminal("create", "broken-off", "-e", "TOKEN", "-p", "web", "--kubeconfig", str(developer)) as terminal:
        terminal.wait_for("Value for variable 'TOKEN': ")
        terminal.interrupt()
        code, _ = terminal.end()
    assert code == 130
    assert b"Traceback" not in terminal.shown
    assert not console.exists("ssec", web, "broken-off")


def test_dry_runs_store_nothing_and_the_client_one_is_a_file_for_git(
    web: str, developer: Path, console: Console, canary: Canary
):
    flags = ("create", "later", "-e", "A=@-", "-p", "web")
    server = done(*flags, "--dry-run=server", kubeconfig=developer, stdin=canary.value("server"))
    document = done(*flags, "--dry-run=client", "-o", "yaml", kubeconfig=developer, stdin=canary.value("later"))

    assert "created (server dry run)" in server
    assert not console.exists("ssec", web, "later")
    body = yaml.safe_load(document)
    assert body["spec"]["env"][0].keys() == {"name", "sealed"}
    console.apply(body)
    console.wait_current(web, "later")
    assert done("get", "-o", "name", kubeconfig=developer).count("scopedsecret.scopedsecrets.dev/later\n") == 1


def test_value_on_the_command_line_works_and_warns_once(web: str, developer: Path, canary: Canary):
    result = run(
        "create",
        "quick",
        "-e",
        f"A={canary.value('a')}",
        "-e",
        f"B={canary.value('b')}",
        "-p",
        "web",
        kubeconfig=developer,
    )
    assert result.returncode == 0
    assert result.stderr.count("shell's history") == 1
    assert canary.find("output", result.stdout + result.stderr) == []


def test_pem_block_without_a_final_newline_is_warned_of(web: str, developer: Path, canary: Canary, tmp_path: Path):
    """Complaint 12: ssh refuses a key without its last line break."""
    key = tmp_path / "key"
    key.write_text(PEM.format(canary.value("pem")))
    flags = ("create", "pem", "-f", f"{key}:.ssh/id", "-p", "web")

    result = run(*flags, kubeconfig=developer)
    key.write_text(key.read_text() + "\n")
    fine = run("set", "pem", "-f", f"{key}:.ssh/id", kubeconfig=developer)

    assert "file '.ssh/id' has a PEM block without a line break at its end" in result.stderr
    assert (fine.returncode, fine.stderr) == (0, "")


def test_get_lists_by_project_with_usage_and_shows_entries_without_values(
    firm: Company, web: str, developer: Path, viewer: Path, console: Console, canary: Canary
):
    done("create", "listed", "-e", "A=@-", "-p", "web", kubeconfig=developer, stdin=canary.value("listed"))
    console.wait_current(web, "listed")
    console.create(pod(f"{web}/listed", "listed"))
    console.seen(web, "listed")

    table = done("get", "-p", "web", kubeconfig=viewer)
    heading, *rows = [line.split() for line in table.splitlines()]
    assert heading == ["NAME", "SCOPE", "PROJECT", "ENVIRONMENT", "KEYS", "FILES", "USED", "AGE"]
    row = next(row for row in rows if row[0] == "listed")
    assert row[:7] == ["listed", "Project", "web", "-", "1", "0", "1"]

    one = done("get", "listed", kubeconfig=viewer)
    assert re.search(r" <=\d+ B ", one)
    assert "Available" in one
    described = done("describe", "listed", kubeconfig=viewer)
    assert f"Used by:     {web}/listed" in described
    documents = [done("get", "listed", "-o", form, kubeconfig=viewer) for form in ("yaml", "json")]
    assert canary.find("output", "".join([table, one, described, *documents])) == []


def test_get_effective_names_the_source_of_every_name(
    firm: Company, web: str, administrator: Path, console: Console, canary: Canary
):
    """Complaints 1 and 2: which definition a job gets, and what is overridden."""
    place = ("--organization", firm.organization)
    given = {"kubeconfig": administrator, "stdin": canary.value("effective")}
    done("create", "both", "-e", "WIDE=@-", *place, **given)
    narrow = ("create", "both", "-e", "NARROW=@-", "-p", "web", "--environment", "production")
    done(*narrow, "--override", "Merge", *place, **given)
    flags = ("--effective", "-p", "web", "--environment", "production", *place, "-o", "json")

    entries = {
        (entry["bundle"], entry["name"]): entry for entry in json.loads(done("get", *flags, kubeconfig=administrator))
    }

    production = f"{firm.organization}-production"
    assert entries["both", "WIDE"]["source"] == f"{firm.home}/both"
    assert entries["both", "NARROW"]["source"] == f"{production}/both"
    assert entries["both", "WIDE"]["winner"] == f"{production}/both"
    # The cluster decides the same.
    for name in ("both",):
        console.wait_current(production, name)
        console.wait_current(firm.home, name)
    console.create(pod(f"{production}/both", "both"))
    assert {"WIDE", "NARROW"} <= console.seen(production, "both").env.keys()


def test_delete_shows_users_and_the_next_winner_and_asks_for_the_name(
    firm: Company, web: str, administrator: Path, console: Console, canary: Canary
):
    """Complaint 16: who still uses a secret before it goes."""
    place = ("--organization", firm.organization)
    given = {"kubeconfig": administrator, "stdin": canary.value("doomed")}
    done("create", "doomed", "-e", "A=@-", *place, **given)
    done("create", "doomed", "-e", "A=@-", "-p", "web", *place, **given)
    console.wait_current(web, "doomed")
    console.create(pod(f"{web}/doomed", "doomed"))
    console.seen(web, "doomed")
    flags = ("delete", "doomed", "-p", "web", *place, "--kubeconfig", str(administrator))

    with Terminal(*flags) as terminal:
        terminal.answer("Type the name of the secret to delete it: ", "wrong")
        code, stdout = terminal.end()
    assert code == 1
    assert console.exists("ssec", web, "doomed")
    assert f"Used by: {web}/doomed; they keep what they have" in stdout
    assert f"Afterwards: jobs of project 'web' get '{firm.home}/doomed'" in stdout

    with Terminal(*flags) as terminal:
        terminal.answer("Type the name of the secret to delete it: ", "doomed")
        assert terminal.end()[0] == 0
    assert not console.exists("ssec", web, "doomed")
    assert run("delete", "doomed", *place, kubeconfig=administrator).returncode == 2
    assert console.exists("ssec", firm.home, "doomed")


def test_impersonation_asks_as_the_other_person(
    firm: Company, web: str, console: Console, developer: Path, viewer: Path, canary: Canary
):
    done("create", "other", "-e", "A=@-", "-p", "web", kubeconfig=developer, stdin=canary.value("other"))
    stranger = run("get", "other", "-n", web, "--as", "stranger", kubeconfig=console.cluster.kubeconfig)
    impersonated = run(
        "get", "other", "-n", web, "--as", f"viewer-{firm.organization}", kubeconfig=console.cluster.kubeconfig
    )

    assert stranger.returncode == 1
    assert "you may not read" in stranger.stderr
    assert impersonated.returncode == 0, impersonated.stderr


def test_definition_that_the_namespace_may_not_hold_is_refused_before_a_value_is_read(web: str, developer: Path):
    with Terminal(
        "create", "elsewhere", "-e", "TOKEN", "-p", "api", "-n", web, "--kubeconfig", str(developer)
    ) as terminal:
        code, _ = terminal.end()
    assert code == 1
    assert b"`spec.project` must be 'web'" in terminal.shown
    assert b"Value for" not in terminal.shown


def test_denial_of_admission_is_one_line_with_its_reason(web: str, developer: Path, canary: Canary):
    flags = ("create", "past", "-e", "A=@-", "-p", "web", "--expires", "2020-01-01")
    result = run(*flags, kubeconfig=developer, stdin=canary.value("past"))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "`spec.expireTime`" in result.stderr


def test_context_of_the_kubeconfig_is_chosen_as_in_kubectl(
    firm: Company, web: str, developer: Path, console: Console, canary: Canary, tmp_path: Path
):
    done("create", "contextual", "-e", "A=@-", "-p", "web", kubeconfig=developer, stdin=canary.value("context"))
    content = json.loads(developer.read_text())
    here = content["contexts"][0]
    elsewhere = {"name": "elsewhere", "context": {**here["context"], "namespace": firm.home}}
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps({**content, "contexts": [elsewhere, here], "current-context": "elsewhere"}))

    assert "contextual" in done("get", "--context", here["name"], kubeconfig=path)
    assert run("get", kubeconfig=path).stdout == ""
    wrong = run("get", "--context", "nothing", kubeconfig=path)
    assert wrong.returncode == 2
    assert "check its contexts" in wrong.stderr


def test_every_flag_of_create_is_in_the_object(
    firm: Company, administrator: Path, console: Console, canary: Canary, tmp_path: Path
):
    given = {"kubeconfig": administrator, "stdin": canary.value("flags")}
    place = ("--organization", firm.organization)
    flags = (
        "--final",
        "--attach",
        "Always",
        "--expires",
        "2099-01-31",
        "--rotate-every",
        "90d",
        "--object-name",
        "named",
    )
    printed = done("create", "Flags_1", "-e", "A=@-", *flags, "-l", "tier=test", "-d", "what for", *place, **given)

    body = console.items("ssec", firm.home)["named"]
    entries = {key: body["spec"].pop(key) for key in ("env", "dataKeys")}
    assert body["spec"] == {
        "scope": "Organization",
        "secretName": "Flags_1",
        "description": "what for",
        "final": True,
        "attach": "Always",
        "expireTime": "2099-01-31T00:00:00Z",
        "rotation": {"intervalDays": 90},
    }
    assert body["metadata"]["labels"] == {"tier": "test"}
    assert [entry.keys() for entry in entries["env"]] == [{"name", "sealed"}]
    assert "without being named" in printed
    # The organization's secret is attached to every job of the company, so that it must not stay.
    done("delete", "Flags_1", "--yes", *place, kubeconfig=administrator)
    assert not console.exists("ssec", firm.home, "named")


def test_name_of_an_object_and_of_its_bundle_find_it_and_two_objects_are_told_apart(
    firm: Company, web: str, administrator: Path, console: Console, canary: Canary
):
    given: dict[str, Any] = {"kubeconfig": administrator, "stdin": canary.value("twice")}
    place = ("--organization", firm.organization)
    done("create", "twice", "-e", "A=@-", "-n", firm.home, "-p", "web", *place, **given)
    done("create", "twice", "-e", "A=@-", "-p", "web", "--environment", "review/*", *place, **given)

    assert f"'{firm.home}/twice-web'" in done("get", "twice-web", *place, kubeconfig=administrator)
    assert f"'{web}/twice-review'" in done(
        "get", "twice", "--environment", "review/*", *place, kubeconfig=administrator
    )
    several = run("get", "twice", *place, kubeconfig=administrator)
    assert several.returncode == 2
    assert f"several ScopedSecrets fit: '{firm.home}/twice-web', '{web}/twice-review'" in several.stderr
    assert run("create", "twice", "-e", "A=@-", "-n", firm.home, "-p", "web", *place, **given).returncode == 1


def test_a_person_waits_for_no_framework(firm: Company, canary: Canary, monkeypatch: pytest.MonkeyPatch):
    """The libraries of the two processes take longer to import than all the rest of these commands."""
    # Objects of other tests may have what takes the models to read: this person sees one namespace.
    web = f"{firm.organization}-swift"
    swift = kubeconfig(firm, person(firm, "swift", "edit", web), namespace=web)
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")

    def imported(*arguments: str, stdin: str = "") -> set[str]:
        result = run(*arguments, kubeconfig=swift, stdin=stdin)
        assert result.returncode == 0, result.stderr
        lines = (line for line in result.stderr.splitlines() if line.startswith("import time:"))
        return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}

    created = imported("create", "swift", "-e", "A=@-", "-n", web, stdin=canary.value("swift"))
    ready = ("--for=condition=Ready", f"--timeout={SECONDS:.0f}s")
    firm.console.cluster.kubectl("wait", f"{names.SCOPED_SECRET_PLURAL}.{names.GROUP}/swift", "-n", web, *ready)
    found = {
        "create": created,
        "get": imported("get", "-n", web),
        "explain": imported("explain", "swift", "-n", web),
    }

    assert {verb: each & {"kopf", "kubernetes", "aiohttp", "asyncio", "pydantic"} for verb, each in found.items()} == {
        verb: set() for verb in found
    }
    # Only who seals needs it.
    assert {verb for verb, each in found.items() if "cryptography" in each} == {"create"}
    assert all("scoped_secrets" in each for each in found.values())
