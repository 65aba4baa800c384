"""Attacks across tenants, and on what policies and trust say."""

from __future__ import annotations

from typing import Final

from tests.attacks.attack import Attack, Edit, Mutant, mutant

_CRD: Final = "tests/api/test_crds_on_api_server.py"
_PLACEMENT: Final = "tests/integration/test_placement.py"
_CHART: Final = "tests/chart/test_guard.py"
_METADATA: Final = "tests/integration/test_guard_metadata.py"
_TENANTS: Final = "tests/integration/test_tenants.py"
_TRUST: Final = "tests/integration/test_trust.py"
_POLICIES: Final = "tests/integration/test_policies.py"
_INTERACTIVE: Final = "tests/integration/test_interactive.py"
_CONTROLLER: Final = "tests/controller/test_controller.py"

_CORE: Final = "operator/scoped_secrets/core"
_ADMISSION: Final = "operator/scoped_secrets/admission"
_API: Final = "operator/scoped_secrets/api"

_EDIT_ROLE: Final = '    rbac.authorization.k8s.io/aggregate-to-edit: "true"\nrules:\n'
_GOVERNS: Final = "(self.project is None or self.namespace == definition.namespace)"
_GRANTS: Final = (
    "        and (policy.project is None or (policy.project, policy.environment) == (binding.project, environment))\n"
)

