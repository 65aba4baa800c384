"""Every public string of the project: names of the API, labels, annotations, reasons and object names."""

from enum import StrEnum
from typing import Final, Self

GROUP: Final = "scopedsecrets.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

SCOPED_SECRET_KIND: Final = "ScopedSecret"
SCOPED_SECRET_PLURAL: Final = "scopedsecrets"
SECRET_POLICY_KIND: Final = "SecretPolicy"
SECRET_POLICY_PLURAL: Final = "secretpolicies"
CATEGORY: Final = "scoped-secrets"

DISTRIBUTION: Final = "scoped-secrets"
FIELD_MANAGER: Final = "scoped-secrets"
# Of what a person writes with our command line: managers of server-side apply then conflict with people, not with us.
PERSON_FIELD_MANAGER: Final = "kubectl-scoped-secrets"
EVENT_REPORTER: Final = f"{GROUP}/controller"

# Labels of namespaces, written by administrators: the scope path (DESIGN section 3).
ORGANIZATION_LABEL: Final = f"{GROUP}/organization"
PROJECT_LABEL: Final = f"{GROUP}/project"
ENVIRONMENT_LABEL: Final = f"{GROUP}/environment"

# Annotations of namespaces. ENVIRONMENT_LABEL is an annotation too, for names that are no label values.
ALLOW_ENVIRONMENTS_ANNOTATION: Final = f"{GROUP}/allow-environments"
ALLOW_PROJECT_ATTACH_ANNOTATION: Final = f"{GROUP}/allow-project-attach"
# Of the home for all jobs of the organization, of another namespace for its jobs.
ALLOW_ATTACH_PATHS_ANNOTATION: Final = f"{GROUP}/allow-attach-paths"

# The pod's opt-in: a label, because an object selector sees nothing else.
INJECT_LABEL: Final = f"{GROUP}/inject"
INJECT_VALUE: Final = "true"
NO_INJECT_VALUE: Final = "false"

# Annotations of pods that their authors write (DESIGN sections 3, 4 and 8).
SECRETS_ANNOTATION: Final = f"{GROUP}/secrets"
ENVIRONMENT_ANNOTATION: Final = ENVIRONMENT_LABEL
CONTAINERS_ANNOTATION: Final = f"{GROUP}/containers"
HOME_ANNOTATION: Final = f"{GROUP}/home"
KEY_CONFLICT_ANNOTATION: Final = f"{GROUP}/key-conflict"
OPTIONAL_ANNOTATION: Final = f"{GROUP}/optional"
ALLOW_VOLUME_PATHS_ANNOTATION: Final = f"{GROUP}/allow-volume-paths"
# Of pods whose creator is a trusted issuer with the preset `job`, which states its claims in them; else without effect.
REF_ANNOTATION: Final = f"{GROUP}/ref"
EVENT_ANNOTATION: Final = f"{GROUP}/event"
# Of pods and, as the default for its jobs, of a namespace; HOME_ANNOTATION and SECRETS_ANNOTATION are too.
RUN_AS_USER_ANNOTATION: Final = f"{GROUP}/run-as-user"

# The annotation that admission writes: the resolution, names only.
RESOLUTION_ANNOTATION: Final = f"{GROUP}/resolution"
# The annotation that admission writes: what it vouches for about the pod, such as the user who created it.
CLAIMS_ANNOTATION: Final = f"{GROUP}/claims"
# The annotation that admission writes into the pod template of a workload: the user who wrote the template.
CREATOR_ANNOTATION: Final = f"{GROUP}/creator"

AUTHOR_ANNOTATIONS: Final = (
    SECRETS_ANNOTATION,
    ENVIRONMENT_ANNOTATION,
    CONTAINERS_ANNOTATION,
    HOME_ANNOTATION,
    RUN_AS_USER_ANNOTATION,
    KEY_CONFLICT_ANNOTATION,
    OPTIONAL_ANNOTATION,
    ALLOW_VOLUME_PATHS_ANNOTATION,
    REF_ANNOTATION,
    EVENT_ANNOTATION,
)
"""The annotations of a pod that its author writes."""

ADMISSION_ANNOTATIONS: Final = (CREATOR_ANNOTATION, CLAIMS_ANNOTATION, RESOLUTION_ANNOTATION)
"""The annotations of a pod that admission writes."""

