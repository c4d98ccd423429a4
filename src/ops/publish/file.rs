//! A file that is put to S3: where nothing is, and never over anything.

use crate::aws::Aws;
use crate::aws::Object;
use crate::aws::Put;
use crate::aws::S3Bucket;
use crate::aws::Source;
use crate::digest::Digest;
use crate::digest::Sha256;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Input;
use crate::io::READ_PIECE_LEN;
use crate::io::ReadAt as _;
use crate::work::Watch;

/// Most bytes that S3 takes by one call.
const MAX_OBJECT_LEN: u64 = 5 << 30;

/// What lets S3 say whether something is there.
const LET_LOOK: &str =
    "allow s3:ListBucket on the bucket and s3:GetObject on its objects, or name another prefix";

/// A file that is put.
pub(super) struct File {
    pub(super) name: String,
    pub(super) input: Input,
    pub(super) digest: Digest,
}

impl File {
    /// Reads it for its digest.
    ///
    /// # Errors
    ///
    /// `Limit` if S3 does not take so much at once; as reading it.
    pub(super) fn of(name: String, input: Input, watch: &dyn Watch) -> Result<Self> {
        if input.len() > MAX_OBJECT_LEN {
            let text =
                format!("{name} has {} bytes, expected at most {MAX_OBJECT_LEN}", input.len());
            return Err(Error::new(Kind::Limit, text));
        }
        let (mut hasher, mut buffer, mut at) = (Sha256::new(), vec![0; READ_PIECE_LEN], 0);
        while at < input.len() {
            watch.check()?;
            let left = usize::try_from(input.len().strict_sub(at)).unwrap_or(usize::MAX);
            let piece = &mut buffer[..left.min(READ_PIECE_LEN)];
            input.read_exact_at(piece, at)?;
            hasher.update(piece);
            watch.advance(u64::try_from(piece.len()).expect("a length"));
            at = at.strict_add(u64::try_from(piece.len()).expect("a length"));
        }
        Ok(Self { name, input, digest: hasher.finish() })
    }

    /// Puts it where nothing is, and returns whether it had to, and its `ETag`. Between the look and the put something can
    /// appear, and a look that is not allowed shows nothing: so the put has that condition too.
    pub(super) fn put_if_missing(
        &self,
        aws: &Aws<'_, '_>,
        region: &str,
        bucket: &S3Bucket,
    ) -> Result<(bool, Option<String>)> {
        let Self { name, input, digest } = self;
        let look = || aws.object(region, bucket, name, input.len(), digest);
        let found = look()?;
        if !matches!(found, Object::None | Object::Hidden) {
            return self.tag(bucket, found).map(|tag| (false, tag));
        }
        let source = Source { bytes: input, len: input.len(), digest: *digest };
        match aws.put_object(region, bucket, name, source, found == Object::None)? {
            Put::Done(tag) => Ok((true, tag)),
            // Also if our own put was heard before, and its answer lost.
            Put::Taken => {
                let found = look()?;
                self.tag(bucket, found).map(|tag| (true, tag))
            }
            Put::Unconditional => {
                let text = format!(
                    "s3://{} may be there: the credentials may not look, and the service cannot put only what is missing",
                    bucket.place(name)
                );
                Err(Error::invalid(text).advise(LET_LOOK))
            }
        }
    }

    /// Returns the `ETag` of what is at its place. Fails if that is not proven to be this file.
    fn tag(&self, bucket: &S3Bucket, found: Object) -> Result<Option<String>> {
        let place = bucket.place(&self.name);
        let other = "name another prefix, or delete it";
        let (text, advice) = match found {
            Object::Same(tag) => return Ok(tag),
            Object::Other => (format!("s3://{place} is there, and is another file"), other),
            Object::Unproven => {
                let text = "is there without a SHA-256 checksum, so it may be another file";
                (format!("s3://{place} {text}"), other)
            }
            Object::Hidden => {
                (format!("s3://{place} is there, and the credentials may not look at it"), LET_LOOK)
            }
            Object::None => {
                let text = format!("s3://{place} appeared and vanished while it was put");
                let advice = "try again once nothing else writes there";
                return Err(Error::new(Kind::Io, text).advise(advice));
            }
        };
        Err(Error::invalid(text).advise(advice))
    }
}
