"""Store a picture through Kafka and wait for what becomes of it.

    python produce.py BOOTSTRAP FILE KEY

Needs nothing of Twinlens, only aiokafka.
"""

import asyncio
import base64
import json
import os
import sys
import uuid
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

PREFIX = os.environ.get("TWINLENS_KAFKA__TOPIC_PREFIX", "twinlens.")
MAX_BYTES = 16 * 1024 * 1024


async def main(bootstrap: str, file: str, key: str) -> None:
    request = {
        "schema": 1,
        "request_id": str(uuid.uuid4()),
        "op": "put",
        "key": key,
        "content_base64": base64.b64encode(Path(file).read_bytes()).decode(),
        "metadata": {"source": "produce.py"},
    }
    outcomes = AIOKafkaConsumer(f"{PREFIX}request-outcomes", bootstrap_servers=bootstrap, auto_offset_reset="latest")
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_request_size=MAX_BYTES)
    async with outcomes, producer:
        # Fix the positions before sending, so that the answer can't be missed.
        for partition in outcomes.assignment():
            await outcomes.position(partition)
        await producer.send_and_wait(
            f"{PREFIX}image-requests",
            json.dumps(request).encode(),
            # One Kafka key per object keeps requests for it in order.
            key=key.encode(),
        )
        async for message in outcomes:
            if message.key == request["request_id"].encode():
                print(message.value.decode())
                return


asyncio.run(main(*sys.argv[1:4]))
