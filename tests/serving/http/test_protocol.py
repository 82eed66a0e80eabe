"""What a caller can cost before its request is complete, on real sockets of this process."""

import asyncio
import contextlib
import logging
import resource
from functools import partial

import pytest
import uvicorn

from persona_rm.serving.http import protocol
from persona_rm.serving.http.protocol import HEADER_BYTES, LimitedProtocol, connection_limit

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
MOST = 20


async def answer(scope, receive, send):
    """Says ok, without reading the body."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def endless(scope, receive, send):
    """An answer without an end."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def served(app=answer):
    server = uvicorn.Server(
        uvicorn.Config(app, lifespan="off", log_level="warning", http=partial(LimitedProtocol, most=MOST), ws="none")
    )
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    loop = asyncio.get_running_loop()

    def made():
        return server.config.http_protocol_class(
            config=server.config, server_state=server.server_state, app_state={}, _loop=loop
        )

    listening = await loop.create_server(made, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname(), server.server_state.connections
    finally:
        listening.close()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


async def status(address, sent=GET):
    reader, writer = await asyncio.open_connection(*address[:2])
    try:
        writer.write(sent)
        return await asyncio.wait_for(reader.readline(), 10)
    except ConnectionError:
        return b"closed"
    finally:
        writer.close()


def run(work):
    return asyncio.run(asyncio.wait_for(work, 30))


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(protocol, "SEND_SECONDS", 0.3)


@pytest.mark.parametrize(
    "sent",
    [[], [b"G"], [b"GET /health HTTP/1.1\r\nHost: local"], [GET, GET[:20]], [b"\r\n"]],
    ids=["silent", "a letter", "half", "second", "line"],
)
def test_headers_that_are_not_complete_in_time_end_the_connection(impatient, sent):
    async def work():
        async with served() as (address, connections):
            reader, writer = await asyncio.open_connection(*address[:2])
            for part in sent:
                writer.write(part)
                await asyncio.sleep(0.05)
            said = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            assert (GET in sent) == (b"200 OK" in said)
            assert (b"408" in said) == (sent != [])
            assert not connections

    run(work())


def test_headers_that_come_one_byte_at_a_time_do_not_get_more_time(impatient):
    async def work():
        async with served() as (address, _):
            reader, writer = await asyncio.open_connection(*address[:2])

            async def drip():
                writer.write(GET[:30])
                with contextlib.suppress(ConnectionError):
                    while True:
                        writer.write(b"a")
                        await asyncio.sleep(0.05)

            dripping = asyncio.ensure_future(drip())
            assert b"408" in await asyncio.wait_for(reader.read(), 10)
            dripping.cancel()
            writer.close()

    run(work())


def test_a_body_that_the_answer_did_not_wait_for_does_not_keep_the_connection(impatient):
    async def work():
        async with served() as (address, connections):
            reader, writer = await asyncio.open_connection(*address[:2])
            writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nabc")
            assert b"200 OK" in await reader.readline()
            for _ in range(100):
                await asyncio.sleep(0.05)
                if not connections:
                    break
            assert not connections
            writer.close()

    run(work())


def test_a_caller_that_does_not_read_is_left(impatient):
    async def work():
        async with served(endless) as (address, connections):
            _, writer = await asyncio.open_connection(*address[:2], limit=1024)
            writer.write(GET)
            await asyncio.sleep(0.1)
            assert connections
            for _ in range(100):
                await asyncio.sleep(0.05)
                if not connections:
                    break
            assert not connections
            writer.close()

    run(work())


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 100_000,
        b"GET /health HTTP/1.1\r\na: " + b"b" * 1_000_000,
        b"GET /" + b"h" * 1_000_000,
        b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * (HEADER_BYTES // 6 + 3000) + b"\r\n",
    ],
    ids=["many", "long", "url", "complete"],
)
def test_headers_have_a_size(sent):
    async def work():
        async with served() as (address, _):
            assert await status(address, sent) in (b"HTTP/1.1 431 Request Header Fields Too Large\r\n", b"closed")
            assert b"200 OK" in await status(address)

    run(work())


def test_large_headers_within_the_limit_and_bodies_of_any_size_pass():
    head = b"POST /health HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 5000
    body = b"x" * 1_000_000

    async def work():
        async with served() as (address, _):
            assert b"200 OK" in await status(address, head + b"\r\n")
            assert b"200 OK" in await status(address, head + b"Content-Length: 1000000\r\n\r\n" + body)

    run(work())


def test_silent_connections_make_room_for_those_that_ask():
    async def work():
        async with served() as (address, connections):
            kept_reader, kept = await asyncio.open_connection(*address[:2])
            kept.write(GET)
            assert b"200 OK" in await kept_reader.readuntil(b"ok")
            silent = [await asyncio.open_connection(*address[:2]) for _ in range(10 * MOST)]
            for _ in range(5):
                assert b"200 OK" in await status(address)
            assert len(connections) <= MOST + 1
            kept.write(GET)
            assert b"200 OK" in await kept_reader.readuntil(b"ok"), "who has asked before is not the first to leave"
            for _, writer in (*silent, (None, kept)):
                writer.close()

    run(work())


def test_while_all_connections_are_busy_a_further_one_is_told_so():
    go = asyncio.Event()

    async def slow(scope, receive, send):
        await receive()
        await go.wait()
        await answer(scope, receive, send)

    async def work():
        async with served(slow) as (address, connections):
            asked = [asyncio.ensure_future(status(address)) for _ in range(MOST)]
            while sum(one.cycle is not None for one in connections) < MOST:
                await asyncio.sleep(0.01)
            assert b"503" in await status(address)
            go.set()
            assert all(b"200 OK" in said for said in await asyncio.gather(*asked))

    run(work())


def test_the_limit_of_connections_fits_the_open_files(monkeypatch):
    given = [(256, 256)]
    monkeypatch.setattr(resource, "getrlimit", lambda _what: given[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limits: given.append(limits))
    assert 8 <= connection_limit(1000) < 256 - protocol.SPARE_FILES
    given = [(256, 100_000)]
    assert connection_limit(1000) == 1000
    assert 1000 + protocol.SPARE_FILES < given[-1][0] < 2000
    given = [(100_000, 100_000)]
    assert connection_limit(1000) == 1000
    assert len(given) == 1


def test_broken_requests_are_refused(caplog):
    caplog.set_level(logging.WARNING)

    async def work():
        async with served() as (address, _):
            assert b"400" in await status(address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 200)
            assert b"200 OK" in await status(address)

    run(work())
