"""Print alerts as they come: python examples/subscribe.py mqtt://127.0.0.1:1883."""

import asyncio
import sys

import vedette


async def main(url: str) -> None:
    async for event in vedette.subscribe(url, severity="warning"):
        print(event.time, event.data.asset, event.data.state, event.data.text, flush=True)


asyncio.run(main(sys.argv[1]))
