"""Posts an alert to a URL: as plain JSON, or as Slack, Discord or ntfy want it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.response import BaseHTTPResponse

from gputrain.engine.alerts.alert import Alert
from gputrain.engine.alerts.alert_settings import Webhook
from gputrain.engine.common import http_pool

_TIMEOUT = urllib3.Timeout(connect=10.0, read=20.0)
_LONGEST_WAIT = 60.0
_OTHER_HOST = 62
"""OpenSSL's code for a certificate whose name is not that of the server."""
_LIMITS = {"slack": 3000, "discord": 1900, "ntfy": 3500}
"""Most characters of a message in each service."""


class DeliveryError(Exception):
    """An alert was not delivered; the text holds no address and no secret."""


class _Retries(urllib3.Retry):
    """Respects ``Retry-After``, up to `_LONGEST_WAIT`: a service may ask for hours, in which no other alert is sent."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """Seconds to wait, None without a header that can be read. Raises DeliveryError if they are too many."""
        try:
            seconds = super().get_retry_after(response)
        except InvalidHeader:
            return None
        if seconds is not None and seconds > _LONGEST_WAIT:
            raise DeliveryError(f"HTTP {response.status}: it asks to wait {seconds:.0f} s")
        return seconds


_RETRIES = _Retries(
    total=5,
    backoff_factor=1.0,  # 0, 2, 4, 8, 16 s
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,
    redirect=False,  # a redirect would carry the alert, and its headers, elsewhere
    raise_on_status=False,
)


def post(webhook: Webhook, alert: Alert, retries: urllib3.Retry = _RETRIES) -> None:
    """Post `alert`. Raises DeliveryError after the last try."""
    body, headers = payload(webhook.format, alert)
    try:
        with http_pool.pool_for(webhook.url) as pool:
            answer = pool.request(
                "POST",
                webhook.url,
                body=body,
                headers={**headers, **webhook.headers},
                retries=retries,
                timeout=_TIMEOUT,
                # The answer is not needed, and may be endless.
                preload_content=False,
            )
            status = answer.status
            answer.close()
    except (HTTPError, ValueError, UnicodeError) as error:
        raise DeliveryError(_cause(getattr(error, "reason", None) or error)) from None
    if 300 <= status < 400:
        raise DeliveryError(f"HTTP {status}: redirects are not followed; use the address that it leads to")
    if not 200 <= status < 300:
        raise DeliveryError(f"HTTP {status}")


def _cause(error: Exception) -> str:
    """Why there was no answer, without the address, which most texts of errors hold."""
    inner = error.args[0] if error.args else None
    if isinstance(inner, ssl.SSLCertVerificationError):
        other = inner.verify_code == _OTHER_HOST
        return f"its certificate is {'for another host' if other else f'not trusted: {inner.verify_message}'}"
    return f"no connection ({type(error).__name__})"


def payload(form: str, alert: Alert) -> tuple[bytes, Mapping[str, str]]:
    """Body and headers of the request."""
    if form == "json":
        return msgspec.json.encode(alert), {"Content-Type": "application/json"}
    text = f"{alert.title}\n{alert.text}"[: _LIMITS[form]]
    if form == "ntfy":
        # Title in the body: header values are Latin-1.
        headers = {"Tags": "rotating_light" if alert.is_bad else "chart_with_upwards_trend"}
        return text.encode(), {**headers, "Priority": "high" if alert.is_bad else "default"}
    # Neither mentions people nor formats what a run's name or error holds.
    fields: dict[str, Any]
    if form == "slack":
        safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        fields = {"text": safe, "mrkdwn": False}
    else:
        fields = {"content": text, "allowed_mentions": {"parse": []}}
    return msgspec.json.encode(fields), {"Content-Type": "application/json"}
