# The packages are installed in one stage and copied into the other, which has
# neither pip nor the lock file in its layers.
FROM python:3.13-slim AS packages
RUN python -m venv --without-pip /opt/venv
COPY requirements/service.txt /tmp/requirements.txt
# the Kubernetes client comes twice: the one for asyncio, 64 MB, is used by nobody here
RUN pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
      --root-user-action ignore --require-hashes --only-binary :all: -r /tmp/requirements.txt \
    && rm -r /opt/venv/lib/python3.*/site-packages/kubernetes/aio

FROM python:3.13-slim
COPY --from=packages /opt/venv /opt/venv
COPY keeper /srv/keeper
COPY secret_files /srv/secret_files
COPY app /srv/app
# readable whatever the clone's umask was; compiled, since the file system is read-only where it runs
RUN chmod -R a+rX /srv && /opt/venv/bin/python -m compileall -q /srv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /srv
# a number, so that Kubernetes can see that it is not root
USER 10001:10001
EXPOSE 8443 9090
CMD ["python", "-m", "gunicorn", "--config", "app/gunicorn.conf.py"]
