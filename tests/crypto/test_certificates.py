import ipaddress
import socket
import ssl
import threading
from collections import deque
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification

from scoped_secrets.crypto.certificates import (
    AUTHORITY_LIFETIME,
    LEAF_LIFETIME,
    CertificateState,
    ca_bundle,
    only_certificates,
    plan_certificates,
    read_certificates,
    renewal_due,
    to_secret_data,
)

SERVICE = "scoped-secrets-admission.scoped-secrets.svc"
NAMES = (SERVICE, "localhost", "127.0.0.1", "::1")
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
START = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def first(now=START, names=NAMES):
    return plan_certificates(None, names, now, bundle_published=False)


def after(state, now, *, names=NAMES, published=True):
    return plan_certificates(state, names, now, bundle_published=published)


def can_verify(bundle, leaf, now, name=SERVICE):
    """Return whether a client with this bundle accepts the leaf at that time."""
    store = verification.Store(x509.load_pem_x509_certificates(bundle))
    verifier = verification.PolicyBuilder().store(store).time(now).build_server_verifier(x509.DNSName(name))
    try:
        verifier.verify(leaf.certificate, [])
    except verification.VerificationError:
        return False
    return True


def shakes_hands(state, bundle, folder, name="127.0.0.1"):
    """Return whether a client that trusts the bundle finishes a TLS handshake with a server that shows the leaf."""
    (folder / "tls.crt").write_bytes(state.leaf.certificate_pem())
    (folder / "tls.key").write_bytes(state.leaf.private_key_pem())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    client = ssl.create_default_context(cadata=bundle.decode("ascii"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_one, args=(listener, server))
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname(), timeout=10) as plain,
                client.wrap_socket(plain, server_hostname=name) as secured,
            ):
                return secured.recv(2) == b"ok"
        except ssl.SSLCertVerificationError:
            return False
        finally:
            thread.join(10)
            assert not thread.is_alive()


def answer_one(listener, context):
    connection, _ = listener.accept()
    connection.settimeout(10)
    with connection:
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                secured.sendall(b"ok")
        except (ssl.SSLError, ConnectionError):
            # The client refused the certificate; it tells its own side of it.
            return


# --- issuing ---


def test_a_first_state_serves_every_wanted_name(tmp_path):
    state = first(datetime.now(UTC))
    for name in (*NAMES, SERVICE.upper()):
        assert shakes_hands(state, ca_bundle(state), tmp_path, name)


def test_name_or_address_outside_the_certificate_is_rejected(tmp_path):
    state = first(datetime.now(UTC))
    for name in ("scoped-secrets-admission.other.svc", "127.0.0.2"):
        assert not shakes_hands(state, ca_bundle(state), tmp_path, name)


