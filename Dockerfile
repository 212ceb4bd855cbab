# The runtime of an environment's image, for those who prefer `docker build` to `rlops build`; `make image` calls it.
#
#   BASE     an image with Python 3.11 or newer and its venv module
#   wheels/  in the build context: rlops and all that its base dependencies need, for the Python of BASE
#
# Nothing is fetched: it builds with --network none.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS unpacked
COPY wheels /wheels
RUN python3 -m venv /pip \
 && install="/pip/bin/python -m pip install --no-index --no-deps --no-compile --root-user-action ignore" \
 && mkdir /project && mv /wheels/rlops-*.whl /project \
 && $install --target /opt/rlops/dependencies /wheels/*.whl \
 && $install --target /opt/rlops/project /project/*.whl

FROM ${BASE}
ARG ID=rlops/Dispatch-v2
COPY --from=unpacked /opt/rlops /opt/rlops
ENV PYTHONPATH=/opt/rlops/project:/opt/rlops/dependencies \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    RLOPS_CACHE_DIR=/opt/rlops/compiled \
    RLOPS_ENV_ID=${ID}
# Compiled once, so that the first step comes at once.
RUN python3 -W ignore -c "import os, gymnasium, rlops; \
envs = gymnasium.make_vec(os.environ['RLOPS_ENV_ID'], num_envs=2); envs.reset(seed=0); envs.step(envs.action_space.sample())" \
 && chmod -R a+rX /opt/rlops
LABEL dev.rlops.env.id=${ID} dev.rlops.protocol=1.0.0
USER 65532:65532
WORKDIR /tmp
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
  CMD ["python3", "-c", "import socket; socket.socket(socket.AF_UNIX).connect('/run/rlops/env.sock')"]
ENTRYPOINT ["sh", "-c", "exec python3 -m rlops.cli serve \"$RLOPS_ENV_ID\" --socket /run/rlops/env.sock \"$@\"", "serve"]
