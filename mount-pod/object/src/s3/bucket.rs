//! How JuiceFS spells an S3 bucket.
//!
//! | spelling | endpoint | bucket |
//! |---|---|---|
//! | `http://host:9000/bucket` | `http://host:9000` | the path's first part |
//! | `https://bucket.s3.region.amazonaws.com` | `https://s3.region.amazonaws.com` | the host's first part |
//! | `https://s3.region.amazonaws.com/bucket` | as given | the path's first part |
//! | `https://bucket.host.example` | `https://host.example` | the host's first part |
//! | `bucket` | Amazon's, in `AWS_REGION` or us-east-1 | all of it |
//!
//! Without a scheme, Amazon's hosts and bare buckets get `https`, others `http`.

use url::Url;

use crate::OpenError;

/// Which of JuiceFS's kinds of S3 it is; they differ in defaults only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `s3`.
    Amazon,
    /// `minio`: the bucket is always in the path, the region in `?region=`.
    Minio,
}

/// A bucket's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Scheme, host and port.
    pub endpoint: String,
    /// The bucket's name.
    pub name: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket stands in the host's name (`JFS_S3_VHOST_STYLE`), not in the path.
    pub virtual_host: bool,
    /// Checksums are kept in user metadata (`?disable-checksum=true` turns it off).
    pub checksums: bool,
    /// The server's certificate is not checked (`?tls-insecure-skip-verify=true`).
    pub insecure: bool,
    /// A file with the authorities to trust besides the usual ones (`?ca-certs=`).
    pub authorities: Option<String>,
}

const DEFAULT_REGION: &str = "us-east-1";

impl Bucket {
    /// Reads a setting's `Bucket`. `environment` gives variables' values.
    pub fn parse(
        family: Family,
        spelled: &str,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, OpenError> {
        let url = url(family, spelled)?;
        let host = url.host_str().unwrap_or_default();
        let (name, host, region) = match bucket_in_path(family, &url) {
            Some(name) => (name, host.to_owned(), region_of(host)),
            None if is_minio(family) => {
                return Err(refuse(
                    spelled,
                    "it names no bucket: write http://host:9000/bucket",
                ));
            }
            None => split_host(host),
        };
        let query = |wanted: &str| {
            url.query_pairs()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.into_owned())
        };
        let is_set = |name: &str| query(name).is_some_and(|value| is_yes(&value));
        let region = query("region")
            .or(region)
            .or_else(|| region_from(family, &environment));
        let virtual_host = environment("JFS_S3_VHOST_STYLE").is_some_and(|value| is_yes(&value));
        let port = url
            .port()
            .map_or_else(String::new, |port| format!(":{port}"));
        Ok(Self {
            endpoint: format!("{}://{host}{port}", url.scheme()),
            name: name.to_owned(),
            region: region.unwrap_or_else(|| DEFAULT_REGION.into()),
            virtual_host: virtual_host || host.contains(".amazonaws.com"),
            checksums: !is_set("disable-checksum"),
            insecure: is_set("tls-insecure-skip-verify"),
            authorities: query("ca-certs").filter(|path| !path.is_empty()),
        })
    }

    pub(super) fn refuse(&self, reason: &str) -> OpenError {
        refuse(&format!("{}/{}", self.endpoint, self.name), reason)
    }
}

fn is_minio(family: Family) -> bool {
    family == Family::Minio
}

fn is_yes(value: &str) -> bool {
    !(value.is_empty() || value == "0" || value.eq_ignore_ascii_case("false"))
}

/// The first part of the path. JuiceFS lets `minio/` stand before it.
fn bucket_in_path(family: Family, url: &Url) -> Option<&str> {
    let mut parts = url.path().split('/').filter(|part| !part.is_empty());
    match (parts.next()?, parts.next()) {
        ("minio", Some(behind)) if is_minio(family) => Some(behind),
        (first, _) => Some(first),
    }
}

fn region_from(family: Family, environment: impl Fn(&str) -> Option<String>) -> Option<String> {
    let minio = if is_minio(family) {
        environment("MINIO_REGION")
    } else {
        None
    };
    minio
        .or_else(|| environment("AWS_REGION"))
        .or_else(|| environment("AWS_DEFAULT_REGION"))
}

/// A bucket's spelling may carry a user and a password: they are not repeated.
fn refuse(spelled: &str, reason: &str) -> OpenError {
    let without_query = spelled.split('?').next().unwrap_or_default();
    let shown = match without_query.split_once('@') {
        Some((_, behind)) => behind,
        None => without_query,
    };
    OpenError::Bucket {
        bucket: shown.into(),
        reason: reason.into(),
    }
}

