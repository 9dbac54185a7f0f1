# The image of the driver and the client; e2e/src/chart.rs makes the same content
# without Docker. Both programs are static: the image holds nothing else but
# certificate authorities.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# .cargo/config.toml names the target, which names the directory.
RUN cargo build --release --locked -p carafe -p carafe-csi-driver \
    && mkdir -p /image/usr/bin /image/tmp /image/etc/ssl/certs \
    && chmod 1777 /image/tmp \
    && cp target/*-linux-gnu/release/carafe target/*-linux-gnu/release/carafe-csi-driver /image/usr/bin/ \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM scratch
COPY --from=build /image /
ENV PATH=/usr/bin:/bin
# Nobody, unless told otherwise: the chart says who runs what; to mount without it,
# `--user 0 --privileged`.
USER 65534:65534
ENTRYPOINT ["/usr/bin/carafe"]
