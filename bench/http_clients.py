"""HTTP clients whose server answers at once: all of a request but sockets and network.

A class takes the library's functions of the moment at which it is made, so one that is made
before a peer instruments the library stays bare.
"""

from __future__ import annotations

import asyncio
import io
import warnings
from email.message import Message
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.pairs import Loop

URL = "http://127.0.0.1:8000/orders/7"


def of_the_moment(owner: type, *names: str) -> dict[str, Any]:
    """Functions of a class as they are now."""
    return {name: vars(owner)[name] for name in names}


class Read:
    """Stands for http.client's response, read to its end: its connection goes back."""

    msg = Message()

    def isclosed(self) -> bool:
        return True

    def close(self) -> None:
        return None


def urllib3_pool_class() -> Any:
    """A pool whose connections answer by themselves."""
    from urllib3.connection import HTTPConnection
    from urllib3.connectionpool import HTTPConnectionPool
    from urllib3.response import HTTPResponse

    class Connection(HTTPConnection):
        is_connected = True
        is_closed = False

        def request(self, *args: Any, **options: Any) -> None:
            return None

        def getresponse(self) -> Any:
            return HTTPResponse(
                io.BytesIO(b"ok"),
                {"Content-Length": "2"},
                200,
                preload_content=False,
                original_response=Read(),  # type: ignore[arg-type]
            )

    names = ("urlopen", "_make_request", "_get_conn", "_new_conn")
    functions = of_the_moment(HTTPConnectionPool, *names)
    return type("Pool", (HTTPConnectionPool,), {**functions, "ConnectionCls": Connection})


def urllib3_requests() -> Loop:
    """A loop of requests by one pool."""
    pool = urllib3_pool_class()("127.0.0.1", 8000)

    def many(times: int) -> None:
        for _ in range(times):
            pool.urlopen("GET", "/orders/7")

    return many


def requests_session() -> Any:
    """A session of requests above such pools."""
    import requests

    class Session(requests.Session):
        locals().update(of_the_moment(requests.Session, "send", "request"))

    session = Session()
    session.trust_env = False  # which would look for proxies in the environment, each time
    manager = session.get_adapter(URL).poolmanager  # type: ignore[attr-defined]
    manager.pool_classes_by_scheme = {"http": urllib3_pool_class()}
    return session


def requests_requests() -> Loop:
    """A loop of one request by a session; to prepare it takes longer than to send it."""
    from requests import Request

    session = requests_session()
    request = session.prepare_request(Request("GET", URL))

    def many(times: int) -> None:
        for _ in range(times):
            session.send(request)

    return many


class Answers:
    """Stands for httpcore's pool, of both kinds."""

    def handle_request(self, request: Any) -> Any:
        import httpcore

        return httpcore.Response(200, headers=[(b"Content-Length", b"2")], content=b"ok")

    async def handle_async_request(self, request: Any) -> Any:
        return self.handle_request(request)


def httpx_client(client: Any, transport: Any, method: str) -> Any:
    """A client of one of both kinds, above such a pool."""
    made = type("Transport", (transport,), of_the_moment(transport, method))()
    made._pool = Answers()
    client_class = type("Client", (client,), of_the_moment(client, "send"))
    return client_class(transport=made, trust_env=False)


def httpx_requests() -> Loop:
    """A loop of one request that a client sends."""
    import httpx

    client = httpx_client(httpx.Client, httpx.HTTPTransport, "handle_request")
    request = httpx.Request("GET", URL)

    def many(times: int) -> None:
        for _ in range(times):
            client.send(request)

    return many


def httpx_async_requests() -> Loop:
    """The same of the asynchronous kind."""
    import httpx

    method = "handle_async_request"
    client = httpx_client(httpx.AsyncClient, httpx.AsyncHTTPTransport, method)
    request = httpx.Request("GET", URL)
    loop = asyncio.new_event_loop()

    async def many(times: int) -> None:
        for _ in range(times):
            await client.send(request)

    return lambda times: loop.run_until_complete(many(times))


async def aiohttp_session() -> Any:
    """A session of aiohttp whose connector has a connection for everybody."""
    import aiohttp
    from multidict import CIMultiDict, CIMultiDictProxy

    warnings.simplefilter("ignore", DeprecationWarning)  # a session is not to be subclassed

    class Protocol:
        def set_response_params(self, **options: Any) -> None:
            return None

    class Connection:
        protocol = Protocol()

        def close(self) -> None:
            return None

    class Connector(aiohttp.BaseConnector):
        async def connect(self, *args: Any, **options: Any) -> Any:
            return Connection()

    class Response:
        status, connection, history, _raw_cookie_headers = 200, None, (), ()
        headers = CIMultiDictProxy(CIMultiDict({"Content-Length": "2"}))

        async def start(self, connection: Any) -> None:
            return None

        def close(self) -> None:
            return None

    class Request(aiohttp.ClientRequest):
        async def send(self, connection: Any) -> Any:
            return Response()

    functions = of_the_moment(aiohttp.ClientSession, "_request")
    session_class: Any = type("Session", (aiohttp.ClientSession,), functions)
    return session_class(connector=Connector(), request_class=Request)


def aiohttp_requests() -> Loop:
    """A loop of requests by one session."""
    loop = asyncio.new_event_loop()
    session = loop.run_until_complete(aiohttp_session())

    async def many(times: int) -> None:
        for _ in range(times):
            await session._request("GET", URL)

    return lambda times: loop.run_until_complete(many(times))


class Sent:
    """Stands for the session of requests below one of keystoneauth1."""

    def __init__(self) -> None:
        from requests import Response

        self._response = Response()
        self._response.status_code = 200

    def request(self, *args: Any, **options: Any) -> Any:
        return self._response


def keystoneauth1_requests() -> Loop:
    """A loop of requests by OpenStack's sessions."""
    from keystoneauth1.session import Session

    functions = of_the_moment(Session, "request", "_send_request", "invalidate")
    session: Any = type("Session", (Session,), functions)(session=Sent())
    service = {"service_type": "compute"}

    def many(times: int) -> None:
        for _ in range(times):
            session.request(URL, "GET", endpoint_filter=service, log=False)

    return many
