# Two images from a checkout: `docker build --target connector .`, and `docker build --target file-steps .`

FROM python:3.12-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# A user of Flyte's images is called so, and owns /root: flytekit unpacks and imports a workflow's code there. The image
# closes /root to all others; but a cluster may choose the user, as OpenShift does, whose users are all of group 0.
FROM python:3.12-slim AS base
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 PYTHONPATH=/root
LABEL org.opencontainers.image.version="1.17.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/flyteorg/flytekit/tree/master/plugins/flytekit-openai" \
      org.opencontainers.image.base.name="docker.io/library/python:3.12-slim"
RUN useradd --uid 1000 --gid 0 --home-dir /root flytekit && chown flytekit:0 /root && chmod u=rwx,g=u,o=rx /root
WORKDIR /root
COPY --from=wheel /wheels /wheels

# What the connector deployment runs. It reads its key from /etc/secrets, or from _FSEC_FLYTE_OPENAI_API_KEY.
FROM base AS connector
LABEL org.opencontainers.image.title="flytekitplugins-openai connector" \
      org.opencontainers.image.description="Flyte's connector for OpenAI's Batch API: submits, polls and cancels batches"
RUN pip install "$(ls /wheels/*.whl)[connector]"
# Over flytekit's own, so that the service ends on SIGTERM whoever starts it.
COPY docker/pyflyte.py /usr/local/bin/pyflyte
COPY docker/probe.py /usr/local/bin/probe
USER 1000
EXPOSE 8000 9090
# Both signals end it; Python handles this one from its first moment.
STOPSIGNAL SIGINT
# For Docker. In Kubernetes use a gRPC probe of port 8000.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["probe"]
CMD ["pyflyte", "serve", "connector", "--port", "8000", "--prometheus_port", "9090"]

# What the upload and download steps run, and the tasks of a workflow that is registered with this image: Flyte says what.
FROM base AS file-steps
LABEL org.opencontainers.image.title="flytekitplugins-openai file steps" \
      org.opencontainers.image.description="The upload and download steps of workflows that run OpenAI's Batch API"
RUN pip install "$(ls /wheels/*.whl)[prices,tables,tokens]" dumb-init==1.2.5.post1
USER 1000
# The kernel hides SIGTERM from a container's first process if it has no handler, and no step has one. Flyte only gives
# arguments, and leaves the entry point as it is.
ENTRYPOINT ["dumb-init", "--"]
