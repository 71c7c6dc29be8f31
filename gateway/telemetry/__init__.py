"""Seeing the gateway run: metrics, traces and what logs say of a call. It looks on; nothing waits for it or heeds it.

`watch.py` is all that the rest of the gateway knows of it. No label, attribute or field can hold PHI: each is of a
closed set, or is written in the configuration (invariant 9).
"""
