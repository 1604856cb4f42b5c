#!/bin/sh
# Puts the secrets into Twinlens's environment and runs its command: `setup` as the administrator of each server, who
# also makes the other users; workers as one who writes, the query service as one who reads. Credentials that the
# environment has already are for a server that somebody else runs: they count, and setup makes no users there.
set -eu

folder=${SECRETS_FOLDER:-/secrets}
secret() { cat "$folder/$1"; }

elsewhere=
[ -z "${TWINLENS_DATABASE__URL:-}" ] || elsewhere="$elsewhere mysql"
[ -z "${TWINLENS_OBJECTS__ACCESS_KEY:-}" ] || elsewhere="$elsewhere minio"
[ -z "${TWINLENS_VECTORS__TOKEN:-}" ] || elsewhere="$elsewhere milvus"

as() { # as KIND: the credentials of who writes or reads.
    mysql="twinlens_$1:$(secret "mysql_$1_password")"
    [ -n "${TWINLENS_OBJECTS__ACCESS_KEY:-}" ] || TWINLENS_OBJECTS__ACCESS_KEY="twinlens_$1"
    [ -n "${TWINLENS_OBJECTS__SECRET_KEY:-}" ] || TWINLENS_OBJECTS__SECRET_KEY="$(secret "minio_$1_password")"
    [ -n "${TWINLENS_VECTORS__TOKEN:-}" ] || TWINLENS_VECTORS__TOKEN="twinlens_$1:$(secret "milvus_$1_password")"
}

port=
case "${1:-} ${2:-}" in
    "worker ingest") port=${TWINLENS_INGEST__HEALTH_PORT:-6301} ;;
    "worker requests") port=${TWINLENS_REQUESTS__HEALTH_PORT:-6303} ;;
    "worker index") port=${TWINLENS_INDEX__HEALTH_PORT:-6302} ;;
    "api "*) port=${TWINLENS_API__PORT:-6200} ;;
esac
case ${1:-} in
    api) as reader ;;
    worker) as writer ;;
    *) # Setup, and what an administrator runs by `docker compose run --rm setup COMMAND`.
        # Help and the like need no secrets.
        [ -r "$folder/mysql_root_password" ] || exec twinlens "$@"
        mysql="root:$(secret mysql_root_password)"
        [ -n "${TWINLENS_OBJECTS__ACCESS_KEY:-}" ] || TWINLENS_OBJECTS__ACCESS_KEY="$(secret minio_root_user)"
        [ -n "${TWINLENS_OBJECTS__SECRET_KEY:-}" ] || TWINLENS_OBJECTS__SECRET_KEY="$(secret minio_root_password)"
        [ -n "${TWINLENS_VECTORS__TOKEN:-}" ] || TWINLENS_VECTORS__TOKEN="root:$(secret milvus_root_password)"
        ;;
esac
url="mysql+asyncmy://$mysql@${MYSQL_ADDRESS:-mysql:3306}/twinlens?charset=utf8mb4"
TWINLENS_DATABASE__URL=${TWINLENS_DATABASE__URL:-$url}
export TWINLENS_OBJECTS__ACCESS_KEY TWINLENS_OBJECTS__SECRET_KEY TWINLENS_DATABASE__URL TWINLENS_VECTORS__TOKEN

if [ "${1:-}" = setup ]; then
    for server in mysql minio milvus; do
        case " $elsewhere " in *" $server "*) ;; *) set -- "$@" --users "$server" ;; esac
    done
    exec twinlens "$@" --passwords "$folder"
fi
# What the image's health check asks; jobs have none.
[ -z "$port" ] || echo "$port" >"${HEALTH_FILE:-/tmp/ready-port}"
keys=${TWINLENS_API__KEY_HASHES:-}
if [ "${1:-}" = api ] && [ "${PUBLISHED_ON:-127.0.0.1}" != 127.0.0.1 ] && [ "${keys:-{\}}" = "{}" ]; then
    echo "WARNING: the query service is published on $PUBLISHED_ON without API keys:" >&2
    echo "WARNING: whoever reaches it can search and read all pictures. Set TWINLENS_API__KEY_HASHES in .env." >&2
fi
exec twinlens "$@"
