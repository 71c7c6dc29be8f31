"""SAML 2.0 service provider: people sign in with it, and programs turn an assertion into a token (RFC 7522).

document.py   bytes -> XML with nothing in it that two readers could read differently, and one signed assertion
pysaml.py     the only import of pysaml2: signatures by xmlsec1, requests, our metadata
rules.py      what a signed assertion must say, and who it is about. Pure
metadata.py   an identity provider's keys and address, from a file or an https URL
service.py    puts them together;   grant.py   the assertion grant
"""
