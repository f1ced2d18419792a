"""``python -P -m gputrain.engine.training.cachebuild``: fills the caches of a configuration's images. See `caches`."""

from __future__ import annotations

from gputrain.engine.caches import BuildOrder, BuiltCaches
from gputrain.engine.childwork import Tell
from gputrain.engine.errors import BadInput
from gputrain.engine.training.childentry import serve
from gputrain.engine.training.control import Control
from gputrain.engine.training.reporter import Reporter

_BAD_NAMED = 20


def _work(order: BuildOrder, reporter: Reporter, control: Control, tell: Tell) -> BuiltCaches:
    from gputrain.engine.training import data
    from gputrain.engine.training.cache import Built, build_cache
    from gputrain.engine.training.images import ImageSet

    images = data.prepare(order.config, reporter, control)
    built: list[Built] = []
    for split, name in ((images.train, "training"), (images.val, "validation")):
        if split is None:
            continue
        if not isinstance(split, ImageSet) or split.pixels is not None or split.own is not None:
            raise BadInput("these data are not read from image files: there is nothing to cache")

        def progress(done: int, total: int, name: str = name) -> None:
            control.raise_if_stopped()
            tell(f"{name} images: {done} of {total}")

        built.append(build_cache(split, order.config, progress, train=split is images.train))
    return BuiltCaches(
        folders=tuple(str(one.folder) for one in built),
        images=sum(one.images for one in built),
        bytes=sum(one.used_bytes for one in built),
        bad=tuple(reason for one in built for reason in one.bad)[:_BAD_NAMED],
        notes=tuple(one.note for one in built),
    )


if __name__ == "__main__":
    serve(BuildOrder, _work)
