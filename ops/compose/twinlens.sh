#!/bin/sh
# Puts the secrets into Twinlens's environment and runs its command. The query service gets a database user that can
# only read.
set -eu

folder=${SECRETS_FOLDER:-/secrets}

user=twinlens
password=mysql_password
if [ "${1:-}" = api ]; then
    user=twinlens_reader
    password=mysql_reader_password
fi

TWINLENS_OBJECTS__ACCESS_KEY=$(cat "$folder/minio_root_user")
TWINLENS_OBJECTS__SECRET_KEY=$(cat "$folder/minio_root_password")
TWINLENS_DATABASE__URL="mysql+asyncmy://$user:$(cat "$folder/$password")@${MYSQL_ADDRESS:-mysql:3306}/twinlens?charset=utf8mb4"
TWINLENS_VECTORS__TOKEN="root:$(cat "$folder/milvus_root_password")"
export TWINLENS_OBJECTS__ACCESS_KEY TWINLENS_OBJECTS__SECRET_KEY TWINLENS_DATABASE__URL TWINLENS_VECTORS__TOKEN

exec twinlens "$@"
