//! What a process knows of AWS: its environment, and the files that AWS's tools share.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::aws::fault::AwsFault;
use crate::aws::ini;
use crate::aws::ini::Section;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Input;
use crate::io::Node;
use crate::io::ReadAt as _;
use crate::io::read_vec;

/// Most bytes of a shared file.
const MAX_FILE_LEN: u64 = 1 << 20;

/// Variables of a process.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, Zeroizing<String>>);

impl Environment {
    /// Takes those of this process, as far as they are text.
    #[must_use]
    pub fn of_process() -> Self {
        let text = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, Zeroizing::new(value.into_string().ok()?)))
        });
        Self(text.collect())
    }

    /// Takes others, as a test has them.
    #[must_use]
    pub fn of(vars: &[(&str, &str)]) -> Self {
        let text = vars
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Zeroizing::new((*value).to_owned())));
        Self(text.collect())
    }

    /// Returns a variable; an empty one counts as not there.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|it| it.trim()).filter(|it| !it.is_empty())
    }

    /// Tells whether a variable says yes.
    #[must_use]
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|it| it.eq_ignore_ascii_case("true"))
    }

    fn path(&self, name: &str, inside_home: &str) -> Option<PathBuf> {
        let home = self.get("HOME").map(Path::new);
        match self.get(name) {
            Some(text) => Some(match text.strip_prefix("~/") {
                Some(inside) => home?.join(inside),
                None => PathBuf::from(text),
            }),
            None => Some(home?.join(inside_home)),
        }
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A profile of the shared files.
#[derive(Clone, Default)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Whether it was named, and is not the one that is there without a name.
    pub is_named: bool,
    /// What the file of credentials says of it.
    pub(super) credentials: Section,
    /// What the configuration says of it.
    pub(super) config: Section,
    /// Endpoints that it names by `services`.
    services: Section,
    /// All profiles of the files, for those that it names.
    files: Arc<Files>,
}

/// What the shared files say, by the names of their sections.
#[derive(Default)]
struct Files {
    credentials: BTreeMap<String, Section>,
    config: BTreeMap<String, Section>,
}

impl Files {
    /// Finds a profile in both files.
    fn find(self: &Arc<Self>, name: &str, is_named: bool) -> Option<Profile> {
        let said = match name {
            "default" => self.config.get("default").or_else(|| self.config.get("profile default")),
            name => self.config.get(&format!("profile {name}")),
        };
        let own = self.credentials.get(name);
        if is_named && own.is_none() && said.is_none() {
            return None;
        }
        let config = said.cloned().unwrap_or_default();
        let services = config.get("services").map(|it| format!("services {}", it.as_str()));
        let services = services.and_then(|name| self.config.get(&name));
        Some(Profile {
            name: name.to_owned(),
            is_named,
            credentials: own.cloned().unwrap_or_default(),
            services: services.cloned().unwrap_or_default(),
            config,
            files: Arc::clone(self),
        })
    }

    /// Names the profiles that there are.
    fn names(&self) -> String {
        let in_config = self.config.keys().filter_map(|it| it.strip_prefix("profile "));
        let there: BTreeSet<&str> =
            self.credentials.keys().map(String::as_str).chain(in_config).collect();
        let there: Vec<&str> = there.into_iter().collect();
        if there.is_empty() { "none".to_owned() } else { there.join(", ") }
    }
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Profile {
    /// Reads the profile of that name, or that of the environment, or `default`.
    ///
    /// # Errors
    ///
    /// `Invalid` if a profile is named that no file has; `Corrupt` if a file is none; `Io` if it cannot be read.
    pub fn read(environment: &Environment, named: Option<&str>) -> Result<Self> {
        let variable =
            || ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"].iter().find_map(|it| environment.get(it));
        let named = named.or_else(variable);
        let name = named.unwrap_or("default");
        let credentials = shared(environment, "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")?;
        let config = shared(environment, "AWS_CONFIG_FILE", ".aws/config")?;
        let files = Arc::new(Files { credentials, config });
        let none = || AwsFault::NoProfile { name: name.to_owned(), there: files.names() };
        Ok(files.find(name, named.is_some()).ok_or_else(none)?)
    }

    /// Returns another profile of the same files.
    ///
    /// # Errors
    ///
    /// `NoProfile` if they have none of that name.
    pub(super) fn other(&self, name: &str) -> Result<Self, AwsFault> {
        let none = || AwsFault::NoProfile { name: name.to_owned(), there: self.files.names() };
        self.files.find(name, true).ok_or_else(none)
    }

    /// Returns a setting, of the configuration before that of the other file.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.config.get(name).or_else(|| self.credentials.get(name));
        value.map(|it| it.as_str()).filter(|it| !it.is_empty())
    }

