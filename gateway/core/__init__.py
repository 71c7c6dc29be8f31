"""The pure core: messages, decisions, masks, approvals and evidence as values and functions.

Nothing in here does I/O, reads a clock or draws randomness; time, ids and keys are arguments. `exchange.py` is the
policy enforcement point: read it first.
"""
