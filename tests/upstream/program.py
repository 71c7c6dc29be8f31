"""A stdio server that does what its tests want: each tool is one way to behave, or to misbehave. Run as a program."""

import json
import os
import signal
import subprocess
import sys
import time


def say(document):
    line = document if isinstance(document, str) else json.dumps(document)
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def answer(request, **result):
    say({"jsonrpc": "2.0", "id": request["id"], "result": result})


def note(method, **params):
    say({"jsonrpc": "2.0", "method": method, "params": params})


heard = []


def call(request):
    name = request["params"]["name"]
    arguments = request["params"].get("arguments", {})
    token = request["params"].get("_meta", {}).get("progressToken")
    match name:
        case "heard":
            answer(request, heard=heard[:-1], pid=os.getpid(), environment=sorted(os.environ), cwd=os.getcwd())
        case "progress":
            note("notifications/progress", progressToken=token, progress=1)
            note("notifications/progress", progressToken="somebody else's", progress=1)
            note("notifications/progress", progressToken=token, progress=2)
            answer(request, token=token)
        case "log":
            note("notifications/message", level="info", data="working")
            note("notifications/tools/list_changed")
            answer(request)
        case "ask":
            say({"jsonrpc": "2.0", "id": "ask-1", "method": "roots/list"})
            roots = json.loads(sys.stdin.readline())
            answer(request, answered=roots)
        case "ping":
            say({"jsonrpc": "2.0", "id": 9, "method": "ping"})
            answer(request, answered=json.loads(sys.stdin.readline()))
        case "chatter":
            say("Server is listening…")
            say('{"level": "info", "message": "a log line"}')
            print("secrets and stack traces", file=sys.stderr, flush=True)
            answer(request)
        case "garbled":
            say(f'{{"jsonrpc": "2.0", "id": {request["id"]}, "result": {{"a": 1, "a": 2}}}}')
        case "stranger":
            say({"jsonrpc": "2.0", "id": 10_000, "result": {}})
            say({"jsonrpc": "2.0", "id": "x", "result": {}})
            answer(request)
        case "fail":
            say({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -5, "message": "no", "data": [1]}})
        case "die":
            os._exit(3)
        case "flood":
            chunk = "x" * 1_000_000
            for _ in range(arguments["megabytes"]):
                sys.stdout.write(chunk)
            say("")
        case "child":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
            answer(request, pid=child.pid)
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            answer(request, pid=os.getpid())
            time.sleep(1000)
        case "deaf":
            answer(request)
            time.sleep(1000)
        case "subscribe":
            meta = {"io.modelcontextprotocol/subscriptionId": request["id"]}
            note("notifications/tools/list_changed", _meta=meta)
            answer(request, _meta=meta)
        case _:
            return  # "stall": no answer, ever.


def main():
    for line in sys.stdin:
        message = json.loads(line)
        heard.append(message)
        match message.get("method"):
            case "initialize":
                if message["params"].get("refuse"):
                    say({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -1, "message": "no"}})
                elif not message["params"].get("stall"):
                    answer(message, protocolVersion=message["params"].get("protocolVersion"))
            case "tools/call" | "subscriptions/listen":
                call(message)
            case "ping":
                answer(message)


if __name__ == "__main__":
    main()
