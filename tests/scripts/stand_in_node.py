"""Stands in for a `ringwire` of a cluster: answers 200 to everything, at both of its addresses.

The body is the words it was started with.
"""

import http.server
import sys
import threading


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = "\n".join(sys.argv[1:]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


values = dict(flag.split("=", 1) for flag in sys.argv[1:] if "=" in flag)
servers = []
for name in ("--listen", "--admin"):
    host, _, port = values[name].rpartition(":")
    servers.append(http.server.ThreadingHTTPServer((host, int(port)), Answers))
threading.Thread(target=servers[0].serve_forever, daemon=True).start()
servers[1].serve_forever()
