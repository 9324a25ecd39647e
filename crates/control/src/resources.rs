//! The resources of a mesh, read from Kubernetes YAML.

use crate::Mistake;

/// The resources of a mesh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {}

impl Resources {
    /// Reads files of Kubernetes YAML, each with its name and text. Documents are Services, EndpointSlices, HTTPRoutes and
    /// TrafficPolicies; anything else is refused by name. References between them are checked.
    ///
    /// # Errors
    /// All mistakes, in the order of the files.
    pub fn read(files: &[(&str, &str)]) -> Result<Self, Vec<Mistake>> {
        let _ = files;
        todo!()
    }
}
