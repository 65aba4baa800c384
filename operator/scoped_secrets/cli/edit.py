"""``scoped-secrets edit``: change a ScopedSecret in an editor that shows every entry and no sealed value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from scoped_secrets.cli.editor import Draft, draft
from scoped_secrets.cli.options import (
    CONNECTION_OPTIONS,
    OPERATOR_NAMESPACE_OPTION,
    PLACE_OPTIONS,
    add_options,
    examples,
    name_argument,
)
from scoped_secrets.cli.output import WRITE_OPTIONS, dry_run_of, dry_run_words, print_notes, print_written
from scoped_secrets.cli.secret_input import InputError
from scoped_secrets.cli.session import Session, connection, place_request
from scoped_secrets.errors import ClusterError, ConflictError, ScopedSecretsError, UserError
from scoped_secrets.kube import paths
from scoped_secrets.kube.client import Body
from scoped_secrets.operations.change_entries import SetPlan, plan_set
from scoped_secrets.operations.create import Stored
from scoped_secrets.operations.dry_run import DryRun
from scoped_secrets.operations.editing import Edits, conflicts, edited_object, edits_of, text_of, with_reason
from scoped_secrets.operations.replace import replace_object
from scoped_secrets.process_hardening import harden_process

__all__ = ["command"]


@click.command(
    "edit",
    epilog=examples(
        "scoped-secrets edit aws -p web",
        "scoped-secrets edit aws -p web --environment production",
    ),
)
@name_argument()
@add_options(PLACE_OPTIONS)
@add_options(WRITE_OPTIONS)
@OPERATOR_NAMESPACE_OPTION
@add_options(CONNECTION_OPTIONS)
def command(**flags: Any) -> None:
    """Change a secret in your editor; sealed values are not shown, and stay as they are.

    '# unchanged' stands for each sealed value. Write a new value in its place, remove an entry, or add one; what is
    left as it is keeps its sealed text. After a mistake or a conflict the editor opens again with the reason, and with
    what you typed. The editor is $KUBE_EDITOR, $EDITOR or vi; its file is readable for you only and gone afterwards.
    """
    harden_process(for_good=False)
    request = place_request(flags)
    with Session(connection(flags)) as session:
        plan = session.run(lambda cluster: plan_set(cluster, flags["name"], request, flags["operator_namespace"]))
        with draft(plan.located.name) as editor:
            stored = _Editing(session, plan, editor, dry_run_of(flags)).run()
    if stored is None:
        print_notes(["Nothing is changed"], flags["output"])
        return
    line = f"ScopedSecret '{plan.located.location}' changed{dry_run_words(flags)}"
    print_written(stored.body, stored.warnings, [line], flags["output"])


@dataclass(slots=True)
class _Editing:
    """One editing, which ends with a stored object or without a change."""

    session: Session
    plan: SetPlan
    draft: Draft
    dry_run: DryRun | None
    accepted: frozenset[str] = frozenset()

    def run(self) -> Stored | None:
        """Have the text edited until it is stored; ``None`` when the person saves it without a change.

        Raises:
            InputError: The person gives up after a mistake, a conflict or a denial.
        """
        before = shown = text_of(self.plan.located.body)
        reason = ""
        while True:
            saved = self.draft.edit(shown)
            if saved == shown or with_reason(saved, "") == before:
                if reason:
                    raise InputError(f"nothing is changed: {reason}")
                return None
            try:
                return self._store(saved)
            except UserError as error:
                reason = error.message
            except ScopedSecretsError as error:
                reason = str(error)
            shown = with_reason(saved, reason)

    def _store(self, text: str) -> Stored | None:
        """Store the changes of a text; ``None`` when it has none.

        Raises:
            ScopedSecretsError: They cannot be stored; the message says why.
        """
        base = self.plan.located.body
        edits = edits_of(text, base, self.plan.slot, self.plan.certificate)
        if not edits:
            return None
        current = base
        while True:
            self._refuse_conflicts(edits, base, current)
            body = edited_object(edits, current)
            try:
                return self.session.run(lambda cluster: replace_object(cluster, body, self.dry_run))  # noqa: B023 - it runs at once.
            except ConflictError:
                current = self._read()

    def _refuse_conflicts(self, edits: Edits, base: Body, current: Body) -> None:
        found = conflicts(edits, base, current)
        new = [each for each in found if each not in self.accepted]
        if new:
            self.accepted |= set(found)
            raise _changed(found)

    def _read(self) -> Body:
        located = self.plan.located
        path = paths.scoped_secrets(located.namespace, located.name)
        body = self.session.run(lambda cluster: cluster.get(path))
        if body is None or body["metadata"]["uid"] != located.body["metadata"]["uid"]:
            raise ClusterError(
                f"ScopedSecret '{located.location}' was deleted just now; copy what you need, and cancel"
            )
        return body


def _changed(found: Sequence[str]) -> ConflictError:
    return ConflictError(
        f"another person changed {', '.join(found)} at the same time; delete this line and save to overwrite that"
    )
