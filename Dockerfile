# One image for web, worker and gpu-worker. The front end is built in a stage of its own.
FROM node:22-slim AS front
WORKDIR /src/frontend
COPY frontend/package.json frontend/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY frontend ./
RUN npm run build

FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1
RUN useradd --create-home nearer
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE manage.py ./
COPY webapp webapp
COPY labeling labeling
COPY training training
COPY --from=front /src/frontend/dist frontend/dist
RUN pip install -e . -c constraints.txt \
    && mkdir -p /data && chown nearer /data \
    && NEARER_VAR=/data NEARER_STATIC=/app/static python manage.py collectstatic --noinput --verbosity 0 \
    && rm -rf /data/* 
ENV NEARER_VAR=/data NEARER_STATIC=/app/static
VOLUME /data
USER nearer
EXPOSE 8000
CMD ["gunicorn", "webapp.wsgi", "--bind", "0.0.0.0:8000", "--workers", "2", "--threads", "8", "--worker-class", "webapp.serving.Worker"]
