"""pymilter_filter.py -- "count recipients, add X-Rcpt-Count", as one writes it in Python on pymilter.
usage: pymilter_filter.py SPEC WORK...      the words are those of libmilter_filter.c"""
import sys
import time

import Milter

words = sys.argv[2:]
sizes = dict(word.split("=") for word in words if "=" in word)
new_body = b"x" * int(sizes.get("body", 0))
sleep_seconds = int(sizes.get("sleep", 0))


class RcptEom(Milter.Base):
    def __init__(self):
        self.recipients = 0
        self.sleeps = False

    def envrcpt(self, to, *params):
        self.recipients += 1
        return Milter.CONTINUE

    def eom(self):
        if self.sleeps:
            time.sleep(sleep_seconds)
        self.addheader("X-Rcpt-Count", str(self.recipients))
        if new_body:
            self.replacebody(new_body)
        self.recipients = 0
        return Milter.CONTINUE


class EveryHandler(RcptEom):
    def connect(self, host, family, address):
        return Milter.CONTINUE

    def hello(self, name):
        return Milter.CONTINUE

    def envfrom(self, sender, *params):
        self.recipients = 0
        self.seen = 0
        self.sleeps = sleep_seconds and sender == "<asleep@example.org>"
        return Milter.CONTINUE

    def data(self):
        return Milter.CONTINUE

    def header(self, name, value):
        self.seen += len(name) + len(value)
        return Milter.CONTINUE

    def eoh(self):
        return Milter.CONTINUE

    def body(self, chunk):
        self.seen += len(chunk)
        return Milter.CONTINUE

    def unknown(self, line):
        return Milter.CONTINUE

    def abort(self):
        self.recipients = 0
        return Milter.CONTINUE

    def close(self):
        return Milter.CONTINUE


Milter.factory = EveryHandler if "every_handler" in words else RcptEom
Milter.set_flags(Milter.ADDHDRS | Milter.CHGBODY)
Milter.runmilter("bench", sys.argv[1], 300)
