"""Attacks on admission."""

from __future__ import annotations

from typing import Final

from tests.attacks.attack import Attack, Edit, Mutant, mutant

_EVASIONS: Final = "tests/integration/test_evasions.py"
_GUARD: Final = "tests/integration/test_guard.py"
_INTRUDERS: Final = "tests/integration/test_intruders.py"
_INJECTED: Final = "tests/integration/test_injected.py"
_GUESSES: Final = "tests/integration/test_guesses.py"
_RESTARTS: Final = "tests/integration/test_restarts.py"

_ADMISSION: Final = "operator/scoped_secrets/admission"
_PODS: Final = f"{_ADMISSION}/pods.py"
_SEALED_GUESSES: Final = "operator/scoped_secrets/crypto/guesses.py"
_STORED_BINDING: Final = ("*map(text_bytes, texts), stored.digest, stored.salt)\n", "*map(text_bytes, texts))\n")
_MANIFEST: Final = "manifests/70-guard.yaml"
_INJECTED_MANIFEST: Final = "manifests/45-injected.yaml"
_WEBHOOKS: Final = "manifests/40-webhooks.yaml"
_UNLABELLED: Final = f"{_GUARD}::test_an_unlabelled_pod_that_names_a_bundle_is_denied"

_MIRROR: Final = "!has(request.userInfo.groups) || !('system:nodes' in request.userInfo.groups)\n"
_FAIL: Final = f"{_MIRROR}  failurePolicy: Fail\n  matchPolicy: Equivalent\n"
_PODS_RULE: Final = "    service: {namespace: scoped-secrets, name: scoped-secrets-admission, path: /mutate/pods}\n"
_PODS_SELECTORS: Final = """\
  rules:
  - {apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE], scope: Namespaced}
  # The API server passes over pods without the label, also while the webhooks are down.
  objectSelector:
    matchLabels:
      scopedsecrets.dev/inject: "true"
  namespaceSelector:
    matchExpressions:
"""
_EXCLUDED: Final = "    - {key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system, scoped-secrets]}\n"

