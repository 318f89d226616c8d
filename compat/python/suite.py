"""Finds the cases in cases.py, runs each against a server, and counts.

A case is a function whose name begins with `case_`; its only argument is a World, which makes accounts
and queues and removes the queues afterwards.
"""

import argparse
import itertools
import logging
import sys
import time
import traceback

import cases
from cmq.account import Account
from cmq.cmq_exception import CMQServerException
from cmq.queue import QueueMeta

MODES = [("POST", "sha1"), ("POST", "sha256"), ("GET", "sha1"), ("GET", "sha256")]
_numbers = itertools.count(1)


class World:
    """One case's view of the server: a method, a signature algorithm, and queues of its own."""

    def __init__(self, endpoint, key, label, method, algorithm):
        self.endpoint = endpoint
        self.secret_id, _, self.secret_key = key.partition(":")
        self.label = label
        self.method = method
        self.algorithm = algorithm
        self._made = []
        self.account = self.connect()

    def connect(self, secret_id=None, secret_key=None, endpoint=None):
        """A new account object, so a new connection."""
        account = Account(
            endpoint or self.endpoint, secret_id or self.secret_id, secret_key or self.secret_key
        )
        account.set_log_level(logging.CRITICAL)
        account.set_sign(self.algorithm)
        account.get_client().set_method(self.method)
        return account

    def name(self, hint="q"):
        """A queue name that nobody has used."""
        name = "compat-%s-%s-%d-%d" % (self.label, hint, time.time_ns() // 1000, next(_numbers))
        self._made.append(name)
        return name

    def queue(self, hint="q", **attributes):
        """A new queue with these attributes."""
        meta = QueueMeta()
        for attribute, value in attributes.items():
            assert hasattr(meta, attribute), attribute
            setattr(meta, attribute, value)
        queue = self.account.get_queue(self.name(hint))
        queue.create(meta)
        return queue

    def close(self):
        account = self.connect()
        # A dead-letter queue cannot go before its sources, which were made after it.
        for name in reversed(self._made):
            try:
                account.get_queue(name).delete()
            except CMQServerException as error:
                if error.code != 4440:
                    raise


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--key", required=True, help="ID:SECRET")
    parser.add_argument("--label", default="sdk")
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    options = parser.parse_args()
    # The data plane must be right in every mode; one mode is enough for what waits for long.
    found = [(name, case) for name, case in vars(cases).items() if name.startswith("case_")]
    passed, failures = 0, []
    for name, case in found:
        if options.only not in name:
            continue
        for method, algorithm in MODES[:1] if getattr(case, "once", False) else MODES:
            title = "%s %s [%s %s]" % (options.label, name[5:], method, algorithm)
            world = World(options.endpoint, options.key, options.label, method, algorithm)
            try:
                case(world)
                world.close()
                passed += 1
            except Exception:
                failures.append(title)
                print("FAILED %s\n%s" % (title, traceback.format_exc()), flush=True)
    for title in failures:
        print("failed: " + title)
    line = "%d passed, %d failed" % (passed, len(failures))
    print("%s: %s" % (options.label, line), flush=True)
    with open("result", "w") as result:
        result.write(line + "\n")
    sys.exit(1 if failures or not passed else 0)


if __name__ == "__main__":
    main()
