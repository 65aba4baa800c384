"""What CI engines write onto their pods, and what of it a pipeline's author cannot write (DESIGN section 6).

A preset holds everything of an issuer that does not depend on the cluster. Engines whose pods tell nothing that their
pipelines cannot write have no claims here: their issuers state constants, one for each account.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scoped_secrets import names
from scoped_secrets.core.policy.issuers import ClaimSource, OwnerKind, RefForm, SourceKind

__all__ = ["PRESETS", "IssuerPreset"]


@dataclass(frozen=True, slots=True)
class IssuerPreset:
    """The sources of one engine, as in `TrustedIssuer`."""

    owners: tuple[OwnerKind, ...] = ()
    project: ClaimSource | None = None
    environment: ClaimSource | None = None
    ref: ClaimSource | None = None
    event: ClaimSource | None = None
    ref_form: RefForm = RefForm.FULL
    ref_events: tuple[str, ...] = ()

    @property
    def has_claims(self) -> bool:
        """Tell whether the engine states anything itself."""
        return any((self.project, self.environment, self.ref, self.event))


def _label(key: str) -> ClaimSource:
    return ClaimSource(SourceKind.LABEL, key)


def _annotation(key: str) -> ClaimSource:
    return ClaimSource(SourceKind.ANNOTATION, key)


PRESETS: Final[Mapping[str, IssuerPreset]] = {
    # Labels of `runner.gitlab.com` cannot be overwritten by a pipeline; the annotation of the same name can. The name
    # in the annotation of the ref is that of a branch or of a tag.
    "gitlab-runner": IssuerPreset(
        project=_label("project.runner.gitlab.com/id"),
        ref=_annotation("job.runner.gitlab.com/ref"),
        ref_form=RefForm.BRANCH_OR_TAG,
    ),
    # The runner's pod exists before GitHub assigns a job to it, so that nothing about the job is known.
    "github-arc": IssuerPreset(project=_label("actions.github.com/repository")),
    # Tekton copies labels that a pipeline may write to the pod. The PipelineRun has what the controller of
    # Pipelines-as-Code wrote. Its `branch` is the target of a pull request, which no job of a pull request runs for.
    "tekton-pipelines-as-code": IssuerPreset(
        owners=(
            OwnerKind("tekton.dev/v1", "TaskRun", "taskruns"),
            OwnerKind("tekton.dev/v1", "PipelineRun", "pipelineruns"),
        ),
        project=_label("pipelinesascode.tekton.dev/repository"),
        ref=_annotation("pipelinesascode.tekton.dev/branch"),
        event=_label("pipelinesascode.tekton.dev/event-type"),
        ref_events=("push",),
    ),
    # Templates write the pod's metadata. What stands on the Workflow is what its creator wrote.
    "argo-workflows": IssuerPreset(owners=(OwnerKind("argoproj.io/v1alpha1", "Workflow", "workflows"),)),
    # The controller writes these after the metadata of the pipeline's plugin.
    "buildkite": IssuerPreset(
        project=_annotation("buildkite.com/pipeline-slug"),
        ref=_annotation("buildkite.com/build-branch"),
        ref_form=RefForm.BRANCH_OR_TAG,
    ),
    # A Jenkinsfile writes any label and annotation of its pod.
    "jenkins": IssuerPreset(),
    # A pod's name is all that tells its worker.
    "buildbot": IssuerPreset(),
    # The type of the agent, which decides about the project where each project has one.
    "semaphore-agent": IssuerPreset(project=_label("semaphoreci.com/agent-type")),
    # The account that writes the pod template is trusted, and states the claims there.
    "job": IssuerPreset(ref=_annotation(names.REF_ANNOTATION), event=_annotation(names.EVENT_ANNOTATION)),
}
