"""Which columns of a Parquet or Arrow file hold images and labels: Hugging Face's layout or plain types. By pyarrow."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from gputrain.engine.common.errors import BadInput
from gputrain.engine.common.sanitize import plain
from gputrain.engine.datasets.folder_layouts import shown
from gputrain.engine.datasets.record_files.found_images import LABEL_NAMES
from gputrain.engine.datasets.shard_formats.tar_samples import AUTO

INSTALL = "pip install 'gputrain-tui[parquet]'"
_BYTES = "bytes"
"""The field of Hugging Face's struct that holds the file."""


class Columns(NamedTuple):
    """The columns of a file."""

    image: str
    """Path of the images' leaf column: ``image.bytes``."""
    label: str
    classes: list[str]
    """Names of the classes, if the schema has them."""


def pyarrow_parquet() -> Any:
    """The module pyarrow.parquet. Raises BadInput with the remedy if it is not installed."""
    try:
        import pyarrow.parquet as found
    except ImportError as error:
        raise BadInput(f"dataset=parquet needs pyarrow ({plain(str(error), 100)}): {INSTALL}") from None
    return found


def columns_of(path: str, schema: Any, image_key: str, label_key: str) -> Columns:
    """The columns of a file with this Arrow schema. Raises BadInput with the columns that there are."""
    features = _features(schema)
    image = _image(path, schema, features, image_key)
    label = _label(path, schema, features, label_key)
    names = features.get(label, {}).get("names") or []
    if isinstance(names, dict):  # older versions of datasets: number → name
        names = [names[key] for key in sorted(names, key=int)]
    return Columns(image, label, [str(name) for name in names])


def image_of(path: str, schema: Any, image_key: str) -> str:
    """The path of the images' leaf column alone. Raises BadInput."""
    return _image(path, schema, _features(schema), image_key)


def _features(schema: Any) -> dict[str, Any]:
    """The features that the library datasets wrote into the schema."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {name: feature for name, feature in found.items() if isinstance(feature, dict)}


def _image(path: str, schema: Any, features: dict[str, Any], wanted: str) -> str:
    found = [field.name for field in schema if _holds_bytes(field.type)]
    if wanted != AUTO:
        if wanted not in found:
            raise _fault(path, schema, f"has no column '{plain(wanted, 60)}' of images", "image_key")
        return _leaf(schema, wanted)
    named = [name for name in found if features.get(name, {}).get("_type") == "Image"] or found
    if len(named) != 1:
        has = "no column of images" if not named else f"{len(named)} columns of images"
        raise _fault(path, schema, f"has {has}", "image_key")
    return _leaf(schema, named[0])


def _leaf(schema: Any, name: str) -> str:
    import pyarrow as pa

    return f"{name}.{_BYTES}" if pa.types.is_struct(schema.field(name).type) else name


def _holds_bytes(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(kind.field(place).name == _BYTES for place in range(kind.num_fields)) and _holds_bytes(
            kind.field(_BYTES).type
        )
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _label(path: str, schema: Any, features: dict[str, Any], wanted: str) -> str:
    if wanted != AUTO:
        if wanted not in schema.names:
            raise _fault(path, schema, f"has no column '{plain(wanted, 60)}'", "label_key")
        return wanted
    named = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    if len(named) > 1:
        raise _fault(path, schema, f"has {len(named)} columns of classes", "label_key")
    found = named or [name for name in LABEL_NAMES if name in schema.names]
    if not found:
        raise _fault(path, schema, "has no column of classes", "label_key")
    return str(found[0])


def class_labels(path: str, column: Any, first: int, name: str, classes: int) -> list[int | str]:
    """The labels in the column `name`, whose first row is `first`. `classes` is the number of names in the schema.

    Raises BadInput for a row without one.
    """
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise BadInput(f"{shown(path)}: '{plain(name, 60)}' has {kind}, no class numbers or names; label_key=NAME")
    found: list[int | str] = column.to_pylist()
    for row, value in enumerate(found, first):
        if value is None or value == "" or (isinstance(value, int) and not 0 <= value < (classes or 1 << 24)):
            what = "no class" if value is None or value == "" else f"class {value}, of {classes or 'at least 0'}"
            raise BadInput(
                f"{shown(path)}: row {row} has {what} in '{plain(name, 60)}'; unlabelled splits cannot be used"
            )
    return found


def _fault(path: str, schema: Any, what: str, setting: str) -> BadInput:
    has = ", ".join(f"{plain(field.name, 40)} ({plain(str(field.type), 60)})" for field in list(schema)[:12])
    return BadInput(f"{shown(path)} {what}; it has {has}; {setting} names the column: {setting}=NAME")
