"""Kafka by aiokafka: how every client logs in, and the outbox."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    SaslAuthenticationFailed,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)

from schemas.errors import BrokerOutage, ConfigurationError, MessageRefused
from schemas.settings import KafkaSettings
from stores.broker.ports import Outbox, OutgoingMessage

REQUEST_TIMEOUT_MS = 15_000
CALL_TIMEOUT_S = 60.0
"""For all that one call of the outbox may take, with whatever aiokafka tries again meanwhile."""

_REFUSED = (InvalidTimestampError, MessageSizeTooLargeError, PolicyViolationError, RecordListTooLargeError)
"""The message can't be accepted, however often it is sent; what concerns rights may be put right meanwhile."""


def tls_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """The TLS context of the settings, or None where the connection is not encrypted."""
    if not settings.security_protocol.endswith("SSL"):
        return None
    context = ssl.create_default_context(cafile=settings.ssl_ca_file)
    if settings.ssl_cert_file:
        context.load_cert_chain(settings.ssl_cert_file, settings.ssl_key_file)
    return context


def connection_options(settings: KafkaSettings) -> dict[str, Any]:
    """The arguments that every aiokafka client takes to reach the brokers."""
    return {"bootstrap_servers": settings.bootstrap_servers, **_login(settings)}


def _login(settings: KafkaSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "security_protocol": settings.security_protocol,
        "ssl_context": tls_context(settings),
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
    }
    if settings.security_protocol.startswith("SASL"):
        assert settings.sasl_password is not None  # The settings refuse SASL without a password.
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    return options


def no_answer(error: Exception) -> BrokerOutage:
    """What to raise when a client that had started gets no answer."""
    return BrokerOutage(f"no Kafka broker answers: {error}")


async def connection_failure(settings: KafkaSettings, error: Exception) -> BrokerOutage | ConfigurationError:
    """What to raise when a client could not start. aiokafka tells the reason only to its log, so it is asked again."""
    if isinstance(error, UnknownTopicOrPartitionError):
        return ConfigurationError(f"topics named {settings.topic_prefix}… are missing: run `twinlens setup`")
    reason: Exception = error
    for host, port, _family in collect_hosts(settings.bootstrap_servers):
        try:
            connection = await create_conn(host, port, **_login(settings))
        except ssl.SSLCertVerificationError as untrusted:
            return ConfigurationError(
                f"the certificate of {host}:{port} is not trusted: {untrusted.verify_message}. "
                f"kafka.ssl_ca_file names the CA to trust: {settings.ssl_ca_file or 'the ones of this machine'}"
            )
        except (SaslAuthenticationFailed, UnsupportedSaslMechanismError) as refused:
            return ConfigurationError(
                f"{host}:{port} refuses the login of {settings.sasl_username} by {settings.sasl_mechanism}: {refused}"
            )
        except (KafkaError, OSError) as failed:
            reason = failed
        else:
            connection.close()
    way = "" if settings.security_protocol == "PLAINTEXT" else f" by {settings.security_protocol}"
    return BrokerOutage(
        f"no Kafka broker answers at {settings.bootstrap_servers}{way}: {str(reason) or type(reason).__name__}"
    )


class KafkaOutbox(Outbox):
    """Sends with ``acks=all``. Connects on first use."""

    def __init__(self, settings: KafkaSettings, *, linger_ms: int = 0) -> None:
        self._settings = settings
        self._linger_ms = linger_ms
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **connection_options(self._settings),
                    acks="all",
                    max_request_size=self._settings.max_message_bytes,
                    linger_ms=self._linger_ms,
                )
                try:
                    async with asyncio.timeout(CALL_TIMEOUT_S):
                        await producer.start()
                except (KafkaError, OSError, TimeoutError) as error:
                    await producer.stop()
                    # Within a worker, refused credentials are an outage too: while they change, waiting is right.
                    raise BrokerOutage(str(await connection_failure(self._settings, error))) from error
                self._producer = producer
            return self._producer

    async def send(self, messages: Sequence[OutgoingMessage]) -> None:
        producer = await self._started()
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                accepted = [
                    await producer.send(
                        message.topic, key=message.key, value=message.value, headers=list(message.headers.items())
                    )
                    for message in messages
                ]
                await asyncio.gather(*accepted)
        except _REFUSED as error:
            raise MessageRefused(f"Kafka refuses a message: {type(error).__name__}: {error}") from error
        except (KafkaError, OSError, TimeoutError) as error:
            raise BrokerOutage(f"Kafka did not accept a message: {error}") from error

    async def check(self) -> None:
        producer = await self._started()
        try:
            async with asyncio.timeout(5):
                await producer.client.fetch_all_metadata()
        except (KafkaError, OSError, TimeoutError) as error:
            raise no_answer(error) from error
        if not producer.client.cluster.brokers():
            raise BrokerOutage("no Kafka broker answers")

    async def close(self) -> None:
        """Flush and disconnect."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None
