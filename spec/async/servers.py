"""Servers that misbehave on demand, for the specs of sockets, TLS and HTTP.

    python3 servers.py DIRECTORY

DIRECTORY holds the certificates (see `certificates`) and gets the unix socket. One line goes to standard output, the ports
by name; it ends by SIGTERM, or by itself after five minutes.
A client's first line says what a stream server does; an HTTP path says what the HTTP server does."""
import os
import socket
import ssl
import sys
import threading
import time

directory = sys.argv[1]
counts = {"connections": 0}


def lines_of(connection):
    return connection.makefile("rb")


def talk(connection):
    reader = lines_of(connection)
    first = reader.readline().decode("latin1").strip()
    verb, _, argument = first.partition(" ")
    if verb == "echo":
        for line in reader:
            connection.sendall(line)
    elif verb == "pieces":
        for piece in (b"one\r\ntw", b"o\n", b"thr\r", b"ee\r\nfour"):
            connection.sendall(piece)
            time.sleep(0.03)
    elif verb == "drip":
        for _ in range(int(argument)):
            connection.sendall(b"x")
            time.sleep(0.05)
        connection.sendall(b"\n")
    elif verb == "silent":
        time.sleep(float(argument or 30))
    elif verb == "cut":
        connection.sendall(b"partial")
    elif verb == "cut-tls":
        connection.sendall(b"partial")
        connection.shutdown(socket.SHUT_RDWR)
    elif verb in ("reset", "part-reset"):
        if verb == "part-reset":
            connection.sendall(b"part")
            time.sleep(0.1)
            if hasattr(connection, "pending"):  # TLS: below it, without a goodbye
                connection = socket.socket(fileno=connection.detach())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    elif verb == "blast":
        left = int(argument)
        block = b"y" * 65536
        while left > 0:
            connection.sendall(block[:left])
            left -= len(block)
    elif verb == "sink":
        left = int(argument)
        time.sleep(0.2)
        while left > 0:
            got = connection.recv(min(left, 65536))
            if not got:
                return
            left -= len(got)
        connection.sendall(b"done\n")
    elif verb == "count":
        connection.sendall(b"%d\n" % counts["connections"])
        for line in reader:
            connection.sendall(b"%d\n" % counts["connections"])
    elif verb == "speak-later":
        connection.sendall(b"ok\n")
        time.sleep(0.1)
        connection.sendall(b"surprise\n")
        time.sleep(5)
    elif verb == "starttls":
        connection.sendall(b"go\n")
        context = tls_context("good")
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.sendall(secure.recv(100))
            secure.unwrap()


def smtp(connection):
    """Enough of RFC 5321 for one message, which it repeats in the last reply."""
    reader = lines_of(connection)
    connection.sendall(b"220 mail.example ESMTP\r\n")
    size = 0
    for line in reader:
        verb = line[:4].upper()
        if verb == b"EHLO":
            connection.sendall(b"250-mail.example\r\n250 SIZE\r\n")
        elif verb == b"DATA":
            connection.sendall(b"354 go on\r\n")
            for text in reader:
                if text == b".\r\n":
                    break
                size += len(text)
            connection.sendall(b"250 took %d bytes\r\n" % size)
        elif verb == b"QUIT":
            connection.sendall(b"221 bye\r\n")
            return
        else:
            connection.sendall(b"250 fine\r\n")


def clamd(connection):
    """INSTREAM of clamd(8), which knows one virus."""
    reader = lines_of(connection)
    if reader.read(10) != b"zINSTREAM\0":
        return
    seen = b""
    while True:
        size = int.from_bytes(reader.read(4), "big")
        if size == 0:
            break
        seen += reader.read(size)
        if len(seen) > 1000000:
            connection.sendall(b"INSTREAM size limit exceeded. ERROR\0")
            return
    found = b"Subject: " in seen and b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE" in seen
    connection.sendall(b"stream: Eicar-Test-Signature FOUND\0" if found else b"stream: OK\0")


def head(status, *fields):
    return ("HTTP/1.1 %s\r\n%s\r\n" % (status, "".join(f + "\r\n" for f in fields))).encode()


def answer(status, body, *fields):
    return head(status, "Content-Length: %d" % len(body), *fields) + body


