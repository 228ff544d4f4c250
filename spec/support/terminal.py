"""Runs a program at a terminal of its own: terminal.py COLUMNS ROWS KEYS-FILE PROGRAM ARGUMENT...

Each line of the keys file is a regular expression, a tab, and what is typed once the output since the last one
matches, with the escapes of Python; "SIGNAL" and a name sends that signal instead, "SIZE" columns and rows
resizes, "KILL" and a process id kills another process.
Prints the terminal's output. Afterwards, a line "exit STATUS modes same|changed": did the program leave the modes of
the terminal as they were? It is killed after 20 seconds.
"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

columns, rows, keys = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
with open(keys) as lines:
    steps = [line.rstrip("\n").split("\t", 1) for line in lines if line.strip()]


def resize(fd, columns, rows):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


main, other = pty.openpty()
resize(main, columns, rows)
before = termios.tcgetattr(other)
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(other, termios.TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(other, fd)
    os.close(main)
    os.close(other)
    os.execvp(sys.argv[4], sys.argv[4:])
output, seen, until, status = b"", 0, time.time() + 20, None
while True:
    ready, _, _ = select.select([main], [], [], 0.1)
    if ready:
        output += os.read(main, 65536)
    elif status is not None:
        break
    # once it is quiet: a program that has just printed its prompt may not have set the modes of the terminal yet
    if steps and status is None and not ready:
        found = re.compile(steps[0][0].encode(), re.S).search(output, seen)
        if found:
            seen = found.end()
            what = steps.pop(0)[1]
            if what.startswith("SIGNAL "):
                os.kill(child, getattr(signal, what[7:]))
            elif what.startswith("KILL "):
                os.kill(int(what[5:]), signal.SIGKILL)
            elif what.startswith("SIZE "):
                resize(main, *map(int, what[5:].split()))
            else:
                os.write(main, what.encode().decode("unicode_escape").encode())
    if status is None:
        ended, code = os.waitpid(child, os.WNOHANG)
        status = code if ended else None
    if status is None and time.time() > until:
        os.kill(child, signal.SIGKILL)
after = termios.tcgetattr(other)
sys.stdout.buffer.write(output)
code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
print("\nexit %d modes %s" % (code, "same" if before == after else "changed"))
