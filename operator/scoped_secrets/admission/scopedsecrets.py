"""The webhooks of ScopedSecrets: they seal values before the object is stored, and deny invalid objects.

The mutating webhook replaces plain text by sealed texts, in the object and in the copy that ``kubectl apply`` keeps of
it. The validating webhook sees what would be stored, and never allows sensitive plain text (DESIGN section 7).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.admission.comparison_limit import COMPARED_VALUES
from scoped_secrets.admission.managed_fields import correct_managers
from scoped_secrets.admission.plaintext import (
    PLAINTEXT_MEMBERS,
    has_plaintext_anywhere,
    last_applied,
    scrub,
    sensitive_plaintext,
)
from scoped_secrets.admission.review import Operation, Outcome, Review, ReviewAllowed, ReviewDenied
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.api.entries import EntryModel
from scoped_secrets.api.parsing import parse_scoped_secret
from scoped_secrets.api.scopedsecret import ScopedSecret
from scoped_secrets.api.scopedsecret_rules import (
    attach_warnings,
    check_changes,
    check_values,
    expiry_warnings,
    slot_of,
    source_warnings,
)
from scoped_secrets.core.entry import EntryKey
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.crypto.contexts import entry_fingerprint, sealing_context
from scoped_secrets.crypto.fingerprints import Fingerprint, new_salt
from scoped_secrets.crypto.sealing import SealingContext, matches_context, parse_header, seal
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import DeniedError, InvalidObjectError, SealingError, UserError
from scoped_secrets.names import Reason

__all__ = ["mutate_scoped_secret", "validate_scoped_secret"]

_MAX_WARNINGS: Final = 5
_LAST_APPLIED_POINTER = json_pointer("metadata", "annotations", names.LAST_APPLIED_ANNOTATION)


def mutate_scoped_secret(review: Review, review_context: ReviewContext) -> Outcome:
    """Return the patch that seals what is sensitive, in the object and in its last-applied copy."""
    body = review.object
    if not review.writes_object or _is_only_deleted(review):
        return ReviewAllowed()
    if body is None:
        return ReviewDenied(Reason.INVALID, "the request has no object")
    try:
        model = _parse(body)
    except InvalidObjectError as error:
        # The API server explains a broken object better, but it must not print or store a value that stands in it.
        return ReviewDenied.because(error) if has_plaintext_anywhere(body) else ReviewAllowed()
    not_compared: list[EntryKey] = []
    try:
        operations = [*_sealing(model, review, body, review_context, not_compared), *_scrubbing(model, body)]
        operations += correct_managers(review, body, operations)
        return ReviewAllowed(operations, tuple(map(_limit_warning, not_compared[:_MAX_WARNINGS])))
    except UserError as error:
        return ReviewDenied.because(error)


def validate_scoped_secret(review: Review, review_context: ReviewContext) -> Outcome:
    """Allow what may be stored."""
    body = review.object
    if not review.writes_object or _is_only_deleted(review):
        return ReviewAllowed()
    if body is None:
        return ReviewDenied(Reason.INVALID, "the request has no object")
    try:
        _refuse_plaintext(body)
        if review.keeps_spec:
            return ReviewAllowed()
        change = _parse(body), _old_model(review), review.namespace, review_context
        check_changes(*change)
        checks = source_warnings, expiry_warnings, attach_warnings
        return ReviewAllowed(warnings=tuple(warning for check in checks for warning in check(*change)))
    except UserError as error:
        return ReviewDenied.because(error)


def _sealing(
    model: ScopedSecret,
    review: Review,
    body: Mapping[str, Any],
    review_context: ReviewContext,
    not_compared: list[EntryKey],
) -> Iterator[PatchOperation]:
    """Yield the operations that replace plain text by sealed texts.

    Args:
        model: The object.
        review: The review.
        body: The object as it is.
        review_context: The state to decide from.
        not_compared: Receives the entries whose value is not compared with the stored one, because of the limit.

    Raises:
        UserError: A value cannot be sealed as the object is.
    """
    old = _old_model(review)
    stored = {entry.key: entry.sealed for entry in old.entries} if old is not None else {}
    if any(entry.has_secret_plaintext for entry in model.entries):
        _require_name(model)
        check_values(model, old)
    for position, entry in model.enumerate_entries():
        raw = body["spec"][position.kind.spec_list][position.index]
        before = stored.get(entry.key)
        if entry.has_secret_plaintext:
            if entry.sealed not in (None, before):
                raise InvalidObjectError(
                    f"`{position.field}` must have either `{entry.plain_field}` or `sealed`; remove one of the two"
                )
            for member in PLAINTEXT_MEMBERS[position.kind]:
                if member in raw:
                    yield {"op": "remove", "path": position.pointer(member)}
            sealed = _seal_entry(model, review, entry, before, review_context)
            if not sealed.is_compared:
                not_compared.append(entry.key)
            if sealed.text != entry.sealed:
                yield {"op": "add", "path": position.pointer("sealed"), "value": sealed.text}
        elif entry.sealed is not None and entry.sealed == before and _has_other_source(entry):
            # An apply does not own the sealed text, so it would stay beside the new source.
            yield {"op": "remove", "path": position.pointer("sealed")}


@dataclass(frozen=True, slots=True)
class _SealedEntry:
    """The sealed text of a value, and whether the value was compared with the stored one as far as there is one."""

    text: str
    is_compared: bool = True


def _seal_entry(
    model: ScopedSecret, review: Review, entry: EntryModel, before: str | None, review_context: ReviewContext
) -> _SealedEntry:
    """Return the sealed text of an entry's value: the stored text, if it holds the same value."""
    name, namespace = model.metadata.name, review.namespace
    slot = slot_of(model, namespace, review_context)
    context = sealing_context(review_context.cluster_id, namespace, name, slot, entry.key)
    value = entry.secret_value()
    if value is None:
        raise InvalidObjectError("`spec` has an entry without a value; give it one")
    recipient = review_context.recipients.active
    if not review_context.keep_unchanged:
        # The fingerprint is not stored either: a dry run with it would confirm a guessed value just as well.
        return _SealedEntry(seal(value, context, recipient, None))
    stored = None if before is None else _stored_fingerprint(before)
    mark = entry_fingerprint(review_context.fingerprint_key, namespace, name, entry.key, value, new_salt())
    if before is None or stored is None:
        return _SealedEntry(seal(value, context, recipient, mark))
    if review_context.comparisons.is_reached(namespace, name, entry.key):
        return _SealedEntry(seal(value, context, recipient, mark), is_compared=False)
    if not _is_equal(stored, value, model, review, entry.key, review_context):
        return _SealedEntry(seal(value, context, recipient, mark))
    if _is_usable(before, context, review_context):
        return _SealedEntry(before)
    # The same value for a new key or place: its fingerprint stays, if it has a salt, and so does its age.
    return _SealedEntry(seal(value, context, recipient, stored if stored.salt else mark))


