"""What the cases say about answers: they are equal, refused, or come true in a while."""

import time

from cmq.cmq_exception import CMQServerException


def once(case):
    """Marks a case that takes seconds: it runs in one mode only."""
    case.once = True
    return case


def equal(found, wanted):
    assert found == wanted, "found %r, wanted %r" % (found, wanted)


def refused(code, message, call, *arguments, **named):
    """Asserts that the call is refused with this code and message, and gives back the error."""
    try:
        call(*arguments, **named)
    except CMQServerException as error:
        assert (error.code, error.message) == (code, message), (error.code, error.message)
        assert isinstance(error.request_id, str) and error.request_id.isdigit(), error.request_id
        return error
    raise AssertionError("not refused, expected %d %s" % (code, message))


def refused_code(code, call, *arguments):
    """The same for this code with any message."""
    try:
        call(*arguments)
    except CMQServerException as error:
        equal(error.code, code)
        return error
    raise AssertionError("not refused, expected %d" % code)


def nothing_in(queue, wait=0):
    refused(7000, "(10200)no message", queue.receive_message, wait)


def eventually(what, condition, seconds=10):
    """Asks again and again until the condition holds, and gives back what it then said."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, "not within %d s: %s" % (seconds, what)
        time.sleep(0.02)