POD_ANNOTATIONS: Final = (*AUTHOR_ANNOTATIONS, *ADMISSION_ANNOTATIONS)
"""Every annotation with our prefix that has a meaning on a pod."""

# Labels of the objects that the operator creates.
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
COMPONENT_LABEL: Final = f"{GROUP}/component"
POD_UID_LABEL: Final = f"{GROUP}/pod-uid"
KEY_ID_LABEL: Final = f"{GROUP}/key-id"
# The component of the Secrets that hold one sealing key each. The operator finds them by this label.
SEALING_KEY_COMPONENT: Final = "sealing-key"
# A backup must contain every Secret that has a component label; the operator recreates the others.
FINGERPRINT_KEY_COMPONENT: Final = "fingerprint-key"
CREATED_ANNOTATION: Final = f"{GROUP}/created"

COPY_VERB: Final = "copy"
"""The verb on a ScopedSecret that the person needs who copies it, in roles and questions about rights."""

COPY_OF_ANNOTATION: Final = f"{GROUP}/copy-of"
"""On a copy that the command line made: UID and generation of the source, as `uid@generation`. No decision reads it but
that of the command line, which continues an interrupted `rename`."""

# Requests to the controller, which removes the annotation when it has fulfilled the request.
RESEAL_ANNOTATION: Final = f"{GROUP}/reseal"
ROTATE_ANNOTATION: Final = f"{GROUP}/rotate"

COMPARE_ANNOTATION: Final = f"{GROUP}/compare"
"""On a dry-run update of a ScopedSecret: a sealed guess, which admission compares with a stored value; never stored."""

# Annotations that other programs write.
MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"
LAST_APPLIED_ANNOTATION: Final = "kubectl.kubernetes.io/last-applied-configuration"

# The users that Kubernetes' own controllers of workloads have. Without credentials of their own for each controller
# (`--use-service-account-credentials`), they share the user of kube-controller-manager.
WORKLOAD_CONTROLLERS: Final = frozenset(
    {
        "system:kube-controller-manager",
        *(
            f"system:serviceaccount:kube-system:{name}"
            for name in (
                "cronjob-controller",
                "daemon-set-controller",
                "deployment-controller",
                "job-controller",
                "replicaset-controller",
                "replication-controller",
                "statefulset-controller",
            )
        ),
    }
)

# The group of every kubelet.
NODES_GROUP: Final = "system:nodes"

BUNDLE_PREFIX: Final = "ssec-"
# The scheduling gate that keeps a pod from being scheduled until its bundle exists.
BUNDLE_GATE: Final = f"{GROUP}/bundle"
VOLUME_NAME: Final = "scoped-secrets"
MOUNT_PATH: Final = "/run/scoped-secrets"
RESOLUTION_FILE: Final = "resolution.json"
# Folders of the volume: files with the modes of their definitions, and copies that users other than root may read.
FILES_FOLDER: Final = "files"
READABLE_FOLDER: Final = "readable"
# Begins an expression in a pod's texts.
EXPRESSION_MARK: Final = "${secrets."
HIDDEN_VARIABLE_PREFIX: Final = "SCOPED_SECRETS_"
DEFAULT_HOME: Final = "/root"
DEFAULT_ORGANIZATION: Final = "default"

# Objects in the operator's own namespace.
DEFAULT_NAMESPACE: Final = "scoped-secrets"
LEASE_NAME: Final = "scoped-secrets-controller"
SEALING_KEY_SECRET: Final = "scoped-secrets-sealing"
FINGERPRINT_KEY_SECRET: Final = "scoped-secrets-fingerprint"
CERTIFICATE_SECRET: Final = "scoped-secrets-certificates"
ADMISSION_SECRET: Final = "scoped-secrets-admission"
# The keys of that Secret's data.
ADMISSION_CERTIFICATE: Final = "tls.crt"
ADMISSION_PRIVATE_KEY: Final = "tls.key"
ADMISSION_FINGERPRINT_KEY: Final = "fingerprint.key"
ADMISSION_RECIPIENTS: Final = "sealing.pub"
ADMISSION_SOURCES: Final = "value-from"
CLUSTER_ID: Final = "cluster-id"
# The sealing certificate, for clients that seal values offline.
CERTIFICATE_CONFIG_MAP: Final = "scoped-secrets-public-key"
CERTIFICATE_FILE: Final = "sealing.crt"
CERTIFICATE_PATH: Final = "/public-key"
ADMISSION_SERVICE: Final = "scoped-secrets-admission"
# The public half of the comparison key, in the same ConfigMap.
COMPARISON_KEY_FILE: Final = "comparison.pub"
NOT_COMPARED: Final = "was not compared with the stored value"
WEBHOOK_CONFIGURATION: Final = "scoped-secrets"
GATE_POLICY: Final = f"{WEBHOOK_CONFIGURATION}-gate"
CONTROLLER_ACCOUNT: Final = "scoped-secrets-controller"
ADMISSION_ACCOUNT: Final = "scoped-secrets-admission"


