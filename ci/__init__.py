"""Builds and judges what the repository publishes. CI systems, the Makefile and people call the same code."""
