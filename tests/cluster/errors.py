"""What can go wrong with the test cluster, told in one line each.

ClusterError
├── AssetsError           no programs to start, and the message says how to get them
├── StartError            a program ended or never became ready; its last log lines are told
├── CommandError          a kubectl command ended with another code than 0
├── NotOurClusterError    asked an existing cluster for what only one of our own can do
└── NodeUnavailableError  this machine cannot run job pods, and the message says what is missing
"""

from __future__ import annotations


class ClusterError(Exception):
    """The test cluster cannot do what it was asked."""


class AssetsError(ClusterError):
    """The programs of the control plane are not there and cannot be built."""


class StartError(ClusterError):
    """A program of the cluster ended early or did not become ready in time."""


class CommandError(ClusterError):
    """A kubectl command failed."""


class NotOurClusterError(ClusterError):
    """The cluster was there before us, so we do not stop, restart or measure its parts."""


class NodeUnavailableError(ClusterError):
    """Job pods cannot run on this machine."""
