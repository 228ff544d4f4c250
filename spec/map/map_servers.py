"""Services of socketmap and tcp maps, for specs: what a key says is done.

    python3 map_servers.py DIRECTORY

DIRECTORY gets the unix socket. One line goes to standard output, the ports by name; it ends by SIGTERM, or by itself
after five minutes. Each connection is served by a thread; keys that begin with "!" are orders to misbehave."""
import os
import re
import socket
import sys
import threading
import time

directory = sys.argv[1]
counts = {"connections": 0}


def netstring(data):
    return b"%d:%s," % (len(data), data)


def read_netstring(reader):
    digits = b""
    while True:
        c = reader.read(1)
        if not c:
            return None
        if c == b":":
            break
        digits += c
    data = reader.read(int(digits))
    assert reader.read(1) == b","
    return data


def value_of(key):
    """The table: pairs of letters, and keys that say their value; None: not there."""
    if key.startswith("none"):
        return None
    if key.startswith("size "):
        return "x" * int(key[5:])
    return "value of " + key


def order(connection, key, answer, frame):
    """True: the key is an order, which is done."""
    word, _, rest = key[1:].partition(" ")
    if word == "slow":
        time.sleep(float(rest))
        connection.sendall(answer("slow"))
    elif word == "close":
        connection.close()
        raise OSError("closed")
    elif word == "cut":
        connection.sendall(answer("cut")[:int(rest)])
        connection.close()
        raise OSError("cut")
    elif word == "drip":
        for byte in answer("drip"):
            connection.sendall(bytes([byte]))
            time.sleep(float(rest))
    elif word == "twice":  # an answer that nobody has asked for
        connection.sendall(answer("first") + answer("second"))
    elif word == "raw":
        connection.sendall(bytes.fromhex(rest))
    elif word == "say":
        connection.sendall(frame(rest.encode("latin1")))
    elif word == "connections":
        connection.sendall(answer(str(counts["connections"])))
    elif word == "then-close":  # the next question finds it closed
        connection.sendall(answer("bye"))
        connection.close()
        raise OSError("closed")


def socketmap(connection):
    reader = connection.makefile("rb")

    def answer(text):
        return netstring(b"OK " + text.encode("latin1"))
    while True:
        request = read_netstring(reader)
        if request is None:
            return
        name, _, key = request.decode("latin1").partition(" ")
        if key.startswith("!"):
            order(connection, key, answer, netstring)
        elif value_of(key) is None:
            connection.sendall(netstring(b"NOTFOUND "))
        else:
            connection.sendall(answer(name + " " + value_of(key)))


def encode(text):
    return re.sub(rb"[^!-$&-~]", lambda m: b"%%%02x" % m.group()[0], text.encode("latin1"))


def tcp_table(connection):
    reader = connection.makefile("rb")

    def answer(text):
        return b"200 " + encode(text) + b"\n"
    for line in reader:
        verb, _, key = line.rstrip(b"\n").partition(b" ")
        assert verb == b"get"
        key = re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m.group(1), 16)]), key).decode("latin1")
        if key.startswith("!"):
            order(connection, key, answer, lambda data: data + b"\n")
        elif value_of(key) is None:
            connection.sendall(b"500 not%20here\n")
        else:
            connection.sendall(answer(value_of(key)))


def serve(listener, handler):
    def one(connection):
        try:
            with connection:
                handler(connection)
        except (OSError, ValueError, AssertionError):
            pass

    def loop():
        while True:
            connection, _ = listener.accept()
            counts["connections"] += 1
            threading.Thread(target=one, args=(connection,), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()


def listen(handler):
    listener = socket.create_server(("127.0.0.1", 0), backlog=200)
    serve(listener, handler)
    return listener.getsockname()[1]


def silent():
    listener = socket.create_server(("127.0.0.1", 0), backlog=200)
    counts["silent"] = listener
    return listener.getsockname()[1]


local = socket.socket(socket.AF_UNIX)
local.bind(os.path.join(directory, "map.sock"))
local.listen(50)
serve(local, socketmap)
print("socketmap=%d tcp=%d silent=%d" % (listen(socketmap), listen(tcp_table), silent()), flush=True)
time.sleep(300)
