#!/bin/sh
# Ask Twinlens to look at a key again, with Kafka's own console producer:
#
#     console-producer.sh BOOTSTRAP KEY
#
# CONSOLE_PRODUCER is the program; in Kafka's own distribution it is bin/kafka-console-producer.sh.
set -eu
request_id="console-$$-$(date +%s)"
printf '%s\t%s\n' "$2" "{\"schema\": 1, \"request_id\": \"$request_id\", \"op\": \"look\", \"key\": \"$2\"}" |
    ${CONSOLE_PRODUCER:-kafka-console-producer.sh} --bootstrap-server "$1" --topic "${TWINLENS_KAFKA__TOPIC_PREFIX:-twinlens.}image-requests" \
        --property parse.key=true --property 'key.separator=	'
echo "$request_id"