def _stored_fingerprint(text: str) -> Fingerprint | None:
    try:
        return parse_header(text).fingerprint
    except SealingError:
        return None


def _is_equal(
    stored: Fingerprint,
    value: SecretValue,
    model: ScopedSecret,
    review: Review,
    entry: EntryKey,
    review_context: ReviewContext,
) -> bool:
    """Tell whether a value has the stored fingerprint, and count it if it has not."""
    name, namespace = model.metadata.name, review.namespace
    guess = entry_fingerprint(review_context.fingerprint_key, namespace, name, entry, value, stored.salt)
    if guess == stored:
        return True
    if review.dry_run:
        # A dry run answers whether the value differs, not whether the fingerprint is current; a real write renews it.
        for key in review_context.former_fingerprint_keys:
            if entry_fingerprint(key, namespace, name, entry, value, stored.salt) == stored:
                return True
    review_context.comparisons.add_difference(namespace, name, entry, guess)
    return False


def _is_usable(text: str, context: SealingContext, review_context: ReviewContext) -> bool:
    """Tell whether a stored text is for this context, and sealed for a known key."""
    header = parse_header(text)
    return matches_context(header, context) and review_context.recipients.get(header.key_id) is not None


def _limit_warning(entry: EntryKey) -> str:
    return (
        f"{entry} {names.NOT_COMPARED} and counts as changed, because {COMPARED_VALUES} different values were compared "
        "within an hour; try again later"
    )


def _has_other_source(entry: EntryModel) -> bool:
    return entry.value_from is not None or not entry.sensitive


def _require_name(model: ScopedSecret) -> None:
    if not model.metadata.name:
        raise DeniedError(
            Reason.INVALID,
            "`metadata.generateName` cannot be used with sensitive values, because they are sealed for the object's "
            "name; give it a `metadata.name`",
        )


def _scrubbing(model: ScopedSecret, body: Mapping[str, Any]) -> Iterator[PatchOperation]:
    """Yield the operation that removes sensitive plain text from the copy that client-side apply keeps."""
    text = last_applied(body)
    if text is None:
        return
    sensitive = {entry.key for entry in model.entries if entry.sensitive}
    scrubbed = scrub(text, sensitive)
    if scrubbed is None:
        yield {"op": "remove", "path": _LAST_APPLIED_POINTER}
    elif scrubbed != text:
        yield {"op": "replace", "path": _LAST_APPLIED_POINTER, "value": scrubbed}


def _refuse_plaintext(body: Mapping[str, Any]) -> None:
    """Deny sensitive plain text that would be stored.

    Raises:
        DeniedError: The object has plain text; the message names the first field.
    """
    field = next(sensitive_plaintext(body.get("spec")), None)
    if field is not None:
        raise DeniedError(
            Reason.PLAINTEXT_REFUSED,
            f"`{field}` would be stored in plain text; check that the mutating webhook is installed, and that no other "
            "webhook writes this field",
        )
    text = last_applied(body)
    if text is not None and scrub(text, ()) != text:
        raise DeniedError(
            Reason.PLAINTEXT_REFUSED,
            f"annotation {names.LAST_APPLIED_ANNOTATION} would keep sensitive plain text; check that the mutating "
            "webhook is installed, or use server-side apply",
        )


def _is_only_deleted(review: Review) -> bool:
    """Tell whether the object is being deleted and its spec stays: removing finalizers must always be allowed."""
    body, old = review.object or {}, review.old_object or {}
    metadata = body.get("metadata")
    return (
        isinstance(metadata, dict)
        and metadata.get("deletionTimestamp") is not None
        and review.keeps_spec
        and last_applied(body) == last_applied(old)
    )


def _parse(body: Mapping[str, Any]) -> ScopedSecret:
    """Parse all but the status, which the API server takes from the stored object whatever a client sends.

    Raises:
        InvalidObjectError: The body breaks the schema.
    """
    return parse_scoped_secret({name: value for name, value in body.items() if name != "status"})


def _old_model(review: Review) -> ScopedSecret | None:
    """Return the stored object; ``None`` when there is none or it is invalid."""
    if review.operation is not Operation.UPDATE or review.old_object is None:
        return None
    try:
        return _parse(review.old_object)
    except InvalidObjectError:
        return None
