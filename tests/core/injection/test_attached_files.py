"""Where an attached bundle, for which the job did not ask, may have files."""

import pytest
from tests.support.builders import container, decide_about, definition, granted, home_and_project, inventory, pod_body
from tests.support.container_view import view

from scoped_secrets import names
from scoped_secrets.core.decide import Denied
from scoped_secrets.core.resolution.definitions import Attach, Override
from scoped_secrets.core.scope.slot import Scope
from scoped_secrets.names import Reason

ALLOW = names.ALLOW_ATTACH_PATHS_ANNOTATION


def world(path, *more, home=None, project=None):
    namespaces = home_and_project(**({ALLOW: project} if project else {}))
    if home:
        namespaces["acme"] = {**namespaces["acme"], "annotations": {ALLOW: home}}
    return inventory(namespaces, [definition("acme/tools", attach=Attach.ALWAYS, files={path: "x"}), *more])


def reason(snapshot, secrets=None):
    decision = decide_about(pod_body(secrets), snapshot)
    return decision.reason if isinstance(decision, Denied) else None


@pytest.mark.parametrize("path", [".ssh/id", "~/.npmrc", "~/a/../b", "=KUBECONFIG"])
def test_a_file_in_the_home_directory_or_in_the_volume_is_allowed(path):
    assert reason(world(path)) is None


@pytest.mark.parametrize(
    "path", ["/bin/sh", "/etc/ld.so.preload", "/etc/passwd", "/root/.npmrc", "~/../bin/sh", "../etc/passwd"]
)
def test_a_file_anywhere_else_denies_the_pod(path):
    assert reason(world(path)) is Reason.PATH_NOT_ALLOWED


def test_the_denial_names_file_bundle_and_both_remedies():
    denial = decide_about(pod_body(), world("/bin/sh"))

    assert isinstance(denial, Denied)
    for word in ("'/bin/sh'", "'tools'", names.SECRETS_ANNOTATION, ALLOW):
        assert word in denial.message


def test_a_job_that_asks_for_the_bundle_gets_the_file_anywhere():
    body = pod_body("tools", containers=[container()])

    assert view(body, granted(body, world("/bin/sh"))).files["/bin/sh"] == "x"


@pytest.mark.parametrize("place", ["home", "project"])
@pytest.mark.parametrize(
    ("allowed", "path", "is_allowed"),
    [
        ("/etc", "/etc/pip.conf", True),
        ("/etc/", "/etc/ssl//certs/ca.pem", True),
        ("/opt, /etc/pip.conf", "/etc/pip.conf", True),
        ("/", "/bin/sh", True),
        ("/etc", "/etc2/x", False),
        ("/etc/pip", "/etc/pip.conf", False),
        ("/etc", "/etc/../bin/sh", False),
        ("etc", "/etc/pip.conf", False),
        ("/..", "/bin/sh", False),
        (",", "/bin/sh", False),
    ],
)
def test_the_home_or_the_namespace_allows_folders(place, allowed, path, is_allowed):
    expected = None if is_allowed else Reason.PATH_NOT_ALLOWED

    assert reason(world(path, **{place: allowed})) is expected


def test_the_home_of_another_organization_allows_nothing():
    namespaces = home_and_project() | {
        "rival": {"labels": {names.ORGANIZATION_LABEL: "rival"}, "annotations": {ALLOW: "/"}}
    }
    attached = definition("acme/tools", attach=Attach.ALWAYS, files={"/bin/sh": "x"})

    assert reason(inventory(namespaces, [attached])) is Reason.PATH_NOT_ALLOWED


def test_a_file_that_an_attached_definition_merges_counts_too():
    wide = definition("acme/merged", files={"/bin/sh": "x"})
    narrow = definition(
        "web/merged", scope=Scope.PROJECT, attach=Attach.ALWAYS, override=Override.MERGE, env={"A": "1"}
    )

    assert reason(world("=A", wide, narrow)) is Reason.PATH_NOT_ALLOWED
