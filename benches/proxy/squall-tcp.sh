# SQUALL carrying bytes it does not look at: the same Service declared as opaque TCP, plain on both sides (splice).
D=$(dirname "$0")
: "${SQUALL_BIN:=$D/../../target/dist/squall}"; [ -x "$SQUALL_BIN" ] && [ "$MODE" = h1 ] || exit 77
sed -e "s/\bPORT\b/$PORT/; s/\bBACKEND\b/${BACKEND_H1#*:}/; s#\bPROTOCOL\b#tcp#; /HTTPRoute/,\$d" "$D/mesh.yaml" |
    sed -e '/^apiVersion: gateway/d' > "$RUN/mesh.yaml"
exec "$SQUALL_BIN" proxy --mesh "$RUN/mesh.yaml" --service-account local/bench --pod bench-0 --admin 127.0.0.1:0 --plaintext \
    --outbound-tcp "127.0.0.1:$PORT=local/bench:$PORT" $SQUALL_ARGS