def test_certificates_have_the_documented_lifetime_and_are_backdated():
    state = first()
    whole = START.replace(microsecond=0)
    for certified, lifetime in ((state.authority, AUTHORITY_LIFETIME), (state.leaf, LEAF_LIFETIME)):
        assert timedelta() < START - certified.certificate.not_valid_before_utc < timedelta(hours=1)
        assert certified.certificate.not_valid_after_utc == whole + lifetime
    assert (AUTHORITY_LIFETIME // (365 * DAY), LEAF_LIFETIME) == (10, 90 * DAY)


def test_a_leaf_can_sign_nothing_and_an_authority_signs_leaves_only():
    state = first()
    for certified, is_authority, depth in ((state.authority, True, 0), (state.leaf, False, None)):
        constraints = certified.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = certified.certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (
            True,
            is_authority,
            depth,
        )
        assert usage.value.key_cert_sign is is_authority


def test_two_authorities_have_different_names():
    assert first().authority.certificate.subject != first().authority.certificate.subject


def test_names_are_needed_and_a_time_with_a_zone():
    with pytest.raises(ValueError, match="at least one name"):
        first(names=())
    with pytest.raises(ValueError, match="time zone"):
        first(now=START.replace(tzinfo=None))


def test_nothing_of_a_private_key_is_shown():
    state = first()
    for shown in (repr(state), f"{state.leaf}", str(state.authority)):
        assert "rivate" not in shown
        assert "PRIVATE" not in shown


# --- renewal ---


def test_renewal_is_due_after_two_thirds_of_the_life():
    leaf = first().leaf.certificate
    assert not renewal_due(leaf, START + 59 * DAY)
    assert renewal_due(leaf, START + 60 * DAY + HOUR)


def test_unchanged_state_is_the_same_object():
    state = first()
    for now in (START, START + 59 * DAY):
        for published in (True, False):
            for names in (NAMES, tuple(reversed(NAMES)), (*NAMES, SERVICE.upper(), "0:0:0:0:0:0:0:1")):
                assert after(state, now, names=names, published=published) is state


def test_leaf_renewal_uses_a_new_key_and_the_same_authority():
    state = first()
    renewed = after(state, START + 61 * DAY, published=False)
    assert renewed.authority is state.authority
    assert renewed.leaf.private_key_pem() != state.leaf.private_key_pem()
    assert can_verify(ca_bundle(state), renewed.leaf, START + 61 * DAY)
    assert after(renewed, START + 61 * DAY) is renewed


@pytest.mark.parametrize("names", [(SERVICE,), (*NAMES, "10.0.0.7"), ("other.svc",), ("192.0.2.1",)])
def test_changed_names_make_a_new_leaf(names):
    state = first()
    changed = after(state, START, names=names)
    assert changed.authority is state.authority
    alternatives = changed.leaf.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = [str(address) for address in alternatives.get_values_for_type(x509.IPAddress)]
    assert {*alternatives.get_values_for_type(x509.DNSName), *addresses} == set(names)
    assert after(changed, START, names=names) is changed


def test_the_zone_of_an_address_does_not_make_a_new_leaf_each_time():
    state = first(names=("fe80::1%eth0",))
    assert after(state, START, names=("fe80::1%eth0",)) is state
    assert ipaddress.ip_address("fe80::1") in (
        state.leaf.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value.get_values_for_type(x509.IPAddress)
    )  # fmt: skip


# --- a change of the authority ---


def authority_is_due(now):
    """Return a state whose leaf is fresh and whose authority has just come to two thirds of its life."""
    young = first(now - AUTHORITY_LIFETIME * 2 / 3 - HOUR / 2)
    state = after(young, now - HOUR)
    assert state.authority is young.authority
    assert renewal_due(state.authority.certificate, now)
    return state


def test_authority_change_never_breaks_a_handshake(tmp_path):
    now = datetime.now(UTC)
    before = authority_is_due(now)
    old_bundle = ca_bundle(before)
    assert shakes_hands(before, old_bundle, tmp_path)

    # First step: the new authority is only added. Clients may still have the old bundle, or have the new one.
    added = after(before, now)
    both = ca_bundle(added)
    assert added.leaf is before.leaf
    assert added.authority is not before.authority
    assert both == added.authority.certificate_pem() + old_bundle
    assert shakes_hands(added, old_bundle, tmp_path)
    assert shakes_hands(added, both, tmp_path)

    # It stays so for as long as the bundle is not published, whatever else changes.
    assert after(added, now + HOUR, published=False) is added
    assert after(added, now + HOUR, names=(SERVICE,), published=False) is added

    # Second step: the new authority signs. Servers may show either leaf, and clients that were reached verify both.
    signed = after(added, now, published=True)
    assert signed.authority is added.authority
    assert ca_bundle(signed) == both
    assert shakes_hands(signed, both, tmp_path)
    assert shakes_hands(before, both, tmp_path)
    assert not shakes_hands(signed, old_bundle, tmp_path)
    assert after(signed, now + HOUR) is signed

    # Third step: the old authority goes when no leaf of it can be valid any more.
    kept = after(signed, now + LEAF_LIFETIME - DAY)
    assert ca_bundle(kept) == both
    alone = after(kept, now + LEAF_LIFETIME + HOUR)
    assert alone.previous == ()
    assert ca_bundle(alone) == signed.authority.certificate_pem()
    assert shakes_hands(signed, ca_bundle(alone), tmp_path)
    assert not shakes_hands(before, ca_bundle(alone), tmp_path)


def test_a_leaf_that_expired_before_the_bundle_was_published_is_replaced_at_once():
    added = after(authority_is_due(START), START)
    late = START + LEAF_LIFETIME
    replaced = after(added, late, published=False)
    assert can_verify(ca_bundle(replaced), replaced.leaf, late)


@pytest.mark.parametrize("calls_until_published", [1, 2, 5])
def test_over_thirty_years_every_served_leaf_is_verified_by_every_published_bundle(calls_until_published):
    step = 7 * DAY
    state, now = first(), START
    published = ca_bundle(state)
    authorities, leaves = {state.authority.certificate}, {state.leaf.certificate}
    served = deque([state.leaf], maxlen=2)
    waited = 0
    while now < START + timedelta(days=365 * 30):
        now += step
        state = after(state, now, published=published == ca_bundle(state))
        # A replica may show the leaf before this one, and a client may not have the newest bundle yet.
        served.append(state.leaf)
        for leaf in served:
            assert can_verify(published, leaf, now)
            assert can_verify(ca_bundle(state), leaf, now)
        waited = waited + 1 if published != ca_bundle(state) else 0
        if waited >= calls_until_published:
            published, waited = ca_bundle(state), 0
        authorities.add(state.authority.certificate)
        leaves.add(state.leaf.certificate)
    assert len(authorities) == 5
    assert len(leaves) > 100


# --- damage ---


def test_a_state_reads_back_from_the_data_of_a_secret():
    for state in (first(), after(authority_is_due(START), START)):
        data = to_secret_data(state)
        assert set(data) == {"tls.crt", "tls.key", "ca.crt", "ca.key", "ca-previous.crt"}
        again = read_certificates(data)
        assert isinstance(again, CertificateState)
        assert to_secret_data(again) == data
        assert after(again, START, published=False) is again


def test_no_data_is_no_state():
    assert read_certificates({}) is None
    assert read_certificates({"tls.crt": b"x", "tls.key": b"", "ca.crt": b"\xff", "ca.key": b"x"}) is None


DAMAGES = {
    "missing": lambda good, other: None,
    "empty": lambda good, other: b"",
    "cut": lambda good, other: good[: len(good) // 2],
    "garbage": lambda good, other: b"-----BEGIN CERTIFICATE-----\n\xff\n-----END CERTIFICATE-----\n",
    "of another": lambda good, other: other,
}


def damaged(state, entries, damage):
    data, other = to_secret_data(state), to_secret_data(first())
    for entry in entries:
        data[entry] = DAMAGES[damage](data[entry], other[entry])
    return read_certificates({entry: content for entry, content in data.items() if content is not None})


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("entry", ["tls.crt", "tls.key"])
def test_a_damaged_leaf_is_replaced_at_once_by_the_authority_that_clients_trust(entry, damage):
    state = first()
    mended = after(damaged(state, [entry], damage), START, published=False)
    assert mended.authority.certificate == state.authority.certificate
    assert mended.leaf.certificate != state.leaf.certificate
    assert can_verify(ca_bundle(state), mended.leaf, START)


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_authority_that_lost_its_key_is_replaced_in_two_steps(damage):
    state = first()
    found = damaged(state, ["ca.key"], damage)
    added = after(found, START)
    assert added.authority.certificate != state.authority.certificate
    assert added.leaf.certificate == state.leaf.certificate
    assert added.previous == (state.authority.certificate,)
    assert can_verify(ca_bundle(added), added.leaf, START)
    signed = after(added, START, published=True)
    assert signed.leaf.certificate != state.leaf.certificate
    assert can_verify(ca_bundle(added), signed.leaf, START)


def test_a_second_loss_in_the_middle_of_a_change_keeps_the_authority_of_the_served_leaf():
    added = after(authority_is_due(START), START)
    lost = damaged(added, ["ca.key"], "empty")
    again = after(lost, START + HOUR)
    assert again.leaf.certificate == added.leaf.certificate
    assert again.previous == (added.authority.certificate, *added.previous)
    assert can_verify(ca_bundle(again), again.leaf, START + HOUR)


def test_after_two_losses_each_old_authority_goes_when_its_own_last_leaf_has_expired():
    state = first()
    second = after(after(damaged(state, ["ca.key"], "empty"), START), START)
    third = after(after(damaged(second, ["ca.key"], "empty"), START + 30 * DAY), START + 30 * DAY)
    both = (second.authority.certificate, state.authority.certificate)
    assert after(third, START + 89 * DAY).previous == both
    assert after(third, START + 91 * DAY).previous == both[:1]
    assert after(third, START + 119 * DAY).previous == both[:1]
    assert after(third, START + 121 * DAY).previous == ()


@pytest.mark.parametrize("damage", DAMAGES)
def test_fully_damaged_state_is_replaced(damage):
    found = damaged(first(), ["tls.crt", "tls.key", "ca.crt", "ca.key"], damage)
    mended = after(found, START)
    assert can_verify(ca_bundle(mended), mended.leaf, START)


def with_changed_bits(certificate):
    plain = certificate.public_bytes(Encoding.DER)
    for position in range(0, len(plain), 7):
        changed = plain[:position] + bytes([plain[position] ^ 1]) + plain[position + 1 :]
        yield ssl.DER_cert_to_PEM_cert(changed).encode()


def test_a_leaf_with_a_changed_bit_is_replaced():
    state = first()
    for changed in with_changed_bits(state.leaf.certificate):
        mended = after(read_certificates(to_secret_data(state) | {"tls.crt": changed}), START)
        assert can_verify(ca_bundle(state), mended.leaf, START)


def test_an_authority_with_a_changed_bit_is_replaced_and_signs_nothing():
    state = first()
    for changed in with_changed_bits(state.authority.certificate):
        mended = after(read_certificates(to_secret_data(state) | {"ca.crt": changed}), START)
        assert mended.authority.certificate_pem() != changed
        assert can_verify(mended.authority.certificate_pem(), after(mended, START).leaf, START)


def test_only_the_certificates_of_a_text_are_published():
    states = [first(), first()]
    text = b"".join(ca_bundle(state) + state.authority.private_key_pem() for state in states)

    assert only_certificates(text) == ca_bundle(states[0]) + ca_bundle(states[1])
    assert only_certificates(b"") == only_certificates(b"no certificate") == b""
    assert only_certificates(states[0].authority.private_key_pem()) == b""
