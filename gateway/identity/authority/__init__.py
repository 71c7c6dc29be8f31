"""phigate's own short-lived access tokens, for grants that no provider turns into a token for our resources.

`authority.py` is the token endpoint without HTTP; `grants.py` what a grant is, with a file for each grant; `clients.py`
who may ask; `signer.py` makes the tokens, and says whose they are when they come back.
"""
