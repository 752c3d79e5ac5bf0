"""An S3 server by moto. It can hold one write, so that a test can end the program at that moment.

Usage: s3_server.py BUCKET
Prints its address. Besides S3 it answers:
  POST /-/hold?write=N&when=before|after   hold the Nth write (PUT or DELETE) from now on, before or after it is done
  GET  /-/held                             how many writes there were, and whether one is held
  POST /-/release                          let go of it: one that is held before it was done is dropped
  GET  /-/writes                           the writes since the last hold, in JSON
  GET  /-/keys                             the names of all objects, in JSON
  POST /-/remove?key=KEY                   remove an object
"""

import json
import socket
import sys
import threading
from urllib.parse import parse_qs

from moto.backends import get_backend
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server, WSGIRequestHandler

HOLD_S = 120


class Quiet(WSGIRequestHandler):
    """Does not write a line for each request."""

    def log(self, *_):
        pass


class Server:
    """The application around moto's."""

    def __init__(self, bucket):
        self.bucket = bucket
        self.moto = DomainDispatcherApplication(create_backend_app)
        # moto looks at the condition of a write and then writes: one at a time, as a real store does.
        self.turn = threading.Lock()
        self.lock = threading.Lock()
        self.hold(None, "before")

    def hold(self, write, when):
        """Begins to count."""
        with self.lock:
            self.write, self.when = write, when
            self.writes, self.is_held = [], False
            self.released = threading.Event()

    def objects(self):
        """The names of all objects."""
        account = get_backend("s3")["123456789012"]["aws"]
        return sorted(account.buckets[self.bucket].keys.keys())

    def control(self, environ):
        """Answers the test."""
        path, query = environ["PATH_INFO"], parse_qs(environ["QUERY_STRING"])
        if path == "/-/hold":
            self.hold(int(query["write"][0]), query["when"][0])
        elif path == "/-/release":
            self.released.set()
        elif path == "/-/held":
            return {"writes": len(self.writes), "held": self.is_held}
        elif path == "/-/writes":
            return self.writes
        elif path == "/-/remove":
            get_backend("s3")["123456789012"]["aws"].delete_object(self.bucket, query["key"][0])
        elif path == "/-/keys":
            return self.objects()
        return {}

    def perform(self, environ):
        """Lets moto answer, whole."""
        answer = {}

        def start(status, headers, _=None):
            answer["status"], answer["headers"] = status, headers

        with self.turn:
            body = b"".join(self.moto(environ, start))
        return answer["status"], answer["headers"], body

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"].startswith("/-/"):
            body = json.dumps(self.control(environ)).encode()
            start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
            return [body]
        held = False
        if environ["REQUEST_METHOD"] in ("PUT", "DELETE", "POST"):
            with self.lock:
                self.writes.append(
                    {
                        "method": environ["REQUEST_METHOD"],
                        "path": environ["PATH_INFO"],
                        "if_match": environ.get("HTTP_IF_MATCH"),
                        "if_none_match": environ.get("HTTP_IF_NONE_MATCH"),
                        "cache_control": environ.get("HTTP_CACHE_CONTROL"),
                        "content_type": environ.get("CONTENT_TYPE"),
                    }
                )
                held = len(self.writes) == self.write
                released = self.released
        if held and self.when == "before":
            self.is_held = True
            released.wait(HOLD_S)
            start_response("503 Service Unavailable", [("Content-Length", "0"), ("Connection", "close")])
            return [b""]
        status, headers, body = self.perform(environ)
        if held:
            self.is_held = True
            released.wait(HOLD_S)
        start_response(status, headers)
        return [body]


def main():
    """Serves until it is killed."""
    bucket = sys.argv[1]
    server = Server(bucket)
    listener = socket.create_server(("127.0.0.1", 0))
    http = make_server("127.0.0.1", 0, server, threaded=True, request_handler=Quiet, fd=listener.fileno())
    backend = get_backend("s3")["123456789012"]["aws"]
    backend.create_bucket(bucket, "us-east-1")
    # Everybody may read, as machines do, and only who has credentials may write.
    readable = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    backend.put_bucket_policy(bucket, json.dumps({"Version": "2012-10-17", "Statement": [readable]}).encode())
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    http.serve_forever()


if __name__ == "__main__":
    main()