fn url(family: Family, spelled: &str) -> Result<Url, OpenError> {
    let spelled = spelled.trim_end_matches('/');
    let amazon = !spelled.contains('.') || spelled.contains(".amazonaws.com");
    let whole = match spelled.contains("://") {
        true => spelled.to_owned(),
        false if amazon && !is_minio(family) => format!("https://{spelled}"),
        false => format!("http://{spelled}"),
    };
    let url = Url::parse(&whole).map_err(|error| refuse(spelled, &error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(refuse(
            spelled,
            "write http[s]://host[:port]/bucket or https://bucket.host",
        ));
    }
    Ok(url)
}

/// Bucket, remaining host and region of a host that begins with the bucket.
fn split_host(host: &str) -> (&str, String, Option<String>) {
    if let Some((bucket, rest)) = host
        .split_once(".s3")
        .filter(|_| host.contains(".amazonaws.com"))
    {
        let host = format!("s3{rest}");
        let region = region_of(&host);
        return (bucket, host, region);
    }
    match host.split_once('.') {
        Some((bucket, rest)) => (bucket, rest.to_owned(), region_of(rest)),
        None => (host, "s3.amazonaws.com".into(), None),
    }
}

/// The region that a host's name tells, for Amazon's hosts (private endpoints too).
fn region_of(host: &str) -> Option<String> {
    let (front, _) = host.split_once(".amazonaws.com")?;
    if let Some(front) = front.strip_suffix(".vpce") {
        return front.rsplit('.').next().map(str::to_owned);
    }
    let front = front
        .strip_prefix("s3")
        .unwrap_or(front)
        .trim_start_matches(['-', '.']);
    let region = front.strip_prefix("dualstack.").unwrap_or(front);
    (!region.is_empty() && region != "external-1").then(|| region.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(family: Family, spelled: &str) -> Bucket {
        Bucket::parse(family, spelled, |_| None).unwrap()
    }

    #[test]
    fn every_spelling_is_read() {
        let table = [
            (
                "http://127.0.0.1:9000/data",
                "http://127.0.0.1:9000",
                "data",
                "us-east-1",
                false,
            ),
            (
                "http://minio.svc.cluster.local:9000/data/",
                "http://minio.svc.cluster.local:9000",
                "data",
                "us-east-1",
                false,
            ),
            (
                "https://data.s3.eu-west-1.amazonaws.com",
                "https://s3.eu-west-1.amazonaws.com",
                "data",
                "eu-west-1",
                true,
            ),
            (
                "https://s3.eu-west-1.amazonaws.com/data",
                "https://s3.eu-west-1.amazonaws.com",
                "data",
                "eu-west-1",
                true,
            ),
            (
                "data.s3-eu-west-1.amazonaws.com",
                "https://s3-eu-west-1.amazonaws.com",
                "data",
                "eu-west-1",
                true,
            ),
            (
                "https://data.s3.amazonaws.com",
                "https://s3.amazonaws.com",
                "data",
                "us-east-1",
                true,
            ),
            (
                "https://data.s3.cn-north-1.amazonaws.com.cn",
                "https://s3.cn-north-1.amazonaws.com.cn",
                "data",
                "cn-north-1",
                true,
            ),
            (
                "https://data.objects.example.com",
                "https://objects.example.com",
                "data",
                "us-east-1",
                false,
            ),
            (
                "data.objects.example.com",
                "http://objects.example.com",
                "data",
                "us-east-1",
                false,
            ),
            (
                "data",
                "https://s3.amazonaws.com",
                "data",
                "us-east-1",
                true,
            ),
        ];
        for (spelled, endpoint, name, region, virtual_host) in table {
            let bucket = parse(Family::Amazon, spelled);
            let found = (
                bucket.endpoint.as_str(),
                bucket.name.as_str(),
                bucket.region.as_str(),
                bucket.virtual_host,
            );
            assert_eq!(found, (endpoint, name, region, virtual_host), "{spelled}");
        }
    }

    #[test]
    fn minio_has_its_bucket_in_the_path() {
        let bucket = parse(
            Family::Minio,
            "127.0.0.1:9000/minio/data?region=here&disable-checksum=true",
        );
        assert_eq!(
            (
                bucket.name.as_str(),
                bucket.region.as_str(),
                bucket.checksums
            ),
            ("data", "here", false)
        );
        assert!(
            Bucket::parse(Family::Minio, "http://data.example.com", |_| None).is_err(),
            "no bucket in the path"
        );
    }

    #[test]
    fn a_refusal_repeats_no_secret() {
        let refused = Bucket::parse(
            Family::Amazon,
            "ftp://user:hunter2@host/data?token=hunter2",
            |_| None,
        )
        .unwrap_err();
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
    }

    #[test]
    fn the_environment_names_the_region_and_the_style() {
        let environment = |name: &str| match name {
            "AWS_REGION" => Some("mars-1".to_owned()),
            "JFS_S3_VHOST_STYLE" => Some("true".to_owned()),
            _ => None,
        };
        let bucket = Bucket::parse(Family::Amazon, "http://host:1/data", environment).unwrap();
        assert_eq!(
            (bucket.region.as_str(), bucket.virtual_host),
            ("mars-1", true)
        );
    }
}
