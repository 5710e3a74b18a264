"""Derive rows of the knowledge base from wheels on the package index, and compare them with the tables.

``python -m ci.knowledge TABLE ...`` rewrites rows for review as a diff; ``--check`` prints the diff and exits with 1.
"""