ADMISSION: Final = (
    Attack(
        "A19",
        "A pod has init containers, sidecars or ephemeral containers that admission skips.",
        "Every container and init container gets the bundle, sidecars included; an ephemeral container gets nothing "
        "and may not name a bundle.",
        (
            f"{_EVASIONS}::test_no_kind_of_container_is_skipped",
            f"{_GUARD}::test_an_ephemeral_container_of_an_injected_pod_gets_nothing_of_a_bundle",
        ),
        mutant(
            "operator/scoped_secrets/core/pod.py",
            'for field in ("initContainers", "containers")\n',
            'for field in ("containers",)\n',
        ),
    ),
    Attack(
        "A20",
        "A pod has a volume or a mount where its secrets go, or a read-only mount above it.",
        "Admission denies it and names the mount.",
        (f"{_EVASIONS}::test_a_pod_that_takes_the_place_of_its_secrets_is_denied[read-only root]",),
        mutant(
            "operator/scoped_secrets/core/injection/mount_points.py",
            "    if folder_mount is not None:\n",
            "    if folder_mount is None and paths is None:\n",
        ),
    ),
    Attack(
        "A21",
        "A pod brings the annotations of a pod that is injected already.",
        "It is injected all the same, and the annotations are overwritten: the spec tells, not an annotation.",
        (f"{_EVASIONS}::test_annotations_that_say_that_a_pod_is_injected_change_nothing",),
        mutant(
            _PODS,
            "    return pod.wants_injection and not is_mirror\n",
            "    return pod.wants_injection and not is_mirror and names.RESOLUTION_ANNOTATION not in pod.annotations\n",
        ),
    ),
    Attack(
        "A24",
        "A pod that did not opt in names the bundle of another pod.",
        "The guard denies it; the chart has it on by default, which the list expected as an option.",
        (f"{_UNLABELLED}[volumes.secret.secretName]",),
        mutant(
            _MANIFEST,
            ".startsWith(own))) :\n      volume.?secret.?secretName.orValue('').startsWith('ssec-') ||\n",
            ".startsWith(own))) :\n",
        ),
    ),
    Attack(
        "A25",
        "A workload of any kind, a generated name, a mirror pod or a dry run gets around admission.",
        "Pods are decided about, whoever creates them; only what a node creates is a mirror pod; a dry run has no "
        "effect.",
        (
            f"{_GUARD}::test_the_mirror_annotation_of_a_user_does_not_get_around_admission",
            f"{_EVASIONS}::test_a_dry_run_of_a_pod_has_no_effect",
            "tests/integration/test_policies.py::test_a_jobs_event_says_why_its_pod_was_refused",
            "tests/admission/test_with_api_server.py::test_a_pod_gets_references_once_and_no_value",
        ),
        mutant(
            _PODS,
            "    is_mirror = names.MIRROR_ANNOTATION in pod.annotations and names.NODES_GROUP in review.groups\n",
            "    is_mirror = names.MIRROR_ANNOTATION in pod.annotations\n",
        ),
    ),
    Attack(
        "A26",
        "A client that is not the API server sends a forged review for another namespace.",
        "It creates nothing and shows no value; the answer holds names.",
        (f"{_INTRUDERS}::test_a_forged_review_creates_nothing_and_reveals_nothing",),
        mutant(
            _PODS,
            "    if is_injected or not _is_subject(pod, review):\n",
            "    if is_injected or pod.name or not _is_subject(pod, review):\n",
        ),
    ),
    Attack(
        "A27",
        "A client floods the port with silent connections and with a body that is too large.",
        "The API server gets its answers within half of its timeout, an address keeps 384 idle connections, and the "
        "body is refused.",
        (f"{_EVASIONS}::test_pods_are_created_while_others_flood_the_port",),
        mutant(
            f"{_ADMISSION}/connection_limits.py",
            "    connections_per_source: int = 384\n",
            "    connections_per_source: int = 10_000\n",
        ),
    ),
    Attack(
        "A28",
        "Admission is down, or its configuration is gone.",
        "While it is down, pods that opted in are denied; a pod that is stored without it gets no bundle and an "
        "event; the configuration comes back from where it was installed from, and not from the operator.",
        (
            f"{_RESTARTS}::test_without_admission_no_job_starts_without_its_secrets",
            f"{_INTRUDERS}::test_pod_stored_without_admission_gets_no_bundle_and_an_event",
            "tests/integration/test_sweep.py::test_by_default_a_pod_that_was_not_injected_is_reported_and_stays",
            "tests/integration/test_doctor.py::test_webhooks_that_are_gone_are_found",
        ),
        mutant(_WEBHOOKS, _FAIL, _FAIL.replace("Fail\n", "Ignore\n")),
    ),
    Attack(
        "A29",
        "A request goes to a path without a webhook.",
        "The answer is 404, and not a permission.",
        (f"{_INTRUDERS}::test_a_forged_review_creates_nothing_and_reveals_nothing",),
        mutant(
            f"{_ADMISSION}/server.py",
            'failure(404, "there is no webhook at this path")',
            'failure(200, "there is no webhook at this path")',
        ),
    ),
    Attack(
        "A30",
        "The certificate or its authority is replaced while requests run.",
        "The published bundle verifies every leaf that is served, at each step, and no pod is denied.",
        (
            (
                "tests/kube/test_webhook_certificates.py"
                "::test_a_change_of_the_authority_leaves_no_moment_in_which_a_leaf_is_not_trusted"
            ),
            "tests/kube/test_webhook_certificates.py::test_the_published_bundle_verifies_every_served_leaf",
            (
                "tests/admission/test_with_api_server.py"
                "::test_no_request_fails_while_certificate_authority_and_keys_are_replaced"
            ),
            "tests/e2e/test_installed_operation.py::test_certificate_authority_change_denies_no_pod",
        ),
        mutant(
            "operator/scoped_secrets/crypto/certificates.py",
            '    return b"".join([state.authority.certificate_pem(), *previous])\n',
            '    return b"".join([state.authority.certificate_pem(), *previous][:1])\n',
        ),
    ),
    Attack(
        "A31",
        "Another product turns containers round and removes the mounts after injection.",
        "The pod is injected again exactly once. If another webhook undoes that as well, the controller decides again "
        "from the stored pod: it gets no bundle, and an event with the remedy.",
        (
            f"{_INJECTED}::test_a_pod_that_another_webhook_keeps_changing_gets_no_bundle_that_it_may_not_have[environment]",
            f"{_EVASIONS}::test_a_pod_that_another_product_changes_after_injection_is_injected_again_exactly_once",
        ),
        mutant(
            "operator/scoped_secrets/controller/pod_decision.py",
            '    return all(_is_annotation(str(operation["path"])) for operation in granted.injection.operations)\n',
            "    return granted is not None\n",
        ),
    ),
    Attack(
        "not-injected",
        "A pod opts in where the mutating webhook exempts its namespace, fails open or is called before the label is "
        "added.",
        "A policy that the API server evaluates denies it, with the object to look at.",
        (
            f"{_INJECTED}::test_a_webhook_that_fails_open_lets_no_pod_that_opted_in_pass",
            f"{_INJECTED}::test_a_namespace_that_the_mutating_configuration_exempts_gets_no_pod_that_opted_in",
            f"{_INJECTED}::test_a_pod_that_another_webhook_labels_after_ours_is_denied",
        ),
        mutant(
            _INJECTED_MANIFEST,
            "      source.?secret.?name.orValue('').matches('^ssec-[a-z2-7]{32}-[0-9]+$')))\n",
            "      source.?secret.?name.orValue('').matches('^ssec-[a-z2-7]{32}-[0-9]+$'))) || true\n",
        ),
    ),
    Attack(
        "copied-injection-without-the-webhook",
        "The mutating configuration is gone, and a pod names the bundle of another pod as an injected pod would.",
        "The API server denies every pod that opted in as long as the configuration does not exist.",
        (f"{_INJECTED}::test_without_the_mutating_configuration_no_pod_that_opted_in_is_created",),
        mutant(_INJECTED_MANIFEST, "parameterNotFoundAction: Deny", "parameterNotFoundAction: Allow"),
    ),
    Attack(
        "label-after-a-copied-injection",
        "Another webhook adds the label after ours has been called, to a pod that names the bundle of another pod.",
        "Our webhook for copies denies the pod before the label is there.",
        (f"{_INJECTED}::test_a_copied_injection_that_another_webhook_labels_after_ours_is_denied",),
        mutant(
            _PODS,
            "            refuse_foreign_bundles(body, None)\n",
            "            pass\n",
        ),
    ),
    Attack(
        "A32",
        "A pod of the operator's own namespace starts while the operator is down.",
        "No webhook sees it, and it starts.",
        (f"{_EVASIONS}::test_pods_of_the_operators_own_namespace_start_while_it_is_down",),
        mutant(
            _WEBHOOKS,
            f"{_PODS_RULE}{_PODS_SELECTORS}{_EXCLUDED}",
            f"{_PODS_RULE}{_PODS_SELECTORS}{_EXCLUDED.replace(', scoped-secrets]', ']')}",
        ),
    ),
    Attack(
        "guesses-in-forged-reviews",
        "A reader of definitions sends forged reviews with guesses, and compares the answers with the stored text.",
        "The fingerprint in an answer has a salt of its own, and whether a guess equals the stored value is told for "
        "ten values of an entry and hour in each replica.",
        (f"{_INTRUDERS}::test_forged_reviews_confirm_no_guess_beyond_the_limit",),
        mutant(
            f"{_ADMISSION}/scopedsecrets.py",
            "            if known.comparisons.is_reached(namespace, name, key):\n",
            "            if not name and known.comparisons.is_reached(namespace, name, key):\n",
        ),
    ),
    Attack(
        "guesses-at-recorded-fingerprints",
        "A reader of definitions sends forged reviews with guesses at a value that a person's process sealed, together "
        "with the status in which the controller recorded its fingerprint.",
        "The same limit holds as for a fingerprint in the text.",
        (f"{_INTRUDERS}::test_forged_reviews_confirm_no_guess_beyond_the_limit_with_a_recorded_fingerprint",),
        mutant(
            f"{_ADMISSION}/comparisons.py",
            "    review_context.comparisons.add_difference(namespace, name, entry, guess)\n",
            '    if not (review.old_object or {}).get("status"):\n'
            "        review_context.comparisons.add_difference(namespace, name, entry, guess)\n",
        ),
    ),
    Attack(
        "guess-of-another-person",
        "A person who may update a definition takes the sealed guess of another person from an audit log and sends it.",
        "A guess is sealed for its user and does not open for another one; each guess gets the same denial.",
        (f"{_GUESSES}::test_a_guess_from_an_audit_log_tells_another_person_nothing",),
        mutant(_SEALED_GUESSES, "entry.name, question.user\n", 'entry.name, ""\n'),
    ),
    Attack(
        "guess-at-a-chosen-value",
        "A person stores values of their own in the place of a verified one, and has a sealed guess compared with each "
        "until it is found.",
        "A guess is sealed for the fingerprint that was stored when it was made, and is compared with no other value.",
        (f"{_GUESSES}::test_a_guess_is_not_compared_with_a_value_that_is_stored_in_its_place",),
        mutant(_SEALED_GUESSES, *_STORED_BINDING),
    ),
    Attack(
        "moved-guess",
        "A sealed guess for one entry is sent for another one, or for another object.",
        "It does not open there.",
        (
            f"{_GUESSES}::test_a_moved_guess_does_not_open[object]",
            f"{_GUESSES}::test_a_moved_guess_does_not_open[entry]",
            f"{_GUESSES}::test_a_moved_guess_does_not_open[kind]",
        ),
        # Entries have fingerprints of their own, so that the binding to these is a second defense.
        Mutant(
            (
                Edit(
                    _SEALED_GUESSES,
                    "question.name, entry.kind.context_word, entry.name, question.user\n",
                    '"", "", "", question.user\n',
                ),
                Edit(_SEALED_GUESSES, *_STORED_BINDING),
            )
        ),
    ),
    Attack(
        "guesses-beyond-the-limit",
        "A person who may update a definition sends sealed guesses instead of applying values.",
        "Sealed guesses have the limit of applied values, and their count.",
        (f"{_GUESSES}::test_sealed_guesses_are_not_compared_beyond_the_limit",),
        mutant(
            f"{_ADMISSION}/comparisons.py",
            "    if review_context.comparisons.is_reached(review.namespace, name, entry):\n",
            "    if not name and review_context.comparisons.is_reached(review.namespace, name, entry):\n",
        ),
    ),
    Attack(
        "stored-guess",
        "An update without dry run brings a sealed guess, to be stored in the object and its history.",
        "The mutating webhook denies it, and so does the validating one.",
        (
            f"{_GUESSES}::test_a_guess_is_never_stored",
            f"{_GUESSES}::test_the_validating_webhook_keeps_a_guess_from_being_stored_without_the_mutating_one",
        ),
        Mutant(
            (
                Edit(
                    f"{_ADMISSION}/scopedsecrets.py",
                    "    if review.writes_object and has_guess(review):\n        return GUESS_REFUSED\n",
                    "",
                ),
                Edit(
                    f"{_ADMISSION}/comparisons.py",
                    "review.operation is not Operation.UPDATE or not review.dry_run or body",
                    "review.operation is not Operation.UPDATE or body",
                ),
            )
        ),
    ),
    Attack(
        "change-beside-a-guess",
        "An update with a sealed guess brings another change, to have it checked by fewer rules.",
        "It is denied: a review that carries a guess does nothing else.",
        (f"{_GUESSES}::test_an_update_with_a_guess_changes_nothing_else[a label]",),
        mutant(
            f"{_ADMISSION}/comparisons.py",
            "    if _without_guess(body) != _without_guess(old):\n",
            '    if _without_guess(body)["kind"] != _without_guess(old)["kind"]:\n',
        ),
    ),
    Attack(
        "former-value-under-another-name",
        "A person who may update a definition stores the text of a variable as the former value of another one, which "
        "a job prints.",
        "A former value has the name of its variable with `_PREVIOUS`, and a text that was made for that variable.",
        (f"{_INTRUDERS}::test_a_sealed_text_becomes_the_former_value_of_its_own_variable_only",),
        Mutant(
            (
                Edit("crds/scopedsecrets.yaml", "self.name == self.previousOf + ", "self.name != self.previousOf + "),
                Edit(
                    "operator/scoped_secrets/api/entries.py",
                    "        _PREVIOUS_NAME.require(of is None or name == previous_name(of))\n",
                    "",
                ),
            )
        ),
    ),
    Attack(
        "client-without-a-certificate",
        "A client that is not the API server connects to the port of an installation with a client authority.",
        "It gets no answer, and the API server presents its certificate.",
        (
            "tests/admission/test_client_certificate.py::test_the_real_api_server_presents_its_certificate_to_both_webhooks",
        ),
        mutant(
            f"{_ADMISSION}/tls.py",
            "    context.verify_mode = ssl.CERT_REQUIRED\n",
            "    context.verify_mode = ssl.CERT_OPTIONAL\n",
        ),
    ),
    Attack(
        "which-pods-exist",
        "A client asks by reviews of sessions which pods exist.",
        "Admission says nothing about a pod that does not exist; the API server answers by itself.",
        ("tests/integration/test_interactive.py::test_session_in_an_absent_pod_is_answered_by_the_api_server_alone",),
        mutant(
            f"{_ADMISSION}/interactive.py",
            "    if not review.stored_pod:\n        return ReviewAllowed()\n",
            '    if not review.stored_pod:\n        return ReviewDenied(Reason.POD_UNKNOWN, "there is no such pod")\n',
        ),
    ),
    Attack(
        "status-as-memory",
        "A user who may write statuses changes what the operator remembers there.",
        "The guard denies it.",
        (
            f"{_GUARD}::test_only_the_controller_writes_a_status",
            f"{_GUARD}::test_a_writer_of_statuses_without_the_guard_reaches_only_the_age_of_values",
        ),
        mutant(
            "manifests/70-guard.yaml",
            '  - expression: "object.?status.orValue({}) == oldObject.?status.orValue({})"\n',
            '  - expression: "true"\n',
        ),
    ),
    Attack(
        "reinvocation",
        "Another product changes a pod after injection, and our webhook is not called again.",
        "Our webhook asks to be called again, and repairs the pod.",
        (f"{_EVASIONS}::test_a_pod_that_another_product_changes_after_injection_is_injected_again_exactly_once",),
        mutant(
            _WEBHOOKS,
            f"{_FAIL}  reinvocationPolicy: IfNeeded\n",
            f"{_FAIL}  reinvocationPolicy: Never\n",
        ),
    ),
)
