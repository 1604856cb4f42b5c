#!/bin/bash
# What the official image's docker-entrypoint.sh does, of what a compose file can see: the variables MYSQL_DATABASE and
# MYSQL_ROOT_PASSWORD, or their _FILE, count while the data folder is empty; meanwhile the server listens on its socket only.
# (github.com/docker-library/mysql, 9.7/docker-entrypoint.sh)
set -euo pipefail

[ "${1:0:1}" != - ] || set -- mysqld "$@"
data=/var/lib/mysql
socket=/var/run/mysqld/mysqld.sock

value() { # value NAME: the variable, or what is in the file that NAME_FILE names.
    local file=${1}_FILE
    if [ -n "${!1:-}" ]; then printf '%s' "${!1}"; elif [ -n "${!file:-}" ]; then cat "${!file}"; fi
}

if [ "$1" = mysqld ] && [ ! -d "$data/mysql" ]; then
    password=$(value MYSQL_ROOT_PASSWORD)
    if [ -z "$password" ]; then
        echo "Database is uninitialized and password option is not specified" >&2
        exit 1
    fi
    "$@" --initialize-insecure
    "$@" --daemonize --skip-networking --socket="$socket"
    mysql --protocol=socket --socket="$socket" --user=root <<SQL
ALTER USER 'root'@'localhost' IDENTIFIED BY '$password';
CREATE USER 'root'@'%' IDENTIFIED BY '$password';
GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;
CREATE DATABASE IF NOT EXISTS \`$(value MYSQL_DATABASE)\`;
SQL
    MYSQL_PWD=$password mysqladmin --protocol=socket --socket="$socket" --user=root shutdown
    echo "MySQL init process done. Ready for start up."
fi
exec "$@"
