"""Starts what the manifests start, as they say it, and asks what they ask."""

import http.server
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import yaml

squall, deploy, work = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])


def containers(file):
    """The containers of a file's Deployments, by name."""
    found = {}
    for document in yaml.safe_load_all((deploy / "kubernetes" / file).read_text()):
        if document["kind"] == "Deployment":
            spec = document["spec"]["template"]["spec"]
            for container in spec.get("initContainers", []) + spec["containers"]:
                found[container["name"]] = container
    return found


def command(container, environment, places):
    """A container's arguments, with `$(NAME)` filled in and mounted paths moved to this machine."""
    words = [re.sub(r"\$\((\w+)\)", lambda name: environment[name[1]], word) for word in container["args"]]
    for mounted, here in places.items():
        words = [re.sub(rf"(^|[=,]){re.escape(mounted)}(/|$)", rf"\g<1>{here}\g<2>", word) for word in words]
    return [squall, *words]


def check_mounts(container, places):
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted == set(places), f"{container['name']} mounts {mounted}, its arguments use {set(places)}"


def probe(container, running):
    """Asks all probes until each says yes."""
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = container[kind]["httpGet"]
        url = f"http://127.0.0.1:{ports[get['port']]}{get['path']}"
        until = time.monotonic() + 20
        while True:
            try:
                assert urllib.request.urlopen(url, timeout=2).status == 200
                break
            except (OSError, urllib.error.HTTPError) as error:
                assert running.poll() is None, f"{container['name']} ended with {running.returncode}"
                assert time.monotonic() < until, f"{container['name']}: {kind} {url}: {error}"
                time.sleep(0.05)
        print(f"ok: {container['name']}: {kind} {get['path']}")


def start(words, environment):
    print("$", " ".join(words))
    return subprocess.Popen(words, env={"PATH": os.environ["PATH"], **environment})


def manifests_in_comments(file):
    """What the comment at the beginning of a file shows, indented: manifests for the mesh."""
    lines = (deploy / "kubernetes" / file).read_text().split("\napiVersion:")[0].splitlines()
    return "\n".join(line[4:] for line in lines if line.startswith("#   ") and "kubectl" not in line) + "\n"


control, sidecar = containers("control.yaml")["control"], containers("sidecar.yaml")
gateway = containers("gateway.yaml")["gateway"]
(work / "mesh").mkdir()
(work / "mesh/mesh.yaml").write_text((deploy / "quickstart/mesh.yaml").read_text())
(work / "mesh/gateway.yaml").write_text(manifests_in_comments("gateway.yaml"))
for name in ("api", "token", "edge-token", "root", "web-tls"):
    (work / name).mkdir()
(work / "token/token").write_text("front.of.shop")
(work / "edge-token/token").write_text("edge.of.shop")
(work / "api/token").write_text("control.of.squall")
subprocess.run(
    ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    + ["-subj", "/CN=shop", "-addext", "subjectAltName=DNS:shop.example.com"]
    + ["-keyout", work / "web-tls/tls.key", "-out", work / "web-tls/tls.crt"],
    check=True,
    capture_output=True,
)


class ApiServer(http.server.BaseHTTPRequestHandler):
    """An API server that can do one thing: say whose a token is."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert self.path == "/apis/authentication.k8s.io/v1/tokenreviews", self.path
        assert self.headers["authorization"] == "Bearer control.of.squall", "the control plane's own token"
        account, of, namespace = asked["spec"]["token"].split(".")
        assert of == "of" and asked["spec"]["audiences"] == [audience], asked
        user = {"username": f"system:serviceaccount:{namespace}:{account}"}
        status = {"authenticated": True, "user": user, "audiences": [audience]}
        body = json.dumps({**asked, "status": status}).encode()
        self.send_response(201)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


def audience_of(file):
    """The audience that a manifest's token is for."""
    for document in yaml.safe_load_all((deploy / "kubernetes" / file).read_text()):
        if document["kind"] == "Deployment":
            for volume in document["spec"]["template"]["spec"]["volumes"]:
                for source in volume.get("projected", {}).get("sources", []):
                    return source["serviceAccountToken"]["audience"]


audience = audience_of("sidecar.yaml")
assert audience == audience_of("gateway.yaml") == "squall"


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, capture_output=True)


