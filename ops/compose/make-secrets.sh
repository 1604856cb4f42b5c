#!/bin/sh
# Writes all secrets on the first start, one file each, and gives each service the ones that it needs. A file that is
# there stays, so a restart changes nothing; a variable of the file's name in capitals (from .env) is taken instead of a
# random value.
set -eu

folder=${SECRETS_FOLDER:-/secrets}
# Owner and group may read: each service that needs a secret is in the group.
umask 0137

random() { # Letters and digits only, so that a secret fits into a URL as it is.
    LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c "$1"
}

keep() { # keep NAME VALUE: write the secret unless it is there already.
    [ -s "$folder/all/$1" ] && return 0
    printf '%s' "$2" >"$folder/all/.$1.partial"
    mv "$folder/all/.$1.partial" "$folder/all/$1"
    echo "made $1"
}

give() { # give WHOM NAME...: copies of these, and nothing else, into the folder that the service sees.
    whom=$1
    shift
    rm -f "$folder/$whom"/*
    for name in "$@"; do cp "$folder/all/$name" "$folder/$whom/$name"; done
}

keep minio_root_user "${MINIO_ROOT_USER:-twinlens-$(random 8)}"
keep minio_root_password "${MINIO_ROOT_PASSWORD:-$(random 40)}"
keep minio_writer_password "${MINIO_WRITER_PASSWORD:-$(random 40)}"
keep minio_reader_password "${MINIO_READER_PASSWORD:-$(random 40)}"
keep mysql_root_password "${MYSQL_ROOT_PASSWORD:-$(random 40)}"
keep mysql_password "${MYSQL_PASSWORD:-$(random 40)}"
keep mysql_reader_password "${MYSQL_READER_PASSWORD:-$(random 40)}"
keep milvus_root_password "${MILVUS_ROOT_PASSWORD:-$(random 40)}"
keep milvus_writer_password "${MILVUS_WRITER_PASSWORD:-$(random 40)}"
keep milvus_reader_password "${MILVUS_READER_PASSWORD:-$(random 40)}"

give minio minio_root_user minio_root_password
give mysql mysql_root_password mysql_password mysql_reader_password
give milvus milvus_root_password
give worker minio_writer_password mysql_password milvus_writer_password
give api minio_reader_password mysql_reader_password milvus_reader_password
