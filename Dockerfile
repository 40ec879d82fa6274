# The builder makes a wheel and an environment with the locked requirements; the image that runs has neither
# compiler nor source tree. Nothing secret goes in: the key comes at run time, as a file or from the environment.
#
#   docker build -t netraven .
#   docker run --rm netraven demo
#   docker run --rm -v netraven:/var/lib/netraven netraven init
#   docker run --detach --stop-timeout 60 -v netraven:/var/lib/netraven netraven

FROM python:3.13-slim AS builder

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

# The environment stands where it will be used: its scripts name their interpreter by path.
RUN python -m venv /usr/local/lib/netraven \
    && python -m venv /build/tools

# Locks first: a change of code alone does not download anything again.
COPY requirements/build.txt requirements/runtime.txt /build/requirements/
RUN /usr/local/lib/netraven/bin/pip install --require-hashes -r /build/requirements/runtime.txt \
    && /build/tools/bin/pip install --require-hashes -r /build/requirements/build.txt

WORKDIR /build/source
COPY pyproject.toml README.md LICENSE ./
COPY alembic ./alembic
COPY netraven ./netraven
RUN /build/tools/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /build/wheel . \
    && /usr/local/lib/netraven/bin/pip install --no-deps --no-index /build/wheel/*.whl \
    && /usr/local/lib/netraven/bin/python -m pip uninstall --yes pip


FROM python:3.13-slim

LABEL org.opencontainers.image.title="netraven" \
      org.opencontainers.image.description="Collects the configurations of large fleets of network devices" \
      org.opencontainers.image.licenses="Apache-2.0"

# For the export to a git repository and its push, over https or ssh ([git] in the settings); nothing else needs them.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git openssh-client ca-certificates \
    && rm -rf /var/lib/apt/lists/*

# A fixed number, so that the owner of a mounted folder can be set from outside.
RUN groupadd --gid 10001 netraven \
    && useradd --uid 10001 --gid netraven --no-create-home --home-dir /var/lib/netraven --shell /usr/sbin/nologin netraven \
    && install --directory --owner netraven --group netraven --mode 0700 /var/lib/netraven

COPY --from=builder /usr/local/lib/netraven /usr/local/lib/netraven

ENV PATH="/usr/local/lib/netraven/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

USER 10001:10001
# Settings (netraven.toml), database and key file are looked for and kept here.
VOLUME /var/lib/netraven
WORKDIR /var/lib/netraven

# Of the daemon, on its own port; a container that runs another command is gone before it counts.
HEALTHCHECK --interval=60s --timeout=10s --start-period=120s --retries=3 CMD ["python", "-c", \
    "from urllib.request import urlopen; urlopen('http://127.0.0.1:9180/healthz', timeout=5)"]

STOPSIGNAL SIGTERM
ENTRYPOINT ["netraven"]
CMD ["serve"]
