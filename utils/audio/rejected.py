"""The one exception by which a clip is refused."""


class AudioRejected(Exception):
    """This clip can't be published; `reason` is one of the codes of `RejectReason`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
