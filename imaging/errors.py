"""Everything imaging can raise.

ImagingError
├── UndecodableImage        a fact about the bytes: the same bytes fail the same way for ever; never retried
│   ├── EmptyFile           empty
│   ├── TooManyBytes        too_many_bytes
│   ├── NotAnImage          not_an_image
│   ├── UnsupportedFormat   unsupported_format
│   ├── TooManyPixels       too_many_pixels
│   ├── Truncated           truncated
│   └── Broken              broken
├── ModelError              the configuration is wrong: no such model, no such file, the shapes don't match
└── EmbeddingError          the model gave something that is no vector: a bug or a defective model file
"""

from typing import ClassVar

from schemas.errors import ConfigurationError


class ImagingError(Exception):
    """The root of this tree."""


class UndecodableImage(ImagingError):
    """The bytes are no picture that Twinlens can look at, under the limits given.

    `reason` is a stable slug for records and metrics; `detail`, which is also `str(error)`, is one
    sentence for people. It never contains the picture's own bytes.
    """

    reason: ClassVar[str]

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class EmptyFile(UndecodableImage):
    """There are no bytes at all."""

    reason = "empty"


class TooManyBytes(UndecodableImage):
    """The file is larger than `DecodeLimits.max_bytes`."""

    reason = "too_many_bytes"


class NotAnImage(UndecodableImage):
    """The bytes are something else under a picture's name: text, HTML, an archive, a program."""

    reason = "not_an_image"


class UnsupportedFormat(UndecodableImage):
    """The bytes are a picture, of a kind that isn't decoded here (SVG, PDF, …)."""

    reason = "unsupported_format"


class TooManyPixels(UndecodableImage):
    """The picture's sides, its area or the memory that decoding it takes exceed the limits."""

    reason = "too_many_pixels"


class Truncated(UndecodableImage):
    """The file ends before the picture does."""

    reason = "truncated"


class Broken(UndecodableImage):
    """The file says that it is a picture, and can't be decoded as one."""

    reason = "broken"


class ModelError(ImagingError, ConfigurationError):
    """A model can't be used as configured. Not a matter of any picture, and not retryable."""


class EmbeddingError(ImagingError):
    """A model ran and its output is no usable vector (not finite, or of length zero)."""


_BY_REASON = {
    error.reason: error
    for error in (EmptyFile, TooManyBytes, NotAnImage, UnsupportedFormat, TooManyPixels, Truncated, Broken)
}

REASONS = frozenset(_BY_REASON)
"""Every slug that `UndecodableImage.reason` can be."""


def by_reason(reason: str, detail: str) -> UndecodableImage:
    """The error that has this slug."""
    return _BY_REASON[reason](detail)
