#!/bin/sh
# Installs the system packages that are missing, through apt-get as root or with sudo, and says which.
# packages.sh [TEST...]: what all tests need, or what these files and folders need.
set -eu

PATH="$PATH:/usr/sbin:/sbin"
missing=""

have() { command -v "$1" >/dev/null 2>&1; }

java_is_new_enough() {
    have java || return 1
    version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${version:-0}" -ge 17 ]
}

# What a test needs besides what Python's packages bring; one that is missed here says so itself when it runs.
needs_of() {
    case "${1#./}" in
    tests/unit* | tests/simulation* | tests/contracts/test_objects* | tests/contracts/test_s3* | tests/contracts/test_vector*) ;;
    tests/browser*) echo chromium nginx caddy ;;
    tests/contracts* | tests/interleavings*) echo java maven mariadb debootstrap ;;
    tests | tests/*) echo java maven mariadb debootstrap chromium nginx caddy git ;;
    esac
}

need() {
    case "$1" in
    java) java_is_new_enough || missing="$missing openjdk-17-jdk-headless" ;;
    maven) have mvn || missing="$missing maven" ;;
    mariadb) { have mariadbd && have mariadb-install-db; } || missing="$missing mariadb-server-core mariadb-client-core" ;;
    debootstrap) have debootstrap || missing="$missing debootstrap debian-archive-keyring" ;;
    chromium) have chromium || have chromium-browser || have google-chrome || missing="$missing chromium" ;;
    nginx) have nginx || missing="$missing nginx-light" ;;
    caddy) have caddy || missing="$missing caddy" ;;
    git) have git || missing="$missing git" ;;
    esac
}

[ "$#" -gt 0 ] || set -- tests
for name in $(for test in "$@"; do needs_of "$test"; done | tr ' ' '\n' | sort -u); do
    need "$name"
done
[ -n "$missing" ] || exit 0

if ! have apt-get; then
    echo "error: the tests need these programs, by whatever name your system has them:$missing" >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if ! { have sudo && sudo -n true 2>/dev/null; }; then
        echo "error: the tests need some system packages. Run: sudo apt-get install$missing" >&2
        exit 1
    fi
    as_root="sudo"
fi
export DEBIAN_FRONTEND=noninteractive
echo "the tests need some system packages; installing with apt-get:$missing" >&2
$as_root apt-get update -q
# An older release's JDK 17 may be gone from a newer one.
if ! apt-cache show openjdk-17-jdk-headless >/dev/null 2>&1; then
    missing=$(echo "$missing" | sed 's/openjdk-17-jdk-headless/default-jdk-headless/')
fi
# The tests start what they need themselves, on free ports: no package may start a service of its own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '$as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 0755 "$policy"
fi
# The list is meant to be split into words.
# shellcheck disable=SC2086
$as_root apt-get install -q -y --no-install-recommends $missing
