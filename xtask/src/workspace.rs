//! The workspace that the checks look at, as cargo describes it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand, Package};

use crate::process;

/// The package that is the library.
pub(crate) const LIBRARY: &str = "slotyard";

/// The workspace around the current directory.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) metadata: Metadata,
}

impl Workspace {
    /// Asks cargo.
    ///
    /// # Errors
    /// When the manifests cannot be read or the dependencies not be resolved.
    pub(crate) fn load() -> Result<Self> {
        Ok(Self { metadata: MetadataCommand::new().exec()? })
    }

    pub(crate) fn root(&self) -> &Path {
        self.metadata.workspace_root.as_std_path()
    }

    pub(crate) fn target_dir(&self) -> &Path {
        self.metadata.target_directory.as_std_path()
    }

    /// The library's package.
    ///
    /// # Errors
    /// When the workspace has none of that name.
    pub(crate) fn library(&self) -> Result<&Package> {
        let library = self.metadata.workspace_packages().into_iter().find(|package| package.name == LIBRARY);
        library.with_context(|| format!("the workspace has no package {LIBRARY}"))
    }

    /// `cargo`, run at the root of the workspace.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut cargo = process::command("cargo");
        cargo.current_dir(self.root()).args(arguments);
        cargo
    }
}
