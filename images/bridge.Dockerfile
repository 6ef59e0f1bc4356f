ARG BASE=gcr.io/distroless/static-debian12:nonroot
FROM ${BASE}
ARG VERSION REVISION CREATED
LABEL org.opencontainers.image.title="fairlead-bridge" \
      org.opencontainers.image.description="Connects Spinnaker's Clouddriver to the agents in its clusters; with fairlead, the operator's command line" \
      org.opencontainers.image.source="https://github.com/fairlead/fairlead" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY fairlead-bridge fairlead /usr/bin/
# The user of Clouddriver's images: the two containers share a secret that only its owner may read.
USER 10111:10111
EXPOSE 9091 8082 8008
ENTRYPOINT ["/usr/bin/fairlead-bridge"]
