"""Texts that were sealed offline: accepted at the place they were made for, refused elsewhere when they are applied."""

import copy
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.admission.support import (
    CLUSTER_ID,
    FINGERPRINT_KEY,
    KEYS,
    ask,
    permission,
    refusal,
    review_context,
    scoped_secret,
    stored,
)
from tests.support.builders import NOW, entry_key, inventory, scope_labels
from tests.support.texts import open_text

from scoped_secrets.admission.comparison_limit import COMPARED_VALUES
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.crypto.contexts import entry_fingerprint, sealing_context
from scoped_secrets.crypto.keys import KeyRing, PrivateSealingKey
from scoped_secrets.crypto.recorded_fingerprints import recorded_fingerprint
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import SealingError
from scoped_secrets.names import Reason
from scoped_secrets.operations.sealing_plan import PlainEntry, SealingTarget, sealed_object

VALIDATE = "/validate/scopedsecrets"
HERE = SealingTarget("web", "aws", "acme", "web", Scope.ENVIRONMENT, "production")
CERTIFICATE = SealingCertificate(CLUSTER_ID, KEYS.public())


def company(**namespaces):
    """Return a state in which namespaces have these organizations and projects."""
    labels = {"web": ("acme", "web"), "home": ("acme", None), **namespaces}
    return review_context(inventory({namespace: {"labels": scope_labels(*path)} for namespace, path in labels.items()}))


KNOWN = company()
VALUES = (
    PlainEntry(entry_key("env", "A"), None, SecretValue(b"one")),
    PlainEntry(entry_key("file", "a"), None, SecretValue(b"two\0")),
)


def sealed(where=HERE, *, certificate=CERTIFICATE, **spec):
    """Return an object as ``seal`` prints it."""
    return sealed_object(where, spec, VALUES, certificate)


def renamed(body, group, key, name):
    entry = {**body["spec"][group][0], key: name}
    return {**body, "spec": {**body["spec"], group: [entry]}}


def test_what_was_sealed_offline_is_stored_as_it_is_and_opens():
    body = sealed()

    result = stored(body, KNOWN)

    assert result == body
    slot = Slot("acme", Scope.ENVIRONMENT, "web", "production", "aws")
    for kind, name, entry, value in (
        ("env", "A", result["spec"]["env"][0], b"one"),
        ("file", "a", result["spec"]["files"][0], b"two\0"),
    ):
        context = sealing_context(CLUSTER_ID, "web", "aws", slot, entry_key(kind, name))
        assert open_text(result["spec"], entry["sealed"], context, KEYS) == value


def test_applying_it_again_is_no_change():
    body = stored(sealed(), KNOWN)

    assert not permission(ask("/mutate/scopedsecrets", body, KNOWN, old=copy.deepcopy(body))).operations
    permission(ask(VALIDATE, body, KNOWN, old=copy.deepcopy(body)))


def test_it_is_the_same_from_the_organization_s_home():
    where = replace(HERE, namespace="home")

    permission(ask(VALIDATE, sealed(where), KNOWN))


def moved(body, **metadata):
    return {**body, "metadata": {**body["metadata"], **metadata}}


def changed(body, **spec):
    return {**body, "spec": {**body["spec"], **spec}}


