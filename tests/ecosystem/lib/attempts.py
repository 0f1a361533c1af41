"""Tests, one after the other: a line for each, and what was said by those that failed."""

import time
import traceback


class Skipped(Exception):
    """What a test needs is not here; the message says what."""


class Tally:
    def __init__(self, names):
        self.names = names
        self.passed, self.failed, self.skipped, self.found = 0, [], [], set()

    def wanted(self, name):
        chosen = not self.names or any(part in name for part in self.names)
        self.found |= {name} if chosen else set()
        return chosen

    def attempt(self, test, *arguments):
        """Runs a test, prints how it went, and returns what it returns; None where it did not pass."""
        started = time.monotonic()
        try:
            value = test(*[argument() if isinstance(argument, Needed) else argument for argument in arguments])
        except Skipped as reason:
            print(f"skipped {test.__name__}: {reason}", flush=True)
            self.skipped.append(test.__name__)
        except Exception:  # noqa: BLE001  a test that fails is reported, and the next one runs
            traceback.print_exc()
            print(f"FAILED  {test.__name__}", flush=True)
            self.failed.append(test.__name__)
        else:
            print(f"ok      {test.__name__} ({time.monotonic() - started:.1f} s)", flush=True)
            self.passed += 1
            return value
        return None

    def all(self, tests, *arguments):
        for test in tests:
            if self.wanted(test.__name__):
                self.attempt(test, *arguments)

    def end(self):
        print(f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped", flush=True)
        for name in self.failed:
            print(f"FAILED  {name}", flush=True)
        return 1 if self.failed else 0


class Needed:
    """Something that a test needs: called when it begins, so that only then its lack is told."""

    def __init__(self, value, reason=None):
        self.value, self.reason = value, reason

    def __call__(self):
        if self.value is None:
            raise Skipped(self.reason or "an earlier test that it builds on has failed")
        return self.value
