"""Probes look at a system and say what they saw: ``observe`` asks them all."""

from gpucheck.probes.observation import observe

__all__ = ["observe"]
