"""A web server of lists, for specs: it publishes files of a directory, with ETag and signatures, over TLS.

    python3 https_server.py DIRECTORY PORT

DIRECTORY holds good.pem and good.key, the files to publish, and `log`, to which each request adds a line: path and
status. A file named NAME.order makes the server misbehave for NAME: "slow SECONDS", "status CODE", or "cut"."""
import hashlib
import http.server
import os
import ssl
import sys
import threading
import time

directory, port = sys.argv[1], int(sys.argv[2])


def read(name):
    try:
        with open(os.path.join(directory, name), "rb") as f:
            return f.read()
    except OSError:
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def say(self, status, body=b"", fields=()):
        with open(os.path.join(directory, "log"), "a") as log:
            log.write("%s %d\n" % (self.path, status))
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        name = os.path.basename(self.path)
        body = read(name)
        word, _, rest = (read(name + ".order") or b"").decode().strip().partition(" ")
        if word == "slow":
            time.sleep(float(rest))
        if word == "status":
            return self.say(int(rest))
        if body is None:
            return self.say(404)
        tag = '"%s"' % hashlib.sha256(body).hexdigest()[:16]
        if self.headers.get("If-None-Match") == tag:
            return self.say(304)
        if word == "cut":
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:len(body) // 2])
            self.close_connection = True
            return
        self.say(200, body, [("ETag", tag)])


server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.path.join(directory, "good.pem"), os.path.join(directory, "good.key"))
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Timer(300, lambda: os._exit(0)).start()
print("ready", flush=True)
server.serve_forever()
