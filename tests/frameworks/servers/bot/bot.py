"""One bot for each server: each answers a request with the number of its release, its pid, and whether it leads."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec

from neverblink.worker import Worker, join

RELEASE = Path("release").read_text().strip() if Path("release").exists() else "0"


class Book(msgspec.Struct):
    ticks: int = 0


class Counting(Worker[Book]):
    tick = "20ms"

    def on_tick(self, tick):
        self.state.ticks += 1

    def text(self):
        return f"{RELEASE} {os.getpid()} {self.leading}"

    async def app(self, scope, receive, send):
        """An ASGI application."""
        if scope["type"] == "http":
            body = self.text().encode()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
            await send({"type": "http.response.body", "body": body})


class Aiohttp(Counting):
    async def on_start(self):
        from aiohttp import web

        app = web.Application()
        app.router.add_get("/", self.answer)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.SockSite(self.runner, self.sockets["api"]).start()

    async def on_retire(self):
        await self.runner.cleanup()

    async def answer(self, request):
        from aiohttp import web

        return web.Response(text=self.text(), headers={"Connection": "close"})


def server(**how):
    import uvicorn

    class Api(uvicorn.Server):
        def capture_signals(self):
            return contextlib.nullcontext()

    return Api(uvicorn.Config(log_config=None, **how))


class UvicornSockets(Counting):
    """uvicorn in the bot's own event loop, given the socket."""

    async def on_start(self):
        self.api = server(app=self.app, interface="asgi3", lifespan="off")
        self.serving = asyncio.create_task(self.api.serve(sockets=[self.sockets["api"]]))

    async def on_retire(self):
        self.api.should_exit = True
        await self.serving


class UvicornDescriptor(Counting):
    """uvicorn with --fd, in a thread with an event loop of its own: uvloop's."""

    def on_start(self):
        import uvloop

        assert os.environ["LISTEN_FDNAMES"] == "api"
        self.api = server(app=self.app, interface="asgi3", lifespan="off", fd=3)
        self.thread = threading.Thread(target=lambda: uvloop.run(self.api.serve()), daemon=True)
        self.thread.start()

    def on_retire(self):
        self.api.should_exit = True
        self.thread.join()


class Gunicorn(Counting):
    """gunicorn is a program of its own: it runs while the bot leads."""

    def on_lead(self, in_doubt):
        self.sockets["api"]
        options = ["--bind", "fd://3", "--graceful-timeout", "1", "--chdir", str(Path(__file__).parent)]
        self.program = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, "wsgi:app"],
            pass_fds=[3],
            env={**os.environ, "BOT": f"{RELEASE} {os.getpid()} True"},
        )

    def on_yield(self):
        self.program.terminate()
        self.program.wait()

    def on_stop(self):
        self.on_yield()


def uvicorn_loop():
    """A bot that is a loop, and uvicorn in a thread."""
    loop = join(Book, tick="20ms")

    async def app(scope, receive, send):
        body = f"{RELEASE} {os.getpid()} {leads}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": body})

    leads = True
    api = server(app=app, interface="asgi3", lifespan="off")
    threading.Thread(
        target=lambda: asyncio.run(api.serve(sockets=[loop.sockets["api"]])), daemon=True
    ).start()
    for tick in loop:
        tick.state.ticks += 1
