//! The digests of an archive's files: `SHA256(name)= hex`, a line each.

use std::sync::Arc;

use crate::digest::Algorithm;
use crate::digest::Hasher;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Input;
use crate::io::ReadAt;
use crate::work::Watch;

/// Bytes that are hashed at once.
const PIECE_LEN: usize = 1 << 20;

/// What the archive says of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest(Vec<Line>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name: String,
    algorithm: Algorithm,
    digest: String,
}

impl Manifest {
    /// Reads the digests.
    ///
    /// # Errors
    ///
    /// `Corrupt` or `Unsupported`, with the line.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            lines.push(parse_line(line.trim(), number)?);
        }
        Ok(Self(lines))
    }

    /// Checks a file of the archive.
    ///
    /// # Errors
    ///
    /// `Mismatch` if it has another digest; `Corrupt` if the manifest does not name it.
    pub(super) fn check(&self, name: &str, part: &Arc<Input>, watch: &dyn Watch) -> Result<()> {
        let Some(line) = self.0.iter().find(|line| line.name == name) else {
            return Err(
                Error::corrupt("the archive's .mf file does not name it").in_file(part.path())
            );
        };
        let mut hasher = Hasher::new(line.algorithm);
        let mut piece = vec![0; PIECE_LEN];
        let mut at = 0;
        while at < part.len() {
            watch.check()?;
            let rest = usize::try_from(part.len().strict_sub(at)).unwrap_or(PIECE_LEN);
            let piece = &mut piece[..rest.min(PIECE_LEN)];
            part.read_exact_at(piece, at)?;
            hasher.update(piece);
            at = at.strict_add(u64::try_from(piece.len()).expect("at most a piece"));
        }
        let found = hasher.finish_hex();
        if found == line.digest {
            return Ok(());
        }
        let text = format!("its {} is {found}, expected {}", line.algorithm, line.digest);
        Err(Error::new(Kind::Mismatch, text).in_file(part.path()))
    }
}

fn parse_line(line: &str, number: usize) -> Result<Line> {
    let broken =
        || Error::corrupt(format!("line {number} is {line:?}, expected ALGORITHM(name)= digest"));
    let (algorithm, rest) = line.split_once('(').ok_or_else(broken)?;
    let (name, digest) = rest.rsplit_once('=').ok_or_else(broken)?;
    let name = name.trim_end().strip_suffix(')').ok_or_else(broken)?;
    let algorithm = Algorithm::from_name(algorithm.trim()).ok_or_else(|| {
        let text =
            format!("line {number} has the algorithm {algorithm:?}, expected SHA1 or SHA256");
        Error::new(Kind::Unsupported, text)
    })?;
    let digest = digest.trim().to_ascii_lowercase();
    let hex = digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex || digest.len() != algorithm.hex_len() {
        return Err(broken());
    }
    Ok(Line { name: name.to_owned(), algorithm, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_each_tool_is_read() {
        let sha1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        for line in [
            format!("SHA1(a (1).vmdk)= {sha1}"),
            format!("SHA1 (a (1).vmdk) = {}", sha1.to_uppercase()),
        ] {
            let found = parse_line(&line, 1).unwrap();
            let expected = Line {
                name: "a (1).vmdk".to_owned(),
                algorithm: Algorithm::Sha1,
                digest: sha1.to_owned(),
            };
            assert_eq!(found, expected);
        }
        let empty = Arc::new(Input::memory("a", Vec::new()));
        let manifest = Manifest::parse(&format!("\nSHA1(a)= {sha1}\r\n")).unwrap();
        manifest.check("a", &empty, &crate::work::Unwatched).unwrap();
        let other = Arc::new(Input::memory("a", vec![0]));
        assert_eq!(
            manifest.check("a", &other, &crate::work::Unwatched).unwrap_err().kind(),
            Kind::Mismatch
        );
        assert_eq!(
            manifest.check("b", &empty, &crate::work::Unwatched).unwrap_err().kind(),
            Kind::Corrupt
        );
    }

    #[test]
    fn a_broken_line_is_named() {
        for (line, kind) in [
            ("SHA1 a = 00", Kind::Corrupt),
            ("SHA1(a) 00", Kind::Corrupt),
            ("SHA1(a= 00", Kind::Corrupt),
            ("SHA1(a)= 00", Kind::Corrupt),
            ("SHA1(a)= zz39a3ee5e6b4b0d3255bfef95601890afd80709", Kind::Corrupt),
            ("MD5(a)= d41d8cd98f00b204e9800998ecf8427e", Kind::Unsupported),
        ] {
            let error = Manifest::parse(&format!("\n{line}")).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains("line 2"), "{error}");
        }
    }
}
