//! Amazon S3 and what speaks its language.

mod bucket;
mod create;
mod http;

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use carafe_types::Secret;
use futures_util::TryStreamExt;
use opendal::{Buffer, ErrorKind, HttpTransporter, OperationContext, Operator, services};
use parking_lot::RwLock;

use crate::{
    Credentials, Object, ObjectError, ObjectMeta, ObjectStore, OpenError, Page, Result, Traits,
};

pub use bucket::{Bucket, Family};

/// The name of the user metadata that holds an object's CRC32C, as a decimal number.
const CHECKSUM: &str = "crc32c";

/// A bucket, and the credentials in use.
#[derive(Debug)]
pub struct S3 {
    bucket: Bucket,
    storage_class: String,
    transport: HttpTransporter,
    operator: RwLock<Arc<Operator>>,
    credentials: RwLock<Credentials>,
}

impl S3 {
    /// Opens a bucket; sends nothing yet.
    pub fn open(
        bucket: Bucket,
        storage_class: &str,
        credentials: &Credentials,
    ) -> Result<Self, OpenError> {
        let transport = http::transport(&bucket)?;
        let operator = operator(&bucket, storage_class, &transport, credentials)?;
        let operator = RwLock::new(Arc::new(operator));
        let credentials = RwLock::new(credentials.clone());
        Ok(Self {
            bucket,
            storage_class: storage_class.into(),
            transport,
            operator,
            credentials,
        })
    }

    fn operator(&self) -> Arc<Operator> {
        Arc::clone(&self.operator.read())
    }

    fn explain(&self, key: &str, error: &opendal::Error) -> ObjectError {
        let said = said(error);
        match error.kind() {
            // Whatever the status: a key that is unknown is not a missing object.
            _ if is_about_the_key(&said) => ObjectError::Denied(said),
            ErrorKind::NotFound => ObjectError::NotFound(key.into()),
            ErrorKind::PermissionDenied => ObjectError::Denied(said),
            ErrorKind::ConfigInvalid if said.contains("NoSuchBucket") => {
                ObjectError::NoBucket(format!("{} ({said})", self.bucket.name))
            }
            ErrorKind::RateLimited => ObjectError::Busy(said),
            // The HTTP client words it so when no response came at all.
            _ if said.contains("send http request") => {
                ObjectError::Unreachable(format!("{}: {said}", self.bucket.endpoint))
            }
            _ if error.is_temporary() => ObjectError::Busy(said),
            _ => ObjectError::Other(said),
        }
    }
}

/// Whether a server's answer is about who asks, by its code. Some say so with status
/// 404 or 400; without any key to sign with, nothing was sent.
fn is_about_the_key(said: &str) -> bool {
    const CODES: [&str; 7] = [
        "InvalidAccessKeyId",
        "XAdminUserNotFound",
        "SignatureDoesNotMatch",
        "AccessDenied",
        "ExpiredToken",
        "InvalidToken",
        "TokenRefreshRequired",
    ];
    let code = said.split(':').next().unwrap_or_default();
    CODES.contains(&code) || said.contains("load signing credential")
}

