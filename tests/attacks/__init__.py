"""The attacks that the design withstands, by name, and a mutant of code or manifests for each (SECURITY.md)."""
