"""Posts an alert to a URL: as plain JSON, or as Slack, Discord or ntfy want it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import urllib3

from gputrain.engine.alerts.alert import Alert
from gputrain.engine.alerts.alert_settings import Webhook
from gputrain.engine.common import http_pool

_RETRIES = urllib3.Retry(
    total=5,
    backoff_factor=1.0,  # 0, 2, 4, 8, 16 s
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,
    redirect=False,  # a redirect would carry the alert, and its headers, elsewhere
    raise_on_status=False,
)
"""Retry-After is respected."""
_TIMEOUT = urllib3.Timeout(connect=10.0, read=20.0)
_LIMITS = {"slack": 3000, "discord": 1900, "ntfy": 3500}
"""Most characters of a message in each service."""


class DeliveryError(Exception):
    """An alert was not delivered; the text holds no address and no secret."""


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
    except (urllib3.exceptions.HTTPError, ValueError, UnicodeError) as error:
        # Its text holds the address.
        cause = getattr(error, "reason", None) or error
        raise DeliveryError(f"no connection ({type(cause).__name__})") from None
    if not 200 <= status < 300:
        raise DeliveryError(f"HTTP {status}")


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
