//! The sources of `src/digest/lanes`, as they are, with the one type that they need.

#[path = "../../../src/digest"]
pub mod digest {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Digest(pub [u8; 32]);

    impl Digest {
        pub fn hex(&self) -> String {
            self.0.iter().map(|byte| format!("{byte:02x}")).collect()
        }
    }

    pub mod lanes;
}

#[cfg(test)]
mod tests {
    use crate::digest::lanes::Engine;

    /// A run that tests the portable code alone would prove nothing.
    #[test]
    fn this_processor_has_more_than_the_portable_engine() {
        let engines: Vec<_> = Engine::available().collect();
        println!("engines: {engines:?}");
        assert!(engines.len() > 1);
        if cfg!(target_arch = "aarch64") {
            assert!(engines.contains(&Engine::ArmPair) && engines.contains(&Engine::ArmFour));
        }
    }
}
