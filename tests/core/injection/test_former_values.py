"""Former values of variables: jobs get them until their time is over, and keep what they got."""

from datetime import timedelta

from tests.support.builders import BASE, NOW, definition, home_and_project, inventory, pod_body
from tests.support.container_view import patched, view

from scoped_secrets.core.decide import DecisionSettings, Granted, decide
from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.pod import parse_pod
from scoped_secrets.core.resolution.definitions import Entry, PlainSource, Previous

UNTIL = NOW + timedelta(hours=24)
PRESENT = Entry.variable("TOKEN", PlainSource(b"new"))
FORMER = Entry.variable("TOKEN_PREVIOUS", PlainSource(b"old"), Previous("TOKEN", UNTIL))


def snapshot() -> Inventory:
    return inventory(home_and_project(), [definition("web/aws", scope="Project", env=[PRESENT, FORMER])])


def decided(body, known, now) -> Granted:
    decision = decide(parse_pod(body), known, BASE, DecisionSettings(), now)
    assert isinstance(decision, Granted), decision
    return decision


def test_a_job_gets_the_former_value_until_its_time():
    known, body = snapshot(), pod_body("aws")

    # The same state each time, so that kept results of one moment would be found at another.
    moments = (NOW, UNTIL - timedelta(microseconds=1), UNTIL, NOW, UNTIL + timedelta(days=1))
    seen = [view(body, decided(body, known, now)).visible for now in moments]

    both, alone = {"TOKEN": "new", "TOKEN_PREVIOUS": "old"}, {"TOKEN": "new"}
    assert seen == [both, both, alone, both, alone]


def test_an_injected_pod_keeps_what_it_got():
    known, body = snapshot(), pod_body("aws")
    early, late = (patched(body, decided(body, known, now)) for now in (NOW, UNTIL))

    assert view(early, decided(early, known, UNTIL)).visible == {"TOKEN": "new", "TOKEN_PREVIOUS": "old"}
    assert view(late, decided(late, known, NOW)).visible == {"TOKEN": "new"}
