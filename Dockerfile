# Two images from a checkout: `docker build --target connector .`, and `docker build --target file-steps .`

FROM python:3.12-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# A user of Flyte's images is called so, and owns /root: flytekit unpacks and imports a workflow's code there. The image
# closes /root to all others; but a cluster may choose the user, as OpenShift does, whose users are all of group 0.
FROM python:3.12-slim AS base
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 PYTHONPATH=/root
RUN useradd --uid 1000 --gid 0 --home-dir /root flytekit && chown flytekit:0 /root && chmod u=rwx,g=u,o=rx /root
WORKDIR /root
COPY --from=wheel /wheels /wheels

# What the connector deployment runs. It reads its key from /etc/secrets, or from _FSEC_FLYTE_OPENAI_API_KEY.
FROM base AS connector
RUN pip install "$(ls /wheels/*.whl)[connector]"
USER 1000
EXPOSE 8000 9090
# A container's first process gets only the signals that it handles, and pyflyte does not handle SIGTERM.
STOPSIGNAL SIGINT
CMD ["pyflyte", "serve", "connector", "--port", "8000", "--prometheus_port", "9090"]

# What the upload and download steps run, and the tasks of a workflow that is registered with this image: Flyte says what.
FROM base AS file-steps
RUN pip install "$(ls /wheels/*.whl)[prices,tables,tokens]"
USER 1000
