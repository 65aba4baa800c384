"""Which issuer states the claims of a pod, and which texts are claims (DESIGN section 6)."""

from dataclasses import replace
from typing import Any

import pytest

from scoped_secrets.core.admission_record import AdmissionRecord
from scoped_secrets.core.policy.issuers import (
    ClaimSource,
    OwnerKind,
    RefForm,
    SourceKind,
    TrustedIssuer,
    Writings,
    issue,
)
from scoped_secrets.core.policy.subjects import Requester, Subject, SubjectKind

RUNNER = "system:serviceaccount:ci:runner"
RECORD = AdmissionRecord(creator=RUNNER)
CREATORS = (Subject(SubjectKind.SERVICE_ACCOUNT, "runner", "ci"),)
KINDS = (OwnerKind("tekton.dev/v1", "TaskRun", "taskruns"),)


def label(key: str) -> ClaimSource:
    return ClaimSource(SourceKind.LABEL, key)


ISSUER = TrustedIssuer("ci", CREATORS, ref=label("ref"), event=label("event"), environment=label("environment"))


def issued(*issuers: TrustedIssuer, owners=None, requester=RUNNER, groups=(), **labels: str) -> Any:
    pod = Writings(labels, {})
    return issue(RECORD, Requester(requester, frozenset(groups)), pod, owners or {}, issuers)


@pytest.mark.parametrize(
    ("form", "text", "ref"),
    [
        (RefForm.FULL, "refs/heads/main", "refs/heads/main"),
        (RefForm.FULL, "main", ""),
        (RefForm.BRANCH, "main", "refs/heads/main"),
        (RefForm.BRANCH, "feature/x", "refs/heads/feature/x"),
        (RefForm.BRANCH, "refs/heads/main", "refs/heads/refs/heads/main"),
        (RefForm.TAG, "v1.0", "refs/tags/v1.0"),
        (RefForm.BRANCH_OR_TAG, "main", "refs/heads/main refs/tags/main"),
        (RefForm.BRANCH_OR_TAG, "refs/heads/main", "refs/heads/refs/heads/main refs/tags/refs/heads/main"),
        (RefForm.BRANCH, "main refs/heads/release", ""),
        (RefForm.BRANCH, "a..b", ""),
        (RefForm.BRANCH, "mallory:main", ""),
        (RefForm.BRANCH, "m*", ""),
        (RefForm.BRANCH, "main\n", ""),
        (RefForm.FULL, "refs/heads/" + "x" * 250, ""),
    ],
)
def test_refs_are_compared_in_full_form(form, text, ref):
    result = issued(replace(ISSUER, ref_form=form), ref=text)

    assert result.record.ref == ref
    assert (result.unusable != ()) == (ref == "")


@pytest.mark.parametrize("text", ["Push", "push"])
def test_events_are_compared_in_lower_case(text):
    assert issued(ISSUER, event=text).record.event == "push"


@pytest.mark.parametrize(
    ("claim", "text"), [("event", "1x"), ("event", "a" * 64), ("environment", "a,b"), ("environment", " x")]
)
def test_a_text_of_another_form_is_no_claim_and_is_reported_without_it(claim, text):
    result = issued(ISSUER, **{claim: text})

    assert getattr(result.record, claim) == ""
    (sentence,) = result.unusable
    assert sentence == f"trusted issuer 'ci': label {claim} of the Pod is no {claim}, and no claim"


@pytest.mark.parametrize(
    ("subject", "requester", "groups"),
    [
        (Subject(SubjectKind.USER, "jane"), "jane", ()),
        (Subject(SubjectKind.GROUP, "engines"), "jane", ("engines",)),
        (Subject(SubjectKind.SERVICE_ACCOUNT, "runner", "ci"), RUNNER, ()),
    ],
)
def test_an_issuer_matches_by_the_creator_alone(subject, requester, groups):
    issuer = replace(ISSUER, creators=(subject,))

    assert issued(issuer, requester=requester, groups=groups, event="push").record.issuer == "ci"
    assert issued(issuer, requester="mallory", event="push").record == RECORD


def test_the_first_issuer_that_matches_states_all_claims():
    first = TrustedIssuer("first", CREATORS, event=label("event"))

    assert issued(first, ISSUER, ref="refs/heads/main", event="push").record == replace(
        RECORD, issuer="first", event="push", sources=(("event", "label event of the Pod"),)
    )


def test_claims_of_an_issuer_with_owners_come_from_the_owner_and_never_from_the_pod():
    issuer = replace(ISSUER, owners=KINDS)
    owner = Writings({"event": "push"}, {}, "TaskRun")

    assert issued(issuer, event="tag", ref="refs/heads/main").record == RECORD
    record = issued(issuer, owners={KINDS: owner}, event="tag", ref="refs/heads/main").record
    assert (record.event, record.ref) == ("push", "")
    assert record.sources == (("event", "label event of the TaskRun"),)


def test_a_ref_counts_only_with_the_events_of_which_it_is_one_of_the_repository():
    issuer = replace(ISSUER, ref_events=("push",))

    assert issued(issuer, ref="refs/heads/main", event="push").record.ref == "refs/heads/main"
    for event in ({"event": "pull_request"}, {}, {"event": "1"}):
        assert issued(issuer, ref="refs/heads/main", **event).record.ref == ""


@pytest.mark.parametrize(
    ("projects", "text", "project"),
    [
        ({}, "web", "web"),
        ({}, "a b", "-"),
        ({"42": "web"}, "42", "web"),
        ({"42": "web"}, "43", "-"),
        ({"42": "web"}, "web", "-"),
    ],
)
def test_a_project_is_mapped_and_one_that_is_not_mapped_is_no_project_of_the_cluster(projects, text, project):
    issuer = replace(ISSUER, project=label("project"), projects=projects)

    assert issued(issuer, project=text).record.project == project


def test_an_issuer_of_many_projects_states_nothing_about_a_pod_without_one():
    assert issued(replace(ISSUER, project=label("project")), event="push").record == RECORD


def test_an_issuer_lets_pods_only_into_the_environments_that_it_vouches_for():
    issuer = replace(ISSUER, environments=("review/*",))

    assert issued(issuer, environment="review/1").record.vouched == "true"
    assert issued(issuer, environment="production").record.vouched == ""
    assert issued(ISSUER, environment="production").record.environment == "production"


def test_a_constant_is_what_the_configuration_says():
    issuer = TrustedIssuer("ci", CREATORS, project=ClaimSource(SourceKind.VALUE, "web"))

    record = issued(issuer, project="api").record
    assert (record.project, record.sources) == ("web", (("project", "the issuer's configuration"),))
