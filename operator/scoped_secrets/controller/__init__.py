"""The controller process: the only process with the private keys (DESIGN section 9).

`app` starts everything. `manager` owns the inventories and the work queue, and dispatches to the reconcilers that
`reconcilers` lists: `bundles`, `resealing`, `scopedsecret_status` and `secretpolicy_status`. Another kind of work, for
example publishing a native Secret to many namespaces, is a module with a subclass of `reconciler.Reconciler` and one
line in `reconcilers`.
"""
