"""Everything that talks to the API server, and nothing that decides.

`client` sends single requests, `informer` keeps the inventory up to date, `watches` keeps kopf's watches alive,
`leader_election` elects a leader, `keys` keeps the operator's own Secrets, `events` records events.
"""
