"""The webhooks of ScopedSecrets: they seal values before the object is stored, and deny invalid objects.

The mutating webhook replaces plain text by sealed texts, in the object and in the copy that ``kubectl apply`` keeps of
it. The validating webhook sees what would be stored, and never allows sensitive plain text (DESIGN section 7).
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from scoped_secrets import names
from scoped_secrets.admission.comparison_limit import COMPARED_VALUES
from scoped_secrets.admission.comparisons import GUESS_REFUSED, answer_guess, has_guess, is_equal
from scoped_secrets.admission.copy_rights import check_grant, grant_operations
from scoped_secrets.admission.expected_reviews import find_expected, keep_expected
from scoped_secrets.admission.managed_fields import correct_managers, patched_object
from scoped_secrets.admission.plaintext import (
    PLAINTEXT_MEMBERS,
    has_plaintext_anywhere,
    last_applied,
    scrub,
    sensitive_plaintext,
)
from scoped_secrets.admission.review import Operation, Outcome, Review, ReviewAllowed, ReviewDenied
from scoped_secrets.admission.review_context import ReviewContext
from scoped_secrets.admission.write_data_keys import WriteDataKeys
from scoped_secrets.api.entries import EntryModel
from scoped_secrets.api.parsing import parse_scoped_secret
from scoped_secrets.api.scopedsecret import ScopedSecret
from scoped_secrets.api.scopedsecret_rules import (
    attach_warnings,
    check_changes,
    check_values,
    expiry_warnings,
    source_warnings,
)
from scoped_secrets.api.storage_state import slot_of
from scoped_secrets.api.value_fingerprints import value_fingerprint
from scoped_secrets.core.entry import EntryKey, EntryKind, EntryPosition
from scoped_secrets.core.injection.json_patch import PatchOperation
from scoped_secrets.core.json_pointer import json_pointer
from scoped_secrets.crypto.contexts import entry_fingerprint, sealing_context
from scoped_secrets.crypto.fingerprints import SALT_BYTES
from scoped_secrets.crypto.randomness import random_parts
from scoped_secrets.crypto.sealing_context import SealingContext
from scoped_secrets.errors import DeniedError, InvalidObjectError, UserError
from scoped_secrets.names import Reason
from scoped_secrets.redaction import RedactedDict

__all__ = ["expect_validation", "mutate_scoped_secret", "validate_scoped_secret"]

_MAX_WARNINGS: Final = 5
_LAST_APPLIED_POINTER = json_pointer("metadata", "annotations", names.LAST_APPLIED_ANNOTATION)


def mutate_scoped_secret(review: Review, review_context: ReviewContext) -> Outcome:
    """Return the patch that seals what is sensitive, in the object and in its last-applied copy."""
    body = review.object
    if review.writes_object and has_guess(review):
        return answer_guess(review, review_context)
    if not review.writes_object or _is_only_deleted(review):
        return ReviewAllowed()
    if body is None:
        return ReviewDenied(Reason.INVALID, "the request has no object")
    try:
        model = _parse(body)
    except InvalidObjectError as error:
        # The API server explains a broken object better, but it must not print or store a value that stands in it.
        return ReviewDenied.because(error) if has_plaintext_anywhere(body) else ReviewAllowed()
    sealing = _Sealing(model, review, review_context)
    try:
        operations = [*sealing.operations(body), *_scrubbing(model, body)]
        operations += grant_operations(model, review, review_context)
        operations += correct_managers(review, body, operations)
        return ReviewAllowed(operations, tuple(map(_limit_warning, sealing.not_compared[:_MAX_WARNINGS])))
    except UserError as error:
        return ReviewDenied.because(error)


def validate_scoped_secret(review: Review, review_context: ReviewContext) -> Outcome:
    """Allow what may be stored."""
    body = review.object
    if review.writes_object and has_guess(review):
        return GUESS_REFUSED
    if not review.writes_object or _is_only_deleted(review):
        return ReviewAllowed()
    if body is None:
        return ReviewDenied(Reason.INVALID, "the request has no object")
    try:
        _refuse_plaintext(body)
        if review.keeps_spec:
            return ReviewAllowed()
        expected = find_expected(review, review_context)
        return expected or _apply_rules(_parse(body), _old_model(review), review, review_context)
    except UserError as error:
        return ReviewDenied.because(error)


def expect_validation(review: Review, outcome: Outcome, review_context: ReviewContext) -> None:
    """Apply the rules to what an object becomes by a patch, for the validating review that will follow.

    Args:
        review: The review that was answered with the patch.
        outcome: The answer.
        review_context: The state to decide from.
    """
    body = review.object
    if isinstance(outcome, ReviewDenied) or not outcome.operations or body is None:
        return
    patched = RedactedDict(patched_object(body, outcome.operations))
    following = replace(review, object=patched)
    if following.keeps_spec:
        return
    # A denial is not kept: it is rare, and decided when it is asked for.
    with suppress(UserError):
        _refuse_plaintext(patched)
        model, old = _parse(patched), _old_model(review)
        before = {entry.get("sealed") for kind in EntryKind for entry in body["spec"].get(kind.spec_list) or ()}
        before |= {entry.sealed for entry in old.entries} if old is not None else set()
        just_sealed = {entry.sealed for entry in model.entries if entry.sealed is not None} - before
        keep_expected(following, _apply_rules(model, old, following, review_context, just_sealed), review_context)


def _apply_rules(
    model: ScopedSecret,
    old: ScopedSecret | None,
    review: Review,
    review_context: ReviewContext,
    just_sealed: AbstractSet[str] = frozenset(),
) -> ReviewAllowed:
    """Return the warnings about an object that may be stored.

    Args:
        model: The object.
        old: The stored object.
        review: The review.
        review_context: The state to decide from.
        just_sealed: The texts that this process has sealed for the object in this write.

    Raises:
        UserError: It may not be stored.
    """
    change = model, old, review.namespace, review_context
    check_changes(*change, just_sealed)
    check_grant(model, review, review_context)
    checks = source_warnings, expiry_warnings, attach_warnings
    return ReviewAllowed(warnings=tuple(warning for check in checks for warning in check(*change)))


class _Sealing:
    """The operations that replace the plain text of an object by sealed texts, and give it their data keys.

    Attributes:
        not_compared: The entries whose value was not compared with the stored one, because of the limit.
    """

    def __init__(self, model: ScopedSecret, review: Review, review_context: ReviewContext) -> None:
        """Take the object, its review, and the state to decide from."""
        self.not_compared: list[EntryKey] = []
        self._model = model
        self._review = review
        self._review_context = review_context
        self._old = _old_model(review)
        self._data_keys = WriteDataKeys(model, self._old, review_context.recipients)
        self._place: SealingContext | None = None
        self._salts = random_parts(SALT_BYTES, len(model.entries))

    def operations(self, body: Mapping[str, Any]) -> Iterator[PatchOperation]:
        """Yield the operations.

        Args:
            body: The object as it is.

        Raises:
            UserError: A value cannot be sealed as the object is.
        """
        stored = {entry.key: entry.sealed for entry in self._old.entries} if self._old is not None else {}
        if any(entry.has_secret_plaintext for entry in self._model.entries):
            _require_name(self._model)
            check_values(self._model, self._old)
        kept: list[str] = []
        # One operation for each list: the API server takes longer for hundreds of operations than to read the list.
        changed: dict[EntryKind, list[Mapping[str, Any]]] = {}
        for position, entry in self._model.enumerate_entries():
            before, is_plain = stored.get(entry.key) if stored else None, entry.has_secret_plaintext
            text = self._seal(position, entry, before) if is_plain else _kept_text(entry, before)
            if text is not None and text in (before, entry.sealed):
                kept.append(text)
            if is_plain or text != entry.sealed:
                kind, index = position.kind, position.index
                if kind not in changed:
                    changed[kind] = list(body["spec"][kind.spec_list])
                changed[kind][index] = _sealed_entry(kind, changed[kind][index], entry, text)
        for kind, entries in changed.items():
            yield {"op": "replace", "path": json_pointer("spec", kind.spec_list), "value": entries}
        if self._data_keys.has_sealed or not self._review.keeps_spec:
            yield from self._data_keys.operations(body, kept)

    def _seal(self, position: EntryPosition, entry: EntryModel, before: str | None) -> str:
        """Return the sealed text of an entry's value: the stored text, if it holds the same value."""
        if entry.sealed not in (None, before):
            raise InvalidObjectError(
                f"`{position.field}` must have either `{entry.plain_field}` or `sealed`; remove one of the two"
            )
        value = entry.secret_value()
        if value is None:
            raise InvalidObjectError("`spec` has an entry without a value; give it one")
        name, namespace, known = self._model.metadata.name, self._review.namespace, self._review_context
        key = entry.key
        context = self._context_of(key)
        if not known.keep_unchanged:
            # The fingerprint is not stored either: a dry run with it would confirm a guessed value just as well.
            return self._data_keys.seal(value, context, None)
        stored = None if before is None else value_fingerprint(self._review.old_object or {}, key, before)
        if before is not None and stored is not None:
            if known.comparisons.is_reached(namespace, name, key):
                self.not_compared.append(key)
            elif is_equal(self._review, known, name, key, value, stored):
                if self._data_keys.can_open(before, context):
                    return before
                if stored.salt:
                    # The same value for a new key or place: its fingerprint stays, and so does its age.
                    return self._data_keys.seal(value, context, stored)
        mark = entry_fingerprint(known.fingerprint_key, namespace, name, key, value, next(self._salts))
        return self._data_keys.seal(value, context, mark)

    def _context_of(self, entry: EntryKey) -> SealingContext:
        if self._place is None:
            model, namespace, known = self._model, self._review.namespace, self._review_context
            slot = slot_of(model, namespace, known)
            self._place = sealing_context(known.cluster_id, namespace, model.metadata.name, slot, entry)
        return self._place.of_entry(entry.kind.context_word, entry.name)


def _sealed_entry(kind: EntryKind, raw: Mapping[str, Any], entry: EntryModel, text: str | None) -> Mapping[str, Any]:
    """Return an entry with its sealed text, ``None`` for none, and without sensitive plain text."""
    kept = dict(raw)
    for member in ("sealed", *(PLAINTEXT_MEMBERS[kind] if entry.has_secret_plaintext else ())):
        kept.pop(member, None)
    if text is not None:
        kept["sealed"] = text
    return kept


def _kept_text(entry: EntryModel, before: str | None) -> str | None:
    """Return the sealed text that an entry without sensitive plain text should have; ``None`` for none."""
    if entry.sealed is not None and entry.sealed == before and _has_other_source(entry):
        # An apply does not own the sealed text, so it would stay beside the new source.
        return None
    return entry.sealed


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
