#!/bin/sh
# Writes all secrets on the first start, one file each, and gives each service the ones that it needs. A variable of the
# file's name in capitals (from .env) is taken instead of a random value, also later; without one, a file that is there
# stays. Exits with 78, and a line that says why, where a variable can't be taken.
set -eu
export LC_ALL=C

folder=${SECRETS_FOLDER:-/made}
# Owner and group may read: each service that needs a secret is in the group.
umask 0137

random() { # Letters and digits only, so that a secret fits into a URL as it is.
    tr -dc 'A-Za-z0-9' </dev/urandom | head -c "$1"
}

refuse() {
    echo "error: $1" >&2
    exit 78
}

variable() { # The name of the variable that sets a secret.
    printf '%s' "$1" | tr '[:lower:]' '[:upper:]'
}

check() { # check NAME VALUE SHORTEST: what every server and every URL takes as it is.
    case $2 in *[!A-Za-z0-9._~-]*)
        refuse "$(variable "$1") may have letters, digits and . _ ~ - only: other characters change their meaning in URLs" ;;
    esac
    [ "${#2}" -ge "$3" ] && [ "${#2}" -le 40 ] ||
        refuse "$(variable "$1") has ${#2} characters; the servers take $3 to 40"
}

write() {
    printf '%s' "$2" >"$folder/all/.$1.partial"
    mv "$folder/all/.$1.partial" "$folder/all/$1"
}

keep() { # keep NAME WANTED RANDOM SHORTEST: write what is wanted, or a random secret where there is none yet.
    wanted=$2
    [ -z "$wanted" ] || check "$1" "$wanted" "$4"
    if [ ! -s "$folder/all/$1" ]; then
        write "$1" "${wanted:-$3}"
        echo "made $1"
    elif [ -n "$wanted" ] && [ "$wanted" != "$(cat "$folder/all/$1")" ]; then
        case $1 in mysql_root_password | milvus_root_password)
            refuse "$(variable "$1") is not the one that the server was made with. Change it in the server first, as \
docs/operations.md says (\"Secrets\"), or take it out of .env" ;;
        esac
        write "$1" "$wanted"
        echo "changed $1"
    fi
}

give() { # give WHOM NAME...: copies of these, and nothing else, into the folder that the service sees.
    whom=$1
    shift
    rm -f "$folder/$whom"/*
    for name in "$@"; do cp "$folder/all/$name" "$folder/$whom/$name"; done
}

keep minio_root_user "${MINIO_ROOT_USER:-}" "twinlens-$(random 8)" 3
keep minio_root_password "${MINIO_ROOT_PASSWORD:-}" "$(random 40)" 8
keep minio_writer_password "${MINIO_WRITER_PASSWORD:-}" "$(random 40)" 8
keep minio_reader_password "${MINIO_READER_PASSWORD:-}" "$(random 40)" 8
keep mysql_root_password "${MYSQL_ROOT_PASSWORD:-}" "$(random 40)" 8
keep mysql_writer_password "${MYSQL_WRITER_PASSWORD:-}" "$(random 40)" 8
keep mysql_reader_password "${MYSQL_READER_PASSWORD:-}" "$(random 40)" 8
keep milvus_root_password "${MILVUS_ROOT_PASSWORD:-}" "$(random 40)" 8
keep milvus_writer_password "${MILVUS_WRITER_PASSWORD:-}" "$(random 40)" 8
keep milvus_reader_password "${MILVUS_READER_PASSWORD:-}" "$(random 40)" 8
keep grafana_password "${GRAFANA_PASSWORD:-}" "$(random 40)" 8

give minio minio_root_user minio_root_password
give mysql mysql_root_password
give milvus milvus_root_password
give worker minio_writer_password mysql_writer_password milvus_writer_password
give query minio_reader_password mysql_reader_password milvus_reader_password
give grafana grafana_password
