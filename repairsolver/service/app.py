"""The HTTP interface, as an application that any ASGI server runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.middleware.trustedhost import TrustedHostMiddleware

from repairsolver import __version__
from repairsolver.report.style import style_hash
from repairsolver.service.answers import errors_of, events_answer, file_answer, full_disk
from repairsolver.service.describe import body_of, kinds_record
from repairsolver.service.desk import Desk
from repairsolver.service.events import stream
from repairsolver.service.kinds import KINDS
from repairsolver.service.kinds.kind import Kind
from repairsolver.service.records import JobPage, JobRecord, job_record
from repairsolver.service.security import Guard
from repairsolver.service.settings import Settings
from repairsolver.service.store import State
from repairsolver.service.uploads import Upload, parse_options, receive

WEB = Path(__file__).parent / "web"
MOST_FILES, MOST_FIELDS = 64, 8


def create_app(settings: Settings) -> FastAPI:
    """The application; its jobs run between the start and the end of its lifespan.

    Raises:
        ServiceError: another server uses the folder of the data.
    """
    desk = Desk(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        desk.start()
        yield
        await run_in_threadpool(desk.stop)

    app = FastAPI(
        title="repairsolver",
        version=__version__,
        description="Verify neural networks and repair them, minimally and with proof: jobs with files.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.desk = desk
    app.add_middleware(Guard, token=settings.token, most=settings.upload, style=style_hash())
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.hosts, www_redirect=False)
    app.add_exception_handler(OSError, full_disk)
    app.add_exception_handler(OperationalError, full_disk)
    _add_routes(app, desk)
    for kind in KINDS.values():
        app.add_api_route(
            f"/api/jobs/{kind.name}",
            _submission(desk, kind),
            methods=["POST"],
            status_code=201,
            response_model=JobRecord,
            summary=f"Submit: {kind.title}",
            description=kind.about,
            operation_id=f"submit_{kind.name}",
            openapi_extra=body_of(kind),
            responses={
                200: {"model": JobRecord, "description": "The same was asked before"},
                **errors_of(400, 413, 422, 429, 507),
            },
        )
    app.mount("/", StaticFiles(directory=WEB, html=True), name="web")
    return app


def _submission(desk: Desk, kind: Kind) -> Callable[..., Coroutine[Any, Any, Response]]:
    async def submit(
        request: Request, fresh: bool = Query(False, description="Run it even if it was asked before.")
    ) -> Response:
        if desk.store.count([State.QUEUED]) >= desk.settings.waiting:
            raise HTTPException(429, f"{desk.settings.waiting} jobs wait already; try again later")
        async with request.form(max_files=MOST_FILES, max_fields=MOST_FIELDS) as form:
            uploads: dict[str, list[Upload]] = {}
            text = ""
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    uploads.setdefault(name, []).append(Upload(value.filename or "", value.file))
                elif name == "options":
                    text = value
                else:
                    raise HTTPException(422, f"{name[:100]}: no such field; files need a file name")
            options = parse_options(kind, text, desk.settings.longest)
            made = await run_in_threadpool(receive, kind, options, uploads, desk.incoming)
        row, new = await run_in_threadpool(desk.submit, made, fresh)
        record = job_record(row, desk.folder(row["id"])) | {"duplicate": not new}
        return JSONResponse(record, 201 if new else 200)

    return submit


def _add_routes(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/health", summary="Is the server there?", tags=["server"])
    def health() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    @app.get("/api/kinds", summary="What can be asked", tags=["server"], responses=errors_of(401))
    def kinds() -> list[dict[str, Any]]:
        return kinds_record(desk.settings)

    @app.get("/api/jobs", summary="Jobs, the newest first", response_model=JobPage, responses=errors_of(401))
    def jobs(
        state: State | None = None,
        before: int | None = Query(None, ge=0, le=2**62, description="Only jobs with a smaller number."),
        most: int = Query(50, ge=1, le=200),
    ) -> dict[str, Any]:
        rows = desk.store.page(state=state, before=before, most=most)
        counts = {each.value: desk.store.count([each]) for each in State}
        return {"jobs": [job_record(row, desk.folder(row["id"])) for row in rows], "counts": counts}

    @app.get("/api/jobs/{job}", summary="A job", response_model=JobRecord, responses=errors_of(401, 404))
    async def one(job: str) -> Response:
        return JSONResponse(await desk.read(lambda: job_record(desk.known(job), desk.folder(job))))

    @app.post(
        "/api/jobs/{job}/cancel", summary="End a job", response_model=JobRecord, responses=errors_of(401, 404)
    )
    def cancel(job: str) -> dict[str, Any]:
        desk.known(job)
        row = desk.store.cancel(job)
        desk.dispatcher.wake()
        return job_record(row or desk.known(job), desk.folder(job))

    @app.delete(
        "/api/jobs/{job}",
        summary="Delete a job that has ended",
        status_code=204,
        responses=errors_of(401, 404, 409),
    )
    def remove(job: str) -> None:
        desk.remove(job)

    @app.get("/api/jobs/{job}/events", summary="Progress as server-sent events", responses=events_answer())
    def events(request: Request, job: str) -> StreamingResponse:
        desk.known(job)
        last = request.headers.get("last-event-id", "0")
        start = int(last) if last.isascii() and last.isdigit() and len(last) < 16 else 0
        folder = desk.folder(job)

        def now() -> dict[str, Any] | None:
            row = desk.store.get(job)
            return None if row is None else job_record(row, folder)

        return StreamingResponse(stream(folder, now, start), media_type="text/event-stream")

    @app.get("/api/jobs/{job}/files/{name}", summary="A file that a job made", responses=file_answer())
    def file(job: str, name: str) -> FileResponse:
        desk.known(job)
        folder = desk.folder(job)
        if name not in folder.made():
            raise HTTPException(404, "the job has no such file")
        media = (
            "text/html" if name.endswith(".html") else "application/json" if name.endswith(".json") else None
        )
        return FileResponse(
            folder.results / name, filename=name, media_type=media or "application/octet-stream",
            content_disposition_type="attachment",
        )  # fmt: skip
