"""What the report lists, and what it leaves out."""

from datetime import UTC, datetime, timedelta

import pytest

from scoped_secrets.core.inventory import Inventory
from scoped_secrets.core.scope.binding import Binding
from scoped_secrets.kube.decoding import Decoder
from scoped_secrets.kube.locations import location_of
from scoped_secrets.operations.report import Concern, Limits, findings
from scoped_secrets.operations.usage import Usage

NOW = datetime(2027, 1, 1, tzinfo=UTC)
DAYS = timedelta(days=1)
CANARY = "canary-8819cd"


def ago(days):
    return (NOW - days * DAYS).strftime("%Y-%m-%dT%H:%M:%SZ")


def definition(location, *, variables=("A",), age=100, changed=100, **spec):
    namespace, name = location.split("/")
    marks = [
        {"kind": "Env", "name": each, "fingerprint": "0123456789", "changedTime": ago(changed)} for each in variables
    ]
    env = [{"name": each, "value": CANARY, "sensitive": False} for each in variables]
    return {
        "metadata": {"namespace": namespace, "name": name, "uid": location, "creationTimestamp": ago(age)},
        "spec": {"scope": "Project", **spec, "env": env},
        "status": {"entries": marks},
    }


def report(*bodies, usage=None, **limits):
    inventory = Inventory()
    for namespace, binding in (("web", Binding("web", "acme", "web")), ("api", Binding("api", "acme", "api"))):
        inventory.put_binding(namespace, binding, 0.0)
    inventory.put_binding("home", Binding("home", "acme"), 0.0)
    for body in bodies:
        decoded, _ = Decoder("acme", keep_sealed=False).definition(body)
        assert decoded is not None
        inventory.put_definition(decoded, 0.0)
    found = findings({location_of(body): body for body in bodies}, inventory, usage, Limits(**limits), NOW)
    assert CANARY not in str(found)
    return found


@pytest.mark.parametrize(("changed", "is_listed"), [(89, False), (90, True), (400, True)])
def test_value_is_stale_from_the_stated_age(changed, is_listed):
    found = report(definition("web/aws", changed=changed), stale=90 * DAYS)
    assert [(each.concern, each.entry) for each in found] == [(Concern.STALE, "variable 'A'")] * is_listed


def test_definition_is_unused_when_it_is_old_and_no_pod_has_it():
    old, new, held = definition("web/old"), definition("web/new", age=3), definition("web/held")
    usage = Usage({"web/held": ["web/job"]}, (), is_known=True)
    assert [each.location for each in report(old, new, held, usage=usage, unused=30 * DAYS)] == ["web/old"]


def test_nothing_is_called_unused_when_pods_cannot_be_read():
    assert report(definition("web/old"), usage=Usage({}, ("the pods",), is_known=False), unused=30 * DAYS) == []


def test_definition_is_listed_before_and_after_its_end():
    soon, gone, later = (
        definition(f"web/{name}", expireTime=ago(-days)) for name, days in (("soon", 14), ("gone", -1), ("later", 15))
    )
    found = report(soon, gone, later, expiring=14 * DAYS)
    assert [(each.location, each.detail.split()[0]) for each in found] == [
        ("web/gone", "expired"),
        ("web/soon", "expires"),
    ]


def test_entry_of_two_bundles_that_one_job_can_get_is_listed_once():
    wide = definition("home/aws", scope="Organization")
    narrow, elsewhere = definition("web/gcp"), definition("api/azure", variables=("B",))
    [found] = report(wide, narrow, elsewhere, duplicates=True)
    assert (found.location, found.entry) == ("home/aws", "variable 'A'")
    assert "is also in web/gcp" in found.detail


def test_bundles_that_no_job_gets_together_and_definitions_of_one_bundle_are_no_duplicates():
    assert report(definition("web/aws"), definition("api/gcp"), duplicates=True) == []
    assert report(definition("home/aws", scope="Organization"), definition("web/aws"), duplicates=True) == []


def test_nothing_is_looked_for_without_limits():
    assert report(definition("web/aws"), definition("web/gcp")) == []
