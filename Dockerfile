# edgeprof with what its built-in workloads need; docs/containers.md tells what it is for.
#
#   docker build --build-arg EXTRAS=torch,data --tag edgeprof:0.1.0 .
#
# PIP_INDEX_URL and PIP_EXTRA_INDEX_URL may be given as build arguments, too: PyTorch's index of CPU builds saves
# gigabytes.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}
ARG EXTRAS=torch,data
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PYTHONUNBUFFERED=1
COPY . /usr/src/edgeprof
RUN python3 -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
        "/usr/src/edgeprof[${EXTRAS}]" \
    && rm -rf /usr/src/edgeprof
CMD ["edgeprof", "--help"]
