"""Rule B by example (DESIGN section 4): which bundles a job gets, and in which order."""

# ruff: noqa: S106 - `secret_name` is a name

import pytest
from tests.support.builders import definition, granted, home_and_project, inventory, pod_body, policy
from tests.support.container_view import view

from scoped_secrets import names
from scoped_secrets.core.policy.claims import Rule
from scoped_secrets.names import Reason


def bundle(name, scope="Organization", attach="OnReference"):
    """Return a definition whose variable X tells its name."""
    environment = "production" if scope == "Environment" else None
    namespace = "acme" if scope == "Organization" else "web"
    return definition(
        f"{namespace}/{name}-{scope.lower()}",
        secret_name=name,
        scope=scope,
        environment=environment,
        attach=attach,
        env={"X": name},
    )


def attached(name, scope="Organization"):
    return bundle(name, scope, "Always")


@pytest.mark.parametrize(
    ("sentence", "store", "inherited", "references", "order"),
    [
        ("the pod's references in their order", [bundle("a"), bundle("b")], "", "b, a", ["b", "a"]),
        ("the namespace's come before the pod's", [bundle("a"), bundle("b")], "b", "a", ["b", "a"]),
        ("the pod's position counts where both name it", [bundle("a"), bundle("b")], "b, a", "b", ["a", "b"]),
        ("attached ones of the organization by name, then the project's by name",
         [attached("d", "Project"), attached("c", "Project"), attached("b"), attached("e")], "", "",
         ["b", "e", "c", "d"]),
        ("attached ones of the environment come last", [attached("a", "Environment"), bundle("z"), attached("m")],
         "", "z", ["m", "z", "a"]),
        ("attached ones of the environment by name", [attached("b", "Environment"), attached("a", "Environment")],
         "", "", ["a", "b"]),
        ("the winner's scope says where it comes", [attached("b"), attached("b", "Environment"), bundle("a")],
         "", "a", ["a", "b"]),
        ("an attached name that is referenced counts once, at its reference",
         [attached("b"), bundle("a")], "", "a, b", ["a", "b"]),
        ("also by the namespace", [attached("z", "Environment"), bundle("a")], "z", "a", ["z", "a"]),
        ("a narrower one that is not attached takes the name out", [attached("b"), bundle("b", "Project")],
         "", "", []),
        ("a narrower one that is attached brings the name in", [bundle("b"), attached("b", "Project")], "", "", ["b"]),
        ("everything at once",
         [attached("o"), attached("p", "Project"), attached("e", "Environment"), bundle("n"), bundle("r")],
         "n", "r", ["o", "p", "n", "r", "e"]),
    ],
)  # fmt: skip
def test_bundles_are_applied_in_order_and_the_last_one_wins(sentence, store, inherited, references, order):
    annotations = {names.ALLOW_ENVIRONMENTS_ANNOTATION: "production", names.SECRETS_ANNOTATION: inherited}
    body = pod_body(references, annotations={names.ENVIRONMENT_ANNOTATION: "production"})

    decision = granted(body, inventory(home_and_project(**annotations), store))

    assert [applied.name for applied in decision.grant.applied] == order
    assert view(body, decision).env == ({"X": order[-1]} if order else {})


def test_an_environments_attachments_come_only_to_jobs_of_it():
    snapshot = inventory(home_and_project(), [attached("a", "Environment")])
    assert granted(pod_body(), snapshot).grant.applied == ()


@pytest.mark.parametrize(
    ("sentence", "references", "is_attached"),
    [("attached", "", True), ("optional", "a?", False), ("attached, and named as optional", "a?", False)],
)
def test_denied_attachment_is_left_out_and_reported(sentence, references, is_attached):
    item = attached("a") if sentence.startswith("attached") else bundle("a")
    decision = granted(pod_body(references), inventory(home_and_project(), [item], [policy("acme/nobody")]))
    assert decision.grant.applied == ()
    assert [(left.name, left.reason, left.is_attached) for left in decision.grant.left_out] == [
        ("a", Reason.POLICY_DENIED, is_attached)
    ]
    assert '"leftOut":[{"name":"a","reason":"PolicyDenied"}]' in decision.injection.resolution


def test_grant_keeps_the_permission_of_each_contributor():
    narrow = definition("web/own", secret_name="a", scope="Project", override="Merge")
    policies = [
        policy("acme/wide", scopes=("Organization",), rules=(Rule("one"),)),
        policy("web/narrow", rules=(Rule("two"),)),
    ]
    (applied,) = granted(pod_body("a"), inventory(home_and_project(), [bundle("a"), narrow], policies)).grant.applied
    assert [(allowed.policy, allowed.rule) for allowed in applied.allowed] == [
        ("web/narrow", "two"),
        ("acme/wide", "one"),
    ]
