"""HTTP connections through the proxy of the environment."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

# Its warnings about retries hold the address, which may hold a secret.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)


_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def pool_for(url: str, **options: Any) -> urllib3.PoolManager:
    """Connections to `url`: through HTTPS_PROXY or HTTP_PROXY, except to this machine and the hosts in NO_PROXY.

    Raises ValueError.
    """
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme, "")
    if not proxy or parts.hostname in _THIS_MACHINE or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return urllib3.PoolManager(**options)
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    user = urllib3.util.parse_url(proxy).auth
    headers = urllib3.make_headers(proxy_basic_auth=unquote(user)) if user else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
