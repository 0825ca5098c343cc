"""Waiting for a launched job: passing signals on, ending it when a rank is dead, saying which one it was."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

from mpimasha.mpi.postbox import die_with
from mpimasha.mpi.relay import Relay

MEANT = (0, 2, 4, 8)  # exit codes that only an orderly end may have
_GRACE = 5.0  # seconds the ranks get to end after Ctrl-C
_SAVING = 60.0  # and, after SIGTERM or SIGHUP, to write a checkpoint first; a second such signal cuts it short
_FAREWELL = 2.0  # seconds the launcher gets to end the others when a rank is dead: MPICH waits for ever before MPI_Init
_LAST_RESORT = 1.0  # and to obey SIGTERM
_SLOW_START = 30.0  # seconds after which ranks that have not started are worth a word


def supervise(command, env, box, ranks):
    """Run the launcher's `command` to its end and return the exit code of the job; see `launch.spawn`."""
    me = os.getpid()
    # In a process group of its own, so that Ctrl-C comes to us alone and is passed on once.
    process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, process_group=0,
                               preexec_fn=lambda: die_with(me, signal.SIGTERM))
    asked, notices = [], []  # signals that asked us to end the job; those that asked it to save itself first
    relays = [Relay(pipe.fileno(), sink, lambda: bool(asked) or box.first() is not None)
              for pipe, sink in ((process.stdout, 1), (process.stderr, 2))]
    with _passing_signals(process, box, asked, notices):
        _wait(process, box, asked, notices, relays[0], ranks)
    for relay in relays:
        relay.join(None if process.returncode == 0 else 2)  # a rank that hangs on may keep the pipe open
    return outcome(process.returncode, box, asked, ranks)


def _wait(process, box, asked, notices, output, ranks):
    started, dead, saving, deadline, waiting = time.monotonic(), None, None, None, True
    while process.poll() is None:
        now = time.monotonic()
        if output.broken and not asked:
            asked.append(signal.SIGPIPE)
            process.terminate()
        if deadline is None and {signal.SIGINT, signal.SIGPIPE} & set(asked):
            deadline = now + _GRACE
        if notices and (box.takes_notice() or not box.seen() and now > started + _SLOW_START):
            process.send_signal(notices.pop())
        if saving is None and asked and deadline is None:
            saving = now + _SAVING
        if deadline is None and saving is not None and (now > saving or len(asked) > 1):
            deadline = now + _GRACE
            process.terminate()
        if dead is None and box.first() is not None:
            dead = now
        if deadline is None and dead is not None and now > dead + _FAREWELL:
            deadline = now + _LAST_RESORT
            process.terminate()
        if deadline is not None and (now > deadline or asked.count(signal.SIGINT) > 1):
            _kill(process, box)
        if waiting and now > started + _SLOW_START:
            waiting = False
            _say_who_is_missing(box, ranks)
        time.sleep(0.02)


@contextmanager
def _passing_signals(process, box, asked, notices):
    """Pass signals on to the launcher, which gives them to the ranks; remember those that mean "end".

    Ranks that can save themselves get SIGUSR1 for SIGTERM and SIGHUP: with it alone every launcher waits for them.
    """
    def end(number, frame):
        asked.append(number)
        kindly = signal.SIGUSR1 if box.takes_notice() else signal.SIGTERM
        process.send_signal(signal.SIGINT if number == signal.SIGINT else kindly)

    def inform(number, frame):
        notices[:] = [number]  # passed on when the ranks are ready for it

    handlers = {signal.SIGINT: end, signal.SIGTERM: end, signal.SIGHUP: end, signal.SIGUSR1: inform}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()
              if signal.getsignal(number) != signal.SIG_IGN}  # nohup
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _kill(process, box):
    process.kill()
    for pid in box.pids():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _say_who_is_missing(box, ranks):
    seen = box.seen()
    if 0 < seen < ranks:
        _say(f"after {_SLOW_START:.0f} s only {seen} of {ranks} ranks have started, and they wait for the others")


# -- what is said and returned -----------------------------------------------------------------


def outcome(returned, box, asked, ranks):
    """The exit code, the same with every MPI, after the last words of the rank that failed or a sentence on it.

    Parameters
    ----------
    returned : int
        What the launcher ended with; where a rank left word of its end, that counts and not this.
    box : PostBox
    asked : list of int
        Signals that asked us to end the job.
    ranks : int
    """
    code, first = box.code(), box.first()
    if returned == 0 and code is not None:
        return code
    if asked:
        return 128 + asked[0]
    if not box.seen():  # the ranks are on other hosts: the launcher knows best
        return returned if returned >= 0 else 128 - returned
    if first is None:
        _say(f"the job ended before its ranks did; its launcher's exit code is {returned}")
        return _not_meant(returned)
    if "text" in first:
        sys.stderr.write(first["text"])
    else:
        who = f"one of {ranks} ranks" if first["rank"] is None else f"rank {first['rank']} of {ranks}"
        _say(f"{who} on {first['host']} {_ending(first['code'])}")
    return _not_meant(first["code"])


def _not_meant(code):
    code = 128 - code if code < 0 else code  # 128 + signal, as shells have it
    return 1 if code in MEANT else code


def _ending(code):
    if code >= 0:
        return f"left with exit code {code} before the end of the run"
    hint = "; was there enough memory?" if -code == signal.SIGKILL else ""
    return f"was killed by signal {-code} ({signal.Signals(-code).name}){hint}"


def _say(sentence):
    sys.stderr.write(f"mpimasha: {sentence}\n")
