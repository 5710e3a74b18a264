"""Kubernetes: what gpucheck says of a node, where the whole cluster can read it."""
