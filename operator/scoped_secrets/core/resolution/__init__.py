"""Which definition of a name wins."""
