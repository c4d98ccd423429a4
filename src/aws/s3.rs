//! S3, as far as bundles of instance store need it: objects that are put, and looked for.

use std::collections::BTreeMap;
use std::fmt;

use crate::aws::client::Asked;
use crate::aws::client::Aws;
use crate::aws::client::Source;
use crate::aws::fault::AwsFault;
use crate::aws::fault::Refusal;
use crate::aws::place::Service;
use crate::aws::xml;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Setting;
use crate::http::Answer;
use crate::http::Method;
use crate::http::escaped;

/// Longest name of a bucket; those made since 2018 have 63 letters at most.
const MAX_BUCKET_LEN: usize = 255;

/// Longest key of an object.
const MAX_KEY_LEN: usize = 1024;

/// Objects of a page of a list, at most.
const PAGE: usize = 1000;

/// Pages that are read beyond those that the files fill: others may have names between theirs.
const MORE_PAGES: usize = 8;

/// A bucket, and what the keys of objects in it begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    name: String,
    prefix: String,
}

impl Bucket {
    /// Reads `BUCKET` or `BUCKET/PREFIX`, also with `s3://` before it.
    ///
    /// # Errors
    ///
    /// `Bucket` if it is not one. Names are letters, digits and `.`, `_`, `-`, so that none leads out of the bucket and each
    /// is in EC2's `ImageLocation` as it is in the request.
    pub fn parse(text: &str) -> Result<Self, AwsFault> {
        let fault = || AwsFault::Bucket { found: text.to_owned() };
        let plain = text.strip_prefix("s3://").unwrap_or(text).trim_end_matches('/');
        let (name, prefix) = plain.split_once('/').unwrap_or((plain, ""));
        let is_word = |it: &str| {
            !it.is_empty()
                && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it))
                && it != "."
                && it != ".."
        };
        let sound = (3..=MAX_BUCKET_LEN).contains(&name.len())
            && is_word(name)
            && (prefix.is_empty() || prefix.split('/').all(is_word))
            && prefix.len() <= MAX_KEY_LEN;
        if !sound {
            return Err(fault());
        }
        Ok(Self { name: name.to_owned(), prefix: prefix.to_owned() })
    }

    /// Returns the place of a file in it: what EC2 calls the location.
    #[must_use]
    pub fn place(&self, file: &str) -> String {
        match self.prefix.as_str() {
            "" => format!("{}/{file}", self.name),
            prefix => format!("{}/{prefix}/{file}", self.name),
        }
    }

    fn path(&self, file: &str) -> String {
        format!("/{}", escaped(&self.place(file), true))
    }

    fn key(&self, file: &str) -> String {
        match self.prefix.as_str() {
            "" => file.to_owned(),
            prefix => format!("{prefix}/{file}"),
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What is at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// Nothing.
    None,
    /// Nothing, or something that these credentials may not look at.
    Hidden,
    /// These bytes: S3 has checked the digest when they were put. With the object's `ETag`, if it has one.
    Same(Option<String>),
    /// Others.
    Other,
    /// Bytes of the same length without a checksum: nobody knows.
    Unproven,
}

/// What came of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// The file is there, with this `ETag`, if the service gives it one.
    Done(Option<String>),
    /// Something is there already, and stays as it is.
    Taken,
    /// The service does not put on a condition.
    Unconditional,
}

