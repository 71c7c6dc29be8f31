"""Fakes that implement the production Protocols, for tests of what stands between them."""
