"""The node agent."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def agent(
    once: Annotated[bool, typer.Option("--once", help="Look and publish once, then exit")] = False,
    node: Annotated[str, typer.Option("--node", help="The node's name; default: $NODE_NAME")] = "",
    root: Annotated[str, typer.Option("--root", help="Where the node's root is mounted")] = "/",
    interval: Annotated[float, typer.Option("--interval", help="Seconds between two looks", min=1)] = 60.0,
) -> None:
    """Publish a node's state to Kubernetes.

    Driver, CUDA version, GPUs and verdict, as labels and a node condition. Needs gpu-capable[kubernetes].
    """
    from gpucheck.cluster.agent import run as watch

    raise typer.Exit(watch(os.environ, node=node, root=root, once=once, interval=interval))
