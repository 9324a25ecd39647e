# Squall, one worker: routing, EWMA, retries with their budget, breaker, ejection, limits and metrics on; no access log, as
# for the peers. SQUALL_BIN names the binary (default: this repository's dist build), SQUALL_ARGS adds flags.
D=$(dirname "$0")
: "${SQUALL_BIN:=$D/../../target/dist/squall}"; [ -x "$SQUALL_BIN" ] || exit 77
up=$BACKEND_H1 protocol=http port=${BACKEND_H1#*:}
set -- --plaintext --outbound 127.0.0.1:$PORT
case $MODE in
h2) up=$BACKEND_H2 protocol=kubernetes.io/h2c port=${BACKEND_H2#*:} ;;
out) port=${BACKEND_TLS#*:}
  set -- --cert "$CERTS/client.pem" --key "$CERTS/client.key" --trust "$CERTS/ca.pem" --outbound 127.0.0.1:$PORT ;;
in) port=$PORT
  set -- --cert "$CERTS/server.pem" --key "$CERTS/server.key" --trust "$CERTS/ca.pem" --inbound 127.0.0.1:$PORT=$up ;;
esac
sed -e "s/\bPORT\b/$PORT/; s/\bBACKEND\b/$port/; s#\bPROTOCOL\b#$protocol#" "$D/mesh.yaml" > "$RUN/mesh.yaml"
exec "$SQUALL_BIN" proxy --mesh "$RUN/mesh.yaml" --service-account local/bench --pod bench-0 --admin 127.0.0.1:0 "$@" $SQUALL_ARGS
