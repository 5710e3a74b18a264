"""Repositories: checks of what is written in one, and starting and updating one from the templates."""