    /// Returns the endpoint that it names for a service.
    #[must_use]
    pub fn endpoint(&self, service: &str) -> Option<&str> {
        let own = self.services.get(&format!("{service}.endpoint_url"));
        own.map(|it| it.as_str()).or_else(|| self.get("endpoint_url"))
    }
}

/// Reads a shared file; one that is not there is empty.
fn shared(
    environment: &Environment,
    variable: &str,
    inside_home: &str,
) -> Result<BTreeMap<String, Section>> {
    let Some(path) = environment.path(variable, inside_home) else { return Ok(BTreeMap::new()) };
    if Node::at(&path)? != Some(Node::File) {
        return Ok(BTreeMap::new());
    }
    let bytes = Zeroizing::new(read(&path, MAX_FILE_LEN)?);
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Error::corrupt("it is not text in UTF-8").in_file(&path))?;
    ini::parse(text).map_err(|fault| Error::corrupt(fault.to_string()).in_file(&path))
}

/// Reads a file of at most `most` bytes.
pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let input = Input::open(path)?;
    if input.len() > most {
        let text = format!("it has {} bytes, expected at most {most}", input.len());
        return Err(Error::new(Kind::Limit, text).in_file(path));
    }
    read_vec(&input, 0, input.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    #[test]
    fn a_profile_is_what_both_files_say_of_it() {
        let home = tempfile::tempdir().unwrap();
        let aws = home.path().join(".aws");
        fs::create_dir(&aws).unwrap();
        fs::write(
            aws.join("credentials"),
            "[default]\naws_access_key_id = A\n[dev]\naws_access_key_id = B\nregion = us-west-1\n",
        )
        .unwrap();
        let config = "[default]\nregion = eu-west-1\n[profile dev]\nregion = eu-west-2\nservices = own\n\
                      endpoint_url = http://all\n[services own]\nebs =\n  endpoint_url = http://ebs\n";
        fs::write(aws.join("config"), config).unwrap();
        let home = home.path().to_str().unwrap();
        let environment = Environment::of(&[("HOME", home)]);
        let plain = Profile::read(&environment, None).unwrap();
        assert_eq!((plain.get("region"), plain.is_named), (Some("eu-west-1"), false));
        assert_eq!(plain.endpoint("ebs"), None);
        let dev = Environment::of(&[("HOME", home), ("AWS_PROFILE", "dev")]);
        let old = Environment::of(&[("HOME", home), ("AWS_DEFAULT_PROFILE", "dev")]);
        for profile in [
            Profile::read(&dev, None).unwrap(),
            Profile::read(&old, None).unwrap(),
            Profile::read(&environment, Some("dev")).unwrap(),
        ] {
            assert_eq!(profile.get("region"), Some("eu-west-2"));
            assert_eq!(profile.get("aws_access_key_id"), Some("B"));
            assert_eq!(profile.endpoint("ebs"), Some("http://ebs"));
            assert_eq!(profile.endpoint("ec2"), Some("http://all"));
        }
        let error = Profile::read(&environment, Some("prod")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no profile \"prod\", the shared files have default, dev"
        );
        let elsewhere = aws.join("config").to_str().unwrap().to_owned();
        let moved = Environment::of(&[
            ("AWS_CONFIG_FILE", &elsewhere),
            ("AWS_SHARED_CREDENTIALS_FILE", "/does/not/exist"),
        ]);
        assert_eq!(Profile::read(&moved, None).unwrap().get("region"), Some("eu-west-1"));
        assert!(Profile::read(&Environment::of(&[]), None).unwrap().get("region").is_none());
    }

    #[test]
    fn nothing_shows_what_a_variable_holds() {
        let shown = format!("{:?}", Environment::of(&[("AWS_SECRET_ACCESS_KEY", "wJalr")]));
        assert!(!shown.contains("wJalr") && shown.contains("AWS_SECRET_ACCESS_KEY"), "{shown}");
    }
}