class ComparisonAnswer(StrEnum):
    """Admission's answers to a sealed guess: the whole text of a warning, which clients compare with these."""

    EQUAL = "the value is equal to the stored value"
    DIFFERENT = "the value differs from the stored value"
    NOT_COMPARED = f"the value {NOT_COMPARED}"


class Reason(StrEnum):
    """Why something is denied or not ready: a CamelCase word that is API in conditions, events and denials.

    Attributes:
        documentation: One sentence that says what the reason means.
    """

    documentation: str

    def __new__(cls, value: str, documentation: str = "") -> Self:
        """Make a member that is equal to its word and carries its documentation."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.documentation = documentation
        return member

    # References and resolution
    NOT_FOUND = "NotFound", "No definition of the bundle applies to the job."
    INVALID_REFERENCE = "InvalidReference", "An annotation or an expression does not name a bundle in the right form."
    KEY_NOT_FOUND = "KeyNotFound", "An expression names a variable that the bundle does not have."
    NOT_READY = "NotReady", "A definition that the job would get has the condition Ready=False."
    EXPIRED = "Expired", "The definition's `spec.expireTime` has passed."
    KEY_CONFLICT = "KeyConflict", "Two bundles have the same variable or file, and conflicts are denied here."
    PATH_CONFLICT = "PathConflict", "A file cannot stand at its path in the container."
    PATH_NOT_ALLOWED = (
        "PathNotAllowed",
        "An attached bundle has a file where neither the organization's home nor the namespace allows one.",
    )
    LIMIT_EXCEEDED = "LimitExceeded", "The job or the definition exceeds a limit; the message names it."

    # Scope
    NAMESPACE_OUTSIDE = "NamespaceOutside", "The namespace has no scope path."
    SCOPE_NOT_ALLOWED = "ScopeNotAllowed", "The namespace may not define secrets at this scope."
    NOT_TRUSTED = (
        "NotTrusted",
        "A part of the object would change what a namespace gets that is trusted more than its own.",
    )
    ENVIRONMENT_NOT_ALLOWED = (
        "EnvironmentNotAllowed",
        "The pod requests an environment that its namespace does not allow.",
    )

    PROJECT_NOT_ALLOWED = (
        "ProjectNotAllowed",
        "A trusted issuer states another project than that of the pod's namespace.",
    )

    # Policy
    POLICY_DENIED = "PolicyDenied", "A SecretPolicy, or the default access, denies the bundle to the job."
    POLICY_ERROR = "PolicyError", "A SecretPolicy that selects the bundle cannot be enforced as written."
    OWNER_UNKNOWN = "OwnerUnknown", "The object that owns the pod cannot be read, so that its claims are not known."
    POD_UNKNOWN = "PodUnknown", "The stored pod cannot be read, so that a session in it cannot be allowed."

    ACCEPTED = "Accepted", "This version enforces every field of the SecretPolicy."
    SELECTS_NOTHING = "SelectsNothing", "The SecretPolicy governs no definition."
    NOT_GOVERNED = (
        "NotGoverned",
        "The SecretPolicy names a bundle whose definitions it does not govern, because they are in another namespace.",
    )
    NEVER_ALLOWS = "NeverAllows", "No job can match any rule of the Allow policy."

    # Pods
    INVALID_ANNOTATION = "InvalidAnnotation", "An annotation has a value that is not valid."
    INVALID_POD = "InvalidPod", "The object is not a valid pod."
    HOME_UNKNOWN = "HomeUnknown", "A file is relative to the home directory, which the container does not state."
    USER_UNKNOWN = "UserUnknown", "A file is private, and the container does not state the user that reads it."
    FOLDER_NOT_WRITABLE = (
        "FolderNotWritable",
        "The folder of a file belongs to root where the image lacks it, and the container runs as another user.",
    )
    UNKNOWN_ANNOTATION = (
        "UnknownAnnotation",
        "A label or annotation with the operator's prefix has no meaning on a pod.",
    )
    VARIABLE_OVERRIDDEN = "VariableOverridden", "A bundle's variable wins over one of the same name from `envFrom`."
    CONTAINER_NOT_STARTED = (
        "ContainerNotStarted",
        "A container with secrets cannot start; the message names what the operator added to it.",
    )
    UNREADABLE_FILE = "UnreadableFile", "A file's mode gives its owner no right to read it."
    RESERVED_NAME = "ReservedName", "A name is reserved for the operator."
    NOT_INJECTED = "NotInjected", "The pod opted in, and admission did not add its secrets."
    SWEPT = "Swept", "The pod was not injected, and is deleted so that its owner creates it again."
    BUNDLE_TAKEN = "BundleTaken", "Another pod owns the bundle Secret that the pod refers to."
    BUNDLE_REPLACED = (
        "BundleReplaced",
        "A Secret that the controller did not create had the name of the pod's bundle, and was replaced.",
    )
    BUNDLE_FAILED = "BundleFailed", "The bundle Secret cannot be created."
    DEFINITIONS_CHANGED = (
        "DefinitionsChanged",
        "The definitions changed after the pod was admitted and no longer fit it.",
    )
    RESEAL_FAILED = "ResealFailed", "A value cannot be sealed again, because it cannot be unsealed."

    # Definitions
    AVAILABLE = "Available", "Jobs can use the definition where policy allows."
    INVALID = "Invalid", "The object breaks a rule of its schema or a limit."
    SLOT_TAKEN = "SlotTaken", "An older definition has the same scope path and name."
    SHADOWED_BY_FINAL = "ShadowedByFinal", "A wider definition says `final: true`, and jobs get that one."
    UNIQUE = "Unique", "No other definition has the same scope path and name."
    NOT_BLOCKED = "NotBlocked", "No wider definition is final."
    ROTATION_DUE = "RotationDue", "A value is older than `spec.rotation` allows, or soon will be."
    UP_TO_DATE = "UpToDate", "Every value is younger than `spec.rotation` requires."
    NOT_EXPIRED = "NotExpired", "The definition's `spec.expireTime` is in the future."
    PLAINTEXT_REFUSED = "PlaintextRefused", "A sensitive value is not sealed."
    SEALED_FOR_ANOTHER = "SealedForAnother", "A value is sealed for another cluster, object, scope or entry."
    KEY_LOST = "KeyLost", "The cluster does not have the key that a value is sealed for."
    SOURCE_MISSING = "SourceMissing", "A Secret or key that `valueFrom` names is missing or cannot be read."

    COPY_DENIED = "CopyDenied", "The person who creates a copy of a ScopedSecret may not copy the source."
    COPY_PENDING = "CopyPending", "The controller has not copied the entries of `spec.copyFrom` yet."
    COPY_FAILED = "CopyFailed", "The entries of `spec.copyFrom` cannot be copied."

    # The operator
    NOT_SYNCHRONIZED = "NotSynchronized", "The admission server has not listed all definitions and policies yet."
    INTERNAL_ERROR = "InternalError", "The admission server failed; its log names the place."


CONTROLLER_REASONS: Final = frozenset(
    {Reason.KEY_LOST, Reason.SEALED_FOR_ANOTHER, Reason.SOURCE_MISSING, Reason.EXPIRED}
)
"""The reasons of Ready=False that only the controller can find: other processes read them from the status."""


class ConditionType(StrEnum):
    """Types of the conditions in the statuses of ScopedSecrets (DESIGN section 5) and SecretPolicies (section 6)."""

    READY = "Ready"
    CONFLICTED = "Conflicted"
    BLOCKED = "Blocked"
    RESTRICTED = "Restricted"
    ROTATION_DUE = "RotationDue"
    EXPIRED = "Expired"
    ACCEPTED = "Accepted"
    INEFFECTIVE = "Ineffective"
