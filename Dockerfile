# The image of the driver and the client; e2e/src/chart.rs makes the same content
# without Docker. Both programs are static: the image holds nothing else but
# certificate authorities.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p carafe -p carafe-csi-driver \
    && mkdir -p /image/usr/bin /image/tmp /image/etc/ssl/certs \
    && chmod 1777 /image/tmp \
    && cp target/x86_64-unknown-linux-gnu/release/carafe target/x86_64-unknown-linux-gnu/release/carafe-csi-driver /image/usr/bin/ \
    && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM scratch
COPY --from=build /image /
ENV PATH=/usr/bin
ENTRYPOINT ["/usr/bin/carafe"]
