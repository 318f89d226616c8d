# Finds what runs the SDKs, and fetches the SDKs, each in exactly one version. Sourced by compat/run.

# find_python: also for what compat/run itself does.
find_python() {
    python=
    for candidate in python3.11 python3.12 python3; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 8) <= sys.version_info < (3, 13))' 2>/dev/null; then
            python=$candidate
            return
        fi
    done
    fail "no Python 3.8 to 3.12 found: the SDKs need one"
}

install_sdk() {
    case $1 in
    official) environment official 'qcloud-cmq-sdk-py3==0.1' ;;
    community) environment community 'abmn-qcloud-cmq-sdk-py3==0.2' ;;
    node) install_modules ;;
    java) install_jars ;;
    *) fail "there is no suite $1: choose of official, community, node and java" ;;
    esac
}

# environment NAME REQUIREMENT...: a virtual environment with exactly these versions.
environment() {
    place=$here/.venv/$1
    shift
    wanted="$("$python" --version) $*"
    if [ "$(cat "$place/wanted" 2>/dev/null)" != "$wanted" ]; then
        rm -rf "$place"
        "$python" -m venv "$place"
        # The first is from the time before wheels: it is built with the setuptools named here.
        "$place/bin/pip" --quiet --disable-pip-version-check install 'setuptools==75.8.0' 'wheel==0.45.1'
        "$place/bin/pip" --quiet --disable-pip-version-check install --no-deps --no-build-isolation "$@"
        echo "$wanted" > "$place/wanted"
    fi
}

# Exactly the packages of the lock file, which pins those that the SDK stands on too. None may run a script.
install_modules() {
    if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
        fail "no node or no npm found: its SDK needs both; scripts/setup tests installs them on Debian"
    fi
    node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' ||
        fail "node is $(node --version): the suite needs 18 or newer"
    modules=$here/node/node_modules
    wanted="$(node --version) $(cksum < "$here/node/package-lock.json")"
    if [ "$(cat "$modules/wanted" 2>/dev/null)" != "$wanted" ]; then
        npm --prefix "$here/node" ci --ignore-scripts --no-audit --no-fund --loglevel error >&2
        echo "$wanted" > "$modules/wanted"
    fi
}

# Exactly the jars of pom.xml, and the suite compiled against them.
install_jars() {
    for tool in javac mvn; do
        command -v "$tool" >/dev/null 2>&1 ||
            fail "there is Java, but no $tool: its SDK needs both; scripts/setup tests installs them on Debian"
    done
    release=$(javac -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p')
    [ "${release:-0}" -ge 17 ] || fail "Java is $(javac -version 2>&1): the suite needs 17 or newer"
    target=$here/java/target
    jars=$target/lib
    wanted=$(cksum < "$here/java/pom.xml")
    if [ "$(cat "$jars/wanted" 2>/dev/null)" != "$wanted" ]; then
        rm -rf "$target"
        mkdir "$target"
        mvn --batch-mode --quiet --file "$here/java/pom.xml" dependency:copy-dependencies \
            -DoutputDirectory="$jars" > "$target/maven.log" 2>&1 ||
            { cat "$target/maven.log" >&2; fail "Maven did not fetch the SDK"; }
        echo "$wanted" > "$jars/wanted"
    fi
    classes=$target/classes
    rm -rf "$classes"
    mkdir "$classes"
    javac -Xlint:all -d "$classes" -cp "$jars/*" "$here"/java/*.java
    cp "$here/java/log4j.properties" "$classes"
}
