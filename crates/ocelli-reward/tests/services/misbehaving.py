"""Does what the first response of a batch says."""

import os
import sys
import time

print("loaded")
failed = False


def compute_score(reward_inputs, **kwargs):
    global failed
    wish = reward_inputs[0]["response"]
    if wish == "hang":
        while True:
            time.sleep(1)
    if wish == "crash":
        os._exit(3)
    if wish == "garbage":
        os.write(1, b'{"id": 0, "rows": []}\n')
        print("}{ not JSON")
        sys.stdout.flush()
    if wish == "fork" and os.fork() == 0:
        time.sleep(600)
    if wish == "memory":
        bytearray(64 << 30)
    if wish == "flaky" and not failed:
        failed = True
        raise ConnectionError("the line is down")
    if wish == "pid":
        return [{"overall": os.getpid()} for _ in reward_inputs]
    return [{"overall": len(reward_inputs)} for _ in reward_inputs]
