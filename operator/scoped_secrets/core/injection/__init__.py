"""What a pod needs to get its bundles, as a JSON Patch."""
