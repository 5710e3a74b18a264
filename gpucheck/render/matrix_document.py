"""Images against nodes as JSON. Its schema is docs/schema/compat.json."""

from __future__ import annotations

import json
from typing import Any

from gpucheck.compat.table import Table
from gpucheck.finding import Verdict

SCHEMA = 1


def build(table: Table) -> dict[str, Any]:
    """The table as a JSON-able object; ``reasons`` of a cell are the rules that decide."""
    return {
        "schema": SCHEMA,
        "command": "compat",
        "verdict": table.verdict.value,
        "changes": list(table.changes),
        "images": [
            {"image": contract.image, "digest": contract.digest, "architecture": contract.architecture}
            for contract in table.images
        ],
        "nodes": [
            {
                "node": node.name,
                "driver": str(node.driver) if node.driver else None,
                "cuda": str(node.implemented) if node.implemented else None,
                "gpus": None
                if node.gpus is None
                else [
                    {
                        "name": gpu.name,
                        "capability": str(gpu.capability) if gpu.capability else None,
                        "brand": gpu.brand,
                    }
                    for gpu in node.gpus
                ],
                "architecture": node.architecture,
                "toolkit": node.toolkit,
                "mode": node.mode,
                "source": node.source,
            }
            for node in table.nodes
        ],
        "cells": [
            {
                "image": contract.image,
                "node": node.name,
                "verdict": cell.verdict.value,
                "reasons": []
                if cell.verdict is Verdict.COMPATIBLE
                else list(dict.fromkeys(reason.rule for reason in cell.deciding)),
                "notes": list(dict.fromkeys(reason.rule for reason in cell.notes)),
            }
            for contract, row in zip(table.images, table.rows)
            for node, cell in zip(table.nodes, row)
        ],
        "reasons": [
            {
                "rule": reason.rule,
                "verdict": reason.verdict.value,
                "summary": reason.summary,
                "cause": reason.cause,
                "evidence": [{"fact": evidence.fact, "source": evidence.source} for evidence in reason.evidence],
                "remedy": reason.remedy,
                "cells": [{"image": image, "node": node} for image, node in cells],
            }
            for reason, cells in table.reasons()
        ],
    }


def render_matrix(table: Table, colour: bool) -> str:
    """The document as text, two spaces a level."""
    return json.dumps(build(table), indent=2, ensure_ascii=False) + "\n"
