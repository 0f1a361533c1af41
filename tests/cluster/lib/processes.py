"""A process that is kept running, as an init system would: started again when it ends by itself, until it is stopped."""

import os
import signal
import subprocess
import threading
import time

GRACE = 3.0  # from SIGTERM to SIGKILL, in seconds
PAUSE = 0.5  # before it is started again


class NeverReady(Exception):
    """A component did not come up; the message holds its last log lines."""


class Component:
    def __init__(self, name, command, log, ready, environment=None):
        self.name = name
        self.command = [str(word) for word in command]
        self.log = log
        self.ready = ready  # called without arguments: does it serve?
        self.environment = environment
        self.process = None
        self.wanted = False
        self.ends = 0  # how often it ended by itself
        self.guard = threading.Lock()  # one start or stop at a time

    def start(self):
        with self.guard:
            if self.wanted:
                return
            self.wanted = True
            self.spawn()
            threading.Thread(target=self.keep, args=(self.process,), daemon=True).start()

    def spawn(self):
        with open(self.log, "ab") as log:
            # Its own session: a signal to the terminal's group is not for it.
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )  # fmt: skip

    def keep(self, process):
        while True:
            process.wait()
            time.sleep(PAUSE if self.wanted else 0)
            with self.guard:
                if not self.wanted or self.process is not process:
                    return  # stopped, or started anew by another call
                self.ends += 1
                self.spawn()
                process = self.process

    def stop(self, at_once=False):
        with self.guard:
            self.wanted = False
            process = self.process
            if process is None:
                return
            process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.process = None

    def kill(self):
        """SIGKILL, as a crash: it is started again by itself."""
        process = self.process
        if process is not None:
            process.kill()
            process.wait()

    def await_ready(self, patience, most_ends=None):
        """Waits until it serves. With MOST_ENDS, gives up when it has ended by itself more often than that."""
        until = time.monotonic() + patience
        while not self.ready():
            if most_ends is not None and self.ends > most_ends:
                raise NeverReady(f"{self.name} ended by itself. Its last lines:\n{tail(self.log)}")
            if time.monotonic() > until:
                raise NeverReady(f"{self.name} did not serve within {patience:.0f} s. Its last lines:\n{tail(self.log)}")
            time.sleep(0.05)

    def state(self):
        pid = self.process.pid if self.process else None
        return {"name": self.name, "pid": pid, "running": self.wanted, "ended_by_itself": self.ends}


def tail(path, lines=12):
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 16384))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"  ({error})"
    return "\n".join("  " + line for line in text.splitlines()[-lines:])
