#!/bin/sh
# The image's own entrypoint (Bitnami's) ends in this; etcd reads its variables ETCD_* itself.
[ "$#" -gt 0 ] || set -- etcd
exec "$@"
