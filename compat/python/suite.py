"""Finds the cases in the files of cases, runs each against a server, and counts.

A case is a function whose name begins with `case_`; its only argument is a World, which makes accounts,
queues and topics, and removes them afterwards.
"""

import argparse
import sys
import traceback

import publish_cases
import push_cases
import queue_cases
import subscription_cases
import topic_cases
from world import World

FILES = (queue_cases, topic_cases, subscription_cases, publish_cases, push_cases)
MODES = [("POST", "sha1"), ("POST", "sha256"), ("GET", "sha1"), ("GET", "sha256")]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--key", required=True, help="ID:SECRET")
    parser.add_argument("--label", default="sdk")
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    options = parser.parse_args()
    # The data plane must be right in every mode; one mode is enough for what waits for long.
    found = [item for file in FILES for item in vars(file).items() if item[0].startswith("case_")]
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
            finally:
                world.close_receivers()
    for title in failures:
        print("failed: " + title)
    line = "%d passed, %d failed" % (passed, len(failures))
    print("%s: %s" % (options.label, line), flush=True)
    with open("result", "w") as result:
        result.write(line + "\n")
    sys.exit(1 if failures or not passed else 0)


if __name__ == "__main__":
    main()
