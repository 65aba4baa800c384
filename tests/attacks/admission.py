"""Attacks on admission and on the bundles of other pods."""

from __future__ import annotations

from typing import Final

from tests.attacks.attack import Attack, Edit, Mutant, mutant

_EVASIONS: Final = "tests/integration/test_evasions.py"
_GUARD: Final = "tests/integration/test_guard.py"
_INTRUDERS: Final = "tests/integration/test_intruders.py"
_CREATORS: Final = "tests/integration/test_creators.py"
_RESTARTS: Final = "tests/integration/test_restarts.py"
_CONTROLLER: Final = "tests/controller/test_controller.py"

_ADMISSION: Final = "operator/scoped_secrets/admission"
_PODS: Final = f"{_ADMISSION}/pods.py"
_DECISION: Final = "operator/scoped_secrets/controller/pod_decision.py"
_MANIFEST: Final = "manifests/70-guard.yaml"
_WEBHOOKS: Final = "manifests/40-webhooks.yaml"
_UNLABELLED: Final = f"{_GUARD}::test_an_unlabelled_pod_that_names_a_bundle_is_denied"

_MIRROR: Final = "!has(request.userInfo.groups) || !('system:nodes' in request.userInfo.groups)\n"
_FAIL: Final = f"{_MIRROR}  failurePolicy: Fail\n  matchPolicy: Equivalent\n"
_PODS_RULE: Final = "    service: {namespace: scoped-secrets, name: scoped-secrets-admission, path: /mutate/pods}\n"
_PODS_SELECTORS: Final = """\
  rules:
  - {apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE], scope: Namespaced}
  # The API server does not call the webhook for pods without the label, even while the webhook is down.
  objectSelector:
    matchLabels:
      scopedsecrets.dev/inject: "true"
  namespaceSelector:
    matchExpressions:
"""
_EXCLUDED: Final = "    - {key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system, scoped-secrets]}\n"

