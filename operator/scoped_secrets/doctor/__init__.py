"""Finds problems of an installation: `gather` reads facts, `checks` judges them, the command prints the findings."""
