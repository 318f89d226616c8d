# Starts what the suites drive, one server or a cluster, and ends it. Sourced by compat/run.

account=123456789012
server=
balancer=

# wait_for PATTERN NAME PROCESS: until the file NAME of the working folder has such a line.
wait_for() {
    tries=0
    until grep -qs "$1" "$work/$2"; do
        tries=$((tries + 1))
        if [ $tries -gt 600 ] || ! kill -0 "$3" 2>/dev/null; then
            echo "compat/run: the server did not get ready; its log:" >&2
            cat "$work"/log "$work"/data/node-*/anser.log >&2 2>/dev/null || true
            exit 2
        fi
        sleep 0.1
    done
}

# ready_in NAME: the endpoints that the file NAME tells.
ready_in() {
    sed -n 's/^ready //p' "$work/$1"
}

# start_server: sets `endpoint` and `key`.
start_server() {
    if [ "$nodes" = 1 ]; then
        start_one
        wait_for '^ready ' ready "$server"
        endpoint=$(ready_in ready)
    else
        start_cluster
        wait_for 'every shard has' ready "$server"
        start_balancer
    fi
}

start_one() {
    cat > "$work/server.toml" <<END
data = "data"
master_key_file = "master.key"
[api]
listen = "127.0.0.1:0"
$(tls_settings)
[admin]
listen = "127.0.0.1:0"
[push]
allow = ["127.0.0.0/8"]
denied_ports = []
[log]
filter = "warn"
END
    made=$("$binary" key --config "$work/server.toml" create --account "$account" 2> "$work/log") ||
        { cat "$work/log" >&2; fail "no access key was made"; }
    key=$(echo "$made" | awk '$1 == "id" { id = $2 } $1 == "secret" { print id ":" $2 }')
    "$binary" serve --config "$work/server.toml" > "$work/ready" 2>> "$work/log" &
    server=$!
}

start_cluster() {
    # A cluster has fixed ports; these are below those that the system gives to connections.
    port=$("$python" -c "
import random, socket
def free(port):
    try:
        socket.create_server(('127.0.0.1', port)).close()
        return True
    except OSError:
        return False
while True:
    first = random.randrange(20000, 31000)
    if all(free(first + 10 * node + use) for node in range($nodes) for use in range(3)):
        print(first)
        break
")
    # What stands in these files before the first start stays there.
    mkdir -m 700 "$work/data"
    for node in $(seq "$nodes"); do
        printf '[api]\n%s\n' "$(tls_settings)" > "$work/data/node-$node.toml"
    done
    key=COMPAT-ID-000000000001:compat-secret-not-real-0001
    HOME=$work "$binary" dev --data "$work/data" --nodes "$nodes" --listen "127.0.0.1:$port" \
        --key "$key" --account "$account" > "$work/ready" 2> "$work/log" &
    server=$!
}

start_balancer() {
    set --
    [ -z "$https" ] || set -- --certificate "$work/server.crt" --key "$work/server.key"
    # shellcheck disable=SC2046 # One argument for each node.
    "$python" -B "$here/any_node.py" "$@" $(ready_in ready) > "$work/balancer" &
    balancer=$!
    wait_for '^ready ' balancer "$balancer"
    endpoint=$(ready_in balancer)
}

# end_balancer: says what each node was sent; fails if one was sent nothing.
end_balancer() {
    [ -n "$balancer" ] || return 0
    kill "$balancer"
    told=0
    wait "$balancer" || told=1
    balancer=
    sed -n '/^requests/p' "$work/balancer"
    return $told
}

# end_servers: whatever still runs.
end_servers() {
    for process in $balancer $server; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
}