PODS: Final = (
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
            "    if not pod.wants_injection or is_mirror:\n",
            "    if not pod.wants_injection or is_mirror or names.RESOLUTION_ANNOTATION in pod.annotations:\n",
        ),
    ),
    Attack(
        "A24",
        "A pod that did not opt in names the bundle of another pod.",
        "The guard denies it; the chart has it on by default, which the list expected as an option.",
        (f"{_UNLABELLED}[volumes.secret.secretName]",),
        mutant(
            _MANIFEST,
            "      volume.?secret.?secretName.orValue('').startsWith('ssec-') ||\n",
            "",
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
            "    if base is None:\n        return ReviewDenied(\n",
            "    if base is None and pod.name:\n        return ReviewAllowed()\n    if base is None:\n"
            "        return ReviewDenied(\n",
        ),
    ),
    Attack(
        "A27",
        "A client floods the port with silent connections and with a body that is too large.",
        "The API server gets its answers within half of its timeout, an address keeps 384 idle connections, and the "
        "body is refused.",
        (f"{_EVASIONS}::test_pods_are_created_while_others_flood_the_port",),
        mutant(
            f"{_ADMISSION}/connections.py",
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
            "tests/integration/test_doctor.py::test_webhooks_that_are_gone_are_found",
        ),
        Mutant(
            tuple(
                Edit(_WEBHOOKS, f"{_FAIL}{following}", f"{_FAIL}{following}".replace("Fail\n", "Ignore\n"))
                for following in ("  reinvocationPolicy: IfNeeded\n", "  sideEffects: None\n")
            )
        ),
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
        "The pod is injected again exactly once, and the validating webhook denies a pod that lost a part.",
        (
            f"{_EVASIONS}::test_a_pod_that_lost_a_part_of_its_injection_is_denied",
            f"{_EVASIONS}::test_a_pod_that_another_product_changes_after_injection_is_injected_again_exactly_once",
        ),
        mutant(
            _PODS,
            "    if _is_complete(decision) or _was_complete(pod, base, review_context):\n",
            "    if isinstance(decision, Granted) or _was_complete(pod, base, review_context):\n",
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

BUNDLES_OF_OTHERS: Final = (
    Attack(
        "handwritten-references",
        "A pod that is stored without admission has handwritten references to a bundle.",
        "It gets no bundle, and an event.",
        (f"{_INTRUDERS}::test_pod_with_handwritten_references_gets_no_bundle",),
        mutant(
            _DECISION,
            "            return Deny(Reason.NOT_INJECTED, _FOREIGN_VOLUME, may_change=False)\n",
            "            return NoAction()\n",
        ),
    ),
    Attack(
        "bundle-of-another-pod",
        "A pod that opted in names the bundle of another pod, in any reference.",
        "Admission denies it, and so does the guard.",
        (f"{_INTRUDERS}::test_an_injected_pod_cannot_name_another_pods_bundle",),
        mutant(_PODS, "    refuse_foreign_bundles(body, base)\n    return base\n", "    return base\n"),
    ),
    Attack(
        "copy-with-another-name",
        "A user submits the stored spec of an injected pod under another name.",
        "Admission denies it: the name of the bundle is bound to the pod.",
        (f"{_INTRUDERS}::test_another_pod_with_the_stored_spec_of_an_injected_one_is_refused",),
        mutant(
            _PODS,
            "    if base is not None and not is_genuine(\n",
            "    if base is not None and not body and not is_genuine(\n",
        ),
    ),
    Attack(
        "copy-with-generate-name",
        "A user submits a copy of a pod whose `generateName` is the pod's name.",
        "Admission denies it: a given name and one to be generated are two identities.",
        (f"{_CREATORS}::test_a_copy_of_a_pod_with_its_name_as_generate_name_is_denied",),
        mutant(
            "operator/scoped_secrets/core/pod.py",
            '        name = f"generateName:{self.generate_name}" if self.generate_name else f"name:{self.name}"\n',
            "        name = self.generate_name or self.name\n",
        ),
    ),
    Attack(
        "copy-with-a-forged-owner",
        "A user submits a copy of a Job's pod with the ownerReference of the Job.",
        "Admission denies it: only the word of Kubernetes' own controllers counts for the owner.",
        (f"{_CREATORS}::test_a_copy_of_a_jobs_pod_with_a_forged_owner_is_denied",),
        mutant(
            f"{_ADMISSION}/creators.py",
            "        return AdmissionRecord(creator=review.user)\n",
            "        return AdmissionRecord(creator=review.user, owner=pod.owner_uid)\n",
        ),
    ),
    Attack(
        "copy-by-another-user",
        "Another user submits a copy of a pod under its own name, after the pod is gone.",
        "Admission denies it: the creator is a part of what the bundle is bound to.",
        (f"{_CREATORS}::test_a_copy_of_a_pod_by_another_user_is_denied",),
        mutant(
            "operator/scoped_secrets/core/pod.py",
            '        return f"{name}/{self.record.text()}"\n',
            '        return f"{name}/"\n',
        ),
    ),
    Attack(
        "forged-record-of-a-pod",
        "A pod brings a record that names another creator.",
        "Admission overwrites it with the user who makes the request.",
        (f"{_CREATORS}::test_the_creator_of_a_bare_pod_is_the_user_who_created_it",),
        mutant(
            f"{_ADMISSION}/creators.py",
            "        return AdmissionRecord(creator=review.user)\n",
            "        return pod.record if pod.record.creator else AdmissionRecord(creator=review.user)\n",
        ),
    ),
    Attack(
        "forged-record-of-a-template",
        "A template brings the genuine record of another user's template.",
        "Admission overwrites it with the user who writes the template.",
        (f"{_CREATORS}::test_a_user_cannot_bring_another_users_record_into_a_template",),
        mutant(
            f"{_ADMISSION}/workloads.py",
            "    return signed_creator(review.user, review.namespace, review_context)\n",
            "    given = _annotations(template).get(names.CREATOR_ANNOTATION)\n"
            "    return given or signed_creator(review.user, review.namespace, review_context)\n",
        ),
    ),
    Attack(
        "two-pods-with-one-bundle",
        "Two pods of one generated name have one bundle.",
        "The older one owns it, and the other one gets an event.",
        (
            f"{_INTRUDERS}::test_older_of_two_pods_with_one_bundle_name_gets_it",
            f"{_CONTROLLER}::test_older_of_two_pods_with_one_bundle_owns_it",
        ),
        mutant(_DECISION, "    if not state.is_owner:\n", "    if state.owner is state:\n"),
    ),
    Attack(
        "label-removed-to-lose-the-bundle",
        "A user removes the label of a running pod, so that its bundle is deleted.",
        "The controller asks whether the pod exists, and keeps the bundle until the pod ends.",
        (f"{_CONTROLLER}::test_a_pod_that_loses_its_label_keeps_its_bundle_until_it_ends",),
        mutant(
            _DECISION,
            "    if not (record.is_finished or record.is_deleting or state.is_gone):\n",
            "    if record.is_finished and record.is_deleting and state.is_gone:\n",
        ),
    ),
    Attack(
        "planted-in-the-place-of-a-deleted-bundle",
        "A Secret takes the place of a bundle that was deleted.",
        "The controller does not delete it as its own.",
        (f"{_CONTROLLER}::test_a_secret_that_was_planted_in_the_place_of_a_deleted_bundle_is_not_deleted_as_ours",),
        mutant(
            "operator/scoped_secrets/controller/bundle_secrets.py",
            "            uid = progress.created.get(part) or await self._context.cluster.uid_of(path)\n",
            "            uid = await self._context.cluster.uid_of(path)\n",
        ),
    ),
    Attack(
        "workload-that-names-a-bundle",
        "The template of a workload names a bundle.",
        "The guard denies the workload.",
        (f"{_GUARD}::test_a_workload_whose_template_names_a_bundle_is_denied[Job-volumes.secret.secretName]",),
        mutant(_MANIFEST, "      resources: [jobs, cronjobs]\n", "      resources: [cronjobs]\n"),
    ),
    Attack(
        "copy-for-debugging",
        "A user makes a copy of the pod with `kubectl debug --copy-to`.",
        "The guard denies the copy, which does not opt in.",
        (f"{_GUARD}::test_a_copy_of_a_pod_for_debugging_is_denied",),
        mutant(
            _MANIFEST,
            '    - {apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE], scope: Namespaced}\n',
            '    - {apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [UPDATE], scope: Namespaced}\n',
        ),
    ),
    Attack(
        "ephemeral-container",
        "An ephemeral container names the bundle of its pod, or mounts its volume.",
        "The guard denies it.",
        (
            f"{_GUARD}::test_an_ephemeral_container_of_an_injected_pod_gets_nothing_of_a_bundle[volumeMounts]",
            f"{_GUARD}::test_an_ephemeral_container_of_another_pod_names_no_bundle_and_others_are_admitted",
        ),
        mutant(_MANIFEST, '  - expression: "variables.ephemeral.size() == 0"\n', '  - expression: "true"\n'),
    ),
    Attack(
        "variable-of-another-bundle",
        "A pod that opted in names a second bundle in a variable while the webhooks are down.",
        "The guard denies it.",
        (
            (
                f"{_GUARD}::test_an_opted_in_pod_names_one_bundle_also_without_the_webhooks"
                "[containers.env.valueFrom.secretKeyRef.name]"
            ),
        ),
        mutant(_MANIFEST, '  - expression: "variables.foreignEnv.size() == 0"\n', '  - expression: "true"\n'),
    ),
    Attack(
        "env-from-a-bundle",
        "A pod takes all keys of a bundle by `envFrom`.",
        "The guard denies it.",
        (f"{_UNLABELLED}[containers.envFrom.secretRef.name]",),
        mutant(_MANIFEST, '  - expression: "variables.foreignEnvFrom.size() == 0"\n', '  - expression: "true"\n'),
    ),
    Attack(
        "labelled-pod-in-kube-system",
        "A labelled pod of a namespace without webhooks names a bundle.",
        "The guard denies it, because no webhook verifies whose bundle it is.",
        (f"{_GUARD}::test_a_labelled_pod_of_a_namespace_without_webhooks_names_no_bundle",),
        mutant(
            _MANIFEST,
            '      !(request.namespace in ["kube-system","scoped-secrets"]) &&\n',
            "",
        ),
    ),
    Attack(
        "service-account-that-lists-a-bundle",
        "A ServiceAccount lists a bundle, and hands it to its pods.",
        "The guard denies it.",
        (f"{_GUARD}::test_a_service_account_that_lists_a_bundle_is_denied[secrets]",),
        mutant(
            _MANIFEST,
            "      !object.?secrets.orValue([]).exists(secret, secret.?name.orValue('').startsWith('ssec-')) &&\n",
            "",
        ),
    ),
    Attack(
        "changed-bundle",
        "A user changes labels, finalizers or owners of a bundle.",
        "The guard denies it; storing a bundle unchanged is allowed, because it encrypts it again.",
        (f"{_GUARD}::test_a_user_changes_no_bundle",),
        mutant(
            _MANIFEST,
            "      request.operation != 'UPDATE' || variables.collects ||\n",
            "      true || variables.collects ||\n",
        ),
    ),
    Attack(
        "deleted-bundle",
        "A user, an administrator or the admission server deletes a bundle.",
        "The guard denies it: the controller, the garbage collector and namespace deletion do.",
        (f"{_GUARD}::test_nobody_but_kubernetes_and_the_controller_deletes_a_bundle[mallory]",),
        mutant(
            _MANIFEST,
            "      request.operation != 'DELETE' || variables.collects ||\n",
            "      true || variables.collects ||\n",
        ),
    ),
    Attack(
        "stolen-controller-deletes",
        "A thief of the controller's token deletes other Secrets.",
        "The guard denies it.",
        (f"{_GUARD}::test_a_stolen_token_of_the_controller_deletes_no_other_secret",),
        mutant(
            _MANIFEST,
            "  - expression: \"request.operation != 'DELETE' || variables.name.startsWith('ssec-')\"\n",
            '  - expression: "true"\n',
        ),
    ),
)
