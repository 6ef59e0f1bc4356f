ARG BASE=gcr.io/distroless/static-debian12:nonroot
FROM ${BASE}
ARG VERSION REVISION CREATED
LABEL org.opencontainers.image.title="clouddriver-plugin" \
      org.opencontainers.image.description="Copies the Fairlead plugin to /opt/plugin/target, as an init container of Clouddriver" \
      org.opencontainers.image.source="https://github.com/fairlead/fairlead" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY plugin-copy /usr/bin/plugin-copy
COPY fairlead-clouddriver-plugin.jar /plugin/
USER 10111:10111
ENTRYPOINT ["/usr/bin/plugin-copy"]
