# Runs the suites, and adds up what they say. Sourced by compat/run.

# run_suite NAME SUITE TRUSTED [ARGUMENT...]: in the folder NAME, where it leaves its result. Over HTTPS the SDK believes
# the certificate TRUSTED.
run_suite() {
    place=$work/suites/$1
    suite=$2
    trusted=$work/$3
    shift 3
    # The SDKs write their logs where they are started, and beside the script that is started.
    mkdir -p "$place"
    set -- --key "$key" --label "$suite" "$@"
    case $suite in
    official | community)
        cp "$here"/python/*.py "$place"
        set -- "$here/.venv/$suite/bin/python" -B suite.py --endpoint "$endpoint" "$@"
        [ -z "$https" ] || set -- env SSL_CERT_FILE="$trusted.crt" "$@"
        ;;
    node)
        # This SDK takes no endpoint: the preloaded script redirects the vendor's hosts.
        set -- env CMQ_ALIAS="$endpoint" node --require "$here/node/alias.js" "$here/node/suite.js" "$@"
        [ -z "$https" ] || set -- env NODE_EXTRA_CA_CERTS="$trusted.crt" "$@"
        ;;
    java)
        set -- -cp "$classes:$jars/*" Suite --endpoint "$endpoint" "$@"
        [ -z "$https" ] || set -- -Djavax.net.ssl.trustStore="$trusted.p12" \
            -Djavax.net.ssl.trustStorePassword="$store_password" "$@"
        set -- java "$@"
        ;;
    esac
    (cd "$place" && exec "$@")
}

# check_distrust SUITE: that an SDK which believes another certificate gets no answer. Otherwise the suite would also pass
# with a client that believes everything.
check_distrust() {
    case $1 in
    official | community) words='CERTIFICATE_VERIFY_FAILED' ;;
    node) words='self-signed certificate' ;;
    java) words='PKIX path' ;;
    esac
    if run_suite "distrust-$1" "$1" stranger --only deleted_queue_is_gone > "$work/distrust-$1" 2>&1 ||
        ! grep -q "$words" "$work/distrust-$1"; then
        cat "$work/distrust-$1"
        echo "$1: it should have refused a certificate that it does not know ($words)"
        echo '0 passed, 1 failed' > "$work/suites/distrust-$1/result"
        return 1
    fi
    echo '1 passed, 0 failed' > "$work/suites/distrust-$1/result"
}

sum_up() {
    sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$work"/suites/*/result 2>/dev/null |
        awk -v left_out="$left_out" '
            { passed += $1; failed += $2 }
            END {
                printf "%d passed, %d failed", passed, failed
                if (left_out > 0) printf ", %d skipped", left_out
                print ""
            }'
}
