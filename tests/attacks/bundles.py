"""Attacks on the bundles of other pods: by copies, forged records, references and planted Secrets."""

from __future__ import annotations

from typing import Final

from tests.attacks.attack import Attack, mutant

_GUARD: Final = "tests/integration/test_guard.py"
_INTRUDERS: Final = "tests/integration/test_intruders.py"
_CREATORS: Final = "tests/integration/test_creators.py"
_ISSUERS: Final = "tests/integration/test_trusted_issuers.py"
_CONTROLLER: Final = "tests/controller/test_controller.py"

_ADMISSION: Final = "operator/scoped_secrets/admission"
_PODS: Final = f"{_ADMISSION}/pods.py"
_DECISION: Final = "operator/scoped_secrets/controller/pod_decision.py"
_MANIFEST: Final = "manifests/70-guard.yaml"
_UNLABELLED: Final = f"{_GUARD}::test_an_unlabelled_pod_that_names_a_bundle_is_denied"

BUNDLES: Final = (
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
            '    subject = f"generateName:{generate_name}" if generate_name else f"name:{name}"\n',
            "    subject = generate_name or name\n",
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
            '    return f"{subject}/{record}"\n',
            '    return f"{subject}/"\n',
        ),
    ),
    Attack(
        "claims-of-a-person",
        "A person submits the pod of a CI engine with the labels that state a ref, an event or a project.",
        "The claims count only if a trusted issuer created the pod, and a rule by ref denies the person's pod.",
        (
            f"{_ISSUERS}::test_a_bundle_for_main_reaches_the_pod_of_the_engine_and_no_copy_of_a_person",
            f"{_ISSUERS}::test_labels_that_change_after_admission_change_no_claim",
            f"{_ISSUERS}::test_a_record_that_is_written_into_a_stored_pod_gives_it_nothing",
        ),
        mutant(
            "operator/scoped_secrets/core/policy/issuers.py",
            "        if not issuer.is_creator(requester):\n",
            "        if not requester.name:\n",
        ),
    ),
    Attack(
        "owner-with-another-uid",
        "A pod names a pipeline as its owner that did not create it.",
        "The reference counts only with the UID of the object.",
        (f"{_ISSUERS}::test_an_owner_reference_with_another_uid_names_no_owner",),
        mutant(
            f"{_ADMISSION}/owners.py",
            '            if owner is None or owner["metadata"].get("uid") != reference.get("uid"):\n',
            "            if owner is None:\n",
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
            '      !(request.namespace in ["kube-system","scoped-secrets"]) &&\n      !(\'system:nodes\' in',
            "      !('system:nodes' in",
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
