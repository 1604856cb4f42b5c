"""Print a line whenever somebody drops a copy of a known picture.

    python copies.py BOOTSTRAP [COUNT]

Ends after COUNT lines, if given. Needs nothing of Twinlens, only aiokafka.
"""

import asyncio
import json
import os
import sys

from aiokafka import AIOKafkaConsumer

PREFIX = os.environ.get("TWINLENS_KAFKA__TOPIC_PREFIX", "twinlens.")


async def main(bootstrap: str, count: int) -> None:
    changes = AIOKafkaConsumer(f"{PREFIX}image-changes", bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    async with changes:
        async for message in changes:
            if message.value is None:  # The key is gone.
                continue
            change = json.loads(message.value)
            if change["schema"] != 1:  # A version that this program does not know.
                continue
            for near in change["nearest"]:
                if near["verdict"] in ("exact", "copy"):
                    print(f"copy found: {change['key']} is a copy of {near['key']} ({near['score']:.1f})", flush=True)
                    count -= 1
                    break
            if count == 0:
                return


asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else -1))