impl Aws<'_, '_> {
    /// Looks whether a file is in a bucket already.
    ///
    /// # Errors
    ///
    /// `Io` if there is no answer; a refusal; `Invalid` if the bucket lies in another region.
    pub fn object(
        &self,
        region: &str,
        bucket: &Bucket,
        file: &str,
        len: u64,
        digest: &Digest,
    ) -> Result<Object> {
        let mut asked =
            Asked::new(Service::S3, region, "HeadObject", Method::Head, bucket.path(file));
        asked.headers.push(("x-amz-checksum-mode", "ENABLED".to_owned()));
        match self.in_bucket(&asked, bucket)? {
            Ok(answer) => {
                let has_len = answer.headers.get("content-length") == Some(&len.to_string());
                let checksum = answer.headers.get("x-amz-checksum-sha256");
                Ok(match checksum {
                    _ if !has_len => Object::Other,
                    Some(found) if found == digest.base64() => Object::Same(tag(&answer)),
                    // The checksum of an object that was put in parts is one of their checksums.
                    Some(found) if !found.contains('-') => Object::Other,
                    _ => Object::Unproven,
                })
            }
            Err(refusal) if refusal.status == 404 => Ok(Object::None),
            // Who may not list a bucket is told so where nothing is, and who may not read it where something is.
            Err(refusal) if refusal.status == 403 => Ok(Object::Hidden),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Puts a file into a bucket, where EC2 may read it, if nothing is at its place. A service that cannot tell is asked
    /// without that condition only if `is_empty` says that nothing is there.
    ///
    /// # Errors
    ///
    /// As [`Aws::object`]; as reading the file.
    pub fn put_object(
        &self,
        region: &str,
        bucket: &Bucket,
        file: &str,
        source: Source<'_>,
        is_empty: bool,
    ) -> Result<Put> {
        let put = self.put(region, bucket, file, source, true)?;
        if put == Put::Unconditional && is_empty {
            return self.put(region, bucket, file, source, false);
        }
        Ok(put)
    }

    fn put(
        &self,
        region: &str,
        bucket: &Bucket,
        file: &str,
        source: Source<'_>,
        conditional: bool,
    ) -> Result<Put> {
        let mut asked =
            Asked::new(Service::S3, region, "PutObject", Method::Put, bucket.path(file));
        asked.headers.push(("Content-Type", "application/octet-stream".to_owned()));
        // EC2's own account is let in, as its tools have always done it.
        asked.headers.push(("x-amz-acl", "aws-exec-read".to_owned()));
        asked.headers.push(("x-amz-checksum-sha256", source.digest.base64()));
        if conditional {
            asked.headers.push(("If-None-Match", "*".to_owned()));
        }
        asked.source = Some(source);
        match self.in_bucket(&asked, bucket)? {
            Ok(answer) => Ok(Put::Done(tag(&answer))),
            Err(refusal) if conditional && refusal.status == 412 => Ok(Put::Taken),
            Err(refusal) if conditional && refusal.status == 501 => Ok(Put::Unconditional),
            Err(refusal) if refusal.code == "AccessControlListNotSupported" => {
                Err(Error::from(refusal).advise(
                    "EC2 reads these objects by their access control list: set the bucket's object ownership to \
                     BucketOwnerPreferred",
                ))
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Returns the lengths and `ETag`s of those of some files that a list of the bucket shows. S3 gives an object another
    /// `ETag` when its bytes are replaced, so one that is what it was says that nothing was. A file that is not among
    /// them may be there all the same: the credentials may not list the bucket, or it has too much else.
    ///
    /// # Errors
    ///
    /// `Io` if there is no answer; `Invalid` if the bucket lies in another region.
    pub fn listed<'f>(
        &self,
        region: &str,
        bucket: &Bucket,
        files: impl Iterator<Item = &'f str>,
    ) -> Result<BTreeMap<&'f str, (u64, String)>> {
        let mut wanted: BTreeMap<String, &str> = files.map(|it| (bucket.key(it), it)).collect();
        let mut found = BTreeMap::new();
        let Some((first, last)) = wanted.keys().next().zip(wanted.keys().next_back()) else {
            return Ok(found);
        };
        // What the first and the last begin with, all between them do.
        let same = first.chars().zip(last.chars()).take_while(|(a, b)| a == b);
        let prefix: String = same.map(|(letter, _)| letter).collect();
        let pages = wanted.len().div_ceil(PAGE).saturating_add(MORE_PAGES);
        let mut next: Option<String> = None;
        for _ in 0..pages {
            let path = format!("/{}", bucket.name);
            let mut asked = Asked::new(Service::S3, region, "ListObjectsV2", Method::Get, path);
            asked.query = vec![("list-type", "2".to_owned()), ("prefix", prefix.clone())];
            asked.query.extend(next.take().map(|it| ("continuation-token", it)));
            let Ok(answer) = self.in_bucket(&asked, bucket)? else { break };
            let Some((_, page)) = xml::parse(&answer.body) else { break };
            for object in page["Contents"].as_array().into_iter().flatten() {
                let text = |name: &str| object[name].as_str().unwrap_or_default();
                let len = text("Size").parse();
                if let (Some(file), Ok(len)) = (wanted.remove(text("Key")), len) {
                    found.insert(file, (len, text("ETag").to_owned()));
                }
            }
            next = page["NextContinuationToken"].as_str().map(str::to_owned);
            if next.is_none() || wanted.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// Asks about an object, and says where the bucket lies if it is not there.
    fn in_bucket(&self, asked: &Asked<'_>, bucket: &Bucket) -> Result<Result<Answer, Refusal>> {
        let (answer, region) = self.try_ask_with(asked, "x-amz-bucket-region")?;
        match (answer, region) {
            (Err(_), Some(found)) if found != asked.region => {
                let text =
                    format!("the bucket {bucket} lies in {found:?}, expected {}", asked.region);
                Err(Error::invalid(text)
                    .advise(Advice::Give { setting: Setting::Region, example: "REGION".into() }))
            }
            (answer, _) => Ok(answer),
        }
    }
}

fn tag(answer: &Answer) -> Option<String> {
    answer.headers.get("etag").filter(|it| !it.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_name_and_a_prefix_that_leads_nowhere_else() {
        for (text, place) in [
            ("images", "images/f"),
            ("s3://images/", "images/f"),
            ("my.images/old/x86_64", "my.images/old/x86_64/f"),
        ] {
            assert_eq!(Bucket::parse(text).unwrap().place("f"), place);
        }
        for bad in [
            "",
            "ab",
            "a b c",
            "images/../x",
            "images//x",
            "images/.",
            "images/a?b",
            "s3://",
            "ü-images",
        ] {
            assert_eq!(Bucket::parse(bad), Err(AwsFault::Bucket { found: bad.to_owned() }));
        }
    }
}
