# The gateway's image: built in one stage, run in another that has Python, the gateway, its locked requirements, and nothing to
# build or install with. tests/deploy/test_image.py carries out these very lines.
#
#   docker build -t workspace-gateway .
#   docker run --read-only --cap-drop ALL -v gateway-data:/data -p 127.0.0.1:8080:8080 workspace-gateway

# Another registry, or a digest, by --build-arg PYTHON_IMAGE=… The tests run on the same minor version.
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_CACHE_DIR=/cache

COPY requirements-build.lock requirements.lock ./
RUN --mount=type=cache,target=/cache \
    python -m venv /tools \
 && /tools/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements-build.lock \
 && python -m venv --without-pip /opt/gateway \
 && python -m pip --python /opt/gateway/bin/python install --quiet --require-hashes --only-binary :all: -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY gateway gateway
RUN /tools/bin/python -m hatchling build -t wheel -d /wheel \
 && python -m pip --python /opt/gateway/bin/python install --quiet --no-index --no-deps /wheel/*.whl

FROM ${PYTHON_IMAGE}
# Nobody installs anything here any more. The user's number is what a volume, or runAsNonRoot, needs to know.
RUN python -m pip uninstall --quiet --yes --root-user-action ignore pip setuptools wheel \
 && groupadd --gid 10001 gateway \
 && useradd --uid 10001 --gid gateway --no-create-home --home-dir /data --shell /usr/sbin/nologin gateway \
 && install --directory --owner gateway --group gateway --mode 0700 /data \
 && install --directory /etc/gateway
COPY --from=build /opt/gateway /opt/gateway

ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAY_HOST=0.0.0.0 \
    GATEWAY_DATA_DIR=/data
# A gateway.toml that is mounted here is read.
WORKDIR /etc/gateway
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8080
# Told to stop, it lets calls under way end (server.drain_seconds and server.graceful_timeout_seconds): give it that time and 15 s.
STOPSIGNAL SIGTERM
# Whether it lives, not whether it is ready: some who run containers restart an unhealthy one, and a gateway whose database is
# away goes on with the keys that it knows.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["gateway", "health", "--live"]
ENTRYPOINT ["gateway"]
CMD ["serve"]

ARG REVISION=unknown
LABEL org.opencontainers.image.title="workspace-gateway" \
      org.opencontainers.image.description="An OpenAI-compatible gateway with workspaces, model grants, exact rate limits and metering" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
