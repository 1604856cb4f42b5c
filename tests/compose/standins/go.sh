#!/bin/sh
# `go install PACKAGE@VERSION`, of what this machine's own Go has built by that very command (tests/harness/stack/install.py).
set -eu
[ "$1" = install ] || exit 2
name=${2%@*}
cp "/built/${2##*@}/${name##*/}" /go/bin/
