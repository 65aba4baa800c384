"""The operator against a real API server, as people and controllers meet it; no node runs anything here."""