def http(connection):
    reader = lines_of(connection)
    number = counts["connections"]
    while True:
        request = reader.readline().decode("latin1").split()
        if len(request) < 3:
            return
        method, path = request[0], request[1]
        fields, body = {}, b""
        for line in reader:
            line = line.decode("latin1").strip()
            if not line:
                break
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        early = path == "/early"
        if early:
            connection.sendall(answer("413 Too Large", b"too large", "Connection: close"))
            time.sleep(0.1)
            return
        if fields.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "content-length" in fields:
            body = reader.read(int(fields["content-length"]))
        path, _, query = path.partition("?")
        if path == "/hello":
            connection.sendall(answer("200 OK", b"hello", "X-Two: one", "X-Two: two", "Content-Type: text/plain"))
        elif path == "/echo":
            text = "%s %s\n%s\n" % (method, query, "\n".join("%s: %s" % f for f in sorted(fields.items())))
            connection.sendall(answer("200 OK", text.encode() + b"\n" + body))
        elif path == "/connection":
            connection.sendall(answer("200 OK", b"%d" % number))
        elif path == "/slow":
            time.sleep(float(query or 5))
            connection.sendall(answer("200 OK", b"slow"))
        elif path == "/endless":
            connection.sendall(head("200 OK", "Transfer-Encoding: chunked"))
            while True:
                connection.sendall(b"1000\r\n" + b"z" * 4096 + b"\r\n")
        elif path == "/drip":
            connection.sendall(head("200 OK", "Content-Length: 1000"))
            for _ in range(1000):
                connection.sendall(b"d")
                time.sleep(0.05)
        elif path == "/cut":
            connection.sendall(head("200 OK", "Content-Length: 1000") + b"short")
            return
        elif path == "/big":
            connection.sendall(answer("200 OK", b"b" * int(query)))
        elif path == "/redirect":
            status, _, target = query.partition(",")
            connection.sendall(answer(status + " Moved", b"", "Location: " + target))
        elif path == "/policy":
            question = dict(line.split("=", 1) for line in body.decode().split("\n") if "=" in line)
            verdict = {"bob@example.com": "REJECT no bobs here", "busy@example.com": "DEFER"}
            connection.sendall(answer("200 OK", ("action=%s\n\n" % verdict.get(question["recipient"], "DUNNO")).encode()))
        elif path in ("/raw", "/raw-close"):  # the bytes that the query has in hexadecimal
            connection.sendall(bytes.fromhex(query))
            if path == "/raw-close":
                return
        elif path == "/empty":
            connection.sendall(head("204 No Content"))
        elif path == "/garbage":
            connection.sendall(b"this is not HTTP\r\n\r\n")
            return
        else:
            connection.sendall(answer("404 Not Found", b"no such thing"))


def serve(listener, handler, context=None):
    def one(connection):
        try:
            with connection:
                if context:
                    connection = context.wrap_socket(connection, server_side=True)
                handler(connection)
                if context:
                    connection.unwrap()
        except (OSError, ValueError):
            pass

    def loop():
        while True:
            connection, _ = listener.accept()
            counts["connections"] += 1
            threading.Thread(target=one, args=(connection,), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()


def tls_context(name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(directory, name + ".pem"), os.path.join(directory, name + ".key"))
    return context


def tcp(handler, context=None):
    listener = socket.create_server(("127.0.0.1", 0), backlog=200)
    serve(listener, handler, context)
    return listener.getsockname()[1]


def udp(answers):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 0))

    def loop():
        while True:
            packet, peer = s.recvfrom(65536)
            if answers:
                s.sendto(packet.upper(), peer)
    threading.Thread(target=loop, daemon=True).start()
    return s.getsockname()[1]


def full_listener():
    """Nobody accepts and the queue is full: a connect hangs."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    clients = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        clients.append(client)
    counts["kept"] = (listener, clients)
    return listener.getsockname()[1]


def refused():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
    counts["refused"] = s  # bound, not listening
    return port


local = socket.socket(socket.AF_UNIX)
local.bind(os.path.join(directory, "talk.sock"))
local.listen(50)
serve(local, talk)
scanner = socket.socket(socket.AF_UNIX)
scanner.bind(os.path.join(directory, "clamd.sock"))
scanner.listen(50)
serve(scanner, clamd)
local_http = socket.socket(socket.AF_UNIX)
local_http.bind(os.path.join(directory, "http.sock"))
local_http.listen(50)
serve(local_http, http)

mutual = tls_context("good")
mutual.verify_mode = ssl.CERT_REQUIRED
mutual.load_verify_locations(os.path.join(directory, "ca.pem"))
good = tls_context("good")

ports = {
    "talk": tcp(talk), "smtp": tcp(smtp), "tls": tcp(talk, good), "wrong": tcp(talk, tls_context("wrong")),
    "expired": tcp(talk, tls_context("expired")), "mutual": tcp(talk, mutual), "http": tcp(http), "https": tcp(http, good),
    "https_wrong": tcp(http, tls_context("wrong")), "https_expired": tcp(http, tls_context("expired")),
    "bare": tcp(talk, tls_context("bare")), "bare_ip": tcp(talk, tls_context("bare_ip")),
    "besides": tcp(talk, tls_context("besides")), "https_bare": tcp(http, tls_context("bare")),
    "https_bare_ip": tcp(http, tls_context("bare_ip")), "https_besides": tcp(http, tls_context("besides")),
    "udp": udp(True), "udp_silent": udp(False), "full": full_listener(), "refused": refused(),
}
print(" ".join("%s=%d" % pair for pair in ports.items()), flush=True)
time.sleep(300)
