"""Measurements of the gateway beside its peer. Never part of the tests: figures depend on the machine."""
