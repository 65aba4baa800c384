"""A command of every verb, and what it does for each role: a table for the tests that run all of them.

Words in braces stand for names and files; `{name}` is a secret of the row and the role.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from scoped_secrets.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CHANGING", "SERVERS", "TABLE", "Fails", "Row", "Works", "commands"]

OTHERS_LABELS = "the labels of other namespaces"
OTHERS = "the ScopedSecrets of other namespaces"
OWN_LABELS = "the labels of namespace '{web}'"
KEYS = "your role does not allow the verb 'list' on secrets in namespace 'scoped-secrets'; request it"
NO_POLICIES = "you may not write SecretPolicies in namespace '{web}'"
NO_PLACE = "no namespace that you may read has the label of project 'web'; give the namespace with -n"
NO_LABELS = f"you may not read {OWN_LABELS}"


@dataclass(frozen=True)
class Works:
    """The command does what was asked, as far as the role allows.

    Attributes:
        says: What standard output has.
        stores: The objects that it creates, changes or deletes.
        unread: What it says that it could not read.
        code: Its exit code.
    """

    says: str
    stores: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    code: int = 0


@dataclass(frozen=True)
class Fails:
    """The command changes nothing, and its last line on standard error says why and what to do."""

    says: str
    code: int = 1


@dataclass(frozen=True)
class Row:
    """One command, and what happens for each role."""

    command: tuple[str, ...]
    developer: Works | Fails
    administrator: Works | Fails
    viewer: Works | Fails
    stdin: str = ""

    @classmethod
    def alike(cls, command: tuple[str, ...], expected: Works | Fails, stdin: str = "") -> Row:
        """Return a row whose roles do not matter."""
        return cls(command, expected, expected, expected, stdin)


SCOPE_PATH = ("--organization", "{organization}", "--project", "web")
SECRET, NEW, COPY = "ssec/{name}", "ssec/{name}-new", "ssec/{name}-copy"
CREATED = Works("ScopedSecret '{web}/{name}-new' created", (NEW,))
NOT_STORED = Fails(f"{NO_PLACE}, or the labels of one to its owner; nothing is stored", 2)
TABLE = {
    "create": Row(
        ("create", "{name}-new", "-e", "A=@-", "-f", "{key}:/data/key", "-p", "web"),
        Works("ScopedSecret '{web}/{name}-new' created: scope Project", (NEW,), (OTHERS_LABELS, OTHERS)),
        Works("ScopedSecret '{web}/{name}-new' created: scope Project", (NEW,), (OTHERS,)),
        Fails(NO_PLACE, 2),
        stdin="{typed}",
    ),
    "set": Row(
        ("set", "{name}", "A=@-"),
        Works("ScopedSecret '{web}/{name}': changed variable 'A'", (SECRET,)),
        Works("ScopedSecret '{web}/{name}': changed variable 'A'", (SECRET,)),
        Fails(NO_LABELS, 2),
        stdin="{typed}",
    ),
    "unset": Row(
        ("unset", "{name}", "B"),
        Works("ScopedSecret '{web}/{name}': removed variable 'B'", (SECRET,)),
        Works("ScopedSecret '{web}/{name}': removed variable 'B'", (SECRET,)),
        Fails('cannot patch resource "scopedsecrets"'),
    ),
    "edit": Row(
        ("edit", "{name}"),
        Works("ScopedSecret '{web}/{name}' changed", (SECRET,)),
        Works("ScopedSecret '{web}/{name}' changed", (SECRET,)),
        Fails(NO_LABELS, 2),
    ),
    "rotate": Row(
        ("rotate", "{name}", "A", "--generate", ""),
        Works("ScopedSecret '{web}/{name}': rotated variable 'A'", (SECRET,)),
        Works("ScopedSecret '{web}/{name}': rotated variable 'A'", (SECRET,)),
        Fails(NO_LABELS, 2),
    ),
    "get": Row(
        ("get",),
        Works("used"),
        Works("used"),
        Works("used", unread=(OWN_LABELS,)),
    ),
    "describe": Row(
        ("describe", "used"),
        Works("Usable by:   every one of the jobs of project 'web'", unread=(OTHERS_LABELS, OTHERS)),
        Works("Usable by:   every one of the jobs of project 'web'", unread=(OTHERS,)),
        Works("Usable by:   not known, because you may not read the labels", unread=(OWN_LABELS, OTHERS)),
    ),
    "share": Row(
        ("share", "{name}", "--project", "web"),
        Fails(NO_POLICIES),
        Works("SecretPolicy '{web}/share-{name}' written", ("spol/share-{name}",)),
        Fails(NO_LABELS, 2),
    ),
    "cordon": Row(
        ("cordon", "{name}", "--reason", "leak"),
        Fails(NO_POLICIES),
        Works("ScopedSecret '{web}/{name}' cordoned", ("spol/cordon-{name}",)),
        Fails(NO_LABELS),
    ),
    "uncordon": Row(
        ("uncordon", "{name}"),
        Fails(NO_POLICIES),
        Works("ScopedSecret '{web}/{name}' uncordoned", ("spol/cordon-{name}",)),
        Fails(NO_POLICIES),
    ),
    "clone": Row(
        ("clone", "{name}", "{name}-copy"),
        Fails("you may not copy ScopedSecret '{web}/{name}' and there is no terminal to ask for its values", 2),
        Works("ScopedSecret '{web}/{name}-copy' is ready", (COPY,), (OTHERS,)),
        Fails("namespace '{web}' has no scope path, or you may not read it", 2),
    ),
    "rename": Row(
        ("rename", "{name}", "{name}-new", "--yes"),
        Fails("you may not copy ScopedSecret '{web}/{name}', which renaming needs; ask an administrator"),
        Works("ScopedSecret '{web}/{name}' renamed to '{web}/{name}-new'", (SECRET, NEW), (OTHERS,)),
        Fails("namespace '{web}' has no scope path, or you may not read it", 2),
    ),
    "delete": Row(
        ("delete", "{name}", "--yes"),
        Works("ScopedSecret '{web}/{name}' deleted", (SECRET,), (OTHERS_LABELS, OTHERS)),
        Works("ScopedSecret '{web}/{name}' deleted", (SECRET,), (OTHERS,)),
        Fails("you may not delete ScopedSecret '{web}/{name}'; request the verb 'delete'"),
    ),
    "import sem": Row(("import", "sem", "-"), CREATED, CREATED, NOT_STORED, stdin="{sem}"),
    "import dotenv": Row(
        ("import", "dotenv", "-", "--name", "{name}-new", "-p", "web"),
        CREATED,
        CREATED,
        NOT_STORED,
        stdin="A={typed}\n",
    ),
    "import secret": Row(
        ("import", "secret", "{web}/native", "--name", "{name}-new", "-p", "web"),
        CREATED,
        CREATED,
        Fails("you may not read Secret '{web}/native'; request the verb 'get'"),
    ),
    "import circleci": Row(
        ("import", "circleci", "-", "--name", "{name}-new", "--values", "{values}", "-p", "web"),
        CREATED,
        CREATED,
        NOT_STORED,
        stdin="{circle}",
    ),
    "import names": Row(
        ("import", "names", "-", "--values", "{values}", "-p", "web"),
        CREATED,
        CREATED,
        NOT_STORED,
        stdin="{names}",
    ),
    "export": Row(
        ("export", "--names"),
        Works("- name: used"),
        Works("- name: used"),
        Works("- name: used", unread=(OWN_LABELS,)),
    ),
    "explain": Row(
        ("explain", "used", "-p", "web"),
        Works("Decision: granted", unread=("the labels of other namespaces",)),
        Works("Decision: granted"),
        Fails("not read, because your role does not allow it: the labels of other namespaces", 2),
    ),
    "can-use": Row(
        ("can-use", "used", "-p", "web"),
        Works("not known, as far as you may read yes", unread=("the labels of other namespaces",), code=2),
        Works("yes: allowed by the default access"),
        Fails("not read, because your role does not allow it: the labels of other namespaces", 2),
    ),
    "what-gets": Row(
        ("what-gets", "pod/job"),
        Works("job        variable  A"),
        Works("job        variable  A"),
        Fails("your role does not allow the verb 'get' on pods 'job' in namespace '{web}'; request it"),
    ),
    "who-uses": Row(
        ("who-uses", "used", "-n", "{web}"),
        Works("job"),
        Works("job"),
        Fails("cannot be read with your rights"),
    ),
    "report": Row(
        ("report", "--unused", "0d", "-p", "web"),
        Works("{web}/kept", unread=("the pods of other namespaces",)),
        Works("{web}/kept", unread=("the pods of other namespaces",)),
        Works("Nothing found", unread=("the pods of namespace '{web}'",)),
    ),
    "audit": Row(
        ("audit", "used", "--since", "1h"),
        Works("value changed  ScopedSecret {web}/used", unread=(OTHERS_LABELS, OTHERS)),
        Works("value changed  ScopedSecret {web}/used", unread=(OTHERS,)),
        Works("value changed  ScopedSecret {web}/used", unread=(OWN_LABELS, "the events of namespace '{web}'")),
    ),
    "verify": Row(
        ("verify", "used", "A", "--from-file", "-"),
        Works("equal"),
        Works("equal"),
        Fails("you may not update ScopedSecret '{web}/used'", 2),
        stdin="{stored}",
    ),
    "lint": Row.alike(("lint", "-f", "{definitions}"), Works("0 errors, 1 warnings")),
    "render": Row.alike(("render", "-f", "{definitions}", "--pod", "{pod}"), Works("# bundle offline")),
    "test": Row.alike(("test", "-f", "{cases}"), Works("1 cases, 0 failed")),
    "seal": Row.alike(
        ("seal", "-n", "{web}", "--name", "s", "--scope", "Project", *SCOPE_PATH, "--env-from-file", "A={key}"),
        Works("kind: ScopedSecret"),
    ),
    "completion": Row.alike(("completion", "bash"), Works("_scoped_secrets_completion()")),
    "crds": Row.alike(("crds",), Works("kind: CustomResourceDefinition")),
    "public-key": Row.alike(("public-key",), Works('"publicKey"')),
    "doctor": Row.alike(("doctor",), Works("not checked: needs get on customresourcedefinitions.apiextensions.k8s.io")),
    "keys": Row.alike(("keys",), Fails(KEYS)),
    "keys rotate": Row.alike(("keys", "rotate"), Fails(KEYS)),
    "keys rotate-fingerprint": Row.alike(
        ("keys", "rotate-fingerprint"),
        Fails("your role does not allow the verb 'get' on secrets 'scoped-secrets-fingerprint'"),
    ),
    "keys retire": Row.alike(("keys", "retire", "none"), Fails(KEYS)),
    "reseal": Row(
        ("reseal", "-n", "{web}", "--fingerprints", "-o", "json"),
        Works('"Resealed"'),
        Works('"Resealed"'),
        Fails("definitions are not resealed; resolve the errors above"),
    ),
    "run": Row.alike(
        ("run", "--install"),
        Fails("your role does not allow the verb 'patch' on customresourcedefinitions.apiextensions.k8s.io"),
    ),
}
# They run until they are stopped: what they say again and again while a right is missing.
SERVERS = {
    "controller": ("controller", "--no-metrics", "--probe-port", "0"),
    "admission": ("admission", "--no-metrics", "--probe-port", "0", "--port", "0", "--material-secret", "none"),
}
# The rows that change a secret have one for each role.
CHANGING = ("set", "unset", "edit", "rotate", "share", "cordon", "uncordon", "clone", "rename", "delete")


def commands(group: click.Group = cli, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command of the program with its words, such as `import sem`."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield " ".join((*path, name)), command
            yield from commands(command, *path, name)
        elif command is not None:
            yield " ".join((*path, name)), command
