"""Stands for a MongoDB server, which no package here brings: pymongo's wire, a made-up status.

The shape of the status is that of MongoDB's manual for version 7; the numbers are the test's.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import bson
from bson import Int64, ObjectId

from tests.counters.servers import serving

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
HELLO = {
    "isWritablePrimary": True,
    "ismaster": True,
    "maxWireVersion": 21,
    "minWireVersion": 0,
    "maxBsonObjectSize": 16 << 20,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "ok": 1.0,
}


def status(**opcounters: int) -> dict[str, Any]:
    """A reply to serverStatus."""
    return {
        "host": "db",
        "version": "7.0.14",
        "pid": Int64(17),
        "uptimeMillis": Int64(5000),
        "asserts": {"regular": 0, "warning": 0, "msg": 0, "user": 4, "rollovers": 0},
        "connections": {"current": 3, "available": 800, "totalCreated": 9},
        "network": {"bytesIn": Int64(1000), "bytesOut": Int64(2000), "numRequests": Int64(30)},
        "opcounters": {name: Int64(value) for name, value in opcounters.items()},
        "metrics": {
            "commands": {
                "find": {"failed": Int64(1), "total": Int64(12)},
                "serverStatus": {"failed": Int64(0), "total": Int64(2)},
                "<UNKNOWN>": Int64(0),
            },
            "document": {"deleted": 1, "inserted": 20, "returned": 40, "updated": 3},
            "queryExecutor": {
                "scanned": Int64(50),
                "scannedObjects": Int64(60),
                "collectionScans": {"nonTailable": Int64(2), "total": Int64(2)},
            },
        },
        "ok": 1.0,
    }


@contextmanager
def mongod(
    reply: Callable[[str], dict[str, Any]],
    process: ObjectId,
    traffic: Callable[[int, int], object] = lambda received, sent: None,
) -> Iterator[int]:
    """A port where each command but hello is answered by `reply`, given the command's name.

    `traffic` is told how many bytes each message and its answer had.
    """

    def answer(sock: socket.socket) -> None:
        while True:
            head = _exactly(sock, 16)
            length, number, _, op = struct.unpack("<iiii", head)
            body = _exactly(sock, length - 16)
            if op == OP_QUERY:
                document = _hello(process)
                data = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(document)
                kind = OP_REPLY
            else:
                end = 5 + struct.unpack_from("<i", body, 5)[0]  # documents to insert may follow
                name = next(iter(bson.decode(body[5:end])))
                greets = name.lower() in {"hello", "ismaster"}
                document = _hello(process) if greets else reply(name)
                data = struct.pack("<iB", 0, 0) + bson.encode(document)
                kind = OP_MSG
            traffic(length, 16 + len(data))
            sock.sendall(struct.pack("<iiii", 16 + len(data), 1, number, kind) + data)

    with serving(answer) as port:
        yield port


def _hello(process: ObjectId) -> dict[str, Any]:
    return {**HELLO, "topologyVersion": {"processId": process, "counter": Int64(0)}}


def _exactly(sock: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        more = sock.recv(length - len(found))
        if not more:
            raise ConnectionResetError
        found += more
    return found
