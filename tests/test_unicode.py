"""Names and paths are compared character by character, as Linux compares bytes: nothing is normalised or folded."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoped_secrets.api.parsing import check_scoped_secret, parse_scoped_secret
from scoped_secrets.core.entry import EntryKey, EntryKind
from scoped_secrets.core.injection.file_paths import check_paths, collapse, normalise
from scoped_secrets.core.resolution.references import parse_references
from scoped_secrets.core.scope.globs import matches
from scoped_secrets.crypto.contexts import entry_fingerprint
from scoped_secrets.crypto.fingerprints import FingerprintKey
from scoped_secrets.crypto.sealing import seal, unseal
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import DeniedError, InvalidObjectError, SealingError
from tests.admission.support import ask as ask_webhook
from tests.admission.support import patched, permission, refusal, review_context, scoped_secret
from tests.crypto.support import CONTEXT, NEW_KEY, RING

COMPOSED, DECOMPOSED = "/caf\u00e9/k\u00e4se", "/cafe\u0301/ka\u0308se"
MUTATE, VALIDATE = "/mutate/scopedsecrets", "/validate/scopedsecrets"
texts = st.text(alphabet=st.characters(exclude_characters="/.", codec="utf-8"), min_size=1, max_size=20)


def test_the_two_forms_are_equal_only_after_normalisation():
    assert COMPOSED != DECOMPOSED
    assert unicodedata.normalize("NFC", DECOMPOSED) == COMPOSED


def test_two_forms_of_a_path_are_two_files():
    assert [normalise(path, "/root") for path in (COMPOSED, DECOMPOSED)] == [COMPOSED, DECOMPOSED]
    check_paths([COMPOSED, DECOMPOSED], (), "main")


@given(st.lists(texts, min_size=1, max_size=5))
def test_a_path_keeps_every_character(parts):
    assert collapse("//".join(["", *parts])) == "/" + "/".join(parts)


@pytest.mark.parametrize("dots", ["\uff0e\uff0e", "\u2024\u2024", "\u2025", ".\u200b."])
def test_characters_that_look_like_dots_lead_nowhere(dots):
    assert collapse(f"/a/{dots}/b") == f"/a/{dots}/b"


@pytest.mark.parametrize("slash", ["\uff0f", "\u2215", "\u2044"])
def test_characters_that_look_like_a_slash_end_no_component(slash):
    assert collapse(f"/a{slash}..{slash}b") == f"/a{slash}..{slash}b"


def test_a_component_is_measured_in_bytes():
    assert normalise("/" + "\u00e9" * 127, "/root")
    with pytest.raises(DeniedError, match="more than 255 bytes"):
        normalise("/" + "e\u0301" * 127, "/root")


def test_two_forms_of_a_path_do_not_open_each_others_texts():
    definition = scoped_secret(
        files=[{"path": COMPOSED, "content": "one"}, {"path": DECOMPOSED, "content": "one"}],
    )
    known = review_context()
    stored = patched(definition, ask_webhook(MUTATE, definition, known))
    swapped = {**stored, "spec": {**stored["spec"], "files": [dict(file) for file in stored["spec"]["files"]]}}
    one, other = swapped["spec"]["files"]
    one["sealed"], other["sealed"] = other["sealed"], one["sealed"]

    assert [file["path"] for file in stored["spec"]["files"]] == [COMPOSED, DECOMPOSED]
    assert permission(ask_webhook(VALIDATE, stored, known)).operations == ()
    assert "was sealed for another" in refusal(ask_webhook(VALIDATE, swapped, known)).message


@pytest.mark.parametrize("pair", [(COMPOSED, DECOMPOSED), ("K", "\u212a"), ("\u00df", "SS"), ("\u0131", "I")])
def test_contexts_and_fingerprints_tell_forms_and_cases_apart(pair):
    key, value, salt = FingerprintKey(bytes(32)), SecretValue(b"x"), bytes(12)
    marks = {entry_fingerprint(key, "web", "aws", EntryKey(EntryKind.FILE, name), value, salt) for name in pair}
    places = [CONTEXT._replace(entry_kind="file", entry_name=name) for name in pair]
    text = seal(value, places[0], NEW_KEY.public_key, None)

    assert len(marks) == 2
    assert unseal(text, places[0], RING).reveal() == b"x"
    with pytest.raises(SealingError):
        unseal(text, places[1], RING)


@pytest.mark.parametrize("name", ["\uff41ws", "aws\u200b", "\u0430ws", "a\u0308ws", "aws\u0661", "aws\n"])
def test_names_of_bundles_and_variables_have_no_letters_beyond_ascii(name):
    # Space around an item is no part of it.
    if name.strip() == name:
        with pytest.raises(DeniedError):
            parse_references(name, field="annotation")
    for spec in ({"secretName": name}, {"env": [{"name": name.replace("aws", "AWS"), "value": "x"}]}):
        with pytest.raises(InvalidObjectError):
            check_scoped_secret(parse_scoped_secret(scoped_secret(**spec)))


def test_a_pattern_of_environments_matches_its_own_form_only():
    assert matches("pr\u00f6d", "pr\u00f6d")
    assert not matches("pr\u00f6d", "pro\u0308d")
    assert not matches("\u212a*", "k1")
