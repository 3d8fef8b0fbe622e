# earthwords on a CPU, as a user without rights. By default it serves the folder /data on port 8765:
#     docker build -t earthwords . && docker run --rm -p 127.0.0.1:8765:8765 -v "$PWD:/data" earthwords
# Any other command: docker run --rm -v "$PWD:/data" earthwords segment ortho.tif out -t building
# With `--build-arg TORCH_INDEX=URL` of PyTorch's index of CPU builds no CUDA libraries are downloaded.
FROM python:3.12-slim AS build
ARG TORCH_INDEX=
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m venv /opt/earthwords \
 && /opt/earthwords/bin/pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".[serve]"

FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends libexpat1 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 earthwords && mkdir /data && chown earthwords /data
COPY --from=build /opt/earthwords /opt/earthwords
USER earthwords
WORKDIR /data
EXPOSE 8765
ENTRYPOINT ["/opt/earthwords/bin/earthwords"]
CMD ["serve", "/data", "--host", "0.0.0.0", "--no-open"]
