# Certificates of one run, and how the SDKs are told to believe one. Sourced by compat/run.

# The Node client believes that it asks the vendor (node/alias.js), so it is shown a certificate with these names.
vendor_names=
for kind in queue topic; do
    for domain in qcloud.com tencentyun.com; do
        vendor_names="$vendor_names,DNS:cmq-$kind-gz.api.$domain"
    done
done
# Of a file that the run removes; keytool takes no store without one.
store_password=changeit

# make_certificate NAME: NAME.crt, NAME.key, and NAME.p12 for Java, in the working folder. As docs/https.md says.
make_certificate() {
    command -v openssl >/dev/null 2>&1 || fail "no openssl found; scripts/setup tests installs it on Debian"
    if ! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
        -keyout "$work/$1.key" -out "$work/$1.crt" -subj /CN=localhost \
        -addext "subjectAltName=DNS:localhost,IP:127.0.0.1$vendor_names" \
        -addext basicConstraints=critical,CA:FALSE 2> "$work/openssl"; then
        cat "$work/openssl" >&2
        fail "openssl made no certificate"
    fi
    chmod 600 "$work/$1.key"
    case $chosen in
    *java*)
        keytool -importcert -noprompt -alias "$1" -file "$work/$1.crt" -keystore "$work/$1.p12" \
            -storetype PKCS12 -storepass "$store_password" > "$work/keytool" 2>&1 ||
            { cat "$work/keytool" >&2; fail "keytool made no store of certificates"; }
        ;;
    esac
}

# tls_settings: those of the port for clients, if it is to have any.
tls_settings() {
    [ -z "$https" ] || printf 'certificate = "%s"\nkey = "%s"\n' "$work/server.crt" "$work/server.key"
}