TENANTS: Final = (
    Attack(
        "A1",
        "A ScopedSecret says in a field that it belongs to another namespace.",
        "The schema has no such field, and strict validation rejects the object.",
        (f"{_CRD}::test_a_definition_has_no_field_for_what_it_must_not_choose[a namespace]",),
        mutant(
            "crds/scopedsecrets.yaml",
            "              secretName:\n",
            "              namespace:\n                type: string\n                maxLength: 63\n"
            "              secretName:\n",
        ),
    ),
    Attack(
        "A2",
        "A tenant claims another project, another environment or the whole organization in `spec`.",
        "Admission denies it, and where it is stored without admission, no job gets it: the labels of the namespace, "
        "which administrators write, decide about the scope.",
        (
            f"{_PLACEMENT}::test_foreign_definition_stored_without_admission_is_unusable",
            f"{_PLACEMENT}::test_a_definition_in_a_foreign_path_is_refused_with_the_remedy",
        ),
        mutant(
            f"{_CORE}/scope/slot.py",
            "    if scope is Scope.ORGANIZATION:\n        raise DeniedError(\n",
            "    if scope is None:\n        raise DeniedError(\n",
        ),
    ),
    Attack(
        "A3",
        "A tenant edits the scope label or an annotation of its namespace, or creates a namespace.",
        "RBAC denies it: neither a role of Kubernetes for tenants nor a role of the chart gives a right to change "
        "namespaces; of those who have it, a chart value says who may set scopes.",
        (
            f"{_TENANTS}::test_a_tenant_changes_no_label_or_annotation_of_its_namespace[edit]",
            f"{_CHART}::test_only_listed_subjects_create_namespaces_with_a_scope",
        ),
        mutant(
            "manifests/10-roles.yaml",
            _EDIT_ROLE,
            f'{_EDIT_ROLE}- apiGroups: [""]\n  resources: [namespaces]\n  verbs: [get, patch]\n',
        ),
    ),
    Attack(
        "scope-by-an-editor-of-namespaces",
        "A user who may change namespaces, but no scopes, sets a scope label, also by `status` or `finalize`.",
        "With the chart value that lists who may set scopes, the guard denies it.",
        (
            f"{_CHART}::test_everyone_else_creates_and_changes_the_rest",
            f"{_CHART}::test_only_listed_subjects_create_namespaces_with_a_scope",
        ),
        mutant(
            "helm/scoped-secrets/templates/guard.yaml",
            "      resources: [namespaces, namespaces/status, namespaces/finalize]\n",
            "      resources: [namespaces, namespaces/status]\n",
        ),
    ),
    Attack(
        "A4",
        "A SecretPolicy selects with an empty selector, or with `NotIn` and no values.",
        "The schema rejects it; a policy that selects all bundles says so by the name `*` or by leaving the selector "
        "out beside another member.",
        (
            f"{_CRD}::test_invalid_policy_is_rejected[a selector is not empty]",
            f"{_CRD}::test_invalid_policy_is_rejected[NotIn takes values]",
            f"{_CRD}::test_invalid_policy_is_rejected[a policy selects something]",
        ),
        mutant(
            "crds/secretpolicies.yaml",
            "rule: has(self.matchLabels) || has(self.matchExpressions)\n                  scopes:\n",
            "rule: 'true'\n                  scopes:\n",
        ),
    ),
    Attack(
        "A5",
        "A namespace is deleted, and another owner creates one of the same name.",
        "It is outside of every scope path until an administrator labels it, and its former definitions and bundles "
        "are gone; the design binds scopes to labels that administrators write, and not to the UID of the namespace.",
        (f"{_TENANTS}::test_a_namespace_that_is_created_again_is_outside_until_it_is_labeled",),
        mutant(
            "operator/scoped_secrets/kube/informer.py",
            "        if self.inventory.binding(namespace) != binding:\n",
            "        if binding is not None and self.inventory.binding(namespace) != binding:\n",
        ),
    ),
    Attack(
        "A6",
        "The name of an environment or of an organization looks like another one: case, a final dot, homoglyphs, "
        "full width, invisible characters, other normal forms.",
        "It is another scope: names are compared character by character, and none collides with another.",
        (
            f"{_TENANTS}::test_an_environment_whose_name_looks_like_another_is_another[case]",
            f"{_TENANTS}::test_an_organization_in_other_letters_is_another",
        ),
        mutant(
            f"{_CORE}/scope/globs.py",
            '        return pattern == text\n    if pattern == "*":\n',
            '        return pattern.casefold() == text.casefold()\n    if pattern == "*":\n',
        ),
    ),
    Attack(
        "A7",
        "A definition in a tenant's namespace shadows a definition that is trusted more.",
        "It does not count for the jobs of an environment that has namespaces of its own, and its condition "
        "Restricted says so.",
        (
            f"{_TRUST}::test_definition_older_than_the_namespaces_of_its_environment_makes_way",
            f"{_TRUST}::test_slot_of_production_that_a_project_takes",
        ),
        Mutant(
            (
                Edit(
                    f"{_CORE}/resolution/definitions.py",
                    "        return -self.trust, *self.definition.seniority\n",
                    "        return 0, *self.definition.seniority\n",
                ),
                Edit(
                    f"{_CORE}/resolution/definitions.py",
                    "        if not territory.is_own or self.trust is not Trust.PROJECT:\n            return True\n",
                    "        if self.trust:\n            return True\n",
                ),
            )
        ),
    ),
    Attack(
        "A8",
        "Two definitions of equal trust take one slot.",
        "Admission denies the second; of two that are stored, the older one wins, and both say so in a condition.",
        (
            f"{_PLACEMENT}::test_older_definition_of_a_slot_wins",
            f"{_PLACEMENT}::test_a_taken_slot_is_refused_and_its_holder_named",
        ),
        mutant(
            f"{_CORE}/resolution/definitions.py",
            "        return self.created, self.location\n",
            "        return self.location, self.created\n",
        ),
    ),
    Attack(
        "A9",
        "An object is deleted while the operator or its watch is down, so that no event tells of it.",
        "The next list drops it, after a restart and after every gap of a watch.",
        (
            "tests/kube/test_informer.py::test_a_list_drops_objects_that_were_deleted_without_a_watch_event",
            "tests/integration/test_restarts.py::test_objects_deleted_while_the_operator_is_down_are_dropped",
        ),
        mutant(
            "operator/scoped_secrets/kube/informer.py",
            "        for location in sorted(merge.removed):\n",
            "        for location in sorted(merge.removed)[:0]:\n",
        ),
    ),
    Attack(
        "A10",
        "A foreign Secret has the name, the labels or the owner of a bundle.",
        "The controller does not adopt it: it replaces a Secret in the place of a bundle and reports it, and deletes "
        "none as its own whose UID it did not create.",
        (
            f"{_CONTROLLER}::test_a_secret_that_was_planted_before_the_bundle_is_replaced_and_reported",
            f"{_CONTROLLER}::test_a_secret_that_was_planted_in_the_place_of_a_deleted_bundle_is_not_deleted_as_ours",
        ),
        mutant(
            "operator/scoped_secrets/controller/bundle_secrets.py",
            "        is_former = record.first_seen < self._context.leads_since() + INFORMER_LAG_SECONDS\n",
            "        is_former = True\n",
        ),
    ),
    Attack(
        "A22",
        "A pod gets its label, or loses it, after admission.",
        "The guard denies it; without the guard, a pod that was labeled later gets no bundle, and an event, and one "
        "that loses the label keeps its bundle.",
        (
            "tests/integration/test_intruders.py::test_pod_labelled_after_creation_gets_no_bundle_and_an_event",
            f"{_CONTROLLER}::test_a_pod_that_loses_its_label_keeps_its_bundle_until_it_ends",
        ),
        mutant(
            "operator/scoped_secrets/controller/pod_decision.py",
            "            return Deny(Reason.NOT_INJECTED, message, may_change=False)\n",
            "            return NoAction()\n",
        ),
    ),
    Attack(
        "labels-of-a-stored-pod",
        "A user changes labels or annotations with our prefix of a stored pod, also by `status`.",
        "The guard denies it.",
        (
            f"{_METADATA}::test_a_stored_pod_is_not_opted_in_later",
            f"{_METADATA}::test_a_label_or_annotation_of_ours_does_not_change",
        ),
        mutant(
            "manifests/70-guard.yaml", '  - expression: "variables.changed.size() == 0"\n', '  - expression: "true"\n'
        ),
    ),
    Attack(
        "annotations-of-a-binding",
        "A binding brings annotations with our prefix into a pod, because the API server copies them.",
        "The guard denies it.",
        (f"{_METADATA}::test_a_binding_does_not_bring_annotations_of_ours",),
        mutant(
            "manifests/70-guard.yaml",
            "resources: [pods/binding, bindings], operations: [CREATE]",
            "resources: [pods/binding], operations: [CREATE]",
        ),
    ),
    Attack(
        "A23",
        "A pod asks by annotation for another environment, or a project's policy grants it one.",
        "Admission denies it unless the namespace allows the environment, or a policy of the home or of the "
        "environment's own namespace grants it to the account.",
        (
            f"{_POLICIES}::test_rule_can_grant_an_environment_to_an_account",
            (
                "tests/integration/test_trusted_issuers.py"
                "::test_a_bundle_for_main_reaches_the_pod_of_the_engine_and_no_copy_of_a_person"
            ),
            f"{_TRUST}::test_project_policy_that_lets_its_account_into_production",
        ),
        mutant(f"{_CORE}/policy/evaluate.py", _GRANTS, ""),
    ),
    Attack(
        "trust-attached-bundle",
        "A project attaches a bundle to the jobs of an environment that has namespaces of its own.",
        "These jobs do not get it unless all of these namespaces consent.",
        (f"{_TRUST}::test_attached_bundle_of_a_project",),
        mutant(
            f"{_CORE}/resolution/definitions.py",
            " and (is_referenced or territory.admits_attached)\n",
            "\n",
        ),
    ),
    Attack(
        "trust-slot-of-an-environment",
        "A project defines a bundle for an environment that has namespaces of its own.",
        "Admission denies an exact name, and a pattern does not apply there.",
        (f"{_TRUST}::test_slot_of_production_that_a_project_takes",),
        mutant(
            f"{_API}/scopedsecret_rules.py",
            "        _check_environment_is_the_projects(slot, namespace, state)\n",
            "",
        ),
    ),
    Attack(
        "trust-policy-that-widens",
        "A policy in a project's namespace allows a bundle that the home restricts.",
        "It governs the definitions of its own namespace only.",
        (f"{_TRUST}::test_policy_of_a_project_that_widens_the_home",),
        mutant(f"{_CORE}/policy/policy.py", _GOVERNS, "(self.project is None or bool(definition.namespace))"),
    ),
    Attack(
        "trust-policy-that-denies",
        "A policy in a project's namespace denies a bundle of production.",
        "It governs the definitions of its own namespace only.",
        (f"{_TRUST}::test_policy_of_a_project_that_denies_production",),
        mutant(f"{_CORE}/policy/policy.py", _GOVERNS, "(self.project is None or bool(definition.namespace))"),
    ),
    Attack(
        "trust-final",
        "A project's definition says `final`, so that narrower ones are ignored.",
        "Admission denies it, and `final` counts in the home only.",
        (f"{_TRUST}::test_final_definition_of_a_project",),
        mutant(
            f"{_API}/scopedsecret_rules.py",
            "        _check_final_is_at_home(namespace, state)\n",
            "        pass\n",
        ),
    ),
    Attack(
        "attached-file-outside-the-home",
        "A bundle that jobs did not ask for brings a file such as /usr/bin/git.",
        "The pod is denied unless an administrator allows the folder.",
        (f"{_TRUST}::test_an_attached_bundle_does_not_take_over_a_container",),
        mutant(
            f"{_CORE}/injection/files.py",
            "    if not bundle_entry.is_attached or is_below(path,",
            "    if bundle_entry.data_key or is_below(path,",
        ),
    ),
    Attack(
        "slot-that-is-taken",
        "A definition comes back from a backup, or is applied, after another has taken its slot.",
        "Admission denies it and names the holder.",
        (
            "tests/integration/test_backup.py::test_a_restored_definition_does_not_take_the_slot_of_a_newer_one",
            f"{_PLACEMENT}::test_a_taken_slot_is_refused_and_its_holder_named",
        ),
        mutant(
            f"{_API}/scopedsecret_rules.py",
            "        _check_slot_is_free(model, slot, namespace, state)\n",
            "",
        ),
    ),
    Attack(
        "policy-after-forged-injection",
        "A pod that is stored without admission brings a complete injection for a bundle that policy denies.",
        "The controller decides again, and an event names the policy.",
        (
            "tests/integration/test_intruders.py::test_a_pod_that_forges_a_whole_injection_gets_nothing_that_policy_denies",
            f"{_CONTROLLER}::test_policy_that_denies_the_pod_after_admission_is_enforced",
        ),
        mutant(
            f"{_CORE}/policy/evaluate.py",
            "            denial = _denial(policy, claims, now)\n",
            "            denial = None\n",
            # The other test waits for a denial by policy before its attack begins.
            test=f"{_CONTROLLER}::test_policy_that_denies_the_pod_after_admission_is_enforced",
        ),
    ),
    Attack(
        "policy-default-without-rules",
        "A bundle has an Allow policy whose rules do not match the job.",
        "The job is denied, and no wider bundle is used.",
        (f"{_POLICIES}::test_a_claim_that_does_not_hold_denies_and_is_named[serviceAccounts]",),
        mutant(
            f"{_CORE}/policy/evaluate.py",
            "        return _allowance(allowing, claims, now)\n",
            "        return PolicyAllowed(allowing[0].location)\n",
        ),
    ),
    Attack(
        "session-in-a-guarded-pod",
        "A user opens a session in a pod with a bundle whose policy denies sessions: exec, cp, attach, port-forward, "
        "the proxy to the pod, an ephemeral container.",
        "Admission denies it and names policy and bundle; a subject is exempt from one policy only.",
        (
            f"{_INTERACTIVE}::test_a_session_in_a_pod_with_the_bundle_is_denied_by_policy_and_bundle[exec]",
            f"{_INTERACTIVE}::test_exempt_engine_opens_sessions_unless_another_policy_denies_them[exec]",
        ),
        mutant(
            f"{_ADMISSION}/interactive.py",
            "    decision = SessionDecision(interaction, held, denial)\n",
            "    denial = None\n    decision = SessionDecision(interaction, held, denial)\n",
        ),
    ),
    Attack(
        "session-after-editing-the-pod",
        "A user removes labels and annotations of the pod before the session.",
        "Nothing changes: the references in the pod's spec tell which bundles it holds.",
        (f"{_INTERACTIVE}::test_labels_and_annotations_of_the_pod_lift_nothing",),
        mutant(
            f"{_ADMISSION}/interactive.py",
            "    if not held:\n",
            '    if not held or names.INJECT_LABEL not in (review.stored_pod["metadata"].get("labels") or {}):\n',
        ),
    ),
    Attack(
        "session-after-deleting-the-definition",
        "A user deletes the definition that a policy about sessions governs, before the session.",
        "The policy applies to the name all the same.",
        (f"{_INTERACTIVE}::test_deleting_the_definition_lifts_nothing_and_a_changed_policy_applies_at_once",),
        mutant(
            f"{_CORE}/interactive.py",
            "        return stands_here and (selects_by_name or not definitions)\n",
            "        return False\n",
        ),
    ),
    Attack(
        "session-in-a-pod-that-cannot-be-read",
        "A forged review asks for a session in a pod with a name that is none, such as a path.",
        "Admission reads nothing and denies the session.",
        (f"{_INTERACTIVE}::test_a_forged_review_of_a_session_shows_no_value",),
        mutant(
            f"{_ADMISSION}/interactive.py",
            "    if review.stored_pod is None:\n",
            "    if review.stored_pod is None and review.namespace:\n        return ReviewAllowed()\n"
            "    if review.stored_pod is None:\n",
        ),
    ),
)
