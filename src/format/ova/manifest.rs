//! The digests of a package's files, a line each: `SHA256(name)= hex`, or `hex  name`.

use crate::digest::Algorithm;
use crate::digest::Hasher;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format::archive::beside;
use crate::format::archive::normal;
use crate::format::sentence;
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
    /// Name of the file in the archive, in its normal form.
    name: String,
    /// What the digest is; the name of one that is not known here.
    algorithm: Result<Algorithm, String>,
    digest: String,
}

impl Manifest {
    /// Reads the digests that the file `own_name` of the archive has.
    ///
    /// # Errors
    ///
    /// `Corrupt`, with the line.
    pub(super) fn parse(text: &str, own_name: &str) -> Result<Self> {
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_matches(|it: char| it.is_whitespace() || it == '\u{feff}');
            if !line.is_empty() && !line.starts_with('#') {
                lines.push(parse_line(line, number, own_name)?);
            }
        }
        Ok(Self(lines))
    }

    /// Checks a file of the archive, by each digest that is known here.
    ///
    /// # Errors
    ///
    /// `Mismatch` if it has another digest; `Corrupt` if the manifest does not name it; `Unsupported` if
    /// no digest of it is of a kind that is known.
    pub(super) fn check(&self, name: &str, part: &Input, watch: &dyn Watch) -> Result<()> {
        let name = normal(name);
        let lines: Vec<_> = self.0.iter().filter(|line| line.name == name).collect();
        let mut known =
            lines.iter().filter_map(|line| line.algorithm.as_ref().ok().zip(Some(line)));
        let Some(first) = known.next() else {
            let error = match lines.first() {
                Some(Line { algorithm: Err(found), .. }) => {
                    let names: Vec<_> = Algorithm::ALL.iter().map(ToString::to_string).collect();
                    let names: Vec<_> = names.iter().map(String::as_str).collect();
                    let expected = sentence::list(&names, "or");
                    let text =
                        format!("the archive has its digest in {found}, expected {expected}");
                    Error::new(Kind::Unsupported, text)
                }
                _ => Error::corrupt("the archive's .mf file does not name it"),
            };
            return Err(error.in_file(part.path()));
        };
        for (algorithm, line) in [first].into_iter().chain(known) {
            let found = digest(*algorithm, part, watch)?;
            if found != line.digest {
                let text = format!("its {algorithm} is {found}, expected {}", line.digest);
                return Err(Error::new(Kind::Mismatch, text).in_file(part.path()));
            }
        }
        Ok(())
    }
}

fn digest(algorithm: Algorithm, part: &Input, watch: &dyn Watch) -> Result<String> {
    let mut hasher = Hasher::new(algorithm);
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
    Ok(hasher.finish_hex())
}

fn parse_line(line: &str, number: usize, own_name: &str) -> Result<Line> {
    let broken = || {
        let text = format!(
            "line {number} is {line:?}, expected ALGORITHM(name)= digest, or a digest and a name"
        );
        Error::corrupt(text)
    };
    let (algorithm, name, digest) = if let Some((algorithm, digest, name)) = of_sum(line) {
        (Ok(algorithm), name, digest)
    } else {
        let (algorithm, rest) = line.split_once('(').ok_or_else(broken)?;
        let (name, digest) = rest.rsplit_once('=').ok_or_else(broken)?;
        let name = name.trim_end().strip_suffix(')').ok_or_else(broken)?;
        let algorithm = algorithm.trim();
        (Algorithm::from_name(algorithm).ok_or(algorithm.to_owned()), name, digest.trim())
    };
    let is_hex = !digest.is_empty() && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fits = algorithm.as_ref().map_or(true, |it| it.hex_len() == digest.len());
    if !is_hex || !fits {
        return Err(broken());
    }
    let name = beside(own_name, name);
    Ok(Line { name, algorithm, digest: digest.to_ascii_lowercase() })
}

/// Reads a line of `sha256sum` and its kin: the digest, a blank, a blank or an asterisk, the name.
fn of_sum(line: &str) -> Option<(Algorithm, &str, &str)> {
    let (digest, name) = line.split_once([' ', '\t'])?;
    let is_hex = digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let algorithm = Algorithm::of_hex_len(digest.len()).filter(|_| is_hex)?;
    let name = name.trim_start();
    Some((algorithm, digest, name.strip_prefix('*').unwrap_or(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::work::Unwatched;

    const SHA1: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_line_of_each_tool_is_read() {
        for (line, algorithm) in [
            (format!("SHA1(a (1).vmdk)= {SHA1}"), Algorithm::Sha1),
            (format!("SHA1 (a (1).vmdk) = {}", SHA1.to_uppercase()), Algorithm::Sha1),
            (format!("SHA2-256(a (1).vmdk)= {SHA256}"), Algorithm::Sha256),
            (format!("SHA-256(./a (1).vmdk)={SHA256}"), Algorithm::Sha256),
            (format!("sha256 (a (1).vmdk) = {SHA256}"), Algorithm::Sha256),
            (format!("{SHA256}  a (1).vmdk"), Algorithm::Sha256),
            (format!("{SHA256} *a (1).vmdk"), Algorithm::Sha256),
            (format!("{SHA1}\ta (1).vmdk"), Algorithm::Sha1),
        ] {
            let found = parse_line(&line, 1, "./x.mf").unwrap();
            let digest = if algorithm == Algorithm::Sha1 { SHA1 } else { SHA256 };
            let expected = Line {
                name: "a (1).vmdk".to_owned(),
                algorithm: Ok(algorithm),
                digest: digest.to_owned(),
            };
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn a_file_is_held_to_every_digest_that_it_has() {
        let empty = Input::memory("a", Vec::new());
        let other = Input::memory("a", vec![0]);
        let check = |text: &str, name: &str, part: &Input| {
            let manifest = Manifest::parse(text, "m.mf").unwrap();
            manifest.check(name, part, &Unwatched).map_err(|e| e.kind())
        };
        let text = format!("\u{feff}\n# by hand\nSHA1(a)= {SHA1}\r\n");
        assert_eq!(check(&text, "./a", &empty), Ok(()));
        assert_eq!(check(&text, "a", &other), Err(Kind::Mismatch));
        assert_eq!(check(&text, "b", &empty), Err(Kind::Corrupt));
        let both = format!("SHA1(a)= {SHA1}\nSHA256(a)= {}\n", SHA256.replace('e', "d"));
        assert_eq!(check(&both, "a", &empty), Err(Kind::Mismatch));
        // What is not known is not needed where something else is.
        let md5 = "MD5(a)= d41d8cd98f00b204e9800998ecf8427e";
        assert_eq!(check(&format!("{md5}\nSHA1(a)= {SHA1}\n"), "a", &empty), Ok(()));
        assert_eq!(check(md5, "a", &empty), Err(Kind::Unsupported));
        assert_eq!(check(&format!("{md5}\nSHA1(b)= {SHA1}\n"), "b", &empty), Ok(()));
    }

    #[test]
    fn a_broken_line_is_named() {
        for line in [
            "SHA1 a = 00",
            "SHA1(a) 00",
            "SHA1(a= 00",
            "SHA1(a)= 00",
            "SHA1(a)= zz39a3ee5e6b4b0d3255bfef95601890afd80709",
            "MD5(a)= ",
            "da39a3ee a",
        ] {
            let error = Manifest::parse(&format!("\n{line}"), "m.mf").unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{error}");
            assert!(error.to_string().contains("line 2"), "{error}");
        }
    }
}
