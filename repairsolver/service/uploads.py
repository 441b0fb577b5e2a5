"""Submissions: files into a folder under names of ours, options into their class, before there is a job."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import HTTPException
from pydantic import ValidationError

from repairsolver.service.folder import sync, write_file
from repairsolver.service.kinds.kind import Kind, Slot
from repairsolver.service.store import new_name, question

MOST_OPTIONS, MOST_NAME = 64 * 1024, 200
BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded file, as the form has it."""

    name: str
    content: BinaryIO


@dataclass(frozen=True, slots=True)
class Submission:
    """A question that waits to become a job.

    Args:
        name: of the job, and of its folder.
        digest: what identical submissions share.
        request: what the job's process reads.
    """

    name: str
    digest: str
    request: dict[str, Any]


def parse_options(kind: Kind, text: str, longest: float) -> dict[str, Any]:
    """The options of a job as plain values, defaults filled in.

    Raises:
        HTTPException: 422, with every wrong option.
    """
    if len(text) > MOST_OPTIONS:
        raise HTTPException(422, f"options: more than {MOST_OPTIONS} characters")
    try:
        given = json.loads(text or "{}")
        options = kind.options.model_validate(given)
    except ValidationError as error:
        raise HTTPException(422, "; ".join(_told(kind, error))) from error
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, f"options: not JSON: {error}") from error
    if options.seconds > longest:
        raise HTTPException(422, f"seconds: at most {longest:g} on this server")
    return options.model_dump(mode="json")


def _told(kind: Kind, error: ValidationError) -> Iterator[str]:
    """Every wrong option, and the names that there are where one is unknown."""
    unknown = False
    for wrong in error.errors():
        strange = wrong["type"] == "extra_forbidden"
        unknown |= strange
        what = f"no such option of {kind.name!r}" if strange else wrong["msg"]
        yield f"{'.'.join(map(str, wrong['loc'])) or 'options'}: {what}"
    if unknown:
        yield f"options are {', '.join(sorted(kind.options.model_fields))}"


def receive(
    kind: Kind, options: Mapping[str, Any], uploads: Mapping[str, Sequence[Upload]], folder: Path
) -> Submission:
    """Store a submission in a folder of its own inside `folder`.

    Raises:
        HTTPException: 422, files are missing, too many, or of the wrong type.
        OSError: the disk is full; nothing is left of the submission then.
    """
    _check(kind, uploads)
    name = new_name()
    target = folder / name
    (target / "inputs").mkdir(parents=True, mode=0o700)
    try:
        stored = {
            slot.name: [
                _store(slot, number, upload, target / "inputs")
                for number, upload in enumerate(uploads.get(slot.name, ()), start=1)
            ]
            for slot in kind.slots
        }
        hashes = {slot: [file["sha256"] for file in files] for slot, files in stored.items()}
        request = {"kind": kind.name, "options": dict(options), "files": stored}
        write_file(target / "request.json", json.dumps(request).encode())
        sync(target / "inputs")
        sync(target)
    except OSError:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return Submission(name, question(kind.name, hashes, options), request)


def ending_of(slot: Slot, name: str) -> str | None:
    """The ending under which a file is stored, if a slot takes files of this name."""
    found = [ending for ending in slot.endings if name.lower().endswith(ending)]
    return max(found, key=len) if found else None


def _check(kind: Kind, uploads: Mapping[str, Sequence[Upload]]) -> None:
    wrong = [
        f"{name}: no such file of a {kind.name} job"
        for name in uploads
        if name not in {s.name for s in kind.slots}
    ]
    for slot in kind.slots:
        files = uploads.get(slot.name, ())
        if slot.required and not files:
            wrong.append(f"{slot.name}: a file is needed ({', '.join(slot.endings)})")
        if len(files) > slot.most:
            wrong.append(f"{slot.name}: at most {slot.most}, got {len(files)}")
        wrong += [
            f"{slot.name}: expected a file that ends in {', '.join(slot.endings)}, got {shown(upload.name)!r}"
            for upload in files
            if ending_of(slot, upload.name) is None
        ]
    if wrong:
        raise HTTPException(422, "; ".join(wrong))


def shown(name: str) -> str:
    """A name of theirs, for people: without folders and what cannot be printed, and short."""
    plain = "".join(sign for sign in name.replace("\\", "/").rpartition("/")[2] if sign.isprintable())
    return plain[-MOST_NAME:] or "file"


def _store(slot: Slot, number: int, upload: Upload, folder: Path) -> dict[str, Any]:
    """Copy one file under a name of ours; what it is called and what it holds."""
    ending = ending_of(slot, upload.name)
    assert ending is not None
    stored = f"{slot.name}{'' if slot.most == 1 else f'-{number}'}{ending}"
    digest, size = hashlib.sha256(), 0
    with (folder / stored).open("xb") as file:
        while block := upload.content.read(BLOCK):
            digest.update(block)
            size += len(block)
            file.write(block)
    return {"name": shown(upload.name), "stored": stored, "sha256": digest.hexdigest(), "size": size}
