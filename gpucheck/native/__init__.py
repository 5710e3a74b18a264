"""Libraries that the dynamic linker of a watched command loads, built from native/ by ``python -m ci.native``."""
