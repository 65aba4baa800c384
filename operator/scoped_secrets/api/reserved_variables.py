"""The names of variables that bundles cannot set: what the loader, the shell, Kubernetes or this operator reads.

A bundle with `attach: Always` reaches every job of its scope, so such a name would let the author of a definition
change how the programs of other people start. The lists are exact: a prefix such as ``LD_`` would also deny names that
belong to applications.
"""

from typing import Final

from scoped_secrets import names

__all__ = ["RESERVED_NAMES", "RESERVED_PREFIXES"]

# ld.so(8) of glibc, section ENVIRONMENT, with the names of earlier versions. musl reads a subset.
_LINUX_LOADER: Final = (
    "GLIBC_TUNABLES",
    "LD_ASSUME_KERNEL",
    "LD_AUDIT",
    "LD_BIND_NOT",
    "LD_BIND_NOW",
    "LD_DEBUG",
    "LD_DEBUG_OUTPUT",
    "LD_DYNAMIC_WEAK",
    "LD_HWCAP_MASK",
    "LD_LIBRARY_PATH",
    "LD_ORIGIN_PATH",
    "LD_POINTER_GUARD",
    "LD_PREFER_MAP_32BIT_EXEC",
    "LD_PRELOAD",
    "LD_PROFILE",
    "LD_PROFILE_OUTPUT",
    "LD_SHOW_AUXV",
    "LD_TRACE_LOADED_OBJECTS",
    "LD_TRACE_PRELINKING",
    "LD_USE_LOAD_BIAS",
    "LD_VERBOSE",
    "LD_WARN",
)
# dyld(1) of macOS, whose jobs may run behind a virtual kubelet.
_MACOS_LOADER: Final = (
    "DYLD_BIND_AT_LAUNCH",
    "DYLD_DISABLE_DOFS",
    "DYLD_FALLBACK_FRAMEWORK_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "DYLD_FORCE_FLAT_NAMESPACE",
    "DYLD_FRAMEWORK_PATH",
    "DYLD_IMAGE_SUFFIX",
    "DYLD_INSERT_LIBRARIES",
    "DYLD_LIBRARY_PATH",
    "DYLD_NO_FIX_PREBINDING",
    "DYLD_PRINT_APIS",
    "DYLD_PRINT_BINDINGS",
    "DYLD_PRINT_DOFS",
    "DYLD_PRINT_ENV",
    "DYLD_PRINT_INITIALIZERS",
    "DYLD_PRINT_INTERPOSING",
    "DYLD_PRINT_LIBRARIES",
    "DYLD_PRINT_LOADERS",
    "DYLD_PRINT_OPTS",
    "DYLD_PRINT_RPATHS",
    "DYLD_PRINT_SEARCHING",
    "DYLD_PRINT_SEGMENTS",
    "DYLD_PRINT_STATISTICS",
    "DYLD_PRINT_TO_FILE",
    "DYLD_PRINT_WARNINGS",
    "DYLD_ROOT_PATH",
    "DYLD_SHARED_CACHE_DIR",
    "DYLD_SHARED_CACHE_DONT_VALIDATE",
    "DYLD_SHARED_REGION",
    "DYLD_VERSIONED_FRAMEWORK_PATH",
    "DYLD_VERSIONED_LIBRARY_PATH",
)
# What a shell runs or splits words by before it reads the first line of a script. A POSIX shell reads `ENV` only when
# it is interactive, and CI uses the name for the environment of a deployment, so bundles may set it.
_SHELL: Final = ("BASH_ENV", "IFS", "PROMPT_COMMAND")

RESERVED_NAMES: Final = frozenset({*_LINUX_LOADER, *_MACOS_LOADER, *_SHELL})
"""The reserved names."""

RESERVED_PREFIXES: Final = ("BASH_FUNC_", "KUBERNETES_PORT", "KUBERNETES_SERVICE_", names.HIDDEN_VARIABLE_PREFIX)
"""The prefixes of reserved names: functions that bash imports, the address of the API server, and our own."""
