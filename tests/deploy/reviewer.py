"""Morgan's browser: signs in to the approval pages by the demo's provider, with a click, and prints the page.

Run inside a container of tests/deploy/test_runs.py, which believes the demo's certificate authority.
"""

from __future__ import annotations

import httpx2

PAGES = "https://phigate.localhost:8443"


def main() -> None:
    """Sign in."""
    with httpx2.Client(follow_redirects=True) as browser:
        page = browser.get(f"{PAGES}/login/with/demo", params={"next": "/approvals"})
        assert "Morgan Reyes" in page.text, page.text[:500]
        # The page's one form goes to the page's own address.
        signed_in = browser.post(page.url, data={"sub": "morgan.reyes"})
        assert "url=/approvals" in signed_in.text, signed_in.text
        inbox = browser.get(f"{PAGES}/approvals")
        print(inbox.status_code, inbox.url)
        print(inbox.text)


if __name__ == "__main__":
    main()