/// The code and message of a server's answer, or what the client says, with the
/// innermost cause. Neither holds a secret; the request, which might, is left out.
fn said(error: &opendal::Error) -> String {
    let message = error.message();
    let field = |name: &str| {
        let rest = message.split_once(&format!("{name}: \""))?.1;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    if let (Some(code), Some(text)) = (field("code"), field("message")) {
        return format!("{code}: {text}");
    }
    let mut said: String = message.chars().take(200).collect();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    if let Some(cause) = cause {
        said = format!("{said}: {cause}");
    }
    said
}

fn operator(
    bucket: &Bucket,
    storage_class: &str,
    transport: &HttpTransporter,
    credentials: &Credentials,
) -> Result<Operator, OpenError> {
    let mut builder = services::S3::default()
        .bucket(&bucket.name)
        .endpoint(&bucket.endpoint)
        .region(&bucket.region);
    if bucket.virtual_host {
        builder = builder.enable_virtual_host_style();
    }
    if !storage_class.is_empty() {
        builder = builder.default_storage_class(storage_class);
    }
    let refused = |error: opendal::Error| bucket.refuse(error.message());
    let operator = Operator::new(with_credentials(builder, credentials)).map_err(refused)?;
    Ok(operator.with_context(OperationContext::new().with_http_transport(transport.clone())))
}

/// Without an access key the environment's and the machine's roles are asked, as
/// the AWS tools do; `anonymous` sends no signature.
fn with_credentials(builder: services::S3, credentials: &Credentials) -> services::S3 {
    let Credentials {
        access_key,
        secret_key,
        session_token,
    } = credentials;
    let token = |builder: services::S3, token: &Secret| {
        if token.is_empty() {
            builder
        } else {
            builder.session_token(token.expose())
        }
    };
    match access_key.as_str() {
        "" => builder,
        "anonymous" => builder.disable_config_load().skip_signature(),
        key => {
            let builder = builder.disable_config_load().disable_ec2_metadata();
            token(
                builder
                    .access_key_id(key)
                    .secret_access_key(secret_key.expose()),
                session_token,
            )
        }
    }
}

fn describe(key: String, meta: &opendal::Metadata) -> ObjectMeta {
    let modified = meta
        .last_modified()
        .map(|time| time.into_inner().as_second());
    ObjectMeta {
        key,
        size: meta.content_length(),
        modified,
    }
}

#[async_trait]
impl ObjectStore for S3 {
    fn describe(&self) -> String {
        format!("{}/{}/", self.bucket.endpoint, self.bucket.name)
    }

    fn traits(&self) -> Traits {
        Traits {
            cheap_ranges: true,
            keeps_checksum: self.bucket.checksums,
        }
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        let operator = self.operator();
        let read = async {
            let reader = operator.reader(key).await?;
            let buffer = match range {
                Some(range) => reader.read(range).await?,
                None => reader.read(..).await?,
            };
            let of = |meta: &opendal::Metadata| meta.user_metadata()?.get(CHECKSUM)?.parse().ok();
            Ok(Object {
                parts: buffer.collect(),
                crc32c: reader.metadata().and_then(of),
            })
        };
        match read.await {
            Err(error) if opendal::Error::kind(&error) == ErrorKind::RangeNotSatisfied => {
                Ok(Object::default())
            }
            other => other.map_err(|error| self.explain(key, &error)),
        }
    }

    async fn put(&self, key: &str, object: Object) -> Result<()> {
        let checksum = object
            .crc32c
            .map(|crc32c| (CHECKSUM.to_owned(), crc32c.to_string()));
        let operator = self.operator();
        let write = operator
            .write_with(key, Buffer::from(object.parts))
            .user_metadata(checksum);
        write
            .await
            .map(drop)
            .map_err(|error| self.explain(key, &error))
    }

    async fn delete(&self, key: &str) -> Result<()> {
        match self.operator().delete(key).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.explain(key, &error)),
            _ => Ok(()),
        }
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta> {
        let meta = self
            .operator()
            .stat(key)
            .await
            .map_err(|error| self.explain(key, &error))?;
        Ok(describe(key.into(), &meta))
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Page> {
        let operator = self.operator();
        let read = async {
            let lister = operator
                .lister_with(prefix)
                .recursive(true)
                .limit(limit.min(1000));
            let mut lister = if after.is_empty() {
                lister.await?
            } else {
                lister.start_after(after).await?
            };
            let mut objects = Vec::new();
            while objects.len() < limit
                && let Some(entry) = lister.try_next().await?
            {
                if entry.metadata().is_file() {
                    objects.push(describe(entry.path().into(), entry.metadata()));
                }
            }
            Ok(Page::cut(objects, limit))
        };
        read.await
            .map_err(|error: opendal::Error| self.explain(prefix, &error))
    }

    async fn create(&self) -> Result<()> {
        let credentials = self.credentials.read().clone();
        create::create(&self.bucket, &self.transport, &credentials).await
    }

    fn reload(&self, credentials: &Credentials) -> Result<(), OpenError> {
        let fresh = operator(
            &self.bucket,
            &self.storage_class,
            &self.transport,
            credentials,
        )?;
        *self.operator.write() = Arc::new(fresh);
        *self.credentials.write() = credentials.clone();
        Ok(())
    }
}
