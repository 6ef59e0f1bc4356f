# A base for where no image registry can be reached: certificates of public authorities, a user, /tmp. In the open, a distroless image has the
# same: see build.
FROM scratch
COPY rootfs /
USER 65532:65532
