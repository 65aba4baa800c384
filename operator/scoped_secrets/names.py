"""Every public string of the project, once: API names, labels, annotations, reasons, object names."""

from enum import StrEnum
from typing import Final

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
EVENT_REPORTER: Final = f"{GROUP}/controller"

# Labels of namespaces, written by administrators: the scope path (DESIGN section 3).
ORGANIZATION_LABEL: Final = f"{GROUP}/organization"
PROJECT_LABEL: Final = f"{GROUP}/project"
ENVIRONMENT_LABEL: Final = f"{GROUP}/environment"

# Annotations of namespaces. ENVIRONMENT_LABEL is an annotation too, for names that are no label values.
ALLOW_ENVIRONMENTS_ANNOTATION: Final = f"{GROUP}/allow-environments"

# The pod's opt-in: a label, because an object selector sees nothing else.
INJECT_LABEL: Final = f"{GROUP}/inject"
INJECT_VALUE: Final = "true"

# Annotations of pods that a person writes (DESIGN sections 3, 4 and 8).
SECRETS_ANNOTATION: Final = f"{GROUP}/secrets"
ENVIRONMENT_ANNOTATION: Final = ENVIRONMENT_LABEL
CONTAINERS_ANNOTATION: Final = f"{GROUP}/containers"
HOME_ANNOTATION: Final = f"{GROUP}/home"
KEY_CONFLICT_ANNOTATION: Final = f"{GROUP}/key-conflict"
OPTIONAL_ANNOTATION: Final = f"{GROUP}/optional"

# The annotation that admission writes: provenance, names only.
RESOLUTION_ANNOTATION: Final = f"{GROUP}/resolution"

# Labels of the objects that the operator creates.
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
COMPONENT_LABEL: Final = f"{GROUP}/component"
POD_UID_LABEL: Final = f"{GROUP}/pod-uid"
KEY_ID_LABEL: Final = f"{GROUP}/key-id"
# The component of Secrets that hold one sealing key each. They are found by this label; their names mean nothing.
SEALING_KEY_COMPONENT: Final = "sealing-key"
# Whatever has a component must be in a backup; all else can be made anew.
FINGERPRINT_KEY_COMPONENT: Final = "fingerprint-key"
CREATED_ANNOTATION: Final = f"{GROUP}/created"

# Requests of people to the controller, which removes them or has no more use for them when they are fulfilled.
RESEAL_ANNOTATION: Final = f"{GROUP}/reseal"
ROTATE_ANNOTATION: Final = f"{GROUP}/rotate"

# Annotations that others write.
MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"
LAST_APPLIED_ANNOTATION: Final = "kubectl.kubernetes.io/last-applied-configuration"

BUNDLE_PREFIX: Final = "ssec-"
VOLUME_NAME: Final = "scoped-secrets"
MOUNT_PATH: Final = "/run/scoped-secrets"
RESOLUTION_FILE: Final = "resolution.json"
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
# The sealing certificate, for everybody who seals values without the operator's help.
CERTIFICATE_CONFIG_MAP: Final = "scoped-secrets-public-key"
CERTIFICATE_FILE: Final = "sealing.crt"
CERTIFICATE_PATH: Final = "/public-key"
ADMISSION_SERVICE: Final = "scoped-secrets-admission"
WEBHOOK_CONFIGURATION: Final = "scoped-secrets"
CONTROLLER_ACCOUNT: Final = "scoped-secrets-controller"
ADMISSION_ACCOUNT: Final = "scoped-secrets-admission"


class Reason(StrEnum):
    """Why something was refused or is not ready: CamelCase words that are API (conditions, events, denials)."""

    # References and resolution
    NOT_FOUND = "NotFound"
    INVALID_REFERENCE = "InvalidReference"
    KEY_NOT_FOUND = "KeyNotFound"
    NOT_READY = "NotReady"
    EXPIRED = "Expired"
    KEY_CONFLICT = "KeyConflict"
    PATH_CONFLICT = "PathConflict"
    LIMIT_EXCEEDED = "LimitExceeded"

    # Scope
    NAMESPACE_OUTSIDE = "NamespaceOutside"
    SCOPE_NOT_ALLOWED = "ScopeNotAllowed"
    ENVIRONMENT_NOT_ALLOWED = "EnvironmentNotAllowed"

    # Policy
    POLICY_DENIED = "PolicyDenied"
    POLICY_ERROR = "PolicyError"

    # The pod itself
    INVALID_ANNOTATION = "InvalidAnnotation"
    INVALID_POD = "InvalidPod"
    HOME_UNKNOWN = "HomeUnknown"
    UNREADABLE_FILE = "UnreadableFile"
    RESERVED_NAME = "ReservedName"
    NOT_INJECTED = "NotInjected"
    BUNDLE_TAKEN = "BundleTaken"
    BUNDLE_FAILED = "BundleFailed"
    DEFINITIONS_CHANGED = "DefinitionsChanged"
    RESEAL_FAILED = "ResealFailed"

    # Definitions
    AVAILABLE = "Available"
    INVALID = "Invalid"
    SLOT_TAKEN = "SlotTaken"
    SHADOWED_BY_FINAL = "ShadowedByFinal"
    UNIQUE = "Unique"
    NOT_BLOCKED = "NotBlocked"
    ROTATION_DUE = "RotationDue"
    UP_TO_DATE = "UpToDate"
    NOT_EXPIRED = "NotExpired"
    NOT_SUPPORTED = "NotSupported"
    PLAINTEXT_REFUSED = "PlaintextRefused"
    SEALED_FOR_ANOTHER = "SealedForAnother"
    KEY_LOST = "KeyLost"
    SOURCE_MISSING = "SourceMissing"

    # The service
    NOT_SYNCHRONIZED = "NotSynchronized"
    INTERNAL_ERROR = "InternalError"


class ConditionType(StrEnum):
    """Types of the conditions in a ScopedSecret's status (DESIGN section 5)."""

    READY = "Ready"
    CONFLICTED = "Conflicted"
    BLOCKED = "Blocked"
    ROTATION_DUE = "RotationDue"
    EXPIRED = "Expired"
