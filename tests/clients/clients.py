"""Real clients through two sidecars, each with its result asserted."""

import contextlib
import hashlib
import os
import re
import socket
import subprocess
import sys
import traceback

import grpc
import h2.config
import h2.connection
import h2.events
import h2.settings
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect as connect_websocket

from world import World

CASES = []


def case(function):
    CASES.append(function)
    return function


def run(*command, stdin=None):
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60)
    assert done.returncode == 0, f"{command[0]} ends with {done.returncode}: {done.stderr.decode()}{done.stdout.decode()}"
    return done.stdout


def curl(world, *arguments, host="web", stdin=None):
    return run("curl", "--silent", "--show-error", "--max-time", "20", "--header", f"host: {host}", *arguments, stdin=stdin)


def same(got, want):
    assert got == want, f"got {got!r}, wanted {want!r}"


# curl


@case
def curl_gets_over_http_1_and_2(world):
    for flag, version in (("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")):
        said = curl(world, flag, "--write-out", " %{http_version} %{http_code}", f"http://127.0.0.1:{world.port}/some/path?a=b")
        same(said.decode(), f"GET /some/path?a=b {version} 200")


@case
def curl_keeps_its_connection(world):
    url = f"http://127.0.0.1:{world.port}/"
    # Over HTTP/1.1: with prior knowledge of HTTP/2 curl 7.88 fails at this with any server. h2load does it below.
    said = curl(world, "--http1.1", "--write-out", "%{num_connects} ", "--output", "/dev/null", url, "--output", "/dev/null", url)
    same(said.decode(), "1 0 ")


@case
def curl_uploads_and_gets_it_back(world):
    body = os.urandom(3_000_000)
    digest = hashlib.sha256(body).hexdigest()
    framings = ([], ["--header", "transfer-encoding: chunked"])
    for flag, framing in [("--http1.1", framing) for framing in framings] + [("--http2-prior-knowledge", [])]:
        # Over 1 MiB curl asks first, with `expect: 100-continue`.
        back = curl(world, flag, *framing, "--data-binary", "@-", f"http://127.0.0.1:{world.port}/", stdin=body)
        same(hashlib.sha256(back).hexdigest(), digest)


@case
def curl_reads_chunks(world):
    for flag in ("--http1.1", "--http2-prior-knowledge"):
        same(curl(world, flag, f"http://127.0.0.1:{world.port}/stream"), b"one two three")


@case
def curl_is_told_who_it_asked_for_in_vain(world):
    said = curl(world, "--write-out", "%{http_code} %header{squall-reason}", f"http://127.0.0.1:{world.port}/", host="nobody")
    same(said.decode(), "404 no-route")


@case
def curl_takes_the_sidecar_for_its_proxy(world):
    proxy = ("--proxy", f"http://127.0.0.1:{world.port}")
    same(run("curl", "--silent", "--show-error", *proxy, "http://web/there"), b"GET /there")
    # For TLS it wants a tunnel, which no route allows.
    done = subprocess.run(["curl", "--silent", "--show-error", *proxy, "https://web/"], capture_output=True, timeout=60)
    assert done.returncode == 56 and b"501" in done.stderr, done


@case
def applications_see_who_asks(world):
    head = curl(world, "--dump-header", "-", f"http://127.0.0.1:{world.port}/").decode()
    assert "URI=spiffe://cluster.local/ns/test/sa/client" in head, head


# Load generators


def h2load(world, *arguments):
    said = run("h2load", "--requests=2000", "--clients=8", *arguments,
               f"--connect-to=127.0.0.1:{world.port}", "http://web/").decode()
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert "2000 2xx, 0 3xx, 0 4xx, 0 5xx" in said, said


@case
def h2load_over_http_2_with_many_streams(world):
    h2load(world, "--max-concurrent-streams=10")


@case
def h2load_over_http_1(world):
    h2load(world, "--h1")


@case
def wrk_sees_no_error(world):
    said = run("wrk", "--threads=1", "--connections=16", "--duration=2s", "--header", "Host: web", f"http://127.0.0.1:{world.port}/").decode()
    requests = int(re.search(r"(\d+) requests in", said).group(1))
    assert requests > 100, said
    assert "Socket errors" not in said and "Non-2xx" not in said, said


# gRPC


def greeter(world):
    channel = grpc.insecure_channel(f"127.0.0.1:{world.port}", options=[("grpc.default_authority", "greeter")])
    return channel, lambda kind, name: getattr(channel, kind)(f"/test.Greeter/{name}")


@case
def grpcio_calls_in_all_four_ways(world):
    channel, method = greeter(world)
    with channel:
        same(method("unary_unary", "Say")(b"world", timeout=20), b"hello world")
        same([int(one) for one in method("unary_stream", "Count")(b"1000", timeout=20)], list(range(1000)))
        same(method("stream_unary", "Total")((str(n).encode() for n in range(100)), timeout=20), b"4950")
        words = [os.urandom(50_000) for _ in range(20)]
        assert list(method("stream_stream", "Echo")(iter(words), timeout=20)) == words


@case
def grpcio_gets_status_message_and_trailers(world):
    channel, method = greeter(world)
    with channel:
        try:
            method("unary_unary", "Fail")(b"", timeout=20)
            raise AssertionError("no error")
        except grpc.RpcError as error:
            same((error.code(), error.details()), (grpc.StatusCode.FAILED_PRECONDITION, "not like this"))
            same(dict(error.trailing_metadata()).get("x-why"), "on purpose")


@case
def grpcio_is_told_when_its_time_is_over_and_what_is_not_there(world):
    channel, method = greeter(world)
    with channel:
        for name, code in (("Sleep", grpc.StatusCode.DEADLINE_EXCEEDED), ("Sing", grpc.StatusCode.UNIMPLEMENTED)):
            try:
                method("unary_unary", name)(b"", timeout=0.5 if name == "Sleep" else 20)
                raise AssertionError("no error")
            except grpc.RpcError as error:
                same(error.code(), code)


