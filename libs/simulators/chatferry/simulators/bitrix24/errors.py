"""What the portal answers when it refuses, in one table.

PortalError          a REST call was refused: becomes the error envelope of that call
PortalDataError      a folder or an option cannot become a portal: one sentence for the person who gave it
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """HTTP status and default text of an error code; `status=None`: the auth status the portal was set to."""

    status: int | None
    description: str


REFUSALS: dict[str, Refusal] = {
    "QUERY_LIMIT_EXCEEDED": Refusal(503, "Too many requests"),
    "OPERATION_TIME_LIMIT": Refusal(429, "Method is blocked due to operation time limit."),
    "INTERNAL_SERVER_ERROR": Refusal(500, "Internal server error"),
    "OVERLOAD_LIMIT": Refusal(503, "REST API is blocked due to overload."),
    "NO_AUTH_FOUND": Refusal(401, "Wrong authorization data"),
    "INVALID_CREDENTIALS": Refusal(None, "Invalid request credentials"),
    "insufficient_scope": Refusal(None, "The request requires higher privileges than provided by the webhook token"),
    "authorization_error": Refusal(401, "Unable to authorize user"),
    "ACCESS_DENIED": Refusal(403, "Access denied!"),
    "ACCESS_ERROR": Refusal(403, "You don't have access to this chat"),
    "ERROR_METHOD_NOT_FOUND": Refusal(404, "Method not found!"),
    "ERROR_BATCH_METHOD_NOT_ALLOWED": Refusal(405, "Method is not allowed for batch usage"),
    "ERROR_BATCH_LENGTH_EXCEEDED": Refusal(400, "Max batch length exceeded"),
    "INVALID_REQUEST": Refusal(400, "Https required."),
    "ERROR_ARGUMENT": Refusal(400, "Argument is missing or wrong"),
    "DIALOG_ID_EMPTY": Refusal(400, "Dialog ID can't be empty"),
    "CHAT_ID_EMPTY": Refusal(400, "Chat ID can't be empty"),
    "INVALID_FORMAT": Refusal(400, "A wrong format for the ID field is passed"),
}


class PortalError(Exception):
    """A call is refused with `code`, which must be a key of REFUSALS."""

    def __init__(self, code: str, description: str | None = None) -> None:
        refusal = REFUSALS[code]
        self.code = code
        self.description = refusal.description if description is None else description
        super().__init__(code)

    def status(self, auth_status: int) -> int:
        """`auth_status`: 401 or 403, what this portal answers to wrong credentials and missing scopes."""
        return REFUSALS[self.code].status or auth_status


class PortalDataError(ValueError):
    """The message names the file, line or option, what is wrong there and what would be right."""
