//! Errors of EC2's calls.

use crate::error::Error;

/// An error of EC2.
#[derive(Clone, Debug)]
pub(super) struct Ec2Error {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
}

impl Ec2Error {
    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { status: 400, code: code.to_owned(), message: message.into() }
    }
}

impl From<Error> for Ec2Error {
    fn from(error: Error) -> Self {
        Self { status: 500, ..Self::new("InternalError", error.to_string()) }
    }
}
