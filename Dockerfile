# docker build -t edgeq .
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" edgeq convert model.keras --data samples.npz -o model.tflite
#
# The image runs edgeq with TensorFlow, in the versions of scripts/convert.lock. Any base with Python 3.10
# to 3.13, its venv, and glibc will do: --build-arg BASE=...
ARG BASE=docker.io/library/python:3.12-slim

FROM ${BASE} AS build
RUN python3 -m venv /opt/edgeq
# pip also writes the bytecode, which the image's user cannot do.
COPY scripts/convert.lock /source/
RUN /opt/edgeq/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r /source/convert.lock
COPY pyproject.toml setup.py README.md LICENSE /source/
COPY edgeq /source/edgeq
COPY converters /source/converters
COPY device_runners /source/device_runners
COPY models /source/models
RUN /opt/edgeq/bin/pip install --no-deps --no-build-isolation /source \
    && rm -r /opt/edgeq/lib/python3*/site-packages/tensorflow/include

FROM ${BASE}
COPY --from=build /opt/edgeq /opt/edgeq
RUN useradd --uid 10001 --create-home edgeq && mkdir /work && chown edgeq /work
ENV PATH=/opt/edgeq/bin:$PATH HOME=/tmp
USER 10001
WORKDIR /work
ENTRYPOINT ["edgeq"]
