"""The exceptions that Twinlens raises on purpose: this tree, and that of pictures in ``imaging.errors``.

TwinlensError
├── Outage                    infrastructure is away or busy: wait and try again
│   ├── ObjectStoreOutage     the server, or one answer of it: ``streams.common.scope`` finds out how far it reaches
│   │   └── BucketOutage      one bucket, gone or denied: an unmounted volume must never look like a delete
│   ├── CatalogOutage
│   │   └── CatalogContention  a deadlock or lock time-out: the transaction is run again, nothing is down
│   ├── VectorIndexOutage
│   ├── BrokerOutage
│   └── InferenceOutage       the network does not compute any more: a new process loads it anew
├── Rejection                 a fact about one object: recorded, never retried by itself
│   └── ObjectTooLarge
├── ObjectUnreadable          a fact about one object, too: recorded, and looked at again on a schedule
├── MalformedMessage          a message that can't be understood: a dead letter
├── MessageRefused            a message of ours that the broker will never accept: a dead letter, too
├── PreconditionFailed        a conditional PUT lost to another writer
├── RefusedUrl                a URL that the guard does not fetch
├── RequestRefused            a producer's request that can't be carried out
├── ModelsChanged             a worker goes by models that are not those which are served any more: start it again
└── ConfigurationError        the operator has to change something before this can run
    └── ModelError            of ``imaging.errors``, too

``imaging.errors.ImagingError`` is the root of another tree, which knows nothing of objects and servers. Its
``UndecodableImage`` is to a content what ``Rejection`` is to an object, and handlers name both. Commands and the
embedded stack have leaves of their own, beside what they do.
"""

from typing import Final

TIMEOUT: Final = "Timeout"
"""The ``code`` of an ObjectStoreOutage where the server has accepted a request and does not answer it."""


class TwinlensError(Exception):
    """The root of the tree; ``retryable`` says whether waiting can help."""

    retryable = False


class Outage(TwinlensError):
    """A dependency does not answer as it should; the same call may succeed later."""

    retryable = True
    dependency = "dependency"


class ObjectStoreOutage(Outage):
    """The object store did not do what it was asked for: unreachable, 5xx, refused, a bucket that is not there.

    ``code`` is the server's name for it, or ours. ``definite`` says that the server has understood and refused (4xx):
    the same question at once would get the same answer.
    """

    dependency = "objects"

    def __init__(self, text: str, *, code: str = "Unknown", definite: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.definite = definite


class BucketOutage(ObjectStoreOutage):
    """The server answers, and says that a bucket is gone, or that we have no rights to it."""

    def __init__(self, text: str, *, bucket: str) -> None:
        super().__init__(text)
        self.bucket = bucket
        self.dependency = f"bucket:{bucket}"


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
    """Something about an object that makes it unfit for the index; of its picture, see ``imaging.errors``.

    ``reason`` is a stable slug for programs; ``str(error)`` is a sentence for people.
    """

    reason = "rejected"


class ObjectTooLarge(Rejection):
    """The object has more bytes than ``limits.max_object_bytes``."""

    reason = "too_many_bytes"


class ObjectUnreadable(TwinlensError):
    """The server answers about the bucket, but not about this object; ``code`` is its name for the reason, or ours."""

    def __init__(self, text: str, *, code: str) -> None:
        super().__init__(text)
        self.code = code


class MalformedMessage(TwinlensError):
    """The bytes of a Kafka message do not hold what its topic promises."""


class MessageRefused(TwinlensError):
    """The broker will never accept this message: it is too large for its topic, or against its policy."""


class PreconditionFailed(TwinlensError):
    """A conditional PUT found another object than the one it expected."""


class RefusedUrl(TwinlensError):
    """The URL, or an address it leads to, is one that Twinlens does not fetch."""


class RequestRefused(TwinlensError):
    """A request was understood but can't be carried out; the text says why."""


class ModelsChanged(TwinlensError):
    """Which models are served has changed since this worker found out: a new process does what there is to do."""


class ConfigurationError(TwinlensError):
    """The settings and the world do not fit together; the text says what to change."""
