#!/bin/bash
# Run by MySQL's own entrypoint when the data folder is new: makes the query service's user, which can only read.
set -euo pipefail

reader_password=$(cat /secrets/mysql_reader_password)
MYSQL_PWD=$(cat /secrets/mysql_root_password)
export MYSQL_PWD

mysql --protocol=socket --user=root <<SQL
CREATE USER IF NOT EXISTS 'twinlens_reader'@'%' IDENTIFIED BY '${reader_password}';
GRANT SELECT ON twinlens.* TO 'twinlens_reader'@'%';
SQL
