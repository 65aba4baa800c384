"""Ciphertext that is damaged, forged or of a wrong size, stored behind admission's back: it opens nowhere."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from scoped_secrets import names
from scoped_secrets.core.entry import ENV_VALUE_BYTES
from scoped_secrets.core.scope.slot import Scope, Slot
from scoped_secrets.crypto.contexts import sealing_context
from scoped_secrets.crypto.data_keys import NewDataKey
from scoped_secrets.crypto.sealing import _info, seal
from scoped_secrets.crypto.sealing_certificate import SealingCertificate
from scoped_secrets.crypto.values import SecretValue
from tests.integration.console import SECONDS, pod, scoped_secret
from tests.support.builders import entry_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scoped_secrets.crypto.sealing import SealingContext
    from tests.cluster.control_plane import ControlPlane
    from tests.integration.company import Company
    from tests.integration.conftest import Founder
    from tests.integration.console import Console
    from tests.support.canary import Canary
    from tests.support.installed import InstalledOperator

pytestmark = pytest.mark.integration

_HEADER = 48


class Sealer:
    """Seals for this cluster, rightly and wrongly."""

    def __init__(self, certificate: SealingCertificate, organization: str) -> None:
        self._certificate = certificate
        self._organization = organization

    def context(self, namespace: str, name: str) -> SealingContext:
        slot = Slot(self._organization, Scope.PROJECT, "web", None, name)
        return sealing_context(self._certificate.cluster_id, namespace, name, slot, entry_key("env", "KEY"))

    def under_data_key(self, namespace: str, name: str, value: bytes) -> tuple[str, dict[str, str]]:
        """Return the text of a value under a data key, and the data key as it stands in a spec."""
        data_key, context = NewDataKey(), self.context(namespace, name)
        sealed = data_key.sealed(context, self._certificate.recipients.active)
        return data_key.seal(SecretValue(value), context, None), {"id": str(data_key.data_key_id), "sealed": sealed}

    def seal(self, namespace: str, name: str, value: bytes) -> str:
        recipient = self._certificate.recipients.active
        return seal(SecretValue(value), self.context(namespace, name), recipient, None)


def flipped(place: int) -> Callable[[str], str]:
    """Return what changes one bit of the envelope, counted from its begin or its end."""

    def change(text: str) -> str:
        envelope = bytearray(decoded(text))
        envelope[place] ^= 1
        return encoded(bytes(envelope))

    return change


def decoded(text: str) -> bytes:
    body = text[3:]
    return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))


def encoded(envelope: bytes, prefix: str = "v1:") -> str:
    return prefix + base64.urlsafe_b64encode(envelope).rstrip(b"=").decode()


DAMAGES: dict[str, Callable[[str], str]] = {
    "encapsulation": flipped(_HEADER + 1),
    "ciphertext": flipped(-40),
    "tag": flipped(-1),
    "fingerprint-flag": flipped(15),
    "key-id": flipped(8),
    "place": flipped(17),
    "shorter": lambda text: encoded(decoded(text)[:-64]),
    "longer": lambda text: encoded(decoded(text) + bytes(64)),
    "cut": lambda text: text[:200],
}


def damaged_under_data_key(place: int) -> Callable[[str, dict[str, str]], tuple[str, dict[str, str]]]:
    """Return what changes one bit of a value under a data key."""
    return lambda text, data_key: (encoded(decoded(flipped(place)(text)), "v2:"), data_key)


DAMAGES_UNDER_DATA_KEYS: dict[str, Callable[[str, dict[str, str]], tuple[str, dict[str, str]]]] = {
    "nonce": damaged_under_data_key(20),
    "ciphertext-under-data-key": damaged_under_data_key(40),
    "tag-under-data-key": damaged_under_data_key(-1),
    "entry-place": damaged_under_data_key(11),
    "data-key-id": damaged_under_data_key(3),
    "data-key-encapsulation": lambda text, data_key: (
        text,
        {**data_key, "sealed": flipped(_HEADER + 1)(data_key["sealed"])},
    ),
    "data-key-ciphertext": lambda text, data_key: (text, {**data_key, "sealed": flipped(-40)(data_key["sealed"])}),
    "data-key-of-lost-key": lambda text, data_key: (text, {**data_key, "sealed": flipped(8)(data_key["sealed"])}),
    "other-id": lambda text, data_key: (text, {**data_key, "id": "0011223344556677"}),
}


@pytest.fixture(scope="module")
def sealer(firm: tuple[Company, str], console: Console) -> Sealer:
    """What seals for the project's namespace."""
    get = ("configmap", names.CERTIFICATE_CONFIG_MAP, "-n", names.DEFAULT_NAMESPACE)
    text = console.cluster.get(*get)["data"][names.CERTIFICATE_FILE]
    return Sealer(SealingCertificate.parse(text.encode()), firm[0].organization)


@pytest.fixture(scope="module")
def firm(found: Founder, installed: InstalledOperator) -> tuple[Company, str]:
    """An organization and the namespace of its project."""
    installed.start()
    company = found()
    return company, company.namespace("web", "web")


