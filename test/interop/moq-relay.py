#!/usr/bin/env python3
"""A relay that others wrote, with the arguments of moq-relay that moq-outward.ts gives: `pip install moq-rs` is all that it needs."""

import argparse
import asyncio

import moq


async def main() -> None:
    asked = argparse.ArgumentParser()
    for name in ("listen", "listen-tls-cert", "listen-tls-key", "auth-public"):
        asked.add_argument(f"--{name}", default="")
    to = asked.parse_args()
    # Whatever one session publishes every other one may have.
    origin = moq.OriginProducer()
    server = moq.Server(
        to.listen,
        tls_cert=[to.listen_tls_cert],
        tls_key=[to.listen_tls_key],
        publish=origin,
        subscribe=origin,
    )
    sessions = []

    async def accept(request: moq.Request) -> None:
        try:
            sessions.append(await request.accept())
        except moq.Error as error:
            print(error, flush=True)

    async with server:
        async for request in server:
            asyncio.create_task(accept(request))


moq.log_level("info")
asyncio.run(main())
