"""Everything that talks to the API server; nothing here makes decisions.

- `client` sends single requests, `paths` has the URL paths, `credentials` reads kubeconfigs.
- `direct` and `library` carry requests as `transport` says: connections of our own, and the client library where its
  authentication is needed; `exec_plugin` runs the program of a kubeconfig that prints credentials.
- `informer` keeps an inventory up to date with `listing`, `decoding`, `version_tracker` and `changes`.
- `watches` keeps watches running for `watch_handlers` of `resources`; `kopf_adapter` alone imports kopf.
- `leader_election` elects the controller that writes.
- `keys` and `sealing_keys` store the operator's keys, `webhook_certificates` its certificate and CA bundle,
  `public_key` the sealing certificate; `secret_bodies` makes their Secrets.
- `events` records events, `access_reviews` asks what the operator may do.
"""
