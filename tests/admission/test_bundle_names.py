"""A bundle's name belongs to one pod and cannot be made without the key."""

from datetime import timedelta

import pytest
from tests.support.builders import NOW

from scoped_secrets.core.injection.layout import part_base
from scoped_secrets.crypto.bundle_names import is_genuine, make_base, seconds_since_made
from scoped_secrets.crypto.fingerprints import FingerprintKey

KEY = FingerprintKey(bytes(range(32)))
BASE = make_base(KEY, "web", "job-/owner", "review-1")


def test_a_base_is_a_prefix_of_valid_names_of_secrets():
    assert BASE.startswith("ssec-")
    assert len(BASE) == 5 + 16 + 16
    assert BASE[5:].isalnum()
    assert BASE.lower() == BASE
    assert part_base(f"{BASE}-0") == BASE


def test_the_same_review_gives_the_same_base_so_that_admission_is_pure():
    assert make_base(KEY, "web", "job-/owner", "review-1") == BASE


def test_pods_of_one_identity_get_bases_of_their_own():
    assert make_base(KEY, "web", "job-/owner", "review-2") != BASE


def test_a_base_is_genuine_for_its_pod():
    assert is_genuine(KEY, "web", "job-/owner", BASE)


@pytest.mark.parametrize(
    ("namespace", "identity", "base"),
    [
        pytest.param("api", "job-/owner", BASE, id="another namespace"),
        pytest.param("web", "job-/other", BASE, id="another owner"),
        pytest.param("web", "job2-/owner", BASE, id="another name"),
        pytest.param("web", "job-/owner", BASE[:-1] + ("a" if BASE[-1] != "a" else "b"), id="another tag"),
        pytest.param("web", "job-/owner", "ssec-" + "a" * 16 + BASE[21:], id="another nonce"),
        pytest.param("web", "job-/owner", BASE[:-1], id="too short"),
        pytest.param("web", "job-/owner", BASE + "a", id="too long"),
        pytest.param("web", "job-/owner", BASE.removeprefix("ssec-"), id="no prefix"),
        pytest.param("web", "job-/owner", "ssec-" + "\ud800" * 32, id="no text that has bytes"),
        pytest.param("web", "job-/owner", "", id="nothing"),
    ],
)
def test_a_base_that_was_not_made_for_the_pod_is_not_genuine(namespace, identity, base):
    assert not is_genuine(KEY, namespace, identity, base)


def test_another_key_makes_other_bases():
    other = FingerprintKey(bytes(32))

    assert not is_genuine(other, "web", "job-/owner", BASE)
    assert make_base(other, "web", "job-/owner", "review-1") != BASE


@pytest.mark.parametrize("seconds", [0, 1, 90, -5])
def test_a_base_tells_when_it_was_made_to_the_second(seconds):
    base = make_base(KEY, "web", "job-/owner", "review-1", NOW)

    assert is_genuine(KEY, "web", "job-/owner", base)
    assert int(seconds_since_made(base, NOW + timedelta(seconds=seconds))) == seconds


@pytest.mark.parametrize("base", [BASE, "ssec-1", "ssec-" + "\ud800" * 32, ""])
def test_a_base_without_a_time_was_not_made_just_now(base):
    assert seconds_since_made(base, NOW) > 10**9
