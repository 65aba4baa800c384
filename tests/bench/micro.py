"""The pure parts alone, without a cluster."""

from __future__ import annotations

import io
import itertools
import json
import logging
import os
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

from scoped_secrets import logs, names
from scoped_secrets.admission.audit import ReviewAuditor
from scoped_secrets.admission.review import ReviewAllowed, parse_review, render
from scoped_secrets.admission.webhooks import WEBHOOKS, decide_review
from scoped_secrets.audit import AuditLog
from scoped_secrets.config import AuditLevel
from scoped_secrets.core.memo import Memo
from scoped_secrets.core.pod import parse_pod
from scoped_secrets.crypto.keys import KeyRing
from scoped_secrets.crypto.sealing import SealingContext, seal, unseal
from scoped_secrets.crypto.values import SecretValue
from tests.admission.support import review_context
from tests.bench.measure import in_turn
from tests.bench.objects import ORGANIZATION, PODS, job_pod, pod
from tests.bench.report import Goal, Row, compare, slope
from tests.bench.rsa import RsaSealer
from tests.bench.snapshots import decide_about, snapshot, typical_pod
from tests.cluster.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scoped_secrets.admission.review_context import ReviewContext
    from scoped_secrets.core.decide import Granted
    from tests.bench.measure import Scale

NAME = "micro"

_CALLS = 500
# Opening takes milliseconds.
_RSA_CALLS = 100
_WARM_UP = 50
_DECISION_CALLS = 100
_PODS = 100
# More than all calls together, so that no pod is asked about twice.
_NEW_PODS = 20_000
_MICROSECONDS = 1_000_000
# A time is the shortest of so many: what interrupts the process makes it longer only.
_REPEATS = 5
_WEBHOOK = "/mutate/pods"
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_VALUE = b"a value to measure with"
# What a short value is padded to before it is sealed.
_PADDED = bytes(64)


def make_sealed() -> str:
    """Return the sealed text of some place that no key opens."""
    ring = KeyRing.generate(datetime.now(UTC))
    return seal(SecretValue(_VALUE), _context(), ring.active.public_key, None)


async def run(scale: Scale) -> list[Row]:
    """Measure sealing, opening, decisions and whole reviews."""
    return [*await _sealing(scale), *_decisions(scale), *_reviews(scale)]


async def _sealing(scale: Scale) -> list[Row]:
    key = MLKEM768X25519PrivateKey(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())
    public = key.public_key()
    encrypted = _SUITE.encrypt(_PADDED, public, b"place")
    ring, context, value = KeyRing.generate(datetime.now(UTC)), _context(), SecretValue(_VALUE)
    recipient = ring.active.public_key
    text = seal(value, context, recipient, None)
    sides = {
        "bare seal": lambda: _SUITE.encrypt(_PADDED, public, b"place"),
        "seal": lambda: seal(value, context, recipient, None),
        "bare open": lambda: _SUITE.decrypt(encrypted, key, b"place"),
        "open": lambda: unseal(text, context, ring),
    }
    other, label = RsaSealer(), b"namespace/name"
    sealed = other.seal(_VALUE, label)
    rsa_sides = {"RSA seal": lambda: other.seal(_VALUE, label), "RSA open": lambda: other.open(sealed, label)}
    work = {name: partial(_time, call, _CALLS) for name, call in sides.items()}
    work |= {name: partial(_time, call, _RSA_CALLS) for name, call in rsa_sides.items()}
    times = await in_turn(scale.rounds, work)
    return [
        compare(NAME, f"{verb} one value", "µs", times[verb], times[f"{floor} {verb}"], name)
        for floor, name in (("bare", "library"), ("RSA", "RSA-4096-OAEP"))
        for verb in ("seal", "open")
    ]


def _decisions(scale: Scale) -> list[Row]:
    subject, body, sealed = typical_pod(), pod("typical"), make_sealed()
    calls = {size: partial(decide_about, subject, snapshot(size, sealed)) for size in scale.sizes}
    times: dict[int, list[float]] = {size: [] for size in scale.sizes}
    for _ in range(scale.rounds):
        for size, call in calls.items():
            shortest = min(_seconds(call, _DECISION_CALLS) for _ in range(_REPEATS))
            times[size].append(shortest * _MICROSECONDS)
    parsing = min(_seconds(partial(parse_pod, body, PODS), _CALLS) for _ in range(scale.rounds))
    least, most = scale.sizes[0], scale.sizes[-1]
    decision = decide_about(subject, snapshot(scale.sizes[0], sealed))
    return [
        Row(NAME, "parse a typical pod", "µs", parsing * _MICROSECONDS),
        compare(
            NAME,
            f"decide about it, {most:,} definitions",
            "µs",
            times[most],
            times[least],
            f"{least:,} definitions",
            Goal(1.05, of_ratio=True),
        ),
        *_audit(scale, decision),
        Row(
            "growth",
            "decide, log-log slope of the time",
            "",
            slope({size: min(taken) for size, taken in times.items()}),
            goal=Goal(1.1),
        ),
    ]


