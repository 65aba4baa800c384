"""A keyed work queue with priorities, back-off and bounded concurrency."""
