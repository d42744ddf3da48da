#!/usr/bin/python3
"""Serves a folder on 127.0.0.1 as a web server or S3 does, with faults, for the tests of shards that are fetched.

usage: remote_server.py FOLDER LOG

Prints the port and serves until its standard input ends. The first part of a path says how the rest is served:

  plain     as it is, parts by Range too
  busy      each file is refused twice with 500 and 503 first
  cut       of shards and index.bin, the connection breaks after 9000 bytes of each answer
  norange   a Range is not looked at; the connection breaks after 60 % of each file's first answer
  stalled   a shard's answer stops in the middle and never goes on; that to a Range never begins
  missing   shards are not there: 404
  wrong     one byte of each shard is another
  longer    shards have more bytes
  signed    403 unless the request is signed for S3 with the key "AKIDEXAMPLE", as the AWS documentation defines it

LOG gets a line a request: status, path, Range. The signature is computed here from the documentation's steps alone.
"""

import hashlib
import hmac
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def signature(key, message):
    return hmac.new(key, message.encode(), hashlib.sha256).digest()


def is_signed(handler):
    """Signature Version 4: canonical request, string to sign, signing key."""
    header = handler.headers.get("Authorization", "")
    if not header.startswith("AWS4-HMAC-SHA256 "):
        return False
    fields = dict(part.strip().split("=", 1) for part in header[len("AWS4-HMAC-SHA256 "):].split(","))
    key_id, date, region, service, end = fields["Credential"].split("/")
    names = fields["SignedHeaders"].split(";")
    needed = {"host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"}
    if key_id != "AKIDEXAMPLE" or service != "s3" or end != "aws4_request" or not needed <= set(names):
        return False
    if region != "eu-test-1" or handler.headers["x-amz-security-token"] != "a-token":
        return False
    canonical = "\n".join(["GET", handler.path, ""] + [f"{name}:{handler.headers[name].strip()}" for name in names] +
                          ["", ";".join(names), handler.headers["x-amz-content-sha256"]])
    stamp = handler.headers["x-amz-date"]
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, f"{date}/{region}/s3/aws4_request", sha256(canonical.encode())])
    key = ("AWS4" + SECRET).encode()
    for part in (date, region, "s3", "aws4_request"):
        key = signature(key, part)
    return hmac.compare_digest(signature(key, text).hex(), fields["Signature"])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    requests = {}

    def log_message(self, *_):
        pass

    def refuse(self, status):
        self.note(status)
        body = b"<html>no</html>" * 50  # must not get into a file
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def note(self, status):
        with self.lock, open(sys.argv[2], "a", encoding="utf-8") as log:
            log.write(f"{status} {self.path} {self.headers.get('Range', '-')}\n")

    def do_GET(self):
        kind, _, name = unquote(self.path).lstrip("/").partition("/")
        path = Path(sys.argv[1]) / name
        is_shard = name.endswith(".h5")
        with self.lock:
            count = self.requests[self.path] = self.requests.get(self.path, 0) + 1
        if kind == "busy" and count <= 2:
            return self.refuse(500 if count == 1 else 503)
        if kind == "signed" and not is_signed(self):
            return self.refuse(403)
        if ".." in name or not path.is_file() or (kind == "missing" and is_shard):
            return self.refuse(404)
        data = path.read_bytes()
        if kind == "wrong" and is_shard:
            data = data[:len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1:]
        if kind == "longer" and is_shard:
            data += b"more"
        first, asked = 0, self.headers.get("Range")
        if asked and kind != "norange":
            first = int(asked.removeprefix("bytes=").split("-")[0])
            if first >= len(data):
                return self.refuse(416)
            self.note(206)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        else:
            self.note(200)
            self.send_response(200)
        body = data[first:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind == "cut" and name.endswith((".h5", ".bin")):
            body = body[:9000]
        if kind == "norange" and count == 1:
            body = body[:len(body) * 6 // 10]
        if kind == "stalled" and is_shard:
            self.wfile.write(body[:0 if asked else len(body) // 2])
            self.wfile.flush()
            threading.Event().wait(60)
        self.wfile.write(body)
        self.close_connection = kind in ("cut", "norange")


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


main()
