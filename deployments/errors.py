"""Everything that can go wrong with a request, as one tree. Each class knows its HTTP status and its code.

::

    TuwenError                       500 internal
    ├── RequestError                 400 invalid_request        the caller's request is wrong
    │   ├── Unauthorized             401 unauthorized
    │   ├── NotFound                 404 not_found
    │   ├── HostNotAllowed           403 host_not_allowed
    │   ├── OriginNotAllowed         403 origin_not_allowed
    │   ├── MethodNotAllowed         405 method_not_allowed
    │   ├── BodyTooSlow              408 body_too_slow
    │   ├── BodyTooLarge             413 body_too_large
    │   ├── TooManyUploads           429 too_many_uploads
    │   ├── HeadersTooLarge          431 headers_too_large
    │   ├── UnsupportedMediaType     415 unsupported_media_type
    │   ├── UnsupportedParameter     400 unsupported_parameter
    │   ├── QuestionEmpty            400 question_empty
    │   ├── QuestionTooLong          400 question_too_long
    │   └── ImageError               400 image_invalid          the picture is missing or cannot be used
    │       ├── ImageMissing         400 image_missing
    │       ├── TooManyImages        400 too_many_images
    │       ├── ImageUrlError        400 image_url_invalid      the picture's address cannot be used
    │       │   ├── UnsupportedScheme  400 unsupported_scheme
    │       │   ├── PortNotAllowed     400 port_not_allowed
    │       │   ├── CredentialsInUrl   400 credentials_in_url
    │       │   ├── BlockedAddress     400 blocked_address
    │       │   └── TooManyRedirects   400 too_many_redirects
    │       ├── FetchFailed          422 fetch_failed           the address is fine, its server is not
    │       │   └── TlsFailed          422 tls_failed
    │       ├── ImageTooLarge        413 image_too_large
    │       ├── ImageEncoding        400 image_encoding
    │       ├── NotAnImage           415 not_an_image
    │       ├── UnsupportedFormat    415 unsupported_format
    │       ├── ImageTruncated       422 image_truncated
    │       ├── ImageShape           422 image_shape
    │       ├── TooManyPixels        413 too_many_pixels
    │       ├── ImageTooCostly       422 image_too_costly       decoding took too long, too much, or crashed
    │       └── ImageBlocked         422 image_blocked          the safety filter's verdict
    └── ServiceError                 500 internal               the request was fine, we could not answer it
        ├── EmptyAnswer              502 empty_answer
        ├── Unavailable              503 unavailable
        ├── Overloaded               429 overloaded
        ├── SafetyUnavailable        503 safety_unavailable
        └── DeadlineExceeded         504 deadline_exceeded
            └── FetchTimeout           504 fetch_timeout

The codes are part of the HTTP contract. A message says what to do. Raised where the fault is found and turned into a
response in one place (``ingress/http/app.py``). Between deployments an error travels as a returned value, so that a
caller's mistake is not logged and counted there as a failure of ours.
"""

from typing import ClassVar

from deployments.contract import Load


class TuwenError(Exception):
    """Base of all. ``message`` is for the caller and must not tell what only the operator may know."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s)
        self.message = message
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message


def tree(kind: type[TuwenError] = TuwenError) -> list[type[TuwenError]]:
    """Every class of the tree below, parents first."""
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


class RequestError(TuwenError):
    status, code = 400, "invalid_request"


class Unauthorized(RequestError):
    status, code = 401, "unauthorized"


class NotFound(RequestError):
    status, code = 404, "not_found"


class HostNotAllowed(RequestError):
    status, code = 403, "host_not_allowed"


class OriginNotAllowed(RequestError):
    status, code = 403, "origin_not_allowed"


class MethodNotAllowed(RequestError):
    status, code = 405, "method_not_allowed"


class BodyTooSlow(RequestError):
    status, code = 408, "body_too_slow"


class BodyTooLarge(RequestError):
    status, code = 413, "body_too_large"


class TooManyUploads(RequestError):
    status, code = 429, "too_many_uploads"


class HeadersTooLarge(RequestError):
    status, code = 431, "headers_too_large"


class UnsupportedMediaType(RequestError):
    status, code = 415, "unsupported_media_type"


class UnsupportedParameter(RequestError):
    code = "unsupported_parameter"


class QuestionEmpty(RequestError):
    code = "question_empty"


class QuestionTooLong(RequestError):
    code = "question_too_long"


class ImageError(RequestError):
    code = "image_invalid"


class ImageMissing(ImageError):
    code = "image_missing"


class TooManyImages(ImageError):
    code = "too_many_images"


class ImageUrlError(ImageError):
    code = "image_url_invalid"


class UnsupportedScheme(ImageUrlError):
    code = "unsupported_scheme"


class PortNotAllowed(ImageUrlError):
    code = "port_not_allowed"


class CredentialsInUrl(ImageUrlError):
    code = "credentials_in_url"


class BlockedAddress(ImageUrlError):
    code = "blocked_address"


class TooManyRedirects(ImageUrlError):
    code = "too_many_redirects"


class FetchFailed(ImageError):
    status, code = 422, "fetch_failed"


class TlsFailed(FetchFailed):
    code = "tls_failed"


class ImageTooLarge(ImageError):
    status, code = 413, "image_too_large"


class ImageEncoding(ImageError):
    code = "image_encoding"


class NotAnImage(ImageError):
    status, code = 415, "not_an_image"


class UnsupportedFormat(ImageError):
    status, code = 415, "unsupported_format"


class ImageTruncated(ImageError):
    status, code = 422, "image_truncated"


class ImageShape(ImageError):
    status, code = 422, "image_shape"


class TooManyPixels(ImageError):
    status, code = 413, "too_many_pixels"


class ImageTooCostly(ImageError):
    status, code = 422, "image_too_costly"


class ImageBlocked(ImageError):
    status, code = 422, "image_blocked"


class ServiceError(TuwenError):
    pass


class EmptyAnswer(ServiceError):
    status, code = 502, "empty_answer"


class Unavailable(ServiceError):
    status, code = 503, "unavailable"


class Overloaded(ServiceError):
    """``load`` is that of the model replica that refused, where one did."""

    status, code = 429, "overloaded"
    load: Load | None = None


class SafetyUnavailable(ServiceError):
    status, code = 503, "safety_unavailable"


class DeadlineExceeded(ServiceError):
    status, code = 504, "deadline_exceeded"


class FetchTimeout(DeadlineExceeded):
    code = "fetch_timeout"