PROJECT = replace(HERE, scope=Scope.PROJECT, environment=None)
OTHER_CLUSTER = SealingCertificate("another-cluster", KEYS.public())
COPIES = {
    "to an object of another name": moved(sealed(secretName="aws"), name="copy"),
    "to another namespace of the project": moved(sealed(), namespace="web2"),
    "to another project": changed(moved(sealed(), namespace="api"), project="api"),
    "to another organization": moved(sealed(), namespace="rival"),
    "to another variable": renamed(sealed(), "env", "name", "B"),
    "to another path": renamed(sealed(), "files", "path", "b"),
    "from a file to a variable of its name": changed(
        sealed(), env=[{"name": "a", "sealed": sealed()["spec"]["files"][0]["sealed"]}], files=[]
    ),
    "from a variable to a file of its name": changed(
        sealed(), env=[], files=[{"path": "A", "sealed": sealed()["spec"]["env"][0]["sealed"]}]
    ),
    "to another environment": changed(sealed(), environment="staging"),
    "to a pattern with the environment in it": changed(sealed(), environment="*"),
    "from an environment to the project": moved(
        {**sealed(), "spec": {key: part for key, part in sealed()["spec"].items() if key != "environment"}
         | {"scope": "Project"}}
    ),
    "from the project to an environment": changed(sealed(PROJECT), scope="Environment", environment="production"),
    "from another cluster": sealed(certificate=OTHER_CLUSTER),
    "from the home to the project's namespace": moved(sealed(replace(HERE, namespace="home")), namespace="web"),
}  # fmt: skip


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_refused_when_it_is_applied(how):
    known = company(api=("acme", "api"), rival=("rival", "web"), web2=("acme", "web"))

    denial = refusal(ask(VALIDATE, COPIES[how], known))

    assert denial.reason is Reason.SEALED_FOR_ANOTHER
    assert "was sealed for another cluster, object, scope or entry" in denial.message
    assert "seal the value again for this one" in denial.message


def test_no_copy_is_refused_for_another_reason():
    # Sealed for the place that it is copied to, each of the objects above would be stored.
    known = company(api=("acme", "api"), rival=("rival", "web"), web2=("acme", "web"))
    for where in (
        replace(HERE, name="copy"),
        replace(HERE, namespace="web2"),
        replace(HERE, namespace="api", project="api"),
        replace(HERE, namespace="rival", organization="rival"),
        replace(HERE, environment="staging"),
        replace(HERE, environment="*"),
        PROJECT,
    ):
        permission(ask(VALIDATE, sealed(where), known))


def test_a_text_for_a_key_that_the_cluster_does_not_have_is_refused_with_the_remedy():
    foreign = KeyRing((PrivateSealingKey(bytes(32), KEYS.active.created),))

    denial = refusal(ask(VALIDATE, sealed(certificate=SealingCertificate(CLUSTER_ID, foreign.public())), KNOWN))

    assert denial.reason is Reason.KEY_LOST
    assert "seal the value again with its present public key" in denial.message


def test_a_text_for_an_old_key_is_stored_while_the_key_is_kept():
    newer = PrivateSealingKey(bytes(32), KEYS.active.created.replace(year=2027))
    known = replace(KNOWN, recipients=KEYS.with_key(newer).public())

    permission(ask(VALIDATE, sealed(), known))


def test_a_header_that_lies_passes_admission_but_opens_nowhere():
    # Without the private key the header has to be believed; the controller's Ready condition says the rest.
    own, foreign = sealed(), sealed(replace(HERE, name="copy"))
    header = len("v2:") + 40
    text = own["spec"]["env"][0]["sealed"][:header] + foreign["spec"]["env"][0]["sealed"][header:]
    forged = changed(own, env=[{"name": "A", "sealed": text}])
    assert text not in (own["spec"]["env"][0]["sealed"], foreign["spec"]["env"][0]["sealed"])

    permission(ask(VALIDATE, forged, KNOWN))
    # The data key of the other object under the id that the header names.
    other = {"dataKeys": [{"id": own["spec"]["dataKeys"][0]["id"], "sealed": foreign["spec"]["dataKeys"][0]["sealed"]}]}
    for name in ("aws", "copy"):
        context = sealing_context(CLUSTER_ID, "web", name, HERE.slot("aws"), entry_key("env", "A"))
        with pytest.raises(SealingError):
            open_text(own["spec"] if name == "aws" else other, text, context, KEYS)


def test_a_value_in_plain_text_takes_the_place_of_one_that_was_sealed_offline():
    body = stored(sealed(), KNOWN)
    plain = scoped_secret(**{**body["spec"], "env": [{"name": "A", "value": "new"}]})

    result = stored(plain, KNOWN, old=body)

    assert result["spec"]["env"][0]["sealed"] != body["spec"]["env"][0]["sealed"]
    assert result["spec"]["files"] == body["spec"]["files"]


