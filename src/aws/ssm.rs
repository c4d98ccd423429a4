//! Parameters of Systems Manager: names that stand for the id of an AMI.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::json;

use crate::aws::client::Asked;
use crate::aws::client::Aws;
use crate::aws::fault::Refusal;
use crate::aws::place::Service;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::http::Method;

impl Aws<'_, '_> {
    fn ssm(&self, region: &str, call: &str, parameters: &Value) -> Result<Result<Value, Refusal>> {
        let mut asked = Asked::new(Service::Ssm, region, call, Method::Post, "/");
        asked.headers.push(("Content-Type", "application/x-amz-json-1.1".to_owned()));
        asked.headers.push(("X-Amz-Target", format!("AmazonSSM.{call}")));
        asked.body = Cow::Owned(parameters.to_string().into_bytes());
        let answer = match self.try_ask(&asked)? {
            Ok(answer) => answer,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let text = format!("{call} was answered with something else than JSON");
        let answer =
            serde_json::from_slice(&answer.body).map_err(|_| Error::new(Kind::Io, text))?;
        Ok(Ok(answer))
    }

    /// Returns the value of a parameter, if it is there.
    ///
    /// # Errors
    ///
    /// `Io` if there is no answer; a refusal.
    pub fn parameter(&self, region: &str, name: &str) -> Result<Option<String>> {
        match self.ssm(region, "GetParameter", &json!({ "Name": name }))? {
            Ok(answer) => {
                let value = answer.pointer("/Parameter/Value").and_then(Value::as_str);
                Ok(Some(value.unwrap_or_default().to_owned()))
            }
            Err(refusal) if refusal.code == "ParameterNotFound" => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Gives a parameter the id of an AMI, and tells whether that was done: a parameter that is there is written over only
    /// if `overwrite` says so.
    ///
    /// # Errors
    ///
    /// `Io` if there is no answer; a refusal.
    pub fn put_image_parameter(
        &self,
        region: &str,
        name: &str,
        image_id: &str,
        overwrite: bool,
    ) -> Result<bool> {
        let parameters = json!({
            "Name": name,
            "Value": image_id,
            "Type": "String",
            "DataType": "aws:ec2:image",
            "Overwrite": overwrite,
        });
        match self.ssm(region, "PutParameter", &parameters)? {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.code == "ParameterAlreadyExists" => Ok(false),
            Err(refusal) => Err(refusal.into()),
        }
    }
}
