"""Everything that talks to the API server, and nothing that decides.

`client` sends single requests, `feed` keeps the inventory true to the cluster, `supervisor` keeps kopf's watches alive,
`lease` elects a leader, `keys` keeps the operator's own Secrets, `events` tells people.
"""
