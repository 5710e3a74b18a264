"""Write the arguments of ``go mod edit`` that make an empty module able to build Kubernetes' own commands.

``go install k8s.io/kubernetes/cmd/...@vX`` is refused, because the go.mod of k8s.io/kubernetes replaces its staging
modules by folders (https://go.dev/ref/mod#go-mod-file-replace). A module that requires k8s.io/kubernetes and replaces
each staging module by its published version, v0.MINOR.PATCH for v1.MINOR.PATCH, may build them.

In: the JSON of ``go mod edit -json`` for Kubernetes' go.mod on standard input, the version as the argument.
Out: one argument a line.
"""

from __future__ import annotations

import json
import sys

#: What a go.mod says of the modules that are developed in the same repository.
IN_TREE = "v0.0.0"


def list_arguments(kubernetes: dict[str, object], version: str) -> list[str]:
    """``version`` is the one of Kubernetes, such as ``v1.34.0``."""
    published = version.replace("v1.", "v0.", 1)
    requires = {row["Path"]: row["Version"] for row in kubernetes["Require"]}  # type: ignore[attr-defined]
    replaces = [row["Old"]["Path"] for row in kubernetes["Replace"]]  # type: ignore[attr-defined]
    return [
        f"-go={kubernetes['Go']}",
        f"-require=k8s.io/kubernetes@{version}",
        *(f"-require={path}@{wanted}" for path, wanted in requires.items() if wanted != IN_TREE),
        *(f"-replace={path}={path}@{published}" for path in replaces),
    ]


if __name__ == "__main__":
    print("\n".join(list_arguments(json.load(sys.stdin), sys.argv[1])))