def with_fingerprint(body, value):
    """Return a stored object whose status has a fingerprint of its variable, as the controller records it."""
    entry, text = entry_key("env", "A"), body["spec"]["env"][0]["sealed"]
    made = entry_fingerprint(FINGERPRINT_KEY, "web", "aws", entry, SecretValue(value), bytes(12))
    recorded = {"kind": "Env", "name": "A", "recordedFingerprint": recorded_fingerprint(text, made)}
    return {**body, "status": {"entries": [recorded]}}


def applied(value):
    """Return the manifest with a variable in plain text."""
    body = sealed()
    return {**body, "spec": {**body["spec"], "env": [{"name": "A", "value": value}]}}


def text_after(value, old, known):
    return stored(applied(value), known, old=old)["spec"]["env"][0]["sealed"]


def test_the_same_value_in_plain_text_keeps_a_text_whose_fingerprint_is_recorded():
    old = with_fingerprint(stored(sealed(), KNOWN), b"one")
    before = old["spec"]["env"][0]["sealed"]

    assert text_after("one", old, KNOWN) == before
    assert text_after("two", old, KNOWN) != before


def test_without_the_record_the_same_value_is_sealed_again():
    old = stored(sealed(), KNOWN)

    assert text_after("one", old, KNOWN) != old["spec"]["env"][0]["sealed"]


def test_a_record_of_another_text_counts_for_nothing():
    # The writer of a status without the guard can copy it, and gets no further than without one.
    old = with_fingerprint(stored(sealed(), KNOWN), b"one")
    other = {**stored(sealed(), KNOWN), "status": old["status"]}

    assert text_after("one", other, KNOWN) != other["spec"]["env"][0]["sealed"]


def test_the_limit_on_guesses_holds_for_a_recorded_fingerprint():
    known = company()
    old = with_fingerprint(stored(sealed(), known), b"one")
    for number in range(COMPARED_VALUES):
        text_after(f"guess {number}", old, known)

    assert text_after("one", old, known) != old["spec"]["env"][0]["sealed"]


def test_where_nothing_is_compared_a_record_is_not_either():
    known = replace(company(), keep_unchanged=False)
    old = with_fingerprint(stored(sealed(), known), b"one")

    assert text_after("one", old, known) != old["spec"]["env"][0]["sealed"]


def with_former(body, name="A_PREVIOUS", of="A", days=1.0, text=None):
    """Return an object with the text of its variable as a former value."""
    ends = (NOW + timedelta(days=days)).isoformat()
    former = {
        "name": name,
        "previousOf": of,
        "sealed": text or body["spec"]["env"][0]["sealed"],
        "expireTime": ends,
    }
    return {**body, "spec": {**body["spec"], "env": [*body["spec"]["env"], former]}}


def test_a_text_may_stand_as_the_former_value_of_its_own_variable():
    body = with_former(sealed())

    assert stored(body, KNOWN) == body


def test_a_text_of_another_entry_is_no_former_value():
    body = sealed()
    text = body["spec"]["files"][0]["sealed"]

    denial = refusal(ask(VALIDATE, with_former(body, text=text), KNOWN))

    assert denial.reason is Reason.SEALED_FOR_ANOTHER


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "B"}, "must be the name of the variable `previousOf` and `_PREVIOUS`"),
        ({"days": 91}, "`spec.env[1].expireTime` must be at most 90 days ahead"),
    ],
)
def test_a_former_value_has_one_name_and_an_end(given, words):
    assert words in refusal(ask(VALIDATE, with_former(sealed(), **given), KNOWN)).message


@pytest.mark.parametrize("missing", ["previousOf", "expireTime", "sealed"])
def test_a_former_value_has_all_of_its_fields(missing):
    body = with_former(sealed())
    entry = body["spec"]["env"][1]
    del entry[missing]
    if missing == "sealed":
        # Plain text would be refused before.
        entry["valueFrom"] = {"secretKeyRef": {"name": "native", "key": "A"}}

    assert "together" in refusal(ask(VALIDATE, body, KNOWN)).message
