"""Finds what is wrong with an installation: gather facts, decide about each, and leave the printing to the command."""
