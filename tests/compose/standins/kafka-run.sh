#!/bin/bash
# As /etc/kafka/docker/run of apache/kafka: variables KAFKA_* become properties and the data folder is formatted, both by
# the wrapper class that comes with Kafka itself (core, kafka/docker/KafkaDockerWrapper.scala); then the server runs.
# The default of CLUSTER_ID is that of docker/resources/common-scripts/configureDefaults.
set -euo pipefail

export CLUSTER_ID=${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}
# It fails where the folder is formatted already, which is no failure to docker/jvm/launch either.
said=$(java -cp '/opt/kafka/libs/*' kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \
    --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1) ||
    grep -qi "already formatted" <<<"$said" || { echo "$said" >&2; exit 1; }
# Options are meant to be split into words.
# shellcheck disable=SC2086
exec java ${KAFKA_HEAP_OPTS:--Xmx1G -Xms1G} -cp '/opt/kafka/libs/*' \
    -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.yaml kafka.Kafka /opt/kafka/config/server.properties
