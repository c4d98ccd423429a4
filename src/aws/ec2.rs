//! EC2's calls, and who one is: forms that are posted, answered in XML.

use std::borrow::Cow;
use std::time::SystemTime;

use serde_json::Value;

use crate::ami::Described;
use crate::ami::Document;
use crate::ami::is_account;
use crate::aws::client::Asked;
use crate::aws::client::Aws;
use crate::aws::encode::form;
use crate::aws::fault::Refusal;
use crate::aws::place::Service;
use crate::aws::xml;
use crate::calls;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::http::Method;

/// Codes by which a call is refused for a while, and until when.
pub type Until = (&'static [&'static str], SystemTime);

impl Aws<'_, '_> {
    /// Makes a call of EC2's, of parameters as the JSON input of the AWS CLI has them, and returns the JSON that the AWS CLI
    /// makes of the answer. A refusal is returned as such.
    ///
    /// # Errors
    ///
    /// `Io` if there is no answer, or one that is not EC2's.
    pub fn ec2(
        &self,
        region: &str,
        call: &str,
        parameters: &Value,
        not_yet: Option<Until>,
    ) -> Result<Result<Value, Refusal>> {
        self.by_query(Service::Ec2, region, call, &calls::form(call, parameters), not_yet)
    }

    /// Returns the account that asks.
    ///
    /// # Errors
    ///
    /// `Io` if there is no answer; a refusal.
    pub fn account(&self, region: &str) -> Result<String> {
        let name = "GetCallerIdentity";
        let pairs = [("Action", name), ("Version", "2011-06-15")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let answer = self.by_query(Service::Sts, region, name, &pairs, None)??;
        let account = answer.pointer("/GetCallerIdentityResult/Account").and_then(Value::as_str);
        let account = account.filter(|it| is_account(it));
        let strange = || Error::new(Kind::Io, "the answer to GetCallerIdentity names no account");
        account.map(str::to_owned).ok_or_else(strange)
    }

    /// Describes an AMI in EC2's words.
    ///
    /// # Errors
    ///
    /// `Io` if there is no answer; a refusal.
    pub fn describe_image(&self, region: &str, image_id: &str) -> Result<Described> {
        // EC2 leaves out of its answer what is deprecated or disabled, unless it is asked for.
        let parameters = serde_json::json!({
            "ImageIds": [image_id],
            "IncludeDeprecated": true,
            "IncludeDisabled": true,
        });
        let answer = self.ec2(region, "DescribeImages", &parameters, None)??;
        let images = serde_json::json!({ "Images": answer.get("Images") });
        match Document::read(images.to_string().as_bytes()) {
            Ok(Document::Images(mut images)) if images.len() == 1 => Ok(images.remove(0)),
            _ => Err(Error::new(
                Kind::Io,
                format!("DescribeImages did not return exactly one AMI for {image_id}"),
            )),
        }
    }

    fn by_query(
        &self,
        service: Service,
        region: &str,
        call: &str,
        pairs: &[(String, String)],
        not_yet: Option<Until>,
    ) -> Result<Result<Value, Refusal>> {
        let mut asked = Asked::new(service, region, call, Method::Post, "/");
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        asked.headers.push(("Content-Type", kind.to_owned()));
        asked.body = Cow::Owned(form(pairs).into_bytes());
        asked.not_yet = not_yet;
        let answer = match self.try_ask(&asked)? {
            Ok(answer) => answer,
            Err(refusal) => return Ok(Err(refusal)),
        };
        match xml::parse(&answer.body) {
            Some((name, value)) if name == format!("{call}Response") => Ok(Ok(value)),
            _ => {
                let text = format!("the answer to {call} is not the XML of that call");
                Err(Error::new(Kind::Io, text))
            }
        }
    }
}
