"""Ask admission whether a value is the stored one: the value is sealed, and the update that asks stores nothing."""

import copy
from dataclasses import dataclass

from scoped_secrets import names
from scoped_secrets.api.comparison import ComparisonRequest, stored_fingerprint
from scoped_secrets.core.entry import ENV_VALUE_BYTES, FILE_BYTES, EntryKey, EntryKind
from scoped_secrets.crypto.guesses import Question, seal_guess
from scoped_secrets.crypto.keys import PublicSealingKey
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import (
    ClusterError,
    ConflictError,
    DeniedError,
    ForbiddenError,
    InvalidObjectError,
)
from scoped_secrets.kube import paths
from scoped_secrets.kube.access_reviews import own_user
from scoped_secrets.kube.client import Body, Cluster
from scoped_secrets.kube.public_key import fetch_comparison_key
from scoped_secrets.names import ComparisonAnswer, Reason
from scoped_secrets.operations.admission_warnings import warning_texts

__all__ = ["Verification", "plan_verification", "verify_value"]


@dataclass(frozen=True, slots=True)
class Verification:
    """The entry to verify, and what a value for it is sealed for.

    Attributes:
        body: The stored object.
        question: What the value is compared with.
        recipient: The public half of the comparison key.
    """

    body: Body
    question: Question
    recipient: PublicSealingKey


async def plan_verification(
    cluster: Cluster, namespace: str, name: str, entry: EntryKey, operator_namespace: str
) -> Verification:
    """Find the entry, and check that it can be verified, before any value is read.

    Args:
        cluster: The client.
        namespace: The namespace of the ScopedSecret.
        name: Its name.
        entry: The entry.
        operator_namespace: The operator's own namespace, which publishes the comparison key.

    Raises:
        DeniedError: The object does not exist, or the entry cannot be verified.
        ForbiddenError: The person may not update the object.
        KeyMaterialError: The operator publishes no comparison key.
        ClusterError: A request failed.
    """
    body = await cluster.get(paths.scoped_secrets(namespace, name))
    if body is None:
        raise DeniedError(Reason.NOT_FOUND, f"ScopedSecret '{namespace}/{name}' does not exist; check --namespace")
    stored = stored_fingerprint(body, entry)
    recipient = await fetch_comparison_key(cluster, operator_namespace)
    # A dry run without a change shows whether an update is allowed, before a person types a value.
    try:
        await _dry_run(cluster, body)
    except ForbiddenError as error:
        raise ForbiddenError(
            f"you may not update {_location(body)}, which verifying its values requires; request the verb 'update'",
            status=error.status,
        ) from None
    question = Question(namespace, name, entry, await own_user(cluster), stored)
    return Verification(body, question, recipient)


async def verify_value(cluster: Cluster, verification: Verification, value: SecretValue) -> bool:
    """Return whether a value is the stored one.

    Raises:
        InvalidObjectError: The value breaks a limit, so that it cannot be the stored one.
        ConflictError: The object has changed since it was read.
        ClusterError: Admission did not compare the value, or a request failed.
    """
    question = verification.question
    _check(question.entry, value)
    sealed = seal_guess(value, question, verification.recipient)
    body = copy.deepcopy(verification.body)
    annotations = body["metadata"].get("annotations") or {}
    request = ComparisonRequest(question.entry, sealed)
    body["metadata"]["annotations"] = {**annotations, names.COMPARE_ANNOTATION: request.encode()}
    try:
        warnings = await _dry_run(cluster, body)
    except ConflictError:
        raise
    except ClusterError as error:
        raise ClusterError(f"{question.entry} was not compared: {error}", status=error.status) from None
    return _is_equal(question.entry, warnings)


async def _dry_run(cluster: Cluster, body: Body) -> tuple[str, ...]:
    """Return the warnings about an update of an object; nothing is stored."""
    metadata = body["metadata"]
    path = paths.scoped_secrets(metadata["namespace"], metadata["name"])
    try:
        _, headers = await cluster.submit("PUT", path, body, dry_run=True)
    except ConflictError as error:
        raise ConflictError(f"{_location(body)} was changed just now; try again", status=error.status) from None
    return warning_texts(headers)


def _is_equal(entry: EntryKey, warnings: tuple[str, ...]) -> bool:
    """Return admission's answer."""
    if ComparisonAnswer.NOT_COMPARED in warnings:
        raise ClusterError(
            f"{entry} {names.NOT_COMPARED}, because admission compared too many different values with it within the "
            "last hour; try again in some minutes"
        )
    is_equal = ComparisonAnswer.EQUAL in warnings
    if is_equal is (ComparisonAnswer.DIFFERENT in warnings):
        raise ClusterError(
            f"{entry} {names.NOT_COMPARED}: admission gave no answer; upgrade all replicas of the operator, and check "
            "that its webhooks are installed"
        )
    return is_equal


def _check(entry: EntryKey, value: SecretValue) -> None:
    """Raise InvalidObjectError when a value cannot be that of an entry."""
    is_variable = entry.kind is EntryKind.ENV
    limit = ENV_VALUE_BYTES if is_variable else FILE_BYTES
    if value.size > limit:
        raise InvalidObjectError(
            f"the value for {entry} has more than {limit // 1024} KiB, and so is not the stored one"
        )
    if is_variable and not _is_text(value):
        raise InvalidObjectError(f"the value for {entry} is no UTF-8 text, and so not the one of a variable")


def _is_text(value: SecretValue) -> bool:
    try:
        value.reveal().decode()
    except UnicodeDecodeError:
        return False
    return True


def _location(body: Body) -> str:
    return f"ScopedSecret '{body['metadata']['namespace']}/{body['metadata']['name']}'"
