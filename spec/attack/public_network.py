"""In a network of its own (unshare -n): a public and a private web server, and a script that is sent from one to the
other. Prints one line, what became of it."""
import fcntl
import http.server
import os
import socket
import struct
import subprocess
import sys
import threading

SIOCSIFADDR, SIOCSIFFLAGS, UP = 0x8916, 0x8914, 1
PUBLIC = "203.0.113.5"

control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", UP, b""))
fcntl.ioctl(control, SIOCSIFADDR, struct.pack("16sHH4s8s", b"lo:1", socket.AF_INET, 0, socket.inet_aton(PUBLIC), b""))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_outer = self.server.server_address[0] == PUBLIC
        body = b"outer" if is_outer else b"inner"
        self.send_response(302 if self.path == "/in" else 200)
        if self.path == "/in":
            self.send_header("Location", "http://127.0.0.1:8080/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


for address in (PUBLIC, "127.0.0.1"):
    server = http.server.ThreadingHTTPServer((address, 8080), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

done = subprocess.run(["luajit", "spec/attack/public_network.lua", PUBLIC], capture_output=True, timeout=60, text=True)
print(done.stdout.strip() or done.stderr, flush=True)
os._exit(done.returncode)
