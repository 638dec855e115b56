# The Candela node on the CPU. Build and run by docker-compose.yml; see docs/deploy.md.
ARG PYTHON=python:3.11.14-slim-bookworm

FROM ${PYTHON} AS build
# An index of CPU wheels for torch; without it pip takes the CUDA build.
ARG TORCH_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/candela
ENV PATH=/opt/candela/bin:$PATH
WORKDIR /src
# The locks first: these layers are made anew only when they change. Every package by its hash; torch alone, as its build
# is this image's choice and its index has nothing else.
COPY requirements.lock requirements-torch.lock ./
RUN pip install --no-deps --require-hashes -r requirements.lock
RUN pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} -r requirements-torch.lock
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
COPY models models
COPY fhir fhir
COPY orthanc orthanc
COPY dicom_node dicom_node
RUN pip install --no-deps .

FROM ${PYTHON}
RUN groupadd --gid 10001 candela \
 && useradd --uid 10001 --gid candela --home-dir /var/lib/candela --shell /usr/sbin/nologin candela \
 && install -d -o candela -g candela -m 0700 /var/lib/candela \
 && install -d /etc/candela
COPY --from=build /opt/candela /opt/candela
ENV PATH=/opt/candela/bin:$PATH PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp/matplotlib
USER candela
WORKDIR /var/lib/candela
VOLUME /var/lib/candela
EXPOSE 11112
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 11112), 3).close()"]
ENTRYPOINT ["candela"]
CMD ["serve", "--config", "/etc/candela/candela.toml"]
