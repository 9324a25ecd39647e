#!/usr/bin/env bash
# Two services with a sidecar each, and the control plane, on this machine's loopback: what the README's quick start says, as a
# script. Needs curl and python3. Everything it starts, it ends.
#
# usage: deploy/quickstart.sh          shows it and ends
#        deploy/quickstart.sh --stay   goes on until Ctrl-C, for your own curl
# SQUALL names the binary; by default the one built here, else the one on the PATH.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
squall=${SQUALL:-}
for found in "$here/../target/release/squall" "$here/../target/debug/squall" "$(command -v squall || true)"; do
    [ -z "$squall" ] && [ -x "$found" ] && squall=$found
done
[ -n "$squall" ] || { echo "no squall: cargo build --release" >&2; exit 2; }

work=$(mktemp -d)
pids=()
finish() {
    # Proxies drain; what is left is ended.
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$work"
}
trap finish EXIT

say() { printf '\n# %s\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }
# Asks a page until it answers well, for at most 20 seconds.
until_ok() {
    for _ in $(seq 200); do
        curl -fsS -o /dev/null "$1" 2>/dev/null && return
        sleep 0.1
    done
    echo "no answer from $1" >&2; cat "$work"/*.log >&2; exit 1
}
# Runs a command until it prints what is wanted, for at most 20 seconds.
until_says() {
    local want=$1; shift
    for _ in $(seq 200); do
        "$@" 2>/dev/null | grep -q "$want" && return
        sleep 0.1
    done
    echo "never said: $want" >&2; cat "$work"/*.log >&2; exit 1
}

mkdir "$work/mesh" "$work/front" "$work/stock"
cp "$here/quickstart/mesh.yaml" "$work/mesh/"
echo "hello from front" > "$work/front/index.html"
echo "42 left in stock" > "$work/stock/index.html"

say "two applications, which know nothing of the mesh"
for app in front:8101 stock:8201; do
    python3 -m http.server "${app#*:}" --bind 127.0.0.1 --directory "$work/${app%:*}" >/dev/null 2>&1 & pids+=($!)
done

say "the control plane: follows a directory, signs certificates"
for name in front stock; do
    token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    echo "$token" > "$work/$name.token"
    echo "$token shop/$name" >> "$work/tokens"
done
"$squall" control --from "$work/mesh" --tokens "$work/tokens" --state "$work/state" --listen 127.0.0.1:15010 \
    --admin 127.0.0.1:15014 2> "$work/control.log" & pids+=($!)
until_ok http://127.0.0.1:15014/ready

say "a sidecar for each"
"$squall" proxy --control 127.0.0.1:15010 --trust "$work/state/root.pem" --token-file "$work/front.token" \
    --service-account shop/front --pod front-0 --outbound 127.0.0.1:15101 --inbound 127.0.0.1:15106=127.0.0.1:8101 \
    --admin 127.0.0.1:15100 --access-log text > "$work/front-access.log" 2> "$work/front.log" & pids+=($!)
"$squall" proxy --control 127.0.0.1:15010 --trust "$work/state/root.pem" --token-file "$work/stock.token" \
    --service-account shop/stock --pod stock-0 --outbound 127.0.0.1:15201 --inbound 127.0.0.1:15206=127.0.0.1:8201 \
    --admin 127.0.0.1:15200 --access-log text > "$work/stock-access.log" 2> "$work/stock.log" & pids+=($!)
until_ok http://127.0.0.1:15100/ready
until_ok http://127.0.0.1:15200/ready
until_ok http://127.0.0.1:8201/

say "front asks stock, through both sidecars, with mutual TLS between them"
run curl -sS -H 'Host: stock' http://127.0.0.1:15101/
until_says inbound cat "$work/stock-access.log"
tail -1 "$work/stock-access.log"

say "without a certificate nobody gets in"
run curl -sS --max-time 2 http://127.0.0.1:15206/ || true

say "a route is added to the directory, and in force within a second"
cat > "$work/mesh/route.yaml" <<'Y'
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stock, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: stock}]
  rules:
    - filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-shop, value: open}]}}]
      backendRefs: [{name: stock, port: 80}]
Y
until_says 'x-shop: open' curl -sS -D - -o /dev/null -H 'Host: stock' http://127.0.0.1:15101/
run curl -sS -D - -o /dev/null -H 'Host: stock' http://127.0.0.1:15101/

say "a mistake turns nothing off: it is shown, and the last good mesh stays"
sed -i 's/name: stock, port: 80/name: stok, port: 80/' "$work/mesh/route.yaml"
until_says 'squall_control_mistakes 1' curl -sS http://127.0.0.1:15014/metrics
grep -A6 'stok' "$work/control.log" | head -7
run curl -sS -H 'Host: stock' http://127.0.0.1:15101/

if [ "${1:-}" = --stay ]; then
    say "goes on until Ctrl-C; files and logs are in $work"
    trap 'exit 0' INT
    wait
fi
say "that was it"
