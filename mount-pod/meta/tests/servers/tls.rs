//! Encrypted connections.

use carafe_meta::ConnectError;
use carafe_testkit::{Certificate, MariaDb, Postgres};

use crate::server::{Client, refusal};

#[tokio::test]
async fn postgres_is_spoken_to_as_sslmode_says() {
    let server = Postgres::start();
    let url = |host: &str, options: &str| {
        let port = server.port();
        format!("postgres://postgres@{host}:{port}/postgres?{options}")
    };
    let none = refusal(&url("localhost", "sslmode=require")).await;
    assert!(none.to_string().contains("does not speak TLS"), "{none}");
    let certificate = server.speak_tls();
    // From now on, nobody gets in without.
    server.sql("CREATE ROLE encrypted LOGIN SUPERUSER");
    let trusted = format!("sslrootcert={}", certificate.certificate.display());
    for options in [
        "sslmode=prefer".to_owned(),
        "sslmode=require".to_owned(),
        format!("sslmode=verify-full&{trusted}"),
    ] {
        let client = Client::new(&url("localhost", &options)).await;
        client.create(&options.replace('/', "_")).await;
        let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
             WHERE application_name = 'carafe' AND ssl";
        assert_ne!(server.sql(encrypted).trim(), "0", "{options}");
    }
    // The certificate is for localhost.
    let by_number = url("127.0.0.1", &format!("sslmode=verify-ca&{trusted}"));
    Client::new(&by_number).await.create("verify-ca").await;
    let wrong_name = refusal(&url("127.0.0.1", &format!("sslmode=verify-full&{trusted}"))).await;
    assert!(wrong_name.to_string().contains("TLS"), "{wrong_name}");
    let unknown = refusal(&url("localhost", "sslmode=verify-ca")).await;
    assert!(unknown.to_string().contains("TLS"), "{unknown}");
}

#[tokio::test]
async fn mysql_is_spoken_to_as_tls_says() {
    let dir = tempfile::tempdir().unwrap();
    // The server's user must find it.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let Certificate { certificate, key } = Certificate::make(dir.path());
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&key, open).unwrap();
    let server = MariaDb::start_with(&[
        &format!("--ssl-cert={}", certificate.display()),
        &format!("--ssl-key={}", key.display()),
    ]);
    let database = server.fresh();
    server.sql("CREATE USER encrypted REQUIRE SSL; GRANT ALL ON *.* TO encrypted");
    let url = |tls: &str| {
        let port = server.port();
        format!("mysql://encrypted@(localhost:{port})/{database}?tls={tls}")
    };
    for tls in ["skip-verify", "preferred"] {
        Client::new(&url(tls)).await.create(tls).await;
    }
    let clear = refusal(&url("false")).await;
    assert!(matches!(clear, ConnectError::Refused { .. }), "{clear}");
    let unknown = refusal(&url("true")).await;
    assert!(
        matches!(unknown, ConnectError::Unreachable { .. }),
        "the system does not trust it: {unknown}"
    );
}
