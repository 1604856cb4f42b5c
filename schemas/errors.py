"""Every exception that Twinlens raises on purpose, in one tree.

TwinlensError
├── Outage                    infrastructure is away or busy: wait and try again
│   ├── ObjectStoreOutage     (a missing bucket too: an unmounted volume must never look like a delete)
│   ├── CatalogOutage
│   │   └── CatalogContention (a deadlock or lock time-out: the transaction is run again, nothing is down)
│   ├── VectorIndexOutage
│   ├── BrokerOutage
│   └── InferenceOutage       the network does not compute any more: a new process loads it anew
├── Rejection                 a fact about one object or picture: recorded, never retried by itself
│   ├── ObjectTooLarge
│   └── ... imaging.errors    (undecodable pictures)
├── MalformedMessage          a message that can't be understood: a dead letter
├── PreconditionFailed        a conditional PUT lost to another writer
├── RefusedUrl                a URL that the guard does not fetch
├── RequestRefused            a producer's request that can't be carried out
└── ConfigurationError        the operator has to change something before this can run
"""


class TwinlensError(Exception):
    """The root of the tree; ``retryable`` says whether waiting can help."""

    retryable = False


class Outage(TwinlensError):
    """A dependency does not answer as it should; the same call may succeed later."""

    retryable = True
    dependency = "dependency"


class ObjectStoreOutage(Outage):
    """The object store is unreachable, answers 5xx, or a configured bucket is not there."""

    dependency = "objects"


class CatalogOutage(Outage):
    """The database is unreachable, or asked for the transaction to be run again."""

    dependency = "catalog"


class CatalogContention(CatalogOutage):
    """Two transactions met and the database chose this one to be run again. Nothing is down."""


class VectorIndexOutage(Outage):
    """Milvus is unreachable or not ready."""

    dependency = "vectors"


class BrokerOutage(Outage):
    """Kafka did not accept a message in time."""

    dependency = "broker"


class InferenceOutage(Outage):
    """The network, or the device that it runs on, does not compute any more; only a new process can load it anew."""

    dependency = "inference"


class Rejection(TwinlensError):
    """Something about an object or its picture that makes it unfit for the index.

    ``reason`` is a stable slug for programs; ``str(error)`` is a sentence for people.
    """

    reason = "rejected"


class ObjectTooLarge(Rejection):
    """The object has more bytes than ``limits.max_object_bytes``."""

    reason = "too_many_bytes"


class MalformedMessage(TwinlensError):
    """The bytes of a Kafka message do not hold what its topic promises."""


class PreconditionFailed(TwinlensError):
    """A conditional PUT found another object than the one it expected."""


class RefusedUrl(TwinlensError):
    """The URL, or an address it leads to, is one that Twinlens does not fetch."""


class RequestRefused(TwinlensError):
    """A request was understood but can't be carried out; the text says why."""


class ConfigurationError(TwinlensError):
    """The settings and the world do not fit together; the text says what to change."""