# Python's h2


class H2:
    """A connection of the `h2` package."""

    def __init__(self, world):
        self.socket = socket.create_connection(("127.0.0.1", world.port), timeout=20)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def events(self):
        while data := self.socket.recv(65536):
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                yield event
            self.flush()
        raise AssertionError("the connection ended")

    def head(self, method, path, authority="web", more=()):
        return [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path), *more]


@case
def h2_has_fifty_streams_on_one_connection(world):
    conn = H2(world)
    bodies, open_streams = {}, set()
    for number in range(50):
        stream = conn.h2.get_next_available_stream_id()
        conn.h2.send_headers(stream, conn.head("GET", f"/{number}"), end_stream=True)
        bodies[stream] = b""
        open_streams.add(stream)
    conn.flush()
    for event in conn.events():
        if isinstance(event, h2.events.ResponseReceived):
            same(dict(event.headers)[b":status"], b"200")
        elif isinstance(event, h2.events.DataReceived):
            bodies[event.stream_id] += event.data
        elif isinstance(event, h2.events.StreamEnded):
            open_streams.remove(event.stream_id)
            if not open_streams:
                break
        else:
            assert not isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)), event
    same(list(bodies.values()), [f"GET /{number}".encode() for number in range(50)])


@case
def h2_minds_windows_both_ways(world):
    conn, body = H2(world), os.urandom(700_000)
    conn.h2.send_headers(1, conn.head("POST", "/"))
    sent, back, events = 0, b"", conn.events()
    while True:
        while sent < len(body) and (window := min(conn.h2.local_flow_control_window(1), conn.h2.max_outbound_frame_size)):
            part = body[sent:sent + window]
            sent += len(part)
            conn.h2.send_data(1, part, end_stream=sent == len(body))
        conn.flush()
        event = next(events)
        if isinstance(event, h2.events.DataReceived):
            back += event.data
        elif isinstance(event, h2.events.StreamEnded):
            break
        assert not isinstance(event, h2.events.StreamReset), event
    assert back == body


@case
def h2_resets_a_stream_and_goes_on(world):
    conn = H2(world)
    conn.h2.send_headers(1, conn.head("POST", "/"))
    conn.h2.send_data(1, b"some of it")
    conn.h2.reset_stream(1)
    conn.h2.send_headers(3, conn.head("GET", "/after"), end_stream=True)
    conn.flush()
    for event in conn.events():
        if isinstance(event, h2.events.DataReceived):
            same((event.stream_id, event.data), (3, b"GET /after"))
        if isinstance(event, h2.events.StreamEnded):
            break


@case
def h2_opens_a_websocket_beside_requests(world):
    conn = H2(world)
    events = conn.events()
    while not isinstance(next(events), h2.events.RemoteSettingsChanged):
        pass
    same(conn.h2.remote_settings.enable_connect_protocol, 1)
    conn.h2.send_headers(1, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/"),
                             (":authority", "chat"), ("sec-websocket-version", "13")])
    conn.flush()
    while not isinstance(event := next(events), h2.events.ResponseReceived):
        pass
    same(dict(event.headers)[b":status"], b"200")
    conn.h2.send_data(1, Frame(Opcode.TEXT, b"over h2").serialize(mask=True))
    conn.h2.send_headers(3, conn.head("GET", "/beside"), end_stream=True)
    conn.flush()
    got = {1: b"", 3: b""}
    while got != {1: b"\x81\x07over h2", 3: b"GET /beside"}:
        if isinstance(event := next(events), h2.events.DataReceived):
            got[event.stream_id] += event.data
    conn.h2.send_data(1, Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True), end_stream=True)
    conn.flush()
    while not isinstance(event := next(events), h2.events.StreamEnded):
        assert not isinstance(event, h2.events.StreamReset), event


# Python's websockets


def websocket(world, **more):
    conn = socket.create_connection(("127.0.0.1", world.port), timeout=20)
    return connect_websocket("ws://chat/room", sock=conn, max_size=None, proxy=None, **more)


@case
def websockets_sends_text_bytes_and_pings(world):
    with websocket(world) as chat:
        for message in ("hello", "", "ünïcode ✓", os.urandom(1_000_000), b""):
            chat.send(message)
            assert chat.recv(timeout=20) == message
        assert chat.ping(b"are you there").wait(20)
        for number in range(500):
            chat.send(str(number))
        same([chat.recv(timeout=20) for _ in range(500)], [str(number) for number in range(500)])


@case
def websockets_is_told_how_it_ends(world):
    with websocket(world) as chat:
        chat.send("bye")
        try:
            chat.recv(timeout=20)
            raise AssertionError("it goes on")
        except ConnectionClosed as closed:
            same((closed.rcvd.code, closed.rcvd.reason), (4001, "as you wish"))


@case
def websockets_are_counted(world):
    with contextlib.ExitStack() as open_chats:
        for _ in range(10):
            open_chats.enter_context(websocket(world))
        assert 'squall_tunnels_open{side="outbound"} 10' in world.metrics()
    for _ in range(200):
        if 'squall_tunnels_open{side="outbound"} 0' in world.metrics():
            return
    raise AssertionError(world.metrics())


def main():
    failed = 0
    with World() as world:
        for function in CASES:
            try:
                function(world)
                print(f"test {function.__name__} ... ok", flush=True)
            except Exception:
                failed += 1
                print(f"test {function.__name__} ... FAILED", flush=True)
                traceback.print_exc()
        if failed:
            world.tell_logs()
    print(f"{len(CASES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
