"""Three applications, a sidecar for them, a sidecar for their client, and the control plane, all on loopback."""

import os
import secrets
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from websockets.sync.server import serve as serve_websockets

SQUALL = os.environ["SQUALL"]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Web(BaseHTTPRequestHandler):
    """Answers GET with its path, POST with the body it got, /stream in chunks."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/stream":
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for part in (b"one ", b"two ", b"three"):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
            return
        self.answer(f"{self.command} {self.path}".encode())

    def do_POST(self):
        self.answer(self.body())

    def body(self):
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-saw", f"{self.request_version} {self.headers.get('x-forwarded-client-cert', '')}")
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def start_web(port):
    server = Server(("127.0.0.1", port), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def start_chat(port):
    """Sends every message back; `bye` ends the conversation with code 4001."""

    def chat(conn):
        for message in conn:
            if message == "bye":
                conn.close(4001, "as you wish")
                return
            conn.send(message)

    server = serve_websockets(chat, "127.0.0.1", port, max_size=None)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def start_greeter(port):
    """A gRPC service whose messages are bytes: no protobuf is needed to speak it."""

    def fail(_, context):
        context.set_trailing_metadata((("x-why", "on purpose"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not like this")

    def sleep(request, context):
        time.sleep(5)
        return request

    def count(request, _):
        for number in range(int(request)):
            yield str(number).encode()

    def total(requests, _):
        return str(sum(int(one) for one in requests)).encode()

    def echo_all(requests, _):
        yield from requests

    methods = {
        "Say": grpc.unary_unary_rpc_method_handler(lambda request, _: b"hello " + request),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Total": grpc.stream_unary_rpc_method_handler(total),
        "Echo": grpc.stream_stream_rpc_method_handler(echo_all),
    }
    server = grpc.server(futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Greeter", methods),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


def manifests(name, app_protocol, port, account):
    protocol = f", appProtocol: {app_protocol}" if app_protocol else ""
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: test}}
spec:
  ports: [{{port: 80{protocol}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}
  namespace: test
  labels: {{kubernetes.io/service-name: {name}}}
  annotations: {{squall.dev/service-account: {account}}}
addressType: IPv4
ports: [{{port: {port}}}]
endpoints:
  - addresses: [127.0.0.1]
    targetRef: {{kind: Pod, name: {name}-0}}
"""


class World:
    def __init__(self):
        self.processes = []
        self.directory = tempfile.TemporaryDirectory()

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.tell_logs()
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=60)
        self.directory.cleanup()

    def tell_logs(self):
        for name in sorted(os.listdir(self.directory.name)):
            if name.endswith(".log"):
                print(f"--- {name}", open(os.path.join(self.directory.name, name)).read()[-4000:], sep="\n")

    def squall(self, log, *arguments):
        with open(os.path.join(self.directory.name, f"{log}.log"), "w") as file:
            self.processes.append(subprocess.Popen([SQUALL, *arguments], stdout=file, stderr=file))

    def start(self):
        at = lambda *names: os.path.join(self.directory.name, *names)
        applications = {
            "web": ("http", start_web),
            "chat": ("kubernetes.io/ws", start_chat),
            "greeter": ("kubernetes.io/h2c", start_greeter),
        }
        os.mkdir(at("mesh"))
        tokens = {name: secrets.token_hex(16) for name in [*applications, "client"]}
        with open(at("tokens"), "w") as file:
            for name, token in tokens.items():
                file.write(f"{token} test/{name}\n")
                with open(at(f"{name}.token"), "w") as own:
                    own.write(token)
        inbound = {}
        self.kept = []
        for name, (app_protocol, start) in applications.items():
            inbound[name] = (free_port(), free_port())
            self.kept.append(start(inbound[name][1]))
            with open(at("mesh", f"{name}.yaml"), "w") as file:
                file.write(manifests(name, app_protocol, inbound[name][0], name))
        control, control_admin, self.port, self.admin_port = (free_port() for _ in range(4))
        self.squall("control", "control", "--from", at("mesh"), "--tokens", at("tokens"), "--state", at("state"),
                    "--listen", f"127.0.0.1:{control}", "--admin", f"127.0.0.1:{control_admin}")
        wait_for(f"http://127.0.0.1:{control_admin}/ready")

        def sidecar(name, pod, admin, *more):
            self.squall(name, "proxy", "--control", f"127.0.0.1:{control}", "--trust", at("state", "root.pem"),
                        "--token-file", at(f"{name}.token"), "--service-account", f"test/{name}", "--pod", pod,
                        "--admin", f"127.0.0.1:{admin}", *more)
            wait_for(f"http://127.0.0.1:{admin}/ready")

        for name, (port, app) in inbound.items():
            sidecar(name, f"{name}-0", free_port(), "--inbound", f"127.0.0.1:{port}=127.0.0.1:{app}")
        sidecar("client", "client-0", self.admin_port, "--outbound", f"127.0.0.1:{self.port}")
        self.wait_for_service("web")
        self.wait_for_service("chat")
        self.wait_for_greeter()

    def wait_for_service(self, name):
        """Until both halves of its push have arrived: anything but an answer of a sidecar's own."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}/", headers={"host": name})
            try:
                urllib.request.urlopen(request, timeout=2)
                return
            except urllib.error.HTTPError as error:
                if error.headers.get("squall-reason") is None:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise TimeoutError(f"no way to {name}")

    def wait_for_greeter(self):
        """The same for a server that only speaks gRPC."""
        options = [("grpc.default_authority", "greeter")]
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", options=options) as channel:
            until = time.monotonic() + 20
            while time.monotonic() < until:
                try:
                    channel.unary_unary("/test.Greeter/Say")(b"", timeout=2)
                    return
                except grpc.RpcError:
                    time.sleep(0.05)
        raise TimeoutError("no way to greeter")

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics") as page:
            return page.read().decode()


def wait_for(url):
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"no answer from {url}")
