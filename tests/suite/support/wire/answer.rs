//! An answer that is known whole: status, headers, body.

use bytes::Bytes;
use serde_json::json;

use super::{BoxBody, full};

/// What a server says; also what [`super::Fault::Status`] says instead.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// The distribution specification's form of an error.
    pub(crate) fn error(status: u16, code: &str, detail: &serde_json::Value) -> Self {
        let message = code.to_lowercase().replace('_', " ");
        Self::errors(
            status,
            &[json!({"code": code, "message": message, "detail": detail})],
        )
    }

    /// The same with several errors.
    pub(crate) fn errors(status: u16, errors: &[serde_json::Value]) -> Self {
        Self::new(status).json(&json!({ "errors": errors }))
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, media_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("Content-Type", media_type)
    }

    pub(crate) fn json(self, body: &serde_json::Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(crate) fn into_response(self) -> hyper::Response<BoxBody> {
        let mut response = hyper::Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        if self.status != 204
            && !self
                .headers
                .iter()
                .any(|(name, _)| name == "Content-Length" || name == "Transfer-Encoding")
        {
            response = response.header("Content-Length", self.body.len());
        }
        response
            .body(full(self.body))
            .expect("headers of tests are well formed")
    }

    /// The same without its body, as an answer to HEAD.
    pub(crate) fn bodiless(mut self) -> Self {
        let length = self.body.len().to_string();
        self.body = Bytes::new();
        self.header("Content-Length", length)
    }
}
