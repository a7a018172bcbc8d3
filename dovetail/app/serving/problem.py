"""What is wrong with a request, in the form that clients of OpenAI's API expect."""

from __future__ import annotations

from typing import Any

from dovetail.core.errors import DovetailError

INVALID, AUTHENTICATION, RATE, SERVER = (
    "invalid_request_error", "authentication_error", "rate_limit_error", "server_error",
)  # fmt: skip
_KINDS = {401: AUTHENTICATION, 429: RATE}


class ApiError(Exception):
    """A refusal with its HTTP status.

    Parameters
    ----------
    status : int
    message : str
    param : str or None
        The field of the request concerned.
    code : str or None
        A name for the problem that programs can rely on.
    """

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object of an answer."""
        kind = _KINDS.get(self.status, SERVER if self.status >= 500 else INVALID)
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        found = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}, 503: {"Retry-After": "5"}}
        return found.get(self.status, {})


def of_error(error: DovetailError, *, param: str | None = None, code: str | None = None) -> ApiError:
    """A refusal of ours as one of a request: 400."""
    return ApiError(400, str(error), param=param, code=code)
