"""The file of trusted issuers: what it says, and the messages about what it must not say."""

import json
from typing import Any

import pytest

from scoped_secrets.api.trusted_issuers import parse_trusted_issuers
from scoped_secrets.core.policy.issuer_presets import PRESETS
from scoped_secrets.core.policy.issuers import ClaimSource, OwnerKind, RefForm, SourceKind, TrustedIssuer
from scoped_secrets.core.policy.subjects import Subject, SubjectKind
from scoped_secrets.errors import InvalidObjectError

RUNNER = {"kind": "ServiceAccount", "namespace": "ci", "name": "runner"}
RUNNER_SUBJECT = Subject(SubjectKind.SERVICE_ACCOUNT, "runner", "ci")


def parse(*issuers: Any) -> tuple[TrustedIssuer, ...]:
    return parse_trusted_issuers(json.dumps({"trustedIssuers": issuers}))


def issuer(**given: Any) -> dict[str, Any]:
    return {"creators": [RUNNER], **given}


@pytest.mark.parametrize("text", ["", "{}", "trustedIssuers: []", "# nothing\n"])
def test_a_file_without_issuers_is_valid(text):
    assert parse_trusted_issuers(text) == ()


def test_an_issuer_is_read_with_all_its_fields():
    text = """
trustedIssuers:
- name: own
  creators:
  - {kind: User, name: engine}
  - {kind: Group, name: engines}
  owners:
  - {apiVersion: ci.example.com/v1, kind: Build}
  claims:
    project: {label: ci.example.com/project}
    environment: {annotation: ci.example.com/environment}
    ref: {label: ci.example.com/branch, form: Branch, events: [push]}
    event: {value: push}
  projects: {"42": web}
  environments: ["review/*"]
"""
    assert parse_trusted_issuers(text) == (
        TrustedIssuer(
            name="own",
            creators=(Subject(SubjectKind.USER, "engine"), Subject(SubjectKind.GROUP, "engines")),
            owners=(OwnerKind("ci.example.com/v1", "Build", "builds"),),
            project=ClaimSource(SourceKind.LABEL, "ci.example.com/project"),
            environment=ClaimSource(SourceKind.ANNOTATION, "ci.example.com/environment"),
            ref=ClaimSource(SourceKind.LABEL, "ci.example.com/branch"),
            event=ClaimSource(SourceKind.VALUE, "push"),
            ref_form=RefForm.BRANCH,
            ref_events=("push",),
            projects={"42": "web"},
            environments=("review/*",),
        ),
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_configured_by_its_creator_and_further_claims(preset):
    (found,) = parse(issuer(preset=preset, claims={"environment": {"value": "review"}}))

    assert (found.name, found.creators, found.owners) == (preset, (RUNNER_SUBJECT,), PRESETS[preset].owners)
    assert (found.ref, found.ref_form) == (PRESETS[preset].ref, PRESETS[preset].ref_form)
    assert found.environment == ClaimSource(SourceKind.VALUE, "review")


def test_a_claim_that_is_given_replaces_that_of_the_preset():
    (found,) = parse(issuer(preset="gitlab-runner", claims={"ref": {"label": "ref", "form": "Tag"}}))

    assert (found.ref, found.ref_form) == (ClaimSource(SourceKind.LABEL, "ref"), RefForm.TAG)
    assert found.project == PRESETS["gitlab-runner"].project


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"creators": [], "preset": "job"}, "`trustedIssuers[0].creators` must have at least one subject, because"),
        ({"preset": "none"}, "`trustedIssuers[0].preset` must be 'gitlab-runner', "),
        ({"preset": "jenkins"}, "`trustedIssuers[0].claims` must state at least one claim, because the preset has"),
        ({"name": "own"}, "`trustedIssuers[0].claims` must state at least one claim; write `claims`, or a `preset`"),
        ({"claims": {"ref": {"label": "a"}}},
         "`trustedIssuers[0].name` must be given, because the issuer has no preset"),
        ({"preset": "job", "claims": {"ref": {"label": "a", "value": "b"}}},
         "`trustedIssuers[0].claims.ref` must have exactly one of `label`, `annotation` and `value`"),
        ({"preset": "job", "claims": {"ref": {"label": "a b"}}},
         "`trustedIssuers[0].claims.ref.label` must be a label key"),
        ({"preset": "job", "claims": {"ref": {"label": "a", "form": "Commit"}}},
         "`trustedIssuers[0].claims.ref.form` must be 'Full', 'Branch', 'Tag' or 'BranchOrTag'"),
        ({"preset": "gitlab-runner", "claims": {"ref": {"label": "a", "events": ["push"]}}},
         "`trustedIssuers[0].claims.ref.events` needs a claim `event`"),
        ({"preset": "job", "projects": {"a": "b"}}, "`trustedIssuers[0].projects` needs a claim `project`"),
        ({"preset": "job", "environments": ["a"]}, "`trustedIssuers[0].environments` needs a claim `environment`"),
        ({"preset": "job", "owners": [{"apiVersion": "v1", "kind": "job"}]},
         "`trustedIssuers[0].owners[0].kind` must be the name of a kind"),
        ({"preset": "job", "creators": [{"kind": "ServiceAccount", "name": "runner"}]},
         "`trustedIssuers[0].creators[0]` must have `namespace`"),
        ({"preset": "job", "creator": RUNNER}, "`trustedIssuers[0]` must have only known fields; one is unknown"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_names_the_field(given, message):
    with pytest.raises(InvalidObjectError) as raised:
        parse(issuer(**given))

    assert message in raised.value.message


def test_names_of_issuers_are_unique():
    with pytest.raises(InvalidObjectError, match="`trustedIssuers` must have each `name` once"):
        parse(issuer(preset="job"), issuer(preset="gitlab-runner", name="job"))


@pytest.mark.parametrize("text", ["a: [", "- a", "5", "a: !!python/object:os.system x"])
def test_a_file_that_is_no_document_is_refused_without_repeating_it(text):
    with pytest.raises(InvalidObjectError) as raised:
        parse_trusted_issuers(text)

    assert text not in raised.value.message
    assert raised.value.__context__ is None
