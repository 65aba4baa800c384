"""Attacks by what is delivered, on what leaks, and by rights."""

from __future__ import annotations

from typing import Final

from tests.attacks.attack import Attack, Edit, Mutant, mutant

_CRD: Final = "tests/api/test_crds_on_api_server.py"
_EVASIONS: Final = "tests/integration/test_evasions.py"
_GUARD: Final = "tests/integration/test_guard.py"
_ROLES: Final = "tests/integration/test_roles.py"
_TENANTS: Final = "tests/integration/test_tenants.py"
_WRITE_ONLY: Final = "tests/integration/test_write_only.py"
_VALUE_FROM: Final = "tests/integration/test_value_from.py"
_CANARY: Final = "tests/integration/test_canary.py"
_FAULTS: Final = "tests/integration/test_faults.py"

_PACKAGE: Final = "operator/scoped_secrets"
_SCOPED_SECRETS: Final = f"{_PACKAGE}/admission/scopedsecrets.py"
_MANIFEST: Final = "manifests/10-roles.yaml"

_EDIT_ROLE: Final = '    rbac.authorization.k8s.io/aggregate-to-edit: "true"\nrules:\n'
_NO_FIELD: Final = f"{_CRD}::test_a_definition_has_no_field_for_what_it_must_not_choose"
_LABELS: Final = '"labels": {names.MANAGED_BY_LABEL: names.DISTRIBUTION, names.POD_UID_LABEL: record.uid},'
_CREATES: Final = (
    '''"request.operation != 'CREATE' || ((variables.isBundle || variables.isOwn) && object.type == 'Opaque')"'''
)
_SPEC_FIELD: Final = "              secretName:\n"

