#!/bin/sh
# Gives Milvus its root password from the secrets (it applies on the very first start) and runs it.
set -eu

COMMON_SECURITY_DEFAULTROOTPASSWORD=$(cat "${SECRETS_FOLDER:-/secrets}/milvus_root_password")
export COMMON_SECURITY_DEFAULTROOTPASSWORD

exec "$@"
