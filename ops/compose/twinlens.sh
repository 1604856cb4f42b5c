#!/bin/sh
# Puts the secrets into Twinlens's environment and runs its command: `setup` as the administrator of each server, who
# also makes the other users (MySQL's are made by its own container); workers as one who writes, the API as one who reads.
set -eu

folder=${SECRETS_FOLDER:-/secrets}
secret() { cat "$folder/$1"; }

case ${1:-} in
    setup)
        mysql="twinlens:$(secret mysql_password)"
        TWINLENS_OBJECTS__ACCESS_KEY=$(secret minio_root_user)
        TWINLENS_OBJECTS__SECRET_KEY=$(secret minio_root_password)
        TWINLENS_VECTORS__TOKEN="root:$(secret milvus_root_password)"
        ;;
    api)
        mysql="twinlens_reader:$(secret mysql_reader_password)"
        TWINLENS_OBJECTS__ACCESS_KEY=twinlens_reader
        TWINLENS_OBJECTS__SECRET_KEY=$(secret minio_reader_password)
        TWINLENS_VECTORS__TOKEN="twinlens_reader:$(secret milvus_reader_password)"
        ;;
    *)
        mysql="twinlens:$(secret mysql_password)"
        TWINLENS_OBJECTS__ACCESS_KEY=twinlens_writer
        TWINLENS_OBJECTS__SECRET_KEY=$(secret minio_writer_password)
        TWINLENS_VECTORS__TOKEN="twinlens_writer:$(secret milvus_writer_password)"
        ;;
esac
TWINLENS_DATABASE__URL="mysql+asyncmy://$mysql@${MYSQL_ADDRESS:-mysql:3306}/twinlens?charset=utf8mb4"
export TWINLENS_OBJECTS__ACCESS_KEY TWINLENS_OBJECTS__SECRET_KEY TWINLENS_DATABASE__URL TWINLENS_VECTORS__TOKEN

if [ "${1:-}" = setup ]; then
    twinlens "$@"
    for server in minio milvus; do
        TWINLENS_GRANTS_PASSWORD=$(secret ${server}_writer_password) twinlens grants $server --may write
        TWINLENS_GRANTS_PASSWORD=$(secret ${server}_reader_password) twinlens grants $server --may read
    done
    exit
fi
keys=${TWINLENS_API__KEY_HASHES:-}
if [ "${1:-}" = api ] && [ "${PUBLISHED_ON:-127.0.0.1}" != 127.0.0.1 ] && [ "${keys:-{\}}" = "{}" ]; then
    echo "WARNING: the query service is published on $PUBLISHED_ON without API keys:" >&2
    echo "WARNING: whoever reaches it can search and read all pictures. Set TWINLENS_API__KEY_HASHES in .env." >&2
fi
exec twinlens "$@"
