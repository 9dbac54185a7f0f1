//! Making a bucket: one signed request, for which the S3 library below has no call.

use http::{Request, StatusCode};
use opendal::{Buffer, HttpTransporter};
use reqsign_aws_v4::{RequestSigner, StaticCredentialProvider};
use reqsign_core::{Context, Signer};

use super::Bucket;
use crate::{Credentials, ObjectError, Result};

/// Makes `bucket`; one that is ours already is no error.
pub(super) async fn create(
    bucket: &Bucket,
    transport: &HttpTransporter,
    credentials: &Credentials,
) -> Result<()> {
    if matches!(credentials.access_key.as_str(), "" | "anonymous") {
        return Err(ObjectError::NoBucket(bucket.name.clone()));
    }
    let (mut head, body) = request(bucket).map_err(|error| other(&error))?.into_parts();
    let provider =
        StaticCredentialProvider::new(&credentials.access_key, credentials.secret_key.expose())
            .with_session_token(credentials.session_token.expose());
    let signer = Signer::new(
        Context::new(),
        provider,
        RequestSigner::new("s3", &bucket.region),
    );
    signer
        .sign(&mut head, None)
        .await
        .map_err(|error| other(&error))?;
    let answer = transport.send(Request::from_parts(head, body)).await;
    let answer = answer.map_err(|error| ObjectError::Unreachable(super::said(&error)))?;
    judge(
        bucket,
        answer.status(),
        &String::from_utf8_lossy(&answer.body().to_bytes()),
    )
}

fn request(bucket: &Bucket) -> http::Result<Request<Buffer>> {
    let uri = match (bucket.virtual_host, bucket.endpoint.split_once("://")) {
        (true, Some((scheme, host))) => format!("{scheme}://{}.{host}/", bucket.name),
        _ => format!("{}/{}", bucket.endpoint, bucket.name),
    };
    // Amazon's oldest region has no name here; other servers take their own for granted.
    let body = match bucket.region.as_str() {
        "us-east-1" => String::new(),
        region => format!(
            "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
        ),
    };
    Request::put(uri)
        .header("content-length", body.len())
        .body(Buffer::from(body))
}

fn judge(bucket: &Bucket, status: StatusCode, answer: &str) -> Result<()> {
    let code = between(answer, "<Code>", "</Code>").unwrap_or(status.as_str());
    if status.is_success() || code == "BucketAlreadyOwnedByYou" {
        return Ok(());
    }
    let what = format!("{}, which could not be made: {code}", bucket.name);
    Err(if status == StatusCode::FORBIDDEN {
        ObjectError::Denied(what)
    } else {
        ObjectError::NoBucket(what)
    })
}

fn between<'a>(text: &'a str, before: &str, behind: &str) -> Option<&'a str> {
    text.split_once(before)?
        .1
        .split_once(behind)
        .map(|(found, _)| found)
}

fn other(error: &dyn std::error::Error) -> ObjectError {
    ObjectError::Other(error.to_string())
}