@pytest.fixture(scope="module")
def broken(
    firm: tuple[Company, str], sealer: Sealer, console: Console, canary: Canary, installed: InstalledOperator
) -> Iterator[list[str]]:
    """The names of definitions whose texts are broken, stored while no webhook looked."""
    web = firm[1]
    texts = {name: damage(sealer.seal(web, name, canary.value(name).encode())) for name, damage in DAMAGES.items()}
    texts["forged-length"] = forged_length(sealer, web, "forged-length", canary.value("forged").encode())
    texts["of-another"] = sealer.seal(web, "another", canary.value("another").encode())
    bodies = [scoped_secret(f"{web}/{name}", env={"KEY": {"sealed": text}}) for name, text in texts.items()]
    for name, change in DAMAGES_UNDER_DATA_KEYS.items():
        text, data_key = change(*sealer.under_data_key(web, name, canary.value(name).encode()))
        texts[name] = text
        bodies.append(scoped_secret(f"{web}/{name}", env={"KEY": {"sealed": text}}, dataKeys=[data_key]))
    with installed.webhooks_off():
        console.apply(*bodies)
    # What the controller finds out about them, the admission server shall know.
    for name in texts:
        flags = ("-n", web, "--for=jsonpath={.status.conditions}", f"--timeout={SECONDS}s")
        console.cluster.kubectl("wait", f"ssec/{name}", *flags)
    firm[0].settle(web)
    yield list(texts)
    # Whoever reseals everything would be told of them.
    console.cluster.kubectl("delete", "ssec", "--all", "-n", web)


def forged_length(sealer: Sealer, namespace: str, name: str, value: bytes) -> str:
    """Return a text of the right place and key whose plaintext says that it is longer than it is."""
    place = sealer.context(namespace, name).encode()
    header = decoded(sealer.seal(namespace, name, value))[:_HEADER]
    padded = (1 << 31).to_bytes(4, "big") + value
    padded += bytes(-len(padded) % 64)
    recipient = sealer._certificate.recipients.active
    return encoded(header + recipient.encrypt(padded, _info(header, place)))


def test_no_broken_text_unseals_and_no_value_is_shown(
    firm: tuple[Company, str],
    broken: list[str],
    console: Console,
    canary: Canary,
    operator: InstalledOperator,
    own_control_plane: ControlPlane,
):
    web = firm[1]
    admitted = []
    for name in broken:
        body = pod(f"{web}/{name}", name)
        result = console.cluster.kubectl("create", "-f", "-", input=json.dumps(body), check=False)
        # What only the private key can tell is found out when the bundle is made, everything else before.
        if result.returncode == 0:
            admitted.append(name)
        else:
            assert "KeyLost" in result.stderr or "SealedForAnother" in result.stderr or "Invalid" in result.stderr
        assert not canary.find("kubectl", result.stderr)
    reasons = {name: console.wait_event(web, name, "BundleFailed")["message"] for name in admitted}

    assert {"encapsulation", "ciphertext", "tag", "forged-length"} <= set(admitted)
    assert {"nonce", "tag-under-data-key", "data-key-encapsulation", "data-key-ciphertext"} <= set(admitted)
    assert {"data-key-of-lost-key", "other-id", "entry-place"}.isdisjoint(admitted)
    # One and the same sentence, whatever was wrong; the definition has an event of its own under the same name.
    assert {message.rpartition(": ")[2] for message in reasons.values()} == {
        "variable 'KEY' cannot be unsealed; store the value again"
    }
    assert not console.bundles(web)
    sinks = canary.sweep(own_control_plane, logs=[*operator.logs, *own_control_plane.logs().values()])
    assert [str(finding) for finding in sinks] == []


def test_a_value_stored_again_reaches_the_next_job(
    firm: tuple[Company, str], broken: list[str], console: Console, canary: Canary
):
    company, web = firm
    console.apply(scoped_secret(f"{web}/ciphertext", env={"KEY": canary.value("mended")}))
    console.wait_condition(web, "ciphertext", "Ready", "True")
    company.settle(web)

    console.create(pod(f"{web}/mended", "ciphertext"))

    assert console.seen(web, "mended").visible == {"KEY": canary.value("mended")}


@pytest.mark.parametrize(
    ("field", "entry"),
    [
        ("env", lambda value: {"env": {"KEY": value * (ENV_VALUE_BYTES // len(value) + 1)}}),
        ("env", lambda value: {"env": {"KEY": f"{value}\0"}}),
        ("files", lambda value: {"files": {"/f": {"contentBase64": f"{value}!"}}}),
        ("files", lambda value: {"files": {"/f": value * (512 * 1024 // len(value) + 1)}}),
        ("spec", lambda value: {"files": {f"/{n}": value * (500_000 // len(value)) for n in range(3)}}),
    ],
    ids=["a large variable", "NUL", "no base64", "a large file", "a large bundle"],
)
def test_out_of_range_value_is_rejected_without_repeating_it(
    field: str, entry: Callable[[str], dict[str, Any]], firm: tuple[Company, str], console: Console, canary: Canary
):
    body = scoped_secret(f"{firm[1]}/large", **entry(canary.value("range")))

    for command in (("create",), ("apply", "--server-side")):
        message = console.refusal(body, command=command)
        assert field in message
        assert not canary.find("kubectl", message)
