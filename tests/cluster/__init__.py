"""A real Kubernetes cluster on a bare machine, for tests and for people.

`open_cluster` gives a control plane: an existing one, one from binaries that are there, or one from
binaries that are built once. `Node` adds a kubelet that runs job pods. `python -m tests.cluster`
does both for a person.
"""
