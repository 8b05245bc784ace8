# The sidecar as an image. From the top of the tree:
#   docker build -f deploy/sidecar.Dockerfile -t rescorer-sidecar .                             the CPU, without torch
#   docker build -f deploy/sidecar.Dockerfile -t rescorer-sidecar-gpu --build-arg EXTRA=sidecar .   torch with CUDA
FROM python:3.12-slim-bookworm AS build

# onnx or sidecar: the extras of pyproject.toml. torch from the lock brings the CUDA libraries; the host needs the driver.
ARG EXTRA=onnx

# uv and not pip, which refuses a lock with hashes for a folder of sources; the version is the Makefile's.
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE NOTICE ./
COPY index_templates index_templates
COPY proto proto
COPY plugin plugin
COPY sidecar sidecar
RUN uv venv /opt/rescorer \
 && uv pip install --no-cache --python /opt/rescorer/bin/python \
      --constraint requirements.lock --build-constraint requirements.lock ".[${EXTRA},redis]"

FROM python:3.12-slim-bookworm
# The compiler makes the native forward pass for the processor that the container starts on.
RUN apt-get update -q && apt-get install -qy --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/rescorer /opt/rescorer
RUN useradd --system --uid 10001 --create-home rescorer \
 && install --directory --owner rescorer --group rescorer /models
# All that is written goes to /models and /tmp, so that the rest of the image can be mounted read-only.
ENV PATH=/opt/rescorer/bin:$PATH \
    HF_HOME=/models \
    RESCORER_CACHE=/models/rescorer \
    TRITON_CACHE_DIR=/models/triton \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001
VOLUME /models
EXPOSE 50051 8080

# Ready only once the models are warm, no longer while draining; a first start downloads the models. It asks /readyz, for
# which neither token nor certificate is needed.
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 CMD ["python", "-m", "rescorer_sidecar.probe", "8080"]

ENTRYPOINT ["rescorer-sidecar", "--host", "0.0.0.0", "--port", "50051", "--http-port", "8080"]
CMD ["--model", "cross-encoder/ms-marco-MiniLM-L-12-v2"]
