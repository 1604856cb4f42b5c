#!/bin/sh
# Puts the secrets into Twinlens's environment and runs its command. `setup` also creates the users that can only read
# (MySQL's is made by mysql-reader.sh), and the query service is given those and no other.
set -eu

folder=${SECRETS_FOLDER:-/secrets}
secret() { cat "$folder/$1"; }

reader=twinlens_reader
if [ "${1:-}" = api ]; then
    mysql="$reader:$(secret mysql_reader_password)"
    TWINLENS_OBJECTS__ACCESS_KEY=$reader
    TWINLENS_OBJECTS__SECRET_KEY=$(secret minio_reader_password)
    TWINLENS_VECTORS__TOKEN="$reader:$(secret milvus_reader_password)"
else
    mysql="twinlens:$(secret mysql_password)"
    TWINLENS_OBJECTS__ACCESS_KEY=$(secret minio_root_user)
    TWINLENS_OBJECTS__SECRET_KEY=$(secret minio_root_password)
    TWINLENS_VECTORS__TOKEN="root:$(secret milvus_root_password)"
fi
TWINLENS_DATABASE__URL="mysql+asyncmy://$mysql@${MYSQL_ADDRESS:-mysql:3306}/twinlens?charset=utf8mb4"
export TWINLENS_OBJECTS__ACCESS_KEY TWINLENS_OBJECTS__SECRET_KEY TWINLENS_DATABASE__URL TWINLENS_VECTORS__TOKEN

if [ "${1:-}" = setup ]; then
    twinlens "$@"
    TWINLENS_READER_PASSWORD=$(secret minio_reader_password) twinlens grants minio
    TWINLENS_READER_PASSWORD=$(secret milvus_reader_password) twinlens grants milvus
    exit
fi
exec twinlens "$@"
