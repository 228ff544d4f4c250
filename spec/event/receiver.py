"""A web server that takes events, for the specs.

    python3 receiver.py DIRECTORY PORT

DIRECTORY holds cert.pem and key.pem of localhost; with "plain" as a third argument it speaks HTTP. It appends what it has
taken to DIRECTORY/taken, and a line for each request to DIRECTORY/requests: status, authorization, number of lines. The
first word of DIRECTORY/mode says what it does, read anew for each request:
  ok            takes the events
  STATUS [N]    answers with that status, with Retry-After: N, and repeats the request's headers in the body
  poison        400 for a batch with the word "poison" in it
  slow N        answers after N seconds
  cut           takes the events and closes the connection without an answer
  half          closes the connection in the middle of the request"""
import http.server
import os
import ssl
import sys
import threading
import time

directory, port = sys.argv[1], int(sys.argv[2])
lock = threading.Lock()


def mode():
    try:
        with open(directory + "/mode") as f:
            return f.read().split() or ["ok"]
    except FileNotFoundError:
        return ["ok"]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", retry_after=None):
        self.send_response(status)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def take(self, body):
        with lock, open(directory + "/taken", "ab") as f:
            f.write(body)

    def do_POST(self):
        words = mode()
        size = int(self.headers["Content-Length"])
        if words[0] == "half":
            self.rfile.read(min(size, 10))
            self.close_connection = True
            with lock, open(directory + "/requests", "a") as f:
                f.write("half\n")
            return
        body = self.rfile.read(size)
        lines = body.count(b"\n")
        status = 200
        if words[0] == "poison" and b"poison" in body:
            status = 400
        elif words[0].isdigit():
            status = int(words[0])
        with lock, open(directory + "/requests", "a") as f:
            f.write("%s %d %s %s\n" % ("cut" if words[0] == "cut" else status, lines, self.path,
                                       self.headers.get("Authorization", "-")))
        if status == 200:
            self.take(body)
        if words[0] == "slow":
            time.sleep(float(words[1]))
        if words[0] == "cut":
            self.close_connection = True
            return
        repeated = ("%s %s" % (self.path, self.headers.get("Authorization"))).encode()
        self.answer(status, b"" if status == 200 else repeated, words[1] if len(words) > 1 and status != 200 else None)


server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
server.daemon_threads = True
if len(sys.argv) < 4:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory + "/good.pem", directory + "/good.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
