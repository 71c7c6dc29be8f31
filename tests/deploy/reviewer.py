"""Morgan's browser: signs in to the approval pages by the demo's provider with a click, and grants what waits.

    python -m tests.deploy.reviewer            prints the inbox
    python -m tests.deploy.reviewer --grant    waits for an approval and grants it

Run inside a container of tests/deploy/test_runs.py, which believes the demo's certificate authority.
"""

from __future__ import annotations

import re
import sys
import time

import httpx2

PAGES = "https://phigate.localhost:8443"
WAIT_S = 40.0


def main() -> None:
    """Sign in, and do what is asked."""
    with httpx2.Client(follow_redirects=True, timeout=30) as browser:
        page = browser.get(f"{PAGES}/login/with/demo", params={"next": "/approvals"})
        assert "Morgan Reyes" in page.text, page.text[:500]
        # The page's one form goes to the page's own address.
        signed_in = browser.post(page.url, data={"sub": "morgan.reyes"})
        assert "url=/approvals" in signed_in.text, signed_in.text
        inbox = browser.get(f"{PAGES}/approvals")
        print(inbox.status_code, inbox.url)
        print(inbox.text)
        if "--grant" in sys.argv:
            grant(browser)


def grant(browser: httpx2.Client) -> None:
    """Grant the first approval of the inbox, once there is one."""
    deadline = time.monotonic() + WAIT_S
    while not (found := re.search(r"/approvals/ap_\w+", browser.get(f"{PAGES}/approvals").text)):
        assert time.monotonic() < deadline, "nothing waits for approval"
        time.sleep(0.2)
    address = f"{PAGES}{found[0]}"
    (form,) = re.findall(
        rf'<form method="post" action="{found[0]}/grant">(.*?)</form>', browser.get(address).text, re.DOTALL
    )
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
    done = browser.post(f"{address}/grant", data={**hidden, "reason": "Quarterly review"}, headers={"origin": PAGES})
    print(done.status_code, done.url)
    assert "granted" in done.text.lower()


if __name__ == "__main__":
    main()
