#!/bin/sh
# Installs the system packages that the tests need and that are missing, through apt-get as root or with sudo.
set -eu

PATH="$PATH:/usr/sbin:/sbin"
missing=""

have() { command -v "$1" >/dev/null 2>&1; }

java_is_new_enough() {
    have java || return 1
    version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${version:-0}" -ge 17 ]
}

java_is_new_enough || missing="$missing openjdk-17-jdk-headless"
have mvn || missing="$missing maven"
{ have mariadbd && have mariadb-install-db; } || missing="$missing mariadb-server-core mariadb-client-core"
have debootstrap || missing="$missing debootstrap debian-archive-keyring"
have chromium || have chromium-browser || have google-chrome || missing="$missing chromium"
have git || missing="$missing git"
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
$as_root apt-get update -q
# An older release's JDK 17 may be gone from a newer one.
if ! apt-cache show openjdk-17-jdk-headless >/dev/null 2>&1; then
    missing=$(echo "$missing" | sed 's/openjdk-17-jdk-headless/default-jdk-headless/')
fi
# The list is meant to be split into words.
# shellcheck disable=SC2086
$as_root apt-get install -q -y --no-install-recommends $missing
