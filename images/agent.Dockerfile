ARG BASE=gcr.io/distroless/static-debian12:nonroot
FROM ${BASE}
ARG VERSION REVISION CREATED
LABEL org.opencontainers.image.title="fairlead-agent" \
      org.opencontainers.image.description="Watches Kubernetes clusters for Spinnaker's Clouddriver and executes its operations" \
      org.opencontainers.image.source="https://github.com/fairlead/fairlead" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY fairlead-agent /usr/bin/fairlead-agent
USER 65532:65532
EXPOSE 8082 8008
ENTRYPOINT ["/usr/bin/fairlead-agent"]
