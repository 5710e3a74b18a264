"""The contracts of the images that are named: a file that holds one, or an image itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from gpucheck.codec import Malformed, decode
from gpucheck.contract import SCHEMA, Contract
from gpucheck.record import replace


class BadImage(ValueError):
    """An image that cannot be judged; the message says why, and what to do."""


def read(reference: str, look: Callable[[str], Contract]) -> tuple[Contract, ...]:
    """The contracts in a file, or that of an image by its name, which ``look`` opens. Raises ``BadImage``."""
    if not os.path.isfile(reference) or not reference.endswith(".json"):
        return (look(reference),)
    try:
        with open(reference, encoding="utf-8") as file:
            data = json.load(file)
    except (OSError, UnicodeDecodeError) as error:
        raise BadImage(f"{reference}: {getattr(error, 'strerror', None) or 'not text in UTF-8'}") from None
    except (ValueError, RecursionError) as error:
        raise BadImage(f"{reference}: not JSON ({error})") from None
    stem = os.path.basename(reference).rpartition(".")[0]
    documents = data if isinstance(data, list) else [data]
    if not documents:
        raise BadImage(f"{reference}: no contract in it")
    return tuple(_contract(document, stem, reference) for document in documents)


def _contract(document: Any, stem: str, place: str) -> Contract:
    if isinstance(document, dict) and isinstance(document.get("contract"), dict):
        document = document["contract"]
    found = document.get("schema") if isinstance(document, dict) else None
    if found != SCHEMA:
        raise BadImage(
            f"{place}: no contract of an image (schema {found!r}, this gpucheck reads {SCHEMA}); write one with: gpucheck image REF --format json"
        )
    try:
        contract = decode(Contract, document)
    except Malformed as error:
        raise BadImage(f"{place}: {error}") from None
    return contract if contract.image else replace(contract, image=stem)
