# One image for every service, the gateway and the job before a release: the command says which it is.
#     docker build -t registry.example/citybrain:0.1.0 .
# Its packages are those of requirements/image.txt, by their hashes. The city that builds it pins the base by its digest.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /build
# What changes seldom comes first: its layer is kept.
COPY requirements/image.txt requirements/
RUN python -m venv /opt/city \
 && /opt/city/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/image.txt
COPY . .
RUN /opt/city/bin/python tools/build_stubs.py \
 && /opt/city/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/city/bin/pip install --no-cache-dir --no-deps dist/*.whl \
 && /opt/city/bin/pip uninstall --quiet --yes pip

FROM python:${PYTHON}
# The same number as in k8s/pods.py. Nothing in the image belongs to it, and nothing but /tmp and the data folder is written.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin city
COPY --from=build /opt/city /opt/city
ENV PATH=/opt/city/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/city
USER 10001
ENTRYPOINT ["city"]
