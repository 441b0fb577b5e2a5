"""Where a file may be written: looked at before long work, and again before writing."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def file_target(path: str | Path) -> Path:
    """The file that a path means, links followed.

    Files appear whole by taking the place of whatever has their name, so that only an ordinary file, or
    nothing, may be there: replacing a device such as `/dev/null` would destroy it for everybody.

    Raises:
        OSError: the path is a folder, a device or a pipe, or lies in no folder that can be written to.
    """
    target = Path(path).resolve()
    if target.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; name a file in it")
    if target.exists() and not target.is_file():
        raise FileExistsError(f"{path}: is a device or a pipe, which is not replaced; name an ordinary file")
    folder = next(parent for parent in target.parents if parent.exists())
    if not folder.is_dir():
        raise NotADirectoryError(f"{path}: {folder} is not a folder; choose another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{path}: the folder {folder} cannot be written to; choose another place")
    return target


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A stream whose content takes the place of the file as a whole when the block ends, or never.

    Until then it has a name of its own in the same folder, so that several writers of one file do not meet:
    the last one to end wins. If the block raises, the old file stays and nothing else.

    Raises:
        OSError: as `file_target`, or the folder does not exist, or the disk is full; it names the path.
    """
    target = file_target(path)
    fresh = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}.part")
    try:
        with fresh.open("xb") as stream:
            yield stream
        fresh.replace(target)
    except BaseException as error:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        # A full disk names no file, and nobody knows the name that the part has.
        if isinstance(error, OSError) and error.strerror and error.filename in (None, str(fresh)):
            error.filename = str(path)
        raise


def keep_apart(outputs: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Refuse, before the work, files that cannot be written, or that would replace an input or one another.

    Raises:
        OSError: as `file_target`, or two of the paths mean the same file.
    """
    taken = {path.resolve(): path for path in inputs if path is not None}
    for output in (path for path in outputs if path is not None):
        target = file_target(output)
        if target in taken:
            raise FileExistsError(
                f"{output}: would overwrite {taken[target]}, which is another file of this call; choose "
                "another name"
            )
        taken[target] = output
