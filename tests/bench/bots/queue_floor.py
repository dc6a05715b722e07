"""The floor for many events: a plain asyncio queue. Each event is encoded, taken and decoded, and 200 bytes written.

It runs for as many seconds as its argument says, then prints the events a second.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import msgspec

_AT_ONCE = 200
_RECORD = bytes(200)


async def main(seconds: float) -> None:
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode
    file = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    events, began = 0, time.monotonic()
    while time.monotonic() < began + seconds:
        for number in range(_AT_ONCE):
            queue.put_nowait(encode({"s": "BTCUSDT", "p": 50000.5, "q": 0.1, "t": number}))
        while not queue.empty():
            decode(await queue.get())
            os.write(file, _RECORD)
            events += 1
        await asyncio.sleep(0)
    print(events / (time.monotonic() - began))


asyncio.run(main(float(sys.argv[1])))
