"""URLs of data in object stores and on web servers: which are read, and as texts without secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gputrain.engine.common import files, hugging_face_names
from gputrain.engine.common.errors import BadInput

WEB = ("http", "https")
"""Read over HTTP itself."""
PROTOCOLS = (*WEB, "s3", "gs", "hf")
QUERY_VARIABLE = "GPUTRAIN_DATA_QUERY"
"""Environment variable with the query string of signed URLs: it is stored nowhere."""
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://")
_IN_TEXT = re.compile(r"([a-z][a-z0-9+.-]*://)(?:[^\s/'\"@]*@)?([^\s?#'\"]*)(?:[?#][^\s'\"]*)?", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Whether `text` begins as a URL does."""
    return _URL.match(text) is not None


def is_path(text: str) -> bool:
    """Whether `text`, a value of `data_dir`, is a path: no URL, and no name of a data set of Hugging Face."""
    return not is_url(text) and not hugging_face_names.is_hub_name(text)


def without_secrets(text: str) -> str:
    """`text` with user names, passwords, query strings and fragments removed from the URLs in it."""
    return _IN_TEXT.sub(r"\1\2", text)


def checked(text: str) -> str:
    """`text`, a path, URL or name of data. Raises BadInput for an unknown protocol, a URL with a secret, a bad name."""
    if hugging_face_names.is_hub_name(text):
        hugging_face_names.parse(text)
        return text
    if not is_url(text):
        return text
    parts = urlsplit(text)
    if parts.scheme not in PROTOCOLS:
        raise BadInput(
            f"data_dir: {parts.scheme}:// is unknown; {', '.join(f'{name}://' for name in PROTOCOLS)} are read"
        )
    shown = without_secrets(text)
    if "@" in parts.netloc and parts.scheme in WEB:
        raise BadInput(f"data_dir: {shown} holds a user name or password, which the run would store; remove it")
    if parts.query or parts.fragment:
        raise BadInput(
            f"data_dir: {shown} has a query string, which the run would store; if it is a signature, put it into the "
            f"environment variable {QUERY_VARIABLE}"
        )
    return text.rstrip("/")


def checked_setting(value: Any) -> Any:
    """The same for a value of any type, as the settings are parsed."""
    return checked(value) if isinstance(value, str) else value


def absolute(text: str) -> str:
    """`text` as an absolute path, or the URL or name that it is. Raises BadInput."""
    return str(files.expand_user(text).absolute()) if is_path(text) else checked(text)


def local_folder(data_dir: str) -> Path:
    """The folder whose disk serves `data_dir`: of a URL, that of the cache of shards; of a name, that of `datasets`.

    Raises BadInput.
    """
    if hugging_face_names.is_hub_name(data_dir):
        return hugging_face_names.cache_folder()
    return shard_cache_home() if is_url(data_dir) else Path(data_dir)


def shard_cache_home() -> Path:
    """The folder of the shards that are kept of remote data. Raises BadInput."""
    return files.cache_home() / "remote-shards"
