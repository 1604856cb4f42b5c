#!/bin/bash
# Milvus 2.3.5 where 2.6 should be. The later one takes root's first password from common.security.defaultRootPassword;
# here it is put where Milvus keeps it (internal/metastore/kv/rootcoord: etcd, bcrypt) before the very first start.
set -euo pipefail

key=by-dev/meta/root-coord/credential/users/root
if [ -n "${COMMON_SECURITY_DEFAULTROOTPASSWORD:-}" ]; then
    export ETCDCTL_ENDPOINTS=$ETCD_ENDPOINTS
    if [ -z "$(etcdctl get --keys-only "$key")" ]; then
        # shellcheck disable=SC2016
        hash=$(perl -e 'print crypt($ENV{COMMON_SECURITY_DEFAULTROOTPASSWORD}, "\$2b\$10\$" . "kLmNoPqRsTuVwXyZ012345")')
        etcdctl put "$key" "{\"encrypted_password\":\"$hash\"}" >/dev/null
    fi
fi
exec /milvus/bin/milvus-2.3.5 "$@"
