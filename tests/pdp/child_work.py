"""What the tests of `gateway.pdp.child` have done in a child: functions that end in every way there is."""

import ctypes
import os
import time

from gateway.core.errors import PolicyFault


def echo(payload):
    return payload[::-1]


def count(payload):
    for number in range(int(payload)):
        yield str(number).encode()


def hang_after_two(payload):
    yield b"one"
    yield b"two"
    while True:
        time.sleep(1)


def spin(payload):
    while True:
        pass


def doze(payload):
    time.sleep(float(payload))
    return b"rested"


def crash(payload):
    ctypes.string_at(0)


def fault(payload):
    raise PolicyFault("x.rego:1:2: said the child")


def grow(payload):
    return bytes(2**31)


def surprise(payload):
    raise ValueError("nobody reads this: " + payload.decode())


def chatter(payload):
    os.write(1, b"not an answer")
    print("not an answer either", flush=True)
    return b"the answer"


def environment(payload):
    return os.environ.get("A_SECRET", "").encode()
