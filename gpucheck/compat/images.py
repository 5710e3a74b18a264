"""The contracts of the images that are named: a file that holds one, or an image itself."""

from __future__ import annotations

import json
import os
from typing import Any

from gpucheck.codec import Malformed, decode
from gpucheck.contract import SCHEMA, Contract
from gpucheck.record import replace


class BadImage(ValueError):
    """An image that cannot be judged; the message says why, and what to do."""


def read(reference: str) -> tuple[Contract, ...]:
    """The contract of an image, or those in a file. Raises ``BadImage``."""
    if not reference.endswith((".json", ".jsonl")):
        return (_of_image(reference),)
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


def _of_image(reference: str) -> Contract:
    from gpucheck.contents.command import find_contract
    from gpucheck.images.records import ImageError

    try:
        return find_contract(reference)
    except ImageError as error:
        raise BadImage(str(error)) from None


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