def _reviews(scale: Scale) -> list[Row]:
    """Measure a review of a pod from the bytes of the request to those of the answer, and the JSON of both alone."""
    sealed, (least, *_, most) = make_sealed(), scale.sizes
    contexts = {size: review_context(snapshot(size, sealed)) for size in (least, most)}
    body = _review_body(pod("typical"))
    answered = json.loads(_answer(itertools.repeat(body), contexts[least]))
    if "patch" not in answered["response"]:
        raise StartError("the bench's pod is not patched")
    few, many = f"{least:,} definitions", f"{most:,} definitions"
    # The one after the other, so that hardly any is asked about twice.
    one_shape = itertools.cycle([_review_body(pod(f"pod-{number}")) for number in range(_PODS)])
    own_values = itertools.cycle([_review_body(job_pod(f"job-{number}")) for number in range(_PODS)])
    new_shapes = itertools.cycle([_review_body(job_pod(f"new-{number}", new=True)) for number in range(_NEW_PODS)])
    sides: dict[str, Callable[[], object]] = {
        few: partial(_answer, one_shape, contexts[least]),
        many: partial(_answer, one_shape, contexts[most]),
        "own values": partial(_answer, own_values, contexts[most]),
        "new shape": partial(_answer, new_shapes, review_context(snapshot(most, sealed))),
        "JSON alone": lambda: (json.loads(body), json.dumps(answered).encode()),
    }
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(scale.rounds):
        for side, call in sides.items():
            times[side].append(min(_seconds(call, _DECISION_CALLS) for _ in range(_REPEATS)) * _MICROSECONDS)
    goal = Goal(1.05, of_ratio=True)
    return [
        compare(NAME, f"review of a pod of a known shape, {many}", "µs", times[many], times[few], few, goal),
        compare(NAME, "  against its JSON", "µs", times[many], times["JSON alone"], "JSON alone"),
        compare(
            NAME, "  with values and annotations of its own", "µs", times["own values"], times[many], "known shape"
        ),
        compare(NAME, "  of a new shape", "µs", times["new shape"], times[many], "known shape"),
    ]


def _answer(bodies: Iterator[bytes], context: ReviewContext) -> bytes:
    review = parse_review(next(bodies))
    return render(review, decide_review(WEBHOOKS[_WEBHOOK], review, context))


def _review_body(subject: dict[str, Any]) -> bytes:
    """Return a review of a pod."""
    request = {
        "uid": "00000000-0000-0000-0000-000000000000",
        "operation": "CREATE",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": PODS,
        "userInfo": {"username": "system:serviceaccount:kube-system:job-controller"},
        "object": subject,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def _audit(scale: Scale, decision: Granted) -> list[Row]:
    """Measure what a decision about a pod of a known shape costs more because of the audit log."""
    request = parse_review(_review_body(pod("typical")))
    outcome = ReviewAllowed(decision=decision.grant.trail, memo=Memo(1_000))
    root = logging.getLogger()
    before = list(root.handlers), root.level
    rows = []
    lines = io.StringIO()
    logs.configure("info", stream=lines)
    ReviewAuditor(AuditLog(AuditLevel.ALL)).decided(_WEBHOOK, request, outcome)
    if not lines.getvalue():
        raise StartError("the audit log holds no line about the bench's pod")
    with Path(os.devnull).open("w") as stream:
        logs.configure("info", stream=stream)
        for level in (AuditLevel.NONE, AuditLevel.ALL):
            auditor = ReviewAuditor(AuditLog(level))
            call = partial(auditor.decided, _WEBHOOK, request, outcome)
            seconds = min(_seconds(call, _CALLS) for _ in range(scale.rounds))
            rows.append(Row(NAME, f"a decision in the audit log, level {level}", "µs", seconds * _MICROSECONDS))
    root.handlers[:], root.level = before
    return rows


async def _time(call: Callable[[], object], calls: int) -> float:
    return _seconds(call, calls) * _MICROSECONDS


def _seconds(call: Callable[[], object], calls: int) -> float:
    """Return the processor time of one call in seconds; others on the machine do not count."""
    for _ in range(_WARM_UP):
        call()
    began = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - began) / calls


def _context() -> SealingContext:
    return SealingContext(
        cluster_id="00000000-0000-0000-0000-000000000000",
        group=names.GROUP,
        kind=names.SCOPED_SECRET_KIND,
        namespace=PODS,
        name="d0",
        organization=ORGANIZATION,
        scope="Project",
        project="project-0",
        environment="",
        entry_kind="env",
        entry_name="D0_PASSWORD",
    )