OUTPUT: Final = (
    Attack(
        "A11",
        "A bundle is a token of a ServiceAccount: by its type, or by a source.",
        "A definition has no field for the type, bundles are always Opaque, and a token is no source of `valueFrom`.",
        (
            f"{_VALUE_FROM}::test_service_account_token_is_denied_as_a_source",
            f"{_NO_FIELD}[the type of a Secret]",
            "tests/integration/test_bundles.py::test_a_bundle_is_immutable_owned_by_its_pod_and_labelled",
        ),
        mutant(
            f"{_PACKAGE}/controller/value_from.py",
            '    if body.get("type") in _REFUSED_TYPES or _RESERVED_LABELS & labels.keys():\n',
            "    if _RESERVED_LABELS & labels.keys():\n",
        ),
    ),
    Attack(
        "A12",
        "The controller, or its stolen token, creates a bootstrap token or any Secret in kube-system.",
        "The guard denies it, and no webhook sees kube-system.",
        (
            f"{_GUARD}::test_a_stolen_token_of_the_controller_creates_no_other_secret[kube-system-bootstrap-token-abcdef]",
            f"{_GUARD}::test_a_labelled_pod_of_a_namespace_without_webhooks_names_no_bundle",
        ),
        mutant("manifests/70-guard.yaml", f"  - expression: {_CREATES}\n", '  - expression: "true"\n'),
    ),
    Attack(
        "A13",
        "A definition puts labels or annotations on a Secret that another product acts upon.",
        "A definition has no field for them, and a bundle has the operator's two labels and no annotation.",
        (
            f"{_NO_FIELD}[labels of a Secret]",
            f"{_NO_FIELD}[annotations of a Secret]",
            "tests/integration/test_bundles.py::test_a_bundle_is_immutable_owned_by_its_pod_and_labelled",
        ),
        mutant(
            "crds/scopedsecrets.yaml",
            _SPEC_FIELD,
            "              labels:\n                type: object\n                maxProperties: 8\n"
            f"                additionalProperties:\n                  type: string\n{_SPEC_FIELD}",
        ),
    ),
    Attack(
        "A14",
        "A bundle takes the name of a Secret that exists, or a user plants a Secret in the place of a bundle.",
        "A definition has no field for the name, which is keyed, and the guard lets only the controller create "
        "Secrets with the prefix.",
        (
            f"{_GUARD}::test_a_user_plants_no_secret_in_the_place_of_a_bundle[ssec-x]",
            f"{_NO_FIELD}[the name of a Secret]",
        ),
        mutant(
            "manifests/70-guard.yaml",
            "  - expression: \"request.operation != 'CREATE'\"\n",
            "  - expression: \"request.operation != 'CREATE' || request.namespace != 'default'\"\n",
        ),
    ),
    Attack(
        "A15",
        "A name or a path has `..`, NUL, a line break, or too many characters.",
        "The schema rejects what is no name, and a path that leads above the root is denied before anything is "
        "rendered.",
        (
            f"{_EVASIONS}::test_a_path_above_the_root_is_denied[/../etc/passwd]",
            f"{_CRD}::test_invalid_scoped_secret_is_rejected[a path has no NUL]",
            f"{_CRD}::test_invalid_scoped_secret_is_rejected[a name is no path]",
            f"{_CRD}::test_invalid_scoped_secret_is_rejected[a variable is no path]",
        ),
        mutant(
            f"{_PACKAGE}/core/injection/file_paths.py",
            "            if not parts:\n                return None\n",
            "            if not parts:\n                continue\n",
        ),
    ),
    Attack(
        "A16",
        "A bundle sets LD_PRELOAD, BASH_ENV or another variable that changes how programs start.",
        "The schema rejects the names that the loader, the shell, Kubernetes or this operator reads; PATH and "
        "KUBECONFIG are allowed, because jobs need them and a container's own variable wins over them.",
        (
            f"{_CRD}::test_invalid_scoped_secret_is_rejected[the loader is not steered]",
            "tests/admission/test_with_api_server.py::test_a_denial_has_a_message_without_the_value",
        ),
        mutant(
            "crds/scopedsecrets.yaml",
            "'!has(self.name) || (!self.name.startsWith(''BASH_FUNC_'')",
            "'true || (!self.name.startsWith(''BASH_FUNC_'')",
        ),
    ),
    Attack(
        "A17",
        "Many definitions together exceed what a Secret, or a job, may hold.",
        "A bundle of more than one megabyte is split into several Secrets; a job of more than 6 MiB is denied with "
        "the limit, and bundles that exist stay as they are.",
        (
            f"{_EVASIONS}::test_a_job_above_six_mebibytes_is_denied_and_the_others_stay",
            "tests/integration/test_resolution.py::test_a_job_larger_than_one_secret_gets_several",
        ),
        mutant(
            f"{_PACKAGE}/core/injection/layout.py",
            "MAX_JOB_BYTES = 6 * 1024 * 1024\n",
            "MAX_JOB_BYTES = 60 * 1024 * 1024\n",
        ),
    ),
    Attack(
        "A18",
        "A pattern is slow for a matcher that goes back, or a body nests a million levels.",
        "Patterns are matched in linear time, and a body that no parser accepts is a bad request.",
        (
            f"{_EVASIONS}::test_a_pattern_that_is_slow_for_a_backtracking_matcher_is_not_slow",
            f"{_EVASIONS}::test_a_json_bomb_is_a_bad_request",
            f"{_CRD}::test_invalid_scoped_secret_is_rejected[there are not too many variables]",
        ),
        mutant(
            f"{_PACKAGE}/core/scope/globs.py",
            '    first, *rest = pattern.split("*")\n',
            '    import re\n    return re.fullmatch(pattern.replace("*", "[^/]*"), text) is not None\n'
            '    first, *rest = pattern.split("*")\n',
        ),
    ),
    Attack(
        "json-bomb",
        "A review nests a million levels, or holds a number of 100,000 digits.",
        "Admission answers that it is no review, and goes on to answer others.",
        (f"{_EVASIONS}::test_a_json_bomb_is_a_bad_request[lists]",),
        mutant(
            f"{_PACKAGE}/admission/review.py",
            "    except ValueError:\n        return None\n    if not isinstance(document",
            "    except KeyError:\n        return None\n    if not isinstance(document",
        ),
    ),
    Attack(
        "A33",
        "A value stands in a log at DEBUG, also after 409, 422, exceptions and tracebacks.",
        "No log of the operator or of the cluster has one.",
        (
            f"{_CANARY}::test_no_value_of_any_test_is_anywhere_but_in_bundles",
            f"{_CANARY}::test_the_sweep_finds_a_value_in_each_place",
            f"{_FAULTS}::test_after_all_faults_no_value_is_anywhere_but_in_bundles",
        ),
        mutant(
            f"{_PACKAGE}/controller/bundle_secrets.py",
            '        name = body["metadata"]["name"]\n        try:\n            created =',
            '        name = body["metadata"]["name"]\n        import json\n        import logging\n'
            "        logging.getLogger(__name__).debug(json.dumps(body))\n        try:\n            created =",
        ),
    ),
    Attack(
        "A34",
        "A value stands in an event, status, annotation, managed field, metric, warning or audit annotation.",
        "No object has one except the data of bundles, and no answer, probe or scrape has one.",
        (
            f"{_CANARY}::test_no_value_of_any_test_is_anywhere_but_in_bundles",
            f"{_CANARY}::test_the_sweep_finds_a_value_in_each_place",
        ),
        mutant(
            f"{_PACKAGE}/controller/bundle_bodies.py",
            _LABELS,
            f'{_LABELS}\n                "annotations": {{"values": str(list(data.values()))}},',
        ),
    ),
    Attack(
        "A35",
        "The annotations last-applied-configuration or last-handled-configuration keep a value.",
        "The first one keeps no value, and the operator writes no such annotation.",
        (f"{_WRITE_ONLY}::test_stored_objects_contain_no_value_and_jobs_get_all_values[kubectl apply]",),
        Mutant(
            (
                Edit(
                    _SCOPED_SECRETS,
                    ", *_scrubbing(model, body)]",
                    "]",
                ),
                Edit(
                    _SCOPED_SECRETS,
                    "    if text is not None and scrub(text, ()) != text:\n",
                    "    if text is None and scrub(str(text), ()) != text:\n",
                ),
            )
        ),
    ),
    Attack(
        "A36",
        "A crash leaves a core file, or a debugger or `repr` shows a value.",
        "Neither process can leave a core file or be read by another process of its user, and a crash leaves no "
        "value in the log.",
        (
            "tests/integration/test_memory.py::test_no_process_can_leave_a_core_file",
            f"{_FAULTS}::test_a_crash_leaves_neither_a_core_file_nor_a_value_in_the_log",
        ),
        mutant(
            f"{_PACKAGE}/process_hardening.py",
            "    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))\n",
            "    del hard\n",
        ),
    ),
    Attack(
        "A45",
        "A thief of the controller's token reads Secrets of tenants, lists all Secrets, or changes one.",
        "RBAC denies all of it: the token creates and deletes, and the guard limits both to bundles.",
        (
            f"{_ROLES}::test_a_stolen_token_shows_no_secret",
            f"{_ROLES}::test_the_controller_can_read_no_secret_but_its_own_and_write_nothing_of_tenants",
            f"{_GUARD}::test_a_stolen_token_of_the_controller_creates_no_other_secret",
            f"{_GUARD}::test_a_stolen_token_of_the_controller_deletes_no_other_secret",
        ),
        mutant(
            _MANIFEST,
            "  resources: [secrets]\n  verbs: [create, delete]\n",
            "  resources: [secrets]\n  verbs: [create, delete, list]\n",
        ),
    ),
    Attack(
        "stolen-controller-changes-definitions",
        "A thief of the controller's token changes a ScopedSecret, or adds something to a request that is pending.",
        "The guard denies it: the account changes a definition only to reseal or to copy, as requested.",
        (
            "tests/integration/test_copies.py::test_a_stolen_token_of_the_controller_changes_definitions_only_as_requested",
        ),
        mutant(
            "manifests/70-guard.yaml",
            '  - expression: "variables.isCopy || variables.isReseal"\n',
            '  - expression: "true"\n',
        ),
    ),
    Attack(
        "copy-without-the-right",
        "A developer creates a copy of a definition whose values are not theirs to deliver.",
        "Admission asks the API server for the verb `copy` on the source, and denies the object.",
        ("tests/integration/test_copies.py::test_an_editor_may_not_copy_and_learns_nothing_about_what_exists",),
        mutant(
            "operator/scoped_secrets/admission/copy_rights.py",
            "    if not right.is_allowed:\n",
            "    if not right.is_allowed and right.uid:\n",
        ),
    ),
    Attack(
        "copy-without-admission",
        "A request for a copy is stored while the webhooks are off, without a grant or with one of another object.",
        "The controller copies nothing without a grant that admission made for this object when it was created.",
        (
            "tests/integration/test_copies.py::test_a_grant_is_of_no_use_in_another_object_or_at_another_time",
            "tests/integration/test_copies.py::test_a_request_that_did_not_pass_admission_copies_nothing",
        ),
        mutant(
            "operator/scoped_secrets/crypto/copy_grants.py",
            "    return grant if is_genuine else None\n",
            "    return grant if is_genuine or grant else None\n",
        ),
    ),
    Attack(
        "A46",
        "A thief of the admission server's token reads a Secret.",
        "RBAC denies it: the account has no right on Secrets.",
        (
            f"{_ROLES}::test_the_admission_server_has_no_right_on_secrets_and_none_to_write",
            f"{_ROLES}::test_a_stolen_token_shows_no_secret",
        ),
        mutant(
            _MANIFEST,
            "  resources: [pods]\n  verbs: [get]\n# admission.gate_policy: ",
            "  resources: [pods, secrets]\n  verbs: [get]\n# admission.gate_policy: ",
        ),
    ),
    Attack(
        "A47",
        "A thief of a token of the operator reaches another account or everything: wildcards, `escalate`, `bind`, "
        "`impersonate`, tokens, `nodes/proxy`.",
        "No account of the operator has such a right; each has exactly the rights of the shipped roles, and uses all "
        "of them.",
        (
            f"{_ROLES}::test_a_stolen_token_has_no_wildcard_and_leads_to_no_other_account",
            f"{_ROLES}::test_each_account_has_exactly_the_rights_of_the_shipped_roles",
            "tests/integration/test_rights.py::test_roles_grant_exactly_the_rights_that_the_operator_uses",
        ),
        mutant(
            _MANIFEST,
            "  resources: [events]\n  verbs: [create]\n",
            '  resources: [events]\n  verbs: ["*"]\n',
        ),
    ),
    Attack(
        "A48",
        "A tenant with a role that the chart ships reads a Secret, also by an empty patch as a dry run.",
        "The shipped roles for people give rights on ScopedSecrets and SecretPolicies only.",
        (f"{_TENANTS}::test_a_shipped_role_for_people_gives_nothing_on_secrets_and_pods[edit]",),
        mutant(
            _MANIFEST,
            _EDIT_ROLE,
            f'{_EDIT_ROLE}- apiGroups: [""]\n  resources: [secrets]\n  verbs: [get, patch]\n',
        ),
    ),
    Attack(
        "A49",
        "A user with the cluster role `view` reads values in definitions.",
        "The user sees sealed texts, and plain configuration that its author marked as such.",
        (f"{_TENANTS}::test_who_may_view_definitions_sees_no_value[view]",),
        Mutant(
            (
                Edit(
                    _SCOPED_SECRETS,
                    "self._seal(position, entry, before) if is_plain else",
                    "self._seal(position, entry, before) if is_plain and entry.sealed else",
                ),
                Edit(
                    _SCOPED_SECRETS,
                    "            if is_plain or text != entry.sealed:\n",
                    "            if text != entry.sealed:\n",
                ),
                Edit(
                    _SCOPED_SECRETS,
                    "        _refuse_plaintext(body)\n        if review.keeps_spec:\n",
                    "        if review.keeps_spec:\n",
                ),
            )
        ),
    ),
    Attack(
        "plaintext-without-the-mutating-webhook",
        "A definition with plain text is stored while the mutating webhook is missing.",
        "The validating webhook denies it.",
        (
            (
                "tests/integration/test_write_only_updates.py"
                "::test_without_the_mutating_webhook_plain_text_is_refused_and_the_rest_is_stored"
            ),
        ),
        mutant(
            _SCOPED_SECRETS,
            "        _refuse_plaintext(body)\n        if review.keeps_spec:\n",
            "        if review.keeps_spec:\n",
        ),
    ),
    Attack(
        "sealed-text-of-another",
        "A user copies a sealed text into another object or entry.",
        "Admission denies it without opening it, and it would not open there.",
        (f"{_WRITE_ONLY}::test_a_sealed_text_copied_to_another_object_is_refused",),
        mutant(
            f"{_PACKAGE}/api/scopedsecret_rules.py",
            "        _check_final_is_at_home(namespace, state)\n"
            "    check_sealed_texts(model, changed, old, namespace, state, just_sealed)\n",
            "        _check_final_is_at_home(namespace, state)\n",
        ),
    ),
    Attack(
        "source-that-is-reserved",
        "A definition takes a value from a bundle of a pod or from a key of the operator.",
        "Admission denies it, and the controller does not read it.",
        (f"{_VALUE_FROM}::test_bundles_and_operator_secrets_are_denied_as_sources[ssec-abc-0]",),
        mutant(
            f"{_PACKAGE}/core/resolution/definitions.py",
            "    return secret.startswith(names.BUNDLE_PREFIX) or any(\n",
            "    return any(\n",
        ),
    ),
)
