"""Verifying a value: what is refused before it is sent, and answers that are none."""

import json

import pytest
from tests.admission.support import scoped_secret
from tests.kube.fake import FakeServer
from tests.support.builders import entry_key

from scoped_secrets import names
from scoped_secrets.core.entry import ENV_VALUE_BYTES, FILE_BYTES
from scoped_secrets.crypto.fingerprints import Fingerprint, FingerprintKey
from scoped_secrets.crypto.guesses import Question, comparison_key, open_guess
from scoped_secrets.crypto.values import SecretValue
from scoped_secrets.errors import ClusterError, ConflictError, InvalidObjectError
from scoped_secrets.names import ComparisonAnswer
from scoped_secrets.operations.verify import Verification, verify_value

KEY = FingerprintKey(bytes(range(32)))
TOKEN, FILE = entry_key("env", "TOKEN"), entry_key("file", "/a b")
CANARY = b"canary-93be10"


def verification(entry=TOKEN):
    question = Question("web", "aws", entry, "alice", Fingerprint(bytes(16), bytes(12)))
    return Verification(scoped_secret(annotations={"kept": "yes"}), question, comparison_key(KEY).public_key)


async def answered(tmp_path, *warnings, status=200, content=CANARY, entry=TOKEN):
    """Return what an answer with these warnings means, and the bodies of the requests."""
    headers = {"Warning": ", ".join(f'299 - "{warning}"' for warning in warnings)} if warnings else {}
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        server.will_answer(status, {"message": "Invalid: refused"}, **headers)
        result = await verify_value(cluster, verification(entry), SecretValue(content))
        return result, server.requests, server.bodies


@pytest.mark.parametrize(
    ("warnings", "is_equal"),
    [
        ((ComparisonAnswer.EQUAL,), True),
        ((ComparisonAnswer.DIFFERENT,), False),
        (("another webhook warns", ComparisonAnswer.EQUAL), True),
    ],
)
async def test_the_answer_is_admissions_warning(warnings, is_equal, tmp_path):
    assert (await answered(tmp_path, *warnings))[0] is is_equal


@pytest.mark.parametrize(
    ("warnings", "words"),
    [
        ((), "admission gave no answer; upgrade all replicas"),
        ((f"{ComparisonAnswer.EQUAL}!",), "admission gave no answer"),
        ((ComparisonAnswer.EQUAL, ComparisonAnswer.DIFFERENT), "admission gave no answer"),
        ((ComparisonAnswer.NOT_COMPARED,), "too many different values"),
        ((ComparisonAnswer.NOT_COMPARED, ComparisonAnswer.EQUAL), "too many different values"),
    ],
)
async def test_without_one_answer_nothing_is_concluded(warnings, words, tmp_path):
    with pytest.raises(ClusterError, match=f"variable 'TOKEN' was not compared with the stored value.*{words}"):
        await answered(tmp_path, *warnings)


async def test_the_request_is_a_dry_run_of_the_stored_object_with_a_sealed_guess(tmp_path):
    _, requests, bodies = await answered(tmp_path, ComparisonAnswer.EQUAL)
    body = json.loads(bodies[0])
    text = body["metadata"]["annotations"].pop(names.COMPARE_ANNOTATION)

    path = f"/apis/{names.API_VERSION}/namespaces/web/scopedsecrets/aws"
    assert requests == [f"PUT {path}?fieldManager={names.PERSON_FIELD_MANAGER}&dryRun=All"]
    assert body == verification().body
    assert CANARY.decode() not in bodies[0]
    assert text.startswith("env TOKEN g1:")
    opened = open_guess(text.rpartition(" ")[2], verification().question, (KEY,))
    assert opened is not None
    assert opened.reveal() == CANARY


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (409, ConflictError, "ScopedSecret 'web/aws' was changed just now; try again"),
        (422, ClusterError, "variable 'TOKEN' was not compared: Invalid: refused"),
        (403, ClusterError, "variable 'TOKEN' was not compared: Invalid: refused"),
    ],
)
async def test_a_refusal_is_an_error_with_its_reason(status, error, words, tmp_path):
    with pytest.raises(error, match=words):
        await answered(tmp_path, status=status)


@pytest.mark.parametrize(
    ("entry", "content", "words"),
    [
        (TOKEN, b"x" * (ENV_VALUE_BYTES + 1), "more than 32 KiB"),
        (FILE, b"x" * (FILE_BYTES + 1), "more than 512 KiB"),
        (TOKEN, b"\xff", "no UTF-8 text"),
    ],
)
async def test_a_value_that_cannot_be_stored_is_not_sent(entry, content, words, tmp_path):
    async with FakeServer() as server, await server.connect(tmp_path) as cluster:
        with pytest.raises(InvalidObjectError, match=words):
            await verify_value(cluster, verification(entry), SecretValue(content))
        assert server.requests == []