key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
(work / "api.ext").write_text("subjectAltName=IP:127.0.0.1\n")
openssl("req", "-x509", *key, "-subj", "/CN=cluster", "-days", "1", "-keyout", work / "ca.key", "-out", work / "api/ca.crt")
openssl("req", "-new", *key, "-subj", "/CN=api", "-keyout", work / "api.key", "-out", work / "api.csr")
openssl(
    *("x509", "-req", "-in", work / "api.csr", "-CA", work / "api/ca.crt", "-CAkey", work / "ca.key", "-CAcreateserial"),
    *("-days", "1", "-extfile", work / "api.ext", "-out", work / "api.crt"),
)
api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(work / "api.crt", work / "api.key")
api.socket = tls.wrap_socket(api.socket, server_side=True)
threading.Thread(target=api.serve_forever, daemon=True).start()
cluster = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.server_port)}

running = []
try:
    places = {"/mesh": work / "mesh", "/api": work / "api", "/state": work / "state"}
    check_mounts(control, places)
    running.append(start(command(control, {}, places), cluster))
    probe(control, running[-1])
    root = urllib.request.urlopen("http://127.0.0.1:15014/root.pem", timeout=5).read()
    (work / "root/root.pem").write_bytes(root)

    places = {"/etc/squall/root": work / "root", "/etc/squall/token": work / "token"}
    check_mounts(sidecar["squall"], places)
    environment = {"NAMESPACE": "shop", "SERVICE_ACCOUNT": "front", "SQUALL_POD": "front-0", "SQUALL_IP": "127.0.0.1"}
    assert {one["name"] for one in sidecar["squall"]["env"]} == set(environment)
    words = command(sidecar["squall"], environment, places)
    # The one name that only a cluster has.
    words = [word.replace("control.squall.svc.cluster.local", "127.0.0.1") for word in words]
    running.append(start(words, environment))
    probe(sidecar["squall"], running[-1])
    for word in ("config", "metrics", "drain"):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:15021/{word}", timeout=5)
            raise AssertionError(f"/{word} is answered where probes come in")
        except urllib.error.HTTPError as error:
            assert error.code == 404, error

    init = command(sidecar["squall-init"], {}, {})
    rules = subprocess.run([squall, "proxy-init", *init[1:], "--dry-run"], check=True, capture_output=True, text=True).stdout
    probes = next(port["containerPort"] for port in sidecar["squall"]["ports"] if port["name"] == "probes")
    assert f"--dport {probes} -j RETURN" in rules, f"the kubelet's probes would be brought to the sidecar:\n{rules}"
    uid = sidecar["squall"]["securityContext"]["runAsUser"]
    assert f"--uid-owner {uid} " in rules, f"the sidecar's own connections would come back to it:\n{rules}"
    print("ok: squall-init: its rules leave out the sidecar's user and the kubelet's probes")

    running[-1].terminate()
    assert running.pop().wait(timeout=40) == 0, "the sidecar ended badly"

    places = {"/etc/squall/root": work / "root", "/etc/squall/token": work / "edge-token"}
    places["/etc/squall/web-tls"] = work / "web-tls"
    check_mounts(gateway, places)
    environment = {"NAMESPACE": "shop", "SERVICE_ACCOUNT": "edge", "SQUALL_POD": "edge-0", "SQUALL_IP": "127.0.0.1"}
    assert {one["name"] for one in gateway["env"]} == set(environment)
    words = [word.replace("control.squall.svc.cluster.local", "127.0.0.1") for word in command(gateway, environment, places)]
    running.append(start(words, environment))
    probe(gateway, running[-1])
    ports = {port["name"]: port["containerPort"] for port in gateway["ports"]}
    context = ssl.create_default_context(cafile=work / "web-tls/tls.crt")
    with socket.create_connection(("127.0.0.1", ports["https"]), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="shop.example.com") as secured:
            secured.sendall(b"GET / HTTP/1.1\r\nhost: shop.example.com\r\nconnection: close\r\n\r\n")
            head = secured.makefile("rb").readline()
    # The quick start's endpoints are not here: that the gateway knows the route, and says so, is what is asked.
    assert head.startswith(b"HTTP/1.1 503"), head
    request = urllib.request.Request(f"http://127.0.0.1:{ports['http']}/", headers={"host": "else.example.com"})
    try:
        urllib.request.urlopen(request, timeout=5)
        raise AssertionError("a host that no route is for is served")
    except urllib.error.HTTPError as error:
        assert error.code == 404, error
    print("ok: gateway: TLS by name, and routes by host")

    for name, process in zip(("gateway", "control"), reversed(running)):
        process.terminate()
        assert process.wait(timeout=40) == 0, f"{name} ended with {process.returncode}"
    print("ok: all end when they are asked to")
finally:
    for process in running:
        process.kill()
