"""A server of `websockets` that sends every message back, over TLS or without.

Its words are NAME=VALUE: `cert` and `key` are files in PEM (without them there is no TLS), `tls` is
the only version spoken, `deflate` is `off`, `shared` or `dedicated`, `cut` ends connections in the
middle of the session at their first message. It listens on a free port of 127.0.0.1, prints that
port, and ends with its standard input.
"""

import asyncio
import ssl
import sys

from websockets.asyncio.server import serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def context(options):
    if "cert" not in options:
        return None
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(options["cert"], options["key"])
    found.set_alpn_protocols(["http/1.1"])
    if "tls" in options:
        found.minimum_version = found.maximum_version = VERSIONS[options["tls"]]
    return found


def extensions(deflate):
    if deflate == "off":
        return None
    is_shared = deflate == "shared"
    return [
        ServerPerMessageDeflateFactory(
            server_no_context_takeover=is_shared, client_no_context_takeover=is_shared
        )
    ]


async def main():
    options = dict(word.split("=", 1) for word in sys.argv[1:])

    async def echo(connection):
        async for message in connection:
            if "cut" in options:
                connection.transport.abort()
                return
            await connection.send(message)

    async with serve(
        echo,
        "127.0.0.1",
        0,
        ssl=context(options),
        compression=None,
        extensions=extensions(options.get("deflate", "off")),
        max_size=1 << 24,
        server_header=None,
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
